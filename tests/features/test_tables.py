import pyarrow as pa
import pytest

from features.errors import ArtefactError, DataError
from features.schema import ITEMS
from features.tables import read_table, upsert


def items(*rows):
    return pa.Table.from_pylist(
        [dict(zip(("item_id", "title", "price_minor", "currency"), r, strict=True)) for r in rows]
    )


def test_an_absent_table_has_no_rows(tmp_path):
    assert read_table(tmp_path / "items", ITEMS).equals(ITEMS.arrow.empty_table())


def test_rows_are_inserted_or_replaced_by_key_and_the_last_of_equal_keys_wins(tmp_path):
    path = tmp_path / "items"
    assert upsert(path, ITEMS, items(("a", "one", 1, "EUR"), ("b", "two", 2, "EUR"))) == 2
    assert upsert(path, ITEMS, items(("b", "no", 3, "EUR"), ("b", "new", None, None), ("c", "three", 4, "EUR"))) == 2
    rows = read_table(path, ITEMS).to_pylist()
    assert [(r["item_id"], r["title"], r["price_minor"]) for r in rows] == [
        ("a", "one", 1),
        ("b", "new", None),
        ("c", "three", 4),
    ]


def test_what_is_known_can_be_kept_where_nothing_is_given(tmp_path):
    upsert(tmp_path, ITEMS, items(("a", "one", 1, "EUR")))
    upsert(tmp_path, ITEMS, items(("a", None, 5, "EUR"), ("b", "two", None, None)), keep_known=True)
    rows = read_table(tmp_path, ITEMS).to_pylist()
    assert [(r["title"], r["price_minor"]) for r in rows] == [("one", 5), ("two", None)]


def test_the_same_rows_again_make_no_new_version(tmp_path):
    upsert(tmp_path, ITEMS, items(("a", "one", 1, "EUR")))
    before = sorted(tmp_path.rglob("*"))
    assert upsert(tmp_path, ITEMS, items(("a", "one", 1, "EUR"))) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bad_row_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(DataError, match="row 1: price_minor is negative"):
        upsert(tmp_path / "items", ITEMS, items(("a", "one", 1, "EUR"), ("b", "two", -2, "EUR")))
    assert not (tmp_path / "items").exists()


def test_a_damaged_table_is_an_artefact_error(tmp_path):
    upsert(tmp_path, ITEMS, items(("a", "one", 1, "EUR")))
    for path in tmp_path.glob("*.parquet"):
        path.write_bytes(b"x")
    with pytest.raises(ArtefactError, match="items"):
        read_table(tmp_path, ITEMS)
