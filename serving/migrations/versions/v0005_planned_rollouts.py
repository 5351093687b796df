"""A rollout keeps its plan, its step and what holds it; the hold-out has a share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; a rollout under way goes on by hand."""
    whole, truth = sa.BigInteger(), sa.Boolean()
    for column in (
        sa.Column("holdout_share", sa.Float(), nullable=False, server_default="0.05"),
        sa.Column("plan", sa.Text()),
        sa.Column("step", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("step_started_us", whole),
        sa.Column("decisions_seq", whole, nullable=False, server_default="0"),
        sa.Column("events_seq", whole, nullable=False, server_default="0"),
        sa.Column("paused", truth, nullable=False, server_default=sa.false()),
        sa.Column("approved", truth, nullable=False, server_default=sa.false()),
        sa.Column("why_held", sa.Text()),
    ):
        op.add_column("rollouts", column)
