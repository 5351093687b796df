from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError, ConfigurationError
from features.instants import parse_instant
from features.workspace import Workspace
from tests.tiny_shop import churn_model
from training.churn_settings import TreeSettings
from training.comparing import compare_versions, decide_promotion
from training.jobs import train_churn_job, train_recommender_job
from training.promotion import PromotionDecision
from training.registry import CHURN, RECOMMENDER, ModelVersion, Registry
from training.settings import Settings
from training.tracking import open_tracking

AT = parse_instant("2026-01-02T03:04:05Z")
PROMOTE = PromotionDecision(True, ("there is no champion yet",), {})


@pytest.fixture
def registry(shop: Workspace) -> Registry:
    return Registry(open_tracking(shop))


@pytest.mark.slow
def test_two_churn_versions_are_judged_on_the_same_rows(
    shop: Workspace, registry: Registry, quick_settings: Settings
) -> None:
    usual = train_churn_job(shop, quick_settings, code_version="abc")
    stunted = replace(quick_settings.churn, trees=TreeSettings(max_rounds=1, min_rows_in_leaf=150, leaves=2))
    other = train_churn_job(shop, replace(quick_settings, churn=stunted), code_version="abc")
    # in a shop this small trees may do harm: which of the two is the better one is not what is asked here
    poor, good = sorted((usual, other), key=lambda trained: trained.metrics["auc"])
    found = compare_versions(shop, registry, poor.version, good.version, quick_settings)
    assert found.challenger.slice_name == found.champion.slice_name
    # judged again from the files, the figures are those that training recorded
    assert found.challenger.metrics["auc"] == pytest.approx(poor.metrics["auc"], abs=1e-12)
    assert found.champion.metrics["auc"] == pytest.approx(good.metrics["auc"], abs=1e-12)
    # the rows are labelled by the question that both models answer, whatever the settings ask for by now
    thirty = replace(
        quick_settings, churn=replace(quick_settings.churn, problem=quick_settings.churn.problem.over(30, 0))
    )
    assert compare_versions(shop, registry, poor.version, good.version, thirty) == found
    low, high = found.difference
    assert low <= poor.metrics["auc"] - good.metrics["auc"] <= high

    registry.promote(good.version, PROMOTE, who="ada", at_us=AT)
    decision = decide_promotion(shop, registry, registry.version(CHURN, poor.version.version), quick_settings)
    assert poor.metrics["auc"] < good.metrics["auc"]
    assert not decision.promote
    assert decision.figures["gain"] == pytest.approx(poor.metrics["auc"] - good.metrics["auc"])


@pytest.mark.slow
def test_a_model_compared_with_itself_differs_by_nothing_and_is_not_worse(
    shop: Workspace, registry: Registry, quick_settings: Settings
) -> None:
    first = train_churn_job(shop, quick_settings, code_version="abc")
    second = train_churn_job(shop, quick_settings, code_version="abc")
    assert compare_versions(shop, registry, second.version, first.version, quick_settings).difference == (0.0, 0.0)


@pytest.mark.slow
def test_versions_that_answer_different_questions_are_not_compared(
    shop: Workspace, registry: Registry, quick_settings: Settings
) -> None:
    sixty = train_churn_job(shop, quick_settings, code_version="abc")
    shorter = replace(
        quick_settings, churn=replace(quick_settings.churn, problem=quick_settings.churn.problem.over(30, 0))
    )
    thirty = train_churn_job(shop, shorter, code_version="abc")
    with pytest.raises(ArtefactError, match="different questions"):
        compare_versions(shop, registry, thirty.version, sixty.version, shorter)


@pytest.mark.slow
def test_a_champion_that_learnt_from_the_test_slice_is_not_judged_on_it(
    shop: Workspace, registry: Registry, quick_settings: Settings
) -> None:
    first = train_churn_job(shop, quick_settings, code_version="abc")
    told = replace(first.version, tags={**first.version.tags, "learnt_until": "2026-01-01T00:00:00Z"})
    with pytest.raises(ArtefactError, match="cannot be judged fairly"):
        compare_versions(shop, registry, first.version, told, quick_settings)


def test_recommenders_of_one_slice_are_compared_by_the_figures_of_their_twins(
    shop: Workspace, registry: Registry, quick_settings: Settings
) -> None:
    first = train_recommender_job(shop, quick_settings, code_version="abc")
    registry.promote(first.version, PROMOTE, who="ada", at_us=AT)
    second = train_recommender_job(shop, quick_settings, code_version="abc")
    champion = registry.version(RECOMMENDER, 1)
    found = compare_versions(shop, registry, second.version, champion, quick_settings)
    assert found.challenger.metrics["ndcg_at_10"] == found.champion.metrics["ndcg_at_10"]
    decision = decide_promotion(shop, registry, second.version, quick_settings)
    assert not decision.promote
    with pytest.raises(ConfigurationError, match="champion already"):
        decide_promotion(shop, registry, champion, quick_settings)


def test_an_older_recommender_is_judged_itself_if_it_was_fitted_before_the_slice(
    shop: Workspace, registry: Registry, quick_settings: Settings
) -> None:
    trained = train_recommender_job(shop, quick_settings, code_version="abc")
    before = {"learnt_until": trained.version.tags["test_as_of"], "test_as_of": "2025-01-01T00:00:00Z"}
    older = replace(trained.version, tags={**trained.version.tags, **before})
    found = compare_versions(shop, registry, trained.version, older, quick_settings)
    # this one was in truth fitted on all, so it is told the answers and must look better than its honest twin
    assert found.champion.metrics["ndcg_at_10"] > found.challenger.metrics["ndcg_at_10"]


def test_versions_of_different_models_are_refused(
    shop: Workspace, registry: Registry, quick_settings: Settings
) -> None:
    trained = train_recommender_job(shop, quick_settings, code_version="abc")
    other = replace(trained.version, name=CHURN)
    with pytest.raises(ConfigurationError, match="different models"):
        compare_versions(shop, registry, trained.version, other, quick_settings)


class Registered:
    """A registry that knows one champion, and figures under which versions lose to recency, or just beat it."""

    def __init__(self, champion: ModelVersion | None, recency: float, files: dict[int, dict[str, bytes]]) -> None:
        self.champion, self.recency, self.kept = champion, recency, files

    def metrics(self, _: ModelVersion) -> dict[str, float]:
        return {"auc": 0.7, "baseline.recency.auc": self.recency}

    def files(self, of: ModelVersion) -> dict[str, bytes]:
        if of.version not in self.kept:
            raise ArtefactError("churn.json was altered")
        return self.kept[of.version]

    def find(self, _name: str, _which: str) -> ModelVersion | None:
        return self.champion


def version(number: int, **tags: str) -> ModelVersion:
    known = {"test_as_of": "2026-01-01", "fingerprint": CHURN_FEATURES.fingerprint()}
    return ModelVersion(CHURN, number, "run", Path("model"), "digest", (), {**known, **tags})


READABLE = churn_model(0.0).to_files()
OLDER = READABLE | {"churn.json": READABLE["churn.json"].replace(b'"format": 3', b'"format": 2')}


def decided(
    workspace: Workspace,
    challenger: ModelVersion,
    champion: ModelVersion | None,
    *,
    recency: float = 0.7,
    files: dict[int, dict[str, bytes]] | None = None,
) -> PromotionDecision:
    kept = files or {1: READABLE, 2: READABLE}
    return decide_promotion(workspace, cast("Registry", Registered(champion, recency, kept)), challenger, Settings())


def test_a_baseline_never_takes_the_place_of_a_full_model(workspace: Workspace) -> None:
    gate = "312 churners, need 500; extend the history or shorten the horizon."
    for full in ({}, {"baseline": "false"}):
        found = decided(workspace, version(2, baseline="true", gate=gate), version(1, **full))
        assert not found.promote
        assert found.reasons == (f"version 2 is a baseline and the champion a full model: {gate}",)


def test_the_first_baseline_becomes_champion_without_beating_baselines(workspace: Workspace) -> None:
    assert decided(workspace, version(1, baseline="true"), None).promote
    assert not decided(workspace, version(1, baseline="false"), None).promote


@pytest.mark.parametrize(
    ("champion", "files", "because"),
    [
        (version(1), OLDER, "churn.json is not a churn model of format 3"),
        (version(1, fingerprint="f" * 64), READABLE, "it was trained with feature set ffffffffffff"),
    ],
    ids=["an older format", "other features"],
)
def test_a_champion_that_this_code_cannot_read_counts_as_none_and_the_reasons_say_so(
    workspace: Workspace, champion: ModelVersion, files: dict[str, bytes], because: str
) -> None:
    kept = {1: files, 2: READABLE}
    found = decided(workspace, version(2), champion, recency=0.6, files=kept)
    assert found.promote
    assert not found.forced
    assert found.reasons[0].startswith("beats the baseline recency")
    assert found.reasons[-1].startswith(
        f"the champion version 1 counts as none, because this code cannot read it: {because}"
    )
    assert "there is no champion yet" not in found.reasons
    # the challenger has its baselines to beat all the same
    assert not decided(workspace, version(2), champion, files=kept).promote


def test_neither_an_altered_champion_nor_a_challenger_that_cannot_be_read_is_taken_for_an_upgrade(
    workspace: Workspace,
) -> None:
    altered = decided(workspace, version(2), version(1), recency=0.6, files={2: READABLE})
    assert (altered.promote, altered.reasons) == (False, ("not comparable: churn.json was altered",))
    both_old = decided(workspace, version(2), version(1), recency=0.6, files={1: OLDER, 2: OLDER})
    assert not both_old.promote
    assert both_old.reasons[0].startswith("this code cannot read version 2 itself: churn.json is not")
