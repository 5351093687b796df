"""What every benchmark ends with: a table for people and the same figures as JSON under benchmarks/results/."""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def print_and_keep(name: str, title: str, rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> None:
    """Print rows that share their keys as a table, and write them with the machine's size to results/<name>.json."""
    table = Table(title=title)
    for key in rows[0]:
        table.add_column(key, justify="left" if isinstance(rows[0][key], str) else "right")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    for note in notes:
        console.print(note)
    RESULTS.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
    kept = {"title": title, "machine": machine, "rows": list(rows), "notes": list(notes)}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def limit_words(limits: Mapping[str, bool]) -> list[str]:
    """Each limit in words, and whether it is kept.

    >>> limit_words({"AUC 0.86 is above 0.85": True, "Brier 0.2 is below 0.1": False})
    ['kept: AUC 0.86 is above 0.85', 'NOT kept: Brier 0.2 is below 0.1']
    """
    return [f"{'kept' if held else 'NOT kept'}: {words}" for words, held in limits.items()]


def require_kept(of: str, limits: Mapping[str, bool]) -> None:
    """End with exit code 1 and how many limits are missed, named above; nothing happens where all are kept."""
    missed = sum(not held for held in limits.values())
    if missed:
        raise SystemExit(f"limits NOT kept by {of} ({missed}); see above")


def _shown(value: Any) -> str:
    return f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def peak_rss_gib() -> float:
    """The largest resident memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
