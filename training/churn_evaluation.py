"""Judge a churn model forward in time, with the very scorer that the service calls; and the whole road to one.

The model that is judged saw nothing from the test cut-off on: its training label windows end before the calibration
slice (or, where the log is short, before the test with customers held out), and calibration ends before the test. An
order that occurred before the test cut-off and was recorded later is in none of its labels.
By default the model that was judged is the model that is released. With `refit_on_all` the released one is of the same
recipe, fitted up to the latest labelled cut-off, and the report's figures are those of its judged predecessor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.feature_set import FeatureSet
from serving.bands import Bands
from serving.churn_model import ChurnModel
from training.band_costs import LossCurve, bands_for, calibration_losses, calibration_probabilities
from training.churn import fit_churn
from training.churn_baselines import Baseline, fit_baselines, repeat_buying
from training.churn_judging import OURS, Traits, judge_churn
from training.churn_report import ChurnReport
from training.churn_settings import ChurnSettings
from training.cutoffs import TimeSplit, observed_span, split_in_time
from training.drift import DriftReference, drift_reference
from training.release_settings import BandSettings
from training.screening import Findings, screen
from training.training_set import TrainingSet, build_training_set, label_cutoff
from training.tuned import Tuned, Tuner

__all__ = [
    "OURS",
    "ChurnTraining",
    "Fitted",
    "fit_as_of",
    "judge_churn",
    "judge_fitted",
    "label_fitting",
    "label_test",
    "train_churn",
]

_BINNED_ROWS = 50_000


@dataclass(frozen=True, eq=False)
class ChurnTraining:
    """A model to release, its bands, and the report on it (or, if `refit`, on its judged predecessor).

    reference: what the released model was fitted on looked like, to measure drift from.
    findings: what was found in these rows before fitting.
    tuned: the search for settings, of which the model was fitted with the outcome; None where none was asked for.
    losses: what bands are chosen from by costs; None where no value is known.
    """

    model: ChurnModel
    bands: Bands
    losses: LossCurve | None
    report: ChurnReport
    split: TimeSplit
    refit: bool
    n_training_rows: int
    n_calibration_rows: int
    reference: DriftReference
    findings: Findings
    tuned: Tuned | None = None

    @classmethod
    def of(
        cls, fitted: Fitted, report: ChurnReport, split: TimeSplit, *, refit: bool, tuned: Tuned | None = None
    ) -> ChurnTraining:
        """What was fitted, with the report on it; `tuned` is the search before, which a refit does not repeat."""
        return cls(
            model=fitted.model,
            bands=fitted.bands,
            losses=fitted.losses,
            report=report,
            split=split,
            refit=refit,
            n_training_rows=fitted.n_training_rows,
            n_calibration_rows=fitted.n_calibration_rows,
            reference=fitted.reference,
            findings=fitted.findings,
            tuned=tuned,
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found in the data, and the verdicts on the model, in words."""
        searched = () if self.tuned is None else (self.tuned.sentence,)
        chosen = () if self.bands.choice is None else (self.bands.choice.sentence,)
        return (*self.findings.sentences, *searched, *self.report.sentences, *chosen)


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was fitted at one split, before it is judged."""

    model: ChurnModel
    bands: Bands
    losses: LossCurve | None
    baselines: tuple[Baseline, ...]
    n_training_rows: int
    n_calibration_rows: int
    reference: DriftReference
    findings: Findings
    tuned: Tuned | None


def train_churn(
    view: CustomerView,
    feature_set: FeatureSet,
    settings: ChurnSettings,
    *,
    observed_until_us: int | None = None,
    traits: Traits | None = None,
    tuner: Tuner | None = None,
) -> ChurnTraining:
    """Choose cut-offs, fit, calibrate, judge at the latest labelled cut-off, and give the model to release.

    `view` is all that is known; `observed_until_us` is the exclusive end of the log, by default its last event;
    `traits` are what else is known of the customers, by dimension: object (n_customers,), for the report to slice by.
    `tuner` searches for better settings first, among the training rows alone. Where there are too few customers for the
    full model, a baseline is fitted and marked as such, and nothing is tuned; see `training.data_gate`.

    Raises:
        NotEnoughDataError: the log is too short or holds too few customers; the message gives the numbers.
    """
    first_us, last_us = observed_span(view)
    end_us = last_us if observed_until_us is None else observed_until_us
    split = split_in_time(first_us, end_us, settings)
    fitted = fit_as_of(view, feature_set, split, settings, end_us, tuner=tuner)
    tuned = fitted.tuned
    test_set = label_test(view, feature_set, split, settings, end_us)
    report = judge_fitted(fitted, test_set, split, settings, view, traits)
    if settings.refit_on_all:
        split = split_in_time(first_us, end_us, settings, judged=False)
        fitted = fit_as_of(view, feature_set, split, settings if tuned is None else tuned.settings, end_us)
    return ChurnTraining.of(fitted, report, split, refit=settings.refit_on_all, tuned=tuned)


def fit_as_of(
    view: CustomerView,
    feature_set: FeatureSet,
    split: TimeSplit,
    settings: ChurnSettings,
    end_us: int,
    *,
    gated: bool = True,
    tuner: Tuner | None = None,
) -> Fitted:
    """Fit the model and its baselines as at the split's test cut-off: an order recorded after it labels nobody.

    `gated`: fit but a baseline where the data gate asks for more customers; a backtest judges the full model's recipe
    all the same. `tuner` searches for better settings among the training rows.

    Raises:
        NotEnoughDataError: a slice has too few rows or outcomes.
    """
    training_set, later = label_fitting(view, feature_set, split, settings, end_us)
    screened = screen(training_set, settings, feature_set)
    baseline = gated and not screened.findings.gate.full
    tuned = tuner(screened.rows, settings) if tuner is not None and not baseline else None
    used = settings if tuned is None else tuned.settings
    model = fit_churn(screened.rows, later, used, baseline=baseline)
    calibration_set = training_set.take(training_set.as_of_us == split.calibration) if later is None else later
    n_eligible = int((training_set.as_of_us == split.calibration).sum()) + (0 if later is None else later.n_rows)
    said = calibration_probabilities(model, calibration_set.values, fitted=later is None)
    losses = calibration_losses(model, calibration_set.values, said, n_eligible=n_eligible)
    return Fitted(
        model=model,
        bands=bands_for(losses, settings.costs, model.reference, BandSettings()),
        losses=losses,
        baselines=fit_baselines(screened.rows, later, _everybody(view, feature_set, split), settings.problem),
        n_training_rows=training_set.n_rows,
        n_calibration_rows=calibration_set.n_rows,
        reference=_reference(training_set, model, said),
        findings=screened.findings,
        tuned=tuned,
    )


def _everybody(view: CustomerView, feature_set: FeatureSet, split: TimeSplit) -> FeatureTable | None:
    """What is known of all customers as at the test cut-off, or at calibration where nothing is judged."""
    return repeat_buying(view, feature_set, split.calibration if split.test is None else split.test)


def label_fitting(
    view: CustomerView, feature_set: FeatureSet, split: TimeSplit, settings: ChurnSettings, end_us: int
) -> tuple[TrainingSet, TrainingSet | None]:
    """The rows to fit and those to calibrate on, labelled by what was recorded before the split's test cut-off.

    None to calibrate on: the rows are so few that the fit holds out each customer once by itself.

    Raises:
        NotEnoughDataError: a cut-off has nobody eligible or no whole label window.
    """
    training_set = build_training_set(
        view, feature_set, split.train, settings, observed_until_us=end_us, known_us=split.test
    )
    if split.calibration_by == "later_slice":
        return training_set, label_cutoff(
            view, feature_set, split.calibration, settings, observed_until_us=end_us, known_us=split.test
        )
    if training_set.n_rows < settings.fold_below_rows:
        return training_set, None
    rng = np.random.default_rng([settings.seed, 1])
    training_set, held_out = training_set.split_customers(settings.calibration_share, rng)
    return training_set, held_out.take(held_out.as_of_us == split.calibration)


def judge_fitted(
    fitted: Fitted,
    test_set: TrainingSet,
    split: TimeSplit,
    settings: ChurnSettings,
    view: CustomerView,
    traits: Traits | None = None,
) -> ChurnReport:
    """Judge what was fitted on the labelled rows of the split's test cut-off.

    Raises:
        NotEnoughDataError: the test slice has too few rows or outcomes.
    """
    return judge_churn(
        fitted.model,
        fitted.bands,
        fitted.baselines,
        test_set,
        split,
        settings,
        view.customer_keys,
        reference=fitted.reference,
        traits=traits,
    )


def label_test(
    view: CustomerView, feature_set: FeatureSet, split: TimeSplit, settings: ChurnSettings, end_us: int
) -> TrainingSet:
    """The labelled rows of the split's test cut-off, with all that is known by now.

    Raises:
        NotEnoughDataError: the split has no test cut-off, or nobody is eligible there.
    """
    if split.test is None:
        raise NotEnoughDataError("a split without a test cut-off cannot be judged")
    return label_cutoff(view, feature_set, split.test, settings, observed_until_us=end_us)


def _reference(training_set: TrainingSet, model: ChurnModel, scores: npt.NDArray[np.float64]) -> DriftReference:
    """From at most 50,000 training rows, evenly spread over the cut-offs: more would not move a tenth."""
    rows = training_set.values[:: max(1, training_set.n_rows // _BINNED_ROWS)]
    categories = tuple(model.categories)
    return drift_reference(rows, scores, training_set.feature_names, training_set.fingerprint, categories=categories)
