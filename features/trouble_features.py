"""What went wrong for a customer, and how they felt about it: returns, deliveries, support, stock, satisfaction."""

from __future__ import annotations

from collections.abc import Iterator

from features.expressions import Count, LastValue, Ratio, Total
from features.feature_set import Feature
from features.feature_words import NEVER, NONE_YET, ago

__all__ = ["trouble_features"]


def trouble_features() -> Iterator[Feature]:
    """The features of this module, in the order of the table's columns."""
    yield from _returns()
    yield from _deliveries()
    yield from _support()
    yield from _stock()
    yield from _satisfaction()


def _returns() -> Iterator[Feature]:
    for days in (90, 365):
        yield _count("returns", "return", days, "returns")
    yield Feature(
        "return_rate_365d",
        Ratio(Count("return", 365), Count("purchase", 365)),
        "share",
        "nothing bought in the window",
        "returns over lines bought in the last 365 days",
        "returns",
    )
    yield Feature(
        "refund_ratio_365d",
        Ratio(Total("return", "amount_minor", 365), Total("purchase", "amount_minor", 365)),
        "ratio",
        "nothing spent in the window",
        "refunds over spend in the last 365 days",
        "returns",
    )


def _deliveries() -> Iterator[Feature]:
    for days in (30, 90, 365):
        yield _sum("late_deliveries", "delivery", "late", days, "delivery", "deliveries that came late")
    yield _sum("late_hours", "delivery", "late_hours", 90, "delivery", "hours of lateness")
    yield Feature(
        "late_deliveries_share_365d",
        Ratio(Total("delivery", "late", 365), Total("delivery", "has_value", 365)),
        "share",
        "no delivery of known lateness in the window",
        "part of the deliveries of the last 365 days that came late, of those whose lateness is known",
        "delivery",
        version=2,
    )
    yield Feature(
        "delivery_last_late_hours",
        LastValue("delivery", "value", only_known=True),
        "hours",
        "there was none, or its lateness is not known",
        "hours by which the last delivery was late; negative when early",
        "delivery",
        version=2,
    )


def _support() -> Iterator[Feature]:
    for days in (30, 90, 365):
        yield _count("support", "support", days, "support")
        yield _sum("unanswered", "support", "unanswered", days, "support", "contacts that got no answer")
    yield Feature(
        "support_wait_minutes_90d",
        Ratio(Total("support", "value", 90), Total("support", "has_value", 90)),
        "minutes",
        "no answered contact in the window",
        "mean minutes waited for an answer in the last 90 days",
        "support",
    )


def _stock() -> Iterator[Feature]:
    for days in (30, 90):
        yield _sum("stockouts", "view", "out_of_stock", days, "stock", "looks at an item that was out of stock")
    yield Feature(
        "stockouts_share_90d",
        Ratio(Total("view", "out_of_stock", 90), Count("view", 90)),
        "share",
        "no view in the window",
        "part of the views of the last 90 days that met an item out of stock",
        "stock",
    )


def _count(plural: str, track: str, days: int, group: str) -> Feature:
    return Feature(f"{plural}_count_{days}d", Count(track, days), plural, NEVER, f"{plural} {ago(days)}", group)


def _sum(name: str, track: str, column: str, days: int, group: str, words: str) -> Feature:
    unit = name.removeprefix("late_") if name == "late_hours" else name
    label = f"{name}_{days}d" if name == "late_hours" else f"{name}_count_{days}d"
    return Feature(label, Total(track, column, days), unit, NEVER, f"{words}, {ago(days)}", group)


def _satisfaction() -> Iterator[Feature]:
    for track, noun, unit in (
        ("csat", "csat", "points"),
        ("review", "review_stars", "stars"),
        ("nps", "nps", "points"),
    ):
        yield Feature(
            f"{noun}_mean_365d",
            Ratio(Total(track, "value", 365), Count(track, 365)),
            unit,
            "none in the window",
            f"mean {noun.replace('_', ' ')} in the last 365 days",
            "satisfaction",
        )
        yield Feature(
            f"{noun}_last",
            LastValue(track, "value"),
            unit,
            NONE_YET,
            f"the last {noun.replace('_', ' ')}",
            "satisfaction",
        )
    for track, noun in (("csat", "csat"), ("review", "reviews")):
        yield _sum(f"{noun}_low", track, "low", 90, "satisfaction", f"{noun} of 1 or 2")
