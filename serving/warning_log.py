"""Early warnings as given: the rule and its memory in one transaction, so that nobody is warned of twice.

A job that is killed has either written its warnings together with what it remembers of them, or neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from features.errors import ConfigurationError
from features.instants import DAY_US, format_instant
from serving.early_warning import NEVER_WARNED_US, Warned, WarningRule, warn
from serving.score_book import Book
from serving.store import Store, early_warnings, warned_customers

__all__ = ["EarlyWarning", "Given", "give_warnings", "read_warnings"]

_WEEK_US = 7 * DAY_US
_warning, _known = early_warnings.c, warned_customers.c


@dataclass(frozen=True)
class EarlyWarning:
    """One warning. `seq` ascends in the order in which warnings were given.

    rise: of the log-odds since the earlier score. expected_loss_minor: None where the model tells none.
    """

    seq: int
    customer_key: str
    as_of_us: int
    release: str
    rise: float
    churn_probability: float
    probability_before: float
    band: str
    expected_loss_minor: int | None
    currency: str | None


@dataclass(frozen=True)
class Given:
    """What one run of the rule came to.

    n_compared: customers with both scores. n_risen: whose rise reaches the threshold. n_warned: warned of now.
    n_held_back: who wait for the capacity alone.
    """

    n_compared: int
    n_risen: int
    n_warned: int
    n_held_back: int


def give_warnings(store: Store, rule: WarningRule, book: Book, probability_before: npt.NDArray[np.float64]) -> Given:
    """Warn of customers of the newest book, by the rule and by what was warned of before; all of it or nothing.

    `probability_before` is float64 (n,), by row of the book, `window_days` earlier by the same release; NaN where
    unknown. Who is not eligible is not looked at.

    Raises:
        ConfigurationError: warnings of a later instant were given already.
        UnavailableError: the store is locked; nothing was changed.
    """
    as_of_us = book.facts.as_of_us
    rows = np.flatnonzero(book.eligible)
    keys = book.keys.take(pa.array(rows))
    loss = book.rows["expected_loss_minor"].take(pa.array(rows)).cast(pa.float64(), safe=False)
    with store.write() as connection:
        latest = connection.scalar(sa.select(sa.func.max(_warning.as_of_us)))
        if latest is not None and latest > as_of_us:
            raise ConfigurationError(
                f"warnings as of {format_instant(latest)} were given already; score and warn as of a later instant"
            )
        warned_us, armed = _remembered(connection, keys)
        this_week = sa.select(sa.func.count()).where(_warning.as_of_us > as_of_us - _WEEK_US)
        found = warn(
            rule,
            as_of_us,
            probability=book.probability[rows],
            probability_before=probability_before[rows],
            expected_loss=np.asarray(loss.fill_null(np.nan)),
            warned_us=warned_us,
            armed=armed,
            n_this_week=int(connection.scalar(this_week) or 0),
        )
        _remember(connection, keys, as_of_us, found)
        if found.warned.size:
            connection.execute(sa.insert(early_warnings), _warnings(book, rows, probability_before, found))
    return Given(int(np.isfinite(found.rise).sum()), int(found.risen.sum()), int(found.warned.size), found.n_held_back)


def read_warnings(store: Store, after_seq: int, limit: int) -> list[EarlyWarning]:
    """At most `limit` warnings with a higher number, in order."""
    query = sa.select(early_warnings).where(_warning.seq > after_seq).order_by(_warning.seq).limit(limit)
    with store.read() as connection:
        return [EarlyWarning(**{str(name): row[name] for name in row}) for row in connection.execute(query).mappings()]


def _remembered(connection: sa.Connection, keys: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """When each customer was warned of last, and whether another warning is allowed."""
    warned_us = np.full(len(keys), NEVER_WARNED_US, np.int64)
    armed = np.ones(len(keys), np.bool_)
    known = connection.execute(sa.select(warned_customers)).mappings().all()
    places = pc.index_in(pa.array([row["customer_key"] for row in known], pa.string()), value_set=keys)
    for place, row in zip(places.to_pylist(), known, strict=True):
        if place is not None:
            warned_us[place], armed[place] = row["warned_us"], row["armed"]
    return warned_us, armed


def _remember(connection: sa.Connection, keys: pa.Array, as_of_us: int, found: Warned) -> None:
    rearmed = [{"key": keys[int(place)].as_py()} for place in np.flatnonzero(found.rearmed)]
    if rearmed:
        which = _known.customer_key == sa.bindparam("key")
        connection.execute(sa.update(warned_customers).where(which).values(armed=True), rearmed)
    warned = [{"key": keys[int(place)].as_py()} for place in found.warned]
    if warned:
        connection.execute(sa.delete(warned_customers).where(_known.customer_key == sa.bindparam("key")), warned)
        rows = [{"customer_key": one["key"], "warned_us": as_of_us, "armed": False} for one in warned]
        connection.execute(sa.insert(warned_customers), rows)


def _warnings(
    book: Book, rows: npt.NDArray[np.int64], probability_before: npt.NDArray[np.float64], found: Warned
) -> list[dict[str, object]]:
    facts = book.facts
    return [
        {
            "customer_key": book.keys[row].as_py(),
            "as_of_us": facts.as_of_us,
            "release": facts.release,
            "rise": float(found.rise[place]),
            "churn_probability": float(book.probability[row]),
            "probability_before": float(probability_before[row]),
            "band": book.rows["band"][row].as_py(),
            "expected_loss_minor": book.rows["expected_loss_minor"][row].as_py(),
            "currency": facts.currency,
        }
        for place, row in ((place, int(rows[place])) for place in found.warned)
    ]
