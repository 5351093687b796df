"""A churn question, written down: who is asked about, what counts as leaving, until when, and from which features."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from features.errors import ConfigurationError
from features.feature_set import PURPOSES, FeatureSet
from features.instants import DAY_US
from features.settings import read_settings, read_toml

__all__ = ["KINDS_OF_CHURN", "Awaits", "ChurnProblem", "load_problem", "problem_of", "shipped_problems"]

Awaits = Literal["return", "churn"]

KINDS_OF_CHURN = ("silence", "cycle", "cancel", "label")
"""What leaving can mean: no order; a silence longer than the customer's own cycle; a cancel event; a given label."""

_LONGEST_DAYS = 3_650


@dataclass(frozen=True)
class ChurnProblem:
    """One churn question. T is the time, in days from `as_of + gap`, until the event that the question waits for.

    kind: what leaving means.
        `silence` - no order in the window. It waits for the next order: churned at horizon h if, and only if, T >= h.
        `cycle` - a silence longer than `cycle_factor` of the customer's own cycle, the mean of the days between their
        orders as known at as_of. It waits for the moment at which that silence is reached: churned at h if T < h.
        `cancel` - a cancel event. It waits for it: churned at h if T < h.
        `label` - the column `label_column` of a table of customers; `id_column` names the customer.
    horizons_days: ascending; windows `[as_of + gap, as_of + gap + h)`. The last is the headline: labels,
        probabilities and bands answer for it. A label column tells of one horizon only.
    gap_days: kept for acting. Who leaves within it has left when the window opens (T = 0); an order within it is no
        return.
    eligible_days, min_orders: who is asked about: an order in `[as_of - eligible_days, as_of)`, and at least so many
        orders ever, as known at as_of; and, for `cycle` and `cancel`, not gone already.
    cycle_factor, cycle_least_days, cycle_most_days: the own cycle counts as at least and at most so many days.
    cycle_first_days: the cycle of a customer with one order, who has none of their own yet.
    purposes: a feature that serves none of them is not learnt from; its column is blanked.

    Raises:
        ConfigurationError: a value is out of its range; the message names it.
    """

    name: str = "silence"
    kind: str = "silence"
    horizons_days: tuple[int, ...] = (30, 60, 90)
    gap_days: int = 0
    eligible_days: int = 180
    min_orders: int = 1
    cycle_factor: float = 2.0
    cycle_least_days: float = 14.0
    cycle_most_days: float = 90.0
    cycle_first_days: float = 45.0
    label_column: str = ""
    id_column: str = ""
    purposes: tuple[str, ...] = ("churn",)

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise _refused("name", "empty", "a short word that names the question")
        if self.kind not in KINDS_OF_CHURN:
            raise _refused("kind", repr(self.kind), f"one of {', '.join(KINDS_OF_CHURN)}")
        _check_times(self)
        _check_cycle(self)
        _check_purposes(self.purposes)
        if self.kind == "label":
            if not self.label_column:
                raise _refused(
                    "label_column", "empty", "the column that says who churned, for a question of kind label"
                )
            if len(self.horizons_days) != 1:
                raise _refused("horizons_days", str(list(self.horizons_days)), "one horizon: a label tells of one only")

    @property
    def awaits(self) -> Awaits:
        """What happens at T: the customer's return (then a later horizon is less churn), or churn itself."""
        return "return" if self.kind == "silence" else "churn"

    @property
    def label_window_days(self) -> int:
        """Days of the headline horizon, the longest."""
        return self.horizons_days[-1]

    @property
    def horizon_us(self) -> int:
        """Microseconds from as_of to the end of the longest window."""
        return (self.gap_days + self.label_window_days) * DAY_US

    def over(self, horizon_days: int, gap_days: int) -> ChurnProblem:
        """The same question with another headline horizon and gap; shorter horizons stay.

        >>> ChurnProblem().over(60, 7).horizons_days
        (30, 60)
        """
        shorter = tuple(days for days in self.horizons_days if days < horizon_days)
        shown = () if self.kind == "label" else shorter
        return replace(self, horizons_days=(*shown, horizon_days), gap_days=gap_days)

    def asks_the_same(self, other: ChurnProblem) -> bool:
        """Whether both label the same customers in the same way, whatever they are called and learn from."""
        return replace(other, name=self.name, purposes=self.purposes) == self

    def to_json(self) -> str:
        """All fields as JSON, to be kept beside a model."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ChurnProblem:
        """The question that `to_json` wrote.

        Raises:
            ConfigurationError: a key is unknown or wrong.
        """
        return read_settings(cls, json.loads(text), "problem")

    def barred(self, feature_set: FeatureSet) -> tuple[str, ...]:
        """Names of the features that serve none of the allowed purposes; nothing is learnt from them."""
        allowed = set(self.purposes)
        return tuple(feature.name for feature in feature_set if not allowed.intersection(feature.purposes))

    def sentence(self) -> str:
        """What churned means here, for people.

        >>> ChurnProblem(gap_days=7).sentence()
        'no order in the 90 days that begin 7 days after as_of'
        """
        days = self.label_window_days
        start = f"that begin {self.gap_days} days after as_of" if self.gap_days else "from as_of"
        if self.kind == "silence":
            return f"no order in the {days} days {start}"
        if self.kind == "cycle":
            return (
                f"silent for more than {self.cycle_factor:g} of the customer's own order cycles, at some time in the "
                f"{days} days {start}"
            )
        if self.kind == "cancel":
            return f"a cancellation in the {days} days {start}"
        return f"column {self.label_column} says so"


def problem_of(provenance: Mapping[str, Any]) -> ChurnProblem | None:
    """The question that a release's churn model answers, by the manifest's provenance; None where it does not say.

    Raises:
        ConfigurationError: a key of it is unknown or wrong.
    """
    told = provenance.get("churn")
    text = told.get("question") if isinstance(told, Mapping) else None
    return ChurnProblem.from_json(text) if isinstance(text, str) else None


def shipped_problems() -> tuple[str, ...]:
    """Names of the churn questions that come with Holdfast."""
    folder = resources.files("training") / "problems"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load_problem(name_or_path: str | Path) -> ChurnProblem:
    """A shipped question by its name, or one of your own by the path of its TOML file.

    Raises:
        ConfigurationError: there is none, it is not TOML, or a key is unknown or wrong; the message names it.
    """
    shipped = shipped_problems()
    if str(name_or_path) in shipped:
        with resources.as_file(resources.files("training") / "problems" / f"{name_or_path}.toml") as path:
            return read_settings(ChurnProblem, read_toml(path), "problem")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise ConfigurationError(
            f"there is no churn problem {path.name}; shipped: {', '.join(shipped)}, or give a .toml file"
        )
    return read_settings(ChurnProblem, read_toml(path), "problem")


def _check_times(problem: ChurnProblem) -> None:
    horizons = problem.horizons_days
    if not horizons or list(horizons) != sorted(set(horizons)):
        raise _refused("horizons_days", str(list(horizons)), "one or more numbers of days, ascending")
    if horizons[0] < 1 or horizons[-1] > _LONGEST_DAYS:
        raise _refused("horizons_days", str(list(horizons)), f"days from 1 to {_LONGEST_DAYS}")
    if not 0 <= problem.gap_days <= _LONGEST_DAYS:
        raise _refused("gap_days", str(problem.gap_days), f"0 to {_LONGEST_DAYS}; it must not be negative")
    for name in ("eligible_days", "min_orders"):
        if getattr(problem, name) < 1:
            raise _refused(name, str(getattr(problem, name)), "at least 1")


def _check_cycle(problem: ChurnProblem) -> None:
    if not (math.isfinite(problem.cycle_factor) and problem.cycle_factor >= 1):
        raise _refused("cycle_factor", f"{problem.cycle_factor:g}", "at least 1: within one cycle nobody is late")
    bounds = (problem.cycle_least_days, problem.cycle_first_days, problem.cycle_most_days)
    if not (0 < bounds[0] <= bounds[1] <= bounds[2] <= _LONGEST_DAYS):
        raise ConfigurationError(
            f"churn problem: cycle_least_days, cycle_first_days and cycle_most_days are {bounds[0]:g}, {bounds[1]:g} "
            f"and {bounds[2]:g}; they must be above 0, in ascending order, and at most {_LONGEST_DAYS}"
        )


def _check_purposes(purposes: tuple[str, ...]) -> None:
    unknown = sorted(set(purposes) - set(PURPOSES))
    if unknown or not purposes:
        raise _refused("purposes", str(list(purposes)), f"some of {', '.join(PURPOSES)}")


def _refused(name: str, value: str, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"churn problem: {name} is {value}; write {wanted}")
