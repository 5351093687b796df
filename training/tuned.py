"""What tuning gives: the settings to fit with, every trial, and why it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from features.errors import ConfigurationError
from training.churn_settings import ChurnSettings
from training.training_set import TrainingSet

__all__ = ["StoppedBy", "Trial", "Tuned", "Tuner", "TuningSettings"]

StoppedBy = Literal["trials", "time", "ctrl-c"]


@dataclass(frozen=True)
class TuningSettings:
    """How long is searched, and on how much.

    trials: at most so many, the first one with the settings as they are. minutes: no trial is begun that would end
    later, judged by the longest so far; 0 is no limit, so that a fixed number of trials gives the same on any machine.
    max_rows: of the training rows; whole customers are drawn from more. folds: of customers, where no later cut-off
    can validate.
    """

    trials: int = 40
    minutes: float = 5.0
    max_rows: int = 50_000
    folds: int = 3

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("max_rows", 1_000), ("folds", 2), ("minutes", 0)):
            if not getattr(self, name) >= least:
                raise ConfigurationError(f"setting tuning.{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class Trial:
    """One set of parameters and the mean log-loss of calibrated probabilities of rows that it was not fitted on."""

    number: int
    parameters: Mapping[str, float]
    log_loss: float


@dataclass(frozen=True)
class Tuned:
    """The outcome of a search.

    settings: to fit with; those that were given where no trial was better by more than one standard error.
    gain, gain_error: how much lower the best trial's log-loss is than that of the settings given, on the same rows,
        and the standard error of that, over customers.
    validated_by: "later_cutoff" or "customers".
    """

    settings: ChurnSettings
    trials: tuple[Trial, ...]
    best: Trial
    gain: float
    gain_error: float
    stopped_by: StoppedBy
    validated_by: str
    n_rows: int = field(default=0)

    @property
    def adopted(self) -> bool:
        """Whether the best trial's parameters are fitted with, rather than those given."""
        return self.gain > self.gain_error

    @property
    def sentence(self) -> str:
        """What came of it, in words."""
        ended = {"trials": "", "time": ", ended by the time budget", "ctrl-c": ", ended by Ctrl-C"}[self.stopped_by]
        searched = f"Tuning tried {len(self.trials)} settings{ended}"
        gain = f"{self.gain:.4f} (standard error {self.gain_error:.4f})"
        if not self.adopted:
            return f"{searched}; none had a lower log-loss by more than chance explains: the best by {gain}. Kept."
        chosen = ", ".join(f"{name} {value:.3g}" for name, value in self.best.parameters.items())
        return f"{searched} and lowered the log-loss on rows not fitted on by {gain}: {chosen}."

    def metrics(self) -> dict[str, float]:
        """The figures for tracking."""
        return {
            "n_trials": float(len(self.trials)),
            "log_loss_given": self.trials[0].log_loss,
            "log_loss_best": self.best.log_loss,
            "gain": self.gain,
            "gain_error": self.gain_error,
        }

    def rows(self) -> list[dict[str, float]]:
        """One row a trial, for a table."""
        return [{"trial": trial.number, "log_loss": trial.log_loss, **trial.parameters} for trial in self.trials]


Tuner = Callable[[TrainingSet, ChurnSettings], Tuned]
"""Search on training rows, starting from settings."""
