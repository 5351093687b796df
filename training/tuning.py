"""Seeded search for better settings with Optuna, inside the training rows alone, within a time budget.

The first trial is the settings as they are. Trials run one after the other, so that a seed and a number of trials give
the same result every time; a time budget makes the number, and so the result, depend on the machine.

Source: Bergstra, Bardenet, Bengio and Kegl 2011, Algorithms for Hyper-Parameter Optimization (the tree-structured
Parzen estimator, as Optuna's TPESampler has it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna

from training.churn import fit_margins
from training.churn_settings import ChurnSettings
from training.training_set import TrainingSet
from training.tuned import StoppedBy, Trial, Tuned, TuningSettings
from training.tuning_validation import FitMargins, Validation, validation_of

__all__ = ["SEARCHED", "Searched", "tune_churn"]

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Searched:
    """One parameter: the range that is searched, ends included, and its scale."""

    low: float
    high: float
    log: bool = True
    whole: bool = False

    def suggest(self, trial: optuna.Trial, name: str) -> float:
        """The value that the sampler wants to try."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def clipped(self, value: float) -> float:
        """A value given, brought into the range, so that the search can start from it."""
        return min(max(value, self.low), self.high)


_LINEAR = "linear_c"
_MANY = 1 << 62

SEARCHED: Mapping[str, Searched] = {
    "leaves": Searched(4, 48, whole=True),
    "min_rows_in_leaf": Searched(20, 500, whole=True),
    "l2": Searched(0.1, 100.0),
    "learning_rate": Searched(0.02, 0.2),
    "feature_share": Searched(0.2, 1.0, log=False),
    _LINEAR: Searched(0.001, 1.0),
}
"""What is searched: settings of the trees, and the freedom of the linear part. Few on purpose: with more of them, the
best of forty trials is the luckiest."""


def tune_churn(
    rows: TrainingSet,
    settings: ChurnSettings,
    *,
    tuning: TuningSettings,
    elapsed_seconds: Callable[[], float],
    progress: Callable[[str], None],
    fit: FitMargins = fit_margins,
) -> Tuned:
    """Search for settings with a lower log-loss on rows not fitted on; Ctrl-C ends the search and keeps the best.

    Args:
        rows: the training rows; no other rows are looked at.
        settings: to start from.
        tuning: how long is searched.
        elapsed_seconds: a clock that starts anywhere.
        progress: told of every trial.
        fit: from rows and settings to margins.

    Raises:
        KeyboardInterrupt: Ctrl-C came before the first trial had ended, so that nothing is known.
    """
    few = rows.n_rows < settings.fold_below_rows
    search = _Search(settings, tuning, validation_of(rows, settings, tuning), fit, elapsed_seconds, progress, few=few)
    stopped_by = search.run()
    best = min(search.trials, key=lambda trial: trial.log_loss)
    gain, error = _gain(search.losses[0], search.losses[best.number], search.validation.customers)
    tuned = Tuned(settings, tuple(search.trials), best, gain, error, stopped_by, search.validation.by, rows.n_rows)
    return replace(tuned, settings=_with(settings, best.parameters)) if tuned.adopted else tuned


class _Search:
    """One search under way."""

    def __init__(
        self,
        settings: ChurnSettings,
        tuning: TuningSettings,
        validation: Validation,
        fit: FitMargins,
        clock: Callable[[], float],
        progress: Callable[[str], None],
        *,
        few: bool,
    ) -> None:
        self.validation = validation
        self.trials: list[Trial] = []
        self.losses: list[Array] = []
        self._settings, self._tuning, self._fit = settings, tuning, fit
        self._clock, self._progress, self._few = clock, progress, few
        self._started = clock()
        self._longest = 0.0

    def run(self) -> StoppedBy:
        """Try one set of parameters after the other, until there were enough, time is up, or Ctrl-C."""
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=self._settings.seed % (1 << 32)))
            study.enqueue_trial(_parameters(self._settings, self._few))
            while len(self.trials) < self._tuning.trials:
                if self.trials and self._out_of_time():
                    return "time"
                self._try_one(study)
        except KeyboardInterrupt:
            if not self.trials:
                raise
            self._progress(f"tuning ended by Ctrl-C; the best of {len(self.trials)} is kept (again: end the training)")
            return "ctrl-c"
        finally:
            optuna.logging.set_verbosity(level)
        return "trials"

    def _try_one(self, study: optuna.Study) -> None:
        began = self._clock()
        asked = study.ask()
        parameters = {name: searched.suggest(asked, name) for name, searched in SEARCHED.items()}
        tried = self._settings if not self.trials else _with(self._settings, parameters)
        # parts of the rows are fitted by the recipe that all of them will be fitted by
        recipe = replace(tried, fold_below_rows=_MANY if self._few else 0)
        losses = self.validation.losses(self._fit, recipe)
        study.tell(asked, float(losses.mean()))
        self.trials.append(Trial(len(self.trials), parameters, float(losses.mean())))
        self.losses.append(losses)
        self._longest = max(self._longest, self._clock() - began)
        self._say()

    def _out_of_time(self) -> bool:
        limit = self._tuning.minutes * 60.0
        return limit > 0 and self._clock() - self._started + self._longest > limit

    def _say(self) -> None:
        last, best = self.trials[-1], min(self.trials, key=lambda trial: trial.log_loss)
        minutes = (self._clock() - self._started) / 60.0
        budget = f" of {self._tuning.minutes:g}" if self._tuning.minutes else ""
        self._progress(
            f"trial {last.number + 1} of {self._tuning.trials}: log-loss {last.log_loss:.4f}, best {best.log_loss:.4f} "
            f"(trial {best.number + 1}); {minutes:.1f}{budget} minutes"
        )


def _parameters(settings: ChurnSettings, few: bool) -> dict[str, float]:
    """Those searched, as they are in the settings, brought into the range; `few`: as few rows are fitted."""
    trees = settings.trees.for_few_rows() if few else settings.trees
    found = {name: getattr(trees, name) for name in SEARCHED if name != _LINEAR} | {_LINEAR: settings.linear_c}
    return {name: searched.clipped(found[name]) for name, searched in SEARCHED.items()}


def _with(settings: ChurnSettings, parameters: Mapping[str, float]) -> ChurnSettings:
    trees: dict[str, Any] = {name: value for name, value in parameters.items() if name != _LINEAR}
    trees["few_rows_leaves"] = trees["leaves"]  # what is found holds for as many rows as there are
    return replace(settings, trees=replace(settings.trees, **trees), linear_c=parameters[_LINEAR])


def _gain(before: Array, after: Array, customers: npt.NDArray[np.int64]) -> tuple[float, float]:
    """How much lower the mean loss became, and its standard error over customers."""
    less = before - after
    gain = float(less.mean())
    _, place = np.unique(customers, return_inverse=True)
    by_customer = np.bincount(place, weights=less - gain)
    n = by_customer.size
    error = math.sqrt(float(by_customer @ by_customer) * n / max(n - 1, 1)) / less.size
    return gain, error
