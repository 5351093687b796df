"""Sticky assignment: uniform, independent between salts, the same everywhere, and only ever widening."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from serving.assignment import HOLDOUT_SALT, HOLDOUT_SHARE, arm_of, bucket, in_holdout, slice_of

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "docs" / "assignment_vectors.json").read_text(encoding="utf-8"))
KEYS = [f"k:{number}" for number in range(20_000)]
RAMP = (0.01, 0.05, 0.10, 0.25, 0.50, 1.0)
A_MILLION = 1_000_000


def test_bucket_is_the_first_eight_bytes_of_the_hash_over_two_to_the_64() -> None:
    digest = hashlib.sha256(b"salt\x00k:1").hexdigest()
    assert bucket("salt", "k:1") == int(digest[:16], 16) / 2**64


def test_published_vectors_are_what_the_code_answers() -> None:
    assert VECTORS["holdout"] | {"rule": ""} == {"salt": HOLDOUT_SALT, "share": HOLDOUT_SHARE, "rule": ""}
    assert len(VECTORS["vectors"]) >= 15
    for vector in VECTORS["vectors"]:
        who = (vector["salt"], vector["customer"])
        assert bucket(*who) == vector["bucket"] == int(vector["first_8_bytes"], 16) / 2**64
        for share, arm in vector["arms"].items():
            assert arm_of(who[0], float(share), who[1]) == arm
        for share, name in vector["slices"].items():
            assert slice_of(who[0], float(share), who[1], 0.0) == name


def test_a_place_is_below_1_even_where_the_division_rounds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class AllOnes:
        def digest(self) -> bytes:
            return b"\xff" * 32

    monkeypatch.setattr("serving.assignment.hashlib.sha256", lambda _: AllOnes())
    assert 0.999 < bucket("s", "k") < 1.0


def test_buckets_are_uniform() -> None:
    places = np.sort([bucket("salt", key) for key in KEYS])
    distance = np.abs(places - (np.arange(len(KEYS)) + 0.5) / len(KEYS)).max()
    assert distance < 1.63 / np.sqrt(len(KEYS))  # Kolmogorov-Smirnov, 1%


def test_two_salts_place_customers_independently() -> None:
    in_a = [key for key in KEYS if bucket("a", key) < 0.1]
    both = sum(bucket("b", key) < 0.1 for key in in_a) / len(in_a)
    assert abs(both - 0.1) < 4 * np.sqrt(0.09 / len(in_a))


def test_widening_step_by_step_moves_nobody_out_and_keeps_both_slices_to_a_half() -> None:
    before: dict[str, set[str]] = {"challenger": set(), "control": set()}
    for share in RAMP:
        has = {key for key in KEYS if arm_of("s", share, key) == "challenger"}
        now = {name: {key for key in KEYS if slice_of("s", share, key, 0.0) == name} for name in before}
        assert before["challenger"] <= has
        assert not has & now["control"]
        if share <= 0.5:
            assert before["challenger"] <= now["challenger"] == has
            assert before["control"] <= now["control"]
            before = now
    assert now == {"challenger": set(), "control": set()}


@pytest.mark.parametrize("share", RAMP[:-1])
def test_control_is_as_large_as_the_challengers_slice(share: float) -> None:
    slices = [slice_of("s", share, key, HOLDOUT_SHARE) for key in KEYS]
    compared = slices.count("challenger") + slices.count("control")
    assert abs(slices.count("challenger") - compared / 2) < 3.3 * np.sqrt(compared / 4)  # 99.9%


@pytest.mark.parametrize("share", [0.6, 0.75, 0.95])
def test_beyond_a_half_the_slices_are_what_is_left_of_the_champion_and_its_mirror(share: float) -> None:
    for key in KEYS[:2_000]:
        name, arm = slice_of("s", share, key, 0.0), arm_of("s", share, key)
        assert (name == "control") == (arm == "champion")
        assert (name == "challenger") == (bucket("s", key) < min(share, 1.0 - share))


def test_no_rollout_touches_the_hold_out() -> None:
    kept_out = [key for key in KEYS if in_holdout(key)]
    assert len(kept_out) == pytest.approx(0.05 * len(KEYS), abs=3.3 * np.sqrt(0.05 * 0.95 * len(KEYS)))
    for salt in ("spring", "autumn"):
        assert {arm_of(salt, 1.0, key, HOLDOUT_SHARE) for key in kept_out} == {"champion"}
        assert {slice_of(salt, share, key, HOLDOUT_SHARE) for key in kept_out for share in RAMP} == {"holdout"}
    assert {arm_of("spring", 1.0, key, HOLDOUT_SHARE) for key in set(KEYS) - set(kept_out)} == {"challenger"}


def test_a_wider_hold_out_keeps_everybody_who_was_in() -> None:
    assert {key for key in KEYS if in_holdout(key, 0.05)} < {key for key in KEYS if in_holdout(key, 0.10)}


def test_the_hold_out_is_drawn_apart_from_every_rollout() -> None:
    first = [in_holdout(key) for key in KEYS if bucket("spring", key) < 0.5]
    assert np.mean(first) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / len(first)))


ARMS_OF_A_PROCESS = """
from serving.assignment import arm_of, slice_of
for number in range(5_000):
    key = f"k:{number}"
    print([arm_of("s", share, key, 0.05) + slice_of("s", share, key, 0.05) for share in (0.01, 0.1, 0.5)])
"""


@pytest.mark.slow
def test_two_processes_and_a_restart_give_everybody_the_same_arm() -> None:
    def arms(seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", ARMS_OF_A_PROCESS],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
        )
        return done.stdout

    first = arms("1")
    assert len(first.splitlines()) == 5_000
    assert arms("2") == first
    here = [
        [arm_of("s", share, key, 0.05) + slice_of("s", share, key, 0.05) for share in (0.01, 0.1, 0.5)]
        for key in KEYS[:5_000]
    ]
    assert first.splitlines() == [str(row) for row in here]


@pytest.mark.slow
def test_a_million_customers_are_uniform_independent_between_salts_and_in_their_shares() -> None:
    one, other = (
        np.fromiter((bucket(salt, str(number)) for number in range(A_MILLION)), np.float64, A_MILLION)
        for salt in ("rollout-1", "rollout-2")
    )
    for places in (one, other):
        assert chisquare(np.bincount((places * 100).astype(int), minlength=100)).pvalue > 0.001
        for share in RAMP[:-1]:
            low, high = binom.interval(0.999, A_MILLION, share)
            assert low <= np.count_nonzero(places < share) <= high
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.005


@pytest.mark.slow
def test_fnv_1a_of_id_and_seed_fails_where_two_salts_must_be_independent() -> None:
    """The first hash of a popular experiment kit: seeds that differ in their last letter place nearly all alike."""
    one, other = (
        np.fromiter((fnv_1a(f"{number}{seed}") for number in range(50_000)), np.float64, 50_000) / 2.0**32
        for seed in ("rollout-1", "rollout-2")
    )
    assert abs(np.corrcoef(one, other)[0, 1]) > 0.9


def fnv_1a(text: str) -> int:
    value = 2_166_136_261
    for byte in text.encode():
        value = (value ^ byte) * 16_777_619 & 0xFFFF_FFFF
    return value


def test_fnv_1a_is_the_published_one() -> None:
    assert (fnv_1a(""), fnv_1a("a"), fnv_1a("foobar")) == (0x811C9DC5, 0xE40C292C, 0xBF9CF968)
