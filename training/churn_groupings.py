"""Which kinds of customers a report is split by: how long they have been there, channel, value, life stage, traits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.tracks import CHANNELS
from serving.lifecycle import LIFECYCLE_FEATURES, STAGES, Lifecycle
from serving.segments import segment_words
from training.churn_slices import Grouping

__all__ = ["groupings_of"]

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_MOST_GROUPS = 8
_MOST_NUMERIC = 4
_TENURE_EDGES, _TENURE = (90.0, 365.0, 730.0), ("under 90 days", "90 to 365 days", "1 to 2 years", "2 years and more")
_ORDER_EDGES, _ORDERS = (2.0, 5.0), ("1 order", "2 to 4 orders", "5 orders and more")
_THIRDS = ("lowest third", "middle third", "highest third")
_OTHER_CHANNEL = "another channel"


def groupings_of(
    table: FeatureTable,
    categories: Mapping[str, Sequence[str]] | None = None,
    traits: Mapping[str, npt.NDArray[np.object_]] | None = None,
) -> tuple[Grouping, ...]:
    """Every grouping that a table's features allow.

    Args:
        table: of the n customers to be judged. Where it holds none of the features of an event log, thirds of its
            first four numeric columns make groups.
        categories: for a categorical feature the texts of its codes; one of at most 8 texts makes a grouping.
        traits: what is known of the customers beside features, such as a country: dimension and text, object (n,),
            None where unknown. The 8 commonest texts make groups.
    """
    found = [make(table) for needed, make in _FROM_FEATURES if set(needed) <= set(table.names)]
    if not found:
        numeric = [name for name in table.names if name not in (categories or {})]
        found = [_thirds(name, table.column(name)) for name in numeric if _varies(table.column(name))][:_MOST_NUMERIC]
    for name, texts in (categories or {}).items():
        if 2 <= len(texts) <= _MOST_GROUPS:
            codes = table.column(name)
            found.append(Grouping(name, tuple(texts), np.where(np.isnan(codes), -1, codes).astype(np.int64)))
    found.extend(_trait(dimension, texts) for dimension, texts in (traits or {}).items())
    return tuple(grouping for grouping in found if np.unique(grouping.codes[grouping.codes >= 0]).size > 1)


def _tenure(table: FeatureTable) -> Grouping:
    return Grouping("time since the first order", _TENURE, _between(table.column("tenure_days"), _TENURE_EDGES))


def _orders(table: FeatureTable) -> Grouping:
    return Grouping("orders so far", _ORDERS, _between(table.column("orders_count_all"), _ORDER_EDGES))


def _value(table: FeatureTable) -> Grouping:
    return _thirds("money spent in the last 365 days", table.column("spend_minor_365d"))


def _thirds(dimension: str, values: Array) -> Grouping:
    edges = np.nanquantile(values, [1 / 3, 2 / 3]) if not np.isnan(values).all() else np.zeros(2)
    return Grouping(dimension, _THIRDS, _between(values, tuple(edges.tolist())))


def _varies(values: Array) -> bool:
    """Whether thirds of a column mean something: more different values than make groups of their own."""
    return bool(np.unique(values[~np.isnan(values)]).size > _MOST_GROUPS)


def _channel(table: FeatureTable) -> Grouping:
    shares = np.column_stack([table.column(f"orders_{channel}_share_365d") for channel in CHANNELS])
    known = ~np.isnan(shares).all(axis=1)
    best = np.nan_to_num(shares, nan=0.0)
    codes = np.where(best.max(axis=1) > 0.0, best.argmax(axis=1), len(CHANNELS))
    return Grouping("main channel", (*CHANNELS, _OTHER_CHANNEL), np.where(known, codes, -1).astype(np.int64))


def _stage(table: FeatureTable) -> Grouping:
    """By the rules of the release's segments, the usual cycle being the median of these customers' own."""
    gaps = table.column("order_gap_mean_days_all")
    known = gaps[~np.isnan(gaps)]
    usual = float(np.median(known)) if known.size else float(np.nanmedian(table.column("tenure_days")))
    words = segment_words()["stage"]
    names = tuple(str(words[stage]["en"]) for stage in STAGES)
    return Grouping("life stage", names, Lifecycle(max(usual, 1.0)).of(table).astype(np.int64))


def _between(values: Array, edges: Sequence[float]) -> Codes:
    """int64 (n,): 0 below the first edge, 1 from it on, ...; -1 where missing."""
    return np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right")).astype(np.int64)


def _trait(dimension: str, texts: npt.NDArray[np.object_]) -> Grouping:
    known = np.array([text is not None for text in texts], dtype=np.bool_)
    names, codes, counts = np.unique(texts[known].astype(str), return_inverse=True, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:_MOST_GROUPS]
    place = np.full(names.size, -1, dtype=np.int64)
    place[common] = np.arange(common.size)
    every = np.full(texts.size, -1, dtype=np.int64)
    every[known] = place[codes]
    return Grouping(dimension, tuple(str(names[i]) for i in common), every)


def _from_features() -> Iterator[tuple[tuple[str, ...], Callable[[FeatureTable], Grouping]]]:
    yield ("tenure_days",), _tenure
    yield ("orders_count_all",), _orders
    yield tuple(f"orders_{channel}_share_365d" for channel in CHANNELS), _channel
    yield ("spend_minor_365d",), _value
    yield LIFECYCLE_FEATURES, _stage


_FROM_FEATURES = tuple(_from_features())
