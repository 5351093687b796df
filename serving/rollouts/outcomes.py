"""What the gates are given, read from the store: totals of the arms, outcomes a customer, and how scores spread.

Outcomes join the decisions of a step with the events accepted since: a customer counts once, in the arm of the step,
from the first answer on. The share does not change within a step, so nobody is in two arms of it, and every step is an
experiment of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from serving.evidence.confidence_sequences import ArmTotals
from serving.rollouts.arm_figures import ArmFigures
from serving.rollouts.arm_totals import read_arm_figures
from serving.rollouts.figures import Figures, Outcomes, ScoreSpread
from serving.rollouts.state import RolloutState
from serving.store import Store, accepted_events, arm_totals, decisions

__all__ = ["FigureReader", "compared_arms", "intended_share", "read_outcomes"]

_OUTCOMES_EVERY_US = 60_000_000
_SCORES_LOOKED_AT = 50
_ROWS_LOOKED_AT = 20_000


def compared_arms(state: RolloutState) -> tuple[str, tuple[str, ...]]:
    """The challenger's arm and those it is compared with.

    >>> compared_arms(RolloutState("a", "b", 0.25, "s")), compared_arms(RolloutState("a", "b", 1.0, "s"))
    (('challenger', ('control',)), ('challenger', ('holdout',)))
    """
    if state.shadow:
        return "shadow", ("champion", "control", "holdout")
    return "challenger", ("control",) if state.share < 1.0 else ("holdout",)


def intended_share(state: RolloutState) -> float:
    """The part of the challenger's customers in those of both arms, as the shares intend it.

    >>> [intended_share(RolloutState("a", "b", share, "s", holdout_share=0.05)) for share in (0.25, 0.75, 1.0)]
    [0.5, 0.75, 0.95]
    """
    if state.shadow:
        return 0.5
    if state.share == 1.0:
        return min(1.0 - state.holdout_share, 1.0 - 1e-9)
    return state.share / (state.share + min(state.share, 1.0 - state.share))


class FigureReader:
    """Reads the figures of the step under way; outcomes, which cost a join, once a minute when there are some."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._outcomes: tuple[object, int, Outcomes] | None = None

    def __call__(self, state: RolloutState, now_us: int) -> Figures:
        """The figures since the step began.

        Raises:
            UnavailableError: the store cannot be read now.
        """
        ours, theirs = compared_arms(state)
        since_us = state.step_started_us or 0
        arms = read_arm_figures(self._store, state.key, since_us)
        control = sum((arms[arm] for arm in theirs if arm in arms), ArmFigures())
        known = Figures(
            arms.get(ours, ArmFigures()), control, intended_share(state), self._newest_us(state.key, ours, since_us)
        )
        if state.shadow:
            return known
        scores = _score_spreads(self._store, state, (ours, theirs[0]))
        outcomes = self._read_outcomes(state, now_us)
        return replace(known, outcomes=outcomes, challenger_scores=scores[0], control_scores=scores[1])

    def _newest_us(self, experiment: str, arm: str, since_us: int) -> int | None:
        began = sa.select(sa.func.max(arm_totals.c.minute_us)).where(
            arm_totals.c.experiment == experiment, arm_totals.c.arm == arm, arm_totals.c.minute_us >= since_us
        )
        with self._store.read() as connection:
            found = connection.scalar(began)
        return None if found is None else int(found)

    def _read_outcomes(self, state: RolloutState, now_us: int) -> Outcomes:
        step, known = (state.key, state.share, state.step), self._outcomes
        empty = known is None or 0 in (known[2].challenger_purchases.n, known[2].control_purchases.n)
        if known is None or empty or known[0] != step or not 0 <= now_us - known[1] < _OUTCOMES_EVERY_US:
            known = self._outcomes = (step, now_us, read_outcomes(self._store, state))
        return known[2]


def read_outcomes(store: Store, state: RolloutState) -> Outcomes:
    """Who bought, and for how much, of the customers answered since the step began; returns are not taken off.

    Raises:
        UnavailableError: the store cannot be read now.
    """
    ours, theirs = compared_arms(state)
    exposed = (
        sa.select(
            decisions.c.customer_key,
            sa.func.min(decisions.c.arm).label("arm"),
            sa.func.min(decisions.c.as_of_us).label("since_us"),
        )
        .where(
            decisions.c.seq > state.decisions_seq,
            decisions.c.experiment == state.key,
            decisions.c.arm.in_((ours, *theirs)),
            decisions.c.customer_key.is_not(None),
        )
        .group_by(decisions.c.customer_key)
        .having(sa.func.min(decisions.c.arm) == sa.func.max(decisions.c.arm))
        .cte("exposed")
    )
    spent = sa.func.coalesce(sa.cast(sa.func.sum(accepted_events.c.amount_minor), sa.Float()), 0.0)
    bought = (
        sa.select(exposed.c.customer_key, spent.label("spent"))
        .join(accepted_events, accepted_events.c.customer_key == exposed.c.customer_key)
        .where(
            accepted_events.c.seq > state.events_seq,
            accepted_events.c.kind == "purchase",
            accepted_events.c.occurred_at >= exposed.c.since_us,
        )
        .group_by(exposed.c.customer_key)
        .cte("bought")
    )
    query = (
        sa.select(
            exposed.c.arm,
            sa.func.count().label("n"),
            sa.func.count(bought.c.customer_key).label("n_bought"),
            sa.func.coalesce(sa.func.sum(bought.c.spent), 0.0).label("total"),
            sa.func.coalesce(sa.func.sum(bought.c.spent * bought.c.spent), 0.0).label("squares"),
        )
        .select_from(exposed.outerjoin(bought, bought.c.customer_key == exposed.c.customer_key))
        .group_by(exposed.c.arm)
    )
    with store.read() as connection:
        arms: dict[str, Mapping[str, Any]] = {row["arm"]: dict(row) for row in connection.execute(query).mappings()}
    purchases, revenue = (
        [totals(arms.get(arm, {})) for arm in (ours, theirs[0])] for totals in (_purchases_of, _revenue_of)
    )
    return Outcomes(purchases[0], purchases[1], revenue[0], revenue[1])


def _purchases_of(row: Mapping[str, Any]) -> ArmTotals:
    return ArmTotals.of_rate(row["n"], row["n_bought"]) if row else ArmTotals()


def _revenue_of(row: Mapping[str, Any]) -> ArmTotals:
    return ArmTotals(row["n"], float(row["total"]), float(row["squares"])) if row else ArmTotals()


def _score_spreads(store: Store, state: RolloutState, arms: tuple[str, str]) -> list[ScoreSpread]:
    """Of each arm, by its newest scores alone: a release may break at any time."""
    found = []
    with store.read() as connection:
        last = int(connection.scalar(sa.select(sa.func.max(decisions.c.seq))) or 0)
        for arm in arms:
            newest = (
                sa.select(decisions.c.customer_key, decisions.c.churn_probability)
                .where(
                    decisions.c.seq > max(state.decisions_seq, last - _ROWS_LOOKED_AT),
                    decisions.c.experiment == state.key,
                    decisions.c.arm == arm,
                    decisions.c.release == (state.challenger if arm == "challenger" else state.champion),
                    decisions.c.churn_probability.is_not(None),
                    decisions.c.kind == "churn",
                )
                .order_by(decisions.c.seq.desc())
                .limit(_SCORES_LOOKED_AT)
            )
            rows = connection.execute(newest).all()
            scores = {row.customer_key: row.churn_probability for row in reversed(rows)}
            counts = Counter(scores.values()).values()
            found.append(ScoreSpread(len(scores), max(counts, default=0)))
    return found
