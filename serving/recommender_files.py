"""The recommender's two files: arrays that are read without pickle, and a JSON document."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving import strict_json

__all__ = ["ARRAYS_FILE", "SETTINGS_FILE", "pack", "unpack"]

ARRAYS_FILE = "recommender.npz"
SETTINGS_FILE = "recommender.json"

_FORMAT = 1
_FACTORS = "item_factors"
_POSITIVE = ("rate_per_day", "gap_days")
_VECTORS = ("popularity", *_POSITIVE)
_AGAIN = "fit and release anew"

Arrays = dict[str, npt.NDArray[Any]]


def pack(
    item_ids: Sequence[str], settings: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> dict[str, bytes]:
    """File name -> content. Equal input gives equal bytes: numpy dates every entry of the archive 1980-01-01."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: arrays[name] for name in (_FACTORS, *_VECTORS)})
    document = {"format": _FORMAT, "settings": settings, "item_ids": list(item_ids)}
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    return {ARRAYS_FILE: buffer.getvalue(), SETTINGS_FILE: text.encode("utf-8")}


def unpack(files: Mapping[str, bytes]) -> tuple[tuple[str, ...], dict[str, Any], Arrays]:
    """Item ids, settings and arrays of `pack`.

    Raises:
        ArtefactError: a file is missing or unreadable, an array has another shape or type, or is not finite.
    """
    for name in (ARRAYS_FILE, SETTINGS_FILE):
        if name not in files:
            raise ArtefactError(f"the recommender has no file {name}; copy the release again")
    item_ids, settings = _read_document(files[SETTINGS_FILE])
    arrays = _read_arrays(files[ARRAYS_FILE])
    _check_arrays(arrays, len(item_ids))
    return item_ids, settings, arrays


def _read_document(content: bytes) -> tuple[tuple[str, ...], dict[str, Any]]:
    document = strict_json.read_object(content, SETTINGS_FILE)
    if document.get("format") != _FORMAT:
        raise ArtefactError(f"{SETTINGS_FILE} is not of format {_FORMAT}; {_AGAIN}")
    item_ids, settings = document.get("item_ids"), document.get("settings")
    if not isinstance(item_ids, list) or not all(isinstance(item_id, str) for item_id in item_ids):
        raise ArtefactError(f"{SETTINGS_FILE}: item_ids must be a list of strings; {_AGAIN}")
    if len(set(item_ids)) != len(item_ids):
        raise ArtefactError(f"{SETTINGS_FILE}: item_ids must be distinct; {_AGAIN}")
    if not isinstance(settings, dict):
        raise ArtefactError(f"{SETTINGS_FILE}: settings must be a table; {_AGAIN}")
    return tuple(item_ids), settings


def _read_arrays(content: bytes) -> Arrays:
    wanted = {_FACTORS, *_VECTORS}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            if set(archive.files) != wanted:
                raise ArtefactError(f"{ARRAYS_FILE} must hold {', '.join(sorted(wanted))}; {_AGAIN}")
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError):
        raise ArtefactError(f"{ARRAYS_FILE} is truncated or not an array file; copy the release again") from None


def _check_arrays(arrays: Arrays, n_items: int) -> None:
    factors = arrays[_FACTORS]
    if factors.dtype != np.float32 or factors.ndim != 2 or factors.shape[0] != n_items or not factors.shape[1]:
        raise ArtefactError(f"{ARRAYS_FILE}: {_FACTORS} must be float32 ({n_items}, n_factors); {_AGAIN}")
    for name in _VECTORS:
        if arrays[name].dtype != np.float64 or arrays[name].shape != (n_items,):
            raise ArtefactError(f"{ARRAYS_FILE}: {name} must be float64 ({n_items},); {_AGAIN}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ArtefactError(f"{ARRAYS_FILE}: {name} holds values that are not finite; {_AGAIN}")
    for name in _VECTORS:
        if np.any(arrays[name] < 0) or (name in _POSITIVE and np.any(arrays[name] == 0)):
            raise ArtefactError(f"{ARRAYS_FILE}: {name} holds a value that is too small; {_AGAIN}")
