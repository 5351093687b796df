"""What the evidence of a rollout is worth: false alarms while looking all the time, harms stopped, hashing.

A/A: both arms are one release, and every run is looked at 100 times; wrong is a run in which any look leaves no
difference out. Customers are placed by a coin of the intended share, as the hash places them. Beside it stand the
plain z-test at 5% on the same looks and, for money, the published asymptotic sequence with each arm's own variance.
Bounds are Clopper and Pearson's, one-sided at 95%.

Run: python -m benchmarks.bench_evidence [--runs 4000] [--seed 1]
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom, chi2

from benchmarks.placing import hashing_rows
from benchmarks.report import limit_words, print_and_keep, require_kept
from features.errors import NotEnoughDataError
from serving.evidence.confidence_sequences import ArmTotals, mean_difference, rate_evidence
from serving.evidence.sample_ratio import ratio_evidence

ALPHA, Z = 0.05, 1.959964
EVIDENT = math.log(2.0 / ALPHA)
ONE_TO_FIFTY = 1.0 / 51.0

RATE_WORLDS = (  # what, rate, share of the challenger, the share intended, customers between two of the 100 looks
    ("20%, equal arms", 0.2, 0.5, 0.5, 200),
    ("20%, equal arms, a look every 20", 0.2, 0.5, 0.5, 20),
    ("0.1%, equal arms, early", 0.001, 0.5, 0.5, 40),
    ("0.1%, equal arms", 0.001, 0.5, 0.5, 2_000),
    ("20%, 1% against 50%", 0.2, ONE_TO_FIFTY, ONE_TO_FIFTY, 500),
    ("0.1%, 1% against 50%, early", 0.001, ONE_TO_FIFTY, ONE_TO_FIFTY, 500),
    ("0.1%, 1% against 50%", 0.001, ONE_TO_FIFTY, ONE_TO_FIFTY, 20_000),
    ("20%, 48/52 where 50/50 was", 0.2, 0.48, 0.5, 2_000),
    ("2%, 48/52 where 50/50 was", 0.02, 0.48, 0.5, 2_000),
)
MONEY_WORLDS = (  # what, share of customers who spend (log-normally), share of the challenger, customers between looks
    ("money, all spend, equal arms", 1.0, 0.5, 100),
    ("money, 1 in 10 spends, equal arms", 0.1, 0.5, 100),
    ("money, 1 in 100 spends, equal arms", 0.01, 0.5, 100),
    ("money, all spend, 1% against 50%", 1.0, ONE_TO_FIFTY, 300),
    ("money, 1 in 10 spends, 1% against 50%", 0.1, ONE_TO_FIFTY, 300),
    ("money, 1 in 100 spends, 1% against 50%", 0.01, ONE_TO_FIFTY, 300),
)
HARMS = (  # what, rate of the challenger, of the control, the most customers an arm at the median
    ("20% to 10%", 0.10, 0.20, 600),
    ("20% to 17%", 0.17, 0.20, 4_000),
    ("errors 0.1% to 2%", 0.02, 0.001, 1_000),
)
Array = npt.NDArray[np.float64]
Row = dict[str, Any]
Limits = dict[str, bool]


def at_most(n_met: int, n_runs: int) -> float:
    return float(beta.ppf(0.95, n_met + 1, n_runs - n_met)) if n_met < n_runs else 1.0


def at_least(n_met: int, n_runs: int) -> float:
    return 1.0 - at_most(n_runs - n_met, n_runs)


def of_batches(n_runs: int, looks: int, cells: Callable[[int], Array], met: Callable[[Array], Array]) -> Array:
    """What `met` says of every run, in batches of runs that fit into memory."""
    most = max(25_000 // looks, 1)
    sizes = [most] * (n_runs // most) + ([n_runs % most] if n_runs % most else [])
    return np.concatenate([met(cells(size)) for size in sizes])


def rate_cells(
    rng: np.random.Generator, n_runs: int, rates: tuple[float, float], share: float, step: int, looks: int
) -> Array:
    """Yes and no on the challenger, yes and no on the control: (runs, looks, 4)."""
    first = rng.binomial(step, share, (n_runs, looks))
    arms = np.stack([first, step - first], axis=-1)
    yes = rng.binomial(arms, np.asarray(rates)).cumsum(axis=1)
    no = arms.cumsum(axis=1) - yes
    return np.stack([yes[..., 0], no[..., 0], yes[..., 1], no[..., 1]], axis=-1).astype(np.float64)


def evident(cells: Array, share: float) -> Array:
    return np.maximum(*rate_evidence(cells, share)) >= EVIDENT


def z_says_so(cells: Array) -> Array:
    """The z-test of two proportions at one look, pooled."""
    n_1, n_0 = cells[..., 0] + cells[..., 1], cells[..., 2] + cells[..., 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = (cells[..., 0] + cells[..., 2]) / (n_1 + n_0)
        error = np.sqrt(pooled * (1.0 - pooled) * (1.0 / n_1 + 1.0 / n_0))
        return np.abs(cells[..., 0] / n_1 - cells[..., 2] / n_0) > Z * error


def look_row(what: str, n_runs: int, customers: int, wrong: int, plain: float, own: float | str) -> Row:
    return {
        "both arms the same": what,
        "runs": n_runs,
        "customers": customers,
        "wrong %": 100.0 * wrong / n_runs,
        "at most %": 100.0 * at_most(wrong, n_runs),
        "plain z-test wrong %": 100.0 * plain,
        "own variances wrong %": own,
    }


def rate_rows(rng: np.random.Generator, n_runs: int) -> Iterator[Row]:
    for what, rate, share, intended, step in RATE_WORLDS:

        def cells(size: int, rate: float = rate, share: float = share, step: int = step) -> Array:
            return rate_cells(rng, size, (rate, rate), share, step, 100)

        def met(seen: Array, intended: float = intended) -> Array:
            return np.stack([evident(seen, intended).any(axis=1), z_says_so(seen).any(axis=1)], axis=1)

        ours, plain = of_batches(n_runs, 100, cells, met).T
        yield look_row(what, n_runs, 100 * step, int(ours.sum()), float(plain.mean()), "")


def money_totals(rng: np.random.Generator, spends: float, share: float, step: int) -> Array:
    """Count, sum and sum of squares of both arms at 100 looks of one run: (100, 2, 3)."""
    n = 100 * step
    spent = np.where(rng.random(n) < spends, rng.lognormal(3.0, 1.0, n), 0.0)
    on_challenger = rng.random(n) < share
    arms = np.stack([on_challenger, ~on_challenger])
    of_each = np.stack([arms * 1.0, arms * spent, arms * spent**2], axis=-1)  # (2, n, 3)
    return of_each.reshape(2, 100, step, 3).sum(axis=2).cumsum(axis=1).swapaxes(0, 1)


def money_says_so(totals: Array) -> bool:
    for challenger, control in totals:
        first, second = (ArmTotals(int(arm[0]), float(arm[1]), float(arm[2])) for arm in (challenger, control))
        try:
            found = mean_difference(first, second, alpha=ALPHA)
        except NotEnoughDataError:
            continue
        if not found.ci_low <= 0.0 <= found.ci_high:
            return True
    return False


def without_the_floor(totals: Array) -> tuple[bool, bool]:
    """Whether a z-test, and the published sequence, say so where each arm's variance is its own alone."""
    n, total, squares = np.moveaxis(totals, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = total / n
        error = ((squares - total * means) / (n - 1) / n).sum(axis=1)
        known = 2.0 / (1.0 / n).sum(axis=1) * (-2.0 * math.log(ALPHA) + math.log(1.0 - 2.0 * math.log(ALPHA))) / 5_000
        wide = np.sqrt(error * 2.0 * (known + 1.0) / known * np.log(np.sqrt(known + 1.0) / ALPHA))
        away = np.abs(means[:, 0] - means[:, 1])
        enough = (n >= 2).all(axis=1) & (error > 0.0)
        return bool((enough & (away > Z * np.sqrt(error))).any()), bool((enough & (away > wide)).any())


def money_rows(rng: np.random.Generator, n_runs: int) -> Iterator[Row]:
    for what, spends, share, step in MONEY_WORLDS:
        ours, others = 0, np.zeros(2)
        for _ in range(n_runs):
            totals = money_totals(rng, spends, share, step)
            ours += money_says_so(totals)
            others += without_the_floor(totals)
        plain, own = others / n_runs
        yield look_row(what, n_runs, 100 * step, ours, float(plain), 100.0 * float(own))


def stopping_rows(rng: np.random.Generator, n_runs: int) -> Iterator[Row]:
    """Looked at every 10 customers of both arms, to four times as many customers as the median may take."""
    for what, harmed, sound, most in HARMS:
        looks = 4 * 2 * most // 10

        def cells(size: int, rates: tuple[float, float] = (harmed, sound), looks: int = looks) -> Array:
            return rate_cells(rng, size, rates, 0.5, 10, looks)

        met = of_batches(n_runs, looks, cells, lambda seen: evident(seen, 0.5))
        stopped = np.sort(np.where(met.any(axis=1), 5 * (met.argmax(axis=1) + 1), np.iinfo(np.int64).max))
        rank = int(binom.ppf(0.95, n_runs, 0.5))
        yield {
            "harm": what,
            "runs": n_runs,
            "stopped at the median": int(stopped[n_runs // 2]),
            "median at most": int(stopped[rank]),
            "limit": most,
            "9 of 10 stopped by": int(stopped[int(0.9 * n_runs)]),
            "customers": "an arm",
        }


def ratio_row(rng: np.random.Generator, n_runs: int, what: str, true: float, intended: float, n: int) -> Row:
    """Both arms together: n customers, looked at 200 times."""
    step = n // 200
    shares = np.array([intended, 1.0 - intended])

    def counts(size: int) -> Array:
        first = rng.binomial(step, true, (size, 200)).cumsum(axis=1)
        return np.stack([first, np.arange(step, n + 1, step) - first], axis=-1).astype(np.float64)

    def met(seen: Array) -> Array:
        expected = seen.sum(axis=-1, keepdims=True) * shares
        plain = ((seen - expected) ** 2 / expected).sum(axis=-1) > chi2.ppf(0.998, 1)
        return np.stack([(ratio_evidence(seen, shares) >= math.log(500.0)).any(axis=1), plain.any(axis=1)], axis=1)

    ours, plain = of_batches(n_runs, 200, counts, met).T
    found = int(ours.sum())
    return {
        "sample ratio": what,
        "runs": n_runs,
        "customers": n,
        "mismatch %": 100.0 * found / n_runs,
        "at least %": 100.0 * at_least(found, n_runs),
        "at most %": 100.0 * at_most(found, n_runs),
        "chi-square at .2% %": 100.0 * float(plain.mean()),
    }


def ratio_rows(rng: np.random.Generator, n_runs: int) -> Iterator[Row]:
    yield ratio_row(rng, n_runs, "50/50 as intended", 0.5, 0.5, 6_000)
    yield ratio_row(rng, n_runs, "50/50 as intended, long", 0.5, 0.5, 200_000)
    yield ratio_row(rng, n_runs, "1/50 as intended", ONE_TO_FIFTY, ONE_TO_FIFTY, 200_000)
    yield ratio_row(rng, n_runs, "46/54 where 50/50 was", 0.46, 0.5, 6_000)
    yield ratio_row(rng, n_runs, "49/51 where 50/50 was", 0.49, 0.5, 200_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    rng, n_runs = np.random.default_rng(chosen.seed), chosen.runs
    limits: Limits = {}

    looks = [*rate_rows(rng, n_runs), *money_rows(rng, min(n_runs, 2_000))]
    for row in looks:
        limits[f"A/A, {row['both arms the same']}: wrong in at most {row['at most %']:.2f}%, of 5%"] = (
            row["at most %"] <= 5.0
        )
    print_and_keep("evidence_looks", "A/A, looked at 100 times, alpha 5%", looks)

    stopping = list(stopping_rows(rng, min(n_runs, 2_000)))
    for row in stopping:
        limits[f"{row['harm']}: median at most {row['median at most']:,} an arm, of {row['limit']:,}"] = (
            row["median at most"] <= row["limit"]
        )
    print_and_keep("evidence_stopping", "Harms stopped, looked at every 10 customers, alpha 5%", stopping)

    ratios = list(ratio_rows(rng, 5 * n_runs))
    for row in ratios[:3]:
        limits[f"{row['sample ratio']}: false alarms at most {row['at most %']:.3f}%, of 0.2%"] = (
            row["at most %"] <= 0.2
        )
    caught = ratios[3]
    limits[f"{caught['sample ratio']}: caught at least {caught['at least %']:.2f}%, of 99%"] = (
        caught["at least %"] >= 99.0
    )
    print_and_keep("evidence_sample_ratio", "Sample ratio, looked at 200 times, alpha 0.2%", ratios)

    hashing = list(hashing_rows())
    limits |= {f"{row['hashing']}: {row['figure']}, {row['limit']}": kept for row, kept in hashing}
    print_and_keep(
        "evidence_hashing", "Places of a million customers", [row for row, _ in hashing], limit_words(limits)
    )
    require_kept("the evidence of rollouts", limits)


if __name__ == "__main__":
    main()
