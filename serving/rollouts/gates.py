"""The gates of a rollout, pure: what challenger and control did, in; pass, wait, hold or break with words, out.

Wait: not enough data yet. Hold: doubtful, so that nothing is promoted before the figures or a person say otherwise.
Break: a harm is shown, and the release is rolled back. A gate without data never passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from serving.evidence.confidence_sequences import ArmTotals, mean_difference, rate_difference
from serving.evidence.sample_ratio import sample_ratio
from serving.evidence.score_shift import drift_between
from serving.rollouts.arm_figures import ArmFigures, latency_bucket
from serving.rollouts.figures import Figures, ScoreSpread
from serving.rollouts.plan import RolloutPlan, Step

__all__ = ["Ruling", "Verdict", "judge"]

Ruling = Literal["pass", "wait", "hold", "break"]

_CERTAIN = 1e-9
"""Chance of scores all alike, were they spread as the control's, below which they count as a constant."""

_FEWEST_SCORES = 20
_NO_SCORES = "nobody asks for scores"
_TENTHS = 10


@dataclass(frozen=True)
class Verdict:
    """What one gate says, in a word, in words, and in figures."""

    gate: str
    ruling: Ruling
    words: str
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Asked:
    plan: RolloutPlan
    step: Step
    figures: Figures
    now_us: int


def judge(plan: RolloutPlan, step: Step, figures: Figures, now_us: int) -> tuple[Verdict, ...]:
    """What every gate of a step says: first whether the figures live, then whether the arms fill as intended."""
    asked = _Asked(plan, step, figures, now_us)
    always = [_metrics(asked)] if step.shadow else [_metrics(asked), _sample_ratio(asked)]
    return (*always, *(_GATES[gate](asked) for gate in step.gates))


def _metrics(asked: _Asked) -> Verdict:
    newest_us, limits = asked.figures.newest_us, asked.plan.limits
    if newest_us is None:
        return Verdict("metrics", "wait", "no figures of the challenger have come in yet")
    age_s = (asked.now_us - newest_us) / 1e6
    told = {"age_s": age_s}
    if abs(age_s) > limits.metrics_stale_s:
        return Verdict(
            "metrics",
            "hold",
            f"the newest figures are {age_s:.0f} s old, and dead beyond "
            f"{limits.metrics_stale_s:g} s; see whether anybody asks, and whether the store takes writes",
            told,
        )
    return Verdict("metrics", "pass", f"figures came in {age_s:.0f} s ago", told)


def _sample_ratio(asked: _Asked) -> Verdict:
    outcomes, share = asked.figures.outcomes, asked.figures.challenger_share
    if outcomes is None:
        return Verdict("sample_ratio", "wait", "the customers of the arms were not counted yet")
    counts = (outcomes.challenger_purchases.n, outcomes.control_purchases.n)
    if counts[0] and not counts[1] and _nothing_left(asked):
        return Verdict("sample_ratio", "pass", "nobody is held out to compare with")
    found = sample_ratio(counts, (share, 1.0 - share), alpha=asked.plan.limits.ratio_alpha)
    told = {"n_challenger": counts[0], "n_control": counts[1], "log_evidence": found.log_evidence}
    words = f"{counts[0]:,} customers against {counts[1]:,}, intended {share:.4g} to {1.0 - share:.4g}"
    if found.mismatch:
        return Verdict(
            "sample_ratio",
            "hold",
            f"{words}: customers of one arm get lost, and no outcome can be believed; find where before going on",
            told,
        )
    if min(counts) == 0:
        return Verdict("sample_ratio", "wait", f"{words}: an arm has nobody yet", told)
    return Verdict("sample_ratio", "pass", words, told)


def _errors(asked: _Asked) -> Verdict:
    return _share_gate(asked, "errors", "answers that failed", lambda arm: arm.n_errors, asked.plan.limits.errors_borne)


def _fallbacks(asked: _Asked) -> Verdict:
    borne = asked.plan.limits.fallbacks_borne
    return _share_gate(asked, "fallbacks", "fallback answers", lambda arm: arm.n_fallbacks, borne, gross=False)


def _missing_features(asked: _Asked) -> Verdict:
    borne = asked.plan.limits.missing_borne
    return _share_gate(
        asked, "missing_features", "answers without features", lambda arm: arm.n_missing, borne, gross=False
    )


def _latency(asked: _Asked) -> Verdict:
    """Slow answers as a share of those that were timed; then the 95% quantile, which can hold and never breaks."""
    limits, (ours, theirs) = asked.plan.limits, (asked.figures.challenger, asked.figures.control)
    if _idle(asked, lambda arm: sum(arm.latency.values())):
        return Verdict("latency", "pass", "answers of this kind are not timed: batches, or a shadow of stored features")
    slow = latency_bucket(limits.slow_ms / 1e3)
    verdict = _share_gate(
        asked,
        "latency",
        f"answers above {limits.slow_ms:g} ms",
        lambda arm: sum(n for bucket, n in arm.latency.items() if bucket > slow),
        limits.slow_borne,
        of=lambda arm: sum(arm.latency.values()),
    )
    if verdict.ruling != "pass":
        return verdict
    mine, its = ours.latency_ms(0.95) or 0.0, theirs.latency_ms(0.95)
    told = {**verdict.figures, "p95_ms": mine}
    if its is None:
        return Verdict("latency", "pass", f"{verdict.words}; 95% within {mine:.3g} ms", told)
    words = f"{verdict.words}; 95% within {mine:.3g} ms against {its:.3g}"
    slower = mine > its * (1.0 + limits.slower_borne)
    return Verdict("latency", "hold" if slower else "pass", words, told | {"control_p95_ms": its})


def _share_gate(
    asked: _Asked,
    gate: str,
    what: str,
    count: Callable[[ArmFigures], int],
    borne: float,
    *,
    of: Callable[[ArmFigures], int] = lambda arm: arm.n_requests,
    gross: bool = True,
) -> Verdict:
    """A difference of shares by its interval; many failures at once, by their number alone, need no control."""
    limits, least = asked.plan.limits, asked.step.min_requests
    arms = (asked.figures.challenger, asked.figures.control)
    (mine, its), (n, n_control) = map(count, arms), map(of, arms)
    told: dict[str, float] = {"n": n, "n_yes": mine, "n_control": n_control, "n_yes_control": its}
    words = f"{what}: {_part(mine, n)} against {_part(its, n_control)}"
    if gross and mine >= limits.gross_count and mine >= limits.gross_share * n > 0:
        return Verdict(gate, "break", f"{words}; so many end a rollout at once", told)
    if n and n_control:
        share = asked.figures.challenger_share
        found = rate_difference(
            ArmTotals.of_rate(n, mine),
            ArmTotals.of_rate(n_control, its),
            alpha=asked.plan.alpha_a_gate,
            challenger_share=share,
        )
        told |= {"effect_abs": found.effect_abs, "ci_low": found.ci_low, "ci_high": found.ci_high}
        if found.ci_low > 0.0 and found.effect_abs > borne:
            return Verdict(gate, "break", f"{words}; more by {found.ci_low:.2%} at least", told)
    if n < least or (n_control < least and not _nothing_left(asked)):
        return Verdict(gate, "wait", f"{words}; {least:,} of each are wanted", told)
    difference = mine / n - (its / n_control if n_control else 0.0)
    if difference > borne:
        return Verdict(gate, "hold", f"{words}; {difference:.2%} more, above {borne:.2%}, may be chance", told)
    return Verdict(gate, "pass", words, told)


def _score_shift(asked: _Asked) -> Verdict:
    limits, least = asked.plan.limits, asked.step.min_requests
    mine, its = (np.array(arm.probabilities, np.int64) for arm in (asked.figures.challenger, asked.figures.control))
    n, n_control = int(mine.sum()), int(its.sum())
    if _idle(asked, _n_scores):
        return Verdict("score_shift", "pass", _NO_SCORES)
    if min(n, n_control) < least:
        words = f"{n:,} churn probabilities against {n_control:,}; {least:,} of each are wanted"
        return Verdict("score_shift", "wait", words, {"n": n, "n_control": n_control})
    tenth = np.minimum((np.cumsum(its) - its) * _TENTHS // n_control, _TENTHS - 1)
    bins = [np.append(np.bincount(tenth, weights=one, minlength=_TENTHS), 0).astype(np.int64) for one in (its, mine)]
    found = drift_between("score", *bins)
    told = {"psi": found.psi, "by_chance": found.by_chance, "n": n, "n_control": n_control}
    words = f"stability index {found.psi:.3f} on {n:,} churn probabilities"
    if found.psi > max(limits.shift_broken, found.by_chance):
        return Verdict("score_shift", "break", f"{words}, above {limits.shift_broken:g}", told)
    if found.psi > max(limits.shift_held, found.by_chance):
        return Verdict(
            "score_shift",
            "hold",
            f"{words}, above {limits.shift_held:g}: another model, or a fault; compare them by `holdfast compare`",
            told,
        )
    return Verdict("score_shift", "pass", words, told)


def _constant_scores(asked: _Asked) -> Verdict:
    figures = asked.figures
    mine, its = figures.challenger_scores, figures.control_scores
    if asked.step.shadow:  # the same requests, so that customers who come again do so on both sides
        mine, its = (
            ScoreSpread(sum(arm.probabilities), max(arm.probabilities)) for arm in (figures.challenger, figures.control)
        )
    told: dict[str, float] = {
        "n": mine.n_customers,
        "n_alike": mine.n_alike,
        "n_control": its.n_customers,
        "n_alike_control": its.n_alike,
    }
    words = (
        f"{mine.n_alike:,} of {mine.n_customers:,} have the same score, {its.n_alike:,} of {its.n_customers:,} before"
    )
    if mine.n_customers < _FEWEST_SCORES or its.n_customers < _FEWEST_SCORES:
        idle = _idle(asked, _n_scores)
        return Verdict("constant_scores", "pass" if idle else "wait", _NO_SCORES if idle else words, told)
    if mine.n_alike < mine.n_customers:
        return Verdict("constant_scores", "pass", words, told)
    by_chance = math.exp(mine.n_customers * math.log(its.n_alike / its.n_customers))
    return Verdict("constant_scores", "break" if by_chance < _CERTAIN else "hold", f"{words}: a constant", told)


def _band_moves(asked: _Asked) -> Verdict:
    ours, limits, least = asked.figures.challenger, asked.plan.limits, asked.step.min_requests
    n, moved = sum(ours.band_moves.values()), ours.moved_share
    told = {f"n {move}": float(n) for move, n in sorted(ours.band_moves.items())}
    dropped = ours.dropped_share or 0.0
    if dropped > limits.dropped_borne:
        words = (
            f"the shadow was too busy or too slow for {dropped:.1%} of the requests, above {limits.dropped_borne:.1%}"
        )
        return Verdict("band_moves", "hold", words, told | {"dropped_share": dropped})
    if _idle(asked, _n_scores):
        return Verdict("band_moves", "pass", _NO_SCORES, told)
    if moved is None or n < least:
        return Verdict("band_moves", "wait", f"{n:,} bands compared; {least:,} are wanted", told)
    most = sorted(((count, move) for move, count in ours.band_moves.items() if len(set(move.split(">"))) > 1))[::-1][:2]
    who = ", ".join(f"{count:,} {move.replace('>', ' to ')}" for count, move in most)
    words = f"{moved:.1%} of {n:,} in another band ({who or 'nobody'}); `holdfast compare` says why"
    return Verdict("band_moves", "hold" if moved > limits.moved_borne else "pass", words, told | {"moved_share": moved})


def _purchases(asked: _Asked) -> Verdict:
    outcomes, borne = asked.figures.outcomes, asked.plan.limits.purchases_borne
    wait = _too_few(asked, "purchases")
    if outcomes is None or not (outcomes.challenger_purchases.n and outcomes.control_purchases.n):
        return wait or Verdict("purchases", "wait", "no outcomes yet")
    mine, its = outcomes.challenger_purchases, outcomes.control_purchases
    found = rate_difference(mine, its, alpha=asked.plan.alpha_a_gate, challenger_share=asked.figures.challenger_share)
    told = {
        "effect_abs": found.effect_abs,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "n": mine.n,
        "n_control": its.n,
    }
    words = f"customers who bought: {_part(int(mine.total), mine.n)} against {_part(int(its.total), its.n)}"
    if found.ci_high < 0.0 and -found.effect_abs > borne:
        return Verdict("purchases", "break", f"{words}; fewer by {-found.ci_high:.2%} at least", told)
    if wait is not None:
        return wait
    if -found.effect_abs > borne:
        return Verdict("purchases", "hold", f"{words}; {-found.effect_abs:.2%} fewer, may be chance", told)
    return Verdict("purchases", "pass", words, told)


def _revenue(asked: _Asked) -> Verdict:
    outcomes = asked.figures.outcomes
    wait = _too_few(asked, "revenue")
    if wait is not None or outcomes is None:
        return wait or Verdict("revenue", "wait", "no outcomes yet")
    mine, its = outcomes.challenger_revenue, outcomes.control_revenue
    if (mine + its).squares == 0.0:
        return Verdict("revenue", "pass", "nobody has bought yet, in either arm")
    found = mean_difference(mine, its, alpha=asked.plan.alpha_a_gate)
    told = {
        "effect_abs": found.effect_abs,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "n": mine.n,
        "n_control": its.n,
    }
    words = f"revenue a customer, minor units: {mine.mean:,.0f} against {its.mean:,.0f}"
    if found.ci_high < 0.0:
        return Verdict("revenue", "break", f"{words}; less by {-found.ci_high:,.0f} at least", told)
    return Verdict("revenue", "pass", words, told)


def _too_few(asked: _Asked, gate: str) -> Verdict | None:
    outcomes, least = asked.figures.outcomes, asked.plan.limits.min_customers
    counts = (0, 0) if outcomes is None else (outcomes.challenger_purchases.n, outcomes.control_purchases.n)
    if min(counts) >= least:
        return None
    words = f"outcomes of {counts[0]:,} customers against {counts[1]:,}; {least:,} of each are wanted"
    return Verdict(gate, "wait", words, {"n": counts[0], "n_control": counts[1]})


def _idle(asked: _Asked, count: Callable[[ArmFigures], int]) -> bool:
    """Whether both arms were asked enough, and never for what is counted: there is nothing to judge."""
    arms = (asked.figures.challenger, asked.figures.control)
    return all(arm.n_requests >= asked.step.min_requests and not count(arm) for arm in arms)


def _n_scores(arm: ArmFigures) -> int:
    return sum(arm.probabilities)


def _nothing_left(asked: _Asked) -> bool:
    """Whether everybody has the challenger but for the hold-out, which may be empty."""
    return asked.step.share == 1.0


def _part(n_yes: int, n: int) -> str:
    return f"{n_yes:,} of {n:,} ({n_yes / n:.2%})" if n else "none"


_GATES: Mapping[str, Callable[[_Asked], Verdict]] = {
    "errors": _errors,
    "latency": _latency,
    "fallbacks": _fallbacks,
    "missing_features": _missing_features,
    "score_shift": _score_shift,
    "constant_scores": _constant_scores,
    "band_moves": _band_moves,
    "purchases": _purchases,
    "revenue": _revenue,
}
