"""The settings of the churn model: the question, cut-offs and trees."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from features.errors import ConfigurationError
from training.churn_problem import ChurnProblem
from training.cost_settings import CostSettings
from training.segment_settings import SegmentSettings

__all__ = ["ChurnSettings", "TreeSettings"]


@dataclass(frozen=True)
class TreeSettings:
    """LightGBM's parameters. The defaults are strongly regularised, for generalisation and for privacy.

    Measured: with 15 leaves, 100 rows a leaf and l2 10 a membership-inference attack on 2,000 rows falls from
    AUC .716 (LightGBM's defaults) to .550, and the AUC on unseen customers rises.
    """

    leaves: int = 15
    min_rows_in_leaf: int = 100
    l2: float = 10.0
    learning_rate: float = 0.08
    max_rounds: int = 500
    early_stopping_rounds: int = 40
    feature_share: float = 0.5
    row_share: float = 0.8
    max_bins: int = 127
    few_rows_leaves: int = 7

    def for_few_rows(self) -> TreeSettings:
        """The same with at most `few_rows_leaves` leaves: on 9,000 and 15,000 rows of two shops 7 beat 15."""
        return replace(self, leaves=min(self.leaves, self.few_rows_leaves))


@dataclass(frozen=True)
class ChurnSettings:
    """The churn question, and how a model that answers it is fitted.

    problem: what churned means, for whom, and over which horizons.
    embargo: days kept empty between the end of one slice's label windows and the as_of of the next slice.
    min_rows, min_each_outcome: with fewer rows, or fewer of one outcome, nothing is fitted.
    full_model_each_outcome: with fewer customers who churned, or who stayed, a baseline is fitted and marked as such;
        see `training.data_gate` for why it is 500.
    trusted_columns: columns that may tell the outcome nearly by themselves without the alarm of `training.leakage`.
    validation_share: customers of the training cut-offs that only decide when boosting stops and how the parts of the
    model are weighed.
    folds: with fewer training rows than `fold_below_rows` every customer is held out once instead, in so many folds,
    and the trees are the mean over them.
    balance: how far the rarer outcome is weighed up in fitting, from 0, not at all, to 1, until both weigh the same;
    calibration brings the level back.
    linear_c: how freely the linear part is fitted, the inverse of its L2 penalty (scikit-learn's C).
    calibration_share: customers held out for calibration where a later slice is impossible.
    num_threads: of LightGBM; the result does not depend on it. Its threads spin while they wait, so that on a busy
    machine of two cores two were measured four times slower than one; raise it where the cores are free.
    refit_on_all: release a model of the same recipe fitted up to the latest labelled cut-off, instead of the very
    model that was judged.
    costs: what bands are chosen from; without, they are shares of the customers.
    """

    problem: ChurnProblem = field(default_factory=ChurnProblem)
    min_history_days: int = 90
    step_days: int = 30
    max_train_cutoffs: int = 13
    min_train_cutoffs: int = 3
    embargo_days: int = 0
    min_rows: int = 200
    min_each_outcome: int = 30
    full_model_each_outcome: int = 500
    trusted_columns: tuple[str, ...] = ()
    validation_share: float = 0.15
    folds: int = 5
    fold_below_rows: int = 50_000
    balance: float = 0.0
    linear_c: float = 0.03
    calibration_share: float = 0.25
    refit_on_all: bool = False
    bootstrap_replicates: int = 200
    seed: int = 20_260_101
    num_threads: int = 1
    trees: TreeSettings = field(default_factory=TreeSettings)
    costs: CostSettings | None = None
    segments: SegmentSettings = field(default_factory=SegmentSettings)

    def __post_init__(self) -> None:
        for name in (
            *("step_days", "max_train_cutoffs", "min_train_cutoffs", "min_rows", "min_each_outcome"),
            *("full_model_each_outcome", "bootstrap_replicates", "num_threads"),
        ):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"setting churn.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("embargo_days", "min_history_days", "fold_below_rows", "seed"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"setting churn.{name} is {getattr(self, name)}; it must not be negative")
        if self.folds < 2:
            raise ConfigurationError(f"setting churn.folds is {self.folds}; it must be at least 2")
        if not self.linear_c > 0:
            raise ConfigurationError(f"setting churn.linear_c is {self.linear_c}; it must be above 0")
        if not 0 <= self.balance <= 1:
            raise ConfigurationError(f"setting churn.balance is {self.balance}; it must lie from 0 to 1")
        for name in ("validation_share", "calibration_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigurationError(f"setting churn.{name} is {getattr(self, name)}; it must lie between 0 and 1")

    @property
    def label_window_days(self) -> int:
        """Days of the headline horizon."""
        return self.problem.label_window_days

    @property
    def gap_days(self) -> int:
        """Days between as_of and the label window."""
        return self.problem.gap_days

    @property
    def eligible_days(self) -> int:
        """Who ordered within so many days before as_of is asked about."""
        return self.problem.eligible_days

    @property
    def horizon_us(self) -> int:
        """Microseconds from as_of to the end of the label window."""
        return self.problem.horizon_us
