"""Learn what is believed of each item's rate of response: distinct customers, each with a limited say.

A customer counts for an item once, however often it was shown or looked at, and for all items together at most as much
as so many items; so one key that sends 10,000 events moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.errors import ConfigurationError
from features.instants import DAY_US
from features.interactions import ItemIndex, known
from features.schema import KINDS
from serving.exploration import ItemBeliefs

__all__ = ["BeliefSettings", "ResponseCounts", "count_responses", "fit_item_beliefs", "prior_of"]

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
_IMPRESSION = "impression"
_WEAKEST, _STRONGEST, _UNKNOWN_RATE = 10.0, 10_000.0, 0.01


@dataclass(frozen=True)
class BeliefSettings:
    """What counts as a response.

    Attributes:
        kinds: events of the same customer and item that are a response.
        window_days: response window [first shown, first shown + window).
        items_a_customer: the weight of a customer for all items together: one who was shown more items counts less
            for each of them.
    """

    kinds: tuple[str, ...] = ("view", "cart", "purchase")
    window_days: float = 1.0
    items_a_customer: float = 200.0

    def __post_init__(self) -> None:
        if not self.kinds or any(kind not in KINDS or kind == _IMPRESSION for kind in self.kinds):
            known = ", ".join(kind for kind in KINDS if kind != _IMPRESSION)
            raise ConfigurationError(f"beliefs.kinds is {self.kinds}; write kinds out of {known}")
        for name in ("window_days", "items_a_customer"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number > 0.0):
                raise ConfigurationError(f"beliefs.{name} is {number}; write a number above 0")


@dataclass(frozen=True, eq=False)
class ResponseCounts:
    """Weighed distinct customers, float64 (n_items,): to whom the item was shown, and who responded."""

    shown: Floats
    responded: Floats


def fit_item_beliefs(
    view: CustomerView, index: ItemIndex, as_of_us: int, settings: BeliefSettings | None = None
) -> ItemBeliefs:
    """What is believed of the items, from impressions and responses with both times before `as_of_us`.

    Args:
        view: histories; later events change nothing.
        index: the catalogue, in the order of the beliefs.
        as_of_us: exclusive cut-off.
        settings: what counts.
    """
    counts = count_responses(view, index, as_of_us, settings or BeliefSettings())
    return ItemBeliefs.of_counts(counts.responded, counts.shown, *prior_of(counts))


def count_responses(view: CustomerView, index: ItemIndex, as_of_us: int, settings: BeliefSettings) -> ResponseCounts:
    """Count who was shown what and responded; who was shown it too lately to have had the window is left out."""
    window, n_items = round(settings.window_days * DAY_US), len(index.item_ids)
    shown, first_us = _first(*_pairs(view, index, as_of_us, (_IMPRESSION,)))
    closed = first_us <= as_of_us - window
    shown, first_us = shown[closed], first_us[closed]
    responded = _responded(shown, first_us, *_pairs(view, index, as_of_us, settings.kinds), window)
    whose = np.unique(shown // max(n_items, 1), return_inverse=True)[1]
    weight = np.minimum(1.0, settings.items_a_customer / np.bincount(whose))[whose]
    item = shown % max(n_items, 1)
    return ResponseCounts(
        np.bincount(item, weights=weight, minlength=n_items).astype(np.float64),
        np.bincount(item[responded], weights=weight[responded], minlength=n_items).astype(np.float64),
    )


def _pairs(view: CustomerView, index: ItemIndex, as_of_us: int, kinds: Sequence[str]) -> tuple[Places, Places]:
    """One number for the customer and the item of each known event of some kinds, and its instant."""
    pairs, times = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for kind in kinds:
        track = view.track(kind)
        items = index.of_view_items(view, track.item)
        counted = known(track, as_of_us) & (items >= 0)
        pairs.append(track.customer_rows[counted] * max(len(index.item_ids), 1) + items[counted])
        times.append(track.occurred_us[counted])
    return np.concatenate(pairs), np.concatenate(times)


def _first(pairs: Places, when: Places) -> tuple[Places, Places]:
    """The distinct pairs, ascending, and the first time of each."""
    order = np.lexsort((when, pairs))
    found, at = np.unique(pairs[order], return_index=True)
    return found, when[order][at]


def _responded(shown: Places, first_us: Places, pairs: Places, when: Places, window_us: int) -> npt.NDArray[np.bool_]:
    """bool, of each shown pair: whether an event of the pair lies in its window."""
    found = np.zeros(shown.size, np.bool_)
    if shown.size:
        at = np.minimum(np.searchsorted(shown, pairs), shown.size - 1)
        since = when - first_us[at]
        found[at[(shown[at] == pairs) & (since >= 0) & (since < window_us)]] = True
    return found


def prior_of(counts: ResponseCounts) -> tuple[float, float]:
    """What counts as seen of every item beforehand: responses and customers, so that items unknown are as the usual.

    The Beta of the items' rates has the mean rate m and, by how much more they differ than chance explains, the
    strength m (1 - m) / variance - 1, kept within [10, 10,000] customers.

    Source: Kleinman 1973, Proportions with extraneous variance: single and independent samples, (2.2).

    >>> prior_of(ResponseCounts(np.zeros(3), np.zeros(3)))
    (0.1, 10.0)
    """
    total = float(counts.shown.sum())
    rate = float(counts.responded.sum()) / total if total > 0.0 else 0.0
    if not 0.0 < rate < 1.0:
        strength = _WEAKEST
        return max(rate, _UNKNOWN_RATE) * strength if rate < 1.0 else 0.5 * strength, strength
    shown = counts.shown[counts.shown > 0.0]
    own = counts.responded[counts.shown > 0.0] / shown
    spread = float((shown * (own - rate) ** 2).sum()) - rate * (1.0 - rate) * (shown.size - 1)
    free = total - float((shown**2).sum()) / total
    between = spread / free if free > 0.0 else 0.0
    least = rate * (1.0 - rate) / (_STRONGEST + 1.0)
    strength = rate * (1.0 - rate) / max(between, least) - 1.0
    strength = min(max(strength, _WEAKEST), _STRONGEST)
    return rate * strength, strength
