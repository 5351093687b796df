"""The part of the churn margin that reads silence: the law of `attrition_law`, over columns of the features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json
from serving.attrition_law import LOADS, AttritionLaw, Past

__all__ = ["COUNTED", "LatentAttrition", "past_of", "readable"]

Array = npt.NDArray[np.float64]
_WHAT = "the latent attrition of the churn model"
_BLOCK_ROWS = 4_096

ORDERS, GAP, TENURE = "orders_count_all", "order_gap_mean_days_all", "tenure_days"
SINCE_ORDER, SINCE_SIGN = "orders_recency_days", "activity_recency_days"
ACTIVE, SINCE_LATE, CANCELS = "active_days_count_all", "late_deliveries_recency_days", "cancels_count_365d"
COUNTED = (ORDERS, GAP, TENURE, SINCE_ORDER, SINCE_SIGN, ACTIVE, SINCE_LATE, CANCELS)
"""The features that are read beside the loads."""

_PLAYERS = ((GAP, TENURE, ORDERS), (SINCE_ORDER,), (SINCE_SIGN, ACTIVE), (CANCELS, SINCE_LATE, *LOADS))
"""The rhythm of orders, the silence since the last, that since the last sign of life, and what went wrong."""
_READ = (*COUNTED, *LOADS)
_UNITS = np.array(list(LOADS.values()))
_ROWS = tuple([_READ.index(name) for name in player] for player in _PLAYERS)
_TROUBLES = _ROWS[-1]


@dataclass(frozen=True, eq=False)
class _Arrivals:
    """All sets of players, set s holding player p where bit p of s is 1, and what it is worth to join one.

    chosen: bool (c, s), whether a column comes from the customer in that set. before, after: int64 (p, s / 2), the sets
    without a player and the same with the player. weights: float64 (p, s / 2), the share of all orders of arrival in
    which the player meets just that set.
    """

    chosen: npt.NDArray[np.bool_]
    before: npt.NDArray[np.int64]
    after: npt.NDArray[np.int64]
    weights: Array

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> _Arrivals:
        n = len(rows)
        sets = np.arange(1 << n)
        holds = (sets >> np.arange(n)[:, None]) & 1 == 1
        chosen = np.empty((sum(map(len, rows)), sets.size), np.bool_)
        for player, places in enumerate(rows):
            chosen[places] = holds[player]
        before = np.array([sets[~one] for one in holds])
        share = [math.factorial(k) * math.factorial(n - k - 1) / math.factorial(n) for k in range(n)]
        return cls(chosen, before, before | (1 << np.arange(n))[:, None], np.array(share)[holds.sum(axis=0)[before]])


_ARRIVALS = _Arrivals.of(_ROWS)


def _read_past(columns: Array) -> Past:
    """What the features COUNTED and LOADS, float64 (c, n), say of the past; a value that is missing says nothing."""
    missing = np.isnan(columns)
    known = np.maximum(columns, 0.0)
    known[missing] = 0.0
    orders, gap, tenure, since_order, since_sign, active, since_late, cancels = known[: len(COUNTED)]
    no_order, no_sign, never_late = (missing[_READ.index(name)] for name in (SINCE_ORDER, SINCE_SIGN, SINCE_LATE))
    since_order = np.where(no_order, since_sign, since_order)
    silent = np.where(no_sign, since_order, np.minimum(since_sign, since_order))
    gaps = np.maximum(orders - 1.0, 0.0)
    return Past(
        gaps=gaps,
        span_days=gaps * gap,
        silent_order_days=since_order - silent,
        silent_days=silent,
        signs=np.maximum(active - orders, 0.0),
        sign_days=np.maximum(tenure - silent, 0.0),
        tenure_days=tenure,
        loads=np.ascontiguousarray(known[len(COUNTED) :].T) / _UNITS,
        late_days=np.where(never_late, np.inf, since_late),
        cancelled=np.minimum(cancels, 1.0),
    )


def readable(feature_names: Iterable[str]) -> tuple[str, ...]:
    """Those of the features that the law can read."""
    return tuple(name for name in feature_names if name in _READ)


def past_of(values: Array, feature_names: Sequence[str], reads: Sequence[str]) -> Past:
    """What the features `reads` of rows, float64 (n, f), say of the past."""
    return _read_past(_columns(values, _places(feature_names, reads)))


@dataclass(frozen=True, eq=False)
class LatentAttrition:
    """`shift + weight * log-odds of the law`, over the features of a model.

    reads: the features that are read, of COUNTED and LOADS; any other says nothing.
    """

    feature_names: tuple[str, ...]
    law: AttritionLaw
    reads: tuple[str, ...]
    weight: float = 1.0
    shift: float = 0.0
    _places: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and math.isfinite(self.shift)):
            raise ArtefactError(f"{_WHAT} has a weight or a shift that is not finite")
        if not set(self.reads) <= set(_READ) & set(self.feature_names):
            raise ArtefactError(f"{_WHAT} reads a feature that the model does not name, or that the law does not know")
        object.__setattr__(self, "_places", _places(self.feature_names, self.reads))

    def margins(self, values: Array) -> Array:
        """Log-odds, float64 (n,), finite, for values float64 (n, f); NaN is missing.

        A row's margin is the same bits whatever rows stand beside it.
        """
        return self._margins(_columns(values, self._places))

    def contributions(self, values: Array, usual: Array) -> Array:
        """What each feature adds to the margin, float64 (n, f + 1); the last column is the usual customer's margin.

        Shapley values of four players (see _PLAYERS) against the usual values, float64 (f,), without any trouble. What
        the troubles add goes to each as it adds to the hazard; what another player adds, to the first of its features
        that is known. A row's sum is its margin, to rounding.

        Source: Strumbelj and Kononenko 2014, Explaining prediction models and individual predictions with feature
        contributions, equation 3, with one reference.
        """
        own, other = _columns(values, self._places), _columns(usual[None, :], self._places)
        other[_TROUBLES] = np.nan
        # all sets at once: one customer alone costs little more than one margin
        mixed = np.where(_ARRIVALS.chosen[:, None, :], own[:, :, None], other[:, :, None])
        worth = self._margins(mixed.reshape(len(own), -1)).reshape(values.shape[0], -1)
        joining = worth.take(_ARRIVALS.after, axis=1) - worth.take(_ARRIVALS.before, axis=1)
        joining *= _ARRIVALS.weights
        added = np.add.reduce(joining, axis=2)  # C-ordered: one customer's in the same order as many's
        found = np.zeros((values.shape[0], len(self.feature_names) + 1))
        found[:, -1] = worth[:, 0]
        for player, rows in enumerate(_ROWS):
            shares = self._by_hazard(own[rows]) if rows is _TROUBLES else _to_first_known(own[rows])
            for place, column in zip(self._places[rows], added[:, player] * shares, strict=True):
                found[:, place] += column  # what is not read adds nothing: to the last column
        return found

    def scaled(self, weight: float) -> LatentAttrition:
        """The part with its margin times `weight`."""
        return replace(self, weight=weight * self.weight, shift=weight * self.shift)

    def _margins(self, columns: Array) -> Array:
        found = np.empty(columns.shape[1])
        for start in range(0, found.size, _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            found[block] = self.law.log_odds(_read_past(columns[:, block]))
        found *= self.weight
        found += self.shift
        return found

    def _by_hazard(self, troubles: Array) -> Array:
        """The share of each trouble, float64 (c, n); a cancel takes all."""
        weights = np.nan_to_num(troubles)
        weights[1] = 0.0  # when the last delivery was late adds nothing without its load
        weights[2:] *= (np.array(self.law.troubles) / _UNITS)[:, None]
        weights[2:, weights[0] > 0] = 0.0
        total = np.add.reduce(np.ascontiguousarray(weights.T), axis=1)  # one customer's in the same order as many's
        return np.where(total > 0, weights / np.where(total > 0, total, 1.0), 1.0 / len(weights))

    def to_manifest(self) -> dict[str, object]:
        """The part as JSON values."""
        law = self.law.to_manifest()
        return {"weight": self.weight, "shift": self.shift, "reads": list(self.reads), "law": law}

    @classmethod
    def from_manifest(cls, manifest: object, feature_names: tuple[str, ...]) -> LatentAttrition:
        """The part that `to_manifest` wrote, for a model over these features.

        Raises:
            ArtefactError: something is missing, of a wrong type, not finite or out of range.
        """
        if not isinstance(manifest, Mapping):
            raise ArtefactError(f"{_WHAT} is not a JSON object")
        content = dict(manifest)
        law = AttritionLaw.from_manifest(strict_json.section(content, "law", _WHAT))
        weight, shift = (strict_json.number(content, name, _WHAT) for name in ("weight", "shift"))
        return cls(feature_names, law, strict_json.texts(content, "reads", _WHAT), weight, shift)


def _places(feature_names: Sequence[str], reads: Sequence[str]) -> npt.NDArray[np.int64]:
    """Where each of _READ stands among the features; -1 for what is not read."""
    return np.array([feature_names.index(name) if name in reads else -1 for name in _READ])


def _columns(values: Array, places: npt.NDArray[np.int64]) -> Array:
    """The features that are read, float64 (c, n); NaN for what is not."""
    found = np.ascontiguousarray(values[:, places].T)
    found[places < 0] = np.nan
    return found


def _to_first_known(columns: Array) -> Array:
    """1 for the first column that has a value, float64 (c, n); for the first of all where none has."""
    known = ~np.isnan(columns)
    return np.asarray(np.arange(len(columns))[:, None] == known.argmax(axis=0), dtype=np.float64)
