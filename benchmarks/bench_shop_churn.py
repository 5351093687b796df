"""Churn on a real shop's orders at the latest possible snapshot: the model beside every baseline, with intervals.

The file is imported as a shop would; the model learns from label windows that end before the snapshot, and is judged on
the window that ends with the log. The customers' pseudonyms, and with them the random folds, differ at every import:
with --seeds the fit is repeated, and the worst of them is held against the limits as well.
Run: python -m benchmarks.bench_shop_churn [--log FILE ...] [--mapping online_retail_ii] [--days 91] [--seeds 3]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from benchmarks.report import limit_words, print_and_keep, require_kept
from features.churn_features import CHURN_FEATURES
from features.importing.job import import_file
from features.importing.mapping import load_mapping
from features.instants import format_instant
from features.workspace import Workspace
from training.churn_evaluation import OURS, Fitted, fit_as_of, label_test
from training.churn_metrics import Interval, auc, bootstrap_over_customers, brier, expected_calibration_error
from training.churn_problem import ChurnProblem
from training.churn_settings import ChurnSettings
from training.cutoffs import TimeSplit, split_in_time
from training.log_data import LogData, read_log
from training.training_set import TrainingSet

SHOP = Path(__file__).parents[2] / "shared" / "data" / "online-retail" / "online_retail_II_2009_2010.parquet"
ABOVE_RECENCY, CALIBRATION = 0.06, 0.05
FIGURES = {"AUC": auc, "Brier": brier, "calibration error": expected_calibration_error}


def imported(paths: list[Path], mapping: str, folder: Path) -> LogData:
    """The event log of all files together."""
    workspace = Workspace(folder)
    for path in paths:
        if not path.is_file():
            raise SystemExit(f"there is no file {path.name} at the path given; name one with --log")
        import_file(path, load_mapping(mapping), workspace)
    return read_log(workspace)


def judged(data: LogData, split: TimeSplit, settings: ChurnSettings) -> tuple[dict[str, np.ndarray], TrainingSet]:
    """What each model says of the customers at the snapshot, and what became of them."""
    fitted: Fitted = fit_as_of(data.view, CHURN_FEATURES, split, settings, data.end_us)
    test = label_test(data.view, CHURN_FEATURES, split, settings, data.end_us)
    said = {OURS: fitted.model.probabilities(test.values, split.test)}
    return said | {one.name: one.probabilities(test.values) for one in fitted.baselines}, test


def table(said: dict[str, np.ndarray], test: TrainingSet, replicates: int) -> list[dict[str, str]]:
    """One row a model; differences are ours minus theirs on the same draws of customers."""
    labels = test.labels

    def figures(weights: np.ndarray | None = None) -> dict[str, float]:
        found = {
            f"{name}.{figure}": of(labels, p, weights)
            for name, p in said.items()
            for figure, of in FIGURES.items()
            if figure != "calibration error"
        }
        differences = {
            f"{name}.{figure} less": found[f"{OURS}.{figure}"] - found[f"{name}.{figure}"]
            for name in said
            for figure in ("AUC", "Brier")
        }
        return found | differences

    point = figures()
    intervals = bootstrap_over_customers(figures, test.customer_rows, np.random.default_rng(0), replicates)

    def shown(key: str, digits: int = 3) -> str:
        found: Interval = intervals[key]
        return f"{point[key]:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"

    return [
        {
            "model": name,
            "AUC": shown(f"{name}.AUC"),
            "ours minus it": "" if name == OURS else shown(f"{name}.AUC less", 4),
            "Brier": shown(f"{name}.Brier", 4),
            "ours minus it ": "" if name == OURS else shown(f"{name}.Brier less", 4),
            "calibration error": f"{expected_calibration_error(labels, p):.4f}",
            "mean said": f"{p.mean():.3f}",
        }
        for name, p in said.items()
    ]


def limits(all_said: list[tuple[dict[str, np.ndarray], TrainingSet]]) -> dict[str, bool]:
    """The limits, held against the first fit, and by how much; the worst of all fits is told beside it."""
    rows = []
    for said, test in all_said:
        value = {(name, figure): of(test.labels, p) for name, p in said.items() for figure, of in FIGURES.items()}
        lifetime = [value[name, "Brier"] for name in said if name.startswith("bg_nbd")]
        rows.append(
            (
                value[OURS, "AUC"] - value["logistic", "AUC"],
                value[OURS, "AUC"] - value["recency", "AUC"] - ABOVE_RECENCY,
                CALIBRATION - value[OURS, "calibration error"],
                min(lifetime, default=float("nan")) - value[OURS, "Brier"],
            )
        )
    names = (
        "AUC above the logistic model's",
        f"AUC {ABOVE_RECENCY} above recency's",
        f"calibration error at most {CALIBRATION}",
        "Brier below BG/NBD's, calibrated or as published",
    )
    by = np.array(rows)
    return {
        f"{name}, by {by[0, place]:+.4f}; worst of {len(rows)} fits {by[:, place].min():+.4f}": bool(by[0, place] > 0)
        for place, name in enumerate(names)
        if not np.isnan(by[0, place])  # no BG/NBD stands beside it
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, nargs="+", default=[SHOP], help="files of one shop, imported together")
    parser.add_argument("--mapping", default="online_retail_ii")
    parser.add_argument("--days", type=int, default=91)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--replicates", type=int, default=500)
    asked = parser.parse_args()
    settings = ChurnSettings(problem=ChurnProblem(horizons_days=tuple(sorted({30, 60, asked.days}))))
    with tempfile.TemporaryDirectory() as folder:
        data = imported(asked.log, asked.mapping, Path(folder))
    split = split_in_time(data.first_us, data.end_us, settings)
    fits = [
        judged(data, split, dataclasses.replace(settings, seed=settings.seed + place)) for place in range(asked.seeds)
    ]
    said, test = fits[0]
    assert split.test is not None
    title = (
        f"no order in {asked.days} days from {format_instant(split.test)}: {test.n_rows:,} customers, "
        f"{test.labels.mean():.1%} left; {len(split.train)} training cut-offs, calibrated by {split.calibration_by}"
    )
    held = limits(fits)
    print_and_keep("shop_churn", title, table(said, test, asked.replicates), limit_words(held))
    require_kept("churn of a shop", held)


if __name__ == "__main__":
    main()
