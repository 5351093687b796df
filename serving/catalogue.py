"""The catalogue as a decision reads it: what each item is, one array an attribute, in the order of the item ids."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import DataError
from features.interactions import ItemIndex
from serving.catalogue_files import CatalogueArrays, pack_catalogue, unpack_catalogue

__all__ = ["IN_STOCK", "ITEM_ID", "AttributeKind", "Catalogue", "Coded", "TextAttribute"]

Codes = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
AttributeKind = Literal["text", "number", "flag"]

ITEM_ID = "item_id"
IN_STOCK = "in_stock"
_TEXTS = ("title", "category", "brand")
_NUMBERS = ("price_minor",)


class Coded(Protocol):
    """An attribute whose values are compared by code: texts, item ids, flags."""

    @property
    def codes(self) -> npt.NDArray[np.signedinteger]:
        """Signed whole numbers (n_items,), -1 where the value is missing."""

    def code_of(self, value: object) -> int:
        """The code of a value; -1 where no item has it."""


@dataclass(frozen=True, eq=False)
class TextAttribute:
    """Texts as codes.

    Attributes:
        codes: int32 (n_items,), places in `words`; -1 where the text is missing.
        words: the distinct texts, ascending by code point; an Arrow array, so that a million titles are one buffer.
    """

    codes: Codes
    words: pa.StringArray = field(repr=False)

    @classmethod
    def of(cls, texts: pa.Array | pa.ChunkedArray) -> TextAttribute:
        """The attribute of a column of texts; null is missing."""
        column = pc.cast(texts, pa.string())
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        encoded = whole.dictionary_encode()
        order = pc.sort_indices(encoded.dictionary).to_numpy()
        ranks = np.full(len(order) + 1, -1, np.int32)  # one more for the missing
        ranks[order] = np.arange(len(order), dtype=np.int32)
        places = pc.fill_null(encoded.indices, len(order)).to_numpy(zero_copy_only=False)
        return cls(ranks[places], encoded.dictionary.take(pa.array(order)))

    def code_of(self, value: object) -> int:
        """The code of a text; -1 where no item has it."""
        word = str(value)
        place = bisect.bisect_left(range(len(self.words)), word, key=lambda i: self.words[i].as_py())
        return place if place < len(self.words) and self.words[place].as_py() == word else -1

    def text(self, place: int) -> str | None:
        """The text of one item; None where it is missing."""
        code = int(self.codes[place])
        return None if code < 0 else str(self.words[code].as_py())


@dataclass(frozen=True, eq=False)
class _Ids:
    """The item id as an attribute: every item's code is its place."""

    index: ItemIndex

    @cached_property
    def codes(self) -> Codes:
        return np.arange(len(self.index.item_ids), dtype=np.int32)

    def code_of(self, value: object) -> int:
        return self.index.positions.get(str(value), -1)


@dataclass(frozen=True, eq=False)
class _Flags:
    """Flags as codes: 0 is false, 1 is true."""

    codes: npt.NDArray[np.int8]

    def code_of(self, value: object) -> int:
        return int(bool(value))


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items and their attributes; safe to share between threads.

    Attributes:
        item_ids: distinct; a place is a position in it.
        texts: name -> attribute; `title`, `category` and `brand` are always there.
        numbers: name -> float64 (n_items,), NaN where missing; `price_minor` is always there.
        flags: name -> int8 (n_items,): 1 true, 0 false, -1 missing; without `in_stock`.
        in_stock: bool (n_items,); an item of which nothing is said counts as in stock.
    """

    item_ids: tuple[str, ...]
    texts: Mapping[str, TextAttribute]
    numbers: Mapping[str, Floats]
    flags: Mapping[str, npt.NDArray[np.int8]]
    in_stock: Bools

    @classmethod
    def read(cls, items_table: pa.Table, item_ids: Sequence[str]) -> Catalogue:
        """The attributes of some items: every column of texts, numbers or booleans of a table with an `item_id`.

        An item that the table does not hold has every attribute missing; columns of other types (times, lists) are no
        attributes.

        Raises:
            DataError: the table has no `item_id` or names one twice.
        """
        if ITEM_ID not in items_table.column_names:
            raise DataError("items: there is no column item_id; write the item's unique name there")
        named = pc.cast(items_table[ITEM_ID], pa.string())
        if pc.count_distinct(named, mode="all").as_py() != len(named):
            raise DataError("items: an item_id stands in several rows; keep one row an item")
        rows = pc.index_in(pa.array(item_ids, pa.string()), value_set=named)
        texts: dict[str, TextAttribute] = {}
        numbers: dict[str, Floats] = {}
        flags: dict[str, npt.NDArray[np.int8]] = {}
        for name in items_table.column_names:
            column, kind = items_table[name].take(rows), _kind_of(items_table.schema.field(name).type)
            if name == ITEM_ID:
                continue
            if kind == "text":
                texts[name] = TextAttribute.of(column)
            elif kind == "number":
                numbers[name] = pc.fill_null(pc.cast(column, pa.float64()), np.nan).to_numpy()
            elif kind == "flag":
                flags[name] = pc.fill_null(pc.cast(column, pa.int8()), -1).to_numpy()
        stock = flags.pop(IN_STOCK, None)
        n_items = len(item_ids)
        nothing = pa.nulls(n_items, pa.string())
        texts |= {name: TextAttribute.of(nothing) for name in _TEXTS if name not in texts}
        numbers |= {name: np.full(n_items, np.nan) for name in _NUMBERS if name not in numbers}
        return cls(tuple(item_ids), texts, numbers, flags, np.ones(n_items, np.bool_) if stock is None else stock != 0)

    @classmethod
    def nothing_said(cls, item_ids: Sequence[str]) -> Catalogue:
        """Items of which no attribute is known; all count as in stock."""
        return cls.read(pa.table({ITEM_ID: pa.array([], pa.string())}), item_ids)

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def index(self) -> ItemIndex:
        """Positions of the item ids."""
        return ItemIndex(self.item_ids)

    @cached_property
    def attributes(self) -> Mapping[str, AttributeKind]:
        """Name -> kind of every attribute that a filter can ask for."""
        kinds: dict[str, AttributeKind] = {ITEM_ID: "text"}
        kinds |= dict.fromkeys(self.texts, "text")
        kinds |= dict.fromkeys(self.numbers, "number")
        return MappingProxyType(kinds | dict.fromkeys((IN_STOCK, *self.flags), "flag"))

    @cached_property
    def coded(self) -> Mapping[str, Coded]:
        """Every attribute that is a text or a flag, `item_id` and `in_stock` among them."""
        flags = {IN_STOCK: self.in_stock.view(np.int8)} | dict(self.flags)
        return MappingProxyType(
            {ITEM_ID: _Ids(self.index), **self.texts, **{name: _Flags(codes) for name, codes in flags.items()}}
        )

    def with_stock(self, out_of_stock: Collection[str]) -> Catalogue:
        """The same items, of which these alone are out of stock; ids that the catalogue does not hold do nothing."""
        in_stock = np.ones(len(self), np.bool_)
        places = self.index.positions_of(list(out_of_stock))
        in_stock[places[places >= 0]] = False
        return dataclasses.replace(self, in_stock=in_stock)

    def to_files(self) -> dict[str, bytes]:
        """Its files, without code in them; the same catalogue gives the same bytes."""
        texts = {name: (text.codes, text.words) for name, text in self.texts.items()}
        return pack_catalogue(CatalogueArrays(self.item_ids, texts, self.numbers, self.flags, self.in_stock))

    @classmethod
    def from_files(cls, files: Mapping[str, Any]) -> Catalogue:
        """The catalogue of `to_files`; a file is bytes or a memory map, which the arrays then are views of.

        Raises:
            ArtefactError: a file is missing, unreadable or does not fit; see `catalogue_files.unpack_catalogue`.
        """
        arrays = unpack_catalogue(files)
        texts = {name: TextAttribute(codes, words) for name, (codes, words) in arrays.texts.items()}
        return cls(tuple(arrays.item_ids), texts, arrays.numbers, arrays.flags, arrays.in_stock)


def _kind_of(kind: pa.DataType) -> AttributeKind | None:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_string(values) or pa.types.is_large_string(values) or pa.types.is_string_view(values):
        return "text"
    if pa.types.is_boolean(values):
        return "flag"
    if pa.types.is_integer(values) or pa.types.is_floating(values) or pa.types.is_decimal(values):
        return "number"
    return None
