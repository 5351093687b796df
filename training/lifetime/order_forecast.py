"""How many orders each customer will place in the weeks to come: a probability for every number.

Two models that are wrong in different ways speak with equal weight. BG/NBD says that customers leave for good and keep
their pace until then; Pareto gaps say that nobody leaves for good and that paces change. Their probabilities are
averaged (a linear pool), which needs no weight to be fitted and is robust where either fails.

Measured inside the first 39 weeks of CDNOW's sample, means over nine cut-offs (`benchmarks/bench_cdnow.py --inside`):
AUC of "orders again" .739, of BG/NBD .720, of Pareto gaps .740; ranked probability score .254, .255 and .260; log score
.625, .632 and .629. The forecast of the most likely middle, p50, is as far off as BG/NBD's, .320 against .319 orders.

Source: Stone 1961, The opinion pool, Annals of Mathematical Statistics 32(4); Clemen 1989, Combining forecasts, on why
equal weights are hard to beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError
from training.lifetime.bg_nbd import BgNbd, fit_bg_nbd
from training.lifetime.order_histories import OrderHistories
from training.lifetime.pareto_gaps import ParetoGaps, fit_pareto_gaps

__all__ = ["OrderForecast", "OrderForecaster", "fit_order_forecaster"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_FEWEST_COUNTS, _MOST_COUNTS = 20, 400
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class OrderForecast:
    """What is said of n customers about the orders in (T, T + weeks].

    Attributes:
        weeks: length of the window.
        probabilities: float64 (n, m + 1), P(k orders) for k = 0 .. m - 1, and last P(m or more); each row sums to 1.
    """

    weeks: float
    probabilities: Floats

    @property
    def p_buys_again(self) -> Floats:
        """P(at least one order), float64 (n,)."""
        found: Floats = 1.0 - self.probabilities[:, 0]
        return found

    @property
    def mean(self) -> Floats:
        """Expected number of orders, float64 (n,); m or more count as m."""
        found: Floats = self.probabilities @ np.arange(self.probabilities.shape[1], dtype=np.float64)
        return found

    @property
    def p10(self) -> Ints:
        """int64 (n,): as `quantile(0.1)`."""
        return self.quantile(0.1)

    @property
    def p50(self) -> Ints:
        """int64 (n,): as `quantile(0.5)`; of all numbers, the one that is off by the least on average."""
        return self.quantile(0.5)

    @property
    def p90(self) -> Ints:
        """int64 (n,): as `quantile(0.9)`."""
        return self.quantile(0.9)

    def quantile(self, share: float) -> Ints:
        """The least number that the orders do not exceed with probability `share` or more, int64 (n,).

        Raises:
            ConfigurationError: the share is not above 0 and below 1.

        >>> OrderForecast(4.0, np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])).quantile(0.5).tolist()
        [0, 2]
        """
        if not 0 < share < 1:
            raise ConfigurationError(f"a quantile of {share} was asked for; it must lie between 0 and 1")
        reached = np.cumsum(self.probabilities, axis=1) >= share - _ROUNDING
        found: Ints = np.argmax(reached, axis=1).astype(np.int64)
        return found


@dataclass(frozen=True)
class OrderForecaster:
    """BG/NBD and Pareto gaps, fitted on the same histories."""

    leaving: BgNbd
    changing: ParetoGaps

    def forecast(self, histories: OrderHistories, weeks: float, most: int | None = None) -> OrderForecast:
        """What to expect of each customer in the `weeks` after the histories' end.

        `most` is the number from which on numbers are not told apart; by default twice what the busiest customer's own
        pace gives, and 20 more, at most 400.

        Raises:
            ConfigurationError: `weeks` is not positive, or `most` below 1.
        """
        if not weeks > 0:
            raise ConfigurationError(f"a forecast over {weeks} weeks was asked for; it must be more than 0")
        if most is not None and most < 1:
            raise ConfigurationError(f"most is {most}; it must be at least 1")
        counts = _counts_needed(histories, weeks) if most is None else most
        x, t_x, t = histories.frequency, histories.recency, histories.age
        leaving = self.leaving.count_probabilities(x, t_x, t, weeks, counts)
        changing = self.changing.count_probabilities(histories, weeks, counts)
        return OrderForecast(weeks, (leaving + changing) / 2.0)


def fit_order_forecaster(histories: OrderHistories) -> OrderForecaster:
    """Fit both models by maximum likelihood on all customers who ever ordered.

    Raises:
        NotEnoughDataError: nobody ordered twice.
    """
    return OrderForecaster(
        leaving=fit_bg_nbd(histories.frequency, histories.recency, histories.age),
        changing=fit_pareto_gaps(histories),
    )


def _counts_needed(histories: OrderHistories, weeks: float) -> int:
    pace = (histories.frequency + 1.0) / np.maximum(histories.age, 1.0)
    return int(np.clip(np.ceil(2.0 * weeks * pace.max()) + _FEWEST_COUNTS, _FEWEST_COUNTS, _MOST_COUNTS))
