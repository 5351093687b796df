"""Pseudonyms are found by halves, whatever part of an array they stand in."""

import numpy as np
import pyarrow as pa
import pytest

from serving.sorted_keys import SortedKeys


@pytest.mark.parametrize("width", [None, 12])
def test_every_key_is_found_at_its_place_and_no_other(width: int | None) -> None:
    rng = np.random.default_rng(1)
    numbers = rng.choice(10**9, 500, replace=False)
    texts = sorted({f"k:{number:010d}" if width else f"k:{number}" for number in numbers.tolist()}, key=str.encode)
    keys = SortedKeys.of(pa.array(["a", *texts])[1:])  # a slice does not begin where its buffer does
    assert len(keys) == len(texts)
    assert keys.places(texts).tolist() == list(range(len(texts)))
    assert keys.places([texts[3], "k:", texts[0] + "0", "", "z"]).tolist() == [3, -1, -1, -1, -1]


def test_nothing_is_found_among_nothing() -> None:
    empty = SortedKeys.of(pa.array([], pa.string()))
    assert empty.places(["a"]).tolist() == [-1]
    assert SortedKeys.of(pa.array(["a"])).places([]).tolist() == []
