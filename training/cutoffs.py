"""Cut-offs in time: at which instants to train, to calibrate and to judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.instants import DAY_US, format_instant
from features.schema import KINDS
from training.churn_settings import ChurnSettings

__all__ = ["TimeSplit", "backtest_cutoffs", "observed_span", "rolling_cutoffs", "split_in_time"]

_CLOSEST_DAYS = 7


@dataclass(frozen=True)
class TimeSplit:
    """Which cut-offs (UTC microseconds, ascending) fit, calibrate and judge a model.

    calibration_by: `later_slice` - the calibration cut-off lies after every training label window;
    `held_out_customers` - the log is too short for that, so customers of the latest training cut-off are kept out of
    fitting altogether and used for calibration; `cross_fitted` - a table of customers knows one instant: some are kept
    apart to judge by, and each of the others is calibrated on as held out of fitting in turn.
    test is None where the model is made for release only.
    """

    train: tuple[int, ...]
    calibration: int
    test: int | None
    calibration_by: Literal["later_slice", "held_out_customers", "cross_fitted"]

    def to_manifest(self) -> dict[str, object]:
        """The split as JSON values, instants in ISO-8601."""
        return {
            "train": [format_instant(cutoff) for cutoff in self.train],
            "calibration": format_instant(self.calibration),
            "test": None if self.test is None else format_instant(self.test),
            "calibration_by": self.calibration_by,
        }


def observed_span(view: CustomerView) -> tuple[int, int]:
    """First instant and exclusive end (one microsecond after the last event) of what the view holds.

    Raises:
        NotEnoughDataError: there is no event.
    """
    times = [track.occurred_us for track in (view.track(kind) for kind in KINDS) if track.occurred_us.size]
    if not times:
        raise NotEnoughDataError("the event log holds 0 events; import some before training")
    return min(int(t.min()) for t in times), max(int(t.max()) for t in times) + 1


def rolling_cutoffs(first_us: int, last_us: int, settings: ChurnSettings) -> tuple[int, ...]:
    """Every cut-off that can be labelled, ascending, `step_days` apart, each at midnight UTC.

    The latest one's label window ends at or before `last_us` (exclusive end of the log); the earliest has
    `min_history_days` behind it.

    Raises:
        NotEnoughDataError: not even one fits.

    >>> from training.churn_problem import ChurnProblem
    >>> settings = ChurnSettings(problem=ChurnProblem(horizons_days=(30,)), min_history_days=60, step_days=10)
    >>> [cutoff // DAY_US for cutoff in rolling_cutoffs(0, 115 * DAY_US, settings)]
    [65, 75, 85]
    """
    latest = (last_us - settings.horizon_us) // DAY_US * DAY_US
    earliest = first_us + settings.min_history_days * DAY_US
    if latest < earliest:
        needed = settings.min_history_days + settings.gap_days + settings.label_window_days
        raise NotEnoughDataError(
            f"the log covers {(last_us - first_us) / DAY_US:.0f} days, {format_instant(first_us)} to "
            f"{format_instant(last_us)}, and one cut-off needs {needed} and a midnight: {settings.min_history_days} of "
            f"history, {settings.gap_days} of gap, {settings.label_window_days} of label window; shorten them or "
            "import more"
        )
    return _stepping_back(latest, earliest, settings)


def backtest_cutoffs(first_us: int, last_us: int, settings: ChurnSettings, *, least: int, most: int) -> tuple[int, ...]:
    """Cut-offs to judge at, ascending: `step_days` apart, or closer where fewer than `least` would fit.

    Never closer than 7 days; of more than `most` that many are taken, evenly spread. Before each there is history, a
    label window for training and calibration, and more history before that; the last one's label window ends with the
    log.

    Raises:
        NotEnoughDataError: no cut-off can be labelled at all.

    >>> from training.churn_problem import ChurnProblem
    >>> settings = ChurnSettings(problem=ChurnProblem(horizons_days=(30,)), min_history_days=60, step_days=30)
    >>> [cutoff // DAY_US for cutoff in backtest_cutoffs(0, 200 * DAY_US, settings, least=6, most=8)]
    [90, 106, 122, 138, 154, 170]
    >>> [cutoff // DAY_US for cutoff in backtest_cutoffs(0, 500 * DAY_US, settings, least=2, most=3)]
    [110, 290, 470]
    """
    latest = rolling_cutoffs(first_us, last_us, settings)[-1]
    earliest = first_us + settings.min_history_days * DAY_US + settings.horizon_us + settings.embargo_days * DAY_US
    span_days = (latest - earliest) // DAY_US
    closer = max(_CLOSEST_DAYS, span_days // max(least - 1, 1))
    step = min(settings.step_days, closer) * DAY_US
    every = range(latest, min(earliest, latest) - 1, -step)[::-1]
    if len(every) <= most:
        return tuple(every)
    if most == 1:
        return (latest,)
    return tuple(every[round(place * (len(every) - 1) / (most - 1))] for place in range(most))


def split_in_time(
    first_us: int, last_us: int, settings: ChurnSettings, *, test_us: int | None = None, judged: bool = True
) -> TimeSplit:
    """Training, calibration and test cut-offs, so that nothing a slice learns from reaches into the next.

    With `judged` the test cut-off is `test_us`, or the latest that can be labelled; every label window used for fitting
    and calibration ends `embargo_days` before it or earlier. Without, calibration takes the latest labelled cut-off.
    Training label windows likewise end before a later calibration slice. Where fewer than `min_train_cutoffs` would be
    left for training, calibration is by held-out customers of the latest training cut-off.

    Raises:
        NotEnoughDataError: no training cut-off is left; the message gives the days at hand and needed.
    """
    labelled = rolling_cutoffs(first_us, last_us, settings)
    apart = settings.horizon_us + settings.embargo_days * DAY_US
    test: int | None = None
    if judged:
        test = labelled[-1] if test_us is None else test_us
        if test > labelled[-1]:
            raise NotEnoughDataError(
                f"a test at {format_instant(test)} has no whole label window; the latest that has one is "
                f"{format_instant(labelled[-1])}"
            )
        calibration = test - apart
    else:
        calibration = labelled[-1]
    earliest = first_us + settings.min_history_days * DAY_US
    if calibration < earliest:
        raise NotEnoughDataError(
            f"a test at {format_instant(test if test is not None else calibration)} leaves "
            f"{(calibration - first_us) / DAY_US:.0f} days of history before the latest training cut-off; "
            f"{settings.min_history_days} are needed; import more, or shorten the label window"
        )
    before = _stepping_back(calibration - apart, earliest, settings)
    if len(before) >= settings.min_train_cutoffs:
        return TimeSplit(before[-settings.max_train_cutoffs :], calibration, test, "later_slice")
    upto = _stepping_back(calibration, earliest, settings)
    return TimeSplit(upto[-settings.max_train_cutoffs :], calibration, test, "held_out_customers")


def _stepping_back(latest: int, earliest: int, settings: ChurnSettings) -> tuple[int, ...]:
    return tuple(sorted(range(latest, earliest - 1, -settings.step_days * DAY_US)))
