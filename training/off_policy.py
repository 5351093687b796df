"""What a new policy would earn, told from the log of another: off-policy evaluation with intervals and a verdict.

The value is the mean reward of an exposure, positions in the shares that the log has. A round's weight is the new
policy's probability of what was shown over the logged propensity, both at the round's position. Weights are clipped at
the square root of the number of rewards unless told otherwise: then one round, were its propensity 1e-6, moves an
estimate by no more than that root's share of what all rewards add up to. Ionides 2008 clips at the root of the rounds,
which is the same where every round has its reward; where one in 200 is clicked, it is the clicks that carry the sum.
Plain `ips` alone is left as the textbook has it, and says what the clipping saves one from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError, DataError, NotEnoughDataError
from training.churn_metrics import bootstrap_over_customers
from training.logged_rounds import LoggedRounds, NewPolicy
from training.reward_models import CrossFitted, FitRewards, cross_fit, fit_shrunk_rewards

__all__ = [
    "ESTIMATORS",
    "HEADLINE",
    "Estimate",
    "OffPolicyReport",
    "OffPolicySettings",
    "effective_sample",
    "evaluate_policy",
    "logged_value",
]

Floats = npt.NDArray[np.float64]
HEADLINE = "dr"
"""The estimator that decides where one has to."""


@dataclass(frozen=True)
class OffPolicySettings:
    """How a policy is judged from a log.

    Attributes:
        clip: largest weight of a round; None is the square root of the effective number of rewards, at least 1.
        folds: of the cross-fitted reward model, by unit.
        replicates: of the bootstrap over units.
        level: share of the replicates inside an interval.
        min_effective_sample: fewer effective rounds than this, and the log does not support the policy.
        min_covered_share: less of what the policy would show in the log, and the log does not support the policy.
        min_rewarded: fewer rounds with a reward and a weight, and the log does not support the policy.
    """

    clip: float | None = None
    folds: int = 5
    replicates: int = 1_000
    level: float = 0.95
    min_effective_sample: float = 200.0
    min_covered_share: float = 0.8
    min_rewarded: int = 10

    def __post_init__(self) -> None:
        if self.clip is not None and not (math.isfinite(self.clip) and self.clip >= 1.0):
            raise ConfigurationError(f"clip is {self.clip}; write 1 or more, or nothing for the root of the rewards")
        if not 0.0 < self.level < 1.0:
            raise ConfigurationError(f"level is {self.level}; write a share between 0 and 1, as 0.95")
        if self.replicates < 1:
            raise ConfigurationError(f"replicates is {self.replicates}; write at least 1")


@dataclass(frozen=True)
class Estimate:
    """Mean reward of an exposure, with the bootstrap's interval."""

    estimator: str
    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class OffPolicyReport:
    """What the log says of a policy.

    Attributes:
        n_rounds: rounds in the log.
        n_rewarded: rounds with a reward whose item the new policy would show too.
        logged: the value of the policy that made the log, as it was.
        estimates: of the new policy, in the order of ESTIMATORS.
        clip: largest weight.
        effective_sample: rounds that would say as much if all weighed the same, after clipping.
        clipped_share: share of rounds whose weight was clipped, in [0, 1].
        covered_share: mean clipped weight, at most 1: how much of what the policy would show the log holds.
        supported: whether the log supports the policy at all.
        verdict: the same in words, with the figures.
    """

    n_rounds: int
    n_rewarded: int
    logged: Estimate
    estimates: tuple[Estimate, ...]
    clip: float
    effective_sample: float
    clipped_share: float
    covered_share: float
    supported: bool
    verdict: str

    def of(self, estimator: str) -> Estimate:
        """One estimate by its name.

        Raises:
            ConfigurationError: there is none of that name.
        """
        for one in self.estimates:
            if one.estimator == estimator:
                return one
        raise ConfigurationError(f"no estimator {estimator!r}; there are {', '.join(ESTIMATORS)}")

    def decided(self) -> Estimate:
        """The estimate that decides.

        Raises:
            NotEnoughDataError: the log does not support the policy; the message is the verdict.
        """
        if not self.supported:
            raise NotEnoughDataError(self.verdict)
        return self.of(HEADLINE)


@dataclass(frozen=True, eq=False)
class _Parts:
    """Columns, float64 (n,), that all estimators are sums of."""

    rewards: Floats
    positions: npt.NDArray[np.int64]
    weights: Floats
    clipped: Floats
    kept: Floats
    fitted: CrossFitted

    @property
    def residuals(self) -> Floats:
        return self.rewards - self.fitted.logged


def _ips(p: _Parts, times: Floats) -> float:
    """Horvitz and Thompson 1952: rewards weighed by the inverse propensity, nothing clipped."""
    return float((times * p.weights * p.rewards).sum() / times.sum())


def _clipped_ips(p: _Parts, times: Floats) -> float:
    """Ionides 2008, Truncated importance sampling: no weight above the limit; errs downwards by what is cut off."""
    return float((times * p.clipped * p.rewards).sum() / times.sum())


def _normalised(p: _Parts, values: Floats, times: Floats) -> float:
    """Values weighed by clipped weights that sum to 1 within each position; a position without weight takes the mean.

    Source: Swaminathan and Joachims 2015, The self-normalized estimator for counterfactual learning, (5).
    """
    weight = np.bincount(p.positions, weights=times * p.clipped)
    if not weight.sum() > 0.0:
        return math.nan
    weighed = np.bincount(p.positions, weights=times * p.clipped * values)
    mean = np.divide(weighed, weight, out=np.full_like(weight, weighed.sum() / weight.sum()), where=weight > 0.0)
    share = np.bincount(p.positions, weights=times) / times.sum()
    return float((share * mean).sum())


def _snips(p: _Parts, times: Floats) -> float:
    """Self-normalised: nothing is lost to weights that do not sum to the number of rounds."""
    return _normalised(p, p.rewards, times)


def _direct(p: _Parts, times: Floats) -> float:
    """The reward model alone: no variance of weights, and all of the model's errors."""
    return float((times * p.fitted.of_policy).sum() / times.sum())


def _doubly_robust(p: _Parts, times: Floats) -> float:
    """Dudik, Langford and Li 2011, Doubly robust policy evaluation and learning, (4), with clipped weights."""
    return float((times * (p.fitted.of_policy + p.clipped * p.residuals)).sum() / times.sum())


def _normalised_doubly_robust(p: _Parts, times: Floats) -> float:
    """Robins and others 2007: the doubly robust correction with weights that sum to 1 within each position."""
    return _direct(p, times) + _normalised(p, p.residuals, times)


def _switch(p: _Parts, times: Floats) -> float:
    """Wang, Agarwal and Dudik 2017, SWITCH: where the weight is above the limit the model is believed instead."""
    return float((times * (p.fitted.of_policy + p.kept * p.residuals)).sum() / times.sum())


_ESTIMATORS: Mapping[str, Callable[[_Parts, Floats], float]] = {
    "ips": _ips,
    "clipped_ips": _clipped_ips,
    "snips": _snips,
    "direct": _direct,
    "dr": _doubly_robust,
    "sn_dr": _normalised_doubly_robust,
    "switch_dr": _switch,
}
ESTIMATORS: tuple[str, ...] = tuple(_ESTIMATORS)
"""Names of the estimators, in the order of a report."""


def effective_sample(weights: Floats) -> float:
    """Rounds that would say as much if all weighed the same: the squared sum over the sum of squares; 0 without weight.

    Source: Kish 1965, Survey Sampling, 8.2.

    >>> effective_sample(np.array([1.0, 1.0, 1.0, 1.0])), effective_sample(np.array([2.0, 0.0, 2.0, 0.0]))
    (4.0, 2.0)
    """
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0


def logged_value(rounds: LoggedRounds, rng: np.random.Generator, settings: OffPolicySettings | None = None) -> Estimate:
    """The value of the policy that made the log: the mean reward of an exposure, units drawn anew for the interval.

    Raises:
        NotEnoughDataError: the log is empty.
    """
    settings = settings or OffPolicySettings()
    if rounds.n == 0:
        raise NotEnoughDataError("the log holds no rounds; a policy is judged by what was shown, so show something")

    def mean(times: Floats) -> dict[str, float]:
        return {"logged": float((times * rounds.rewards).sum() / times.sum())}

    return _estimates(mean, rounds, rng, settings)[0]


def evaluate_policy(
    rounds: LoggedRounds,
    policy: NewPolicy,
    rng: np.random.Generator,
    settings: OffPolicySettings | None = None,
    fit_rewards: FitRewards = fit_shrunk_rewards,
) -> OffPolicyReport:
    """Judge a policy from the log of another.

    The intervals draw units anew and keep reward models and propensities as they are.

    Args:
        rounds: the log.
        policy: what the new policy would show in each of its rounds.
        rng: folds and bootstrap; the same gives the same report.
        settings: limits; by default see the class.
        fit_rewards: the reward model, fitted for each fold on the rounds of other units.

    Raises:
        NotEnoughDataError: the log is empty, or has fewer units than folds.
        DataError: log and policy speak of different numbers of rounds.
    """
    settings = settings or OffPolicySettings()
    if policy.n != rounds.n:
        raise DataError(f"the log has {rounds.n} rounds, the policy speaks of {policy.n}; give one row a round")
    logged = logged_value(rounds, rng, settings)
    n_units = np.unique(rounds.units).size
    if n_units < settings.folds:
        raise NotEnoughDataError(f"the log has {n_units} units, need {settings.folds}, one a fold; log for longer")
    clip = settings.clip or max(1.0, math.sqrt(effective_sample(np.abs(rounds.rewards))))
    weights = policy.of(rounds.actions) / rounds.propensities
    fitted = cross_fit(rounds, policy, fit_rewards, rng, settings.folds)
    clipped, kept = np.minimum(weights, clip), np.where(weights <= clip, weights, 0.0)
    parts = _Parts(rounds.rewards, rounds.positions, weights, clipped, kept, fitted)

    def figures(times: Floats) -> dict[str, float]:
        return {name: estimator(parts, times) for name, estimator in _ESTIMATORS.items()}

    sample, covered = effective_sample(clipped), min(1.0, float(clipped.mean()))
    rewarded = int(np.count_nonzero((rounds.rewards != 0.0) & (weights > 0.0)))
    lacking = _lacking(sample, covered, rewarded, settings)
    return OffPolicyReport(
        n_rounds=rounds.n,
        n_rewarded=rewarded,
        logged=logged,
        estimates=_estimates(figures, rounds, rng, settings),
        clip=clip,
        effective_sample=sample,
        clipped_share=float((weights > clip).mean()),
        covered_share=covered,
        supported=not lacking,
        verdict=_verdict(rounds.n, sample, covered, lacking),
    )


def _estimates(
    figures: Callable[[Floats], Mapping[str, float]],
    rounds: LoggedRounds,
    rng: np.random.Generator,
    settings: OffPolicySettings,
) -> tuple[Estimate, ...]:
    drawn = bootstrap_over_customers(figures, rounds.units, rng, settings.replicates, settings.level)
    return tuple(
        Estimate(name, value, drawn[name].low, drawn[name].high) for name, value in figures(np.ones(rounds.n)).items()
    )


def _lacking(sample: float, covered: float, rewarded: int, settings: OffPolicySettings) -> tuple[str, ...]:
    """What the log has too little of, in words."""
    found = []
    if covered < settings.min_covered_share:
        found.append(f"it holds {covered:.0%} of that, need {settings.min_covered_share:.0%}")
    if sample < settings.min_effective_sample:
        found.append(f"effective sample {sample:,.0f}, need {settings.min_effective_sample:,.0f}")
    if rewarded < settings.min_rewarded:
        found.append(f"{rewarded} of its rounds with a reward, need {settings.min_rewarded}")
    return tuple(found)


def _verdict(n: int, sample: float, covered: float, lacking: tuple[str, ...]) -> str:
    if lacking:
        return f"the log has hardly seen what this policy would show: {'; '.join(lacking)}; explore more before judging"
    return (
        f"the log supports this policy: effective sample {sample:,.0f} of {n:,} rounds; "
        f"it holds {covered:.0%} of what the policy would show"
    )
