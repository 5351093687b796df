"""A filter on the graph of customers and items: short lists of neighbours, and a few factors for what is common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.neighbours import ItemNeighbours
from serving.sources.parts import Shape, arrays_of
from serving.sources.source import Arrays, Bools, Excluded, Ints, Proposals, Scores, best_of

__all__ = ["GraphFilterSource"]

_CELLS_AT_ONCE = 16_000_000


@dataclass(frozen=True, eq=False)
class GraphFilterSource:
    """The score of item j is the sum over the history of `w_i (S[i, j] + taken[i] . given[j])`.

    The filter is one matrix item by item; what a few factors cannot hold of it stands in the neighbours. A customer of
    whom nothing is known is shown nothing.

    Attributes:
        neighbours: S.
        taken: float32 (n_items, n_factors), what each item of a history adds to the customer's vector.
        given: float32 (n_items, n_factors), what each item answers to it.
    """

    kind: ClassVar[str] = "graph"

    neighbours: ItemNeighbours
    taken: npt.NDArray[np.float32]
    given: npt.NDArray[np.float32]
    name: str = "graph"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return self.neighbours.n_items

    def _read(self, histories: Histories, row: int) -> tuple[Scores, Ints, Scores]:
        """The customer's vector, and the sums of the neighbours as `ItemNeighbours.summed` gives them."""
        cells = slice(histories.offsets[row], histories.offsets[row + 1])
        items, weights = histories.items[cells], histories.weights[cells]
        places, sums = self.neighbours.summed(items, weights)
        return weights.astype(np.float32) @ self.taken[items], places, sums.astype(np.float32)

    def propose(
        self, histories: Histories, limit: int, allowed: Bools | None = None, excluded: Excluded | None = None
    ) -> Proposals:
        """The items of the largest sums; nothing to a cold customer."""
        step = max(1, _CELLS_AT_ONCE // max(1, self.n_items))
        parts = []
        for start in range(0, histories.n_customers, step):
            stop = min(start + step, histories.n_customers)
            read = [self._read(histories, row) for row in range(start, stop)]
            dense = np.stack([vector for vector, _, _ in read]) @ self.given.T
            for row, (_, places, sums) in enumerate(read):
                dense[row, places] += sums
            dense[histories.cold[start:stop]] = np.nan
            parts.append(best_of(dense, limit, allowed, None if excluded is None else excluded.part(start, stop)))
        return Proposals.together(parts, limit)

    def scores(self, histories: Histories, places: Ints) -> Scores:
        """The sums of given items; NaN in the rows of cold customers."""
        found = np.full(places.shape, np.nan, np.float32)
        for row in np.flatnonzero(~histories.cold).tolist():
            own = places[row]
            vector, reached, sums = self._read(histories, row)
            answer = (self.given[own] * vector).sum(axis=1)
            if len(reached):
                at = np.minimum(np.searchsorted(reached, own), len(reached) - 1)
                answer = answer + np.where(reached[at] == own, sums[at], np.float32(0))
            found[row] = np.where(own >= 0, answer, np.float32(np.nan))
        return found

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        return {}, {**self.neighbours.to_arrays(), "taken": self.taken, "given": self.given}

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        if settings:
            raise ArtefactError("there must be no settings; fit and release anew")
        factors = {name: array for name, array in arrays.items() if name in ("taken", "given")}
        taken, given = arrays_of(factors, {"taken": Shape(np.float32, 2), "given": Shape(np.float32, 2)})
        neighbours = ItemNeighbours.from_arrays({name: arrays[name] for name in arrays if name not in factors})
        if not taken.shape == given.shape == (neighbours.n_items, taken.shape[1]):
            raise ArtefactError("taken and given must have a row an item and be of one width; fit and release anew")
        return cls(neighbours, taken, given)
