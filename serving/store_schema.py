"""The tables of the store, as this version reads and writes them, in SQLite and in PostgreSQL alike.

What makes a database have them are the migrations (`serving.migrations`): who changes a table here adds one there, and
a test compares the two.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from features.schema import EVENTS

__all__ = [
    "EVENT_FIELDS",
    "OF_SLATES",
    "EventRow",
    "accepted_events",
    "access_keys",
    "arm_totals",
    "decisions",
    "early_warnings",
    "kept_answers",
    "metadata",
    "promotions",
    "rollouts",
    "visitor_links",
    "warned_customers",
]

metadata = sa.MetaData()

_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts rows by an INTEGER alone, of 64 bits too


def _seq() -> sa.Column[Any]:
    """The number of a row; writers take turns, so that a lower one never appears after a higher one."""
    return sa.Column("seq", _Number, primary_key=True, autoincrement=True)


def _event_column(name: str, kind: pa.DataType, required: bool) -> sa.Column[Any]:
    """Instants are kept as int64 microseconds, the rest as it is."""
    whole = pa.types.is_integer(kind) or pa.types.is_timestamp(kind)
    return sa.Column(name, sa.BigInteger() if whole else sa.Text(), nullable=not required)


EVENT_FIELDS: tuple[str, ...] = EVENTS.names

EventRow = sa.RowMapping
"""An accepted event as read: EVENT_FIELDS with instants in microseconds, `seq` and `sealed_version`."""

OF_SLATES = sa.text("kind = 'recommendation'")
"""Of the decisions; written out, so that PostgreSQL sees that the index is of them."""

_UNSEALED = sa.text("sealed_version IS NULL")

accepted_events = sa.Table(
    "accepted_events",
    metadata,
    _seq(),
    *(_event_column(column.name, column.type, column.required) for column in EVENTS.columns),
    sa.Column("sealed_version", sa.BigInteger(), nullable=True),
    sa.Index("accepted_events_event_id", "event_id", unique=True),
    sa.Index("accepted_events_unsealed", "seq", sqlite_where=_UNSEALED, postgresql_where=_UNSEALED),
    sqlite_autoincrement=True,
)

decisions = sa.Table(
    "decisions",
    metadata,
    _seq(),
    sa.Column("decision_id", sa.Text(), nullable=False),
    sa.Column("kind", sa.Text(), nullable=False),
    sa.Column("customer_key", sa.Text()),
    sa.Column("as_of_us", sa.BigInteger(), nullable=False),
    sa.Column("release", sa.Text(), nullable=False),
    sa.Column("experiment", sa.Text(), nullable=False),
    sa.Column("arm", sa.Text(), nullable=False),
    sa.Column("churn_probability", sa.Float()),
    sa.Column("item_ids", sa.Text()),
    sa.Column("fingerprint", sa.Text()),
    sa.Column("feature_values", sa.LargeBinary()),
    sa.Column("propensities", sa.Text()),
    sa.Column("placement", sa.Text()),
    sa.Column("request", sa.Text()),
    # of slates alone, whose ids rise: random ones would touch a page of the index a row
    sa.Index("decisions_slates", "decision_id", sqlite_where=OF_SLATES, postgresql_where=OF_SLATES),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
    sa.Column("revision", sa.Integer(), nullable=False),
    sa.Column("champion", sa.Text(), nullable=False),
    sa.Column("challenger", sa.Text()),
    sa.Column("previous", sa.Text()),
    sa.Column("share", sa.Float(), nullable=False),
    sa.Column("salt", sa.Text(), nullable=False),
    sa.Column("holdout_share", sa.Float(), nullable=False),
    sa.Column("plan", sa.Text()),
    sa.Column("step", sa.Integer(), nullable=False),
    sa.Column("step_started_us", sa.BigInteger()),
    sa.Column("decisions_seq", sa.BigInteger(), nullable=False),
    sa.Column("events_seq", sa.BigInteger(), nullable=False),
    sa.Column("paused", sa.Boolean(), nullable=False),
    sa.Column("approved", sa.Boolean(), nullable=False),
    sa.Column("why_held", sa.Text()),
    sa.CheckConstraint("id = 1"),
)

promotions = sa.Table(
    "promotions",
    metadata,
    _seq(),
    sa.Column("at_us", sa.BigInteger(), nullable=False),
    sa.Column("who", sa.Text(), nullable=False),
    sa.Column("action", sa.Text(), nullable=False),
    sa.Column("before", sa.Text(), nullable=False),
    sa.Column("after", sa.Text(), nullable=False),
    sa.Column("why", sa.Text(), nullable=False),
    sa.Column("figures", sa.Text(), nullable=False),
)
"""The promotion log; triggers refuse every change and removal of a row."""

early_warnings = sa.Table(
    "early_warnings",
    metadata,
    _seq(),
    sa.Column("customer_key", sa.Text(), nullable=False),
    sa.Column("as_of_us", sa.BigInteger(), nullable=False),
    sa.Column("release", sa.Text(), nullable=False),
    sa.Column("rise", sa.Float(), nullable=False),
    sa.Column("churn_probability", sa.Float(), nullable=False),
    sa.Column("probability_before", sa.Float(), nullable=False),
    sa.Column("band", sa.Text(), nullable=False),
    sa.Column("expected_loss_minor", sa.BigInteger()),
    sa.Column("currency", sa.Text()),
    sa.Index("early_warnings_as_of", "as_of_us"),
    sqlite_autoincrement=True,
)

warned_customers = sa.Table(
    "warned_customers",
    metadata,
    sa.Column("customer_key", sa.Text(), primary_key=True),
    sa.Column("warned_us", sa.BigInteger(), nullable=False),
    sa.Column("armed", sa.Boolean(), nullable=False),
    sqlite_with_rowid=False,
)

visitor_links = sa.Table(
    "visitor_links",
    metadata,
    _seq(),
    sa.Column("anonymous_key", sa.Text(), nullable=False),
    sa.Column("from_seq", sa.BigInteger(), nullable=False),  # the accepted event that made the link
    sa.Column("customer_key", sa.Text()),  # null where the customer was forgotten
    sa.Column("linked_us", sa.BigInteger(), nullable=False),
    sa.Index("visitor_links_anonymous_key", "anonymous_key", "from_seq", unique=True),
    sa.Index("visitor_links_customer_key", "customer_key"),
    sqlite_autoincrement=True,
)

access_keys = sa.Table(
    "access_keys",
    metadata,
    sa.Column("key_id", sa.Text(), primary_key=True),
    sa.Column("revision", sa.BigInteger(), nullable=False),  # counts the changes of all keys: what is new is read alone
    sa.Column("secret_sha256", sa.Text(), nullable=False),
    sa.Column("owner", sa.Text(), nullable=False),
    sa.Column("publishable", sa.Boolean(), nullable=False),
    sa.Column("scopes", sa.Text(), nullable=False),  # names, spaces between; so are the origins
    sa.Column("origins", sa.Text(), nullable=False),
    sa.Column("per_minute", sa.BigInteger()),
    sa.Column("per_day", sa.BigInteger()),
    sa.Column("created_us", sa.BigInteger(), nullable=False),
    sa.Column("expires_us", sa.BigInteger()),
    sa.Column("revoked_us", sa.BigInteger()),
    sa.Index("access_keys_revision", "revision", unique=True),
)

kept_answers = sa.Table(
    "kept_answers",
    metadata,
    sa.Column("asked", sa.Text(), primary_key=True),  # a hash of caller, call and Idempotency-Key
    sa.Column("body_sha256", sa.Text(), nullable=False),
    sa.Column("claim", sa.Text(), nullable=False),  # of whoever works on it
    sa.Column("claimed_us", sa.BigInteger(), nullable=False),
    sa.Column("status", sa.Integer()),  # null while it is worked on
    sa.Column("answer", sa.LargeBinary()),
    sa.Index("kept_answers_claimed_us", "claimed_us"),
)

_ARM_COUNTS = ("n_requests", "n_errors", "n_fallbacks", "n_missing", "n_dropped", "n_compared", "n_slates")

arm_totals = sa.Table(
    "arm_totals",
    metadata,
    sa.Column("experiment", sa.Text(), primary_key=True),
    sa.Column("minute_us", sa.BigInteger(), primary_key=True, autoincrement=False),  # when the stretch began
    sa.Column("release", sa.Text(), primary_key=True),
    sa.Column("arm", sa.Text(), primary_key=True),
    sa.Column("worker", sa.Text(), primary_key=True),
    *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _ARM_COUNTS),
    *(sa.Column(name, sa.Text(), nullable=False) for name in ("latency", "probabilities", "band_moves")),
    *(sa.Column(name, sa.Float(), nullable=False) for name in ("sum_difference", "sum_abs_difference", "sum_overlap")),
    sqlite_with_rowid=False,
)
"""What each arm did, see `serving.rollouts.arm_figures`; JSON where a figure is of many parts."""
