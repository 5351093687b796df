"""The promotion log: every change of what is served, in order, and what served a customer at a moment.

Rows are only ever added, by `serving.rollouts.state`; the database refuses everything else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from serving.assignment import placed_arm
from serving.rollouts.state import NO_EXPERIMENT
from serving.store import Store, promotions

__all__ = ["OLDER_ALLOWED", "ServedAt", "older_allowed", "read_history", "served_at"]

OLDER_ALLOWED = "older_allowed"
"""The figure, 1, of a change that brings in a release though it is older than what is served."""


@dataclass(frozen=True)
class ServedAt:
    """What served a customer at a moment, and by which change of the log.

    A service takes a change over within its polling interval, so a request in that half second may have been answered
    as before it; the decision that is kept with the answer says which.
    """

    release: str
    arm: str
    experiment: str
    seq: int
    since_us: int
    who: str
    why: str


def read_history(store: Store, limit: int = 100) -> list[dict[str, Any]]:
    """The newest changes first: seq, at_us, who, action, before, after, why, figures."""
    query = sa.select(promotions).order_by(promotions.c.seq.desc()).limit(limit)
    with store.read() as connection:
        rows = [{str(name): row[name] for name in row} for row in connection.execute(query).mappings()]
    return [row | {name: json.loads(row[name]) for name in ("before", "after", "figures")} for row in rows]


def older_allowed(store: Store, release: str) -> bool:
    """Whether the change that last brought a release in says that it may be older than what was served."""
    query = (
        sa.select(promotions.c.after, promotions.c.figures)
        .where(promotions.c.action.in_(("start", "set_champion")))
        .order_by(promotions.c.seq.desc())
    )
    with store.read() as connection:
        for after, figures in connection.execute(query):
            state = json.loads(after)
            if release == state.get("challenger", state["champion"]):
                return bool(json.loads(figures).get(OLDER_ALLOWED, 0))
    return False


def served_at(store: Store, customer_key: str, at_us: int) -> ServedAt | None:
    """Which release and arm a customer had at an instant; None before the first release was set.

    Of changes by clocks that disagree the last one written counts, if its own clock had come to that instant.
    """
    query = sa.select(promotions).where(promotions.c.at_us <= at_us).order_by(promotions.c.seq.desc()).limit(1)
    with store.read() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    state = json.loads(row["after"])
    challenger, salt = state.get("challenger"), state.get("salt", "")
    arm, experiment = "champion", NO_EXPERIMENT
    if challenger is not None:
        arm = placed_arm(salt, state["share"], customer_key, state.get("holdout_share", 0.0))
        experiment = f"rollout-{salt}" if arm != "champion" or state["share"] == 0.0 else NO_EXPERIMENT
    release = challenger if arm == "challenger" else state["champion"]
    return ServedAt(release, arm, experiment, row["seq"], row["at_us"], row["who"], row["why"])
