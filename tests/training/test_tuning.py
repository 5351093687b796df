"""The search, on fits whose quality is known: noise added to the true log-odds, by how far a setting is off."""

import math
from dataclasses import replace

import numpy as np
import pytest

from features.errors import ConfigurationError
from tests.churn_worlds import known_law, true_log_odds
from training.churn import fit_margins
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings, TreeSettings
from training.tuned import TuningSettings
from training.tuning import SEARCHED, tune_churn
from training.tuning_validation import validation_of

SETTINGS = ChurnSettings()
BEST_L2 = 1.0


@pytest.fixture(scope="module")
def rows():
    return known_law(np.random.default_rng(1), 600, (0, 30, 60))


def l2_matters(_fitting, settings):
    """Margins that are the truth, less so the further l2 is from 1."""

    def margins(values):
        noise = np.random.default_rng(0).normal(size=len(values))
        return true_log_odds(values) + 2.0 * abs(math.log(settings.trees.l2 / BEST_L2)) * noise

    return margins


def nothing_matters(_fitting, _settings):
    return true_log_odds


class Clock:
    """Seconds that pass only while something is fitted."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now

    def taking(self, seconds, fit=l2_matters):
        def timed(fitting, settings):
            self.now += seconds
            return fit(fitting, settings)

        return timed


def tuned(rows, fit=l2_matters, settings=SETTINGS, clock=None, said=None, **tuning):
    return tune_churn(
        rows,
        settings,
        tuning=TuningSettings(**{"trials": 15, "minutes": 0, "folds": 2, **tuning}),
        elapsed_seconds=clock or Clock(),
        progress=(lambda _: None) if said is None else said.append,
        fit=fit,
    )


def test_it_finds_what_matters_and_fits_with_it(rows):
    found = tuned(rows)
    assert found.adopted
    assert found.gain > 5 * found.gain_error
    assert abs(math.log(found.settings.trees.l2 / BEST_L2)) < abs(math.log(SETTINGS.trees.l2 / BEST_L2)) / 2
    assert f"l2 {found.settings.trees.l2:.3g}" in found.sentence
    assert replace(found.settings, trees=SETTINGS.trees, linear_c=SETTINGS.linear_c) == SETTINGS


def test_the_first_trial_is_the_settings_as_they_are(rows):
    seen = []
    given = replace(SETTINGS, trees=TreeSettings(l2=1e-3, leaves=400))  # outside of what is searched

    def fit(fitting, settings):
        seen.append(settings)
        return l2_matters(fitting, settings)

    tuned(rows, fit, given, trials=2)
    first, again, second = (replace(one, fold_below_rows=given.fold_below_rows) for one in seen[:3])
    assert first == again == given  # two folds
    assert second != given


def test_parts_of_the_rows_are_fitted_by_the_recipe_of_all_of_them(rows):
    seen = []

    def fit(_fitting, settings):
        seen.append(settings.fold_below_rows)
        return true_log_odds

    for limit in (rows.n_rows, rows.n_rows + 1):  # 1,800 rows are many for the first, few for the second
        tuned(rows, fit, replace(SETTINGS, fold_below_rows=limit), trials=1)
    assert seen[:2] == [0, 0]
    assert min(seen[2:]) > rows.n_rows


def test_leaves_found_on_few_rows_are_fitted_with_on_few_rows(rows):
    found = tuned(rows)
    assert found.trials[0].parameters["leaves"] == SETTINGS.trees.few_rows_leaves  # as they are in effect
    assert found.settings.trees.for_few_rows().leaves == found.best.parameters["leaves"]


def test_the_models_own_fit_can_be_searched(rows):
    quick = replace(SETTINGS, folds=2, trees=TreeSettings(max_rounds=10, min_rows_in_leaf=20))
    found = tuned(rows, fit_margins, quick, trials=2)
    assert len(found.trials) == 2
    assert found.trials[0].log_loss < 0.6  # of guessing the base rate .66


def test_the_same_seed_and_number_of_trials_give_the_same_result(rows):
    first, second = tuned(rows), tuned(rows)
    assert first == second
    assert tuned(rows, settings=replace(SETTINGS, seed=5)).trials[5] != first.trials[5]


def test_what_does_not_matter_is_left_as_it_is(rows):
    found = tuned(rows, nothing_matters)
    assert not found.adopted
    assert found.settings == SETTINGS
    assert found.sentence.endswith("Kept.")


def test_a_gain_within_one_standard_error_is_left_as_it_is(rows):
    def chance(_fitting, settings):
        rng = np.random.default_rng(round(settings.trees.l2 * 1e6))
        return lambda values: true_log_odds(values) + 0.02 * rng.normal(size=len(values))

    found = tuned(rows, chance, trials=2)
    assert abs(found.gain) <= found.gain_error
    assert found.settings == SETTINGS


def test_no_trial_is_begun_that_would_end_after_the_time_budget(rows):
    # two folds of 30 seconds make a minute a trial: five fit into five minutes
    clock = Clock()
    found = tuned(rows, clock.taking(30), clock=clock, minutes=5.0)
    assert (len(found.trials), found.stopped_by) == (5, "time")
    assert clock.now - 1_000.0 == 300.0
    assert "Tuning tried 5 settings, ended by the time budget" in found.sentence


def test_the_longest_trial_tells_how_long_another_would_take(rows):
    clock, seconds = Clock(), iter([30, 30, 60, 60, 30, 30, 30, 30, 30, 30])

    def fit(fitting, settings):
        return clock.taking(next(seconds))(fitting, settings)

    # after trials of 60, 120 and 60 seconds 240 have passed, and another might take 120 of the 300
    assert len(tuned(rows, fit, clock=clock, minutes=5.0).trials) == 3


def test_one_trial_is_made_however_short_the_time(rows):
    clock = Clock()
    found = tuned(rows, clock.taking(600), clock=clock, minutes=0.1)
    assert len(found.trials) == 1
    assert found.settings == SETTINGS


def test_without_a_limit_the_trials_end_it(rows):
    clock = Clock()
    found = tuned(rows, clock.taking(3_600), clock=clock, trials=4)
    assert (len(found.trials), found.stopped_by) == (4, "trials")


def test_ctrl_c_keeps_the_best_so_far(rows):
    fits = iter(range(100))

    def fit(fitting, settings):
        if next(fits) == 21:  # in the second fold of the eleventh trial
            raise KeyboardInterrupt
        return l2_matters(fitting, settings)

    said = []
    found = tuned(rows, fit, said=said)
    whole = tuned(rows)
    assert (len(found.trials), found.stopped_by) == (10, "ctrl-c")
    assert found.trials == whole.trials[:10]
    assert found.best == min(whole.trials[:10], key=lambda trial: trial.log_loss)
    assert said[-1].startswith("tuning ended by Ctrl-C; the best of 10 is kept")


def test_ctrl_c_before_anything_is_known_ends_the_training(rows):
    def fit(_fitting, _settings):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(rows, fit)


def test_every_trial_is_told_with_the_best_so_far_and_the_time(rows):
    said, clock = [], Clock()
    found = tuned(rows, clock.taking(30), clock=clock, said=said, trials=3, minutes=10.0)
    assert len(said) == 3
    first, best = found.trials[0].log_loss, found.best
    assert said[0] == f"trial 1 of 3: log-loss {first:.4f}, best {first:.4f} (trial 1); 1.0 of 10 minutes"
    assert f"best {best.log_loss:.4f} (trial {best.number + 1}); 3.0 of 10 minutes" in said[2]


def test_every_value_tried_lies_in_the_range_searched(rows):
    for trial in tuned(rows, nothing_matters).trials:
        for name, searched in SEARCHED.items():
            assert searched.low <= trial.parameters[name] <= searched.high
            assert isinstance(trial.parameters[name], int) == searched.whole


def test_the_trials_can_be_put_into_a_table(rows):
    found = tuned(rows, trials=3)
    assert [row["trial"] for row in found.rows()] == [0, 1, 2]
    assert set(found.rows()[0]) == {"trial", "log_loss", *SEARCHED}
    assert found.metrics()["n_trials"] == 3.0
    assert found.metrics()["log_loss_given"] - found.metrics()["log_loss_best"] == pytest.approx(found.gain)


def test_the_loss_is_that_of_calibrated_margins():
    # another level and spread of the margins is undone by calibration, so it costs next to nothing where rows are many
    rows = known_law(np.random.default_rng(1), 3_000, (0, 30, 60))
    validation = validation_of(rows, SETTINGS, TuningSettings())
    plain = validation.losses(nothing_matters, SETTINGS).mean()
    moved = validation.losses(lambda *_: lambda values: 3.0 * true_log_odds(values) - 2.0, SETTINGS).mean()
    assert moved == pytest.approx(plain, abs=1e-3)


def test_a_later_cutoff_measures_where_label_windows_end_before_it():
    question = ChurnProblem(horizons_days=(30,), gap_days=10)
    settings = ChurnSettings(problem=question, embargo_days=5)
    rows = known_law(np.random.default_rng(1), 400, (0, 10, 20, 30, 44, 45, 90))
    validation = validation_of(rows, settings, TuningSettings())
    ((fitting, measured),) = validation.pairs
    assert validation.by == "later_cutoff"
    day = 86_400_000_000
    assert {cutoff // day for cutoff in measured.cutoffs} == {90}
    # a window of 10 + 30 days and 5 of embargo: 45 is the last cut-off that may be fitted on
    assert [cutoff // day for cutoff in fitting.cutoffs] == [0, 10, 20, 30, 44, 45]


def test_folds_of_customers_measure_where_the_cutoffs_lie_too_close(rows):
    validation = validation_of(rows, SETTINGS, TuningSettings(folds=3))
    assert validation.by == "customers"
    assert len(validation.pairs) == 3
    for fitting, measured in validation.pairs:
        assert set(fitting.customer_rows).isdisjoint(measured.customer_rows)
    assert sorted(validation.customers) == sorted(rows.customer_rows)  # everybody is measured once a row


def test_of_many_rows_whole_customers_are_drawn(rows):
    validation = validation_of(rows, SETTINGS, TuningSettings(max_rows=1_000))
    assert validation.customers.size == pytest.approx(1_000, abs=3)
    assert np.unique(validation.customers, return_counts=True)[1].tolist() == [3] * np.unique(validation.customers).size


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"minutes": -1.0}, {"max_rows": 10}, {"folds": 1}])
def test_settings_of_tuning_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ConfigurationError, match=f"tuning.{next(iter(wrong))}"):
        TuningSettings(**wrong)
