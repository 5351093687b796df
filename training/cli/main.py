"""The entry point: `holdfast COMMAND`. Commands are grouped in modules beside this one and import what they need late.

Exit codes: 0 done, 1 unforeseen, 2 usage or configuration, 3 data, 4 not enough data, 5 artefact, 6 unavailable for
now (try again), 7 not promoted, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from features.errors import HoldfastError
from features.workspace import Workspace
from training.cli import (
    access_commands,
    data,
    demo,
    doctor,
    key_commands,
    models,
    recommend_commands,
    rollout_commands,
    service,
    store_commands,
)
from training.cli.context import CliContext

__all__ = ["app", "run"]

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "BENTOML_DO_NOT_TRACK": "True",
    "OPENBLAS_NUM_THREADS": "1",  # implicit parallelises by itself and slows down beside a threaded BLAS
}
"""What our entry points set before any library is imported: nothing phones home."""

app = typer.Typer(
    name="holdfast",
    help="From a customer event log to proven retention.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)


@app.callback()
def main(
    context: typer.Context,
    workspace: Annotated[
        Path,
        typer.Option("--workspace", "-w", envvar="HOLDFAST_WORKSPACE", help="Folder of one shop's data and models."),
    ] = Path("holdfast-data"),
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings in TOML; default: holdfast.toml in the workspace.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(envvar="HOLDFAST_STORE", help="URL of the service's PostgreSQL database, if it is no file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON, for scripts.")] = False,
) -> None:
    """From a customer event log to proven retention."""
    context.obj = CliContext(Workspace(workspace, store), config, as_json)


for module in (
    data,
    models,
    recommend_commands,
    service,
    rollout_commands,
    store_commands,
    access_commands,
    key_commands,
    doctor,
    demo,
):
    module.register(app)


def run() -> None:
    """Run the command line; a refusal becomes one clear line and an exit code."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except HoldfastError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": {"code": error.code, "message": str(error)}}))
        else:
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
