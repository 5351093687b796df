"""Who is eligible: customers of whom a churn score means something."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.customer_view import CustomerView
from features.instants import DAY_US
from features.tracks import ORDER
from features.windows import counts_known
from training.churn_settings import ChurnSettings

__all__ = ["eligible"]


def eligible(view: CustomerView, as_of_us: int, settings: ChurnSettings) -> npt.NDArray[np.bool_]:
    """Whether each customer ordered in `[as_of - eligible_days, as_of)`, counting only what was recorded before as_of.

    Who has been silent for longer has left already; scoring them would flatter any model.

    Returns:
        bool, shape (n_customers,).
    """
    start = as_of_us - settings.eligible_days * DAY_US
    ordered: npt.NDArray[np.bool_] = counts_known(view, ORDER, start, as_of_us, as_of_us) > 0
    return ordered
