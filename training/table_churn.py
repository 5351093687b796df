"""From a table of customers with a label to a churn model, judged on customers kept apart, beside its baselines.

A table knows one instant and no history: customers stand in for time. Who judges is told by a hash of the pseudonym, so
that two models of one shop are judged on customers whom neither has learnt from, however the table has grown since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from features.errors import DataError
from features.labelled_table import EncodedTable
from training.band_costs import bands_for
from training.boosting import Growing, bin_rows
from training.calibration import fit_calibrator
from training.churn import fit_churn
from training.churn_baselines import Baseline
from training.churn_evaluation import ChurnTraining, Fitted
from training.churn_judging import judge_churn
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings, TreeSettings
from training.cutoffs import TimeSplit
from training.drift import drift_reference
from training.linear_part import fit_linear_part
from training.log_data import Progress, silent
from training.release_settings import BandSettings
from training.screening import Screened, screen
from training.sum_leakage import find_sum_leak
from training.training_set import TrainingSet

__all__ = ["fit_table_baselines", "judges", "screen_table", "table_problem", "table_rows", "train_table"]

Array = npt.NDArray[np.float64]
Margins = Callable[[Array], Array]
Categories = Mapping[str, tuple[str, ...]]

JUDGED_SHARE = 0.2
"""Customers who are kept out of fitting, to judge by."""

_DEFAULTS = TreeSettings(
    leaves=31, min_rows_in_leaf=20, l2=0.0, learning_rate=0.1, feature_share=1.0, row_share=1.0, max_bins=255
)
_DEFAULT_ROUNDS = 100
_PLAIN_PENALTY = 1.0
_FOLDS = 5


def table_problem(label_column: str, id_column: str, horizon_days: int) -> ChurnProblem:
    """The question that a label column answers, within the days that whoever made the label looked ahead."""
    return ChurnProblem(
        name="label", kind="label", horizons_days=(horizon_days,), label_column=label_column, id_column=id_column
    )


def table_rows(table: EncodedTable, labels: npt.NDArray[np.int8], as_of_us: int) -> TrainingSet:
    """Customers whose label is known, one row each; `customer_rows` are their places in the table.

    Raises:
        DataError: there are other numbers of labels and rows.
    """
    if labels.shape != table.values.shape[:1]:
        raise DataError(f"{table.values.shape[0]} rows came with {labels.size} labels")
    places = np.flatnonzero(labels >= 0).astype(np.int64)
    features = table.features
    return TrainingSet.of_table(features.names, features.fingerprint(), table.values, labels, places, as_of_us)


def judges(customer_keys: Sequence[str], share: float = JUDGED_SHARE) -> npt.NDArray[np.bool_]:
    """Who is kept apart to judge by, bool (n,): always the same customers, whoever else is in the table.

    >>> keys = [f"k1:{number:032x}" for number in range(2_000)]
    >>> bool((judges(keys)[:500] == judges(keys[:500])).all()), round(float(judges(keys).mean()), 1)
    (True, 0.2)
    """
    limit = int(share * 2**64)
    drawn = (hashlib.sha256(b"judges\0" + key.encode()).digest()[:8] for key in customer_keys)
    return np.array([int.from_bytes(one, "big") < limit for one in drawn], dtype=np.bool_)


def train_table(
    table: EncodedTable,
    labels: npt.NDArray[np.int8],
    customer_keys: Sequence[str],
    settings: ChurnSettings,
    *,
    as_of_us: int,
    progress: Progress = silent,
) -> ChurnTraining:
    """Fit, calibrate, judge on customers kept apart, and give the model to release.

    Args:
        table: the values of n customers.
        labels: int8 (n,), 1 churned, 0 stayed, -1 not known.
        customer_keys: their pseudonyms.
        settings: of which `problem` is of kind label.
        as_of_us: when the table was written.
        progress: told what is done next.

    Raises:
        NotEnoughDataError: there are too few customers, or too few of one outcome, to fit or to judge.
    """
    rows = table_rows(table, labels, as_of_us)
    kept_apart = judges([customer_keys[place] for place in rows.customer_rows.tolist()])
    fitting, judging = rows.take(~kept_apart), rows.take(kept_apart)
    fitting.require(settings, "the training set")
    judging.require(settings, "the customers kept apart to judge by")
    categories = table.features.categories
    split = TimeSplit((as_of_us,), as_of_us, as_of_us, "cross_fitted")
    fitted = _fit(fitting, settings, categories, progress)
    progress("judging on the customers kept apart")
    report = judge_churn(
        fitted.model,
        fitted.bands,
        fitted.baselines,
        judging,
        split,
        settings,
        np.array(customer_keys, object),
        reference=fitted.reference,
    )
    if settings.refit_on_all:
        fitted = _fit(rows, settings, categories, progress)
    return ChurnTraining.of(fitted, report, split, refit=settings.refit_on_all)


def screen_table(rows: TrainingSet, settings: ChurnSettings, categories: Categories) -> Screened:
    """As `training.screening.screen`, with the alarm for sums of the columns that are numbers.

    Raises:
        NotEnoughDataError: all rows have one outcome, or there are too few even for a baseline.
    """
    screened = screen(rows, settings)
    numbers = [name for name in rows.feature_names if name not in categories]
    found = find_sum_leak(screened.rows, settings.seed, numbers=numbers, trusted=settings.trusted_columns)
    return replace(screened, findings=replace(screened.findings, sum_leak=found))


def fit_table_baselines(rows: TrainingSet, settings: ChurnSettings, categories: Categories) -> tuple[Baseline, ...]:
    """What would be used instead: a plain logistic model, and LightGBM as it comes, both calibrated on folds."""
    coded = {rows.feature_names.index(name): len(texts) for name, texts in categories.items()}

    def logistic(part: TrainingSet) -> Margins:
        return fit_linear_part(part.values, part.labels, part.weights, categories=coded, c=_PLAIN_PENALTY).margins

    def defaults(part: TrainingSet) -> Margins:
        binned = bin_rows(
            part.values,
            part.feature_names,
            max_bins=_DEFAULTS.max_bins,
            num_threads=settings.num_threads,
            categories=coded,
        )
        level = np.full(part.n_rows, np.log(part.base_rate / (1.0 - part.base_rate)))
        every, target = np.arange(part.n_rows), part.labels.astype(np.float64)
        growing = Growing(binned, every, target, part.weights, level, _DEFAULTS, seed=0)
        growing.grow(_DEFAULT_ROUNDS, part.values[:1])
        trees, start = growing.trees(_DEFAULT_ROUNDS), float(level[0])
        return lambda values: start + trees.margins(values)

    return (
        _calibrated("logistic", "logistic regression on all columns", logistic, rows),
        _calibrated("lightgbm_defaults", "LightGBM with its default settings", defaults, rows),
    )


def _calibrated(name: str, meaning: str, fit: Callable[[TrainingSet], Margins], rows: TrainingSet) -> Baseline:
    """Fitted on all rows; calibrated on what the same fit says of each fifth without it."""
    said = np.empty(rows.n_rows)
    fold = np.arange(rows.n_rows) % _FOLDS
    for one in range(_FOLDS):
        said[fold == one] = fit(rows.take(fold != one))(rows.values[fold == one])
    calibrator = fit_calibrator(said, rows.labels, rows.weights)
    return Baseline(name, meaning, fit(rows), calibrator, held_out=calibrator.probabilities(said))


def _fit(rows: TrainingSet, settings: ChurnSettings, categories: Categories, progress: Progress) -> Fitted:
    progress("looking at the columns")
    screened = screen_table(rows, settings, categories)
    gate = screened.findings.gate
    model = fit_churn(screened.rows, None, settings, categories=categories, baseline=not gate.full, progress=progress)
    progress("fitting the baselines")
    return Fitted(
        model=model,
        bands=bands_for(None, settings.costs, model.reference, BandSettings()),
        losses=None,
        baselines=fit_table_baselines(screened.rows, settings, categories),
        n_training_rows=rows.n_rows,
        n_calibration_rows=rows.n_rows,
        # the reference holds what was said of customers held out, which fitted ones would flatter
        reference=drift_reference(
            rows.values, model.reference, rows.feature_names, rows.fingerprint, categories=tuple(categories)
        ),
        findings=screened.findings,
        tuned=None,
    )
