"""The primitives that features are made of: count, total, last, gap statistics, distinct, and arithmetic over them.

An expression is a frozen value, so a part shared by several features is computed once a cut-off. Windows are
`[as_of - back - days, as_of - back)`; `days=None` reaches to the beginning, `[-inf, as_of - back)`. Only + - * / and
square root are used here: these are rounded the same for one value as for a million. The one exponential, in
`features.fading`, must be shown to be so by tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.instants import DAY_US
from features.tracks import NEVER_US, Ints
from features.windows import instants_at, positions

__all__ = [
    "Age",
    "AgeWhere",
    "Count",
    "Difference",
    "Distinct",
    "Expression",
    "GapDeviation",
    "GapMean",
    "LastGap",
    "LastValue",
    "Least",
    "Moment",
    "Ratio",
    "Share",
    "Total",
    "Trend",
]

Floats = npt.NDArray[np.float64]


class Expression(Protocol):
    """A value for each customer at an instant."""

    def evaluate(self, moment: Moment) -> Floats:
        """float64 (n_customers,); NaN is missing."""
        ...


class Moment:
    """One view at one instant: what the expressions share while they are evaluated."""

    def __init__(self, view: CustomerView, as_of_us: int) -> None:
        self.view = view
        self.as_of_us = as_of_us
        self._positions: dict[tuple[str, int | None], Ints] = {}
        self._values: dict[Expression, Floats] = {}

    def value(self, expression: Expression) -> Floats:
        """float64 (n_customers,): an expression's value, computed once."""
        found = self._values.get(expression)
        if found is None:
            found = expression.evaluate(self)
            self._values[expression] = found
        return found

    def start(self, track: str, days_back: int | None) -> Ints:
        """int64 (n_customers,): the place of the first event at or after `as_of - days_back`; None is the beginning."""
        found = self._positions.get((track, days_back))
        if found is None:
            events = self.view.track(track)
            found = events.offsets[:-1] if days_back is None else positions(events, self.as_of_us - days_back * DAY_US)
            self._positions[track, days_back] = found
        return found

    def window(self, track: str, days: int | None, back: int = 0) -> tuple[Ints, Ints]:
        """The places of the events in `[as_of - back - days, as_of - back)`, as two int64 (n_customers,)."""
        return self.start(track, None if days is None else back + days), self.start(track, back)


def _divide(top: Floats, bottom: Floats) -> Floats:
    """NaN where the divisor is 0 or missing."""
    result = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=result, where=bottom != 0)
    return result


@dataclass(frozen=True)
class Count:
    """How many events of a track; never missing."""

    track: str
    days: int | None
    back: int = 0

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        low, high = moment.window(self.track, self.days, self.back)
        return (high - low).astype(np.float64)


@dataclass(frozen=True)
class Total:
    """The sum of an integer column; never missing, 0 without events."""

    track: str
    column: str
    days: int | None
    back: int = 0

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        low, high = moment.window(self.track, self.days, self.back)
        prefix = moment.view.track(self.track).prefix(self.column)
        return (prefix[high] - prefix[low]).astype(np.float64)


@dataclass(frozen=True)
class Age:
    """Days from the last (or first) event of a track to `as_of`; missing where there was none."""

    track: str
    first: bool = False

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        low, high = moment.window(self.track, None)
        places = low if self.first else high - 1
        instants = instants_at(moment.view.track(self.track), places, low, high)
        days = (moment.as_of_us - instants) / DAY_US
        return np.where(instants == NEVER_US, np.nan, days)


@dataclass(frozen=True)
class AgeWhere:
    """Days from the last event of a track whose column is true to `as_of`; missing where there was none."""

    track: str
    column: str

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        events = moment.view.track(self.track)
        low, high = moment.window(self.track, None)
        instants = instants_at(events, events.last_where(self.column)[high], low, high)
        return np.where(instants == NEVER_US, np.nan, (moment.as_of_us - instants) / DAY_US)


@dataclass(frozen=True)
class LastValue:
    """A column of the last event of a track; missing where there was none.

    With `only_known` it is missing, too, where that event had no `value`.
    """

    track: str
    column: str
    only_known: bool = False

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        events = moment.view.track(self.track)
        low, high = moment.window(self.track, None)
        result = np.full(low.size, np.nan)
        there = high > low
        last = (high - 1)[there]
        values = events.column(self.column)[last].astype(np.float64)
        if self.only_known:
            values = np.where(events.columns["has_value"][last], values, np.nan)
        result[there] = values
        return result


@dataclass(frozen=True)
class Distinct:
    """How many different items a customer met on a track; never missing.

    An item is counted at its first meeting inside the window: where the same customer's previous event with it lies
    before the window's start.
    """

    track: str
    days: int | None

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        events = moment.view.track(self.track)
        low, high = moment.window(self.track, self.days)
        start_us = NEVER_US + 1 if self.days is None else moment.as_of_us - self.days * DAY_US
        fresh = (events.previous_same_item_us() < start_us) & (events.item >= 0)
        prefix = np.concatenate(([0], np.cumsum(fresh)))
        return (prefix[high] - prefix[low]).astype(np.float64)


@dataclass(frozen=True)
class Ratio:
    """One expression over another; missing where the second is 0 or either is missing."""

    top: Expression
    bottom: Expression

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        return _divide(moment.value(self.top), moment.value(self.bottom))


@dataclass(frozen=True)
class Share:
    """`part / (part + rest)` in [0, 1]; missing where both are 0."""

    part: Expression
    rest: Expression

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        part = moment.value(self.part)
        return _divide(part, part + moment.value(self.rest))


@dataclass(frozen=True)
class Trend:
    """`(recent - earlier) / (recent + earlier)` in [-1, 1]; missing where both are 0."""

    recent: Expression
    earlier: Expression

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        recent, earlier = moment.value(self.recent), moment.value(self.earlier)
        return _divide(recent - earlier, recent + earlier)


@dataclass(frozen=True)
class Difference:
    """One expression less another; missing where either is."""

    left: Expression
    right: Expression

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        return moment.value(self.left) - moment.value(self.right)


@dataclass(frozen=True)
class Least:
    """The smallest of several expressions; missing only where all are."""

    parts: tuple[Expression, ...]

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        least = moment.value(self.parts[0])
        for part in self.parts[1:]:
            least = np.fmin(least, moment.value(part))
        return least


@dataclass(frozen=True)
class GapMean:
    """Mean days between successive events of a track, of the gaps that ended in the window; missing without a gap."""

    track: str
    days: int | None

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        minutes, gaps = _gaps(moment, self.track, self.days)
        return _divide(minutes / 1440, gaps)


@dataclass(frozen=True)
class LastGap:
    """Days between the last two events of a track; missing with fewer than two."""

    track: str

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        low, high = moment.window(self.track, None)
        minutes = moment.value(LastValue(self.track, "gap_minutes"))
        return np.where(high - low > 1, minutes / 1440, np.nan)


@dataclass(frozen=True)
class GapDeviation:
    """Sample standard deviation, in days, of the gaps that ended in the window; missing with fewer than two gaps."""

    track: str
    days: int | None

    def evaluate(self, moment: Moment) -> Floats:
        """See the class."""
        minutes, gaps = _gaps(moment, self.track, self.days)
        squares = moment.value(Total(self.track, "gap_minutes_squared", self.days))
        around = np.maximum(squares - minutes * _divide(minutes, gaps), 0)
        variance = np.full(gaps.shape, np.nan)
        np.divide(around, gaps - 1, out=variance, where=gaps > 1)
        return np.asarray(np.sqrt(variance) / 1440)


def _gaps(moment: Moment, track: str, days: int | None) -> tuple[Floats, Floats]:
    """Total minutes and number of the gaps that ended in the window: every event ends one, but the customer's first."""
    minutes = moment.value(Total(track, "gap_minutes", days))
    low, high = moment.window(track, days)
    first_inside = (low == moment.start(track, None)) & (high > low)
    return minutes, (high - low - first_inside).astype(np.float64)
