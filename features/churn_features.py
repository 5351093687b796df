"""The features of the churn model, declared. The generated catalogue is docs/features.md."""

from __future__ import annotations

from collections.abc import Iterator

from features.day_tracks import ACTIVE_DAY, OWN_DOING
from features.expressions import (
    Age,
    Count,
    Difference,
    Distinct,
    Expression,
    GapDeviation,
    GapMean,
    LastGap,
    Least,
    Ratio,
    Share,
    Total,
    Trend,
)
from features.feature_set import Feature, FeatureSet
from features.feature_words import NEVER, NONE_YET, ago, span
from features.tracks import CHANNELS, ORDER
from features.trouble_features import trouble_features

__all__ = ["CHURN_FEATURES"]


def _recency() -> Iterator[Feature]:
    for track, plural in (
        (ORDER, "orders"),
        ("view", "views"),
        ("cart", "carts"),
        ("login", "logins"),
        ("return", "returns"),
        ("support", "support"),
        ("review", "reviews"),
        ("offer", "offers"),
    ):
        yield Feature(f"{plural}_recency_days", Age(track), "days", NONE_YET, f"days since the last {track}", "recency")
    yield Feature(
        "activity_recency_days",
        Least(tuple(Age(track) for track in OWN_DOING)),
        "days",
        NONE_YET,
        "days since anything that the customer did: a view, cart, order, return, contact, answer, review or login",
        "recency",
    )
    yield Feature(
        "tenure_days", Age(ORDER, first=True), "days", "no order yet", "days since the first order", "recency"
    )


def _frequency() -> Iterator[Feature]:
    windows: tuple[tuple[str, str, tuple[int | None, ...]], ...] = (
        (ORDER, "orders", (14, 30, 60, 90, 180, 365, None)),
        ("view", "views", (7, 30, 90)),
        ("cart", "carts", (7, 30, 90)),
        ("login", "logins", (30, 90)),
        ("purchase", "lines", (90, 365)),
        ("offer", "offers", (90,)),
        ("cancel", "cancels", (365,)),
    )
    for track, plural, spans in windows:
        for days in spans:
            yield Feature(
                f"{plural}_count_{span(days)}",
                Count(track, days),
                plural,
                NEVER,
                f"{plural} {ago(days)}",
                "frequency",
            )
    for days in (90, None):
        yield Feature(
            f"active_days_count_{span(days)}",
            Count(ACTIVE_DAY, days),
            "days",
            NEVER,
            f"different UTC days on which the customer did anything, as in activity_recency_days, {ago(days)}",
            "frequency",
        )


def _money() -> Iterator[Feature]:
    for days in (30, 90, 365, None):
        yield Feature(
            f"spend_minor_{span(days)}",
            Total("purchase", "amount_minor", days),
            "minor",
            NEVER,
            f"money spent {ago(days)}",
            "money",
        )
    for days in (90, 365):
        yield Feature(
            f"order_value_minor_{span(days)}",
            _order_value(days),
            "minor",
            "no order in the window",
            f"mean value of an order {ago(days)}",
            "money",
        )
    yield Feature(
        "order_value_ratio_90d",
        Ratio(_order_value(90), _order_value(365)),
        "ratio",
        "no order in the last 90 days",
        "mean order value of the last 90 days over that of the last 365",
        "money",
    )
    for column, group in (("quantity", "pieces"), ("discounted", "discounted_lines")):
        yield Feature(
            f"{group}_per_order_365d",
            Ratio(Total("purchase", column, 365), Count(ORDER, 365)),
            group,
            "no order in the window",
            f"mean {group.replace('_', ' ')} of an order in the last 365 days",
            "money",
        )
    for days in (90, 365):
        yield Feature(
            f"discount_share_{span(days)}",
            Share(Total("purchase", "discount_minor", days), Total("purchase", "amount_minor", days)),
            "share",
            "nothing bought in the window",
            f"part of the list price that was not charged, {ago(days)}",
            "discount",
        )


def _order_value(days: int) -> Expression:
    return Ratio(Total("purchase", "amount_minor", days), Count(ORDER, days))


def _trend() -> Iterator[Feature]:
    for track, plural, days in (
        (ORDER, "orders", 30),
        (ORDER, "orders", 90),
        (ORDER, "orders", 180),
        ("view", "views", 14),
        ("view", "views", 30),
        ("cart", "carts", 30),
        ("login", "logins", 30),
    ):
        yield Feature(
            f"{plural}_trend_{days}d",
            Trend(Count(track, days), Count(track, days, back=days)),
            "trend",
            f"none in the last {2 * days} days",
            f"{plural} of the last {days} days against the {days} before: -1 stopped, 0 steady, 1 new",
            "trend",
        )
    yield Feature(
        "spend_trend_90d",
        Trend(Total("purchase", "amount_minor", 90), Total("purchase", "amount_minor", 90, back=90)),
        "trend",
        "nothing spent in the last 180 days",
        "spend of the last 90 days against the 90 before: -1 stopped, 0 steady, 1 new",
        "trend",
    )


def _cycle() -> Iterator[Feature]:
    mean, deviation = GapMean(ORDER, None), GapDeviation(ORDER, None)
    two, three = "fewer than two orders", "fewer than three orders"
    yield Feature("order_gap_mean_days_all", mean, "days", two, "mean days between orders", "cycle")
    yield Feature(
        "order_gap_mean_days_365d",
        GapMean(ORDER, 365),
        "days",
        "no second order in the window",
        "mean days between orders, of gaps that ended in the last 365 days",
        "cycle",
    )
    yield Feature("order_gap_deviation_days_all", deviation, "days", three, "how much those days vary", "cycle")
    yield Feature(
        "order_gap_variation_all",
        Ratio(deviation, mean),
        "ratio",
        three,
        "variation of the gaps over their mean: 0 is a clock, 1 is chance",
        "cycle",
    )
    yield Feature(
        "order_gap_last_ratio_all",
        Ratio(LastGap(ORDER), mean),
        "ratio",
        two,
        "the last gap between orders over the mean gap",
        "cycle",
    )
    yield Feature(
        "cycle_position_all",
        Ratio(Age(ORDER), mean),
        "ratio",
        two,
        "days since the last order over the customer's own mean gap: 1 is due, 2 is a whole cycle late",
        "cycle",
    )
    yield Feature(
        "cycle_deviations_all",
        Ratio(Difference(Age(ORDER), mean), deviation),
        "deviations",
        f"{three}, or all gaps equal",
        "how many deviations later than usual the next order is",
        "cycle",
    )
    yield Feature("overdue_days_all", Difference(Age(ORDER), mean), "days", two, "days past the usual gap", "cycle")


def _breadth() -> Iterator[Feature]:
    for days in (90, 365, None):
        yield Feature(
            f"items_distinct_{span(days)}",
            Distinct("purchase", days),
            "items",
            NEVER,
            f"different items bought {ago(days)}",
            "breadth",
        )
    yield Feature(
        "viewed_items_distinct_30d",
        Distinct("view", 30),
        "items",
        NEVER,
        "different items looked at in the last 30 days",
        "breadth",
    )
    yield Feature(
        "repeated_lines_share_365d",
        Ratio(Total("purchase", "repeated_item", 365), Count("purchase", 365)),
        "share",
        "nothing bought in the window",
        "part of the lines of the last 365 days whose item had been bought before",
        "breadth",
    )


def _habits() -> Iterator[Feature]:
    for channel in CHANNELS:
        yield Feature(
            f"orders_{channel}_share_365d",
            Ratio(Total(ORDER, channel, 365), Count(ORDER, 365)),
            "share",
            "no order in the window",
            f"part of the orders of the last 365 days made through channel {channel}",
            "habits",
        )
    for part, words in (
        ("weekend", "on Saturday or Sunday"),
        ("morning", "between 06:00 and 12:00 UTC"),
        ("evening", "after 18:00 UTC"),
    ):
        yield Feature(
            f"orders_{part}_share_365d",
            Ratio(Total(ORDER, part, 365), Count(ORDER, 365)),
            "share",
            "no order in the window",
            f"part of the orders of the last 365 days made {words}",
            "habits",
        )
    for track, plural in (("view", "views"), ("cart", "carts")):
        yield Feature(
            f"{plural}_per_order_90d",
            Ratio(Count(track, 90), Count(ORDER, 90)),
            plural,
            "no order in the window",
            f"{plural} for each order in the last 90 days",
            "habits",
        )


def _season() -> Iterator[Feature]:
    yield Feature(
        "orders_count_90d_year_ago",
        Count(ORDER, 90, back=275),
        "orders",
        NEVER,
        "orders in the season that comes next, a year ago: [as_of - 365 d, as_of - 275 d)",
        "season",
    )
    yield Feature(
        "season_share_365d",
        Ratio(Count(ORDER, 90, back=275), Count(ORDER, 365)),
        "share",
        "no order in the last 365 days",
        "part of the last 365 days' orders that fell into the season that comes next",
        "season",
    )


CHURN_FEATURES = FeatureSet(
    "churn",
    (
        *_recency(),
        *_frequency(),
        *_money(),
        *_trend(),
        *_cycle(),
        *_breadth(),
        *_habits(),
        *_season(),
        *trouble_features(),
    ),
)
"""All features of the churn model, in the order of the table's columns."""
