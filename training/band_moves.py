"""Who would stand in another band under another release, by how much probabilities move, and why.

Both sides score the same customers at the same instant, so whatever differs is the models' doing. A customer's change
of log-odds is parted, without a rest, into what each group of features says otherwise and the level that holds for all
(base rate, calibration, season); and a change of band into what the score did and what merely the cut-offs did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from features.errors import DataError, NotEnoughDataError
from serving.bands import Bands

__all__ = ["BANDS", "LEVEL", "BandMoves", "Cause", "Side", "Transition", "band_moves", "causes_of_change"]

Array = npt.NDArray[np.float64]

BANDS = ("low", "medium", "high")
LEVEL = "level_for_all"
"""The name of what no group of features moved: the base rate, the calibration, the season."""

_EDGE = 1e-9
_SAME = 1e-12
_MAIN_CAUSES = 3


@dataclass(frozen=True, eq=False)
class Side:
    """What one release says of n customers.

    probabilities: float64 (n,). bands: its cut-offs.
    """

    name: str
    probabilities: Array
    bands: Bands

    @property
    def codes(self) -> npt.NDArray[np.int8]:
        """The band of each customer, int8 (n,), index into BANDS."""
        return _codes(self.bands, self.probabilities)


@dataclass(frozen=True)
class Cause:
    """A cause of change over several customers: `moved` is its mean part of the change of log-odds."""

    name: str
    moved: float


@dataclass(frozen=True)
class Transition:
    """The customers who go from one band to another, and what moved them.

    by_cutoffs: how many of them would have stayed under the first side's cut-offs. rise: mean change of probability.
    causes: the weightiest first, at most three.
    """

    before: str
    after: str
    n: int
    by_cutoffs: int
    rise: float
    causes: tuple[Cause, ...]


@dataclass(frozen=True, eq=False)
class BandMoves:
    """Two sides over the same customers.

    table: int64 (3, 3), customers by band before (rows) and after (columns), low to high.
    rises: float64 (n,), change of probability.
    before, after: int8 (n,), index into BANDS. by_cutoffs: bool (n,), true where only the cut-offs changed the band.
    main_cause: int64 (m,), for each of the m customers who change band, in order: index into `cause_names`, of what
    moved the customer most in the direction they went.
    """

    first: Side
    second: Side
    table: npt.NDArray[np.int64]
    rises: Array
    before: npt.NDArray[np.int8]
    after: npt.NDArray[np.int8]
    by_cutoffs: npt.NDArray[np.bool_]
    main_cause: npt.NDArray[np.int64]
    cause_names: tuple[str, ...]
    transitions: tuple[Transition, ...]

    @property
    def n(self) -> int:
        """Customers compared."""
        return int(self.rises.size)

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """Who changes band, bool (n,)."""
        moved: npt.NDArray[np.bool_] = self.before != self.after
        return moved

    @property
    def sentences(self) -> tuple[str, ...]:
        """The comparison in words."""
        n, n_changed = self.n, int(self.changed.sum())
        up = int((self.after > self.before).sum())
        size = np.abs(self.rises)
        means = self.first.probabilities.mean(), self.second.probabilities.mean()
        who = (
            f"{n_changed:,} of {n:,} customers ({n_changed / n:.1%}) change band: {up:,} up, {n_changed - up:,} down; "
        )
        how_far = f"Probabilities move by {size.mean():.3f} on average, by more than {np.quantile(size, 0.9):.3f} for "
        return (
            who + f"{int(self.by_cutoffs.sum()):,} of them only because the cut-offs differ.",
            how_far + f"one customer in ten; their mean goes from {means[0]:.3f} to {means[1]:.3f}.",
        )


def causes_of_change(groups: tuple[Array, Array], log_odds: tuple[Array, Array, Array]) -> Array:
    """Parts of each customer's change of log-odds, float64 (n, g + 1): the groups of features, and the level for all.

    Args:
        groups: group sums of contributions before and after, float64 (n, g + 1); the last column is the mean margin,
            the same for every customer of one model.
        log_odds: calibrated float64 (n,): the first model's; the second model's margin in the first one's calibration;
            the second model's.

    A part of the margin counts in log-odds by the slope of the first calibration between the two margins. Each row
    adds up to the change.

    Raises:
        DataError: the shapes do not fit.
    """
    if groups[0].shape != groups[1].shape or any(found.shape != groups[0].shape[:1] for found in log_odds):
        raise DataError("the two sides are not of the same customers and groups of features")
    moved = groups[1] - groups[0]
    margin = moved.sum(axis=1)
    still = np.abs(margin) < _SAME
    slope = np.where(still, 1.0, (log_odds[1] - log_odds[0]) / np.where(still, 1.0, margin))
    parts = moved[:, :-1] * slope[:, None]
    return np.column_stack([parts, log_odds[2] - log_odds[0] - parts.sum(axis=1)])


def band_moves(first: Side, second: Side, parts: Array, cause_names: tuple[str, ...]) -> BandMoves:
    """Compare two sides of the same customers.

    Args:
        first: before.
        second: after.
        parts: float64 (m, c), of the change of log-odds of the m customers who change band, in their order.
        cause_names: of the columns of `parts`.

    Raises:
        DataError: the sides or the parts are of other customers.
        NotEnoughDataError: there is no customer.
    """
    n = first.probabilities.size
    if second.probabilities.size != n:
        raise DataError(f"{n} customers before and {second.probabilities.size} after are not the same customers")
    if n == 0:
        raise NotEnoughDataError("0 customers to compare; choose another instant")
    before, after = first.codes, second.codes
    changed = np.flatnonzero(before != after)
    if parts.shape != (changed.size, len(cause_names)):
        raise DataError(f"{changed.size} customers change band; parts of shape {parts.shape} are not theirs")
    by_cutoffs = (before != after) & (_codes(first.bands, second.probabilities) == before)
    direction = np.sign(after[changed] - before[changed])
    return BandMoves(
        first=first,
        second=second,
        table=np.bincount(before * len(BANDS) + after, minlength=9).reshape(3, 3).astype(np.int64),
        rises=second.probabilities - first.probabilities,
        before=before,
        after=after,
        by_cutoffs=by_cutoffs,
        main_cause=(parts * direction[:, None]).argmax(axis=1),
        cause_names=cause_names,
        transitions=tuple(
            sorted(_transitions(first, second, by_cutoffs, parts, cause_names), key=lambda transition: -transition.n)
        ),
    )


def log_odds_of(probabilities: Array) -> Array:
    """`ln(p / (1 - p))`, probabilities kept a billionth away from 0 and 1.

    >>> round(float(log_odds_of(np.array([0.75]))[0]), 6)
    1.098612
    """
    held = np.clip(probabilities, _EDGE, 1.0 - _EDGE)
    found: Array = np.log(held) - np.log1p(-held)
    return found


def _codes(bands: Bands, probabilities: Array) -> npt.NDArray[np.int8]:
    return np.searchsorted([bands.medium, bands.high], probabilities, side="right").astype(np.int8)


def _transitions(
    first: Side, second: Side, by_cutoffs: npt.NDArray[np.bool_], parts: Array, cause_names: tuple[str, ...]
) -> Iterator[Transition]:
    before, after = first.codes, second.codes
    rises = second.probabilities - first.probabilities
    changed = np.flatnonzero(before != after)
    for start, end in permutations(range(len(BANDS)), 2):
        among = (before[changed] == start) & (after[changed] == end)
        if not among.any():
            continue
        means, rows = parts[among].mean(axis=0), changed[among]
        weightiest = np.argsort(-np.abs(means), kind="stable")[:_MAIN_CAUSES]
        yield Transition(
            before=BANDS[start],
            after=BANDS[end],
            n=int(rows.size),
            by_cutoffs=int(by_cutoffs[rows].sum()),
            rise=float(rises[rows].mean()),
            causes=tuple(Cause(cause_names[i], float(means[i])) for i in weightiest if means[i] != 0.0),
        )
