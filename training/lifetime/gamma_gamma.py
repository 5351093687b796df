"""Gamma-Gamma: what a customer's orders are worth on average, from the mean of those seen so far.

Order values of a customer scatter around a mean of their own, `z ~ Gamma(p, nu)`, and `nu ~ Gamma(q, gamma)` over
customers, whatever their number of orders. Few orders say little: the estimate lies between the customer's own mean and
everybody's.

Source: Fader and Hardie 2013, The Gamma-Gamma model of monetary value, note 025 at brucehardie.com; the equation
numbers below are that note's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from features.errors import DataError, NotEnoughDataError

__all__ = ["GammaGamma", "fit_gamma_gamma"]

Floats = npt.NDArray[np.float64]
_STARTS = ((1.0, 1.0, 1.0), (0.0, 0.7, 0.0), (2.0, 1.5, 2.0))
_BOUND = 10.0


@dataclass(frozen=True)
class GammaGamma:
    """A fitted Gamma-Gamma model.

    Its methods take the number of orders n and their mean value (any unit, the same throughout), arrays or numbers that
    broadcast; they give float64 of the broadcast shape.

    Attributes:
        p: shape of a customer's order values; their coefficient of variation is `1 / sqrt(p)`.
        q: shape of the customers' scales; everybody's mean exists where q is above 1.
        gamma: their scale, in the unit of the values.
    """

    p: float
    q: float
    gamma: float

    @property
    def mean_value(self) -> float:
        """Mean order value over all customers, `p gamma / (q - 1)`; infinite unless q is above 1.

        >>> round(GammaGamma(p=6.25, q=3.74, gamma=15.44).mean_value, 1)
        35.2
        """
        return self.p * self.gamma / (self.q - 1.0) if self.q > 1.0 else float("inf")

    def log_likelihood(self, orders: npt.ArrayLike, mean_value: npt.ArrayLike) -> Floats:
        """Logarithm of the density of each customer's mean value, given n >= 1 orders; equation 1a."""
        n, z = (np.asarray(v, dtype=np.float64) for v in (orders, mean_value))
        shape = self.p * n
        whole = shape + self.q
        found: Floats = gammaln(whole) - gammaln(shape) - gammaln(self.q) + self.q * np.log(self.gamma)
        found += (shape - 1.0) * np.log(z) + shape * np.log(n) - whole * np.log(self.gamma + n * z)
        return found

    def expected_value(self, orders: npt.ArrayLike, mean_value: npt.ArrayLike) -> Floats:
        """E[the customer's own mean order value | n orders of that mean]; equation 5.

        `p (gamma + n z) / (p n + q - 1)`: everybody's mean for n = 0 (whatever z then is), z itself for large n.

        >>> model = GammaGamma(p=2.0, q=3.0, gamma=10.0)  # everybody's mean is 2 * 10 / 2 = 10
        >>> model.expected_value([0, 1, 4, 9_999], [np.nan, 30.0, 30.0, 30.0]).round(2).tolist()
        [10.0, 20.0, 26.0, 30.0]
        """
        n, z = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (orders, mean_value)))
        spent = np.where(n > 0, n * z, 0.0)
        share = self.p * n + self.q - 1.0
        found: Floats = np.where(share > 0, self.p * (self.gamma + spent) / np.where(share > 0, share, 1.0), np.inf)
        return found


def fit_gamma_gamma(orders: npt.ArrayLike, mean_value: npt.ArrayLike) -> GammaGamma:
    """Maximum likelihood over customers with at least one order whose mean value is above 0; the others are left out.

    L-BFGS-B on the logarithms of the three parameters with the exact gradient, from several starts. The note takes
    repeat orders and their mean value; n and the mean must be of the same orders.

    Args:
        orders: n, (m,), whole numbers.
        mean_value: mean value of those orders, (m,); NaN, 0 or less leaves the customer out.

    Raises:
        DataError: the two differ in length.
        NotEnoughDataError: fewer than 3 customers are left, or nobody has 2 orders, or all means are equal.
    """
    n, z = (np.asarray(v, dtype=np.float64) for v in (orders, mean_value))
    if n.shape != z.shape:
        raise DataError(f"{n.size} numbers of orders and {z.size} mean values; give one of each a customer")
    told = (n > 0) & (z > 0)
    n, z = n[told], z[told]
    if n.size < 3 or n.max() < 2 or np.ptp(z) == 0:
        raise NotEnoughDataError(
            f"{n.size} customers have an order of a value above 0 and {int((n > 1).sum())} have two; at least 3 with "
            "different mean values and 1 with two orders are needed; import a longer history"
        )
    scale = float(z.mean())

    def loss(logs: Floats) -> tuple[float, Floats]:
        model = GammaGamma(*np.exp(logs))
        return -float(model.log_likelihood(n, z / scale).sum()), -_gradient(model, n, z / scale)

    found = min(
        (
            minimize(
                loss,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=[(-_BOUND, _BOUND)] * 3,
                options={"maxiter": 1_000, "ftol": 1e-13, "gtol": 1e-7 * n.size},
            )
            for start in _STARTS
        ),
        key=lambda result: float(result.fun),
    )
    p, q, gamma = (float(v) for v in np.exp(found.x))
    return GammaGamma(p, q, gamma * scale)


def _gradient(model: GammaGamma, n: Floats, z: Floats) -> Floats:
    """Derivative of the log-likelihood by the logarithms of p, q and gamma, float64 (3,)."""
    p, q, gamma = model.p, model.q, model.gamma
    shape, total = p * n, np.log(gamma + n * z)
    by_p = n * (digamma(shape + q) - digamma(shape) + np.log(n * z) - total)
    by_q = digamma(shape + q) - digamma(q) + np.log(gamma) - total
    by_gamma = q / gamma - (shape + q) / (gamma + n * z)
    return np.array([by_p.sum() * p, by_q.sum() * q, by_gamma.sum() * gamma])
