"""What slates are like beside being right: how novel, how evenly spread over the catalogue, how personal.

Slates are int64 (n, k) of catalogue positions, -1 for an empty place; an item is on a slate at most once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.sources.histories import Purchases

__all__ = ["bought_shares", "exposure_gini", "novelty", "personalisation"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def bought_shares(bought: Purchases, n_items: int) -> Floats:
    """float64 (n_items,) in (0, 1]: the share of each item among the pairs of a customer and an item they bought.

    An item that nobody bought counts as one pair, so that its novelty is finite and larger than that of the others.
    """
    pairs = np.bincount(bought.items, minlength=n_items)
    return np.maximum(pairs, 1) / max(int(pairs.sum()), 1)


def novelty(slates: Ints, shares: Floats) -> Floats:
    """Mean self-information of each slate's items in bits, float64 (n,); NaN for an empty slate.

    The mean of `-log2 p(i)` over the items shown, p(i) the share of item i (n_items,) in what was bought: one bit more
    for items bought half as often.

    Source: Vargas, Castells (2011), Rank and relevance in novelty and diversity metrics for recommender systems,
    RecSys, section 4.1 (free discovery), without discount and relevance.

    >>> novelty(np.array([[0, 1], [1, -1], [-1, -1]]), np.array([0.5, 0.125])).tolist()
    [2.0, 3.0, nan]
    """
    shown = slates >= 0
    bits = np.append(-np.log2(shares), 0.0)[slates]  # an empty place reads the last, 0
    out = np.full(len(slates), np.nan)
    np.divide(bits.sum(axis=1), shown.sum(axis=1), out=out, where=shown.any(axis=1))
    return out


def exposure_gini(slates: Ints, n_items: int) -> float:
    """How unevenly the places are spread over the catalogue: 0 where every item is shown as often, towards 1 for few.

    `sum_i (2 i - n - 1) x_i / (n sum_i x_i)` of the ascending counts x of all n items, those never shown too; NaN where
    nothing is shown. One item alone gives `1 - 1/n`.

    Source: Gini (1912); as in Fleder, Hosanagar (2009), Blockbuster culture's next rise or fall, Management Science 55.

    >>> exposure_gini(np.array([[0, 1], [0, -1]]), 3)
    0.4444444444444444
    """
    counts = np.sort(np.bincount(slates[slates >= 0], minlength=n_items))
    total = int(counts.sum())
    if not total:
        return float("nan")
    places = np.arange(1, n_items + 1)
    return float(np.sum((2 * places - n_items - 1) * counts) / (n_items * total))


def personalisation(slates: Ints) -> float:
    """How different the slates of two customers are, in [0, 1]: the mean of `1 - |overlap| / k` over all pairs.

    Worked out exactly from how often each item is shown: an item on c slates is in `c (c - 1) / 2` overlaps. k is the
    mean number of items on a slate. 0: everyone is shown the same; 1: no two share an item. NaN for fewer than two
    customers, or where nothing is shown.

    >>> personalisation(np.array([[0, 1], [1, 0], [2, 3]]))  # overlaps 2, 0, 0 of 2
    0.6666666666666667
    """
    n = len(slates)
    counts = np.unique(slates[slates >= 0], return_counts=True)[1].astype(np.float64)
    shown = float(counts.sum())
    if n < 2 or not shown:
        return float("nan")
    overlap = float(np.sum(counts * (counts - 1))) / (n * (n - 1))
    return 1 - overlap / (shown / n)
