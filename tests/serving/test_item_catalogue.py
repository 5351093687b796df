"""The catalogue that a decision reads: aligned to the item ids, missing values kept apart, files that trust nothing."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import ArtefactError, DataError
from features.schema import ITEMS
from serving.array_files import write_npy
from serving.catalogue import Catalogue
from serving.catalogue_files import NAMES_FILE, catalogue_file

ROWS = [
    {"item_id": "cup", "title": "Cup", "category": "kitchen", "price_minor": 500, "in_stock": True},
    {"item_id": "pot", "title": "Pot", "category": "kitchen", "brand": "Uno", "in_stock": False},
    {"item_id": "hat", "category": "wear", "price_minor": 1200},
]


def table(rows):
    return pa.Table.from_pylist(rows, ITEMS.arrow)


def test_attributes_are_in_the_order_of_the_ids_and_unknown_items_have_none():
    catalogue = Catalogue.read(table(ROWS), ("hat", "new", "cup", "pot"))
    category = catalogue.texts["category"]
    assert category.words.to_pylist() == ["kitchen", "wear"]
    assert category.codes.tolist() == [1, -1, 0, 0]
    assert [catalogue.texts["title"].text(place) for place in range(4)] == [None, None, "Cup", "Pot"]
    assert np.array_equal(catalogue.numbers["price_minor"], [1200, np.nan, 500, np.nan], equal_nan=True)
    assert catalogue.in_stock.tolist() == [True, True, True, False]
    assert len(catalogue) == 4


def test_further_columns_become_attributes_by_their_type():
    wide = pa.table(
        {
            "item_id": ["a", "b"],
            "colour": pa.array(["red", None]).dictionary_encode(),
            "weight_kg": [1.5, None],
            "is_new": [None, False],
            "made": pa.array([0, 1], pa.timestamp("us")),
        }
    )
    catalogue = Catalogue.read(wide, ["a", "b"])
    assert dict(catalogue.attributes) == {
        "item_id": "text",
        **dict.fromkeys(("colour", "title", "category", "brand"), "text"),
        **dict.fromkeys(("weight_kg", "price_minor"), "number"),
        **dict.fromkeys(("in_stock", "is_new"), "flag"),
    }
    assert catalogue.flags["is_new"].tolist() == [-1, 0]
    assert catalogue.texts["colour"].code_of("red") == 0
    assert catalogue.texts["colour"].code_of("blue") == -1


def test_an_item_in_two_rows_is_refused_and_so_is_a_table_without_ids():
    with pytest.raises(DataError, match="one row an item"):
        Catalogue.read(table([*ROWS, ROWS[0]]), ["cup"])
    with pytest.raises(DataError, match="item_id"):
        Catalogue.read(pa.table({"title": ["Cup"]}), ["cup"])


def test_new_stock_replaces_the_old():
    catalogue = Catalogue.read(table(ROWS), ("cup", "pot", "hat")).with_stock(["hat", "unknown"])
    assert catalogue.in_stock.tolist() == [True, True, False]


def test_an_empty_catalogue_has_its_attributes_and_its_files():
    empty = Catalogue.nothing_said([])
    again = Catalogue.from_files(empty.to_files())
    assert (len(again), dict(again.attributes)) == (0, dict(empty.attributes))


TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=4))


@settings(max_examples=40)
@given(titles=st.lists(TEXT, max_size=8), prices=st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=8))
def test_files_give_the_same_catalogue_and_the_same_bytes(titles, prices):
    rows = [
        {"item_id": str(number), "title": title, "price_minor": price}
        for number, (title, price) in enumerate(zip(titles, prices, strict=False))
    ]
    catalogue = Catalogue.read(table(rows), [*(row["item_id"] for row in rows), "beside"])
    files = catalogue.to_files()
    again = Catalogue.from_files(files)
    assert again.to_files() == files
    for place, row in enumerate(rows):
        text = again.texts["title"].text(place)
        assert text == row["title"]
        assert text is None or again.texts["title"].code_of(text) == again.texts["title"].codes[place]


def rewritten(**changes):
    files = Catalogue.read(table(ROWS), ("cup", "pot", "hat")).to_files()
    new = {catalogue_file(name): array for name, array in changes.items()}
    kept = {name: data for name, data in files.items() if name not in new}
    return kept | {name: write_npy(array) for name, array in new.items() if array is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"in_stock": np.ones(2, bool)},
        {"in_stock": np.ones(3)},
        {"number0": None},
        {"text0_codes": np.array([0, 1, 7], np.int32)},
        {"text0_codes": np.array([0, 1, -2], np.int32)},
        {"text1_starts": np.array([0, 99, 11], np.int32)},
        {"text1_bytes": np.full(11, 255, np.uint8)},
        {"item_ids_bytes": np.frombuffer(b"cupcuphat", np.uint8)},
    ],
)
def test_altered_arrays_are_refused(changes):
    with pytest.raises(ArtefactError):
        Catalogue.from_files(rewritten(**changes))


def test_words_out_of_order_are_refused():
    swapped = np.frombuffer(b"wearkitchen", np.uint8)
    with pytest.raises(ArtefactError, match="ascending"):
        Catalogue.from_files(rewritten(text1_bytes=swapped, text1_starts=np.array([0, 4, 11], np.int32)))


@pytest.mark.parametrize("name", [catalogue_file("text0_codes"), NAMES_FILE])
def test_a_missing_or_broken_file_is_refused(name):
    files = Catalogue.read(table(ROWS), ("cup", "pot", "hat")).to_files()
    with pytest.raises(ArtefactError):
        Catalogue.from_files({key: value for key, value in files.items() if key != name})
    with pytest.raises(ArtefactError):
        Catalogue.from_files(files | {name: files[name][:40]})
    with pytest.raises(ArtefactError, match="format"):
        Catalogue.from_files(files | {NAMES_FILE: json.dumps({"format": 9}).encode()})
