"""Pareto gaps: customers who never leave for good, but whose pace changes; the longer silent, the slower they are.

A customer draws a new pace after every order, `rate ~ Gamma(kappa, c)`, and orders next at that rate. The gap between
orders is then Pareto of the second kind, `P(gap > s) = (1 + s / c)^(-kappa)`: long silences are common, and the longer
one has lasted the longer it will. kappa is the customer's own, `kappa ~ Gamma(r, beta)` over customers, so what is
known of one afterwards is a Gamma again: `kappa | orders ~ Gamma(r + x, beta + B)` with
`B = sum over gaps of ln(1 + gap / c) + ln(1 + silence / c)`. Times are in weeks.

It sees what BG/NBD does not, that someone who ordered once and long ago is hardly likely to come back, and overlooks
what BG/NBD knows, that a busy customer who falls silent may be gone; `training.lifetime.order_forecast` uses both.

Source: Johnson, Kotz and Balakrishnan 1994, Continuous univariate distributions 1, chapter 20 (the Pareto of the second
kind, a Gamma mixture of exponentials); the rest follows by conjugacy, as in the NBD.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import digamma, gammainc, gammainccinv, gammaincinv, gammaln

from features.errors import NotEnoughDataError
from training.lifetime.order_histories import OrderHistories

__all__ = ["ParetoGaps", "fit_pareto_gaps"]

Floats = npt.NDArray[np.float64]
_STARTS = ((-0.5, 0.5, -1.5), (0.0, 0.0, 0.0))
_BOUND = 6.0
_N_KAPPAS = 96
_SLOWEST = 1e-3
_RARE = 1e-5
_N_STEPS = 256
_NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class ParetoGaps:
    """A fitted model of Pareto gaps.

    Attributes:
        r: shape of the customers' kappas.
        beta: their rate, without unit: the mean kappa is `r / beta`.
        c: weeks, the scale of all gaps.
    """

    r: float
    beta: float
    c: float

    def posterior_rate(self, histories: OrderHistories) -> Floats:
        """`beta + B`, float64 (n,): with `r + x` it says what is known of each customer's kappa."""
        told = histories.sum_over_gaps(np.log1p(histories.gaps / self.c))
        found: Floats = self.beta + told + np.log1p(histories.silence / self.c)
        return found

    def log_likelihood(self, histories: OrderHistories) -> Floats:
        """The logarithm of each customer's likelihood, float64 (n,).

        `ln Gamma(r + x) - ln Gamma(r) + r ln beta - (r + x) ln(beta + B) - sum over gaps of ln(c + gap)`
        """
        x, rate = histories.frequency, self.posterior_rate(histories)
        found: Floats = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.beta)
        found -= (self.r + x) * np.log(rate) + histories.sum_over_gaps(np.log(self.c + histories.gaps))
        return found

    def probability_silent(self, histories: OrderHistories, weeks: float) -> Floats:
        """P(no order in (T, T + weeks] | orders so far), float64 (n,).

        `((beta + B) / (beta + B + ln(1 + t / (c + silence))))^(r + x)`

        >>> once = OrderHistories.from_order_days(np.array([0]), np.array([0]), last_day=70)
        >>> model = ParetoGaps(r=1.0, beta=1.0, c=10.0)  # B = ln 2; the rest of the gap adds ln 1.5
        >>> round(float(model.probability_silent(once, weeks=10.0)[0]), 4)  # (1 + ln 2) / (1 + ln 3)
        0.8068
        """
        rate = self.posterior_rate(histories)
        more = np.log1p(weeks / (self.c + histories.silence))
        found: Floats = np.exp(-(self.r + histories.frequency) * np.log1p(more / rate))
        return found

    def count_probabilities(self, histories: OrderHistories, weeks: float, most: int) -> Floats:
        """P(k orders in (T, T + weeks] | orders so far) for k = 0 .. most - 1, and last P(most or more); `most >= 1`.

        Given kappa, k or more orders are in time if the rest of the running gap and k - 1 new gaps are: convolutions
        over 256 steps of the window. They are mixed by the customer's kappas, in 96 bins of exact mass. P(0) is exact.

        Returns:
            float64, shape (n, most + 1); each row sums to 1.
        """
        rate = self.posterior_rate(histories)
        shape = (self.r + histories.frequency).astype(np.float64)
        edges, kappas = _bins(shape, rate)
        masses = np.diff(gammainc(shape[:, None], rate[:, None] * edges[:-1]), append=1.0)
        waited = self.c + histories.silence
        steps = np.log1p(np.linspace(0.0, weeks, _N_STEPS + 1) / waited[:, None])
        or_more = np.zeros((histories.n_customers, most + 1))
        for place, kappa in enumerate(kappas):
            rows = np.flatnonzero(masses[:, place] > _NEGLIGIBLE)
            first = -np.diff(np.exp(-kappa * steps[rows]), axis=1)
            or_more[rows, 1:] += masses[rows, place, None] * (first @ self._then(kappa, weeks, most))
        silent = self.probability_silent(histories, weeks)
        found: Floats = -np.diff(or_more, axis=1, append=0.0)
        found[:, 0] = 0.0
        found = np.maximum(found, 0.0)
        total = found.sum(axis=1)
        found *= np.divide(1.0 - silent, total, out=np.zeros_like(total), where=total > 0)[:, None]
        found[:, 0] = 1.0 - found.sum(axis=1)
        return found

    def _then(self, kappa: float, weeks: float, most: int) -> Floats:
        """P(k - 1 or more orders after one that came in step s), float64 (n_steps, most), k = 1 .. most.

        By the trapezoid rule in the distribution of the gap: its mass in each step is exact, and what is left of the
        window is the mean of both ends of the step.
        """
        gap = -np.diff(np.exp(-kappa * np.log1p(np.linspace(0.0, weeks, _N_STEPS + 1) / self.c)))
        transformed = np.fft.rfft(gap, 2 * _N_STEPS)
        left = np.ones(_N_STEPS + 1)  # P(as many in what is left), by the steps left
        found = np.empty((_N_STEPS, most))
        for place in range(most):
            middle = (left[1:] + left[:-1]) / 2.0
            found[:, place] = middle[::-1]
            left[1:] = np.fft.irfft(transformed * np.fft.rfft(middle, 2 * _N_STEPS), 2 * _N_STEPS)[:_N_STEPS]
            left[0] = 0.0
        return found


def _bins(shape: Floats, rate: Floats) -> tuple[Floats, Floats]:
    """Edges from 0 to infinity of bins that all customers' kappas fill, and the kappa that stands for each bin."""
    slowest = max(float((gammaincinv(shape, _RARE) / rate).min()), _SLOWEST)
    fastest = max(float((gammainccinv(shape, _RARE) / rate).max()), 2.0 * slowest)
    inner = np.geomspace(slowest, fastest, _N_KAPPAS)
    edges = np.concatenate([[0.0], inner, [np.inf]])
    return edges, np.concatenate([[slowest / 2.0], np.sqrt(inner[:-1] * inner[1:]), inner[-1:]])


def fit_pareto_gaps(histories: OrderHistories) -> ParetoGaps:
    """Maximum likelihood over all customers who ever ordered, also those who never came back.

    L-BFGS-B on the logarithms of the three parameters with the exact gradient, from two starts; r and beta within e^-6
    and e^6, c within those times the mean age.

    Raises:
        NotEnoughDataError: nobody ordered twice.
    """
    if histories.gaps.size == 0:
        raise NotEnoughDataError(f"0 of {histories.n_customers} customers ordered twice; import a longer history")
    scale = float(histories.age.mean())

    def loss(logs: Floats) -> tuple[float, Floats]:
        r, beta, share = (float(v) for v in np.exp(logs))
        model = ParetoGaps(r, beta, share * scale)
        return -float(model.log_likelihood(histories).sum()), -_gradient(model, histories)

    found = min(
        (
            minimize(
                loss,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=[(-_BOUND, _BOUND)] * 3,
                options={"maxiter": 1_000, "ftol": 1e-13, "gtol": 1e-7 * histories.n_customers},
            )
            for start in _STARTS
        ),
        key=lambda result: float(result.fun),
    )
    r, beta, share = (float(v) for v in np.exp(found.x))
    return ParetoGaps(r, beta, share * scale)


def _gradient(model: ParetoGaps, histories: OrderHistories) -> Floats:
    """Derivative of the log-likelihood by the logarithms of r, beta and c, float64 (3,)."""
    r, beta, c = model.r, model.beta, model.c
    x, gaps, silence = histories.frequency, histories.gaps, histories.silence
    rate = model.posterior_rate(histories)
    by_r = digamma(r + x) - digamma(r) + np.log(beta) - np.log(rate)
    by_beta = r / beta - (r + x) / rate
    less = histories.sum_over_gaps(gaps / (c + gaps)) + silence / (c + silence)  # -c times the derivative of B
    by_c = (r + x) / rate * less - histories.sum_over_gaps(c / (c + gaps))
    return np.array([by_r.sum() * r, by_beta.sum() * beta, by_c.sum()])
