"""The command line and the service as a user runs them: in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOLDFAST = Path(sys.executable).with_name("holdfast")


def holdfast(workspace: Path, *words: str) -> Any:
    """Run `holdfast --json WORDS` on a workspace; its answer, or a failure that shows what it said."""
    done = run_holdfast(workspace, *words)
    assert done.returncode == 0, f"holdfast {' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else None


def run_holdfast(
    workspace: Path, *words: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `holdfast --json WORDS` on a workspace, whatever comes of it; `environment` is added to this process's."""
    command = [str(HOLDFAST), "--workspace", str(workspace), "--json", *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return subprocess.run(
        command, env=clean | dict(environment or {}), capture_output=True, text=True, check=False, timeout=900
    )
