"""Judge a churn model forward in time, with the very scorer that the service calls; and the whole road to one.

The model that is judged saw nothing from the test cut-off on: its training label windows end before the calibration
slice (or, where the log is short, before the test with customers held out), and calibration ends before the test. An
order that occurred before the test cut-off and was recorded later is in none of its labels.
By default the model that was judged is the model that is released. With `refit_on_all` the released one is of the same
recipe, fitted up to the latest labelled cut-off, and the report's figures are those of its judged predecessor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.feature_set import FeatureSet
from features.instants import format_instant
from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.scoring import score_churn
from training.churn import choose_bands, fit_churn
from training.churn_baselines import Baseline, fit_baselines
from training.churn_metrics import (
    Interval,
    Ranking,
    auc,
    average_precision,
    bootstrap_over_customers,
    brier,
    expected_calibration_error,
    lift_by_decile,
)
from training.churn_report import ChurnFigures, ChurnReport, Comparison, ScoredSlice
from training.churn_settings import ChurnSettings
from training.cutoffs import TimeSplit, observed_span, rolling_cutoffs, split_in_time
from training.training_set import TrainingSet, build_training_set, label_cutoff

__all__ = [
    "ChurnBacktest",
    "ChurnTraining",
    "backtest_churn",
    "judge_churn",
    "train_churn",
]

Array = npt.NDArray[np.float64]
OURS = "churn_model"


@dataclass(frozen=True, eq=False)
class ChurnTraining:
    """A model to release, its bands, and the report on it (or, if `refit`, on its judged predecessor)."""

    model: ChurnModel
    bands: Bands
    report: ChurnReport
    split: TimeSplit
    refit: bool
    n_training_rows: int
    n_calibration_rows: int


@dataclass(frozen=True, eq=False)
class ChurnBacktest:
    """Reports of several cut-offs, ascending, each from models fitted as of then; `skipped` says which not, and why."""

    reports: tuple[ChurnReport, ...]
    skipped: tuple[tuple[int, str], ...]

    def rows(self) -> list[dict[str, object]]:
        """One row a cut-off and model, for a table."""
        return [
            {
                "as_of": format_instant(report.as_of_us),
                "model": figures.model,
                "customers": report.n_customers,
                "base_rate": report.base_rate,
                "auc": figures.auc,
                "average_precision": figures.average_precision,
                "brier": figures.brier,
                "ece": figures.ece,
                "calibration_by": report.split.calibration_by,
            }
            for report in self.reports
            for figures in report.figures
        ]


@dataclass(frozen=True, eq=False)
class _Fitted:
    model: ChurnModel
    bands: Bands
    baselines: tuple[Baseline, ...]
    n_training_rows: int
    n_calibration_rows: int


def train_churn(
    view: CustomerView, feature_set: FeatureSet, settings: ChurnSettings, *, observed_until_us: int | None = None
) -> ChurnTraining:
    """Choose cut-offs, fit, calibrate, judge at the latest labelled cut-off, and give the model to release.

    `view` is all that is known; `observed_until_us` is the exclusive end of the log, by default its last event.

    Raises:
        NotEnoughDataError: the log is too short or holds too few customers; the message gives the numbers.
    """
    first_us, last_us = observed_span(view)
    end_us = last_us if observed_until_us is None else observed_until_us
    split = split_in_time(first_us, end_us, settings)
    fitted = _fit(view, feature_set, split, settings, end_us)
    report = _judge(view, feature_set, split, fitted, settings, end_us)
    if settings.refit_on_all:
        split = split_in_time(first_us, end_us, settings, judged=False)
        fitted = _fit(view, feature_set, split, settings, end_us)
    return ChurnTraining(
        model=fitted.model,
        bands=fitted.bands,
        report=report,
        split=split,
        refit=settings.refit_on_all,
        n_training_rows=fitted.n_training_rows,
        n_calibration_rows=fitted.n_calibration_rows,
    )


def backtest_churn(
    view: CustomerView,
    feature_set: FeatureSet,
    settings: ChurnSettings,
    cutoffs: Sequence[int] | None = None,
    *,
    observed_until_us: int | None = None,
) -> ChurnBacktest:
    """Refit and judge at each of several cut-offs, as if it were then; by default all that can be labelled.

    Cut-offs without enough history before them are skipped and named.

    Raises:
        NotEnoughDataError: every cut-off was skipped; the message gives the last reason.
    """
    first_us, last_us = observed_span(view)
    end_us = last_us if observed_until_us is None else observed_until_us
    chosen = rolling_cutoffs(first_us, end_us, settings) if cutoffs is None else tuple(sorted(cutoffs))
    reports: list[ChurnReport] = []
    skipped: list[tuple[int, str]] = []
    for cutoff in chosen:
        try:
            split = split_in_time(first_us, end_us, settings, test_us=cutoff)
            fitted = _fit(view, feature_set, split, settings, end_us)
            reports.append(_judge(view, feature_set, split, fitted, settings, end_us))
        except NotEnoughDataError as error:
            skipped.append((cutoff, str(error)))
    if not reports:
        raise NotEnoughDataError(f"none of {len(chosen)} cut-offs could be judged; the last: {skipped[-1][1]}")
    return ChurnBacktest(tuple(reports), tuple(skipped))


def judge_churn(
    model: ChurnModel,
    bands: Bands,
    baselines: Sequence[Baseline],
    test_set: TrainingSet,
    split: TimeSplit,
    settings: ChurnSettings,
    customer_keys: npt.NDArray[np.object_],
) -> ChurnReport:
    """Score one labelled cut-off with the service's scorer, and put figures and baselines side by side.

    Raises:
        NotEnoughDataError: the slice has too few rows or outcomes.
    """
    test_set.require(settings, "the test slice")
    as_of_us = test_set.cutoffs[-1]
    table = FeatureTable(
        customer_keys=customer_keys[test_set.customer_rows],
        as_of_us=as_of_us,
        names=test_set.feature_names,
        values=test_set.values,
        fingerprint=test_set.fingerprint,
    )
    probabilities = {OURS: score_churn(model, bands, table).churn_probability}
    probabilities |= {baseline.name: baseline.probabilities(test_set.values) for baseline in baselines}
    intervals = _intervals(test_set, probabilities, settings)
    labels = test_set.labels
    ours = auc(labels, probabilities[OURS])
    return ChurnReport(
        as_of_us=as_of_us,
        n_customers=test_set.n_rows,
        base_rate=float(labels.mean()),
        split=split,
        figures=tuple(_figures(name, labels, said, intervals) for name, said in probabilities.items()),
        comparisons=tuple(
            Comparison(b.name, ours - auc(labels, probabilities[b.name]), intervals[f"{b.name}.difference"])
            for b in baselines
        ),
        lift=tuple(lift_by_decile(labels, probabilities[OURS]).tolist()),
        scored=ScoredSlice(labels, probabilities),
    )


def _fit(
    view: CustomerView, feature_set: FeatureSet, split: TimeSplit, settings: ChurnSettings, end_us: int
) -> _Fitted:
    """Fit as at the test's cut-off: an order recorded after it labels nobody."""
    training_set = build_training_set(
        view, feature_set, split.train, settings, observed_until_us=end_us, known_us=split.test
    )
    if split.calibration_by == "later_slice":
        calibration_set = label_cutoff(
            view, feature_set, split.calibration, settings, observed_until_us=end_us, known_us=split.test
        )
    else:
        rng = np.random.default_rng([settings.seed, 1])
        training_set, held_out = training_set.split_customers(settings.calibration_share, rng)
        calibration_set = held_out.take(held_out.as_of_us == split.calibration)
    model = fit_churn(training_set, calibration_set, settings)
    return _Fitted(
        model=model,
        bands=choose_bands(model.probabilities(calibration_set.values)),
        baselines=fit_baselines(training_set, calibration_set),
        n_training_rows=training_set.n_rows,
        n_calibration_rows=calibration_set.n_rows,
    )


def _judge(
    view: CustomerView,
    feature_set: FeatureSet,
    split: TimeSplit,
    fitted: _Fitted,
    settings: ChurnSettings,
    end_us: int,
) -> ChurnReport:
    if split.test is None:
        raise NotEnoughDataError("a split without a test cut-off cannot be judged")
    test_set = label_cutoff(view, feature_set, split.test, settings, observed_until_us=end_us)
    return judge_churn(fitted.model, fitted.bands, fitted.baselines, test_set, split, settings, view.customer_keys)


def _intervals(
    test_set: TrainingSet, probabilities: Mapping[str, Array], settings: ChurnSettings
) -> dict[str, Interval]:
    labels = test_set.labels
    rankings = {name: Ranking.of(labels, said) for name, said in probabilities.items()}

    def figures(weights: Array) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, said in probabilities.items():
            found[f"{name}.auc"] = rankings[name].auc(weights)
            found[f"{name}.average_precision"] = rankings[name].average_precision(weights)
            found[f"{name}.brier"] = brier(labels, said, weights)
            found[f"{name}.difference"] = found[f"{OURS}.auc"] - found[f"{name}.auc"]
        return found

    rng = np.random.default_rng([settings.seed, 2])
    return bootstrap_over_customers(figures, test_set.customer_rows, rng, settings.bootstrap_replicates)


def _figures(name: str, labels: npt.NDArray[np.bool_], said: Array, intervals: Mapping[str, Interval]) -> ChurnFigures:
    return ChurnFigures(
        model=name,
        auc=auc(labels, said),
        auc_interval=intervals[f"{name}.auc"],
        average_precision=average_precision(labels, said),
        average_precision_interval=intervals[f"{name}.average_precision"],
        brier=brier(labels, said),
        brier_interval=intervals[f"{name}.brier"],
        ece=expected_calibration_error(labels, said),
        lift_top_decile=float(lift_by_decile(labels, said)[0]),
        mean_probability=float(said.mean()),
    )
