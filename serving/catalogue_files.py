"""The catalogue's files: one `.npy` an array, read where it lies and without pickle, and a JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import ArtefactError
from serving import strict_json
from serving.array_files import read_npy, write_npy

__all__ = ["NAMES_FILE", "CatalogueArrays", "catalogue_file", "pack_catalogue", "unpack_catalogue"]

NAMES_FILE = "catalogue.json"

_FORMAT = 2
_MOST_ITEMS = 2**31 - 1
_AGAIN = "release anew"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class CatalogueArrays:
    """What the files hold; the fields are those of `catalogue.Catalogue`, a text as its codes and its words."""

    item_ids: Sequence[str]
    texts: Mapping[str, tuple[npt.NDArray[np.int32], pa.StringArray]]
    numbers: Mapping[str, npt.NDArray[np.float64]]
    flags: Mapping[str, npt.NDArray[np.int8]]
    in_stock: npt.NDArray[np.bool_]


def catalogue_file(array: str) -> str:
    """The name of the file of one array."""
    return f"catalogue.{array}.npy"


def pack_catalogue(catalogue: CatalogueArrays) -> dict[str, bytes]:
    """File name -> content; equal input gives equal bytes."""
    arrays: Arrays = {"in_stock": catalogue.in_stock}
    _put_words(arrays, "item_ids", pa.array(list(catalogue.item_ids), pa.string()))
    for number, (codes, words) in enumerate(catalogue.texts.values()):
        arrays[f"text{number}_codes"] = codes
        _put_words(arrays, f"text{number}", words)
    arrays |= {f"number{number}": column for number, column in enumerate(catalogue.numbers.values())}
    arrays |= {f"flag{number}": column for number, column in enumerate(catalogue.flags.values())}
    names = {kind: list(getattr(catalogue, kind)) for kind in ("texts", "numbers", "flags")}
    document = {"format": _FORMAT, "n_items": len(catalogue.item_ids), **names}
    files = {catalogue_file(name): write_npy(array) for name, array in arrays.items()}
    return {NAMES_FILE: strict_json.write_object(document), **files}


def unpack_catalogue(files: Mapping[str, Any]) -> CatalogueArrays:
    """What `pack_catalogue` was given. A file is bytes or whatever has them, such as a memory map; arrays are views.

    Raises:
        ArtefactError: a file is missing or unreadable, an array has another shape or type, a code has no word, words
            are not UTF-8 or not ascending, or item ids repeat.
    """
    if NAMES_FILE not in files:
        raise _absent(NAMES_FILE)
    document = strict_json.read_object(bytes(files[NAMES_FILE]), NAMES_FILE)
    if document.get("format") != _FORMAT:
        raise ArtefactError(f"{NAMES_FILE} is not of format {_FORMAT}; {_AGAIN}")
    n_items = strict_json.whole(document, "n_items", NAMES_FILE, 0, _MOST_ITEMS)
    names = {kind: strict_json.texts(document, kind, NAMES_FILE) for kind in ("texts", "numbers", "flags")}
    item_ids = tuple(_words(files, "item_ids").to_pylist())
    if len(item_ids) != n_items or len(set(item_ids)) != n_items:
        raise _unfit("item_ids", f"{n_items} distinct item ids")
    return CatalogueArrays(
        item_ids,
        {name: _text(files, f"text{number}", n_items) for number, name in enumerate(names["texts"])},
        {name: _number(files, f"number{number}", n_items) for number, name in enumerate(names["numbers"])},
        {name: _flag(files, f"flag{number}", n_items) for number, name in enumerate(names["flags"])},
        _array(files, "in_stock", np.bool_, (n_items,)),
    )


def _put_words(arrays: Arrays, name: str, words: pa.StringArray) -> None:
    """Texts as their bytes one after another and where each begins; int32 (n + 1,)."""
    whole = pa.concat_arrays([words, pa.array([], pa.string())])  # without an offset into a larger buffer
    _, offsets, data = whole.buffers()
    n_words = len(whole)
    starts = np.zeros(1, np.int32) if not n_words else np.frombuffer(offsets, np.int32, n_words + 1)
    arrays[f"{name}_starts"] = starts - starts[0]
    held = b"" if data is None else memoryview(data)[int(starts[0]) : int(starts[-1])]
    arrays[f"{name}_bytes"] = np.frombuffer(held, np.uint8)


def _words(files: Mapping[str, Any], name: str) -> pa.StringArray:
    starts = _array(files, f"{name}_starts", np.int32, None)
    data = _array(files, f"{name}_bytes", np.uint8, None)
    if not len(starts) or starts[0] != 0 or starts[-1] != len(data) or np.any(np.diff(starts) < 0):
        raise _unfit(name, "texts one after another")
    words = pa.StringArray.from_buffers(len(starts) - 1, pa.py_buffer(starts), pa.py_buffer(data))
    try:
        words.validate(full=True)
    except pa.ArrowInvalid:
        raise _unfit(name, "texts in UTF-8") from None
    return words


def _text(files: Mapping[str, Any], name: str, n_items: int) -> tuple[npt.NDArray[np.int32], pa.StringArray]:
    words, codes = _words(files, name), _array(files, f"{name}_codes", np.int32, (n_items,))
    if n_items and (codes.min() < -1 or codes.max() >= len(words)):
        raise _unfit(f"{name}_codes", f"codes from -1 to {len(words) - 1}")
    if len(words) > 1 and not pc.all(pc.less(words[:-1], words[1:])).as_py():
        raise _unfit(name, "distinct words, ascending")
    return codes, words


def _number(files: Mapping[str, Any], name: str, n_items: int) -> npt.NDArray[np.float64]:
    return _array(files, name, np.float64, (n_items,))


def _flag(files: Mapping[str, Any], name: str, n_items: int) -> npt.NDArray[np.int8]:
    flags = _array(files, name, np.int8, (n_items,))
    if n_items and (flags.min() < -1 or flags.max() > 1):
        raise _unfit(name, "-1, 0 and 1")
    return flags


def _array(
    files: Mapping[str, Any], name: str, kind: type[np.generic], shape: tuple[int, ...] | None
) -> npt.NDArray[Any]:
    path = catalogue_file(name)
    if path not in files:
        raise _absent(path)
    found = read_npy(files[path], path)
    if found.dtype != kind or found.ndim != 1 or (shape is not None and found.shape != shape):
        raise _unfit(name, f"{kind.__name__}{'' if shape is None else f' {shape}'}")
    return found


def _absent(path: str) -> ArtefactError:
    return ArtefactError(f"the catalogue has no file {path}; copy the release again")


def _unfit(name: str, wanted: str) -> ArtefactError:
    return ArtefactError(f"{catalogue_file(name)} must hold {wanted}; {_AGAIN}")
