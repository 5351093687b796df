"""What every command is given: where the shop's folder is, which settings file, and whether a script is reading."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from features.workspace import Workspace

if TYPE_CHECKING:
    from training.settings import Settings

__all__ = ["CliContext"]


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
