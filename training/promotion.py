"""Deciding whether a challenger becomes champion, by figures measured on the same later slice, with reasons.

A promotion that the figures do not carry needs a person who says why; both are recorded with the version.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Measured", "PromotionDecision", "PromotionRule", "PromotionSettings", "decide", "force"]


LOWER_IS_BETTER = frozenset({"brier", "ece"})
"""Figures that measure an error; of every other one more is better."""


@dataclass(frozen=True)
class PromotionRule:
    """When a challenger is good enough.

    metric: the figure that decides, by its name in the evaluation report.
    margin: a challenger that is better by at least this much is promoted; in the metric's own unit.
    not_worse_by: a challenger whose difference's lower limit is above minus this is promoted as not worse.
    """

    metric: str
    margin: float = 0.0
    not_worse_by: float = 0.0

    @property
    def higher_is_better(self) -> bool:
        """The direction of the metric."""
        return self.metric not in LOWER_IS_BETTER


@dataclass(frozen=True)
class PromotionSettings:
    """The rule for each kind of model."""

    churn: PromotionRule = field(default_factory=lambda: PromotionRule("auc", not_worse_by=0.002))
    recommender: PromotionRule = field(default_factory=lambda: PromotionRule("ndcg_at_10", not_worse_by=0.001))


@dataclass(frozen=True)
class Measured:
    """One model's figures on one slice. `slice_name` is equal if, and only if, the rows were the same."""

    name: str
    slice_name: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class PromotionDecision:
    """Whether to promote, why in words, and the figures that were looked at."""

    promote: bool
    reasons: tuple[str, ...]
    figures: Mapping[str, float]
    forced: bool = False


def decide(
    challenger: Measured,
    champion: Measured | None,
    baselines: Mapping[str, Mapping[str, float]],
    rule: PromotionRule,
    difference: tuple[float, float] | None = None,
) -> PromotionDecision:
    """Decide by the rule: it beats every baseline, and is better than the champion or shown not to be worse.

    `difference` is an interval for challenger minus champion of the rule's metric, in the metric's unit, if one was
    computed on paired rows. An undefined figure never promotes.

    >>> rule = PromotionRule("auc", margin=0.01)
    >>> decide(Measured("v2", "s", {"auc": 0.80}), Measured("v1", "s", {"auc": 0.78}), {}, rule).promote
    True
    """
    value = challenger.metrics.get(rule.metric, math.nan)
    figures = {f"challenger.{rule.metric}": value}
    if not math.isfinite(value):
        return PromotionDecision(False, (f"{challenger.name} has no {rule.metric}: it is undefined there",), figures)
    beats, reasons = _against_baselines(value, baselines, rule, figures)
    stands, reason = _against_champion(challenger, champion, rule, difference, figures)
    return PromotionDecision(beats and stands, (*reasons, reason), figures)


def force(decision: PromotionDecision, why: str) -> PromotionDecision:
    """The same figures, promoted because a person says why.

    Raises:
        ValueError: no reason is given.
    """
    if not why.strip():
        raise ValueError("a forced promotion needs a reason")
    if decision.promote:
        return PromotionDecision(True, (*decision.reasons, f"also said: {why}"), decision.figures)
    return PromotionDecision(True, (*decision.reasons, f"forced: {why}"), decision.figures, forced=True)


def _against_baselines(
    value: float, baselines: Mapping[str, Mapping[str, float]], rule: PromotionRule, figures: dict[str, float]
) -> tuple[bool, list[str]]:
    beaten, reasons = True, []
    for name, metrics in sorted(baselines.items()):
        other = metrics.get(rule.metric, math.nan)
        figures[f"baseline.{name}.{rule.metric}"] = other
        if not math.isfinite(other):
            reasons.append(f"the baseline {name} has no {rule.metric} and was not compared")
        elif _gain(value, other, rule) > 0.0:
            reasons.append(f"beats the baseline {name}: {rule.metric} {value:.4f} against {other:.4f}")
        else:
            beaten = False
            reasons.append(f"does not beat the baseline {name}: {rule.metric} {value:.4f} against {other:.4f}")
    return beaten, reasons


def _against_champion(
    challenger: Measured,
    champion: Measured | None,
    rule: PromotionRule,
    difference: tuple[float, float] | None,
    figures: dict[str, float],
) -> tuple[bool, str]:
    if champion is None:
        return True, "there is no champion yet"
    if champion.slice_name != challenger.slice_name:
        return False, (
            f"not comparable: {challenger.name} was measured on {challenger.slice_name}, "
            f"{champion.name} on {champion.slice_name}"
        )
    other = champion.metrics.get(rule.metric, math.nan)
    figures[f"champion.{rule.metric}"] = other
    if not math.isfinite(other):
        return False, f"not comparable: the champion {champion.name} has no {rule.metric}: it is undefined there"
    words = f"{rule.metric} {challenger.metrics[rule.metric]:.4f} against {other:.4f} of the champion {champion.name}"
    gain = _gain(challenger.metrics[rule.metric], other, rule)
    figures["gain"] = gain
    if gain > 0.0 and gain >= rule.margin:
        return True, f"better: {words}, a gain of {gain:.4f} (asked: {rule.margin:.4f})"
    if difference is None:
        return False, f"not better: {words}, a gain of {gain:.4f} (asked: {rule.margin:.4f}, and more than 0)"
    worst = difference[0] if rule.higher_is_better else -difference[1]
    figures["gain_ci_low"] = worst
    stands = math.isfinite(worst) and worst > -rule.not_worse_by
    verdict = "not worse" if stands else "perhaps worse"
    return stands, f"{verdict}: {words}, the gain may be as low as {worst:.4f} (allowed: {-rule.not_worse_by:.4f})"


def _gain(value: float, other: float, rule: PromotionRule) -> float:
    return value - other if rule.higher_is_better else other - value
