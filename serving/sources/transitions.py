"""What comes next: items that follow those of the customer's last steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.sources.histories import Histories
from serving.sources.neighbours import ItemNeighbours
from serving.sources.recent_steps import RecentSteps
from serving.sources.source import Arrays, Ints
from serving.sources.sparse_rows import Reached, ReachingSource

__all__ = ["TransitionSource"]


@dataclass(frozen=True, eq=False)
class TransitionSource(ReachingSource):
    """The score of item j is the sum over the items i of the last steps of `weight of i * S[i, j]`.

    It has nothing to say of an item that no item of these steps leads to, and nothing to who did nothing.

    Attributes:
        neighbours: S, what follows on what.
        steps: how the steps are weighed.
        name: the word for the source.

    Source: after Choi et al. (2021), Session-aware linear item-item models, WWW, eq. 11 (weights of an inference).
    """

    kind: ClassVar[str] = "transitions"

    neighbours: ItemNeighbours
    steps: RecentSteps = field(default_factory=RecentSteps)
    name: str = "transitions"

    @property
    def n_items(self) -> int:
        """Length of the catalogue."""
        return self.neighbours.n_items

    def reached(self, histories: Histories) -> Reached:
        """What follows on the last steps."""
        steps = [self.steps.of(histories, row) for row in range(histories.n_customers)]
        offsets = np.concatenate(([0], np.cumsum([len(items) for items, _ in steps], dtype=np.int64)))
        items = np.concatenate([np.empty(0, np.int64), *(items for items, _ in steps)])
        return self.neighbours.reached(offsets, items, np.concatenate([np.empty(0), *(w for _, w in steps)]))

    def leading(self, histories: Histories, row: int, places: Ints) -> Ints:
        """See `Explaining`: the item of the last steps that adds most."""
        items, weights = self.steps.of(histories, row)
        return self.neighbours.leading(items, weights, places)

    def to_parts(self) -> tuple[dict[str, Any], Arrays]:
        """See `CandidateSource`."""
        return {"name": self.name, "steps": self.steps.to_settings()}, self.neighbours.to_arrays()

    @classmethod
    def from_parts(cls, settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """See `CandidateSource`."""
        name, steps = settings.get("name"), settings.get("steps")
        if not isinstance(name, str) or not isinstance(steps, Mapping) or set(settings) != {"name", "steps"}:
            raise ArtefactError("the settings must be name and steps; fit and release anew")
        return cls(ItemNeighbours.from_arrays(arrays), RecentSteps.from_settings(steps), name)
