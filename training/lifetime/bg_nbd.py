"""BG/NBD: how often customers order while they are customers, and when they stop, from three numbers for each.

A customer orders at random at a rate lambda of their own, and after any order leaves for good with a chance p of their
own; over customers `lambda ~ Gamma(r, alpha)` and `p ~ Beta(a, b)`. Three numbers say all that the model uses: x repeat
orders, the last of them t_x after the first order, and T, the time from the first order to now. Times are in weeks.

Source: Fader, Hardie and Lee 2005, "Counting your customers" the easy way: an alternative to the Pareto/NBD model,
Marketing Science 24(2); the equation numbers below are that paper's. Its forms overflow for long histories; Euler's and
Pfaff's transformations of the hypergeometric function (Abramowitz and Stegun 15.3.3-5) give equal ones that do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betainc, betaln, digamma, gammaln, hyp2f1

from features.errors import DataError, NotEnoughDataError

__all__ = ["BgNbd", "fit_bg_nbd"]

Floats = npt.NDArray[np.float64]
_STARTS = ((0.0, 0.0, 0.5), (-1.5, -0.5, 1.0), (-0.5, 1.0, 0.0))
_BOUND = 8.0
_NUDGE = 1e-4


@dataclass(frozen=True)
class BgNbd:
    """A fitted BG/NBD model.

    Its methods take x (repeat orders), t_x and T (weeks), arrays or numbers that broadcast, with `0 <= t_x <= T`, and
    t_x 0 where x is; they give float64 of the broadcast shape.

    Attributes:
        r: shape of the rates over customers.
        alpha: their scale in weeks; the mean rate is `r / alpha` orders a week.
        a: with `b`, the spread of the chance to leave after an order; its mean is `a / (a + b)`.
        b: see `a`.
    """

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike) -> Floats:
        """The logarithm of each customer's likelihood; equation 6, its two terms added in logs.

        >>> model = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
        >>> round(float(model.log_likelihood(0, 0.0, 38.86)), 3)  # x = 0: r ln(alpha / (alpha + T))
        -0.555
        """
        x, t_x, t = _three(frequency, recency, age)
        shared = gammaln(self.r + x) - gammaln(self.r) + self.r * np.log(self.alpha)
        shared += betaln(self.a, self.b + x) - betaln(self.a, self.b)
        found: Floats = shared + np.logaddexp(*self._log_terms(x, t_x, t))
        return found

    def probability_alive(self, frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike) -> Floats:
        """P(still a customer at T | x, t_x, T), the first term's share of equation 6; 1 for who ordered once.

        `1 / (1 + [x > 0] a / (b + x - 1) ((alpha + T) / (alpha + t_x))^(r + x))`

        >>> model = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
        >>> model.probability_alive([0, 2], [0.0, 30.43], 38.86).round(3).tolist()
        [1.0, 0.727]
        """
        here, gone = self._log_terms(*_three(frequency, recency, age))
        found: Floats = np.exp(here - np.logaddexp(here, gone))
        return found

    def probability_silent(
        self,
        frequency: npt.ArrayLike,
        recency: npt.ArrayLike,
        age: npt.ArrayLike,
        weeks: float,
        gap_weeks: float = 0.0,
    ) -> Floats:
        """P(no order in (T + gap, T + gap + weeks] | x, t_x, T).

        Who is a customer at T has `lambda ~ Gamma(r + x, alpha + T)` and `p ~ Beta(a, b + x)`, still is one after a
        gap g with chance `e^(-lambda p g)`, and then stays silent for t with chance `e^(-lambda t)`:
        `1 - P(alive) (h(0) - h(t))`, where `h(t) = E[e^(-lambda (p g + t))]`. Without a gap this is
        `1 - P(alive) (1 - ((alpha + T) / (alpha + T + t))^(r + x))`, which is equation 8 at 0 orders.

        >>> model = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
        >>> round(float(model.probability_silent(0, 0.0, 38.86, weeks=39.0)), 3)  # (43.274 / 82.274)^0.243
        0.855
        """
        x, t_x, t = _three(frequency, recency, age)
        ordering = self._silent_mean(x, t, gap_weeks, 0.0) - self._silent_mean(x, t, gap_weeks, weeks)
        found: Floats = 1.0 - self.probability_alive(x, t_x, t) * ordering
        return found

    def expected_orders(
        self, frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike, weeks: float
    ) -> Floats:
        """E[orders in (T, T + weeks] | x, t_x, T]; equation 10.

        With `z = t / (alpha + T + t)` the paper's `(1 - z)^(r + x) 2F1(r + x, b + x; a + b + x - 1; z)` equals
        `(1 - z)^(a - 1) 2F1(a - 1, a + b - 1 - r; a + b + x - 1; z)`, in which nothing grows with x. Where a = 1 or
        a + b + x = 1 the equation is 0 / 0; its limit there is the mean of both sides.

        >>> model = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
        >>> round(float(model.expected_orders(2, 30.43, 38.86, weeks=39.0)), 3)
        1.226
        """
        x, t_x, t = _three(frequency, recency, age)
        undefined = (np.abs(self.a - 1.0) < _NUDGE) | (np.abs(self.a + self.b + x - 1.0) < _NUDGE)
        straight = self._expected_if_alive(x, t, weeks, self.a + 3.0 * _NUDGE * undefined)
        mirrored = self._expected_if_alive(x, t, weeks, self.a - 3.0 * _NUDGE * undefined)
        return self.probability_alive(x, t_x, t) * (straight + mirrored) / 2.0

    def count_probabilities(
        self, frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike, weeks: float, most: int
    ) -> Floats:
        """P(k orders in (T, T + weeks] | x, t_x, T) for k = 0 .. most - 1, and last P(most or more); `most >= 1`.

        For who is a customer at T this is the law of a new one, equation 8, with `r + x`, `alpha + T` and `b + x`: k
        orders and not gone before the end, or gone after the k-th. The equation's sum over the negative binomial is a
        regularised incomplete beta, `P(N >= k) = I_z(k, r + x)` with `z = t / (alpha + T + t)`.

        Returns:
            float64, shape (..., most + 1); each row sums to 1.

        >>> model = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
        >>> counts = model.count_probabilities(2, 30.43, 38.86, weeks=39.0, most=400)
        >>> round(float(counts @ np.arange(401)), 3)  # the mean of equation 10
        1.226
        """
        x, t_x, t = (values[..., None] for values in _three(frequency, recency, age))
        r, b, z = self.r + x, self.b + x, weeks / (self.alpha + t + weeks)
        k = np.arange(most + 1.0)
        after = np.maximum(k, 1.0)
        stayed = np.exp(betaln(self.a, b + k) - betaln(self.a, b))  # E[(1 - p)^k]
        left = np.exp(betaln(self.a + 1.0, b + after - 1.0) - betaln(self.a, b))  # E[p (1 - p)^(k - 1)]
        exactly = np.exp(gammaln(r + k) - gammaln(r) - gammaln(k + 1.0) + r * np.log1p(-z) + k * np.log(z))
        reached = betainc(after, r, z)
        found: Floats = stayed * exactly + np.where(k > 0, left * reached, 0.0)
        found[..., most] = stayed[..., most - 1] * reached[..., most]
        alive = self.probability_alive(x, t_x, t)
        found *= alive
        found[..., :1] += 1.0 - alive
        return found

    def _log_terms(self, x: Floats, t_x: Floats, t: Floats) -> tuple[Floats, Floats]:
        """The two terms of equation 6 over `B(a, b + x)` and what they share: still here, and gone after the last."""
        here = -(self.r + x) * np.log(self.alpha + t)
        repeated = x > 0
        gone = np.log(self.a / np.where(repeated, self.b + x - 1.0, 1.0)) - (self.r + x) * np.log(self.alpha + t_x)
        return here, np.where(repeated, gone, -np.inf)

    def _silent_mean(self, x: Floats, t: Floats, gap_weeks: float, weeks: float) -> Floats:
        """`E[e^(-lambda (p g + t))]` for who is a customer at T.

        With `A = alpha + T + t` it is `((alpha + T) / A)^(r + x) 2F1(r + x, a; a + b + x; -g / A)`, and by Pfaff's
        transformation `(1 + g / A)^(-a) 2F1(a, a + b - r; a + b + x; g / (A + g))` is the second factor.
        """
        later = self.alpha + t + weeks
        found: Floats = np.exp((self.r + x) * np.log((self.alpha + t) / later))
        if gap_weeks > 0:
            share = gap_weeks / (later + gap_weeks)
            found *= (1.0 - share) ** self.a
            found *= hyp2f1(self.a, self.a + self.b - self.r, self.a + self.b + x, share)
        return found

    def _expected_if_alive(self, x: Floats, t: Floats, weeks: float, a: Floats) -> Floats:
        z = weeks / (self.alpha + t + weeks)
        c = a + self.b + x - 1.0
        found: Floats = c / (a - 1.0) * (1.0 - (1.0 - z) ** (a - 1.0) * hyp2f1(a - 1.0, c - x - self.r, c, z))
        return found


def fit_bg_nbd(frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike) -> BgNbd:
    """Maximum likelihood over all customers who ever ordered, also those who never came back.

    L-BFGS-B on the logarithms of the four parameters with the exact gradient, from several starts; customers of equal
    numbers are counted once. Parameters stay within e^-8 and e^8 (alpha: times the mean age), which only a limit of
    the model reaches, such as customers who never leave.

    Args:
        frequency: repeat orders x, (n,), whole numbers.
        recency: weeks from the first order to the last, t_x, (n,); 0 where x is 0.
        age: weeks from the first order to now, T, (n,).

    Raises:
        DataError: a number is missing or negative, or a recency exceeds its age.
        NotEnoughDataError: nobody ordered twice.

    >>> x, t_x, t = np.repeat([0, 1, 3], 20), np.repeat([0.0, 10.0, 25.0], 20), np.repeat([20.0, 24.0, 30.0], 20)
    >>> fitted = fit_bg_nbd(x, t_x, t)
    >>> best = fitted.log_likelihood(x, t_x, t).sum()
    >>> nearby = BgNbd(1.02 * fitted.r, fitted.alpha, fitted.a, fitted.b).log_likelihood(x, t_x, t).sum()
    >>> bool(best > nearby)
    True
    """
    x, t_x, t = _checked(frequency, recency, age)
    (x, t_x, t), times = _grouped(x, t_x, t)
    scale = float(np.average(t, weights=times)) or 1.0

    def loss(logs: Floats) -> tuple[float, Floats]:
        model = BgNbd(*np.exp(logs))
        value = float(times @ model.log_likelihood(x, t_x / scale, t / scale))
        return -value, -_gradient(model, x, t_x / scale, t / scale, times)

    found = min(
        (
            minimize(
                loss,
                (r, -1.0, a, b),
                jac=True,
                method="L-BFGS-B",
                bounds=[(-_BOUND, _BOUND)] * 4,
                options={"maxiter": 1_000, "ftol": 1e-13, "gtol": 1e-7 * float(times.sum())},
            )
            for r, a, b in _STARTS
        ),
        key=lambda result: float(result.fun),
    )
    r, alpha, a, b = (float(v) for v in np.exp(found.x))
    return BgNbd(r, alpha * scale, a, b)


def _gradient(model: BgNbd, x: Floats, t_x: Floats, t: Floats, times: Floats) -> Floats:
    """Derivative of the weighted log-likelihood by the logarithms of r, alpha, a and b, float64 (4,)."""
    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    alive = model.probability_alive(x, t_x, t)
    gone = 1.0 - alive
    by_r = digamma(r + x) - digamma(r) + np.log(alpha) - alive * np.log(alpha + t) - gone * np.log(alpha + t_x)
    by_alpha = r / alpha - (r + x) * (alive / (alpha + t) + gone / (alpha + t_x))
    together = digamma(a + b) - digamma(a + b + x)
    by_a = together + gone / a
    by_b = together + digamma(b + x) - digamma(b) - gone / np.where(x > 0, b + x - 1.0, 1.0)
    return np.array([times @ by_r * r, times @ by_alpha * alpha, times @ by_a * a, times @ by_b * b])


def _three(frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    x, t_x, t = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (frequency, recency, age)))
    return x, t_x, t


def _checked(frequency: npt.ArrayLike, recency: npt.ArrayLike, age: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    x, t_x, t = _three(frequency, recency, age)
    wrong = ~((x >= 0) & (t_x >= 0) & (t_x <= t) & ((x > 0) | (t_x == 0)))
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {x.size} histories are impossible: repeat orders and weeks must not be negative or "
            "missing, the last order not later than now, and the recency 0 where there is no repeat order"
        )
    if not (x > 0).any():
        raise NotEnoughDataError(f"0 of {x.size} customers ordered twice; import a longer history")
    return x, t_x, t


def _grouped(x: Floats, t_x: Floats, t: Floats) -> tuple[Floats, Floats]:
    """Distinct histories, float64 (3, m), and how many customers have each, float64 (m,)."""
    rows, times = np.unique(np.stack([x.ravel(), t_x.ravel(), t.ravel()]), axis=1, return_counts=True)
    return rows, times.astype(np.float64)
