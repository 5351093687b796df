import html

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.instants import DAY_US, format_instant
from serving.bands import Bands
from serving.evidence.score_shift import Bins
from serving.forecast import Forecast
from tests.churn_worlds import crossed_log_odds, known_law, orders
from training.band_costs import calibration_probabilities
from training.churn import fit_churn
from training.churn_backtest import backtest_churn
from training.churn_baselines import fit_baselines
from training.churn_campaign_plots import backtest_png, contacts_png
from training.churn_card import backtest_card, churn_card
from training.churn_evaluation import fit_as_of, judge_churn, label_fitting, train_churn
from training.churn_judging import contacts_of
from training.churn_metrics import Interval, auc
from training.churn_plots import churn_pngs
from training.churn_problem import ChurnProblem
from training.churn_report import Comparison
from training.churn_settings import ChurnSettings, TreeSettings
from training.cost_settings import CostSettings
from training.cutoffs import TimeSplit
from training.model_card import card_files

pytestmark = pytest.mark.slow  # every test fits whole models

PICTURES = {
    *("calibration.png", "gain_and_lift.png", "roc_and_precision_recall.png", "contacts.png"),
    *("slices.png", "reasons.png", "drift.png"),
}
SETTINGS = ChurnSettings(
    problem=ChurnProblem(horizons_days=(10, 20, 30), eligible_days=60),
    min_history_days=60,
    step_days=15,
    full_model_each_outcome=100,
    bootstrap_replicates=50,
    trees=TreeSettings(max_rounds=60),
)

RANKS = np.linspace(0.05, 0.95, 19)


def shop(days=400, customers=1_000):
    """Customers order at their own pace and leave silently at a constant hazard; new ones keep coming."""
    rng = np.random.default_rng(8)
    found = {}
    for number in range(customers):
        start, gap = rng.uniform(0, 0.8 * days), rng.uniform(5, 25)
        leaves = start + rng.exponential(150)
        times = start + np.cumsum(rng.exponential(gap, 80))
        found[f"c{number:04}"] = np.unique(times[times < min(leaves, days)].round(3)).tolist() or [round(start, 3)]
    return found


@pytest.fixture(scope="module")
def histories():
    return shop()


@pytest.fixture(scope="module")
def trained(histories):
    return train_churn(orders(histories), CHURN_FEATURES, SETTINGS)


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    sizes = ((5_000, (0,)), (2_000, (90,)), (3_000, (180,)))
    training, calibration, test = (known_law(rng, n, cutoffs, law=crossed_log_odds) for n, cutoffs in sizes)
    model = fit_churn(training, calibration, ChurnSettings())
    split = TimeSplit((0,), 90 * DAY_US, 180 * DAY_US, "later_slice")
    keys = np.array([f"c{i}" for i in range(5_000)], dtype=object)
    baselines = fit_baselines(training, calibration)
    return judge_churn(model, Bands(0.3, 0.6), baselines, test, split, ChurnSettings(), keys), model, test


def test_the_report_scores_as_the_service_does(report):
    found, model, test = report
    said = model.probabilities(test.values, 180 * DAY_US)
    np.testing.assert_array_equal(found.scored.probabilities["churn_model"], said)
    assert found.figures[0].auc == auc(test.labels, said)
    assert found.metrics()["auc"] == found.figures[0].auc


def test_baselines_stand_beside_and_the_verdict_is_in_words(report):
    found, _, _ = report
    assert [figures.model for figures in found.figures] == ["churn_model", "recency", "logistic"]
    # the law holds an effect that turns its sign with recency, which neither baseline can say
    assert found.beats_all_baselines
    assert found.sentences[0].startswith("The model beats the recency baseline: AUC difference +")
    assert found.figures[0].auc_interval.low < found.figures[0].auc < found.figures[0].auc_interval.high
    recency = found.baseline_metrics()["recency"]
    bounds = found.comparisons[0].interval
    assert (recency["auc_difference_ci_low"], recency["auc_difference_ci_high"]) == (bounds.low, bounds.high)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.02, "beats"), (-0.01, 0.02, "is not distinguishable from"), (-0.02, -0.01, "loses to")],
)
def test_a_verdict_needs_an_interval_without_zero(low, high, verdict):
    assert Comparison("logistic", (low + high) / 2, Interval(low, high)).verdict == verdict


def test_the_report_tells_of_horizons_slices_campaign_and_what_was_to_be_expected(report):
    found, _, test = report
    assert found.horizons[-1].brier == found.figures[0].brier
    assert found.metrics()["ece_90d"] == found.metrics()["ece"] == found.horizons[-1].ece
    assert {row.dimension for row in found.slices} >= {"orders so far", "money spent in the last 365 days"}
    last = found.contacts.rows[-1]
    assert (last.leavers_reached, last.loyal_bothered) == (test.labels.sum(), (~test.labels).sum())
    assert np.isnan(last.profit)  # nobody told what an offer costs
    assert found.estimate.of("auc").true == found.figures[0].auc
    assert abs(found.metrics()["auc_expected"] - found.metrics()["auc"]) < 0.05
    assert next(iter(found.weights_of_reasons)) in {"overdue", "late_delivery"}  # the two features of the law


def test_profit_is_told_where_costs_and_values_are_known():
    labels, said = np.array([True, False]), np.array([0.8, 0.4])
    unknown = np.full((2, 1), np.nan)
    worth = Forecast((90,), said[:, None], *([unknown] * 4), np.array([20_000.0, 10_000.0]), said)
    # a leaver contacted brings .2 * .5 * 20,000 - 500, a loyal customer costs 500
    curve, by_gain = contacts_of(labels, said, worth, CostSettings(margin_share=0.5, offer_minor=500, save_rate=0.2))
    assert [curve.rows[0].profit, curve.rows[-1].profit] == [1_500.0, 1_000.0]
    assert curve.best.n_contacted == 1
    assert "500 minor units" in curve.meaning
    # expected gains: .8 * 1,500 - .2 * 500 = 1,100 and .4 * 500 - .6 * 500 = -100: the same order
    assert [row.profit for row in by_gain.rows] == [row.profit for row in curve.rows]
    assert contacts_of(labels, said, worth, None)[1] is None


def test_plots_are_png(trained):
    pictures = churn_pngs(trained.report) | {"contacts.png": contacts_png(trained.report)}
    assert set(pictures) == PICTURES
    assert all(picture.startswith(b"\x89PNG") and len(picture) > 5_000 for picture in pictures.values())


def test_the_card_shows_every_picture_and_answers_what_a_reader_asks(trained):
    pictures = dict.fromkeys(PICTURES, b"\x89PNG made up")
    page = card_files(churn_card(trained, pictures, {"log_version": "7"}))["card.html"].decode()
    assert page.count("data:image/png;base64,") == len(PICTURES)
    for words in ("taken at their word", "find those who leave", "campaign bring", "better or worse", "it look at"):
        assert words in page
    for sentence in trained.sentences:
        assert html.escape(sentence) in page
    assert "log_version" in page
    notes = card_files(churn_card(trained, pictures, {}))["card.md"].decode()
    assert f"| weight of the law of silence | {trained.model.attrition.weight:.2f} |" in notes
    assert ">nan" not in page


def test_the_judged_model_is_the_released_one(trained):
    assert not trained.refit
    assert trained.split == trained.report.split
    assert trained.model.base_rate != trained.report.base_rate
    assert trained.report.figures[0].auc > 0.7


def test_nothing_after_the_test_cutoff_reaches_the_judged_model(histories, trained):
    test_us = trained.report.as_of_us
    last = max(histories, key=lambda key: histories[key][-1])  # keeps the log's end where it is

    def without_future(key, days):
        past = [day for day in days if day * DAY_US < test_us]
        return past if past and key != last and int(key[1:]) % 2 else days

    other = train_churn(
        orders({key: without_future(key, days) for key, days in histories.items()}), CHURN_FEATURES, SETTINGS
    )
    assert other.report.base_rate > trained.report.base_rate + 0.1
    assert other.model.to_files() == trained.model.to_files()
    assert other.bands == trained.bands


def test_an_order_recorded_after_the_test_cutoff_labels_nobody_in_the_judged_fit(histories, trained):
    """What was recorded later might as well not have been written down, as far as the judged model knows."""
    test_us = trained.report.as_of_us
    last = max(histories, key=lambda key: histories[key][-1])  # keeps the log's end where it is
    start = test_us / DAY_US - SETTINGS.label_window_days  # of the calibration slice's label window
    ends = {key: [day for day in days if day < start] for key, days in histories.items()}
    silenced = {key for key, past in ends.items() if past and key != last and int(key[1:]) % 2}
    without = {key: ends[key] if key in silenced else days for key, days in histories.items()}
    late = {key: [day for day in histories[key] if day >= start] for key in silenced}
    # recorded 100 days after: after the test cut-off, all of them
    whole = CustomerView.union([orders(without), orders(late, recorded_after=100)])
    others = [train_churn(view, CHURN_FEATURES, SETTINGS) for view in (orders(without), whole)]
    assert others[0].model.base_rate > trained.model.base_rate + 0.1
    assert others[1].model.to_files() == others[0].model.to_files()


def test_bands_by_cost_and_drift_of_scores_are_of_what_was_said_of_customers_held_out(histories, trained):
    """Where a log is too short for a calibration slice, the model was fitted on the very rows of that cut-off."""
    given = trained.split
    split = TimeSplit((*given.train, given.calibration), given.calibration, given.test, "held_out_customers")
    view = orders(histories)
    rows, later = label_fitting(view, CHURN_FEATURES, split, SETTINGS, given.test)
    assert later is None
    found = fit_as_of(view, CHURN_FEATURES, split, SETTINGS, given.test)
    values = rows.values[rows.as_of_us == split.calibration]
    honest = np.sort(calibration_probabilities(found.model, values, fitted=True))
    said = np.sort(np.repeat(found.losses.probability, np.diff(found.losses.n_above, prepend=0).astype(int)))
    np.testing.assert_array_equal(said, honest)
    assert found.reference.scores.to_manifest() == Bins.of(honest).to_manifest()
    told = np.sort(found.model.probabilities(values))
    assert np.abs(told - honest).max() > 0.005
    np.testing.assert_allclose(np.quantile(honest, RANKS), np.quantile(found.model.reference, RANKS), atol=0.005)


def test_refitting_moves_the_released_model_forward_and_says_so(histories, trained):
    settings = ChurnSettings(**{**vars(SETTINGS), "refit_on_all": True})
    again = train_churn(orders(histories), CHURN_FEATURES, settings)
    assert again.refit
    assert again.split.calibration == again.report.as_of_us
    assert again.report.figures == trained.report.figures


def test_the_backtest_judges_each_cutoff_and_names_those_it_skips(histories):
    view = orders(histories)
    found = backtest_churn(view, CHURN_FEATURES, SETTINGS, [round(x * DAY_US) for x in (50, 200, 300)])
    assert [report.as_of_us // DAY_US for report in found.reports] == [200, 300]
    (skipped,) = found.skipped
    assert skipped[0] == 50 * DAY_US
    assert "60 are needed" in skipped[1]
    assert len(found.rows()) == 2 * len(found.reports[0].figures)
    (kept,) = found.stabilities
    assert kept.n == min(found.reports[1].n_customers, 1_000)
    assert 0 <= kept.same_first <= 1
    assert 0 < kept.top_overlap <= 1
    assert "Refitted and judged at 2 cut-offs, 100 days apart" in found.sentences[0]
    assert "too short for 6" in found.sentences[0]
    card = card_files(backtest_card(found, {"backtest.png": backtest_png(found)}))
    page = card["card.html"].decode()
    assert "Not judged: " in page
    assert all(format_instant(report.as_of_us)[:10] in page for report in found.reports)


def test_a_backtest_without_any_cutoff_left_is_refused(histories):
    with pytest.raises(NotEnoughDataError, match="none of 1 cut-offs"):
        backtest_churn(orders(histories), CHURN_FEATURES, SETTINGS, [50 * DAY_US])
