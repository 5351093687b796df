"""The options of `--tune`, and the search that they ask for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from features.errors import ConfigurationError

if TYPE_CHECKING:
    from training.settings import Settings
    from training.tuned import Tuner

__all__ = ["Minutes", "Trials", "Tune", "tuner_of"]

Tune = Annotated[
    bool, typer.Option("--tune", help="First search for better settings, inside the training rows; Ctrl-C ends that.")
]
Minutes = Annotated[
    float | None, typer.Option("--tune-minutes", min=0, help="Time budget of --tune; 0 is none. Default: 5.")
]
Trials = Annotated[int | None, typer.Option(min=1, help="At most so many trials of --tune. Default: 40.")]


def tuner_of(
    settings: Settings, tune: bool, minutes: float | None, trials: int | None, progress: Callable[[str], None]
) -> Tuner | None:
    """The search asked for, or None for none.

    Raises:
        ConfigurationError: its options are given without it.
    """
    if not tune:
        if minutes is not None or trials is not None:
            raise ConfigurationError("--tune-minutes and --trials say how long --tune searches; add --tune")
        return None
    from training.tuning import tune_churn

    tuning = settings.tuning
    if minutes is not None:
        tuning = replace(tuning, minutes=minutes)
    if trials is not None:
        tuning = replace(tuning, trials=trials)
    return partial(tune_churn, tuning=tuning, elapsed_seconds=time.monotonic, progress=progress)
