"""Every call of the API document as schemathesis makes it, right and wrong, in this process: what came of each.

All its checks are on, and ours besides (tests/fuzzed_api.py).
Run: python -m benchmarks.bench_schema [--examples 1000] [--seed 1]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import limit_words, print_and_keep, require_kept
from tests.fuzzed_api import STATEFUL, Row, fuzz
from tests.fuzzed_shop import fuzzed_service

LEAST_GOOD = 0.05
"""Of the answers of an operation: with fewer it would be refusals alone that were looked at."""

SHOWN = 3
"""Violations of an operation that are printed whole."""


def row_of(label: str, row: Row) -> dict[str, Any]:
    statuses = " ".join(f"{status}:{n}" for status, n in sorted(row.statuses.items()))
    violations = row.violations.total()
    return {"operation": label, "examples": row.examples, "good": row.good_share, "statuses": statuses} | {
        "violations": violations
    }


def tell(label: str, row: Row) -> None:
    """One line an operation while the others are still to come."""
    print(f"{label}: {row.examples:,} calls, {row.violations.total()} violations", flush=True)


def limits(rows: dict[str, Row], n_examples: int) -> dict[str, bool]:
    """What must hold, in words."""
    operations = {label: row for label, row in rows.items() if label != STATEFUL}
    fewest = min(row.examples for row in operations.values())
    errors = sum(n for row in rows.values() for status, n in row.statuses.items() if status >= 500)
    violations = sum(row.violations.total() for row in rows.values())
    shed = sum(row.statuses[429] for row in rows.values())
    least = min(row.good_share for row in operations.values())
    return {
        f"{fewest:,} examples of the operation with the fewest are at least {n_examples:,}": fewest >= n_examples,
        f"{errors} server errors are 0": errors == 0,
        f"{violations} violations are 0": violations == 0,
        f"{shed} answers are 429: none is turned away": shed == 0,
        f"{least:.1%} good answers of the operation with the fewest are above {LEAST_GOOD:.0%}": least > LEAST_GOOD,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # each refusal of a release or a rollout would say so
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name, fuzzed_service(Path(name)) as service:
        rows = fuzz(service, given.examples, seed=given.seed, told=tell)
    for label, row in rows.items():
        for words in list(row.violations)[:SHOWN]:
            print(f"{label}\n{words}\n")
    kept = limits(rows, given.examples)
    notes = [f"{sum(row.examples for row in rows.values()):,} calls in {time.perf_counter() - started:.0f} s"]
    table = [row_of(label, row) for label, row in sorted(rows.items())]
    print_and_keep("schema", "Calls made by schemathesis", table, [*notes, *limit_words(kept)])
    require_kept("bench_schema", kept)


if __name__ == "__main__":
    main()
