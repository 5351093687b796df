import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.errors import ArtefactError
from features.feature_set import FeatureSet
from features.instants import DAY_US, parse_instant
from features.workspace import Workspace
from serving.catalogue import Catalogue
from serving.churn_model import ChurnModel
from serving.recommender import Recommender, RecommenderSettings
from serving.release import load_release
from serving.release_files import GOLDEN, MANIFEST, described_as
from serving.release_signature import SIGNATURE, TrustedKeys
from serving.sources.popularity import PopularitySource
from tests.churn_worlds import labelled
from tests.segment_tables import table_of
from training.band_costs import loss_curve
from training.churn import fit_churn
from training.churn_files import ChurnParts
from training.churn_settings import ChurnSettings
from training.cost_settings import CostSettings
from training.promotion import PromotionDecision
from training.registry import CHAMPION, CHURN, RECOMMENDER, Registry
from training.release_keys import rotate, signing_key
from training.release_settings import BandSettings, ReleaseSettings
from training.releasing import Released, put_in_store, release
from training.segment_settings import SegmentSettings
from training.segments import fit_segments
from training.tracking import open_tracking, recorded_run
from training.training_set import TrainingSet

AT = parse_instant("2026-01-02T03:04:05Z")
PROMOTE = PromotionDecision(True, ("there is no champion yet",), {})


def rows(n: int, cutoff: int, seed: int) -> TrainingSet:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, len(CHURN_FEATURES)))
    labels = rng.random(n) < 1 / (1 + np.exp(-values[:, 0]))
    customers = np.arange(n, dtype=np.int64)
    as_of = np.full(n, cutoff, dtype=np.int64)
    return labelled(values, labels, customers, as_of)


@pytest.fixture(scope="module")
def churn() -> ChurnModel:
    return fit_churn(rows(600, 0, 1), rows(400, 90 * DAY_US, 2), ChurnSettings(num_threads=1))


@pytest.fixture(scope="module")
def recommender() -> Recommender:
    sources = (PopularitySource(np.ones(3, np.float32)),)
    catalogue = Catalogue.nothing_said(("a", "b", "c"))
    return Recommender(catalogue, sources, RecommenderSettings(blend={"popularity": 1.0}))


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    return Registry(open_tracking(workspace))


def register(registry: Registry, name: str, files: dict[str, bytes], fingerprint: str | None = None) -> None:
    with recorded_run(registry.tracking, name, "a run", {}) as run:
        run.metrics({"auc": 0.75})
        digest = run.model_files(files)
    tags = {"fingerprint": fingerprint or CHURN_FEATURES.fingerprint(), "log_version": "7", "code_version": "abc"}
    registry.register(name, run.run_id, digest, tags)


@pytest.fixture
def both(registry: Registry, churn: ChurnModel, recommender: Recommender) -> Registry:
    for name, files in ((CHURN, churn.to_files()), (RECOMMENDER, recommender.to_files())):
        register(registry, name, files)
        registry.promote(registry.version(name, 1), PROMOTE, who="ada", at_us=AT)
    return registry


def trusted(workspace: Workspace) -> TrustedKeys:
    return TrustedKeys.load(workspace.trusted_release_keys)


def released(workspace: Workspace, registry: Registry, **changes: object) -> Released:
    arguments = {"feature_set": CHURN_FEATURES, "settings": ReleaseSettings(), "created_at_us": AT, **changes}
    return release(workspace, registry, **arguments)


def test_a_release_of_the_champions_is_loadable_from_its_folder_and_from_the_store(
    workspace: Workspace, both: Registry, churn: ChurnModel
) -> None:
    made = released(workspace, both)
    assert made.folder == workspace.releases / made.name
    assert made.tag == f"holdfast:{made.name}"
    stored = workspace.bentoml_home / "models" / "holdfast" / made.name / "release"
    values = rows(5, 0, 3).values
    for folder in (made.folder, stored):
        loaded = load_release(folder, CHURN_FEATURES, trusted(workspace))
        assert loaded.name == made.name
        np.testing.assert_array_equal(loaded.churn.probabilities(values), churn.probabilities(values))
    assert made.provenance["churn"]["version"] == 1
    assert made.provenance["churn"]["log_version"] == "7"
    assert made.provenance["recommender"]["code_version"] == "abc"
    assert made.provenance["recommender"]["metrics"] == {"auc": 0.75}


def test_bentoml_itself_finds_the_release_in_its_store(workspace: Workspace, both: Registry) -> None:
    import bentoml
    from bentoml._internal.models import ModelStore

    made = released(workspace, both)
    found = bentoml.models.get(
        f"holdfast:{made.name}", _model_store=ModelStore(workspace.bentoml_home / "models"), model_aliases={}
    )
    assert json.loads(found.info.metadata["provenance"])["churn"]["run_id"] == made.provenance["churn"]["run_id"]
    assert found.info.labels["fingerprint"] == CHURN_FEATURES.fingerprint()[:12]


def test_no_pickle_is_written_anywhere(workspace: Workspace, both: Registry) -> None:
    released(workspace, both)
    suffixes = {path.suffix for path in (*workspace.releases.rglob("*"), *workspace.bentoml_home.rglob("*"))}
    assert suffixes == {"", ".json", ".sig", ".txt", ".npy", ".yaml"}


def test_releasing_the_same_again_changes_nothing(workspace: Workspace, both: Registry) -> None:
    first = released(workspace, both)
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    second = released(workspace, both, created_at_us=AT + DAY_US)
    assert second == first
    assert {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in workspace.releases.iterdir()] == [first.name]


def test_other_bands_are_another_release(workspace: Workspace, both: Registry) -> None:
    first = released(workspace, both)
    second = released(workspace, both, settings=ReleaseSettings(BandSettings(high_share=0.2)))
    assert first.name != second.name


def test_bands_are_chosen_from_costs_and_segments_are_carried(
    workspace: Workspace, registry: Registry, churn: ChurnModel, recommender: Recommender
) -> None:
    # an offer to a sure leaver keeps .5 * .2 of 1,000 and costs 60: who leaves with .6 or more repays it
    losses = loss_curve(np.array([0.9, 0.6, 0.3]), np.full(3, 1_000.0), horizon_days=90, n_eligible=3)
    segments = fit_segments(table_of({}, {}), SegmentSettings())
    register(registry, CHURN, ChurnParts(churn, losses, segments).to_files())
    register(registry, RECOMMENDER, recommender.to_files())
    costs = CostSettings(margin_share=0.5, save_rate=0.2, offer_minor=60)

    plain = released(workspace, registry, churn=1, recommender=1)
    costly = released(workspace, registry, churn=1, recommender=1, costs=costs)

    loaded = load_release(costly.folder, CHURN_FEATURES, trusted(workspace))
    assert (loaded.bands.high, loaded.bands.choice.by) == (0.9, "costs")  # at .6 the gain is exactly 0
    assert loaded.bands.choice.figures["expected_profit_minor"] == pytest.approx(30)
    assert load_release(plain.folder, CHURN_FEATURES, trusted(workspace)).bands.choice.by == "shares"
    assert loaded.segments.to_manifest() == segments.to_manifest()
    assert plain.name != costly.name


def test_without_a_champion_nothing_is_released_unless_a_version_is_named(
    workspace: Workspace, registry: Registry, churn: ChurnModel, recommender: Recommender
) -> None:
    register(registry, CHURN, churn.to_files())
    register(registry, RECOMMENDER, recommender.to_files())
    with pytest.raises(ArtefactError, match="no champion of holdfast-churn"):
        released(workspace, registry)
    assert not workspace.releases.exists()
    assert released(workspace, registry, churn=1, recommender=1).provenance["churn"]["version"] == 1


def test_models_of_different_feature_sets_are_not_released_together(
    workspace: Workspace, both: Registry, recommender: Recommender
) -> None:
    register(both, RECOMMENDER, recommender.to_files(), fingerprint="f" * 64)
    with pytest.raises(ArtefactError, match="holdfast-recommender 2 was trained with feature set ffffffffffff"):
        released(workspace, both, recommender=2)
    other = FeatureSet("other", CHURN_FEATURES.features[:-1])
    with pytest.raises(ArtefactError, match="holdfast-churn 1 was trained with feature set"):
        released(workspace, both, feature_set=other)
    assert not workspace.releases.exists()


def test_a_champion_that_this_code_cannot_read_is_refused_with_the_way_out(
    workspace: Workspace, both: Registry, churn: ChurnModel
) -> None:
    files = churn.to_files()
    older = files | {"churn.json": files["churn.json"].replace(b'"format": 3', b'"format": 2')}
    register(both, CHURN, older)
    way_out = r'takes this one\'s place by: holdfast promote churn --force --why "made by this code"'
    says = rf"holdfast-churn 2 cannot be released: churn\.json is not a churn model of format 3.* {way_out}"
    with pytest.raises(ArtefactError, match=says):
        released(workspace, both, churn=2)
    register(both, CHURN, files, fingerprint="f" * 64)
    with pytest.raises(ArtefactError, match=f"holdfast-churn 3 was trained with .* {way_out}"):
        released(workspace, both, churn=3)
    assert not workspace.releases.exists()


def test_a_damaged_release_folder_is_refused_and_not_copied(workspace: Workspace, both: Registry) -> None:
    made = released(workspace, both)
    (made.folder / "churn" / "booster.txt").write_bytes(b"trap")
    with pytest.raises(ArtefactError, match=r"booster\.txt"):
        put_in_store(made.folder, workspace.root / "another", CHURN_FEATURES, trusted(workspace))
    assert not (workspace.root / "another").exists()


def test_models_that_this_code_answers_otherwise_are_released_again_under_another_name(
    workspace: Workspace, both: Registry
) -> None:
    first = released(workspace, both)
    path = first.folder / GOLDEN
    other = json.loads(path.read_text())
    other["probabilities"][0] /= 2  # as if written by code that made something else of the same files
    path.write_text(json.dumps(other))
    manifest = json.loads((first.folder / MANIFEST).read_text())
    manifest["files"][GOLDEN] = described_as(path.read_bytes())
    (first.folder / MANIFEST).write_text(json.dumps(manifest))
    (first.folder / SIGNATURE).write_bytes(signing_key(workspace).sign((first.folder / MANIFEST).read_bytes()))
    second = released(workspace, both)
    assert second.name == f"{first.name}-2"
    assert load_release(second.folder, CHURN_FEATURES, trusted(workspace)).name == second.name
    assert released(workspace, both) == second


def test_after_a_change_of_key_the_same_models_are_another_release(workspace: Workspace, both: Registry) -> None:
    first = released(workspace, both)
    rotate(workspace)
    assert released(workspace, both).name != first.name


def test_a_damaged_copy_in_the_store_is_replaced(workspace: Workspace, both: Registry) -> None:
    made = released(workspace, both)
    stored = workspace.bentoml_home / "models" / "holdfast" / made.name / "release"
    (stored / "churn" / "booster.txt").write_bytes(b"trap")
    assert released(workspace, both) == made
    assert load_release(stored, CHURN_FEATURES, trusted(workspace)).name == made.name


def test_bentomls_global_home_is_not_touched(
    workspace: Workspace, both: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "elsewhere"))
    released(workspace, both)
    assert not (tmp_path / "elsewhere").exists()


def test_a_version_with_an_altered_file_is_not_released(workspace: Workspace, both: Registry) -> None:
    version = both.version(CHURN, CHAMPION)
    (version.folder / "churn.json").write_bytes(b"{}")
    with pytest.raises(ArtefactError, match=r"churn\.json was altered"):
        released(workspace, both)
    assert replace(version) == both.version(CHURN, CHAMPION)
