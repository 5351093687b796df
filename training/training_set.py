"""Labelled rows: features at a cut-off, and what became of the customer after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from features.compute import compute
from features.customer_view import CustomerView
from features.errors import DataError, NotEnoughDataError
from features.feature_set import FeatureSet
from features.instants import format_instant
from training.churn_settings import ChurnSettings
from training.labels import VALUE_DAYS, outcomes
from training.population import eligible

__all__ = ["TrainingSet", "build_training_set", "label_cutoff"]


@dataclass(frozen=True)
class TrainingSet:
    """Rows of one or more cut-offs; a customer may stand in several.

    values: float64 (n, f), NaN is missing; a column that may not be learnt from (see `ChurnProblem.purposes`) is NaN
        throughout.
    labels: bool (n,), True is churned by the longest horizon.
    customer_rows: int64 (n,), the customer's row in the view.
    as_of_us: int64 (n,).
    weights: float64 (n,), positive.
    event_days: float64 (n,), days from `as_of + gap` to the event that the question waits for; inf where it did not
        come within the longest horizon, NaN where a label column tells that it came, but not when.
    value_minor: float64 (n, 2), gross amount paid in `[as_of + gap, as_of + gap + d)`, d of `labels.VALUE_DAYS`; NaN
        where that window is not yet observed, or the input tells of no money.
    """

    feature_names: tuple[str, ...]
    fingerprint: str
    values: npt.NDArray[np.float64]
    labels: npt.NDArray[np.bool_]
    customer_rows: npt.NDArray[np.int64]
    as_of_us: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    event_days: npt.NDArray[np.float64]
    value_minor: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = self.labels.shape
        if self.event_days.shape != rows or self.value_minor.shape != (*rows, len(VALUE_DAYS)):
            raise DataError(
                f"{rows[0]} labels came with event_days of shape {self.event_days.shape} and value_minor of shape "
                f"{self.value_minor.shape}; both need one row a label"
            )

    @classmethod
    def of_table(
        cls,
        feature_names: tuple[str, ...],
        fingerprint: str,
        values: npt.NDArray[np.float64],
        labels: npt.NDArray[np.int8],
        places: npt.NDArray[np.int64],
        as_of_us: int,
    ) -> TrainingSet:
        """Customers of a labelled table, one row each: those at `places` of values (n, f) and labels (n,), 1 churned.

        A label tells that somebody left, not when, and the table of no money.
        """
        churned = labels[places] == 1
        return cls(
            feature_names=feature_names,
            fingerprint=fingerprint,
            values=np.ascontiguousarray(values[places]),
            labels=churned,
            customer_rows=places,
            as_of_us=np.full(places.size, as_of_us, np.int64),
            weights=np.ones(places.size),
            event_days=np.where(churned, np.nan, np.inf),
            value_minor=np.full((places.size, len(VALUE_DAYS)), np.nan),
        )

    @property
    def n_rows(self) -> int:
        """Rows, that is customers times the cut-offs at which they were eligible."""
        return int(self.labels.shape[0])

    @property
    def base_rate(self) -> float:
        """Weighted share that churned, in [0, 1]."""
        return float(np.average(self.labels, weights=self.weights))

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """The cut-offs present, ascending."""
        return tuple(int(cutoff) for cutoff in np.unique(self.as_of_us))

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> TrainingSet:
        """The rows chosen by a mask or by positions."""
        return TrainingSet(
            self.feature_names, self.fingerprint, **{name: getattr(self, name)[rows] for name in _BY_ROW}
        )

    def require(self, settings: ChurnSettings, purpose: str) -> None:
        """Refuse a set too small for its purpose.

        Raises:
            NotEnoughDataError: all rows have one outcome, or there are too few rows or too few of one outcome; the
                message gives the numbers.
        """
        n_churned = int(self.labels.sum())
        fewest = min(n_churned, self.n_rows - n_churned)
        if self.n_rows and not fewest:
            raise NotEnoughDataError(
                f"{purpose} has one outcome only: all {self.n_rows} rows {'churned' if n_churned else 'stayed'}; there "
                f"is nothing to tell apart. Check what counts as churn ({settings.problem.sentence()}) and that the "
                "data hold it, or take another horizon"
            )
        if self.n_rows < settings.min_rows or fewest < settings.min_each_outcome:
            raise NotEnoughDataError(
                f"{purpose} has {self.n_rows} rows, {n_churned} churned and {self.n_rows - n_churned} stayed; at least "
                f"{settings.min_rows} rows and {settings.min_each_outcome} of each outcome are needed; import more "
                "customers or a longer history"
            )

    def split_customers(self, share: float, rng: np.random.Generator) -> tuple[TrainingSet, TrainingSet]:
        """Rows of `1 - share` of the customers, and rows of the others; no customer is in both."""
        customers = np.unique(self.customer_rows)
        held_out = rng.permutation(customers)[: round(customers.size * share)]
        mask = np.isin(self.customer_rows, held_out)
        return self.take(~mask), self.take(mask)


def label_cutoff(
    view: CustomerView,
    feature_set: FeatureSet,
    as_of_us: int,
    settings: ChurnSettings,
    *,
    observed_until_us: int,
    known_us: int | None = None,
) -> TrainingSet:
    """The eligible customers of one cut-off, one row each; with `known_us`, labelled as was known then.

    Raises:
        NotEnoughDataError: nobody is eligible, or the label window is not yet observed.
    """
    found = outcomes(view, as_of_us, settings, observed_until_us=observed_until_us, known_us=known_us)
    rows = np.flatnonzero(eligible(view, as_of_us, settings)).astype(np.int64)
    if rows.size == 0:
        raise NotEnoughDataError(
            f"no customer ordered in the {settings.eligible_days} days before {format_instant(as_of_us)}"
            f"{_also(settings)}; raise eligible_days or take another cut-off"
        )
    table = compute(view, feature_set, as_of_us)
    if table.values.shape[0] != view.n_customers:
        raise DataError(f"the feature table has {table.values.shape[0]} rows for {view.n_customers} customers")
    values = np.ascontiguousarray(table.values[rows], dtype=np.float64)
    barred = settings.problem.barred(feature_set)
    values[:, np.isin(table.names, barred)] = np.nan
    return TrainingSet(
        feature_names=tuple(table.names),
        fingerprint=table.fingerprint,
        values=values,
        labels=found.churned[rows],
        customer_rows=rows,
        as_of_us=np.full(rows.size, as_of_us, dtype=np.int64),
        weights=np.ones(rows.size, dtype=np.float64),
        event_days=found.event_days[rows],
        value_minor=found.value_minor[rows],
    )


def build_training_set(
    view: CustomerView,
    feature_set: FeatureSet,
    cutoffs: Sequence[int],
    settings: ChurnSettings,
    *,
    observed_until_us: int,
    known_us: int | None = None,
) -> TrainingSet:
    """The labelled rows of several cut-offs, in the order of the cut-offs; with `known_us`, as was known then.

    Raises:
        NotEnoughDataError: a cut-off has nobody eligible or no whole label window, or none is given.
    """
    parts = [
        label_cutoff(view, feature_set, cutoff, settings, observed_until_us=observed_until_us, known_us=known_us)
        for cutoff in cutoffs
    ]
    if not parts:
        raise NotEnoughDataError("0 cut-offs were given; at least 1 is needed")
    return TrainingSet(
        parts[0].feature_names,
        parts[0].fingerprint,
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _BY_ROW},
    )


def _also(settings: ChurnSettings) -> str:
    """What else was asked of eligible customers, in words."""
    problem = settings.problem
    orders = f", or had {problem.min_orders} orders" if problem.min_orders > 1 else ""
    gone = ", or all had left already" if problem.kind in {"cycle", "cancel"} else ""
    return orders + gone


_BY_ROW = tuple(column.name for column in fields(TrainingSet) if column.name not in {"feature_names", "fingerprint"})
