"""Made-up customers of a contract business with a known cause of leaving: those on a monthly contract leave most."""

from __future__ import annotations

from pathlib import Path

import numpy as np

HEADER = ("customerID", "Contract", "tenure", "MonthlyCharges", "Partner", "comment", "Churn")


def customers(n: int, seed: int = 1) -> list[list[str]]:
    """n rows in the columns of HEADER; `comment` is empty throughout and every fiftieth `tenure` is missing."""
    rng = np.random.default_rng(seed)
    monthly, tenure = rng.random(n) < 0.5, rng.integers(0, 72, n)
    charges, partner = np.round(rng.uniform(20, 110, n), 2), rng.random(n) < 0.5
    left = rng.random(n) < 1 / (1 + np.exp(0.5 - 2.5 * monthly + 0.05 * tenure))
    return [
        [
            f"A-{row:04d}",
            "Month-to-month" if monthly[row] else "Two year",
            "" if row % 50 == 0 else str(tenure[row]),
            str(charges[row]),
            "Yes" if partner[row] else "No",
            "",
            "Yes" if left[row] else "No",
        ]
        for row in range(n)
    ]


def write_table(path: Path, rows: list[list[str]], header: tuple[str, ...] = HEADER) -> Path:
    """A CSV file of these rows; without a last column where the header lacks it."""
    lines = [",".join(header), *(",".join(row[: len(header)]) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
