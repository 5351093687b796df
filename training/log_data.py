"""The event log as jobs read it, and how they say what they are doing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow.compute as pc

from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.event_log import EventLog
from features.instants import format_instant
from features.schema import EVENTS
from features.workspace import Workspace

__all__ = ["LogData", "Progress", "read_log", "silent"]

Progress = Callable[[str], None]
_UNREAD = frozenset({"text", "recommendation_id", "decision_id"})  # columns that neither features nor models read


def silent(_stage: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, eq=False)
class LogData:
    """The event log as one view.

    version: of the log. end_us: exclusive end, one microsecond after the last event by `occurred_at`.
    known_us: one microsecond after the last event by `recorded_at`: the first instant at which all is known.
    currency: of all amounts; None where nothing was ever paid.
    """

    version: int
    n_events: int
    first_us: int
    end_us: int
    known_us: int
    view: CustomerView = field(repr=False)
    currency: str | None = None

    def facts(self) -> dict[str, object]:
        """What names the data of a run."""
        return {
            "log_version": self.version,
            "n_events": self.n_events,
            "n_customers": self.view.n_customers,
            "n_items": len(self.view.item_ids),
            "first_event": format_instant(self.first_us),
            "end": format_instant(self.end_us),
        }


def read_log(workspace: Workspace, version: int | None = None) -> LogData:
    """The whole event log of a version (the newest if None), without words and without what models do not read.

    Raises:
        ArtefactError: there is no log, or the version is gone.
        NotEnoughDataError: it holds no event.
    """
    log = EventLog.open(workspace.event_log)
    columns = [name for name in EVENTS.names if name not in _UNREAD]
    events = log.read(columns=columns, version=version)
    if events.num_rows == 0:
        raise NotEnoughDataError("the event log holds 0 events; import some, or simulate a shop")
    occurred = pc.min_max(events["occurred_at"].cast("int64")).as_py()
    recorded = pc.max(events["recorded_at"].cast("int64")).as_py()
    currencies = pc.unique(events["currency"]).drop_null().to_pylist()
    return LogData(
        version=log.version if version is None else version,
        n_events=events.num_rows,
        first_us=occurred["min"],
        end_us=occurred["max"] + 1,
        known_us=recorded + 1,
        view=CustomerView.from_events(events),
        currency=currencies[0] if currencies else None,
    )
