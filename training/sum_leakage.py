"""Alarm for columns that tell the outcome together: a total less its parts may be the leaving itself.

A count of all pages seen holds the page on which the customer cancelled; less the counts of the other pages it is the
label, though no column by itself gives it away. Such a sum is what linear regression finds at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.churn_metrics import auc
from training.leakage import LEAK_AUC
from training.training_set import TrainingSet

__all__ = ["SumLeak", "find_sum_leak"]

Array = npt.NDArray[np.float64]
_LOOKED_AT = 20_000
_LEAST_OF_EACH = 30
_FURTHEST = 20.0
_LEAST_SPREAD = 1e-12


@dataclass(frozen=True)
class SumLeak:
    """The fewest columns found whose weighted sum tells the outcome; auc: on customers it was not fitted on."""

    columns: tuple[str, ...]
    auc: float

    def sentence(self) -> str:
        """What is suspicious, and what to do.

        >>> SumLeak(("pages", "songs"), 0.9991).sentence()[:79]
        'Alarm: a sum of the columns pages, songs tells who churned nearly perfectly (AU'
        """
        return (
            f"Alarm: a sum of the columns {', '.join(self.columns)} tells who churned nearly perfectly (AUC "
            f"{self.auc:.3f}), though none does by itself: one of them probably counts the leaving too. They were "
            "learnt from all the same, and the figures flatter the model as far as it found the sum; leave out the "
            "guilty one with --ignore, or name one in churn.trusted_columns if all are known before."
        )


def find_sum_leak(
    rows: TrainingSet, seed: int, *, numbers: Sequence[str], trusted: Sequence[str] = ()
) -> SumLeak | None:
    """Columns of which a weighted sum ranks unseen customers better than an AUC of .98; None if there are none.

    `numbers` are the columns that can be added; `trusted` ones are not looked at. At most 20,000 rows are looked at,
    drawn by `seed`, without those that lie more than 20 deviations off: one of these would bend any sum.
    """
    names = [name for name in rows.feature_names if name in set(numbers) - set(trusted)]
    rng = np.random.default_rng([seed, 5])
    drawn = rng.permutation(rows.n_rows)[:_LOOKED_AT]
    places = np.array([rows.feature_names.index(name) for name in names], dtype=np.int64)
    values = rows.values[np.ix_(drawn, places)]
    standard, labels = _standard(values, rows.labels[drawn])
    first = np.arange(labels.size) < labels.size // 2
    if min(labels.sum(), (~labels).sum()) < _LEAST_OF_EACH or len({*labels[first]}) + len({*labels[~first]}) < 4:
        return None
    if standard.shape[1] < 2 or _auc_of_sum(standard, labels, first) <= LEAK_AUC:
        return None
    kept = _fewest(standard, labels, first)
    return SumLeak(tuple(names[place] for place in kept), _auc_of_sum(standard[:, kept], labels, first))


def _standard(values: Array, labels: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Columns of mean 0 and deviation 1, a missing value being 0; without the rows that lie far off."""
    near = (np.abs(_scaled(values)) <= _FURTHEST).all(axis=1)
    return _scaled(values[near]), labels[near]


def _scaled(values: Array) -> Array:
    known = ~np.isnan(values)
    counted = np.maximum(known.sum(axis=0), 1)
    off = np.where(known, values - np.where(known, values, 0.0).sum(axis=0) / counted, 0.0)
    spread = np.sqrt((off**2).sum(axis=0) / counted)
    return np.asarray(off / np.where(spread > _LEAST_SPREAD, spread, np.inf), dtype=np.float64)


def _fewest(standard: Array, labels: npt.NDArray[np.bool_], first: npt.NDArray[np.bool_]) -> list[int]:
    """Take columns away, the least weighty first, as long as the others still tell."""
    kept = list(range(standard.shape[1]))
    weights = np.abs(_weights(standard, labels))
    for place in np.argsort(weights, kind="stable").tolist():
        without = [one for one in kept if one != place]
        if without and _auc_of_sum(standard[:, without], labels, first) > LEAK_AUC:
            kept = without
    return kept


def _auc_of_sum(standard: Array, labels: npt.NDArray[np.bool_], first: npt.NDArray[np.bool_]) -> float:
    """Of least squares fitted on one half and tried on the other, both ways; the lower one."""
    return min(auc(labels[~half], standard[~half] @ _weights(standard[half], labels[half])) for half in (first, ~first))


def _weights(standard: Array, labels: npt.NDArray[np.bool_]) -> Array:
    found: Array = np.linalg.lstsq(standard, labels - labels.mean(), rcond=None)[0]
    return found
