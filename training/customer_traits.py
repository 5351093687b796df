"""What the customer table says of customers beside their events, for reports to be split by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.schema import CUSTOMERS
from features.tables import read_table

__all__ = ["read_traits"]

_TRAITS = {"country": "country", "customer segment": "segment"}


def read_traits(customers: Path, customer_keys: npt.NDArray[np.object_]) -> dict[str, npt.NDArray[np.object_]]:
    """Country and segment of each customer, object (n,) of text, None where unknown; a trait of nobody is left out.

    Raises:
        ArtefactError: the table cannot be read.
    """
    table = read_table(customers, CUSTOMERS)
    places = pc.index_in(pa.array(customer_keys.tolist(), pa.string()), table["customer_key"].combine_chunks())
    found = {}
    for dimension, column in _TRAITS.items():
        texts = table[column].combine_chunks().take(places)
        if texts.null_count < len(texts):
            found[dimension] = np.array(texts.to_pylist(), dtype=object)
    return found
