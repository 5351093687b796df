"""What every command is given: where the shop's folder is, which settings file, and whether a script is reading."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from features.errors import TimeError
from features.instants import format_instant, parse_instant
from features.workspace import Workspace

if TYPE_CHECKING:
    from training.settings import Settings

__all__ = ["CliContext", "past_instant"]


def past_instant(text: str | None) -> int | None:
    """Microseconds of an instant given with `--as-of`; None where none is given.

    Raises:
        TimeError: it is no ISO-8601 instant with an offset, or lies in the future: nothing is known of it yet.
    """
    if text is None:
        return None
    instant, now_us = parse_instant(text), time.time_ns() // 1_000
    if instant > now_us:
        raise TimeError(
            f"--as-of {format_instant(instant)} lies in the future (it is {format_instant(now_us)}): a snapshot there "
            "would count days in which nobody could order; leave it out for the instant after the last recorded event"
        )
    return instant


@dataclass(frozen=True)
class CliContext:
    """Made once, by the command line's first callback, and handed to commands as `ctx.obj`."""

    workspace: Workspace
    config: Path | None = None
    json: bool = False

    def settings(self, problem: str | None = None) -> Settings:
        """The settings of `--config`, or of holdfast.toml in the shop's folder, or the defaults.

        `problem`, a churn question's name or file, takes the place of theirs.

        Raises:
            ConfigurationError: a file is missing or holds an unknown or ill-typed key.
        """
        from training.churn_problem import load_problem
        from training.settings import load_settings

        found = load_settings(self.config, self.workspace.root)
        if problem is None:
            return found
        return replace(found, churn=replace(found.churn, problem=load_problem(problem)))
