"""For whom reasons are computed when everybody is scored: a reason costs many times what a score does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.errors import ConfigurationError
from serving.bands import Bands

__all__ = ["ReasonsFor", "reasons_for"]

_FORMS = "all, none, band:medium, band:high, or riskiest:SHARE with a share above 0 and at most 1, such as riskiest:0.1"


@dataclass(frozen=True)
class ReasonsFor:
    """Who gets reasons.

    kind: `all`; `none`; `band`, who falls into a band or above; `riskiest`, a share of the eligible customers.
    share: of the riskiest. band: the lowest band whose customers get reasons.
    """

    kind: Literal["all", "none", "band", "riskiest"] = "all"
    share: float = 1.0
    band: Literal["medium", "high"] = "high"

    def least_margin(self, margins: npt.NDArray[np.float64], eligible: npt.NDArray[np.bool_]) -> float:
        """The margin from which on customers are among the riskiest; all are counted where nobody is eligible.

        Customers equal to the last of them are among them too.

        >>> everybody = np.ones(10, bool)
        >>> ReasonsFor("riskiest", 0.2).least_margin(np.arange(10.0), everybody)
        8.0
        """
        counted = margins[eligible] if eligible.any() else margins
        place = counted.size - max(1, math.ceil(self.share * counted.size))
        return float(np.partition(counted, place)[place])

    def cut_off(self, bands: Bands) -> float:
        """The probability from which on a customer is in the band, or above it."""
        return bands.high if self.band == "high" else bands.medium


def reasons_for(text: str) -> ReasonsFor:
    """The choice as written on the command line.

    Raises:
        ConfigurationError: it is written in none of the known ways.

    >>> reasons_for("riskiest:0.1")
    ReasonsFor(kind='riskiest', share=0.1, band='high')
    """
    kind, _, detail = text.partition(":")
    if text in ("all", "none"):
        return ReasonsFor("all" if text == "all" else "none")
    if kind == "band" and detail in ("medium", "high"):
        return ReasonsFor("band", band="high" if detail == "high" else "medium")
    try:
        share = float(detail)
    except ValueError:
        share = math.nan
    if kind != "riskiest" or not 0 < share <= 1:
        raise ConfigurationError(f"reasons for {text!r} are not known; write {_FORMS}")
    return ReasonsFor("riskiest", share)
