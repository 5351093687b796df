"""The data gate: is there enough to learn from? In words, with the numbers.

Below the gate a baseline is fitted and marked as such; far below it nothing is. Counted are customers, not rows: the
same customer at thirteen cut-offs tells little more than once.

Why 500 of each outcome. With 500 and 500 customers the standard error of an AUC of .75 is .015, so a report can tell
.75 from .70; with 100 and 100 it is .034 and cannot (Hanley and McNeil 1982, equation 1). The model itself needs less:
on samples of three shops it had a lower log-loss than recency alone from about 100 of each on. Who trusts that more
than a report lowers `churn.full_model_each_outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.training_set import TrainingSet

__all__ = ["DataGate", "check_data"]


@dataclass(frozen=True)
class DataGate:
    """What there is to learn from: distinct customers, by whether they ever churned or ever stayed.

    A customer can be both, at different cut-offs. needed: of each, for the full model.
    """

    n_customers: int
    n_churners: int
    n_stayers: int
    needed: int
    problem: ChurnProblem

    @property
    def full(self) -> bool:
        """Whether there is enough for the full model."""
        return min(self.n_churners, self.n_stayers) >= self.needed

    def sentence(self) -> str:
        """What was found, what is needed, and what to do."""
        found = f"{self.n_churners:,} churners and {self.n_stayers:,} stayers among {self.n_customers:,} customers"
        if self.full:
            return f"Enough to learn from: {found}; {self.needed:,} of each are needed."
        short = [
            f"{count:,} {name}, need {self.needed:,}"
            for name, count in (("churners", self.n_churners), ("stayers", self.n_stayers))
            if count < self.needed
        ]
        rule = "a logistic model" if self.problem.kind == "label" else "days since the last order"
        return f"{'; '.join(short)}; {self._advice()}. Meanwhile a baseline answers: {rule} alone."

    def _advice(self) -> str:
        if self.problem.kind == "label":
            return "add customers of whom the label is known"
        # a silence is rarer the longer it must be; a churn that is waited for is likelier the longer one waits
        too_few_churners = self.n_churners < self.n_stayers
        shorten = too_few_churners == (self.problem.awaits == "return")
        return f"extend the history or {'shorten' if shorten else 'lengthen'} the horizon"


def check_data(rows: TrainingSet, settings: ChurnSettings) -> DataGate:
    """What `rows`, the training rows, hold.

    Raises:
        NotEnoughDataError: all rows have one outcome, or there are too few even for a baseline.
    """
    rows.require(settings, "the training set")
    return DataGate(
        n_customers=_distinct(rows, np.ones(rows.n_rows, np.bool_)),
        n_churners=_distinct(rows, rows.labels),
        n_stayers=_distinct(rows, ~rows.labels),
        needed=settings.full_model_each_outcome,
        problem=settings.problem,
    )


def _distinct(rows: TrainingSet, mask: npt.NDArray[np.bool_]) -> int:
    return int(np.unique(rows.customer_rows[mask]).size)
