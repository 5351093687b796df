import pytest

from features.churn_features import CHURN_FEATURES
from features.instants import parse_instant
from features.workspace import Workspace
from serving.releases import load_named
from tests.tiny_shop import churn_model, recommender
from training.pipeline import run_pipeline
from training.promotion import PromotionDecision
from training.registry import CHAMPION, CHURN, RECOMMENDER, Registry
from training.settings import Settings
from training.tracking import open_tracking, recorded_run

AT = parse_instant("2026-01-02T03:04:05Z")


def champion_of(registry: Registry, name: str, files: dict[str, bytes], fingerprint: str) -> None:
    with recorded_run(registry.tracking, name, "before the upgrade", {}) as run:
        run.metrics({"auc": 0.99, "ndcg_at_10": 0.99})
        digest = run.model_files(files)
    made = registry.register(name, run.run_id, digest, {"fingerprint": fingerprint, "log_version": "0"})
    registry.promote(made, PromotionDecision(True, ("it was good",), {}), who="ada", at_us=AT)


@pytest.mark.slow
def test_after_an_upgrade_the_night_job_replaces_champions_that_the_code_cannot_read(
    shop: Workspace, quick_settings: Settings
) -> None:
    registry = Registry(open_tracking(shop))
    files = churn_model(0.0).to_files()
    older = files | {"churn.json": files["churn.json"].replace(b'"format": 3', b'"format": 2')}
    champion_of(registry, CHURN, older, CHURN_FEATURES.fingerprint())
    champion_of(registry, RECOMMENDER, recommender().to_files(), "f" * 64)
    made = run_pipeline(shop, quick_settings, code_version="abc", who="ada", now_us=AT + 1)
    for name in (CHURN, RECOMMENDER):
        champion = registry.find(name, CHAMPION)
        assert champion is not None
        assert champion.version == 2
        record = registry.promotions(name)[-1]
        assert (record.from_version, record.to_version) == (1, 2)
        assert any(
            "champion version 1 counts as none, because this code cannot read" in said for said in record.reasons
        )
    assert load_named(made.released.name, shop).manifest["provenance"]
    # the next night compares with a champion that can be read
    again = run_pipeline(shop, quick_settings, code_version="abc", who="ada", now_us=AT + 2)
    assert not any("counts as none" in said for one in again.decisions.values() for said in one.reasons)
