"""Where the hash puts a million customers: even, independent between salts, only ever widening, the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, chisquare

from serving.assignment import HOLDOUT_SHARE, arm_of, bucket, in_holdout, slice_of

A_MILLION = 1_000_000
RAMP = (0.01, 0.05, 0.10, 0.25, 0.50, 1.0)
Array = npt.NDArray[np.float64]
Row = dict[str, Any]


def fnv_1a(texts: Sequence[str]) -> Array:
    """FNV-1a, 32 bits, over 2^32: the first hash of a popular experiment kit, of the id and then the seed."""
    width = max(map(len, texts))
    letters = np.array([text.encode() for text in texts], dtype=f"S{width}").view(np.uint8).reshape(-1, width)
    value = np.full(len(texts), 2_166_136_261, dtype=np.uint64)
    for column in letters.T.astype(np.uint64):
        mixed = (value ^ column) * np.uint64(16_777_619) & np.uint64(0xFFFF_FFFF)
        value = np.where(column > 0, mixed, value)
    return value / 2.0**32


ARMS_OF_A_PROCESS = """
import hashlib
from serving.assignment import HOLDOUT_SHARE, arm_of, slice_of
digest = hashlib.sha256()
for number in range(100_000):
    for share in (0.01, 0.1, 0.5):
        who = ("rollout-1", share, str(number), HOLDOUT_SHARE)
        digest.update(f"{arm_of(*who)} {slice_of(*who)};".encode())
print(digest.hexdigest())
"""


def arms_of_a_process(seed: int) -> str:
    """What a fresh Python with its own hash seed says of 100,000 customers at three shares."""
    environment = dict(os.environ) | {"PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-c", ARMS_OF_A_PROCESS]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment).stdout


def moved_out(keys: Sequence[str]) -> tuple[int, int]:
    """Customers who leave the challenger while the share widens, and who change between the two slices up to a half."""
    out = flipped = 0
    for key in keys:
        arms = [arm_of("rollout-1", share, key, HOLDOUT_SHARE) for share in RAMP]
        slices = {slice_of("rollout-1", share, key, HOLDOUT_SHARE) for share in RAMP[:-1]}
        out += ("challenger", "champion") in pairwise(arms)
        flipped += {"challenger", "control"} <= slices
    return out, flipped


def hash_row(what: str, figure: float, limit: str, kept: bool) -> tuple[Row, bool]:
    shown = f"{figure:,.4g}" if isinstance(figure, float) else f"{figure:,}"
    return {"hashing": what, "figure": shown, "limit": limit}, kept


def within(what: str, n_met: int, share: float) -> tuple[Row, bool]:
    """Of a million ids, in the band that holds 99.9% of the draws of that share."""
    low, high = binom.interval(0.999, A_MILLION, share)
    return hash_row(f"of a million, {what}", n_met, f"{low:,.0f} to {high:,.0f}", bool(low <= n_met <= high))


def hashing_rows() -> Iterator[tuple[Row, bool]]:
    """Each figure beside its limit, and whether it is kept."""
    ids = [str(number) for number in range(A_MILLION)]
    one, other = (np.array([bucket(salt, key) for key in ids]) for salt in ("rollout-1", "rollout-2"))
    for name, places in (("rollout-1", one), ("rollout-2", other)):
        p = float(chisquare(np.bincount((places * 100).astype(int), minlength=100)).pvalue)
        yield hash_row(f"chi-square p over 100 bins, salt {name}", p, "above .001", p > 0.001)
    together = abs(float(np.corrcoef(one, other)[0, 1]))
    yield hash_row("|correlation| of two salts", together, "below .005", together < 0.005)
    fnv = abs(float(np.corrcoef(*(fnv_1a([key + seed for key in ids]) for seed in ("rollout-1", "rollout-2")))[0, 1]))
    yield hash_row("the same of FNV-1a of id and seed", fnv, "fails: not below .005", fnv >= 0.005)
    for share in RAMP[:-1]:
        yield within(f"with share {share:.0%}", int((one < share).sum()), share)
    yield within("in the hold-out", sum(map(in_holdout, ids)), HOLDOUT_SHARE)
    out, flipped = moved_out(ids)
    yield hash_row("moved out by 1-5-10-25-50-100%", out, "0", out == 0)
    yield hash_row("changed between challenger and control to 50%", flipped, "0", flipped == 0)
    kinds = len({arms_of_a_process(seed) for seed in (0, 1, 2)})
    yield hash_row("flips: answers of three fresh processes that differ", kinds - 1, "0", kinds == 1)
