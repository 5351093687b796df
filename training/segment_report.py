"""Who is in which segment, what they are worth and how many of them left: a table and a picture."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from features.compute import FeatureTable
from serving.lifecycle import STAGES
from serving.rfm import RFM_CELLS
from serving.segments import Segmentation

__all__ = ["SegmentRow", "segment_rows", "segments_csv", "segments_png"]

Kind = Literal["rfm", "segment", "stage"]
_TITLES: dict[Kind, str] = {
    "segment": "How they buy",
    "stage": "Where they stand",
    "rfm": "Recency, frequency, money",
}


@dataclass(frozen=True)
class SegmentRow:
    """One group of customers at one instant.

    share: of all customers of the table. spend_minor_365d: mean per customer. n_judged: those of whom the churn
    question was asked and answered; churn_rate: their share that churned, NaN where nobody was judged.
    """

    kind: Kind
    key: str
    name_en: str
    name_zh: str
    n_customers: int
    share: float
    spend_minor_365d: float
    n_judged: int
    churn_rate: float


def segment_rows(
    segmentation: Segmentation,
    table: FeatureTable,
    judged: npt.NDArray[np.bool_],
    churned: npt.NDArray[np.bool_],
) -> tuple[SegmentRow, ...]:
    """A row for each group that has a customer, behavioural segments first.

    `judged` and `churned` are bool (n,) over the table's customers; `churned` is read where `judged`.
    """
    found = segmentation.of(table)
    english, chinese = segmentation.names("en"), segmentation.names("zh")
    spend = table.column("spend_minor_365d")
    parts: tuple[tuple[Kind, npt.NDArray[np.integer], tuple[str, ...]], ...] = (
        ("segment", found.segment, segmentation.segment_keys),
        ("stage", found.stage, STAGES),
        ("rfm", found.rfm, RFM_CELLS),
    )
    rows = []
    for kind, codes, keys in parts:
        for code, key in enumerate(keys):
            inside = codes == code
            n, asked = int(inside.sum()), inside & judged
            if n:
                rows.append(
                    SegmentRow(
                        kind=kind,
                        key=key,
                        name_en=getattr(english, kind)[code],
                        name_zh=getattr(chinese, kind)[code],
                        n_customers=n,
                        share=n / len(codes),
                        spend_minor_365d=float(spend[inside].mean()),
                        n_judged=int(asked.sum()),
                        churn_rate=float(churned[asked].mean()) if asked.any() else math.nan,
                    )
                )
    return tuple(rows)


def segments_csv(rows: Sequence[SegmentRow]) -> bytes:
    """The rows as CSV in UTF-8, one column a field; an undefined churn rate is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [part.name for part in fields(SegmentRow)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({**asdict(row), "churn_rate": "" if math.isnan(row.churn_rate) else row.churn_rate})
    return out.getvalue().encode()


def segments_png(rows: Sequence[SegmentRow]) -> bytes:
    """Bars as long as the churn rate, with customers and mean spend in words; one panel a kind, the riskiest on top."""
    kinds = [kind for kind in _TITLES if any(row.kind == kind and row.n_judged for row in rows)]
    if not kinds:
        return _png(Figure(figsize=(9, 1.5)))
    groups = [[row for row in rows if row.kind == kind and row.n_judged] for kind in kinds]
    figure = Figure(figsize=(9, 1.2 + 0.42 * sum(len(group) + 2 for group in groups)), layout="constrained")
    panels = figure.subplots(len(kinds), 1, squeeze=False, gridspec_kw={"height_ratios": [len(g) + 1 for g in groups]})
    for axes, kind, group in zip(panels[:, 0], kinds, groups, strict=True):
        group.sort(key=lambda row: row.churn_rate)
        axes.barh([row.name_en for row in group], [row.churn_rate for row in group], color="#4878a8")
        for place, row in enumerate(group):
            words = f"{row.churn_rate:.0%} of {row.n_judged:,}; {row.spend_minor_365d / 100:,.0f} a year"
            axes.text(row.churn_rate + 0.01, place, words, va="center", fontsize=8)
        axes.set(xlim=(0, 1.5), title=_TITLES[kind])
        axes.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    figure.supxlabel("share that churned, of the customers judged; mean spend in 365 days", fontsize=10)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": ""})
    return out.getvalue()
