"""One `compute` for all customers, for many cut-offs, or for one customer in the service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.customer_view import CustomerView
from features.expressions import Floats, Moment
from features.feature_set import FeatureSet
from features.instants import format_instant

__all__ = ["FeatureTable", "compute", "compute_many"]


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """The features of n customers at one instant.

    Attributes:
        customer_keys: object (n,), in the view's order.
        as_of_us: the cut-off, exclusive; microseconds UTC.
        names: the f columns.
        values: float64 (n, f); NaN is missing, and the feature says what that means.
        fingerprint: of the feature set.
    """

    customer_keys: npt.NDArray[np.object_]
    as_of_us: int
    names: tuple[str, ...]
    values: Floats
    fingerprint: str

    def column(self, name: str) -> Floats:
        """float64 (n,): one feature.

        Raises:
            ValueError: the table has no such feature.
        """
        return self.values[:, self.names.index(name)]

    def select(self, rows: npt.NDArray[np.int64]) -> FeatureTable:
        """The table of some of its customers."""
        return FeatureTable(self.customer_keys[rows], self.as_of_us, self.names, self.values[rows], self.fingerprint)

    def to_arrow(self) -> pa.Table:
        """`customer_key`, `as_of`, and a float64 column a feature; missing stays NaN. The fingerprint is metadata."""
        columns: dict[str, pa.Array] = {
            "customer_key": pa.array(self.customer_keys.tolist(), pa.string()),
            "as_of": pa.array(np.full(len(self.customer_keys), self.as_of_us)).cast(pa.timestamp("us", tz="UTC")),
        }
        columns |= {name: pa.array(self.values[:, place]) for place, name in enumerate(self.names)}
        metadata = {"feature_set_fingerprint": self.fingerprint, "as_of": format_instant(self.as_of_us)}
        return pa.table(columns).replace_schema_metadata(metadata)


def compute(view: CustomerView, feature_set: FeatureSet, as_of_us: int) -> FeatureTable:
    """The features of every customer of a view from the history `[-inf, as_of)`.

    Only what was also recorded before `as_of` counts. Late events are rare, so all customers are computed from the
    whole view and those with an event still unrecorded then are computed again without it.
    """
    values = _evaluate(view, feature_set, as_of_us)
    hidden = view.hidden_at(as_of_us)
    if hidden.size:
        values[hidden] = _evaluate(view.select(hidden).known_at(as_of_us), feature_set, as_of_us)
    return FeatureTable(view.customer_keys, as_of_us, feature_set.names, values, feature_set.fingerprint())


def compute_many(view: CustomerView, feature_set: FeatureSet, as_ofs_us: Sequence[int]) -> Iterator[FeatureTable]:
    """A table for each cut-off, one at a time, so that memory holds one."""
    for as_of_us in as_ofs_us:
        yield compute(view, feature_set, as_of_us)


def _evaluate(view: CustomerView, feature_set: FeatureSet, as_of_us: int) -> Floats:
    moment = Moment(view, as_of_us)
    values = np.empty((len(feature_set), view.n_customers), np.float64).T  # filled column by column
    for place, feature in enumerate(feature_set):
        values[:, place] = moment.value(feature.expression)
    return values
