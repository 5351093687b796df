"""Who churned: no order in the label window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.errors import NotEnoughDataError
from features.instants import DAY_US, format_instant
from features.tracks import ORDER
from features.windows import counts, counts_known
from training.churn_settings import ChurnSettings

__all__ = ["churned"]


def churned(
    view: CustomerView, as_of_us: int, settings: ChurnSettings, *, observed_until_us: int, known_us: int | None = None
) -> npt.NDArray[np.bool_]:
    """Whether each customer of the view placed no order in `[as_of + gap, as_of + gap + label_window)`.

    `view` holds what is known now, not at as_of: a label may use whatever was recorded later. With `known_us` it uses
    only what was recorded before that instant, as a fit at that instant had to. `observed_until_us` is the exclusive
    end of the log.

    Returns:
        bool, shape (n_customers,).

    Raises:
        NotEnoughDataError: the label window reaches beyond the log's end, or beyond `known_us`: silence there would
            not be churn.
    """
    start = as_of_us + settings.gap_days * DAY_US
    end = start + settings.label_window_days * DAY_US
    if end > observed_until_us:
        raise NotEnoughDataError(
            f"the label window of cut-off {format_instant(as_of_us)} ends at {format_instant(end)}, but the log ends "
            f"at {format_instant(observed_until_us)}; take an earlier cut-off"
        )
    if known_us is None:
        ordered = counts(view, ORDER, start, end)
    elif end > known_us:
        raise NotEnoughDataError(
            f"the label window of cut-off {format_instant(as_of_us)} ends at {format_instant(end)}, later than "
            f"{format_instant(known_us)}, at which it must be known; take an earlier cut-off"
        )
    else:
        ordered = counts_known(view, ORDER, start, end, known_us)
    silent: npt.NDArray[np.bool_] = ordered == 0
    return silent
