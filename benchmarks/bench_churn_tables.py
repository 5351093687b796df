"""Churn from tables: `python -m benchmarks.bench_churn_tables`, or with `--table FILE --label L --id I`.

By default Telco and Sparkify, where ../shared/data is. Cross-validation by customer, stratified and seeded: each fold
infers the columns, fits, chooses sizes, calibrates and chooses the threshold of F1 on its own training part alone, by
what each model said of customers held out within it. Ours stands beside a plain logistic model, LightGBM's defaults and
the base rate; intervals are by drawing customers anew. Where sums of columns give the label away, the alarms are
printed, and all is measured again without any column of such a sum. Kept in benchmarks/results/churn_tables.json; the
exit code is 1 if ours misses a limit that is set for Telco or Sparkify.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from sklearn.model_selection import StratifiedKFold

from benchmarks.report import limit_words, print_and_keep, require_kept
from features.labelled_table import LabelledTable, TableForm, encode, infer_features, read_labelled_table
from training.churn import fit_churn
from training.churn_metrics import Interval, Ranking, average_precision, bootstrap_over_customers, brier
from training.churn_metrics import auc as auc_of
from training.churn_metrics import expected_calibration_error as ece_of
from training.churn_settings import ChurnSettings
from training.table_churn import fit_table_baselines, screen_table, table_problem, table_rows

DATA = Path(__file__).parents[2] / "shared" / "data"
KNOWN = (
    ("telco", DATA / "telco-churn" / "Telco-Customer-Churn.csv.gz", TableForm("customerID", "Churn")),
    ("sparkify", DATA / "sparkify" / "train.parquet", TableForm("userId", "churn")),
)
OURS = "holdfast"
LEAST: dict[str, dict[str, float]] = {"telco": {"AUC": 0.850}, "sparkify": {"AUC": 0.930, "AP": 0.850, "F1": 0.770}}
"""What the means of ours over the folds are held to, where a table is one of those."""


@dataclass
class HeldOut:
    """What one model said of every customer held out, who lay above the threshold of their fold, and times of fits."""

    said: np.ndarray
    high: np.ndarray
    seconds: list[float] = field(default_factory=list)

    @classmethod
    def empty(cls, n: int) -> HeldOut:
        """Nothing is said yet."""
        return cls(np.full(n, np.nan), np.zeros(n, bool))

    def put(self, places: np.ndarray, said: np.ndarray, threshold: float, seconds: float | None = None) -> None:
        """One fold."""
        self.said[places], self.high[places] = said, said >= threshold
        if seconds is not None:
            self.seconds.append(seconds)


def best_threshold(probabilities: np.ndarray) -> float:
    """The threshold with the highest F1 to be expected of calibrated probabilities, float64 (n,).

    At a threshold that takes the k highest, F1 is about 2 (their sum) / (k + the sum of all).
    """
    falling = np.sort(probabilities)[::-1]
    expected = 2 * np.cumsum(falling) / (np.arange(1, falling.size + 1) + falling.sum())
    return float(falling[expected.argmax()])


def f1_of(labels: np.ndarray, high: np.ndarray, weights: np.ndarray | None = None) -> float:
    weight = np.ones(labels.size) if weights is None else weights
    return float(2 * weight[labels & high].sum() / (weight[labels].sum() + weight[high].sum()))


def cross_validated(
    table: LabelledTable, form: TableForm, settings: ChurnSettings, folds: int
) -> tuple[np.ndarray, np.ndarray, dict[str, HeldOut], tuple[str, ...]]:
    """Labels, the fold of each customer, what each model said, and the alarms, of the customers with a label."""
    known = np.flatnonzero(table.labels >= 0)
    labels = table.labels[known] == 1
    models = {name: HeldOut.empty(labels.size) for name in (OURS, "logistic", "lightgbm_defaults", "base rate")}
    alarms: dict[str, None] = {}
    number = np.empty(labels.size, int)
    splits = StratifiedKFold(folds, shuffle=True, random_state=settings.seed % (1 << 31)).split(labels, labels)
    for fold, (fit, judge) in enumerate(splits):
        number[judge] = fold
        seen = replace(table, labels=np.where(np.isin(np.arange(len(table)), known[fit]), table.labels, -1))
        features = infer_features(seen, form)
        encoded = encode(table, features, 0)
        screened = screen_table(table_rows(encoded, seen.labels, 0), settings, features.categories)
        alarms |= dict.fromkeys(
            [leak.sentence() for leak in screened.findings.leaks]
            + ([screened.findings.sum_leak.sentence()] if screened.findings.sum_leak else [])
        )
        values = np.ascontiguousarray(encoded.values[known[judge]])
        started = time.perf_counter()
        model = fit_churn(screened.rows, None, settings, categories=features.categories)
        took = time.perf_counter() - started
        models[OURS].put(judge, model.probabilities(values), best_threshold(model.reference), took)
        for baseline in fit_table_baselines(screened.rows, settings, features.categories):
            assert baseline.held_out is not None  # as of ours: what was fitted on them would flatter
            models[baseline.name].put(judge, baseline.probabilities(values), best_threshold(baseline.held_out))
        models["base rate"].put(judge, np.full(judge.size, screened.rows.base_rate), 0.0)
        print(f"fold {fold + 1} of {folds}: AUC {auc_of(labels[judge], models[OURS].said[judge]):.4f}", flush=True)
    return labels, number, models, tuple(alarms)


def figures(
    name: str, labels: np.ndarray, number: np.ndarray, models: dict[str, HeldOut], settings: ChurnSettings
) -> tuple[list[dict[str, object]], list[str]]:
    """One row a model, and its folds as a note."""
    rows: list[dict[str, object]] = []
    notes = []
    # equal probabilities keep the order of the rows, and a file may be sorted by its label
    mixed = np.random.default_rng([settings.seed, 8]).permutation(labels.size)
    for model, held_out in models.items():
        said, high = held_out.said, held_out.high
        ranking = Ranking.of(labels, said)

        def drawn(
            weights: np.ndarray, said: np.ndarray = said, high: np.ndarray = high, ranking: Ranking = ranking
        ) -> dict[str, float]:
            return {
                "auc": ranking.auc(weights),
                "ap": ranking.average_precision(weights),
                "f1": f1_of(labels, high, weights),
                "brier": brier(labels, said, weights),
            }

        rng = np.random.default_rng([settings.seed, 7])
        found = bootstrap_over_customers(drawn, np.arange(labels.size), rng, settings.bootstrap_replicates)
        by_fold = [(labels[number == fold], said[number == fold], high[number == fold]) for fold in np.unique(number)]
        aucs = [auc_of(truth, p) for truth, p, _ in by_fold]
        rows.append(
            {
                "table": name,
                "model": model,
                "AUC": _shown(np.mean(aucs), found["auc"]),
                "+-": f"{np.std(aucs):.4f}",
                "AP": _shown(np.mean([average_precision(truth, p) for truth, p, _ in by_fold]), found["ap"]),
                "F1": _shown(np.mean([f1_of(truth, one) for truth, _, one in by_fold]), found["f1"]),
                "Brier": _shown(brier(labels, said), found["brier"]),
                "ECE": f"{ece_of(labels[mixed], said[mixed]):.4f}",
                "fit s": f"{np.mean(held_out.seconds):.1f}" if held_out.seconds else "",
            }
        )
        notes.append(f"{name}, {model}: AUC by fold {', '.join(f'{one:.4f}' for one in aucs)}")
    return rows, notes


def limits(rows: Sequence[Mapping[str, object]]) -> dict[str, bool]:
    """Whether ours keeps what is asked of it on the known tables; the first word of a figure is its mean."""
    found = {}
    for row in rows:
        if row["model"] == OURS:
            for figure, least in LEAST.get(str(row["table"]), {}).items():
                mean = str(row[figure]).split()[0]
                found[f"{row['table']}: {figure} {mean} is at least {least:.3f}"] = float(mean) >= least
    return found


def _shown(figure: float, interval: Interval) -> str:
    return f"{figure:.4f} {interval.low:.3f}-{interval.high:.3f}"


def measure(name: str, path: Path, form: TableForm, settings: ChurnSettings, folds: int) -> tuple[list, list[str]]:
    table = read_labelled_table(path, form)
    print(f"{name}: {len(table):,} customers, {(table.labels == 1).sum():,} churned", flush=True)
    settings = replace(settings, problem=table_problem(str(form.label), form.id_column, 30))
    *measured, alarms = cross_validated(table, form, settings, folds)
    rows, notes = figures(name, *measured, settings)
    guilty = summed(table, form, settings)
    if guilty:
        without = replace(form, ignored=(*form.ignored, *guilty))
        *measured, more = cross_validated(table, without, settings, folds)
        found, said = figures(f"{name}, no sums", *measured, settings)
        rows, notes, alarms = rows + found, notes + said, (*alarms, *more)
        notes.append(f"{name}, no sums: without {', '.join(guilty)}")
    return rows, notes + [f"{name}: {alarm}" for alarm in alarms]


def summed(table: LabelledTable, form: TableForm, settings: ChurnSettings) -> tuple[str, ...]:
    """The columns of every sum that gives the label away, one sum after the other being left out."""
    guilty: tuple[str, ...] = ()
    while True:
        features = infer_features(table, replace(form, ignored=(*form.ignored, *guilty)))
        rows = table_rows(encode(table, features, 0), table.labels, 0)
        found = screen_table(rows, settings, features.categories).findings.sum_leak
        if found is None:
            return guilty
        guilty += found.columns


def chosen(options: argparse.Namespace) -> Sequence[tuple[str, Path, TableForm]]:
    if options.table is None:
        present = [one for one in KNOWN if one[1].is_file()]
        if not present:
            raise SystemExit("../shared/data is not there; name a table with --table FILE --label L --id I")
        return present
    if not (options.label and options.id):
        raise SystemExit("--table needs --label and --id")
    form = TableForm(
        options.id, options.label, options.churned_value, tuple(options.ignore), options.delimiter, options.encoding
    )
    return ((options.table.stem, options.table, form),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="CSV or Parquet, plain or .gz or .zst; one row a customer")
    parser.add_argument("--label", help="the column that says who churned")
    parser.add_argument("--id", help="the column that names the customer")
    parser.add_argument("--churned-value", help="the label that means churned")
    parser.add_argument("--ignore", action="append", default=[], help="a column not to be learnt from")
    parser.add_argument("--delimiter", default=",")
    parser.add_argument("--encoding", default="utf-8")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=ChurnSettings().seed)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    settings = ChurnSettings(seed=options.seed, num_threads=options.threads)
    rows: list[dict[str, object]] = []
    notes: list[str] = []
    for name, path, form in chosen(options):
        found, said = measure(name, path, form, settings, options.folds)
        rows += found
        notes += said
    notes.append(
        "AUC, AP and F1: means over the folds (+-: spread of AUC), then 95% of all held-out customers together."
    )
    held = limits(rows) if options.table is None else {}
    notes += limit_words(held)
    title = f"Churn from tables, {options.folds} folds by customer, seed {options.seed}"
    print_and_keep(
        "churn_tables" if options.table is None else f"churn_tables_{options.table.stem}", title, rows, notes
    )
    require_kept("churn from tables", held)


if __name__ == "__main__":
    main()
