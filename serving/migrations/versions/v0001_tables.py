"""The tables as they were when versions began.

An SQLite file from before, whose schema was counted in `user_version`, is taken over: what it has stays as it is, rows
included, and what it lacks is added.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_WHOLE, _TEXT, _REAL = sa.BigInteger(), sa.Text(), sa.Float()
_UNSEALED = sa.text("sealed_version IS NULL")
_WORDS = "the promotion log is append-only"


def upgrade() -> None:
    """Make what is not there."""
    _accepted_events()
    _decisions()
    _rollouts()
    _promotions()
    _early_warnings()
    _visitor_links()


def _accepted_events() -> None:
    _table(
        "accepted_events",
        _seq(),
        *_required(event_id=_TEXT, customer_key=_TEXT, occurred_at=_WHOLE, recorded_at=_WHOLE, kind=_TEXT),
        *_columns(item_id=_TEXT, order_id=_TEXT, quantity=_WHOLE, amount_minor=_WHOLE, discount_minor=_WHOLE),
        *_columns(currency=_TEXT, channel=_TEXT, value=_WHOLE, topic=_TEXT, text=_TEXT),
        *_columns(recommendation_id=_TEXT, decision_id=_TEXT, sealed_version=_WHOLE),
        sqlite_autoincrement=True,
    )
    _index("accepted_events", "event_id", columns=["event_id"], unique=True)
    _index("accepted_events", "unsealed", columns=["seq"], sqlite_where=_UNSEALED, postgresql_where=_UNSEALED)


def _decisions() -> None:
    _table(
        "decisions",
        _seq(),
        *_required(decision_id=_TEXT, kind=_TEXT),
        *_columns(customer_key=_TEXT),
        *_required(as_of_us=_WHOLE, release=_TEXT, experiment=_TEXT, arm=_TEXT),
        *_columns(churn_probability=_REAL, item_ids=_TEXT, fingerprint=_TEXT, feature_values=sa.LargeBinary()),
        *_columns(propensities=_TEXT),
    )
    if "propensities" not in {column["name"] for column in sa.inspect(op.get_bind()).get_columns("decisions")}:
        op.add_column("decisions", sa.Column("propensities", _TEXT))


def _rollouts() -> None:
    _table(
        "rollouts",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        *_required(revision=sa.Integer(), champion=_TEXT),
        *_columns(challenger=_TEXT, previous=_TEXT),
        *_required(share=_REAL, salt=_TEXT),
        sa.CheckConstraint("id = 1"),
    )


def _promotions() -> None:
    _table(
        "promotions",
        _seq(),
        *_required(at_us=_WHOLE, who=_TEXT, action=_TEXT, before=_TEXT, after=_TEXT, why=_TEXT, figures=_TEXT),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER IF NOT EXISTS promotions_no_{verb.lower()} BEFORE {verb} ON promotions "
                f"BEGIN SELECT RAISE(ABORT, '{_WORDS}'); END"
            )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION promotions_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION '{_WORDS}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER promotions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON promotions "
        "FOR EACH STATEMENT EXECUTE FUNCTION promotions_refuse()"
    )


def _early_warnings() -> None:
    _table(
        "early_warnings",
        _seq(),
        *_required(customer_key=_TEXT, as_of_us=_WHOLE, release=_TEXT),
        *_required(rise=_REAL, churn_probability=_REAL, probability_before=_REAL, band=_TEXT),
        *_columns(expected_loss_minor=_WHOLE, currency=_TEXT),
        sqlite_autoincrement=True,
    )
    _index("early_warnings", "as_of", columns=["as_of_us"])
    _table(
        "warned_customers",
        sa.Column("customer_key", _TEXT, primary_key=True),
        *_required(warned_us=_WHOLE, armed=sa.Boolean()),
        sqlite_with_rowid=False,
    )


def _visitor_links() -> None:
    _table(
        "visitor_links",
        _seq(),
        *_required(anonymous_key=_TEXT, from_seq=_WHOLE),
        *_columns(customer_key=_TEXT),
        *_required(linked_us=_WHOLE),
        sqlite_autoincrement=True,
    )
    _index("visitor_links", "anonymous_key", columns=["anonymous_key", "from_seq"], unique=True)
    _index("visitor_links", "customer_key", columns=["customer_key"])


def _seq() -> sa.Column[Any]:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("seq", number, primary_key=True, autoincrement=True)


def _required(**columns: sa.types.TypeEngine[Any]) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name, kind in columns.items()]


def _columns(**columns: sa.types.TypeEngine[Any]) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name, kind in columns.items()]


def _table(name: str, *parts: sa.schema.SchemaItem, **options: Any) -> None:
    op.create_table(name, *parts, if_not_exists=True, **options)


def _index(table: str, name: str, *, columns: list[str], **options: Any) -> None:
    op.create_index(f"{table}_{name}", table, columns, if_not_exists=True, **options)
