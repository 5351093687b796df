"""What is to be expected of a customer, as answered: by horizon, when, how much; and which segments they are in."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from features.instants import DAY_US, format_instant
from serving.churn_model import ChurnModel
from serving.forecast import QUANTILES, VALUE_DAYS, Forecast
from serving.lifecycle import STAGES
from serving.segments import Language, Segmentation, SegmentNames, Segments

__all__ = ["forecast_fields", "segment_fields"]

_LEVELS = tuple(f"p{round(100 * level)}" for level in QUANTILES)


def forecast_fields(
    model: ChurnModel, forecast: Forecast, row: int, as_of_us: int, currency: str | None
) -> dict[str, Any]:
    """`horizons`, `next_purchase` (or `leaving`), `predicted_value` and `expected_loss` of one customer.

    What the model did not learn is null. Amounts are minor units; days are UTC.
    """
    return {
        "horizons": [
            {"horizon_days": days, "churn_probability": _number(probability)}
            for days, probability in zip(
                forecast.horizons_days, forecast.churn_probability_by_horizon[row].tolist(), strict=True
            )
        ],
        **_when(model, forecast, row, as_of_us),
        "predicted_value": {
            f"days_{days}": dict(zip(_LEVELS, map(_minor, quantiles), strict=True))
            for days, quantiles in zip(VALUE_DAYS, forecast.value_minor[row].tolist(), strict=True)
        }
        | {"currency": currency},
        "expected_loss": _loss(float(forecast.expected_loss_minor[row]), currency),
    }


def _when(model: ChurnModel, forecast: Forecast, row: int, as_of_us: int) -> dict[str, Any]:
    """The days of the event that the question waits for; `reason` says why there are none."""
    days = forecast.next_event_days[row].tolist()
    reason = None
    if model.timing is None:
        reason = "not_learnt"
    elif math.isnan(days[0]):
        reason = "less_likely_than_not"
    start_us = as_of_us + model.gap_days * DAY_US
    shown = dict(zip(_LEVELS, (_day(start_us, one) for one in days), strict=True)) | {"reason": reason}
    if model.awaits == "return":
        return {"next_purchase": shown}
    return {"next_purchase": dict.fromkeys(_LEVELS) | {"reason": "not_asked"}, "leaving": shown}


def _day(start_us: int, days: float) -> str | None:
    return None if math.isnan(days) else format_instant(start_us + round(days * DAY_US))[:10]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _minor(amount: float) -> int | None:
    return None if math.isnan(amount) else round(amount)


def _loss(amount: float, currency: str | None) -> dict[str, Any] | None:
    return None if math.isnan(amount) else {"amount_minor": round(amount), "currency": currency}


def segment_fields(
    segmentation: Segmentation | None, found: Segments | None, n: int, language: Language
) -> list[dict[str, Any]]:
    """`segment`, `lifecycle_stage` and `rfm` of each of n customers; null in a release without segments."""
    if segmentation is None or found is None:
        return [dict.fromkeys(("segment", "lifecycle_stage", "rfm"))] * n
    names, keys = _names(segmentation, language), segmentation.segment_keys
    return [
        {
            "segment": {"key": keys[segment], "name": names.segment[segment]},
            "lifecycle_stage": {"key": STAGES[stage], "name": names.stage[stage]},
            "rfm": {"recency": recency, "frequency": frequency, "money": money, "name": names.rfm[cell]},
        }
        for segment, stage, recency, frequency, money, cell in zip(
            found.segment.tolist(),
            found.stage.tolist(),
            found.recency.tolist(),
            found.frequency.tolist(),
            found.money.tolist(),
            found.rfm.tolist(),
            strict=True,
        )
    ]


@lru_cache(maxsize=16)
def _names(segmentation: Segmentation, language: Language) -> SegmentNames:
    """Releases are few, and names do not change."""
    return segmentation.names(language)
