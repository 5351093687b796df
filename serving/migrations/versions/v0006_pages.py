"""Slates are found by their id, so that the next page of a list can be asked of any process."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the index; on a large table it takes a while once."""
    slates = sa.text("kind = 'recommendation'")
    op.create_index("decisions_slates", "decisions", ["decision_id"], sqlite_where=slates, postgresql_where=slates)
