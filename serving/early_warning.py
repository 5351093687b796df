"""Early warning: who is drifting away now, told once, and no more of them a week than can be seen to.

The hazard of leaving is watched by its log-odds: their rise over the last days does not depend on where a customer
started. A pure rule; where its memory is kept is not its business.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError, DataError
from features.instants import DAY_US

__all__ = ["NEVER_WARNED_US", "Warned", "WarningRule", "log_odds", "warn"]

Array = npt.NDArray[np.float64]
NEVER_WARNED_US = -(1 << 62)
_LEAST = 1e-9


@dataclass(frozen=True)
class WarningRule:
    """When a rise is worth a warning.

    window_days: the rise is that of the log-odds of leaving since so many days ago.
    rise: at least so much; 0.7 is about twice the odds.
    rearm_rise: hysteresis. Who was warned is not warned again before the rise has once been at most so much.
    cool_down_days: nor before so many days have passed since.
    weekly_capacity: at most so many warnings in any 7 days; those with the largest expected loss come first.
    """

    window_days: int = 7
    rise: float = 0.7
    rearm_rise: float = 0.2
    cool_down_days: int = 28
    weekly_capacity: int = 500

    def __post_init__(self) -> None:
        for name, least in (("window_days", 1), ("cool_down_days", 0), ("weekly_capacity", 1)):
            if getattr(self, name) < least:
                raise ConfigurationError(f"setting warnings.{name} is {getattr(self, name)}; it must be >= {least}")
        if not 0 <= self.rearm_rise < self.rise:
            raise ConfigurationError(
                f"setting warnings.rearm_rise is {self.rearm_rise} and warnings.rise is {self.rise}; "
                "they must be 0 <= rearm_rise < rise"
            )


@dataclass(frozen=True, eq=False)
class Warned:
    """What the rule found among n customers.

    rise: float64 (n,), of the log-odds; NaN where the earlier probability is unknown.
    risen: bool (n,), whose rise reaches the threshold. warned: int64 (m,), places of those who are warned of now, the
    largest expected loss first. rearmed: bool (n,), who may be warned of again from now on.
    n_held_back: how many wait for the capacity alone; they are looked at again next time.
    """

    rise: Array
    risen: npt.NDArray[np.bool_]
    warned: npt.NDArray[np.int64]
    rearmed: npt.NDArray[np.bool_]
    n_held_back: int


def log_odds(probability: Array) -> Array:
    """`ln(p / (1 - p))`, p held within [1e-9, 1 - 1e-9]; NaN stays NaN.

    >>> [round(float(x), 6) for x in log_odds(np.array([0.5, 0.75, 0.25]))]
    [0.0, 1.098612, -1.098612]
    """
    held = np.clip(probability, _LEAST, 1.0 - _LEAST)
    found: Array = np.log(held) - np.log1p(-held)
    return found


def warn(
    rule: WarningRule,
    as_of_us: int,
    *,
    probability: Array,
    probability_before: Array,
    expected_loss: Array,
    warned_us: npt.NDArray[np.int64],
    armed: npt.NDArray[np.bool_],
    n_this_week: int,
) -> Warned:
    """Who is to be warned of at `as_of`.

    Args:
        rule: the thresholds.
        as_of_us: the instant of `probability`, exclusive.
        probability: float64 (n,) in [0, 1], of leaving, now.
        probability_before: the same `window_days` earlier by the same model; NaN where it is unknown.
        expected_loss: float64 (n,), any one unit; NaN where unknown, which comes last.
        warned_us: int64 (n,), the as_of of the last warning, NEVER_WARNED_US for none.
        armed: bool (n,), whether the hysteresis allows a warning.
        n_this_week: warnings given in `(as_of - 7 days, as_of]`, of anybody.

    Raises:
        DataError: the arrays are of different lengths.

    >>> found = warn(WarningRule(weekly_capacity=1), 0, probability=np.array([0.5, 0.6, 0.2]),
    ...     probability_before=np.array([0.2, 0.2, 0.2]), expected_loss=np.array([5.0, 9.0, 99.0]),
    ...     warned_us=np.full(3, NEVER_WARNED_US), armed=np.ones(3, bool), n_this_week=0)
    >>> found.warned.tolist(), found.n_held_back
    ([1], 1)
    """
    if len({probability.size, probability_before.size, expected_loss.size, warned_us.size, armed.size}) != 1:
        raise DataError("the arrays of an early warning are of different lengths")
    rise = log_odds(probability) - log_odds(probability_before)
    rearmed = ~armed & (rise <= rule.rearm_rise)
    risen = rise >= rule.rise
    rested = warned_us <= as_of_us - rule.cool_down_days * DAY_US
    fitting = np.flatnonzero(risen & rested & armed)
    left = max(0, rule.weekly_capacity - n_this_week)
    by_loss = fitting[np.argsort(-expected_loss[fitting], kind="stable")]
    return Warned(rise, risen, by_loss[:left], rearmed, max(0, fitting.size - left))
