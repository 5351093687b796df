"""Decisions keep where a slate was asked for, and what the call wanted beside its recipe."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; an SQLite file of the third counted schema has them."""
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("decisions")}
    for name in ("placement", "request"):
        if name not in there:
            op.add_column("decisions", sa.Column(name, sa.Text()))
