"""What commands on models share: the stages of a job as a person sees them, and the registry of the workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from training.cli.context import CliContext

if TYPE_CHECKING:
    from training.registry import Registry
    from training.settings import Settings

__all__ = ["open_registry", "stages"]


@contextmanager
def stages(session: CliContext) -> Iterator[Callable[[str], None]]:
    """Show what a job is doing, with a spinner and the time since the start; nothing where a script is reading."""
    started = time.monotonic()
    console = Console(stderr=True, quiet=session.json)
    with console.status("starting ...") as status:

        def show(stage: str) -> None:
            console.print(f"{time.monotonic() - started:6.1f} s  {stage}", highlight=False)
            status.update(f"{stage} ...")

        yield show


def open_registry(session: CliContext, settings: Settings) -> Registry:
    """The registered models of the workspace."""
    from training.registry import Registry
    from training.tracking import open_tracking

    return Registry(open_tracking(session.workspace, wait_seconds=settings.tracking.lock_wait_seconds))
