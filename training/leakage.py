"""Alarm for columns that tell the outcome: what is known only afterwards must not be learnt from.

A column of a table may have been filled in once the customer had left (the reason for leaving, a final invoice). A
model on it looks splendid when it is judged, and is worthless in use. Two signs give such a column away: it tells the
outcome nearly perfectly by itself, or it has a value for customers of one outcome alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.training_set import TrainingSet

__all__ = ["LEAK_AUC", "Leak", "constant_columns", "find_leaks"]

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEAK_AUC = 0.98
"""A column that ranks unseen customers better than this by itself is taken for a leak."""

_LOOKED_AT = 20_000  # rows; enough for three digits of an AUC, and cheap on a million
_BINS = 64
_LEAST_OF_EACH = 30
_EXPECTED = 14.0
_MET_SHARE = 0.02


@dataclass(frozen=True)
class Leak:
    """One column that tells the outcome.

    auc: by this column alone, on customers that it was not fitted on. known_for: "churned" or "stayed" where it has a
    value for (nearly) nobody else, and "" otherwise; n_known: rows with a value.
    """

    column: str
    auc: float
    known_for: str
    n_known: int

    def sentence(self) -> str:
        """What is suspicious, and what to do.

        >>> Leak("churn_reason", 0.74, "churned", 312).sentence()[:77]
        'Alarm: column churn_reason has a value (312 rows) only for customers who chur'
        """
        sign = (
            f"has a value ({self.n_known:,} rows) only for customers who {self.known_for}"
            if self.known_for
            else f"tells who churned nearly perfectly by itself (AUC {self.auc:.3f})"
        )
        return (
            f"Alarm: column {self.column} {sign}: it was probably written down after the outcome. It was left out; "
            f"name it in churn.trusted_columns if it is known before."
        )


def find_leaks(rows: TrainingSet, seed: int, trusted: Sequence[str] = ()) -> tuple[Leak, ...]:
    """The columns that tell the outcome, in the order of the columns; `trusted` ones are not looked at.

    At most 20,000 rows are looked at, drawn by `seed`. Fewer than 30 rows of an outcome tell nothing, and give none.
    """
    looked_at = _drawn(rows, seed)
    first = _first_half(looked_at.customer_rows, seed)
    labels = looked_at.labels
    if min(labels.sum(), (~labels).sum()) < _LEAST_OF_EACH or len({*labels[first], *labels[~first]}) < 2:
        return ()
    found = []
    for place, name in enumerate(looked_at.feature_names):
        if name not in trusted:
            column = looked_at.values[:, place]
            leak = Leak(name, _auc_alone(column, labels, first), *_known_for(column, labels))
            if leak.known_for or leak.auc > LEAK_AUC:
                found.append(leak)
    return tuple(found)


def constant_columns(rows: TrainingSet) -> tuple[str, ...]:
    """Names of the columns with one value, or none, in all rows: they can tell nobody from anybody."""
    return tuple(name for place, name in enumerate(rows.feature_names) if _constant(rows.values[:, place]))


def _constant(column: Array) -> bool:
    few = column[:1_000]  # settles nearly every column that varies
    return all(bool((part == part[0]).all() or np.isnan(part).all()) for part in (few, column))


def _drawn(rows: TrainingSet, seed: int) -> TrainingSet:
    if rows.n_rows <= _LOOKED_AT:
        return rows
    return rows.take(np.sort(np.random.default_rng([seed, 3]).permutation(rows.n_rows)[:_LOOKED_AT]))


def _first_half(customers: npt.NDArray[np.int64], seed: int) -> Bools:
    """Mask of the rows of a random half of the customers."""
    distinct, place = np.unique(customers, return_inverse=True)
    half: Bools = np.random.default_rng([seed, 4]).permutation(distinct.size) < distinct.size / 2
    return half[place]


def _auc_alone(column: Array, labels: Bools, first: Bools) -> float:
    """AUC of the share of churned customers by bin of the column, learnt on one half and tried on the other, twice."""
    bins = _bins(column)
    said = np.empty(labels.size)
    for learnt in (first, ~first):
        n = np.bincount(bins[learnt], minlength=_BINS + 2)
        churned = np.bincount(bins[learnt], weights=labels[learnt], minlength=_BINS + 2)
        rate = (churned + labels[learnt].mean()) / (n + 1.0)
        said[~learnt] = rate[bins[~learnt]]
    return min(_auc(labels[half], said[half]) for half in (first, ~first))


def _bins(column: Array) -> npt.NDArray[np.int64]:
    """The bin of each row: every value where there are few, else about equal numbers of rows; missing is the last."""
    present = column[~np.isnan(column)]
    edges = np.unique(present)
    if edges.size > _BINS:
        edges = np.unique(np.quantile(present, np.linspace(0.0, 1.0, _BINS + 1), method="lower"))
    bins = np.searchsorted(edges, column, side="right")
    bins[np.isnan(column)] = _BINS + 1
    return np.minimum(bins, _BINS + 1)


def _auc(labels: Bools, said: Array) -> float:
    churned, stayed = int(labels.sum()), int((~labels).sum())
    if churned == 0 or stayed == 0:
        return math.nan
    distinct, place = np.unique(said, return_inverse=True)
    by_place = np.bincount(place, weights=labels, minlength=distinct.size)
    others = np.bincount(place, minlength=distinct.size) - by_place
    return float(np.sum(by_place * (np.cumsum(others) - 0.5 * others)) / (churned * stayed))


def _known_for(column: Array, labels: Bools) -> tuple[str, int]:
    """The outcome for which alone a value is known, where chance cannot explain it, and how many rows have one.

    Were knowing a value no sign, of n rows with one `n (1 - share)` would be of the other outcome; at least 14 of them
    must be expected (none is then met once in a million times), and at most 2% of them met.
    """
    known = ~np.isnan(column)
    n_known = int(known.sum())
    if n_known == known.size:
        return "", n_known
    for outcome, others in (("churned", ~labels), ("stayed", labels)):
        expected, met = n_known * float(others.mean()), int(others[known].sum())
        if expected >= _EXPECTED and met <= _MET_SHARE * expected:
            return outcome, n_known
    return "", n_known
