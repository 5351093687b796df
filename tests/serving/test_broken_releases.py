"""Broken releases of every kind: each is refused by its own reason, and the one before goes on serving."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from features.churn_features import CHURN_FEATURES
from features.instants import DAY_US, format_instant
from serving.release_files import GOLDEN, MANIFEST, RELEASE_FORMAT, described_as
from serving.release_refusal import Refusal
from serving.release_signature import SIGNATURE, SigningKey
from serving.releases import Releases
from serving.rollouts.state import RolloutState
from serving.storefronts import Storefronts
from tests.tiny_shop import KEY, NOW_US, TRUSTED, TinyShop, edit_manifest, tiny_shop

STRANGER = SigningKey(bytes(32))
TREES, MODEL, FACTORS = "churn/booster.txt", "churn/churn.json", "recommender/als.item_factors.npy"
EARLIER = format_instant(NOW_US - DAY_US)


def flip(path: Path, at: float = 0.5) -> None:
    """One bit, at this part of the file."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def resign(folder: Path, manifest: bytes, key: SigningKey = KEY) -> None:
    (folder / MANIFEST).write_bytes(manifest)
    (folder / SIGNATURE).write_bytes(key.sign(manifest))


def put(folder: Path, path: str, data: bytes) -> None:
    """Another file, and a signed manifest that fits it: what a fault of our own code would write."""
    (folder / path).write_bytes(data)
    edit_manifest(folder, lambda manifest: manifest["files"].update({path: described_as(data)}))


def edit(path: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A JSON file of the release changed, hashed and signed again."""

    def broken(folder: Path) -> None:
        content = json.loads((folder / path).read_text())
        change(content)
        put(folder, path, json.dumps(content).encode())

    return broken


def named(**changes: Any) -> Callable[[Path], None]:
    """Members of the manifest changed, and signed again."""
    return lambda folder: edit_manifest(folder, lambda manifest: manifest.update(changes))


def described(path: str, source: str, **changes: Any) -> Callable[[Path], None]:
    """A file in the manifest as another one is described there, with changes."""
    return lambda folder: edit_manifest(
        folder, lambda manifest: manifest["files"].update({path: manifest["files"][source] | changes})
    )


def linked(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere"
    (folder / TREES).rename(elsewhere)
    (folder / TREES).symlink_to(elsewhere)


def replayed(folder: Path) -> None:
    """The old release's folder, signed as it should be, where the new one's name leads."""
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "first", folder)


def twice(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    resign(folder, text.replace("{", '{"name": "other",', 1).encode())


def borrowed(folder: Path) -> None:
    """A stranger's signature under the name of the key that is trusted."""
    signed = json.loads(STRANGER.sign((folder / MANIFEST).read_bytes()))
    (folder / SIGNATURE).write_text(json.dumps(signed | {"key_id": KEY.key_id}))


def without(path: str) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        (folder / path).unlink()
        edit_manifest(folder, lambda manifest: manifest["files"].pop(path))

    return broken


def constant(folder: Path) -> None:
    """Trees of weight 0 and a golden set that agrees with them."""
    edit(MODEL, lambda model: model.update(tree_weight=0.0))(folder)
    golden = json.loads((folder / GOLDEN).read_text())
    golden["probabilities"] = [0.5] * len(golden["rows"])
    golden["contributions"] = [[0.0] * len(row) for row in golden["contributions"]]
    put(folder, GOLDEN, json.dumps(golden).encode())


def pickled(folder: Path) -> None:
    path = folder / FACTORS
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.array([{}], object), allow_pickle=True)
    put(folder, FACTORS, path.read_bytes())


def nudge_first(numbers: list[float]) -> None:
    numbers[0] += 2e-9 * abs(numbers[0])


@dataclass(frozen=True)
class Kind:
    """One way in which the folder of the new release is broken, and what it is refused for."""

    name: str
    reason: str
    broken: Callable[[Path], object]


KINDS = (
    Kind("no manifest", "absent", lambda folder: (folder / MANIFEST).unlink()),
    Kind("no signature", "unsigned", lambda folder: (folder / SIGNATURE).unlink()),
    Kind("wrong key", "unknown_key", lambda folder: resign(folder, (folder / MANIFEST).read_bytes(), STRANGER)),
    Kind("wrong key under a trusted one's name", "signature", borrowed),
    Kind("garbled signature", "signature", lambda folder: (folder / SIGNATURE).write_bytes(b"\xff" * 90)),
    Kind("flipped bit in the signature", "signature", lambda folder: flip(folder / SIGNATURE, 0.8)),
    Kind(
        "signature of another manifest",
        "signature",
        lambda folder: shutil.copy(folder.parent / "first" / SIGNATURE, folder / SIGNATURE),
    ),
    Kind("flipped bit in the manifest", "signature", lambda folder: flip(folder / MANIFEST)),
    Kind("truncated manifest", "signature", lambda folder: (folder / MANIFEST).write_bytes(b"{")),
    Kind("manifest not UTF-8", "manifest", lambda folder: resign(folder, b'{"name": "\xff"}')),
    Kind("manifest of a million brackets", "manifest", lambda folder: resign(folder, b'{"a": ' + b"[" * 1_000_000)),
    Kind("manifest too large", "manifest", lambda folder: resign(folder, b" " * ((16 << 20) + 1))),
    Kind("key twice", "manifest", twice),
    Kind("size out of range", "manifest", described(TREES, TREES, size=1 << 60)),
    Kind("format of a newer version", "format", named(format=RELEASE_FORMAT + 1)),
    Kind("format of an older version", "format", named(format=RELEASE_FORMAT - 1)),
    Kind("path out of the folder", "path", described("../first", TREES)),
    Kind("wrong fingerprint", "fingerprint", named(feature_set={"fingerprint": "0" * 64})),
    Kind("missing file", "missing_file", lambda folder: (folder / MODEL).unlink()),
    Kind("extra file", "extra_file", lambda folder: (folder / "churn" / "more.json").write_text("{}")),
    Kind("link to the right bytes", "extra_file", linked),
    Kind("truncated file", "size", lambda folder: (folder / TREES).write_bytes((folder / TREES).read_bytes()[:-1])),
    *(
        Kind(f"flipped bit in {path}", "sha256", lambda folder, path=path: flip(folder / path))
        for path in (TREES, MODEL, FACTORS, GOLDEN)
    ),
    Kind("weight that is not finite", "content", edit(MODEL, lambda model: model.update(tree_weight=float("nan")))),
    Kind("half the trees", "content", lambda folder: put(folder, TREES, (folder / TREES).read_bytes()[:3_000])),
    Kind("pickle in an array", "content", pickled),
    Kind("no golden set", "golden", without(GOLDEN)),
    Kind("model that answers NaN", "golden", edit(MODEL, lambda model: model["calibrator"].update(a=1e308, b=1e308))),
    Kind("model that answers a constant", "golden", constant),
    Kind("other trees than were judged", "golden", edit(MODEL, lambda model: model.update(tree_weight=1.001))),
    Kind("probability off by 2e-9", "golden", edit(GOLDEN, lambda golden: nudge_first(golden["probabilities"]))),
    Kind("other item in a slate", "golden", edit(GOLDEN, lambda golden: golden["slates"][0]["items"].reverse())),
    Kind("other score in a slate", "golden", edit(GOLDEN, lambda golden: golden["slates"][0]["scores"].reverse())),
    Kind("other band", "golden", edit(GOLDEN, lambda golden: golden["bands"].insert(0, golden["bands"].pop() + "er"))),
    Kind("old release under the new name", "name", replayed),
    Kind("wrong name", "name", named(name="third")),
    Kind("made before what serves", "older", named(created_at=EARLIER)),
)


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> TinyShop:
    """Two releases, of which the first serves."""
    shop = tiny_shop(tmp_path_factory.mktemp("broken"))
    shop.release("first")
    shop.release("second", base=2.0)
    return shop


@pytest.fixture
def releases(laid: TinyShop, tmp_path: Path) -> Path:
    return shutil.copytree(laid.workspace.releases, tmp_path / "releases")


def following(releases: Path, **more: Any) -> Releases:
    """Nothing is loaded yet."""
    return Releases(lambda name: releases / name, CHURN_FEATURES, lambda: TRUSTED, Storefronts(()), **more)


@pytest.fixture(scope="module")
def old(laid: TinyShop) -> Releases:
    """The first release serves; loaded once for all tests."""
    held = following(laid.workspace.releases)
    held.update(RolloutState("first"))
    return held


@pytest.fixture
def held(old: Releases, releases: Path, monkeypatch: pytest.MonkeyPatch) -> Releases:
    """The first release serves; the second, in this test's own folder, is not loaded yet."""
    monkeypatch.setattr(old, "_resolve", lambda name: releases / name)
    old.update(RolloutState("first"))
    return old


AS_CHAMPION = RolloutState("second", previous="first", revision=2)
AS_CHALLENGER = RolloutState("first", challenger="second", share=1.0, salt="s", revision=2)


def test_there_are_more_than_twenty_kinds_and_every_reason_of_a_refusal_is_among_them() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) > 20
    assert {kind.reason for kind in KINDS} | {"unreadable"} == set(get_args(Refusal))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_broken_release_is_refused_by_its_reason_and_the_old_one_serves(
    releases: Path, held: Releases, kind: Kind
) -> None:
    kind.broken(releases / "second")
    for state in (AS_CHALLENGER, AS_CHAMPION):
        held.update(state)
        assert held.refusals["second"].reason == kind.reason, held.refusals["second"].detail
        assert held.served is not None
        assert [held.served.route(key).release.name for key in (None, "k:1", "k:2")] == ["first"] * 3


def test_the_whole_release_would_have_served(held: Releases) -> None:
    held.update(AS_CHAMPION)
    assert (held.refusals, held.served.champion.name) == ({}, "second")


def test_a_worker_that_starts_on_a_broken_champion_serves_the_one_before(releases: Path) -> None:
    flip(releases / "second" / TREES)
    held = following(releases)
    held.update(AS_CHAMPION)
    assert held.served.champion.name == "first"
    assert held.refusals["second"].reason == "sha256"


def test_an_older_release_serves_again_after_a_rollback_and_where_somebody_allows_it(
    releases: Path, held: Releases
) -> None:
    named(created_at=EARLIER)(releases / "second")
    held.update(RolloutState("second", revision=2))  # as a rollback leaves it: nothing before
    assert held.served.champion.name == "second"
    allowed = following(releases, older_allowed={"second"}.__contains__)
    allowed.update(AS_CHAMPION)
    assert (allowed.refusals, allowed.served.champion.name) == ({}, "second")


def test_a_fault_that_nobody_foresaw_refuses_the_release_and_nothing_else(
    held: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("serving.releases.load_release", fail)
    held.update(AS_CHAMPION)
    assert held.refusals["second"].reason == "content"
    assert held.served.champion.name == "first"


def test_a_refused_release_is_not_read_again_until_its_files_change(
    releases: Path, held: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(releases / "second" / TREES)
    held.update(AS_CHAMPION)

    def read_again(*_: object) -> None:
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr("serving.releases.load_release", read_again)
        held.update(AS_CHAMPION)
        assert held.refusals["second"].reason == "sha256"
        (releases / "second" / TREES).touch()
        held.update(AS_CHAMPION)
        assert "AssertionError" in held.refusals["second"].detail


def test_a_mended_release_serves_at_the_next_look(releases: Path, held: Releases) -> None:
    flip(releases / "second" / TREES)
    held.update(AS_CHAMPION)
    flip(releases / "second" / TREES)
    held.update(AS_CHAMPION)
    assert (held.refusals, held.served.champion.name) == ({}, "second")
