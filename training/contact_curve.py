"""What contacting the riskiest customers would bring: leavers reached, loyal customers bothered, profit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import DataError, NotEnoughDataError

__all__ = ["SHARES", "ContactCurve", "ContactRow", "contact_curve"]

Array = npt.NDArray[np.float64]

SHARES: tuple[float, ...] = (0.01, 0.02, *(round(0.05 * step, 2) for step in range(1, 21)))
"""Shares of the customers to contact: 1%, 2%, 5% and then every 5% up to all."""


@dataclass(frozen=True)
class ContactRow:
    """One cut-off: the `n_contacted` customers of highest priority are contacted, the others are left alone.

    lowest_probability: of those contacted.
    leavers_expected, loyal_expected: by the probabilities, as known when the list is made; they add up to n_contacted.
    leavers_reached, loyal_bothered: what turned out, likewise.
    leavers_share: of all who left, the share that is reached.
    profit_expected, profit: by the probabilities, and as it turned out, minor units; NaN where no value is known.
    """

    share: float
    n_contacted: int
    lowest_probability: float
    leavers_expected: float
    loyal_expected: float
    leavers_reached: int
    loyal_bothered: int
    leavers_share: float
    profit_expected: float
    profit: float


@dataclass(frozen=True)
class ContactCurve:
    """The rows of all cut-offs, by rising share; what they assume stands in `meaning`."""

    rows: tuple[ContactRow, ...]
    meaning: str

    @property
    def best(self) -> ContactRow:
        """The cut-off of highest profit as it turned out; the smallest of them."""
        return max(self.rows, key=lambda row: (row.profit, -row.share))

    @property
    def best_expected(self) -> ContactRow:
        """The cut-off that one would have chosen by the probabilities."""
        return max(self.rows, key=lambda row: (row.profit_expected, -row.share))


def contact_curve(
    labels: npt.NDArray[np.bool_],
    probabilities: Array,
    gain_minor: Array,
    loss_minor: Array,
    *,
    priority: Array | None = None,
    shares: Sequence[float] = SHARES,
    meaning: str = "",
) -> ContactCurve:
    """What each cut-off would have brought, had these customers been contacted.

    Args:
        labels: bool (n,), who left.
        probabilities: float64 (n,), what the model said.
        gain_minor: float64 (n,), what contacting each brings on average if the customer is about to leave, costs taken
            off; NaN where unknown.
        loss_minor: float64 (n,), what contacting each costs if the customer would have stayed anyway.
        priority: float64 (n,), who is contacted first, the highest; by default the probabilities.
        shares: of the customers to contact, each in (0, 1].
        meaning: kept with the curve.

    An outcome is taken as it was without any contact; that a contact keeps a share of the leavers is an assumption
    inside `gain_minor`, to be measured by an experiment.

    Raises:
        NotEnoughDataError: there is no customer.
        DataError: a share is outside (0, 1].

    >>> left, said = np.array([True, True, False, False]), np.array([0.9, 0.6, 0.4, 0.1])
    >>> rows = contact_curve(left, said, np.full(4, 10.0), np.full(4, 2.0), shares=(0.5, 1.0)).rows
    >>> [(row.leavers_reached, row.loyal_bothered, row.profit) for row in rows]
    [(2, 0, 20.0), (2, 2, 16.0)]
    """
    n = labels.size
    if n == 0:
        raise NotEnoughDataError("a contact curve needs customers; there are 0")
    if not all(0.0 < share <= 1.0 for share in shares):
        raise DataError(f"shares to contact must lie above 0 and at most at 1, not {list(shares)}")
    order = np.argsort(-(probabilities if priority is None else priority), kind="stable")
    left, said = labels[order], probabilities[order]
    gain, loss = gain_minor[order], loss_minor[order]
    sums = _Sums(
        hits=np.cumsum(left),
        hoped=np.cumsum(said),
        happened=np.cumsum(np.where(left, gain, -loss)),
        expected=np.cumsum(said * gain - (1.0 - said) * loss),
        lowest=np.minimum.accumulate(said),
    )
    return ContactCurve(tuple(sums.row(share) for share in sorted(shares)), meaning)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Running sums over the customers in the order of contact, each (n,), and the lowest probability so far."""

    hits: npt.NDArray[np.int64]
    hoped: Array
    happened: Array
    expected: Array
    lowest: Array

    def row(self, share: float) -> ContactRow:
        count = max(1, round(share * self.hits.size))
        last = count - 1
        hits, hoped = int(self.hits[last]), float(self.hoped[last])
        return ContactRow(
            share=share,
            n_contacted=count,
            lowest_probability=float(self.lowest[last]),
            leavers_expected=hoped,
            loyal_expected=count - hoped,
            leavers_reached=hits,
            loyal_bothered=count - hits,
            leavers_share=hits / max(int(self.hits[-1]), 1),
            profit_expected=float(self.expected[last]),
            profit=float(self.happened[last]),
        )
