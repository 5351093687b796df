"""Fit the law of silence to what happened: which of the customers who were asked about did not order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from serving.attrition_law import LEAST_RETURN, LOADS, MEMORY_DAYS, MOST_ODDS, AttritionLaw, Past, Silence
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
_ROWS_TO_CHOOSE, _ROWS = 6_000, 25_000
_ROUNDS = 25
_PRIOR_ROWS = 1.0
_STEP = 1e-5
_N_RATES = 4


def fit_latent_attrition(
    rows: TrainingSet, places: Places, weights: Array, horizon_days: float, reads: tuple[str, ...]
) -> LatentAttrition:
    """The part of largest likelihood, about twenty numbers.

    Few rows are enough for a fit of each regularity of the gaps; more rows judge these fits, and fit the best again.

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

    fits = {regularity: on(_ROWS_TO_CHOOSE, regularity).fit()[0] for regularity in _REGULARITIES}
    best = min(fits, key=lambda regularity: on(_ROWS, regularity).loss(fits[regularity])[0])
    found = on(_ROWS, best).fit(fits[best])[0]
    law = _law(found[:-2], horizon_days, best)
    return LatentAttrition(rows.feature_names, law, reads, float(np.exp(found[-2])), float(found[-1]))


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

    def fit(self, begin: Array | None = None) -> tuple[Array, float]:
        """The best parameters found, and their loss: Fisher scoring within a trust region.

        Source: Nocedal and Wright 2006, Numerical Optimization, algorithm 4.3.
        """
        last: dict[bytes, tuple[float, Array, Array]] = {}

        def at(found: Array) -> tuple[float, Array, Array]:
            key = found.tobytes()
            if key not in last:
                last.clear()
                last[key] = self.loss(found)
            return last[key]

        best = minimize(
            lambda found: at(found)[0],
            self.begin if begin is None else begin,
            jac=lambda found: at(found)[1],
            hess=lambda found: at(found)[2],
            method="trust-exact",
            options={"maxiter": _ROUNDS, "gtol": 1e-5},
        )
        return np.asarray(best.x, dtype=np.float64), float(best.fun)

    def loss(self, found: Array) -> tuple[float, Array, Array]:
        """The loss, its gradient (p,) and its expected curvature (p, p)."""
        log_odds, slopes = self._log_odds(found)
        weight = float(np.exp(found[-2]))
        logits = found[-1] + weight * log_odds
        chance = sigmoid(logits)
        by_all = np.column_stack([weight * slopes, weight * log_odds, np.ones_like(log_odds)])
        away = found - self.begin
        away[-1] = 0.0  # the level is free
        pull = _PRIOR_ROWS / self.labels.size
        value = float(np.sum(self.weights * (softplus(logits) - self.labels * logits)))
        gradient = by_all.T @ (self.weights * (chance - self.labels)) + pull * away
        curvature = by_all.T @ ((self.weights * chance * (1.0 - chance))[:, None] * by_all)
        return value + 0.5 * pull * float(away @ away), gradient, curvature + pull * np.eye(found.size)

    def _log_odds(self, found: Array) -> tuple[Array, Array]:
        """The log-odds of the law, float64 (n,), and their derivatives, (n, p - 2): by the rates a difference."""
        law = _law(found[:-2], self.horizon_days, self.regularity)
        silence = law.silence(self.past)
        odds, returns = law.left_and_returning(self.past, silence)
        log_odds = np.log1p(odds - returns) - np.log(returns)
        by_odds = 1.0 / (1.0 + odds - returns)
        by_returns = -by_odds - 1.0 / returns
        by_odds[odds >= MOST_ODDS] = 0.0  # what is bounded does not move
        by_returns[(returns <= LEAST_RETURN) | (returns >= 1.0 - LEAST_RETURN)] = 0.0
        slopes = np.empty((log_odds.size, found.size - 2))
        slopes[:, _N_RATES:] = by_odds[:, None] * _of_odds(law, self.past, silence)
        slopes[:, _N_RATES:] += by_returns[:, None] * _of_returns(law, self.past, silence)
        for rate in range(_N_RATES):
            moved = found.copy()
            moved[rate] += _STEP
            beside = _law(moved[:-2], self.horizon_days, self.regularity).log_odds(self.past)
            slopes[:, rate] = (beside - log_odds) / _STEP
        return log_odds, slopes


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
