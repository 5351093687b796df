"""Asks whether a locked package has a known vulnerability, and says so loudly where nobody could be asked.

`pip-audit` counts a package that its service does not know as clean, and a mirror of the package index often knows no
vulnerabilities at all. So it is first asked about a package whose fault has been known for years: an answer without
that fault is no answer.

    python requirements/audit.py requirements/serving.txt requirements/dev.txt

Exit codes: 0 nothing is known, or nobody could be asked and `--required` is not given; 1 a vulnerability, or packages
that the service does not know; 2 nobody could be asked although `--required` is.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

KNOWN_FAULT = "jinja2==2.11.2"
"""PYSEC-2021-66: a regular expression that can be made to run for ever."""

FIRST_S, ALL_S = 25.0, 90.0
"""So long at most for the question about the known fault, and for all packages."""

Ask = Callable[[Sequence[Path], float], list[dict[str, Any]] | None]


def pip_audit(files: Sequence[Path], seconds: float) -> list[dict[str, Any]] | None:
    """What `pip-audit` says of each package in requirements files; None where it gives no answer in time."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--disable-pip"]
    command += ["--no-deps", "--timeout", "10", *(word for file in files for word in ("-r", str(file)))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
        found = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    dependencies: list[dict[str, Any]] = found["dependencies"]
    return dependencies


def service_tells(ask: Ask) -> bool:
    """Whether the service knows a vulnerability that everybody knows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "known.txt"
        file.write_text(f"{KNOWN_FAULT}\n", encoding="utf-8")
        answered = ask([file], FIRST_S)
    return bool(answered) and any(one.get("vulns") for one in answered or ())


def faults(answered: list[dict[str, Any]]) -> list[str]:
    """One sentence for each vulnerability, and for each package that the service could not judge."""
    told = []
    for one in answered:
        for fault in one.get("vulns", ()):
            mended = ", ".join(fault["fix_versions"]) or "no version"
            told.append(f"{one['name']} {one['version']}: {fault['id']}, mended in {mended}")
        if "skip_reason" in one:
            told.append(f"{one['name']}: not judged, {one['skip_reason']}")
    return told


def audit(files: Sequence[Path], *, required: bool, ask: Ask = pip_audit) -> int:
    """Ask about every package of the files; the exit code."""
    answered = ask(files, ALL_S) if service_tells(ask) else None
    if answered is None:
        say("NOT AUDITED: no vulnerability service that knows anything can be reached from here.")
        say("Nothing is said about the locked packages; run `make audit` where pypi.org answers.")
        return 2 if required else 0
    found = faults(answered)
    for one in found:
        say(one)
    say(f"{len(answered)} packages audited, {len(found)} findings")
    return 1 if found else 0


def say(line: str) -> None:
    """To standard error, where a build's log shows it."""
    sys.stderr.write(f"audit: {line}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--required", action="store_true", help="fail where nobody can be asked")
    given = parser.parse_args()
    sys.exit(audit(given.files, required=given.required))
