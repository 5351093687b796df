import sqlite3
from contextlib import closing

import pytest

from features.errors import ArtefactError, ConfigurationError, UnavailableError
from features.instants import parse_instant
from features.locking import exclusive
from features.workspace import Workspace
from training.promotion import PromotionDecision
from training.registry import CHALLENGER, CHAMPION, CHURN, ModelVersion, Registry
from training.tracking import open_tracking, recorded_run

AT = parse_instant("2026-01-02T03:04:05Z")
YES = PromotionDecision(True, ("there is no champion yet",), {"challenger.auc": 0.8})


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    return Registry(open_tracking(workspace, wait_seconds=0.2))


def logged_run(registry: Registry, content: bytes = b"tree") -> tuple[str, str]:
    with recorded_run(registry.tracking, CHURN, "a run", {}) as run:
        run.metrics({"auc": 0.8})
        digest = run.model_files({"booster.txt": content})
    return run.run_id, digest


def registered(registry: Registry, content: bytes = b"tree") -> ModelVersion:
    return registry.register(CHURN, *logged_run(registry, content), {"fingerprint": "f1"})


def test_a_registered_run_is_the_challenger_with_its_files(registry: Registry) -> None:
    version = registered(registry)
    assert (version.version, version.aliases, version.tags["fingerprint"]) == (1, (CHALLENGER,), "f1")
    assert registry.find(CHURN, CHALLENGER) == version
    assert registry.find(CHURN, CHAMPION) is None
    assert registry.files(version) == {"booster.txt": b"tree"}
    assert registry.metrics(version) == {"auc": 0.8}


def test_the_challenger_is_always_the_newest_and_versions_count_up(registry: Registry) -> None:
    registered(registry, b"one")
    registered(registry, b"two")
    newest, older = registry.versions(CHURN)
    assert (newest.version, newest.aliases) == (2, (CHALLENGER,))
    assert (older.version, older.aliases) == (1, ())
    assert registry.files(older) == {"booster.txt": b"one"}


def test_an_altered_file_of_a_version_is_refused(registry: Registry) -> None:
    version = registered(registry)
    (version.folder / "booster.txt").write_bytes(b"trap")
    with pytest.raises(ArtefactError, match=r"booster\.txt was altered"):
        registry.files(version)


def test_a_missing_model_or_version_is_named(registry: Registry) -> None:
    assert registry.find(CHURN, CHAMPION) is None
    assert registry.versions(CHURN) == ()
    registered(registry)
    with pytest.raises(ArtefactError, match="there is no 9 of holdfast-churn"):
        registry.version(CHURN, 9)


def test_a_promotion_moves_the_alias_and_keeps_who_when_from_to_and_why(registry: Registry) -> None:
    first = registered(registry, b"one")
    registry.promote(first, YES, who="ada", at_us=AT)
    assert registry.version(CHURN, CHAMPION).version == 1
    assert registry.find(CHURN, CHALLENGER) is None
    second = registered(registry, b"two")
    forced = PromotionDecision(True, ("not better", "forced: a new season"), {"gain": -0.01}, forced=True)
    registry.promote(second, forced, who="grace", at_us=AT + 1_000_000)
    assert registry.version(CHURN, CHAMPION).version == 2
    one, two = registry.promotions(CHURN)
    assert (one.at, one.who, one.from_version, one.to_version) == ("2026-01-02T03:04:05Z", "ada", None, 1)
    assert (two.at, two.who, two.from_version, two.to_version) == ("2026-01-02T03:04:06Z", "grace", 1, 2)
    assert two.reasons == ("not better", "forced: a new season")
    assert (dict(two.figures), two.forced) == ({"gain": -0.01}, True)
    assert registry.version(CHURN, 2).tags["promoted_because"] == "not better; forced: a new season"


def test_a_decision_against_promotes_nothing(registry: Registry) -> None:
    version = registered(registry)
    with pytest.raises(ConfigurationError, match="does not promote"):
        registry.promote(version, PromotionDecision(False, ("worse",), {}), who="ada", at_us=AT)
    assert registry.find(CHURN, CHAMPION) is None
    assert registry.promotions(CHURN) == ()


def test_two_promotions_at_once_cannot_write_one_entry_of_the_log(registry: Registry) -> None:
    version = registered(registry)
    lock = registry.tracking.database.with_name("promotions.lock")
    with exclusive(lock, "it"), pytest.raises(UnavailableError, match="promotion log is being written"):
        registry.promote(version, YES, who="ada", at_us=AT)
    assert registry.find(CHURN, CHAMPION) is None
    assert registry.promote(version, YES, who="ada", at_us=AT).to_version == 1


def test_a_promotion_leaves_a_challenger_that_came_in_between(registry: Registry) -> None:
    decided_about, newer = registered(registry), registered(registry, b"newer")
    registry.promote(decided_about, YES, who="ada", at_us=AT)
    assert registry.version(CHURN, CHALLENGER).version == newer.version
    assert registry.version(CHURN, CHAMPION).version == decided_about.version


def test_a_locked_database_registers_and_promotes_nothing(registry: Registry, workspace: Workspace) -> None:
    version = registered(registry, b"one")
    run_id, digest = logged_run(registry, b"two")
    with closing(sqlite3.connect(workspace.mlflow_database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked"):
            registry.register(CHURN, run_id, digest, {})
        with pytest.raises(UnavailableError, match="locked"):
            registry.promote(version, YES, who="ada", at_us=AT)
        other.execute("ROLLBACK")
    assert [v.version for v in registry.versions(CHURN)] == [1]
    assert registry.find(CHURN, CHAMPION) is None
    assert registry.promotions(CHURN) == ()


def test_an_interrupt_between_version_and_alias_leaves_no_version(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, digest = logged_run(registry)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry.tracking.client, "set_registered_model_alias", interrupted)
    with pytest.raises(KeyboardInterrupt):
        registry.register(CHURN, run_id, digest, {})
    assert registry.versions(CHURN) == ()


def test_an_interrupt_before_the_champion_moves_leaves_no_entry_in_the_promotion_log(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registered(registry)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry.tracking.client, "set_registered_model_alias", interrupted)
    with pytest.raises(KeyboardInterrupt):
        registry.promote(version, YES, who="ada", at_us=AT)
    assert registry.promotions(CHURN) == ()
    assert registry.find(CHURN, CHAMPION) is None


def test_files_written_by_half_are_not_registered(registry: Registry) -> None:
    run_id, _ = logged_run(registry)
    with pytest.raises(ArtefactError, match="manifest was altered"):
        registry.register(CHURN, run_id, "0" * 64, {})
    assert registry.versions(CHURN) == ()
