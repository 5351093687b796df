"""Write all about a churn model into its run: figures, pictures, the card, what drift is measured from, the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from features.table_features import TableFeatures
from training.churn_backtest import ChurnBacktest
from training.churn_campaign_plots import backtest_png, contacts_png
from training.churn_card import backtest_card, churn_card
from training.churn_evaluation import ChurnTraining
from training.churn_files import ChurnParts
from training.churn_plots import churn_pngs
from training.model_card import card_files
from training.segment_report import segments_csv, segments_png
from training.segmenting import Segmented
from training.tracking import RunLog
from training.tuned import Tuned

__all__ = ["DRIFT", "MONITORING_FOLDER", "record_backtest_run", "record_churn"]

MONITORING_FOLDER, DRIFT = "monitoring", "drift.json"
"""Where in a run's artefacts the bins of the training rows lie; `holdfast monitor` reads them."""


def record_churn(
    run: RunLog,
    trained: ChurnTraining,
    tags: Mapping[str, str],
    backtest: ChurnBacktest | None = None,
    segmented: Segmented | None = None,
    table: TableFeatures | None = None,
) -> str:
    """Record a trained churn model, with how its table is read if it was one, and return the digest of its files."""
    report = trained.report
    run.params({"split": {name: str(value) for name, value in trained.split.to_manifest().items()}})
    run.params({"n_training_rows": trained.n_training_rows, "n_calibration_rows": trained.n_calibration_rows})
    run.metrics(report.metrics())
    if trained.tuned is not None:
        _record_tuning(run, trained.tuned)
    for name, figures in report.baseline_metrics().items():
        run.metrics(figures, f"baseline.{name}.")
    run.tags(
        trained.findings.tags() | {"slice": report.slice_name, "mlflow.note.content": "\n\n".join(trained.sentences)}
    )
    pictures = churn_pngs(report) | {"contacts.png": contacts_png(report)}
    if backtest is not None:
        _record_cutoffs(run, backtest)
        pictures["backtest.png"] = backtest_png(backtest)
    if segmented is not None:
        run.metrics(segmented.metrics())
        run.files("segments", {"segments.csv": segments_csv(segmented.rows)})
        pictures["segments.png"] = segments_png(segmented.rows)
    run.files("plots", pictures)
    run.files("card", card_files(churn_card(trained, pictures, tags, backtest, segmented)))
    run.files(MONITORING_FOLDER, {DRIFT: trained.reference.to_json()})
    segments = None if segmented is None else segmented.segmentation
    return run.model_files(ChurnParts(trained.model, trained.losses, segments, table).to_files())


def record_backtest_run(run: RunLog, backtest: ChurnBacktest) -> None:
    """Record a backtest as a run of its own, with a card that shows every cut-off."""
    _record_cutoffs(run, backtest)
    run.tags({"kind": "backtest", "mlflow.note.content": "\n\n".join(backtest.sentences)})
    pictures = {"backtest.png": backtest_png(backtest)}
    run.files("plots", pictures)
    run.files("card", card_files(backtest_card(backtest, pictures)))


def _record_tuning(run: RunLog, tuned: Tuned) -> None:
    """What was searched, every trial, and the settings that the model was fitted with."""
    told = {"adopted": tuned.adopted, "stopped_by": tuned.stopped_by, "validated_by": tuned.validated_by}
    run.params({"tuned": {**told, "linear_c": tuned.settings.linear_c, "trees": asdict(tuned.settings.trees)}})
    run.metrics(tuned.metrics(), "tuning.")
    run.files("tuning", {"trials.json": (json.dumps(tuned.rows(), indent=1) + "\n").encode()})


def _record_cutoffs(run: RunLog, backtest: ChurnBacktest) -> None:
    """The figures of every cut-off, by their place from the oldest: `backtest.1.auc` and so on."""
    run.metrics({"backtest.n_cutoffs": float(len(backtest.reports))})
    for place, report in enumerate(backtest.reports, start=1):
        run.metrics(report.metrics(), f"backtest.{place}.")
    for place, found in enumerate(backtest.stabilities, start=2):
        run.metrics(
            {
                "reasons_kept": found.top_overlap,
                "first_reason_kept": found.same_first,
                "reason_weight_correlation": found.importance_correlation,
            },
            f"backtest.{place}.",
        )
