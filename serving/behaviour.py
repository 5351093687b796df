"""Behavioural segments as they are applied: a few measures of how a customer buys, and the nearest centroid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.compute import FeatureTable
from features.errors import ArtefactError
from serving import strict_json

__all__ = ["BEHAVIOUR_FEATURES", "MEASURES", "Behaviour", "measure"]

Array = npt.NDArray[np.float64]

BEHAVIOUR_FEATURES = (
    "tenure_days",
    "orders_count_365d",
    "order_value_minor_365d",
    "items_distinct_365d",
    "discount_share_365d",
    "views_count_90d",
)
"""What the measures read."""

_PRIOR_DAYS = 90.0
_CLIP = 3.0
_MAX_SEGMENTS = 20


def _frequency(table: FeatureTable) -> Array:
    """Log of the orders a year, as if one more order had come in 90 more days: else who is new looks frequent."""
    tenure, orders = table.column("tenure_days"), table.column("orders_count_365d")
    seen = np.where(np.isnan(tenure), 365.0, np.minimum(tenure, 365.0))
    repeated = np.where(tenure <= 365.0, np.maximum(orders - 1.0, 0.0), orders)
    return np.asarray(np.log(365.0 * (repeated + 1.0) / (seen + _PRIOR_DAYS)))


def _breadth(table: FeatureTable) -> Array:
    orders = np.maximum(table.column("orders_count_365d"), 1.0)
    return np.asarray(np.log1p(table.column("items_distinct_365d") / orders))


_MEASURES: dict[str, Callable[[FeatureTable], Array]] = {
    "frequency": _frequency,
    "order_value": lambda table: np.log1p(np.maximum(table.column("order_value_minor_365d"), 0.0)),
    "discount": lambda table: table.column("discount_share_365d"),
    "breadth": _breadth,
    "visits": lambda table: np.log1p(table.column("views_count_90d")),
}

MEASURES = tuple(_MEASURES)
"""frequency: orders a year. order_value: of an order. discount: share of the list price not charged. breadth: different
items an order. visits: views in 90 days. All in logarithms but the discount."""


def measure(table: FeatureTable, names: tuple[str, ...]) -> Array:
    """float64 (n, len(names)): measures of every customer of a table with BEHAVIOUR_FEATURES; NaN is missing."""
    found = np.empty((len(table.customer_keys), len(names)))
    for place, name in enumerate(names):
        found[:, place] = _MEASURES[name](table)
    return found


@dataclass(frozen=True, eq=False)
class Behaviour:
    """Standardised measures and the centroids of k segments.

    measures: names out of MEASURES, d of them; those that do not vary in the shop are left out (d may be 0).
    centre, scale: float64 (d,), what each measure is standardised by; a missing value takes the centre, and nobody
    lies further out than 3.
    centroids: float64 (k, d) in standardised measures.
    names: for each segment its name by language, unique within a language.
    """

    measures: tuple[str, ...]
    centre: Array
    scale: Array
    centroids: Array
    names: tuple[dict[str, str], ...]

    def __post_init__(self) -> None:
        d, k = len(self.measures), len(self.names)
        if set(self.measures) - set(MEASURES) or len(set(self.measures)) != d:
            raise ArtefactError(f"behavioural measures must be distinct names of {', '.join(MEASURES)}")
        if not 1 <= k <= _MAX_SEGMENTS:
            raise ArtefactError(f"there are {k} behavioural segments; there must be 1 to {_MAX_SEGMENTS}")
        if (self.centre.shape, self.scale.shape, self.centroids.shape) != ((d,), (d,), (k, d)):
            raise ArtefactError(f"{k} behavioural segments over {d} measures need as many centroids and scales")
        whole = np.concatenate([self.centre, self.scale, self.centroids.ravel()])
        if not np.isfinite(whole).all() or (self.scale <= 0).any():
            raise ArtefactError("centroids and scales of behavioural segments must be finite, scales above 0")
        for language in {language for names in self.names for language in names}:
            if len({names.get(language) for names in self.names} - {None, ""}) != k:
                raise ArtefactError(f"the {k} behavioural segments need different names in language {language}")
        for values in (self.centre, self.scale, self.centroids):
            values.setflags(write=False)

    def of(self, table: FeatureTable) -> npt.NDArray[np.int16]:
        """int16 (n,): 1 + the nearest centroid of each customer; 0 for who has no order in the last 365 days."""
        found = 1 + self.nearest(self.standardised(measure(table, self.measures)))
        return np.where(table.column("orders_count_365d") > 0, found, 0).astype(np.int16)

    def standardised(self, measured: Array) -> Array:
        """float64 (n, d): measures less the centre over the scale, missing 0, within -3 and 3."""
        moved = (measured - self.centre) / self.scale
        return np.asarray(np.clip(np.nan_to_num(moved, nan=0.0, posinf=_CLIP, neginf=-_CLIP), -_CLIP, _CLIP))

    def nearest(self, standardised: Array) -> npt.NDArray[np.int64]:
        """int64 (n,): the centroid at the least squared distance; summed measure by measure, one row as a million."""
        best = np.zeros(len(standardised), np.int64)
        least = np.full(len(standardised), np.inf)
        for place, centroid in enumerate(self.centroids):
            distance = np.zeros(len(standardised))
            for column, at in enumerate(centroid):
                distance += (standardised[:, column] - at) ** 2
            best[distance < least] = place
            least = np.minimum(least, distance)
        return best

    def to_manifest(self) -> dict[str, object]:
        """The segments as JSON values."""
        return {
            "measures": list(self.measures),
            "centre": self.centre.tolist(),
            "scale": self.scale.tolist(),
            "segments": [
                {"names": dict(names), "centroid": centroid.tolist()}
                for names, centroid in zip(self.names, self.centroids, strict=True)
            ],
        }

    @classmethod
    def from_manifest(cls, content: dict[str, object], what: str) -> Behaviour:
        """The segments that `to_manifest` wrote.

        Raises:
            ArtefactError: a part is missing or of a wrong type or size, or a name is not unique.
        """
        measures = strict_json.texts(content, "measures", what)
        rows = content.get("segments")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ArtefactError(f"{what} needs a list of objects segments")
        centroids = [strict_json.numbers(row, "centroid", what) for row in rows]
        if any(centroid.shape != (len(measures),) for centroid in centroids):
            raise ArtefactError(f"{what} has a centroid that is not of {len(measures)} measures")
        return cls(
            measures=measures,
            centre=strict_json.numbers(content, "centre", what),
            scale=strict_json.numbers(content, "scale", what),
            centroids=np.array(centroids, dtype=np.float64).reshape(len(rows), len(measures)),
            names=tuple(
                {
                    language: strict_json.text(names, language, what)
                    for names in [strict_json.section(row, "names", what)]
                    for language in names
                }
                for row in rows
            ),
        )
