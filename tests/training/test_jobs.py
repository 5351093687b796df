import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

import training.jobs
from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError, NotEnoughDataError, UnavailableError
from features.event_log import EventLog
from features.instants import parse_instant
from features.workspace import Workspace
from serving.recommender import Recommender
from tests.plain_slates import plain_slate
from training.churn_files import read_churn_parts
from training.churn_problem import ChurnProblem
from training.churn_recording import DRIFT, MONITORING_FOLDER
from training.drift import DriftReference
from training.jobs import (
    backtest_churn_job,
    backtest_recommender_job,
    read_log,
    train_churn_job,
    train_recommender_job,
)
from training.registry import CHALLENGER, CHURN, RECOMMENDER, Registry
from training.settings import Settings
from training.tracking import open_tracking


def registry_of(workspace: Workspace) -> Registry:
    return Registry(open_tracking(workspace, wait_seconds=0.2))


def run_states(workspace: Workspace, experiment: str) -> list[str]:
    client = open_tracking(workspace).client
    found = client.get_experiment_by_name(experiment)
    return [run.info.status for run in client.search_runs([found.experiment_id])] if found else []


def test_the_churn_job_records_a_run_and_registers_a_loadable_challenger(
    shop: Workspace, quick_settings: Settings
) -> None:
    stages: list[str] = []
    trained = train_churn_job(shop, quick_settings, code_version="abc", progress=stages.append)
    registry = registry_of(shop)
    version = registry.version(CHURN, CHALLENGER)
    assert version == trained.version
    assert version.tags["log_version"] == str(EventLog.open(shop.event_log).version)
    assert version.tags["code_version"] == "abc"
    assert version.tags["fingerprint"] == CHURN_FEATURES.fingerprint()
    assert parse_instant(version.tags["learnt_until"]) <= parse_instant(version.tags["test_as_of"])
    parts = read_churn_parts(registry.files(version))
    model = parts.model
    assert parts.segments is not None
    assert model.fingerprint == CHURN_FEATURES.fingerprint()
    assert model.horizon_days == 60
    data = registry.tracking.client.get_run(trained.run_id).data
    assert data.params["churn.problem.horizons_days"] == "(20, 40, 60)"
    assert data.tags["problem"] == version.tags["problem"] == "silence"
    assert ChurnProblem.from_json(version.tags["question"]) == quick_settings.churn.problem
    assert version.tags["features_barred"] == "none"
    assert version.tags["leakage_alarm"] == data.tags["leakage_alarm"] == "none"
    assert version.tags["gate"] in trained.sentences
    assert data.params["churn.trees.max_rounds"] == "60"
    assert int(data.params["data.n_events"]) == EventLog.open(shop.event_log).n_events
    assert data.metrics["auc"] == pytest.approx(trained.metrics["auc"])
    assert {"baseline.recency.auc", "baseline.logistic.auc"} <= set(data.metrics)
    assert {"baseline.recency.auc_difference_ci_low", "baseline.logistic.auc_difference_ci_high"} <= set(data.metrics)
    run_folder = version.folder.parent
    pictures = {picture.name for picture in (run_folder / "plots").iterdir()}
    assert {"calibration.png", "gain_and_lift.png", "contacts.png", "slices.png", "reasons.png"} <= pictures
    for picture in pictures:
        assert (run_folder / "plots" / picture).read_bytes().startswith(b"\x89PNG")
    card = (run_folder / "card" / "card.html").read_text()
    assert card.count("data:image/png;base64,") == len(pictures)
    assert data.metrics["ece_60d"] == data.metrics["ece"]
    bins = DriftReference.from_json((run_folder / MONITORING_FOLDER / DRIFT).read_bytes())
    assert bins.digest == version.tags["drift_digest"]
    assert (bins.fingerprint, bins.feature_names) == (model.fingerprint, model.feature_names)
    assert trained.sentences[0].split(":")[0] in card
    assert stages[0] == "reading the event log"
    assert stages[-1] == "registering the challenger"


def test_the_recommender_job_records_a_run_and_registers_a_loadable_challenger(
    shop: Workspace, quick_settings: Settings
) -> None:
    trained = train_recommender_job(shop, quick_settings, code_version="abc")
    registry = registry_of(shop)
    version = registry.version(RECOMMENDER, CHALLENGER)
    recommender = Recommender.from_files(registry.files(version))
    assert len(recommender.item_ids) > 100
    assert len(plain_slate(recommender, None, 0, 5).items) == 5
    recorded = registry.metrics(version)
    assert recorded["ndcg_at_10"] == pytest.approx(trained.metrics["ndcg_at_10"])
    assert {"baseline.popularity.ndcg_at_10", "baseline.buy_again.ndcg_at_10"} <= set(recorded)
    assert set(trained.baselines) == {"popularity", "buy_again"}
    assert {"ndcg_at_10_difference_ci_low", "ndcg_at_10_difference_ci_high"} <= set(trained.baselines["buy_again"])
    assert "baseline.buy_again.ndcg_at_10_difference_ci_low" in recorded
    card = (version.folder.parent / "card" / "card.html").read_text()
    assert card.count("data:image/png;base64,") == 5


@pytest.mark.slow
def test_training_twice_gives_the_same_model_to_the_bit(shop: Workspace, quick_settings: Settings) -> None:
    first = train_churn_job(shop, quick_settings, code_version="abc")
    second = train_churn_job(shop, quick_settings, code_version="abc")
    assert (first.version.version, second.version.version) == (1, 2)
    assert first.version.digest == second.version.digest


def test_ctrl_c_while_fitting_leaves_a_killed_run_and_no_version(
    shop: Workspace, quick_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.jobs, "train_churn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_churn_job(shop, quick_settings, code_version="abc")
    assert run_states(shop, CHURN) == ["KILLED"]
    assert registry_of(shop).versions(CHURN) == ()


def test_a_locked_mlflow_database_stops_the_job_before_it_trains(shop: Workspace, quick_settings: Settings) -> None:
    hasty = replace(quick_settings, tracking=replace(quick_settings.tracking, lock_wait_seconds=0.2))

    def unreached(stage: str) -> None:
        raise AssertionError(f"the job went on to {stage}")

    with closing(sqlite3.connect(shop.mlflow_database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UnavailableError, match="locked"):
            train_churn_job(shop, hasty, code_version="abc", progress=unreached)
        other.execute("ROLLBACK")
    assert registry_of(shop).versions(CHURN) == ()


def test_a_database_locked_while_the_model_was_fitted_registers_nothing(
    shop: Workspace, quick_settings: Settings
) -> None:
    hasty = replace(quick_settings, tracking=replace(quick_settings.tracking, lock_wait_seconds=0.2))
    with closing(sqlite3.connect(shop.mlflow_database, isolation_level=None)) as other:

        def lock_before_registering(stage: str) -> None:
            if stage == "registering the challenger":
                other.execute("BEGIN IMMEDIATE")

        with pytest.raises(UnavailableError, match="locked"):
            train_churn_job(shop, hasty, code_version="abc", progress=lock_before_registering)
        other.execute("ROLLBACK")
    assert registry_of(shop).versions(CHURN) == ()
    assert run_states(shop, CHURN) == ["FINISHED"]


def test_a_log_that_is_too_short_says_so_and_leaves_a_failed_run(shop: Workspace, quick_settings: Settings) -> None:
    long = replace(
        quick_settings, churn=replace(quick_settings.churn, problem=quick_settings.churn.problem.over(700, 0))
    )
    with pytest.raises(NotEnoughDataError, match="700 of label window"):
        train_churn_job(shop, long, code_version="abc")
    assert run_states(shop, CHURN) == ["FAILED"]
    assert registry_of(shop).versions(CHURN) == ()


def test_without_a_log_the_message_says_to_import(workspace: Workspace, quick_settings: Settings) -> None:
    with pytest.raises(ArtefactError, match="import data first"):
        train_churn_job(workspace, quick_settings, code_version="abc")


def test_an_empty_log_is_not_enough(workspace: Workspace) -> None:
    EventLog.create(workspace.event_log, n_buckets=2)
    with pytest.raises(NotEnoughDataError, match="0 events"):
        read_log(workspace)


def test_the_log_ends_just_after_its_last_event(shop: Workspace) -> None:
    data = read_log(shop)
    events = EventLog.open(shop.event_log).read(columns=["occurred_at", "recorded_at"])
    occurred = np.asarray(events["occurred_at"].cast("int64"))
    recorded = np.asarray(events["recorded_at"].cast("int64"))
    assert (data.first_us, data.end_us) == (occurred.min(), occurred.max() + 1)
    assert data.known_us == recorded.max() + 1
    assert data.n_events == events.num_rows


@pytest.mark.slow
def test_a_backtest_judges_several_cutoffs_and_registers_nothing(shop: Workspace, quick_settings: Settings) -> None:
    churn = backtest_churn_job(shop, quick_settings, code_version="abc", cutoffs=4)
    assert len({row["as_of"] for row in churn.backtest.rows()}) == 4
    assert churn.card.read_text().count("data:image/png;base64,") == 1
    reports = backtest_recommender_job(shop, quick_settings, cutoffs=2)
    assert reports[1].as_of_us - reports[0].as_of_us == 30 * 86_400_000_000
    registry = registry_of(shop)
    assert registry.versions(CHURN) == ()
    assert registry.versions(RECOMMENDER) == ()


@pytest.mark.slow
def test_training_with_a_backtest_puts_it_on_the_card(shop: Workspace, quick_settings: Settings) -> None:
    trained = train_churn_job(shop, quick_settings, code_version="abc", backtest=True)
    card = (trained.version.folder.parent / "card" / "card.html").read_text()
    assert "Did it hold before?" in card
    assert "From one retraining to the next" in card
    recorded = registry_of(shop).metrics(trained.version)
    assert recorded["backtest.n_cutoffs"] >= 6
    assert {"backtest.1.auc", "backtest.2.reasons_kept", "backtest.6.ece_60d"} <= set(recorded)


def test_a_recommender_backtest_longer_than_the_log_is_refused(shop: Workspace, quick_settings: Settings) -> None:
    with pytest.raises(NotEnoughDataError, match="ask for fewer"):
        backtest_recommender_job(shop, quick_settings, cutoffs=20)
