"""Deciding whether a challenger becomes champion, by figures measured on the same later slice, with reasons.

A promotion that the figures do not carry needs a person who says why; both are recorded with the version.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["NO_CHAMPION", "Measured", "PromotionDecision", "PromotionRule", "PromotionSettings", "decide", "force"]


LOWER_IS_BETTER = frozenset({"brier", "ece"})
"""Figures that measure an error; of every other one more is better."""

NO_CHAMPION = "there is no champion yet"
"""The reason where there is nobody to be compared with."""


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
    computed on paired rows; a baseline's figures may hold the like, as METRIC_difference_ci_low and _high. Figures
    decide; where the interval includes 0, the reasons say that the difference cannot be told from chance. An undefined
    figure never promotes.

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
            continue
        ends = [f"{rule.metric}_difference_ci_{end}" for end in ("low", "high")]
        low, high = (metrics.get(end, math.nan) for end in ends)
        if _known((low, high)):
            figures |= {f"baseline.{name}.{end}": bound for end, bound in zip(ends, (low, high), strict=True)}
        ahead = _gain(value, other, rule) > 0.0
        beaten = beaten and ahead
        reasons.append(_baseline_words(name, ahead, f"{rule.metric} {value:.4f} against {other:.4f}", (low, high)))
    return beaten, reasons


def _baseline_words(name: str, ahead: bool, words: str, difference: tuple[float, float]) -> str:
    if _by_chance(difference):
        place = "ahead of" if ahead else "not ahead of"
        return f"{place} the baseline {name} by the figure, which decides, but {_CHANCE}: {words}, {_shown(difference)}"
    verdict = "beats" if ahead else "does not beat"
    if _known(difference):
        return f"{verdict} the baseline {name}: {words}, {_shown(difference)}"
    return f"{verdict} the baseline {name} by the figure, whose difference has no interval: {words}"


_CHANCE = "the difference cannot be told from chance"


def _known(difference: tuple[float, float] | None) -> bool:
    return difference is not None and all(math.isfinite(bound) for bound in difference)


def _by_chance(difference: tuple[float, float] | None) -> bool:
    """Whether an interval of the difference is known and includes 0; its ends count as inside."""
    return difference is not None and difference[0] <= 0.0 <= difference[1]


def _shown(difference: tuple[float, float]) -> str:
    return f"difference from {difference[0]:+.4f} to {difference[1]:+.4f} (95%)"


def _against_champion(
    challenger: Measured,
    champion: Measured | None,
    rule: PromotionRule,
    difference: tuple[float, float] | None,
    figures: dict[str, float],
) -> tuple[bool, str]:
    if champion is None:
        return True, NO_CHAMPION
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
    if difference is not None and _known(difference):
        figures["difference_ci_low"], figures["difference_ci_high"] = difference
    if gain > 0.0 and gain >= rule.margin:
        return True, _better_words(f"{words}, a gain of {gain:.4f} (asked: {rule.margin:.4f})", difference)
    if difference is None:
        return False, f"not better: {words}, a gain of {gain:.4f} (asked: {rule.margin:.4f}, and more than 0)"
    worst = difference[0] if rule.higher_is_better else -difference[1]
    figures["gain_ci_low"] = worst
    stands = math.isfinite(worst) and worst > -rule.not_worse_by
    verdict = "not worse" if stands else "perhaps worse"
    return stands, f"{verdict}: {words}, the gain may be as low as {worst:.4f} (allowed: {-rule.not_worse_by:.4f})"


def _better_words(words: str, difference: tuple[float, float] | None) -> str:
    if difference is None or not _known(difference):
        return f"better by the figure, whose difference has no interval: {words}"
    if _by_chance(difference):
        return f"better by the figure, which decides, but {_CHANCE}: {words}, {_shown(difference)}"
    return f"better: {words}, {_shown(difference)}"


def _gain(value: float, other: float, rule: PromotionRule) -> float:
    return value - other if rule.higher_is_better else other - value
