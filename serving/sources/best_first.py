"""The best of many scores, for many customers at once: score and place in one number, so that one sort orders both.

The upper half of a key orders as the score does, the highest first; the lower half is the place. Keys are sorted by
value, which is vectorised, holds no lock of the interpreter, and breaks ties by place without a word about it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["NOTHING", "best_keys", "best_ragged", "keys_of", "largest", "of_keys", "worst_of"]

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Scores = npt.NDArray[np.float32]

NOTHING = np.uint64(2**64 - 1)
"""The key of no item, behind every other."""

_HALF = np.uint64(32)
_LOW = np.uint64(2**32 - 1)
_SIGN = np.uint32(2**31)
_GROUPS_A_PLACE = 4
_LARGEST_GROUP = 64


def keys_of(scores: Scores, places: npt.NDArray[np.integer]) -> Keys:
    """uint64 in the shape of both: keys of scores that are numbers, at places in `[0, 2 ** 32 - 1)`.

    >>> keys = keys_of(np.array([-1.0, 3.0, 0.5, 3.0], np.float32), np.arange(4))
    >>> np.argsort(keys).tolist()
    [1, 3, 2, 0]
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # 0 and -0 are equals
    descending = np.where(bits & _SIGN, bits, ~(bits | _SIGN))
    return descending.astype(np.uint64) << _HALF | places.astype(np.uint64)


def of_keys(keys: Keys) -> tuple[Ints, Scores]:
    """The places, -1 for `NOTHING`, and the scores, NaN there.

    >>> places, scores = of_keys(np.append(keys_of(np.array([-1.5], np.float32), np.array([7])), NOTHING))
    >>> places.tolist(), scores.tolist()
    ([7, -1], [-1.5, nan])
    """
    descending = (keys >> _HALF).astype(np.uint32)
    scores = np.where(descending & _SIGN, descending, ~(descending | _SIGN)).view(np.float32)
    none = keys == NOTHING
    return np.where(none, -1, (keys & _LOW).astype(np.int64)), np.where(none, np.float32(np.nan), scores)


def worst_of(keys: Keys) -> Scores:
    """float32 (n,): the score of the last of each row of sorted keys (n, k); -inf where that is `NOTHING`."""
    scores = of_keys(keys[:, -1])[1]
    return np.where(np.isnan(scores), np.float32(-np.inf), scores)


def largest(dense: Scores) -> Ints:
    """int64 (n,): the column of the largest number of each row of (n, m), ties by column; -1 where there is none."""
    if not dense.shape[1]:
        return np.full(len(dense), -1, np.int64)
    found: Ints = np.argmax(dense, axis=1)  # a NaN counts as the largest
    unsure = np.flatnonzero(np.isnan(dense[np.arange(len(dense)), found]))
    if len(unsure):
        numbers = ~np.isnan(dense[unsure])
        found[unsure] = np.argmax(np.where(numbers, dense[unsure], -np.inf), axis=1)
        found[unsure[~numbers.any(axis=1)]] = -1
    return found


def best_keys(dense: Scores, places: Ints, known: Keys) -> Keys:
    """The best of what is known and of more scores, sorted keys in the shape of `known`, (n, k).

    The largest of each of many groups of columns are found in one pass; the worst of the best k of them is a bound that
    few numbers reach, and these alone are sorted.

    Args:
        dense: float32 (n, m); NaN is not taken.
        places: int64 (m,), of the columns.
        known: sorted keys of other places. Of items with the very score of the last one of a full row, those known
            stay.
    """
    n, m = dense.shape
    bound = np.nextafter(worst_of(known), np.float32(np.inf))
    limit, open_ = known.shape[1], np.isneginf(worst_of(known))
    bound[open_] = -np.inf
    width = min(m // (_GROUPS_A_PLACE * limit), _LARGEST_GROUP)
    if width > 1 and open_.any():
        groups = dense[open_, : width * (m // width)].reshape(-1, width, m // width)
        tops = -np.fmax.reduce(groups, axis=1)
        bound[open_] = np.nan_to_num(-np.partition(tops, limit - 1, axis=1)[:, limit - 1], nan=-np.inf)  # NaN is last
    rows, columns = np.divmod(np.flatnonzero(dense >= bound[:, None]), max(m, 1))
    found = _side_by_side(rows, keys_of(dense[rows, columns], places[columns]), n)
    together = np.concatenate([known, found], axis=1)
    together.sort(axis=1)
    return together[:, :limit]


def best_ragged(scores: Scores, places: Ints, offsets: Ints, limit: int) -> Keys:
    """Sorted keys (n, limit), then `NOTHING`: the best of each row's own `offsets[i]:offsets[i + 1]` of both, (r,)."""
    n, kept = len(offsets) - 1, [np.empty(0, np.int64)]
    sizes = np.diff(offsets)
    for row in np.flatnonzero(sizes > limit).tolist():
        own = scores[offsets[row] : offsets[row + 1]]
        reached = np.flatnonzero(own >= np.partition(own, len(own) - limit)[len(own) - limit])
        kept.append(reached + offsets[row])
        sizes[row] = len(reached)
    few = np.repeat(np.diff(offsets) <= limit, np.diff(offsets))
    cells = np.sort(np.concatenate([*kept, np.flatnonzero(few)]))
    keys = _side_by_side(np.repeat(np.arange(n), sizes), keys_of(scores[cells], places[cells]), n)
    best = np.full((n, limit), NOTHING)
    keys.sort(axis=1)
    best[:, : keys.shape[1]] = keys[:, :limit]
    return best


def _side_by_side(rows: Ints, keys: Keys, n: int) -> Keys:
    """(n, m): the keys of each row, of which `rows` (ascending) tells, then `NOTHING`; as wide as the fullest row."""
    sizes = np.bincount(rows, minlength=n)
    wide = np.full((n, int(sizes.max(initial=0))), NOTHING)
    wide[rows, np.arange(len(rows)) - (np.cumsum(sizes) - sizes)[rows]] = keys
    return wide
