"""Recommendations on a real shop's orders, out of time: ours beside popularity, buy-again, ALS and every source alone.

The file is imported as a shop would. Everything is fitted, and every weight and the ranker chosen, on what was known
before the last --days; those days are read once, to judge: all purchases, repeated ones and new items, each apart (for
new items no list holds what the customer owns). Intervals are of the paired difference, customers drawn anew.
With --earlier the log is taken to end so many days before it does: for trying things out without reading the test.
Run: python -m benchmarks.bench_shop_recommendations [--log FILE ...] [--days 30] [--earlier 0]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from benchmarks.bench_shop_churn import SHOP, imported
from benchmarks.report import limit_words, peak_rss_gib, print_and_keep, require_kept
from features.customer_view import CustomerView
from features.instants import DAY_US, format_instant
from features.schema import ITEMS
from features.tables import read_table
from features.workspace import Workspace
from training.fitted_sources import SourceSettings
from training.recommender import RecommenderFitSettings
from training.recommender_evaluation import EvaluationSettings, backtest_recommender
from training.recommender_judging import OURS
from training.recommender_report import Estimate, RecommenderReport, SourceFigures

SOURCES = tuple(dict.fromkeys((*SourceSettings().use, "graph")))
BEATEN = ("popularity", "buy_again", "als")
SEGMENTS = ("repeat", "new")


def short(value: float, form: str = ".4f") -> str:
    """A figure below 1 without its leading 0.

    >>> short(0.25), short(-0.5, "+.2f"), short(12.5, ".2f")
    ('.2500', '-.50', '12.50')
    """
    text = format(value, form)
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def shown(estimate: Estimate, sign: str = "") -> str:
    """A figure with its interval."""
    mean, low, high = (short(one, f"{sign}.4f") for one in (estimate.mean, estimate.ci_low, estimate.ci_high))
    return f"{mean} [{low}, {high}]"


def ordered(report: RecommenderReport, segment: str) -> list[SourceFigures]:
    """The contenders, the best first."""
    return sorted((row for row in report.figures if row.segment == segment), key=lambda row: -row.ndcg_at_10.mean)


def found(report: RecommenderReport) -> list[dict[str, str]]:
    """What each contender finds of all purchases, of repeated ones and of new items."""
    return [
        {
            "purchases": segment,
            "source": row.source,
            "NDCG@10": shown(row.ndcg_at_10),
            "ours minus it": "" if row.source == OURS else shown(report.gain_over(row.source, segment).gain_abs, "+"),
            "recall@20": short(row.recall_at_20.mean),
            "MAP@10": short(row.map_at_10.mean),
            "hit rate@10": short(row.hit_rate_at_10.mean),
        }
        for segment in ("all", *SEGMENTS)
        for row in ordered(report, segment)
    ]


def lists(report: RecommenderReport) -> list[dict[str, str]]:
    """What the first ten places of each contender are like, and those of ours by history length."""
    ours = [row for row in report.figures if row.source == OURS and row.segment.startswith("history")]
    return [
        {
            "customers": row.segment,
            "source": row.source,
            "NDCG@10": shown(row.ndcg_at_10),
            "coverage": short(row.coverage_at_10, ".3f"),
            "novelty, bits": short(row.novelty_at_10.mean, ".2f"),
            "Gini": short(row.gini_at_10, ".3f"),
            "personalisation": short(row.personalisation_at_10, ".3f"),
            "fallback": short(row.fallback_at_10, ".3f"),
        }
        for row in [*ordered(report, "all"), *ours]
    ]


def limits(report: RecommenderReport) -> dict[str, bool]:
    """Ours is better than each of the three by more than noise, for repeat purchase and for new items."""
    held = {}
    for segment in SEGMENTS:
        for name in BEATEN:
            gain = report.gain_over(name, segment).gain_abs
            words = "repeat purchase" if segment == "repeat" else "new items"
            held[f"{words}: NDCG@10 above {name}'s by {shown(gain, '+')}, an interval above 0"] = gain.ci_low > 0
    return held


def weights(chosen: Mapping[str, float]) -> str:
    """Those above 0, the largest first."""
    kept = sorted(((name, weight) for name, weight in chosen.items() if weight > 0), key=lambda one: -one[1])
    return ", ".join(f"{name} {short(weight, '.2f')}" for name, weight in kept)


def notes(report: RecommenderReport, seconds: float) -> list[str]:
    """What was chosen before the test, and what it cost."""
    new = weights(report.new) if report.new else "the same"
    said = [f"weights chosen on the slice before the cut-off: {weights(report.blend)}"]
    said.append(f"weights for lists that show nothing owned: {new}")
    for words, choice in (("a ranker", report.ranker), ("one for lists that show nothing owned", report.new_ranker)):
        if choice is not None:
            said.append(f"{words} is {'used' if choice.used else 'not used'}: {choice.reason}")
    said.append(
        f"fit with every choice and judging {seconds:.0f} s, peak memory {peak_rss_gib():.2f} GiB; {report.n_unknown} "
        f"more customers bought without a history ({report.fallback_share:.1%}); {report.n_outside} purchased pairs "
        "are of items that nobody had met before the cut-off"
    )
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, nargs="+", default=[SHOP], help="files of one shop, imported together")
    parser.add_argument("--mapping", default="online_retail_ii")
    parser.add_argument("--days", type=int, default=30, help="the test, at the end of the log")
    parser.add_argument("--earlier", type=int, default=0, help="days at the end of the log that are not looked at")
    parser.add_argument("--sources", nargs="+", default=SOURCES, help="candidate sources to choose among")
    parser.add_argument("--replicates", type=int, default=1_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = imported(asked.log, asked.mapping, Path(folder))
        items = read_table(Workspace(Path(folder)).items, ITEMS)
    end_us = data.end_us - asked.earlier * DAY_US
    view: CustomerView = data.view.known_at(end_us) if asked.earlier else data.view
    as_of_us = end_us - asked.days * DAY_US
    judging = EvaluationSettings(label_days=asked.days, max_customers=100_000, n_replicates=asked.replicates)
    fitting = RecommenderFitSettings(sources=SourceSettings(use=tuple(asked.sources)))
    start = time.perf_counter()
    (report,) = backtest_recommender(view, [as_of_us], fitting, judging, items=items)
    seconds = time.perf_counter() - start
    held = limits(report)
    title = (
        f"purchases in {asked.days} days from {format_instant(as_of_us)}: {report.n_judged:,} customers, "
        f"{report.n_items:,} items, all of them ranked"
    )
    name = "shop_recommendations_earlier" if asked.earlier else "shop_recommendations"
    print_and_keep(f"{name}_lists", f"what the lists are like; {title}", lists(report))
    print_and_keep(name, title, found(report), [*notes(report, seconds), *limit_words(held)])
    require_kept("recommendations of a shop", held)


if __name__ == "__main__":
    main()
