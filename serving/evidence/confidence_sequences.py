"""Intervals for the difference between two arms that hold however often they are looked at, and whenever one stops.

A confidence sequence at level alpha covers the true difference at every look at once with probability `1 - alpha`. So a
gate may look after each customer and stop at the first interval that decides; a z-test looked at 100 times is wrong in
more than a third of its A/A runs. Several gates that may each stop one rollout share its alpha: m of them take
`alpha / m` each (Bonferroni), and all of them together are wrong with probability alpha at most.

`rate_difference` is for what happened to a customer or did not, and holds exactly for any rate, however rare, and for
any ratio of the arms. `mean_difference` is for values without a bound, and holds as the arms grow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import DataError, NotEnoughDataError

__all__ = ["ArmTotals", "Difference", "mean_difference", "rate_difference", "rate_evidence"]

Array = npt.NDArray[np.float64]

_BASES = np.array([0.0, 0.25, 0.75, 1.0])
"""Rates that outcomes are measured from; the one nearest to the true rate costs the fewest customers."""

_BASE_WEIGHTS = np.array([1.0, 2.0, 2.0, 1.0]) / 6.0
_STAKES = 0.9 * 0.5 ** np.arange(10)
"""What is put at stake, as a share of what could be lost: much is soonest with large differences, little with small."""

_STAKE_WEIGHTS = 0.5 ** np.abs(np.arange(10) - 3.0)
"""Most on the fourth, the best where a rate moves by a fifth of itself; the smallest ones narrow long runs."""

_SHARPEST_AT = 5_000
"""N*, customers an arm at which `mean_difference` is as narrow as it can be."""

_HALVINGS = 40


@dataclass(frozen=True)
class ArmTotals:
    """What is kept of the outcomes y of the n customers of an arm; totals of separate customers add.

    total: sum of y. squares: sum of y^2.

    >>> ArmTotals.of([1.0, 3.0]) + ArmTotals.of([2.0])
    ArmTotals(n=3, total=6.0, squares=14.0)
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 0 or not math.isfinite(self.total) or not 0.0 <= self.squares < math.inf:
            raise DataError("totals of an arm are finite, with a count and a sum of squares that are not negative")

    @classmethod
    def of(cls, outcomes: npt.ArrayLike) -> ArmTotals:
        """The totals of outcomes, (n,), one a customer."""
        values = np.asarray(outcomes, dtype=np.float64)
        return cls(values.size, float(values.sum()), float(values @ values))

    @classmethod
    def of_rate(cls, n: int, n_yes: int) -> ArmTotals:
        """The totals of n customers, to n_yes of whom it happened."""
        return cls(n, float(n_yes), float(n_yes))

    def __add__(self, other: ArmTotals) -> ArmTotals:
        return ArmTotals(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """Mean outcome a customer.

        Raises:
            NotEnoughDataError: the arm has no customers.
        """
        if self.n == 0:
            raise NotEnoughDataError("a mean needs at least 1 customer, and an arm has 0; wait for its outcomes")
        return self.total / self.n

    @property
    def variance(self) -> float:
        """Of an outcome, by n - 1.

        Raises:
            NotEnoughDataError: the arm has fewer than 2 customers.
        """
        if self.n < 2:
            raise NotEnoughDataError(f"a variance needs at least 2 customers, and an arm has {self.n}; wait for more")
        return max(self.squares - self.total * self.mean, 0.0) / (self.n - 1)


@dataclass(frozen=True)
class Difference:
    """Challenger minus control, an absolute difference of rates or means, and its interval `[ci_low, ci_high]`.

    alpha: probability that any interval of the whole sequence misses the truth.
    """

    effect_abs: float
    ci_low: float
    ci_high: float
    alpha: float
    n_challenger: int
    n_control: int


def rate_difference(
    challenger: ArmTotals, control: ArmTotals, *, alpha: float = 0.05, challenger_share: float = 0.5
) -> Difference:
    """The difference of two rates, from totals of outcomes in [0, 1] (0 and 1 for what happened or did not).

    challenger_share: in (0, 1), the probability with which a customer of either arm was given the challenger, as
    intended: 1/2 for a control slice of equal size. The interval holds for every number of customers and every rate
    (see `rate_evidence`), and always contains the difference met.

    Raises:
        DataError: outcomes outside [0, 1], or alpha or share outside (0, 1).
        NotEnoughDataError: an arm has no customers.

    >>> found = rate_difference(ArmTotals.of_rate(600, 60), ArmTotals.of_rate(600, 120))
    >>> round(found.effect_abs, 3), found.ci_high < 0.0
    (-0.1, True)
    """
    _check(alpha, challenger_share)
    effect = challenger.mean - control.mean
    for arm in (challenger, control):
        if not 0.0 <= arm.total <= arm.n:
            raise DataError(f"rates need outcomes in [0, 1]; {arm.n} of them add to {arm.total}; use mean_difference")
    cells = np.array([challenger.total, challenger.n - challenger.total, control.total, control.n - control.total])
    least = math.log(2.0 / alpha)

    def denied(effect_abs: float, side: float) -> bool:
        return bool(_evidence(cells, challenger_share, side, effect_abs) >= least)

    low = _last_denied(lambda depth: denied(depth - 1.0, 1.0)) - 1.0
    high = 1.0 - _last_denied(lambda depth: denied(1.0 - depth, -1.0))
    return Difference(effect, low, high, alpha, challenger.n, control.n)


def rate_evidence(cells: Array, challenger_share: float = 0.5, effect_abs: float = 0.0) -> tuple[Array, Array]:
    """Log e-values that the challenger's rate exceeds the control's by more than `effect_abs`, and by less, each (...).

    cells: float64 (..., 4), customers of the challenger with a yes and a no, then of the control. An e-value of `1 / a`
    or more is met at any look with probability a at most if the difference is just `effect_abs`.

    With w the challenger's share and b a base rate, a customer's payoff `g = (y - b) / w` on the challenger and
    `g = -(y - b) / (1 - w)` on the control has the mean `p_1 - p_0` whatever b is, so `prod (1 + l (g - effect))` is a
    martingale from 1 for every stake l that keeps its factors positive, and so is an average over stakes and bases. It
    is one for outcomes in [0, 1] as well. The same with w the share that was met is at most 1 in expectation at each
    look for arms of any size (the geometric mean is below the arithmetic one); the lesser of the two is taken, so
    that arms that fill otherwise than intended are not mistaken for a difference of rates.

    Source: Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting, JRSS B 86(1),
    section 4; at effect 0 and b the mean rate it is the growth-optimal e-variable of Turner, Ly and Gruenwald 2024,
    Generic E-variables for exact sequential k-sample tests, JSPI 230, section 2.

    >>> higher, lower = rate_evidence(np.array([60.0, 540.0, 120.0, 480.0]))
    >>> bool(higher < 0.0), bool(lower > np.log(40.0))  # 40 = 2 / 0.05, two sides at alpha .05
    (True, True)
    """
    higher, lower = (_evidence(cells, challenger_share, side, effect_abs) for side in (1.0, -1.0))
    return higher, lower


def mean_difference(challenger: ArmTotals, control: ArmTotals, *, alpha: float = 0.05) -> Difference:
    """The difference of two means of any outcomes with a variance, such as money, as both arms grow.

    With `N = 2 / (1 / n_1 + 1 / n_0)`, customers an arm, and `s^2 = N (v_1 / n_1 + v_0 / n_0)` the half-width is
    `s sqrt(2 (N r^2 + 1) / (N r)^2 ln(sqrt(N r^2 + 1) / alpha))`, `r^2 = (-2 ln alpha + ln(1 - 2 ln alpha)) / N*`,
    `N* = 5,000`. Of an arm's variance v no less is taken than of both arms together: a small arm that has not met its
    rare large values yet knows too little of its variance, and the interval would be too narrow by far.

    Raises:
        DataError: alpha is outside (0, 1).
        NotEnoughDataError: an arm has fewer than 2 customers, or all values of both are the same.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Time-uniform central limit theory and asymptotic
    confidence sequences, Annals of Statistics 52(6), theorem 2.2; r from its appendix on optimising the mixture.

    >>> found = mean_difference(ArmTotals(5_000, 50_000.0, 550_000.0), ArmTotals(5_000, 50_000.0, 550_000.0))
    >>> round(found.ci_high, 4)  # s^2 = 20 x 5000 / 4999, 20 x 2 x 8.936 / (5000 x 7.936) x ln(sqrt(8.936) / .05)
    0.192
    """
    _check(alpha, 0.5)
    both = challenger + control
    least_variance, arms = both.variance, (challenger, control)
    error = sum(max(arm.variance, least_variance) / arm.n for arm in arms)
    if error <= 0.0:
        raise NotEnoughDataError(f"all values of {both.n} customers are the same; an interval needs some that differ")
    log_alpha = math.log(alpha)
    rho_squared = (-2.0 * log_alpha + math.log(1.0 - 2.0 * log_alpha)) / _SHARPEST_AT
    known = 2.0 / (1.0 / challenger.n + 1.0 / control.n) * rho_squared
    half_width = math.sqrt(error * 2.0 * (known + 1.0) / known * (0.5 * math.log(known + 1.0) - log_alpha))
    effect = challenger.mean - control.mean
    return Difference(effect, effect - half_width, effect + half_width, alpha, challenger.n, control.n)


def _evidence(cells: Array, challenger_share: float, side: float, effect_abs: float) -> Array:
    """Log e-value of one side: the lesser by the share intended and the share met; 0 while an arm is empty."""
    on_challenger, on_control = cells[..., :2].sum(axis=-1), cells[..., 2:].sum(axis=-1)
    both = (on_challenger > 0.0) & (on_control > 0.0)
    met = np.divide(on_challenger, on_challenger + on_control, out=np.full(both.shape, 0.5), where=both)
    by_share = (_mixed(cells, share, side, effect_abs) for share in (np.array(challenger_share), met))
    return np.where(both, np.minimum(*by_share), 0.0)


def _mixed(cells: Array, share: Array, side: float, effect_abs: float) -> Array:
    """Log of `prod (1 + l (g - effect))` averaged over bases and stakes l; share of the challenger: () or (...)."""
    w, base = share[..., np.newaxis], _BASES
    payoffs = side * np.stack([(1.0 - base) / w, -base / w, -(1.0 - base) / (1.0 - w), base / (1.0 - w)], axis=-1)
    stakes = _STAKES / (-payoffs).max(axis=-1)[..., np.newaxis]  # (..., bases, stakes)
    factors = 1.0 + stakes[..., np.newaxis] * (payoffs - side * effect_abs)[..., np.newaxis, :]
    allowed = (factors > 0.0).all(axis=-1)  # a bet that could end below nothing is not made, and its weight is lost
    logs = np.einsum("...c,...bsc->...bs", cells, np.log(np.where(allowed[..., np.newaxis], factors, 1.0)))
    weights = np.where(allowed, np.outer(_BASE_WEIGHTS, _STAKE_WEIGHTS / _STAKE_WEIGHTS.sum()), 0.0)
    logs = np.where(allowed, logs, -np.inf)
    highest = logs.max(axis=(-2, -1), keepdims=True)
    return np.asarray(highest[..., 0, 0] + np.log((weights * np.exp(logs - highest)).sum(axis=(-2, -1))))


def _last_denied(denied: Callable[[float], bool]) -> float:
    """The largest depth in [0, 2] that is denied, where all lesser ones are too; 0 where none is."""
    if not denied(0.0):
        return 0.0
    inside, outside = 0.0, 2.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (inside + outside)
        inside, outside = (middle, outside) if denied(middle) else (inside, middle)
    return inside


def _check(alpha: float, challenger_share: float) -> None:
    for name, value in (("alpha", alpha), ("challenger_share", challenger_share)):
        if not 0.0 < value < 1.0:
            raise DataError(f"{name} lies between 0 and 1, not at {value}")
