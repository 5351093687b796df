"""What one arm of a rollout did: counts and histograms that add up over minutes, workers and machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["N_PROBABILITY_BINS", "ArmFigures", "latency_bucket", "probability_bin"]

N_PROBABILITY_BINS = 50
"""Equal bins of [0, 1]."""

_BUCKETS_AN_OCTAVE = 8
_LAST_BUCKET = 27 * _BUCKETS_AN_OCTAVE  # above 2^27 us, 134 s
_ROUNDING = 1e-9


def latency_bucket(seconds: float) -> int:
    """The bucket of a latency: number i holds `[2^(i/8), 2^((i+1)/8))` microseconds, what is shorter lies in 0.

    >>> latency_bucket(1e-6), latency_bucket(2e-6), latency_bucket(0.0)
    (0, 8, 0)
    """
    us = seconds * 1e6
    return 0 if us < 1.0 else min(int(_BUCKETS_AN_OCTAVE * math.log2(us)), _LAST_BUCKET)


def probability_bin(probability: float) -> int:
    """The bin of a probability in [0, 1], both ends included.

    >>> probability_bin(0.0), probability_bin(0.5), probability_bin(1.0)
    (0, 25, 49)
    """
    return min(int(probability * N_PROBABILITY_BINS), N_PROBABILITY_BINS - 1)


@dataclass(frozen=True)
class ArmFigures:
    """Figures of one arm; every one is a count or a sum, so `+` joins stretches of time and workers.

    Attributes:
        n_requests: customers answered, or tried to; each customer of a batch counts.
        n_errors: answers that failed by the release's fault, or that hold a number which is not finite.
        n_fallbacks: slates that are not what was asked for, see `Slate.fallback`.
        n_missing: churn answers that lacked over half of the features which customers had in training, or held a
            category that training had never seen.
        latency: bucket -> calls of that latency, see `latency_bucket`: the work of the release, one customer a call.
        probabilities: answers in each of 50 equal bins of the churn probability.
        n_dropped: requests that a shadow was not asked, because it was busy or down.
        band_moves: "low>high" -> how many customers whom the champion puts into the first band a shadow puts into
            the other; a band that stays is counted too, as "low>low".
        n_compared, sum_difference, sum_abs_difference: churn probabilities of a shadow less the champion's for the
            same request, how many, their sum, and the sum of their sizes.
        n_slates, sum_overlap: slates of a shadow beside the champion's, and the sum of the shares of the champion's
            items that the shadow shows too.
    """

    n_requests: int = 0
    n_errors: int = 0
    n_fallbacks: int = 0
    n_missing: int = 0
    latency: Mapping[int, int] = field(default_factory=dict)
    probabilities: tuple[int, ...] = (0,) * N_PROBABILITY_BINS
    n_dropped: int = 0
    band_moves: Mapping[str, int] = field(default_factory=dict)
    n_compared: int = 0
    sum_difference: float = 0.0
    sum_abs_difference: float = 0.0
    n_slates: int = 0
    sum_overlap: float = 0.0

    def __add__(self, other: ArmFigures) -> ArmFigures:
        """Both together."""
        joined: dict[str, Any] = {
            each.name: _together(getattr(self, each.name), getattr(other, each.name)) for each in fields(self)
        }
        return ArmFigures(**joined)

    @property
    def error_share(self) -> float | None:
        """Of requests, in [0, 1]; None without any."""
        return _share(self.n_errors, self.n_requests)

    @property
    def fallback_share(self) -> float | None:
        """Of requests, in [0, 1]; None without any."""
        return _share(self.n_fallbacks, self.n_requests)

    @property
    def missing_share(self) -> float | None:
        """Of requests, in [0, 1]; None without any."""
        return _share(self.n_missing, self.n_requests)

    @property
    def dropped_share(self) -> float | None:
        """Of requests handed to a shadow, in [0, 1]; None without any."""
        return _share(self.n_dropped, self.n_dropped + self.n_requests)

    @property
    def moved_share(self) -> float | None:
        """Of customers compared, those whom the shadow puts into another band, in [0, 1]; None without any."""
        moved = sum(n for move, n in self.band_moves.items() if len(set(move.split(">"))) > 1)
        return _share(moved, sum(self.band_moves.values()))

    @property
    def mean_difference(self) -> float | None:
        """Of churn probabilities, the shadow's less the champion's; None without any."""
        return _share(self.sum_difference, self.n_compared)

    @property
    def mean_abs_difference(self) -> float | None:
        """How far the churn probabilities lie apart; None without any."""
        return _share(self.sum_abs_difference, self.n_compared)

    @property
    def mean_overlap(self) -> float | None:
        """Of slates, in [0, 1]; None without any."""
        return _share(self.sum_overlap, self.n_slates)

    def latency_ms(self, quantile: float) -> float | None:
        """A quantile in (0, 1] of the latencies, milliseconds, within 4.5% of the true one; None without any.

        >>> round(ArmFigures(latency={80: 99, 104: 1}).latency_ms(0.99), 2)  # 2^10 us and a half bucket
        1.07
        """
        left = quantile * sum(self.latency.values())
        for bucket, n in sorted(self.latency.items()):
            left -= n
            if left <= _ROUNDING:
                return float(2.0 ** ((bucket + 0.5) / _BUCKETS_AN_OCTAVE) / 1e3)
        return None


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _together(mine: Any, its: Any) -> Any:
    if isinstance(mine, tuple):
        return tuple(a + b for a, b in zip(mine, its, strict=True))
    if isinstance(mine, Mapping):
        return {key: mine.get(key, 0) + its.get(key, 0) for key in mine.keys() | its.keys()}
    return mine + its
