"""What a slate does in the simulated shop: whom it brings back, and what they take from it.

A law of that world, fixed before any ranking was judged by it. All but two of its numbers are those by which the shop
lives anyway: by what is bought again, what is clicked on, and what price and things at home do to a choice.

A customer looks at a slate from its top and goes on to the next place with chance PATIENCE. What an item does is its
pull, the chance that it is something this customer wants now:

    due   = 1 / (1 + exp(-9 (days since it was bought / its interval - .8)))    for what is in use at home, else 0
    liked = max(taste . factors, 0)^2 * min(1, exp(-2 * price sensitivity * log relative price))
            times exp(-3) for a lasting thing that is at home already
    pull  = 1 - (1 - due) (1 - liked), and 0 for what is out of stock on the day before

The slate's appeal is the mean pull of its places, weighted with attention; an empty place pulls nobody. It adds
`-HAZARD_CUT * appeal` to the log hazard of leaving and `ORDER_LIFT * appeal` to the log order probability; both fade
as those of an offer do. So who is about to leave has most to gain, and only by items that they truly want: a margin
moves nobody, and what is dear or strange to their taste moves them less.

Of those who come back, an item at place p is in the order with chance `attention * IN_MIND * pull`.

Sources: Moffat, Zobel (2008), Rank-biased precision, for the attention; Craswell et al. (2008), An experimental
comparison of click position-bias models, for why it falls with the place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.errors import DataError
from training.simulated_shop.arrays import Flags, Floats, Ints
from training.simulated_shop.baskets import OWNED_PENALTY, PRICE_WEIGHT
from training.simulated_shop.oracle import day_of, oracle_churn_under
from training.simulated_shop.truth import Truth
from training.simulated_shop.world import PANTRY_SLOTS

__all__ = [
    "HAZARD_CUT",
    "IN_MIND",
    "ORDER_LIFT",
    "PATIENCE",
    "SlateResponses",
    "appeal",
    "oracle_responses",
    "oracle_return_probability",
    "true_pull",
]

PATIENCE = 0.8
"""Chance of looking at the next place; the middle of what was estimated for searchers."""
HAZARD_CUT = 0.50
ORDER_LIFT = 0.70
"""Half wanted, a slate does what a recommendation e-mail does to a customer of average aversion (-.25 and +.35)."""
IN_MIND = 0.55
"""Chance that what a customer has in mind is in the next order, as in every basket of the shop."""
_DUE_SLOPE, _DUE_MIDDLE = 9.0, 0.8
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class SlateResponses:
    """What n slates of k places do.

    Attributes:
        return_probability: (n,), P(an order within the horizon).
        ordered: (n, k), P(the item shown there is in that order, and there is one).
    """

    return_probability: Floats
    ordered: Floats


def true_pull(truth: Truth, customer_rows: Ints, as_of_us: int) -> Floats:
    """Chance in [0, 1] that each item is something each customer wants at as_of, (n, n_items).

    Raises:
        TimeError: as_of is not a midnight in UTC within the simulated time.
    """
    day = day_of(truth, as_of_us, 0)
    people, catalogue = truth.people, truth.catalogue
    match = np.maximum(people.taste[customer_rows] @ catalogue.factors.T, 0.0)
    dear = PRICE_WEIGHT * people.price_sensitivity[customer_rows, None] * catalogue.relative_price
    due, owned = _at_home(truth, customer_rows, day)
    liked = match**2 * np.minimum(1.0, np.exp(-dear)) * np.where(owned, np.exp(-OWNED_PENALTY), 1.0)
    in_stock = catalogue.in_stock[max(day - 1, 0)]
    return np.asarray((1.0 - (1.0 - due) * (1.0 - liked)) * in_stock, dtype=np.float64)


def appeal(pull: Floats) -> Floats:
    """Mean pull of each slate (n, k) of places in order, weighted with attention, in [0, 1], (n,).

    >>> appeal(np.array([[1.0, 0.0], [0.5, 0.5]])).round(4).tolist()
    [0.5556, 0.5]
    """
    attention = _attention(pull.shape[1])
    return np.asarray((pull * attention).sum(axis=1) / attention.sum(), dtype=np.float64)


def oracle_responses(
    truth: Truth, customer_rows: Ints, slates: Ints, as_of_us: int, horizon_days: int
) -> SlateResponses:
    """What these slates, shown at as_of, do within [as_of, as_of + horizon).

    Args:
        truth: of the shop.
        customer_rows: (n,), distinct, joined before as_of.
        slates: (n, k) item rows, best first, -1 for an empty place.
        as_of_us: a midnight.
        horizon_days: within which an order is a return.

    Raises:
        DataError: a customer comes twice or has not joined, or slates do not fit them.
        TimeError: as_of is not a midnight in UTC within the simulated time, or the horizon is beyond the calendar.
    """
    day = day_of(truth, as_of_us, horizon_days)
    _check(truth, customer_rows, slates, day)
    shown = np.empty(slates.shape)
    step = max(1, _CELLS_AT_ONCE // len(truth.item_ids))
    for start in range(0, len(slates), step):
        part = slice(start, start + step)
        pull = true_pull(truth, customer_rows[part], as_of_us)
        found = np.take_along_axis(pull, np.maximum(slates[part], 0), axis=1)
        shown[part] = np.where(slates[part] >= 0, found, 0.0)
    moved = appeal(shown)
    stays_away = oracle_churn_under(
        truth, as_of_us, customer_rows, -HAZARD_CUT * moved, ORDER_LIFT * moved, horizon_days
    )
    returns = 1.0 - stays_away
    return SlateResponses(returns, returns[:, None] * _attention(slates.shape[1]) * IN_MIND * shown)


def oracle_return_probability(
    truth: Truth, customer_rows: Ints, slates: Ints, as_of_us: int, horizon_days: int
) -> Floats:
    """P(an order within [as_of, as_of + horizon) | the slate shown at as_of), (n,). See `oracle_responses`."""
    return oracle_responses(truth, customer_rows, slates, as_of_us, horizon_days).return_probability


def _attention(k: int) -> Floats:
    return np.asarray(PATIENCE ** np.arange(k), dtype=np.float64)


def _check(truth: Truth, customer_rows: Ints, slates: Ints, day: int) -> None:
    if slates.ndim != 2 or len(slates) != len(customer_rows) or not slates.shape[1]:
        raise DataError(f"slates are {slates.shape} for {len(customer_rows)} customers; give one row for each")
    if len(np.unique(customer_rows)) != len(customer_rows):
        raise DataError("a customer comes twice; judge one slate a customer at a time")
    if (truth.people.join_day[customer_rows] >= day).any():
        raise DataError("a customer had not joined before as_of; leave them out")


def _at_home(truth: Truth, customer_rows: Ints, day: int) -> tuple[Floats, Flags]:
    """How due each consumable in use is, and which lasting things are at home, (n, n_items) each."""
    n, n_items = len(customer_rows), len(truth.item_ids)
    place = np.full(len(truth.customer_ids), -1, dtype=np.int64)
    place[customer_rows] = np.arange(n)
    home = truth.at_home
    seen = (home.day < day) & (place[home.row] >= 0)
    rows, items, days = place[home.row[seen]], home.code[seen], home.day[seen]
    slots = home.amounts[seen, 0].astype(np.int64)
    owned = np.zeros((n, n_items), dtype=np.bool_)
    lasts = slots < 0
    owned[rows[lasts], items[lasts]] = True
    pantry_item = np.full((n, PANTRY_SLOTS), -1, dtype=np.int64)
    pantry_day = np.zeros((n, PANTRY_SLOTS), dtype=np.int64)
    cells = (rows[~lasts], slots[~lasts])
    pantry_item[cells] = items[~lasts]  # by day, so the latest stays
    pantry_day[cells] = days[~lasts]
    row, slot = np.nonzero(pantry_item >= 0)
    item = pantry_item[row, slot]
    passed = (day - pantry_day[row, slot]) / truth.catalogue.repeat_days[item]
    due = np.zeros((n, n_items))
    due[row, item] = 1.0 / (1.0 + np.exp(-_DUE_SLOPE * np.clip(passed - _DUE_MIDDLE, -5, 5)))
    return due, owned
