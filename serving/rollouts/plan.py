"""The plan of a rollout: steps with their share, time and gates, and the limits that the gates judge by."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from importlib import resources
from itertools import pairwise
from pathlib import Path

from features.errors import ConfigurationError
from features.settings import read_settings, read_toml

__all__ = ["GATES", "SEQUENTIAL", "Limits", "RolloutPlan", "Step", "load_plan", "shipped_plans"]

_SHADOW_GATES = ("errors", "latency", "fallbacks", "missing_features", "score_shift", "constant_scores", "band_moves")
_TRAFFIC_GATES = (*_SHADOW_GATES[:-1], "purchases", "revenue")
GATES = (*_TRAFFIC_GATES, "band_moves")
"""The gates that a step can name; `metrics` and, where customers are compared, `sample_ratio` are always asked."""

SEQUENTIAL = frozenset({"errors", "latency", "fallbacks", "missing_features", "purchases", "revenue"})
"""Gates that end a rollout by an interval, and share the plan's alpha."""

_SUFFIX = ".toml"
_RANGES = {
    "alpha": (1e-9, 0.5),
    "ratio_alpha": (1e-9, 0.5),
    "metrics_stale_s": (60.0, 86_400.0),
    "gross_count": (1, 1_000_000),
    "slow_ms": (1.0, 60_000.0),
    "slower_borne": (0.0, 100.0),
    "shift_held": (0.0, 100.0),
    "shift_broken": (0.0, 100.0),
    "min_customers": (2, 1_000_000_000),
}
_SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class Limits:
    """What the gates judge by; differences are the challenger's figure minus the control's.

    Attributes:
        alpha: probability that any interval of the whole rollout stops a release that is no worse.
        ratio_alpha: probability that the sample ratio blocks a rollout whose arms fill as intended.
        metrics_stale_s: figures that nobody added to for so long are dead; rows begin once a minute.
        gross_count, gross_share: so many failures that are such a share of the requests end a rollout at once.
        errors_borne, slow_borne, fallbacks_borne, missing_borne: differences of shares that are put up with.
        slow_ms: an answer that takes longer is slow.
        slower_borne: how much longer the 95% quantile may be, as a share of the control's.
        shift_held, shift_broken: PSI of the churn probabilities above which a step is held, and ended.
        moved_borne: share of customers in another band than the champion's.
        dropped_borne: share of requests that a shadow was not asked.
        min_customers: of each arm, before outcomes can let a step pass.
        purchases_borne: difference of the share of customers who buy.
    """

    alpha: float = 0.05
    ratio_alpha: float = 0.002
    metrics_stale_s: float = 180.0
    gross_count: int = 10
    gross_share: float = 0.2
    errors_borne: float = 0.005
    slow_ms: float = 300.0
    slow_borne: float = 0.01
    slower_borne: float = 0.5
    fallbacks_borne: float = 0.02
    missing_borne: float = 0.02
    shift_held: float = 0.25
    shift_broken: float = 1.0
    moved_borne: float = 0.3
    dropped_borne: float = 0.9
    min_customers: int = 500
    purchases_borne: float = 0.01

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            low, high = _RANGES.get(name, _SHARE)
            if not low <= value <= high:
                raise ConfigurationError(f"plan: limits.{name} is {value:g}; write a number from {low:g} to {high:g}")


@dataclass(frozen=True)
class Step:
    """One step of a plan.

    Attributes:
        share: of customers outside the hold-out who get the challenger, in [0, 1]; 0 is the shadow.
        bake_minutes: the least time that the step takes.
        min_requests: of each arm, before a gate can let the step pass.
        enough_requests: of the challenger; with so many the time need not be waited for.
        gates: those that are asked; all that a step of this kind can ask where none is named.
        approve: a person must let the step end.
    """

    share: float
    bake_minutes: float
    min_requests: int = 200
    enough_requests: int | None = None
    gates: tuple[str, ...] = ()
    approve: bool = False

    def __post_init__(self) -> None:
        known = _TRAFFIC_GATES if self.share else _SHADOW_GATES
        object.__setattr__(self, "gates", self.gates or known)
        for gate in self.gates:
            if gate not in known:
                kind = "step with a share" if self.share else "shadow step"
                raise ConfigurationError(
                    f"plan: a {kind} has no gate of one of the names given; known: {', '.join(known)}"
                )
        if not (0.0 <= self.share <= 1.0 and 0.0 <= self.bake_minutes < 1e6 and self.min_requests >= 1):
            raise ConfigurationError(
                "plan: a step has a share in [0, 1], bake_minutes of at least 0 and min_requests of at least 1"
            )

    @property
    def shadow(self) -> bool:
        """Whether the challenger only answers beside the champion."""
        return self.share == 0.0

    @property
    def name(self) -> str:
        """As told to people."""
        return "shadow" if self.shadow else f"{100.0 * self.share:g}%"


@dataclass(frozen=True)
class RolloutPlan:
    """From the first step to the last, after which the challenger is the champion.

    Raises:
        ConfigurationError: there is no step, shares do not rise, or the last one is a shadow.
    """

    steps: tuple[Step, ...]
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.steps or self.steps[-1].shadow:
            raise ConfigurationError("plan: give at least one [[steps]], the last with a share above 0")
        if any(later.share <= earlier.share for earlier, later in pairwise(self.steps)):
            raise ConfigurationError("plan: the shares of the steps rise from one to the next; put them in order")

    @property
    def alpha_a_gate(self) -> float:
        """The part of alpha that each gate of each step may spend: all are at most alpha together (Bonferroni)."""
        n_gates = sum(len(SEQUENTIAL.intersection(step.gates)) for step in self.steps)
        return self.limits.alpha / max(n_gates, 1)

    def to_json(self) -> str:
        """As kept with the rollout, so that a file which is edited changes nothing that is under way."""
        written = dataclasses.asdict(self, dict_factory=lambda pairs: {k: one for k, one in pairs if one is not None})
        return json.dumps(written)

    @classmethod
    def from_json(cls, text: str) -> RolloutPlan:
        """The plan that `to_json` wrote."""
        return read_settings(cls, json.loads(text), "plan")


def shipped_plans() -> tuple[str, ...]:
    """Names of the plans that come with Holdfast."""
    names = (entry.name for entry in (resources.files("serving.rollouts") / "plans").iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def load_plan(name_or_path: str | Path = "default") -> RolloutPlan:
    """A shipped plan by its name, or one of your own by the path of its TOML file.

    Raises:
        ConfigurationError: there is none, it is not TOML, or a key is unknown or wrong; the message names it.
    """
    shipped = shipped_plans()
    if str(name_or_path) in shipped:
        with resources.as_file(resources.files("serving.rollouts") / "plans" / f"{name_or_path}{_SUFFIX}") as path:
            return read_settings(RolloutPlan, read_toml(path), "plan")
    path = Path(name_or_path)
    if path.suffix != _SUFFIX:
        raise ConfigurationError(f"there is no plan of that name; shipped: {', '.join(shipped)}, or give a .toml file")
    return read_settings(RolloutPlan, read_toml(path), "plan")
