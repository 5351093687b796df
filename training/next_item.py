"""What customers turn to next, a moment after a view was accepted: for judging and weighing what reacts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.instants import MINUTE_US
from features.interactions import InteractionSettings, ItemIndex
from serving.recommender import Recommender
from serving.recommender_settings import SESSION_MINUTES
from serving.sources.histories import Histories, Purchases, Steps
from serving.sources.source import Excluded
from training.blending import choose_weights
from training.recommender_metrics import Relevant

__all__ = ["Moments", "choose_next_weights", "side_by_side"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Instants at which a view had just been accepted, and what came next.

    Attributes:
        rows: int64 (n,), rows of the view; a customer may come several times.
        as_of_us: int64 (n,), exclusive: a microsecond after the view was recorded.
        viewed: int64 (n,), catalogue places of the items viewed.
        next_item: int64 (n,), the first item after it that is not among those left out.
        left_out: what a list of that moment does not show: the item on the screen, or all that the session has met.
    """

    rows: Ints
    as_of_us: Ints
    viewed: Ints
    next_item: Ints
    left_out: Excluded

    @classmethod
    def read(
        cls,
        view: CustomerView,
        start_us: int,
        end_us: int,
        index: ItemIndex,
        *,
        most: int,
        rng: np.random.Generator,
        news: bool = False,
    ) -> Moments:
        """At most so many views recorded in `[start, end)`, drawn evenly, that something followed before `end`.

        Args:
            view: of all customers.
            start_us: microseconds.
            end_us: microseconds.
            index: the catalogue.
            most: views wanted.
            rng: draws them.
            news: leave out all that the session has met before, not the item viewed alone.
        """
        track = view.track("view")
        places = index.of_view_items(view, track.item)
        inside = np.flatnonzero((track.recorded_us >= start_us) & (track.recorded_us < end_us) & (places >= 0))
        steps = Steps.read(view, end_us, index)
        found: list[tuple[int, int, int, int]] = []
        sessions: list[Ints] = []
        for event in rng.permutation(inside).tolist():
            if len(found) == most:
                break
            row, as_of_us = int(track.customer_rows[event]), int(track.recorded_us[event]) + 1
            own = slice(steps.offsets[row], steps.offsets[row + 1])
            session, following = _around(steps.items[own], steps.times_us[own], as_of_us, int(places[event]), news=news)
            if following >= 0:
                found.append((row, as_of_us, int(places[event]), following))
                sessions.append(session)
        rows, instants, viewed, following_items = np.array(found, np.int64).reshape(-1, 4).T
        sizes = np.array([len(one) for one in sessions], np.int64)
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        return cls(rows, instants, viewed, following_items, Excluded(offsets, _joined(sessions)))

    def __len__(self) -> int:
        return len(self.rows)

    def histories(
        self,
        view: CustomerView,
        index: ItemIndex,
        settings: InteractionSettings,
        *,
        as_of_us: Ints | None = None,
    ) -> Histories:
        """One history a moment, side by side; `as_of_us` (n,) in place of the moments' own."""
        instants = self.as_of_us if as_of_us is None else as_of_us
        return side_by_side(
            [
                Histories.read(view.select(np.array([row])), as_of, index, settings)
                for row, as_of in zip(self.rows.tolist(), instants.tolist(), strict=True)
            ]
        )

    def relevant(self, n_items: int) -> Relevant:
        """The next items, one a moment."""
        return Relevant(np.arange(len(self)), self.next_item, len(self), n_items)


def choose_next_weights(trial: Recommender, view: CustomerView, moments: Moments) -> dict[str, float]:
    """Weights of the sources, by name, with the best NDCG@10 of the next item.

    Args:
        trial: fitted on nothing later than the first of the moments.
        view: the moments' customers.
        moments: of a slice of the training window.
    """
    histories = moments.histories(view, trial.index, trial.settings.interactions)
    return choose_weights(trial.sources, histories, moments.relevant(len(trial.item_ids)), excluded=moments.left_out)


def side_by_side(parts: Sequence[Histories]) -> Histories:
    """Histories as of different instants as one, whose `as_of_us` is 0: every time is told from its own instant."""
    counts = np.array([part.n_customers for part in parts], np.int64)
    before = np.concatenate(([0], np.cumsum(counts)))[:-1]
    bought = [part.bought for part in parts]
    moved = list(zip(parts, before.tolist(), strict=True))
    return Histories(
        0,
        _offsets([part.offsets for part in parts]),
        _joined([part.items for part in parts]),
        np.concatenate([np.empty(0), *(part.weights for part in parts)]),
        Purchases(
            _joined([part.bought.customers + shift for part, shift in moved]),
            _joined([one.items for one in bought]),
            _joined([one.counts for one in bought]),
            _joined([part.bought.first_us - part.as_of_us for part in parts]),
            _joined([part.bought.last_us - part.as_of_us for part in parts]),
        ),
        _offsets([part.bought_offsets for part in parts]),
        Steps(
            _offsets([part.steps.offsets for part in parts]),
            _joined([part.steps.items for part in parts]),
            _joined([part.steps.times_us - part.as_of_us for part in parts]),
            np.concatenate([np.empty(0, np.int8), *(part.steps.kinds for part in parts)]),
        ),
    )


def _around(items: Ints, times_us: Ints, as_of_us: int, viewed: int, *, news: bool) -> tuple[Ints, int]:
    """The items left out at an instant, ascending, and the first other one from it on; -1 for none."""
    start, stop = np.searchsorted(times_us, (as_of_us - SESSION_MINUTES * MINUTE_US, as_of_us))
    session = np.unique(np.append(items[start:stop] if news else items[:0], viewed))
    later = items[stop:][~np.isin(items[stop:], session)]
    return session, int(later[0]) if len(later) else -1


def _joined(parts: Sequence[Ints]) -> Ints:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _offsets(parts: Sequence[Ints]) -> Ints:
    sizes = _joined([np.diff(part) for part in parts])
    return np.concatenate(([0], np.cumsum(sizes)))
