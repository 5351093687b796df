"""Fit the law of silence to what happened: which of the customers who were asked about did not order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from serving.attrition_law import (
    LEAST_RETURN,
    LOADS,
    MEMORY_DAYS,
    MOST_ODDS,
    AttritionLaw,
    Past,
    Silence,
)
from serving.calibration import sigmoid, softplus
from serving.latent_attrition import LatentAttrition, past_of
from training.thinning import evenly
from training.training_set import TrainingSet

__all__ = ["NEEDED", "fit_latent_attrition"]

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

NEEDED = ("orders_count_all", "order_gap_mean_days_all", "orders_recency_days", "tenure_days")
"""Without these features the law has nothing to read."""

_REGULARITIES = (1, 2, 3)
_ROWS_TO_CHOOSE, _ROWS_FOR_RATES, _ROWS = 6_000, 8_000, 20_000
_ROUNDS_TO_CHOOSE, _ROUNDS_BESIDE, _ROUNDS = 25, 10, 25
_PRIOR_ROWS = 1.0
_STEP = 1e-5
_N_RATES = 4


def fit_latent_attrition(
    rows: TrainingSet, places: Places, weights: Array, horizon_days: float, reads: tuple[str, ...]
) -> LatentAttrition:
    """The part of largest likelihood.

    Few rows tell how regular gaps are, more the rates of orders and signs, the most all else: about twenty numbers.

    Args:
        rows: customers at their cut-offs.
        places: int64, the rows to fit on.
        weights: float64 (n,), of all rows.
        horizon_days: of the label window.
        reads: the features that may be read, NEEDED among them.
    """

    def on(most: int, regularity: int) -> _Likelihood:
        some = evenly(places, most)
        past = past_of(rows.values[some], rows.feature_names, reads)
        return _Likelihood.of(past, rows.labels[some], weights[some], horizon_days, regularity)

    best, found, least = _REGULARITIES[0], None, np.inf
    begin: Array | None = None
    for regularity in _REGULARITIES:
        begin, loss = on(_ROWS_TO_CHOOSE, regularity).fit(_ROUNDS_TO_CHOOSE if begin is None else _ROUNDS_BESIDE, begin)
        if loss < least:
            best, found, least = regularity, begin, loss
    found = on(_ROWS_FOR_RATES, best).fit(_ROUNDS, found)[0]
    many = on(_ROWS, best)
    return many.part(rows.feature_names, reads, many.fit_given_rates(_ROUNDS, found))


@dataclass(frozen=True, eq=False)
class _Likelihood:
    """The mean log-loss of `sigmoid(shift + weight * log-odds of the law)`, as a function of the law's logarithms.

    A vector of parameters holds the logarithms of the four rates, of hazard, ahead, newcomer, newcomer_days, cancelled
    and the troubles, then that of the weight, then the shift. They are drawn to where the search begins as by one row.
    """

    past: Past
    labels: Array
    weights: Array
    begin: Array
    horizon_days: float
    regularity: int

    @classmethod
    def of(
        cls, past: Past, labels: npt.NDArray[np.bool_], weights: Array, horizon_days: float, regularity: int
    ) -> _Likelihood:
        gap = max(float(past.span_days.sum()) / max(float(past.gaps.sum()), 1.0), 1.0)
        sign = max(float(past.sign_days.sum()) / max(float(past.signs.sum()), 1.0), 1.0)
        rates = (gap, 2.0, 2.0, 2.0 * sign)
        begin = np.log([*rates, 1e-3, 2.0, 1.0, 100.0, 10.0, *[0.01] * len(LOADS)])
        begin = np.append(begin, [0.0, 0.0])
        return cls(past, labels.astype(np.float64), weights / weights.sum(), begin, horizon_days, regularity)

    def fit(self, rounds: int, begin: Array | None = None) -> tuple[Array, float]:
        """The best parameters found, and their loss."""
        found = minimize(
            self.loss, self.begin if begin is None else begin, jac=True, method="L-BFGS-B", options={"maxiter": rounds}
        )
        return np.asarray(found.x, dtype=np.float64), float(found.fun)

    def fit_given_rates(self, rounds: int, begin: Array) -> Array:
        """The best parameters found while the rates stay."""
        silence = _law(begin[:-2], self.horizon_days, self.regularity).silence(self.past)

        def loss(rest: Array) -> tuple[float, Array]:
            found = np.concatenate([begin[:_N_RATES], rest])
            value, gradient = self._given(_law(found[:-2], self.horizon_days, self.regularity), silence, found)
            value, gradient = self._drawn(found, value, gradient)
            return value, gradient[_N_RATES:]

        best = minimize(loss, begin[_N_RATES:], jac=True, method="L-BFGS-B", options={"maxiter": rounds})
        return np.concatenate([begin[:_N_RATES], best.x])

    def part(self, feature_names: tuple[str, ...], reads: tuple[str, ...], found: Array) -> LatentAttrition:
        law = _law(found[:-2], self.horizon_days, self.regularity)
        return LatentAttrition(feature_names, law, reads, float(np.exp(found[-2])), float(found[-1]))

    def loss(self, found: Array) -> tuple[float, Array]:
        """The loss and its gradient; by the rates it is a difference, by all else exact."""
        law = _law(found[:-2], self.horizon_days, self.regularity)
        silence = law.silence(self.past)
        value, gradient = self._given(law, silence, found)
        for rate in range(_N_RATES):
            moved = found.copy()
            moved[rate] += _STEP
            beside = _law(moved[:-2], self.horizon_days, self.regularity)
            gradient[rate] = (self._value(beside, beside.silence(self.past), found) - value) / _STEP
        return self._drawn(found, value, gradient)

    def _drawn(self, found: Array, value: float, gradient: Array) -> tuple[float, Array]:
        away = found - self.begin
        away[-1] = 0.0  # the level is free
        pull = _PRIOR_ROWS / self.labels.size
        return value + 0.5 * pull * float(away @ away), gradient + pull * away

    def _value(self, law: AttritionLaw, silence: Silence, found: Array) -> float:
        odds, returns = law.left_and_returning(self.past, silence)
        logits = found[-1] + np.exp(found[-2]) * (np.log1p(odds - returns) - np.log(returns))
        return float(np.sum(self.weights * (softplus(logits) - self.labels * logits)))

    def _given(self, law: AttritionLaw, silence: Silence, found: Array) -> tuple[float, Array]:
        """The loss, and its derivatives by all but the rates."""
        odds, returns = law.left_and_returning(self.past, silence)
        log_odds = np.log1p(odds - returns) - np.log(returns)
        weight = float(np.exp(found[-2]))
        logits = found[-1] + weight * log_odds
        value = float(np.sum(self.weights * (softplus(logits) - self.labels * logits)))
        slope = self.weights * (sigmoid(logits) - self.labels)
        by_odds = slope * weight / (1.0 + odds - returns)
        by_returns = -by_odds - slope * weight / returns
        by_odds[odds >= MOST_ODDS] = 0.0  # what is bounded does not move
        by_returns[(returns <= LEAST_RETURN) | (returns >= 1.0 - LEAST_RETURN)] = 0.0
        gradient = np.zeros(found.size)
        gradient[_N_RATES:-2] = by_odds @ _of_odds(law, self.past, silence) + by_returns @ _of_returns(
            law, self.past, silence
        )
        gradient[-2:] = (slope @ log_odds) * weight, slope.sum()
        return value, gradient


def _law(logs: Array, horizon_days: float, regularity: int) -> AttritionLaw:
    gap, gaps, signs, sign_days, hazard, ahead, newcomer, newcomer_days, cancelled, *troubles = (
        float(value) for value in np.exp(np.clip(logs, -20.0, 20.0))
    )
    return AttritionLaw(
        regularity=regularity,
        usual_gap_days=gap,
        usual_gaps=gaps,
        usual_signs=signs,
        usual_sign_days=sign_days,
        hazard=hazard,
        newcomer=newcomer,
        newcomer_days=newcomer_days,
        troubles=tuple(troubles),
        ahead=ahead,
        cancelled=cancelled,
        horizon_days=float(horizon_days),
    )


def _of_odds(law: AttritionLaw, past: Past, silence: Silence) -> Array:
    """Derivatives of the odds of having left by the logarithms, float64 (n, p)."""
    load = past.loads * np.array(law.troubles)
    fresh = law.newcomer * np.exp(-past.tenure_days / law.newcomer_days)
    base, gone = law.hazard * silence.days, load * silence.of_loads()
    whole = base + gone.sum(axis=1)
    return np.column_stack(
        [
            (1.0 + fresh) * base,
            np.zeros_like(base),
            fresh * whole,
            fresh * whole * past.tenure_days / law.newcomer_days,
            law.cancelled * past.cancelled,
            (1.0 + fresh)[:, None] * gone,
        ]
    )


def _of_returns(law: AttritionLaw, past: Past, silence: Silence) -> Array:
    """Derivatives of the probability to return by the logarithms, float64 (n, p)."""
    load = past.loads * np.array(law.troubles)
    fresh = law.newcomer * np.exp(-past.tenure_days / law.newcomer_days)
    middle = law.middles()
    tenure = past.tenure_days[:, None] + middle / 2.0
    newer = law.newcomer * np.exp(-tenure / law.newcomer_days)
    steady = law.ahead * law.hazard * middle
    faded = MEMORY_DAYS * -np.expm1(-middle / MEMORY_DAYS)
    mass = silence.returning * np.exp(-law.hazards_ahead(past, load.sum(axis=1) * (1.0 + fresh)))
    by_base = -(mass * steady * (1.0 + newer)).sum(axis=1)
    by_load = -(mass * faded).sum(axis=1)
    fading = by_load * load.sum(axis=1) * fresh
    return np.column_stack(
        [
            by_base,
            by_base,
            fading - (mass * steady * newer).sum(axis=1),
            fading * past.tenure_days / law.newcomer_days
            - (mass * steady * newer * tenure / law.newcomer_days).sum(axis=1),
            np.zeros_like(by_base),
            (by_load * (1.0 + fresh))[:, None] * load,
        ]
    )
