"""What the gates of a rollout are given: the figures of the challenger and of those it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field

from serving.evidence.confidence_sequences import ArmTotals
from serving.rollouts.arm_figures import ArmFigures

__all__ = ["Figures", "Outcomes", "ScoreSpread"]


@dataclass(frozen=True)
class Outcomes:
    """What customers of both arms did after their first answer of the step, one unit a customer.

    purchases: of 1 for who bought and 0 for who did not. revenue: money a customer, minor units.
    """

    challenger_purchases: ArmTotals
    control_purchases: ArmTotals
    challenger_revenue: ArmTotals
    control_revenue: ArmTotals


@dataclass(frozen=True)
class ScoreSpread:
    """How scores spread over different customers: how many were scored, and how many have the most frequent score."""

    n_customers: int = 0
    n_alike: int = 0


@dataclass(frozen=True)
class Figures:
    """What is known of the step, since it began.

    control: customers of the champion to compare with: the control slice, at 100% the hold-out, in the shadow
    everybody. challenger_share: intended, of the customers of both, in (0, 1). newest_us: when the newest row of the
    challenger's figures began, or None. outcomes: None in the shadow, or where they were not looked at.
    """

    challenger: ArmFigures = field(default_factory=ArmFigures)
    control: ArmFigures = field(default_factory=ArmFigures)
    challenger_share: float = 0.5
    newest_us: int | None = None
    outcomes: Outcomes | None = None
    challenger_scores: ScoreSpread = field(default_factory=ScoreSpread)
    control_scores: ScoreSpread = field(default_factory=ScoreSpread)
