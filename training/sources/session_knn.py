"""Keeping sessions to compare with: cut by pauses, without whose they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.instants import DAY_US
from serving.sources.histories import Histories
from serving.sources.recent_steps import RecentSteps
from serving.sources.session_knn import SessionKnnSource
from training.sources.settings import check_positive

__all__ = ["SessionKnnSettings", "fit_session_knn"]

_HOUR_US = DAY_US // 24


@dataclass(frozen=True)
class SessionKnnSettings:
    """What a session is, how many are kept and how they are compared.

    Attributes:
        pause_hours: a longer pause ends a session; 0: all that a customer did is one session.
        most_kept: so many sessions are kept, the last ones.
        longest: so many items of a session are kept, the last ones.
        neighbours, most_sessions, half_life_days, reach, rarity_power: see `SessionKnnSource`.
        step_decay, step_half_life_days, last: how the customer's own steps are weighed; see `RecentSteps`.

    Raises:
        ConfigurationError: a number is not above 0 (the pause, the power and the half-life of steps may be).
    """

    pause_hours: float = 24.0
    most_kept: int = 1_000_000
    longest: int = 50
    neighbours: int = 500
    most_sessions: int = 1_000
    half_life_days: float = 30.0
    reach: float = 3.0
    rarity_power: float = 0.25
    step_decay: float = 0.8
    step_half_life_days: float = 30.0
    last: int = 20

    def __post_init__(self) -> None:
        may_be_zero = ("pause_hours", "rarity_power", "step_half_life_days")
        check_positive(self, "recommender.session_knn", zero=may_be_zero)
        RecentSteps(self.step_decay, self.step_half_life_days, self.last)


def fit_session_knn(histories: Histories, n_items: int, settings: SessionKnnSettings) -> SessionKnnSource:
    """The sessions of at least two items; an item that comes twice counts where it came last.

    Source: see `SessionKnnSource`; nothing is estimated.
    """
    steps = histories.steps
    customers, items, times = steps.customers, steps.items, steps.times_us
    new = np.ones(len(items), np.bool_)
    new[1:] = np.diff(customers) > 0
    if settings.pause_hours:
        new[1:] |= np.diff(times) > settings.pause_hours * _HOUR_US
    session = np.cumsum(new) - 1
    # the last of each item of a session, then the last `longest` of these
    order = np.lexsort((np.arange(len(items)), items, session))
    last = np.ones(len(items), np.bool_)
    last[:-1] = (np.diff(session[order]) > 0) | (np.diff(items[order]) > 0)
    kept = np.sort(order[last])
    session, items, times = session[kept], items[kept], times[kept]
    recent = np.searchsorted(session, session, side="right") - np.arange(len(session)) <= settings.longest
    session, items, times = session[recent], items[recent], times[recent]
    size = np.bincount(session)
    ends = np.cumsum(size) - 1
    ended = times[ends] // DAY_US if len(ends) else np.empty(0, np.int64)
    chosen = np.flatnonzero(size > 1)
    chosen = chosen[np.argsort(times[ends[chosen]], kind="stable")][-settings.most_kept :]
    offsets = np.concatenate(([0], np.cumsum(size[chosen]))).astype(np.int64)
    cells = np.repeat(ends[chosen] + 1 - offsets[1:], size[chosen]) + np.arange(offsets[-1])
    return SessionKnnSource(
        offsets,
        items[cells].astype(np.int32),
        ended[chosen].astype(np.int32),
        np.bincount(items[cells], minlength=n_items).astype(np.int64),
        settings.neighbours,
        settings.most_sessions,
        settings.half_life_days,
        settings.reach,
        settings.rarity_power,
        RecentSteps(settings.step_decay, settings.step_half_life_days, settings.last),
    )
