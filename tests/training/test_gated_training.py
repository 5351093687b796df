"""The whole road where there are too few customers, and where settings are searched for first."""

import json
from dataclasses import replace
from functools import partial

import pytest

from features.churn_features import CHURN_FEATURES
from features.workspace import Workspace
from training.churn_evaluation import train_churn
from training.churn_files import read_churn_parts
from training.comparing import decide_promotion
from training.jobs import read_log, train_churn_job
from training.registry import Registry
from training.settings import Settings
from training.tracking import open_tracking
from training.tuned import TuningSettings
from training.tuning import tune_churn

RECENCY = CHURN_FEATURES.names.index("orders_recency_days")


def test_too_few_customers_get_a_baseline_marked_as_such(shop: Workspace, quick_settings: Settings) -> None:
    strict = replace(quick_settings, churn=replace(quick_settings.churn, full_model_each_outcome=5_000))
    trained = train_churn_job(shop, strict, code_version="abc")
    registry = Registry(open_tracking(shop))
    model = read_churn_parts(registry.files(trained.version)).model
    assert model.baseline
    assert model.n_trees == 0
    assert trained.version.tags["baseline"] == "true"
    gate = trained.version.tags["gate"]
    assert " churners, need 5,000; " in gate
    assert "extend the history" in gate
    assert gate in trained.sentences
    card = (trained.version.folder.parent / "card" / "card.html").read_text()
    assert "need 5,000" in card

    # it serves meanwhile: the first one needs to beat nobody
    assert decide_promotion(shop, registry, trained.version, strict).promote


def test_a_baseline_knows_days_since_the_last_order_alone(small_shop: Workspace, quick_settings: Settings) -> None:
    data = read_log(small_shop)
    strict = replace(quick_settings.churn, full_model_each_outcome=5_000)
    model = train_churn(data.view, CHURN_FEATURES, strict, observed_until_us=data.end_us).model
    assert {basis.feature for basis in model.linear.bases} == {RECENCY}
    assert model.horizons_days == strict.problem.horizons_days


def test_nothing_is_tuned_where_a_baseline_is_fitted(small_shop: Workspace, quick_settings: Settings) -> None:
    data = read_log(small_shop)
    strict = replace(quick_settings.churn, full_model_each_outcome=5_000)
    trained = train_churn(
        data.view,
        CHURN_FEATURES,
        strict,
        observed_until_us=data.end_us,
        tuner=lambda *_: pytest.fail("a baseline was tuned"),
    )
    assert trained.tuned is None


@pytest.mark.slow
def test_a_search_is_recorded_with_every_trial_and_what_came_of_it(shop: Workspace, quick_settings: Settings) -> None:
    said: list[str] = []
    tuner = partial(
        tune_churn, tuning=TuningSettings(trials=3, minutes=0), elapsed_seconds=lambda: 0.0, progress=said.append
    )
    trained = train_churn_job(shop, quick_settings, code_version="abc", tuner=tuner)
    assert [line.split(":")[0] for line in said] == ["trial 1 of 3", "trial 2 of 3", "trial 3 of 3"]
    run = open_tracking(shop).client.get_run(trained.run_id)
    assert run.data.metrics["tuning.n_trials"] == 3.0
    assert run.data.params["tuned.stopped_by"] == "trials"
    assert run.data.params["tuned.adopted"] in {"True", "False"}
    assert {"tuned.trees.leaves", "tuned.trees.l2", "tuned.linear_c"} <= set(run.data.params)
    trials = json.loads((trained.version.folder.parent / "tuning" / "trials.json").read_text())
    assert [row["trial"] for row in trials] == [0, 1, 2]
    assert any(sentence.startswith("Tuning tried 3 settings") for sentence in trained.sentences)
    again = train_churn_job(shop, quick_settings, code_version="abc", tuner=tuner)
    assert again.version.digest == trained.version.digest


def test_what_is_tuned_looks_at_training_rows_alone(small_shop: Workspace, quick_settings: Settings) -> None:
    data = read_log(small_shop)
    seen = []

    def spying(rows, settings):
        seen.append(rows)
        tuning = TuningSettings(trials=1, minutes=0)
        return tune_churn(rows, settings, tuning=tuning, elapsed_seconds=lambda: 0.0, progress=lambda _: None)

    trained = train_churn(data.view, CHURN_FEATURES, quick_settings.churn, observed_until_us=data.end_us, tuner=spying)
    (rows,) = seen
    assert set(rows.cutoffs) <= set(trained.split.train)
    assert rows.n_rows == trained.n_training_rows
