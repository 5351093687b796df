"""What is left open of a catalogue, kept for those who ask for the same."""

import numpy as np
import pyarrow as pa

from serving.catalogue import Catalogue
from serving.filter_masks import FilterMasks
from serving.openings import Openings
from serving.rulebook import Rulebook
from serving.slate_rules import SlateRules

CATALOGUE = Catalogue.read(
    pa.table({"item_id": ["a", "b", "c", "d"], "price_minor": [1, 2, 3, 4]}), ["a", "b", "c", "d"]
).with_stock(["d"])


def test_what_is_taken_out_is_counted_once_by_the_first_reason_and_the_mask_is_kept():
    openings = Openings(FilterMasks(CATALOGUE))
    book = Rulebook.of(SlateRules(where="price_minor > 1"), CATALOGUE)
    found = openings.of(book, "price_minor != 2")
    assert found.eligible.tolist() == [False, False, True, False]
    assert found.filtered == {"filter": 2, "out_of_stock": 1}
    assert openings.of(book, "price_minor != 2") is found
    assert openings.of(book, "").eligible.tolist() == [False, True, True, False]
    other = Rulebook.of(SlateRules(), CATALOGUE)
    assert openings.of(other, "price_minor != 2").eligible.tolist() == [True, False, True, False]


def test_a_pool_is_counted_by_itself_and_not_written_into():
    pool = np.array([True, True, False, False])
    found = Openings(FilterMasks(CATALOGUE)).of(Rulebook.of(SlateRules(), CATALOGUE), "price_minor = 2", pool)
    assert found.eligible.tolist() == [False, True, False, False]
    assert found.filtered == {"filter": 1, "out_of_stock": 0}
    assert pool.tolist() == [True, True, False, False]
