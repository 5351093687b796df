"""When customers ordered, as models of repeat buying want it: whole days, in weeks since each one's first order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import DataError, NotEnoughDataError

__all__ = ["WEEK_DAYS", "OrderHistories"]

WEEK_DAYS = 7.0
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class OrderHistories:
    """The orders of n customers, each of whom has at least one; orders of one day count as one.

    Attributes:
        customers: int64 (n,), ids as given, ascending.
        gaps: float64 (sum of `frequency`,), weeks between an order and the next; customer by customer, in time order.
        frequency: int64 (n,), repeat orders, x: days with an order, less the first.
        recency: float64 (n,), weeks from the first order to the last, t_x; 0 for who ordered once.
        age: float64 (n,), weeks from the first order to the end of what was observed, T.
    """

    customers: Ints
    gaps: Floats
    frequency: Ints
    recency: Floats
    age: Floats

    @property
    def n_customers(self) -> int:
        """How many customers there are."""
        return int(self.customers.size)

    @property
    def silence(self) -> Floats:
        """Weeks since the last order, float64 (n,)."""
        return self.age - self.recency

    def sum_over_gaps(self, values: Floats) -> Floats:
        """Sums of one value a gap over each customer's gaps, float64 (n,); 0 where there is no gap."""
        owners = np.repeat(np.arange(self.n_customers), self.frequency)
        found: Floats = np.bincount(owners, weights=values, minlength=self.n_customers).astype(np.float64)
        return found

    @classmethod
    def from_order_days(cls, customers: Ints, days: Ints, last_day: int) -> OrderHistories:
        """Histories from one row an order: whose it is and on which day, up to and with `last_day`.

        Later orders are left out, and customers without an earlier one with them.

        Raises:
            DataError: the two columns differ in length.
            NotEnoughDataError: no order is as early as `last_day`.

        >>> OrderHistories.from_order_days(np.array([7, 7, 7, 9]), np.array([0, 14, 14, 7]), 21).recency.tolist()
        [2.0, 0.0]
        """
        if customers.shape != days.shape:
            raise DataError(f"orders have {customers.size} customers and {days.size} days; give one of each an order")
        seen = days <= last_day
        if not seen.any():
            raise NotEnoughDataError(f"none of {days.size} orders is as early as day {last_day}; take a later last day")
        order = np.unique(np.column_stack([customers[seen], days[seen]]), axis=0)
        owners, starts, sizes = np.unique(order[:, 0], return_index=True, return_counts=True)
        steps = np.diff(order[:, 1])
        first, last = order[starts, 1], order[starts + sizes - 1, 1]
        return cls(
            customers=owners.astype(np.int64),
            gaps=steps[np.diff(order[:, 0]) == 0] / WEEK_DAYS,
            frequency=(sizes - 1).astype(np.int64),
            recency=(last - first) / WEEK_DAYS,
            age=(last_day - first) / WEEK_DAYS,
        )
