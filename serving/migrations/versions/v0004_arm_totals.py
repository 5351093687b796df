"""Totals of each arm of a rollout, a row a worker and minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_COUNTS = ("n_requests", "n_errors", "n_fallbacks", "n_missing", "n_dropped", "n_compared", "n_slates")
_SUMS = ("sum_difference", "sum_abs_difference", "sum_overlap")


def upgrade() -> None:
    """Make the table."""
    text, whole, real = sa.Text(), sa.BigInteger(), sa.Float()
    op.create_table(
        "arm_totals",
        sa.Column("experiment", text, primary_key=True),
        sa.Column("minute_us", whole, primary_key=True),
        *(sa.Column(name, text, primary_key=True) for name in ("release", "arm", "worker")),
        *(sa.Column(name, whole, nullable=False) for name in _COUNTS),
        *(sa.Column(name, text, nullable=False) for name in ("latency", "probabilities", "band_moves")),
        *(sa.Column(name, real, nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
    )
