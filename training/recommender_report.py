"""What an evaluation of a recommender found: figures of each source over each segment of customers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from features.instants import format_instant

__all__ = ["LEAVE_LAST_OUT", "Estimate", "Gain", "RankerChoice", "RecommenderReport", "SourceFigures"]

LEAVE_LAST_OUT = "leave_last_out"
"""The word for the split that holds out the last purchase of each customer."""

_ESTIMATES = ("ndcg_at_10", "recall_at_10", "recall_at_20", "map_at_10", "hit_rate_at_10", "novelty_at_10")
_SHARES = ("coverage_at_10", "gini_at_10", "personalisation_at_10", "fallback_at_10")


@dataclass(frozen=True)
class Estimate:
    """A mean over customers and its 95% bootstrap interval; NaN where no customer had a value."""

    mean: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class RankerChoice:
    """Whether a learned ranker orders the candidates, or the blend does; decided inside the training window.

    Attributes:
        used: whether the ranker does.
        reason: why, in words.
        n_customers: who turned to a candidate in the slice before the cut-off.
        blend_ndcg_at_10, ranker_ndcg_at_10: of customers that the ranker had not seen; None where none was trained.
        gain_abs: the ranker's less the blend's, a paired interval.
    """

    used: bool
    reason: str
    n_customers: int
    blend_ndcg_at_10: Estimate | None = None
    ranker_ndcg_at_10: Estimate | None = None
    gain_abs: Estimate | None = None


@dataclass(frozen=True)
class SourceFigures:
    """How one source did on one segment. Every item of the catalogue is ranked; no sampled negatives.

    Attributes:
        source: "ours" (as served), "blend" (beside a ranker: the blend that it corrects), the name of one source alone,
            or "buy_again_popularity" (own items first, then popular ones).
        segment: "all"; "repeat", relevant items that the customer had bought before; "new", those never bought, with
            owned items excluded from the slates; or "history a-b", customers with a to b items in their history.
        n_customers: customers with at least one relevant item.
        coverage_at_10: share of the catalogue on some slate.
        gini_at_10: how unevenly places are spread over the catalogue; 0 evenly, towards 1 on few items.
        personalisation_at_10: how different two customers' slates are; 0 the same, 1 no item in common.
        fallback_at_10: share of places that are empty or led by what is popular with everybody.
        novelty_at_10: mean self-information of the items shown, bits; one more for items bought half as often.
    """

    source: str
    segment: str
    n_customers: int
    ndcg_at_10: Estimate
    recall_at_10: Estimate
    recall_at_20: Estimate
    map_at_10: Estimate
    hit_rate_at_10: Estimate
    coverage_at_10: float
    gini_at_10: float
    personalisation_at_10: float
    fallback_at_10: float
    novelty_at_10: Estimate


@dataclass(frozen=True)
class Gain:
    """NDCG@10 of ours minus that of a baseline, on the same customers and with a paired interval.

    Attributes:
        gain_abs: the difference.
        gain_rel: the difference over the baseline's mean; NaN where that is 0.
    """

    over: str
    segment: str
    gain_abs: Estimate
    gain_rel: float


@dataclass(frozen=True)
class RecommenderReport:
    """One cut-off: fitted on `[-inf, as_of)`, judged on purchases in `[as_of, as_of + label_days)`.

    Or, where the split is "leave_last_out": fitted on `[-inf, as_of)` without the last purchase of each customer,
    judged by that; `label_days` is 0.

    Attributes:
        n_eligible: customers with at least one interaction before the cut-off and a purchase in the window.
        n_judged: of these, the customers drawn for judging who bought an item of the catalogue.
        n_outside: purchased (customer, item) pairs left out because the item was not in the catalogue at the cut-off.
        n_unknown: customers who bought in the window of whom nothing was known: they are shown what is popular.
        blend: weights of the sources by name, as chosen before the cut-off.
        new: the weights where customers are not shown what they own; empty: those of the blend.
        ranker: whether a ranker orders what the sources propose, and why; None where none was asked for.
        new_ranker: the same of lists that show nothing owned; None where these have no weights of their own.
    """

    as_of_us: int
    label_days: int
    n_items: int
    n_eligible: int
    n_judged: int
    n_outside: int
    n_unknown: int
    blend: Mapping[str, float]
    figures: tuple[SourceFigures, ...]
    gains: tuple[Gain, ...]
    new: Mapping[str, float] = field(default_factory=dict)
    ranker: RankerChoice | None = None
    new_ranker: RankerChoice | None = None
    split: str = "time"

    @property
    def fallback_share(self) -> float:
        """Of the customers who bought in the window, the share that was shown what is popular for want of a history."""
        return self.n_unknown / (self.n_unknown + self.n_eligible)

    def of(self, source: str, segment: str = "all") -> SourceFigures:
        """The figures of one source on one segment.

        Raises:
            KeyError: there are none.
        """
        for row in self.figures:
            if (row.source, row.segment) == (source, segment):
                return row
        raise KeyError((source, segment))

    def gain_over(self, source: str, segment: str = "all") -> Gain:
        """Ours against one baseline.

        Raises:
            KeyError: there is no such comparison.
        """
        for row in self.gains:
            if (row.over, row.segment) == (source, segment):
                return row
        raise KeyError((source, segment))

    def metrics(self) -> dict[str, float]:
        """Flat names for a tracking server; of the others no history segments; undefined figures are left out."""
        flat: dict[str, float] = {
            "customers_judged": float(self.n_judged),
            "fallback_share": self.fallback_share,
        }
        for row in self.figures:
            if row.segment.startswith("history") and row.source != "ours":
                continue
            stem = f"{row.source}.{row.segment.replace(' ', '_').replace('+', '_up')}"
            for name in _ESTIMATES:
                flat[f"{stem}.{name}"] = getattr(row, name).mean
            for name in _SHARES:
                flat[f"{stem}.{name}"] = getattr(row, name)
        for gain in self.gains:
            flat[f"gain_rel.{gain.over}.{gain.segment}"] = gain.gain_rel
        return {name: value for name, value in flat.items() if not math.isnan(value)}

    def to_manifest(self) -> dict[str, object]:
        """The report as JSON values; undefined figures are null."""
        document = {**asdict(self), "as_of": format_instant(self.as_of_us)}
        return {key: _without_nan(value) for key, value in document.items()}


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
