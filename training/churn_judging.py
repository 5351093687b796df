"""Judge a fitted churn model on labelled rows that it has not seen, with the very scorer that the service calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from serving.bands import Bands
from serving.churn_model import ChurnModel
from serving.forecast import Forecast
from serving.reason_plan import reason_plan
from serving.scoring import score_churn
from training.churn_baselines import Baseline
from training.churn_groupings import groupings_of
from training.churn_horizons import HorizonSlice, horizon_figures, horizon_slices
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
from training.churn_slices import slice_figures
from training.contact_curve import ContactCurve, contact_curve
from training.cost_settings import CostSettings
from training.cutoffs import TimeSplit
from training.drift import DriftReference, input_drift
from training.quality_estimate import CheckedEstimate, check_estimate, estimate_quality
from training.training_set import TrainingSet

__all__ = ["OURS", "Traits", "contacts_of", "judge_churn", "reason_groups", "reason_sums"]

Array = npt.NDArray[np.float64]
Traits = Mapping[str, npt.NDArray[np.object_]]
OURS = "churn_model"
_REASON_ROWS = 2_000


def judge_churn(
    model: ChurnModel,
    bands: Bands,
    baselines: Sequence[Baseline],
    test_set: TrainingSet,
    split: TimeSplit,
    settings: ChurnSettings,
    customer_keys: npt.NDArray[np.object_],
    *,
    reference: DriftReference | None = None,
    traits: Traits | None = None,
) -> ChurnReport:
    """Score one labelled cut-off with the service's scorer, and put figures and baselines side by side.

    Args:
        model: to be judged.
        bands: its cut-offs.
        baselines: calibrated on the same slice.
        test_set: the labelled rows of one cut-off.
        split: how the data were divided.
        settings: of bootstrap and least numbers.
        customer_keys: object (n_customers,), of the view that `test_set.customer_rows` points into.
        reference: the inputs of the training rows, to measure drift from.
        traits: what is known of customers beside features, by dimension: object (n_customers,), to slice by.

    Raises:
        NotEnoughDataError: the slice has too few rows or outcomes.
    """
    test_set.require(settings, "the test slice")
    table = _table(test_set, customer_keys)
    scores = score_churn(model, bands, table)
    said = scores.churn_probability
    probabilities = {OURS: said} | {b.name: b.probabilities(test_set.values) for b in baselines}
    intervals = _intervals(test_set, probabilities, settings)
    labels = test_set.labels
    by_horizon = _by_horizon(test_set, scores.forecast, said, model)
    rng = np.random.default_rng([settings.seed, 4])
    rows_of = {name: texts[test_set.customer_rows] for name, texts in (traits or {}).items()}
    contacts, by_gain = contacts_of(labels, said, scores.forecast, settings.costs)
    return ChurnReport(
        as_of_us=table.as_of_us,
        question=settings.problem.sentence(),
        awaits=model.awaits,
        n_customers=test_set.n_rows,
        base_rate=float(labels.mean()),
        split=split,
        figures=tuple(_figures(name, labels, p, intervals) for name, p in probabilities.items()),
        comparisons=_comparisons(labels, probabilities, intervals),
        lift=tuple(lift_by_decile(labels, said).tolist()),
        scored=ScoredSlice(labels, probabilities, by_horizon),
        horizons=horizon_figures(by_horizon, test_set.customer_rows, rng, settings.bootstrap_replicates),
        slices=slice_figures(labels, said, groupings_of(table, model.categories, rows_of)),
        contacts=contacts,
        contacts_by_gain=by_gain,
        estimate=_checked(labels, said, bands.high, rng, settings.bootstrap_replicates),
        drift=() if reference is None else input_drift(reference, test_set.values),
        weights_of_reasons=_weights(model, test_set.values[:_REASON_ROWS]),
    )


def _comparisons(
    labels: npt.NDArray[np.bool_], probabilities: Mapping[str, Array], intervals: Mapping[str, Interval]
) -> tuple[Comparison, ...]:
    areas = {name: auc(labels, said) for name, said in probabilities.items()}
    return tuple(
        Comparison(name, areas[OURS] - areas[name], intervals[f"{name}.difference"]) for name in areas if name != OURS
    )


def contacts_of(
    labels: npt.NDArray[np.bool_], said: Array, forecast: Forecast | None, costs: CostSettings | None
) -> tuple[ContactCurve, ContactCurve | None]:
    """What contacting the riskiest would have brought, and contacting those first of whom the most is expected.

    Without costs, or any value learnt, no profit is told, and there is no second curve.
    """
    value = np.full(said.size, np.nan) if forecast is None else forecast.value_if_stays_minor
    if costs is None or np.isnan(value).all():
        return contact_curve(labels, said, np.full(said.size, np.nan), np.full(said.size, np.nan)), None
    offer = np.full(said.size, float(costs.offer_minor))
    gain = costs.kept_minor(np.nan_to_num(value)) - offer
    meaning = (
        f"Profit is told if an offer costs {costs.offer_minor:,} minor units and keeps {costs.save_rate:.0%} of those "
        f"about to leave, of whose orders {costs.margin_share:.0%} stay with the shop; what a customer would be worth "
        "is the model's own forecast. An experiment must show the share that is kept."
    )
    expected = said * gain - (1.0 - said) * offer
    return (
        contact_curve(labels, said, gain, offer, meaning=meaning),
        contact_curve(labels, said, gain, offer, priority=expected, meaning=meaning),
    )


def reason_groups(feature_names: tuple[str, ...]) -> tuple[str, ...]:
    """The codes of the reasons that the features of a model fall into."""
    return tuple(kind.code for kind in reason_plan(feature_names).kinds)


def reason_sums(model: ChurnModel, values: Array) -> Array:
    """What each group of features adds to the margin, float64 (n, g), for values float64 (n, f)."""
    return reason_plan(model.feature_names).sums(model.contributions(values))


def _weights(model: ChurnModel, values: Array) -> dict[str, float]:
    groups = reason_groups(model.feature_names)
    means = np.abs(reason_sums(model, values)).mean(axis=0)
    order = np.argsort(-means, kind="stable")
    return {groups[place]: float(means[place]) for place in order}


def _table(test_set: TrainingSet, customer_keys: npt.NDArray[np.object_]) -> FeatureTable:
    return FeatureTable(
        customer_keys=customer_keys[test_set.customer_rows],
        as_of_us=test_set.cutoffs[-1],
        names=test_set.feature_names,
        values=test_set.values,
        fingerprint=test_set.fingerprint,
    )


def _by_horizon(
    test_set: TrainingSet, forecast: Forecast | None, said: Array, model: ChurnModel
) -> tuple[HorizonSlice, ...]:
    found = said[:, None] if forecast is None else forecast.churn_probability_by_horizon
    horizons = model.horizons_days if forecast is not None else model.horizons_days[-1:]
    return horizon_slices(test_set, found, horizons, model.awaits)


def _checked(
    labels: npt.NDArray[np.bool_], said: Array, threshold: float, rng: np.random.Generator, replicates: int
) -> CheckedEstimate:
    """What was to be expected of these probabilities before anybody knew, and what came."""
    return check_estimate(estimate_quality(said, rng, threshold=threshold, replicates=replicates), labels, said)


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
