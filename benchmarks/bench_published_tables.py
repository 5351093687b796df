"""Tables that papers publish, measured here: `python -m benchmarks.bench_published_tables [--only gowalla]`.

Every source alone, popularity and the blend stand beside the published rows, with seconds and memory of the fit. All is
chosen inside the training part and the test part is read once. Each data set runs in a process of its own, so that its
peak of memory is its own. Kept in benchmarks/results/published_<name>.json; the exit code is 1 where a limit is missed.
Run: python -m benchmarks.bench_published_tables [--only NAME] [--path FOLDER]. FOLDER holds files of the form of NAME.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

from benchmarks.published.table import DataSet
from benchmarks.report import limit_words, print_and_keep, require_kept

DATA = Path(__file__).parents[2] / "shared" / "data"
DATA_SETS: Mapping[str, str] = {
    "gowalla": "benchmarks.published.gowalla",
    "movielens": "benchmarks.published.movielens",
    "beauty": "benchmarks.published.beauty",
    "tafeng": "benchmarks.published.tafeng",
}


def one(name: str, path: Path | None) -> None:
    """Print and keep the table of one data set."""
    data_set: DataSet = import_module(DATA_SETS[name])
    found = data_set.run(path or DATA / data_set.FOLDER)
    keep = found.name if path is None else f"{found.name}_{path.name.lower()}"
    print_and_keep(keep, found.title, found.rows, [*found.notes, *limit_words(found.limits)])
    require_kept(f"the table of {name}", found.limits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(DATA_SETS), help="one data set; all of them by default")
    parser.add_argument("--path", type=Path, help="a folder of files of the same form")
    options = parser.parse_args()
    if options.path and not options.only:
        parser.error("name the form of the files: --only NAME --path FOLDER")
    if options.only:
        one(options.only, options.path)
        return
    command = [sys.executable, "-m", "benchmarks.bench_published_tables", "--only"]
    missed = [name for name in DATA_SETS if subprocess.run([*command, name], check=False).returncode]
    if missed:
        raise SystemExit(f"limits NOT kept by {', '.join(missed)}; see above")


if __name__ == "__main__":
    main()
