"""What became of customers after a cut-off: who churned, when the awaited event came, and what they were worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.errors import ConfigurationError, NotEnoughDataError
from features.instants import DAY_US, format_instant
from features.tracks import ORDER, Ints
from features.windows import instants_at, last_us, positions, totals
from training.churn_problem import Awaits, ChurnProblem
from training.churn_settings import ChurnSettings
from training.population import allowed_silence_us

__all__ = ["VALUE_DAYS", "Outcomes", "churned", "churned_by", "outcomes"]

VALUE_DAYS = (90, 365)
"""Days from `as_of + gap` over which a customer's value is measured."""

_NOT_YET_US = 1 << 62


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of n customers, from a cut-off's `start = as_of + gap` on.

    churned: bool (n,), by the longest horizon.
    event_days: float64 (n,), days from `start` to the event that the question waits for (see `ChurnProblem.awaits`),
        at least 0; inf where it did not come within the longest horizon.
    value_minor: float64 (n, 2), gross amount paid for the lines bought in `[start, start + d)`, d of VALUE_DAYS, before
        returns, in minor units; NaN where that window is not yet observed.
    """

    churned: npt.NDArray[np.bool_]
    event_days: npt.NDArray[np.float64]
    value_minor: npt.NDArray[np.float64]


def outcomes(
    view: CustomerView, as_of_us: int, settings: ChurnSettings, *, observed_until_us: int, known_us: int | None = None
) -> Outcomes:
    """What became of each customer of the view after `as_of`.

    `view` holds what is known now, not at as_of: an outcome may use whatever was recorded later. With `known_us` it
    uses only what was recorded before that instant, as a fit at that instant had to. `observed_until_us` is the
    exclusive end of the log.

    Raises:
        NotEnoughDataError: the label window reaches beyond the log's end, or beyond `known_us`: silence there would
            not be churn.
        ConfigurationError: the question is about a label column, which an event log does not have.
    """
    problem = settings.problem
    if problem.kind == "label":
        raise ConfigurationError(
            f"the churn problem {problem.name} asks for column {problem.label_column} of a table; an event log has "
            "none: give the table, or take a problem of kind silence, cycle or cancel"
        )
    _check_observed(as_of_us, settings, observed_until_us, known_us)
    event_us = _event_us(view, as_of_us, problem, known_us)
    start = as_of_us + problem.gap_days * DAY_US
    horizon_us = problem.label_window_days * DAY_US
    after = np.maximum(event_us - start, 0)
    came = after < horizon_us
    event_days = np.where(came, after / DAY_US, np.inf)
    seen_until = observed_until_us if known_us is None else min(observed_until_us, known_us)
    return Outcomes(
        churned=~came if problem.awaits == "return" else came,
        event_days=event_days,
        value_minor=_value_minor(view, start, seen_until, known_us),
    )


def churned(
    view: CustomerView, as_of_us: int, settings: ChurnSettings, *, observed_until_us: int, known_us: int | None = None
) -> npt.NDArray[np.bool_]:
    """Whether each customer churned by the longest horizon, bool (n_customers,); see `outcomes`."""
    return outcomes(view, as_of_us, settings, observed_until_us=observed_until_us, known_us=known_us).churned


def churned_by(event_days: npt.NDArray[np.float64], horizon_days: int, awaits: Awaits) -> npt.NDArray[np.bool_]:
    """Whether each customer churned by a horizon not beyond the longest, bool (n,), from their event_days.

    >>> churned_by(np.array([10.0, 45.0, np.inf]), 30, "return").tolist()
    [False, True, True]
    >>> churned_by(np.array([10.0, 45.0, np.inf]), 30, "churn").tolist()
    [True, False, False]
    """
    came: npt.NDArray[np.bool_] = event_days < horizon_days
    return ~came if awaits == "return" else came


def _check_observed(as_of_us: int, settings: ChurnSettings, observed_until_us: int, known_us: int | None) -> None:
    end = as_of_us + settings.horizon_us
    if end > observed_until_us:
        raise NotEnoughDataError(
            f"the label window of cut-off {format_instant(as_of_us)} ends at {format_instant(end)}, but the log ends "
            f"at {format_instant(observed_until_us)}; take an earlier cut-off"
        )
    if known_us is not None and end > known_us:
        raise NotEnoughDataError(
            f"the label window of cut-off {format_instant(as_of_us)} ends at {format_instant(end)}, later than "
            f"{format_instant(known_us)}, at which it must be known; take an earlier cut-off"
        )


def _event_us(view: CustomerView, as_of_us: int, problem: ChurnProblem, known_us: int | None) -> Ints:
    """int64 (n,): the instant of the awaited event, _NOT_YET_US or later where it has not come in the window."""
    allowed = allowed_silence_us(view, as_of_us, problem) if problem.kind == "cycle" else np.zeros(0, np.int64)

    def instants(part: CustomerView, own: Ints) -> Ints:
        if problem.kind == "silence":
            return _first_at(part, ORDER, as_of_us + problem.gap_days * DAY_US)
        if problem.kind == "cancel":
            return _first_after_order(part, as_of_us)
        return _silence_exceeded_us(part, as_of_us, own)

    found = instants(view, allowed)
    hidden = view.hidden_at(known_us) if known_us is not None else np.zeros(0, np.int64)
    if known_us is not None and hidden.size:
        own = allowed[hidden] if allowed.size else allowed
        found[hidden] = instants(view.select(hidden).known_at(known_us), own)
    return found


def _first_at(view: CustomerView, name: str, instant_us: int) -> Ints:
    """int64 (n,): the first event of a track at or after an instant."""
    track = view.track(name)
    places, ends = positions(track, instant_us), track.offsets[1:]
    found = instants_at(track, places, track.offsets[:-1], ends)
    found[places >= ends] = _NOT_YET_US
    return found


def _first_after_order(view: CustomerView, as_of_us: int) -> Ints:
    """int64 (n,): the first cancellation after the latest order before as_of; a late-recorded one lies before as_of."""
    track = view.track("cancel")
    since = last_us(view, ORDER, as_of_us)
    rows = track.customer_rows
    places = np.flatnonzero(track.occurred_us > since[rows])
    found = np.full(view.n_customers, _NOT_YET_US)
    there, first = np.unique(rows[places], return_index=True)
    found[there] = track.occurred_us[places[first]]
    return found


def _silence_exceeded_us(view: CustomerView, as_of_us: int, allowed_us: Ints) -> Ints:
    """int64 (n,): when a silence first grew beyond the allowed one, of those that lasted at as_of or began later."""
    track = view.track(ORDER)
    rows = track.customer_rows
    ends = np.full(len(track), _NOT_YET_US)  # of the silence after each order
    ends[:-1] = track.occurred_us[1:]
    there = track.customers_with_events()
    ends[track.offsets[there + 1] - 1] = _NOT_YET_US
    exceeded_at = track.occurred_us + allowed_us[rows]
    places = np.flatnonzero((exceeded_at < ends) & (ends >= as_of_us))
    found = np.full(view.n_customers, _NOT_YET_US)
    first_rows, first = np.unique(rows[places], return_index=True)
    found[first_rows] = exceeded_at[places[first]]
    return found


def _value_minor(
    view: CustomerView, start_us: int, seen_until_us: int, known_us: int | None
) -> npt.NDArray[np.float64]:
    found = np.full((view.n_customers, len(VALUE_DAYS)), np.nan)
    hidden = view.hidden_at(known_us) if known_us is not None else np.zeros(0, np.int64)
    late = view.select(hidden).known_at(known_us) if known_us is not None and hidden.size else None
    for place, days in enumerate(VALUE_DAYS):
        end = start_us + days * DAY_US
        if end <= seen_until_us:
            found[:, place] = totals(view, "purchase", "amount_minor", start_us, end)
            if late is not None:
                found[hidden, place] = totals(late, "purchase", "amount_minor", start_us, end)
    return found
