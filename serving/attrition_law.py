"""The law of silence: who has not been seen for a while may have left, or may only not be due yet.

Orders are a renewal process: the gaps between a customer's orders are Erlang with a rate of their own. On other days
they may be active, as a Poisson process with a rate of their own. At some moment they leave for good, unseen; the
hazard of it is a base, raised by what went wrong (which fades with time) and higher for newcomers. The own rates are
gamma distributed over customers, so what a customer's past says of them has a closed form, and a short past leans on
the others.

Let L be the last sign of life, t days ago. With S the survival of the next order and V that of the next other sign,
both given the past up to L, and h the hazard,

    odds of having left = integral over s in (0, t] of h(s) S(s) V(s) / (S(t) V(t)) ds

to first order in the hazard, since whoever left at s had to be silent until s only. Who is still there orders within
the horizon with probability F = integral of the density of the next order times the survival of the hazard until then:

    P(no order within the horizon) = 1 - F / (1 + odds of having left).

Source: Schmittlein, Morrison and Colombo 1987, Counting your customers, for the argument; Platzer and Reutterer 2016,
Ticking away the moments, for Erlang gaps; Bachmann, Meierer and Naf 2021, The role of time-varying contextual factors
in latent attrition models, for covariates of the hazard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json

__all__ = ["LEAST_RETURN", "LOADS", "MEMORY_DAYS", "MOST_ODDS", "MOST_REGULAR", "AttritionLaw", "Past", "Silence"]

Array = npt.NDArray[np.float64]

LOADS: Mapping[str, float] = {
    "late_delivery_load": 48.0,
    "unanswered_load": 1.0,
    "support_wait_load": 360.0,
    "stockouts_load": 1.0,
    "csat_low_load": 1.0,
    "disappointments_load": 1.0,
}
"""What went wrong, as features that fade with MEMORY_DAYS, each with the amount that counts as one trouble.

The first may come to a customer who has left; all others are signs of life themselves, so they came before the silence.
"""

MEMORY_DAYS = 30.0
MOST_REGULAR = 4

_N_POINTS = 8
_N_SLICES = 6
MOST_ODDS = 1e4
LEAST_RETURN = 1e-4
_FARTHEST = 50.0
_WHAT = "the latent attrition of the churn model"


def _quadrature() -> tuple[Array, Array]:
    """Places and weights in (0, 1), crowded towards 0, where silence still says little: s = t x^3, Gauss-Legendre."""
    places, weights = np.polynomial.legendre.leggauss(_N_POINTS)
    x = (places + 1.0) / 2.0
    return x**3, 1.5 * x**2 * weights


_PLACES, _WEIGHTS = _quadrature()


@dataclass(frozen=True, eq=False)
class Past:
    """What is known of n customers; each float64 (n,), `loads` (n, len(LOADS)) in troubles; never missing.

    gaps: orders but the first. span_days: from the first to the last. silent_order_days: from the last order to the
    last sign of life. silent_days: from that to now. signs, sign_days: active days without an order, and the days in
    which they came. tenure_days: since the first order. late_days: since the last late delivery; inf where there was
    none. cancelled: 1 or 0.
    """

    gaps: Array
    span_days: Array
    silent_order_days: Array
    silent_days: Array
    signs: Array
    sign_days: Array
    tenure_days: Array
    loads: Array
    late_days: Array
    cancelled: Array


@dataclass(frozen=True, eq=False)
class Silence:
    """What the rates alone say; see `AttritionLaw.silence`.

    days: integral of S V / S(t) V(t) over the silence, float64 (n,). fading_days: the same, each moment weighed by how
    much stronger troubles were then. late_days: the same from the last late delivery on.
    returning: P(order in slice j of the horizon | still there), float64 (n, j).
    """

    days: Array
    fading_days: Array
    late_days: Array
    returning: Array

    def of_loads(self) -> Array:
        """What each of LOADS is multiplied by in the odds of having left, float64 (n, len(LOADS))."""
        found = np.repeat(self.fading_days[:, None], len(LOADS), axis=1)
        found[:, 0] = self.late_days
        return found


@dataclass(frozen=True, eq=False)
class _Slices:
    """The horizon in equal slices: their ends, from 0, and their middles, days; what is left of a trouble until then.

    faded: the days that a trouble, fading with MEMORY_DAYS, counts for from now to the middle. None may be changed.
    """

    ends: Array
    middles: Array
    faded: Array

    @classmethod
    def of(cls, horizon_days: float) -> _Slices:
        ends = np.linspace(0.0, horizon_days, _N_SLICES + 1, dtype=np.float64)
        middles = np.asarray((np.arange(_N_SLICES) + 0.5) * (horizon_days / _N_SLICES), dtype=np.float64)
        faded = MEMORY_DAYS * -np.expm1(-middles / MEMORY_DAYS)
        for array in (ends, middles, faded):
            array.setflags(write=False)
        return cls(ends, middles, faded)


@dataclass(frozen=True)
class AttritionLaw:
    """The numbers of the law; days, and rates a day.

    regularity: k of the Erlang gaps; 1 is no regularity.
    usual_gap_days, usual_gaps: what is supposed of a customer without a past: the gap, and how many gaps of their own
        weigh as much. usual_signs in usual_sign_days: likewise of other signs of life.
    hazard: of leaving, a day. newcomer: by how much it is higher for who has just come, fading with newcomer_days.
    troubles: added to the hazard for each trouble of LOADS fresh in mind.
    ahead: the base hazard of the coming days over that of the past: troubles are yet to come.
    cancelled: added to the odds of having left by a cancel.
    horizon_days: of the window in which an order is waited for; it is taken to begin at once, whatever the gap to act.
    """

    regularity: int
    usual_gap_days: float
    usual_gaps: float
    usual_signs: float
    usual_sign_days: float
    hazard: float
    newcomer: float
    newcomer_days: float
    troubles: tuple[float, ...]
    ahead: float
    cancelled: float
    horizon_days: float

    def __post_init__(self) -> None:
        numbers = [getattr(self, one.name) for one in fields(self) if one.name != "troubles"]
        if len(self.troubles) != len(LOADS) or not all(0 <= number <= 1e9 for number in (*numbers, *self.troubles)):
            raise ArtefactError(f"{_WHAT} needs {len(LOADS)} troubles and only finite numbers that are not negative")
        if not 1 <= self.regularity <= MOST_REGULAR:
            raise ArtefactError(f"{_WHAT} has regularity {self.regularity}; it must lie from 1 to {MOST_REGULAR}")
        above = (self.usual_gap_days, self.usual_gaps, self.usual_signs, self.usual_sign_days)
        if min(*above, self.newcomer_days, self.horizon_days) <= 0:
            raise ArtefactError(f"{_WHAT} holds a number of days or of gaps that is not above 0")

    def log_odds(self, past: Past) -> Array:
        """Log-odds of no order within the horizon, float64 (n,), finite."""
        odds, returns = self.left_and_returning(past, self.silence(past))
        return np.asarray(np.log1p(odds - returns) - np.log(returns))

    def silence(self, past: Past) -> Silence:
        """What the rates say of the silence and of the next order, whatever the hazard."""
        gaps = self.regularity * (self.usual_gaps + past.gaps)
        gap_days = self.usual_gaps * self.usual_gap_days + past.span_days
        signs = self.usual_signs + past.signs
        sign_days = self.usual_sign_days + past.sign_days
        at = past.silent_days[:, None] * _PLACES
        seen = self._survival(past.silent_order_days[:, None] + at, gaps[:, None], gap_days[:, None])
        seen -= signs[:, None] * np.log1p(at / sign_days[:, None])
        now = past.silent_order_days + past.silent_days
        still = self._survival(now, gaps, gap_days)
        seen -= (still - signs * np.log1p(past.silent_days / sign_days))[:, None]
        weights = np.exp(np.minimum(seen, _FARTHEST)) * (past.silent_days[:, None] * _WEIGHTS)
        ago = past.silent_days[:, None] - at
        fading = weights * np.exp(np.minimum(ago / MEMORY_DAYS, _FARTHEST))
        came = ago <= past.late_days[:, None]
        ends = self._slices.ends
        waited = np.exp(self._survival(now[:, None] + ends, gaps[:, None], gap_days[:, None]) - still[:, None])
        return Silence(
            days=np.add.reduce(weights, axis=1),
            fading_days=np.add.reduce(fading, axis=1),
            late_days=np.add.reduce(fading * came, axis=1),
            returning=waited[:, :-1] - waited[:, 1:],
        )

    def left_and_returning(self, past: Past, silence: Silence) -> tuple[Array, Array]:
        """Odds of having left, and P(order within the horizon | still there), each float64 (n,)."""
        raised = past.loads * np.array(self.troubles)
        load, late = np.add.reduce(raised, axis=1), raised[:, 0]
        newcomer = 1.0 + self.newcomer * np.exp(-past.tenure_days / self.newcomer_days)
        gone = self.hazard * silence.days + (load - late) * silence.fading_days + late * silence.late_days
        odds = newcomer * gone + self.cancelled * past.cancelled
        stays = np.exp(-self.hazards_ahead(past, load * newcomer))
        returns = np.add.reduce(silence.returning * stays, axis=1)
        return np.minimum(odds, MOST_ODDS), np.minimum(np.maximum(returns, LEAST_RETURN), 1.0 - LEAST_RETURN)

    def hazards_ahead(self, past: Past, load: Array) -> Array:
        """The hazard summed up to the middle of each slice, float64 (n, j); `load` float64 (n,) is that of troubles."""
        middle, faded = self._slices.middles, self._slices.faded
        newer = np.exp(-(past.tenure_days[:, None] + middle / 2.0) / self.newcomer_days)
        base = self.ahead * self.hazard * middle * (1.0 + self.newcomer * newer)
        return np.asarray(np.minimum(base + load[:, None] * faded, _FARTHEST))

    def middles(self) -> Array:
        """The middles of the slices of the horizon, float64 (j,), days."""
        return self._slices.middles

    @cached_property
    def _slices(self) -> _Slices:
        return _Slices.of(self.horizon_days)

    def _survival(self, days: Array, gaps: Array, gap_days: Array) -> Array:
        """The logarithm of P(gap > days), its rate gamma distributed with shape `gaps` and rate `gap_days`."""
        share = days / (gap_days + days)
        terms: Array | float = 0.0
        for j in range(self.regularity - 1, 0, -1):
            terms = (gaps + (j - 1)) / j * share * (1.0 + terms)
        return np.asarray(np.log1p(terms) - gaps * np.log1p(days / gap_days))

    def to_manifest(self) -> dict[str, object]:
        """The numbers as JSON values."""
        return {**asdict(self), "troubles": dict(zip(LOADS, self.troubles, strict=True))}

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, object]) -> AttritionLaw:
        """The law that `to_manifest` wrote.

        Raises:
            ArtefactError: something is missing, of a wrong type, not finite or out of range.
        """
        names = [one.name for one in fields(cls) if one.name not in ("regularity", "troubles")]
        troubles = strict_json.section(dict(manifest), "troubles", _WHAT)
        return cls(
            regularity=strict_json.whole(dict(manifest), "regularity", _WHAT, 1, MOST_REGULAR),
            troubles=tuple(strict_json.number(troubles, name, _WHAT) for name in LOADS),
            **{name: strict_json.number(dict(manifest), name, _WHAT) for name in names},
        )
