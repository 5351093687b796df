"""What a churn model's card says of segments."""

from __future__ import annotations

import math
from collections.abc import Sequence

from features.instants import format_instant
from training.model_card import Picture, Section, Table
from training.segment_report import SegmentRow
from training.segmenting import Segmented

__all__ = ["segment_section"]

_TITLES = {
    "segment": "By how they buy",
    "stage": "By where they stand in their own cycle",
    "rfm": "By recency, frequency and money",
}


def segment_section(segmented: Segmented, pictures: tuple[Picture, ...]) -> Section:
    """Who the customers are: groups with their size, worth and churn rate, and how far the groups can be relied on."""
    stability, groups = segmented.segmentation.stability, len(segmented.segmentation.behaviour.names)
    day = format_instant(segmented.segmentation.as_of_us)[:10]
    if math.isnan(stability.rand_mean):
        said = f"The {stability.n_customers:,} customers of {day} are too few, or too alike, to be told apart."
    else:
        said = (
            f"The {groups} groups by how they buy are found again on other samples of the {stability.n_customers:,} "
            f"customers of {day} with an adjusted Rand index of {stability.rand_mean:.2f} (1 is the same groups, 0 is "
            f"chance; a tenth of the samples is below {stability.rand_low:.2f}), and stand apart by a silhouette of "
            f"{stability.silhouette:.2f} (near 0 they run into each other, 1 is far apart)."
        )
    tables = tuple(
        _table(title, [row for row in segmented.rows if row.kind == kind]) for kind, title in _TITLES.items()
    )
    return Section("Who are the customers?", (said,), tables, pictures)


def _table(title: str, rows: Sequence[SegmentRow]) -> Table:
    columns = ("group", "customers", "of all", "spent in 365 days, mean", "asked about", "churned")
    return Table(
        title,
        columns,
        tuple(
            (
                row.name_en,
                f"{row.n_customers:,}",
                f"{row.share:.0%}",
                f"{row.spend_minor_365d / 100:,.2f}",
                f"{row.n_judged:,}",
                "" if math.isnan(row.churn_rate) else f"{row.churn_rate:.0%}",
            )
            for row in rows
        ),
    )
