"""What is looked at before anything is fitted: is there enough, may it be used, does it say nothing, or too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.feature_set import FeatureSet
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.data_gate import DataGate, check_data
from training.leakage import Leak, constant_columns, find_leaks
from training.sum_leakage import SumLeak
from training.training_set import TrainingSet

__all__ = ["Findings", "Screened", "screen"]

_NAMED = 5
_OF_THE_QUESTION = {"cycle": ("cycle_position_all", "overdue_days_all", "cycle_deviations_all")}
"""By kind, columns of which the question itself is made: that they tell much is no leak."""


@dataclass(frozen=True)
class Findings:
    """What was found in the training rows.

    barred: features that serve none of the allowed purposes. constant: columns with one value throughout. leaks:
    columns that tell the outcome. None of the three kinds is learnt from. sum_leak: columns that tell it together, in a
    table; they are learnt from.
    """

    gate: DataGate
    purposes: tuple[str, ...]
    barred: tuple[str, ...]
    constant: tuple[str, ...]
    leaks: tuple[Leak, ...]
    sum_leak: SumLeak | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that was found, in words; alarms come first."""
        found = [leak.sentence() for leak in self.leaks]
        if self.sum_leak is not None:
            found.append(self.sum_leak.sentence())
        found.append(self.gate.sentence())
        if self.barred:
            found.append(f"Not learnt from, as they do not serve {' or '.join(self.purposes)}: {_few(self.barred)}.")
        if self.constant:
            found.append(f"The same for everybody, so they tell nobody apart: {_few(self.constant)}.")
        return tuple(found)

    def tags(self) -> dict[str, str]:
        """What a run and a version say of the data they were made of."""
        alarms = [leak.column for leak in self.leaks]
        alarms += [f"sum of {', '.join(self.sum_leak.columns)}"] if self.sum_leak else []
        return {
            "gate": self.gate.sentence(),
            "baseline": "false" if self.gate.full else "true",
            "leakage_alarm": ", ".join(alarms) or "none",
            "features_barred": ", ".join(self.barred) or "none",
        }


@dataclass(frozen=True, eq=False)
class Screened:
    """Training rows in which what must not be learnt from is blank, and what was found."""

    rows: TrainingSet
    findings: Findings


def screen(rows: TrainingSet, settings: ChurnSettings, feature_set: FeatureSet | None = None) -> Screened:
    """Look at training rows before fitting, and blank the columns that tell the outcome.

    A blank column is read by no part of a model fitted on these rows, so rows to calibrate or score need no blanking.
    Without a feature set (a table's columns) no purpose is declared, and none is barred.

    Raises:
        NotEnoughDataError: all rows have one outcome, or there are too few even for a baseline.
    """
    problem = settings.problem
    barred = () if feature_set is None else problem.barred(feature_set)
    constant = tuple(name for name in constant_columns(rows) if name not in barred)
    gate = check_data(rows, settings)
    leaks = find_leaks(rows, settings.seed, trusted=(*settings.trusted_columns, *_question_columns(problem)))
    if leaks:
        values = rows.values.copy()
        values[:, np.isin(rows.feature_names, [leak.column for leak in leaks])] = np.nan
        rows = replace(rows, values=values)
    return Screened(rows, Findings(gate, problem.purposes, barred, constant, leaks))


def _question_columns(problem: ChurnProblem) -> tuple[str, ...]:
    return _OF_THE_QUESTION.get(problem.kind, ())


def _few(names: Sequence[str]) -> str:
    """The first names, and how many there are besides.

    >>> _few(["a", "b"]), _few(["a", "b", "c", "d", "e", "f", "g"])
    ('a, b', 'a, b, c, d, e and 2 others')
    """
    rest = len(names) - _NAMED
    listed = ", ".join(names[:_NAMED])
    return f"{listed} and {rest} other{'s' if rest > 1 else ''}" if rest > 0 else listed
