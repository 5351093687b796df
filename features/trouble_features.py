"""What went wrong for a customer, and how they felt about it: returns, deliveries, support, stock, satisfaction."""

from __future__ import annotations

from collections.abc import Iterator

from features.day_tracks import DISAPPOINTMENT_DAY
from features.expressions import AgeWhere, Count, LastValue, Ratio, Total
from features.fading import Fading
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


def _load(name: str, track: str, column: str | None, unit: str, group: str, words: str) -> Feature:
    expression = Fading(track, column)
    meaning = f"{words}, each weighing exp(-days ago / {expression.memory_days})"
    return Feature(f"{name}_load", expression, unit, NEVER, meaning, group)


def _returns() -> Iterator[Feature]:
    for days in (30, 90, 365):
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
    words = "days with a return that is not a change of mind, or a review of 1 or 2 stars"
    yield _load("disappointments", DISAPPOINTMENT_DAY, None, "days", "returns", words)


def _deliveries() -> Iterator[Feature]:
    for days in (30, 90, 365):
        yield _sum("late_deliveries", "delivery", "late", days, "delivery", "deliveries that came late")
    for days in (30, 90):
        yield _sum("late_hours", "delivery", "late_hours", days, "delivery", "hours of lateness")
    yield _since("late_deliveries", "delivery", "late", "delivery", "delivery that came late")
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
    words = "hours of late deliveries, at least 12 and at most 120 of each"
    yield _load("late_delivery", "delivery", "late_hours_bounded", "hours", "delivery", words)


def _support() -> Iterator[Feature]:
    for days in (30, 90, 365):
        yield _count("support", "support", days, "support")
        yield _sum("unanswered", "support", "unanswered", days, "support", "contacts that got no answer")
    yield _since("unanswered", "support", "unanswered", "support", "contact that got no answer")
    for days in (30, 90):
        yield Feature(
            f"support_wait_minutes_{days}d",
            Ratio(Total("support", "value", days), Total("support", "has_value", days)),
            "minutes",
            "no answered contact in the window",
            f"mean minutes waited for an answer in the last {days} days",
            "support",
        )
    yield Feature(
        "support_last_wait_minutes",
        LastValue("support", "value", only_known=True),
        "minutes",
        "there was no contact, or the last got no answer",
        "minutes waited for an answer to the last contact",
        "support",
    )
    yield _load("unanswered", "support", "unanswered", "contacts", "support", "contacts that got no answer")
    words = "minutes waited for answers beyond the first 60 of each, at most 600 of each"
    yield _load("support_wait", "support", "long_wait_minutes", "minutes", "support", words)


def _stock() -> Iterator[Feature]:
    for days in (30, 90):
        yield _sum("stockouts", "view", "out_of_stock", days, "stock", "looks at an item that was out of stock")
    yield _since("stockouts", "view", "out_of_stock", "stock", "look at an item that was out of stock")
    yield Feature(
        "stockouts_share_90d",
        Ratio(Total("view", "out_of_stock", 90), Count("view", 90)),
        "share",
        "no view in the window",
        "part of the views of the last 90 days that met an item out of stock",
        "stock",
    )
    yield _load("stockouts", "view", "out_of_stock", "views", "stock", "looks at an item that was out of stock")


def _count(plural: str, track: str, days: int, group: str) -> Feature:
    return Feature(f"{plural}_count_{days}d", Count(track, days), plural, NEVER, f"{plural} {ago(days)}", group)


def _since(name: str, track: str, column: str, group: str, words: str) -> Feature:
    return Feature(
        f"{name}_recency_days", AgeWhere(track, column), "days", NONE_YET, f"days since the last {words}", group
    )


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
        for days in (30, 90):
            yield _sum(f"{noun}_low", track, "low", days, "satisfaction", f"{noun} of 1 or 2")
        yield _since(f"{noun}_low", track, "low", "satisfaction", f"{noun.removesuffix('s')} of 1 or 2")
    yield _load("csat_low", "csat", "low", "csat", "satisfaction", "csat of 1 or 2")
