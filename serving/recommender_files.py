"""The recommender's files: one `.npy` an array, read where it lies and without pickle, and a JSON document."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features.errors import ArtefactError
from serving import strict_json
from serving.array_files import read_npy, write_npy
from serving.exploration import ItemBeliefs
from serving.ranker import NEW_RANKER_FILE, RANKER_FILE, Ranker
from serving.sources.kinds import SOURCE_KINDS
from serving.sources.source import Arrays, CandidateSource

__all__ = ["SETTINGS_FILE", "Unpacked", "array_file", "pack", "unpack"]

SETTINGS_FILE = "recommender.json"

_FORMAT = 2
_BELIEFS = "beliefs"
_RANKER_FILES = {"ranker": RANKER_FILE, "new_ranker": NEW_RANKER_FILE}
_AGAIN = "fit and release anew"


def array_file(source: str, array: str) -> str:
    """The name of the file of one array of a source."""
    return f"{source}.{array}.npy"


def pack(
    settings: Mapping[str, Any],
    sources: Sequence[CandidateSource],
    ranker: Ranker | None = None,
    beliefs: ItemBeliefs | None = None,
    new_ranker: Ranker | None = None,
) -> dict[str, bytes]:
    """File name -> content; equal input gives equal bytes."""
    files: dict[str, bytes] = {}
    described = []
    for source in sources:
        own, arrays = source.to_parts()
        described.append({"name": source.name, "kind": source.kind, "settings": own, "arrays": sorted(arrays)})
        for name, array in arrays.items():
            files[array_file(source.name, name)] = write_npy(array)
    ordering: dict[str, Any] = dict.fromkeys(_RANKER_FILES)
    for name, one in zip(_RANKER_FILES, (ranker, new_ranker), strict=True):
        if one is not None:
            ordering[name], files[_RANKER_FILES[name]] = one.to_parts()
    believed = {} if beliefs is None else beliefs.to_parts()
    files |= {array_file(_BELIEFS, name): write_npy(array) for name, array in believed.items()}
    document = {
        "format": _FORMAT,
        "settings": settings,
        "sources": described,
        **ordering,
        _BELIEFS: sorted(believed),
    }
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    return {SETTINGS_FILE: text.encode("utf-8"), **files}


@dataclass(frozen=True, eq=False)
class Unpacked:
    """What `pack` was given; the settings as they were written."""

    settings: dict[str, Any]
    sources: tuple[CandidateSource, ...]
    ranker: Ranker | None
    beliefs: ItemBeliefs | None
    new_ranker: Ranker | None


def unpack(files: Mapping[str, Any], n_items: int) -> Unpacked:
    """What `pack` was given, for a catalogue of `n_items`.

    A file is bytes or whatever has them, such as a memory map. The arrays are views of them, so that the processes that
    map a file share it.

    Raises:
        ArtefactError: a file is missing or unreadable, or a source does not fit.
    """
    if SETTINGS_FILE not in files:
        raise ArtefactError(f"the recommender has no file {SETTINGS_FILE}; copy the release again")
    document = strict_json.read_object(bytes(files[SETTINGS_FILE]), SETTINGS_FILE)
    if document.get("format") != _FORMAT:
        raise ArtefactError(f"{SETTINGS_FILE} is not of format {_FORMAT}; {_AGAIN}")
    settings, described = document.get("settings"), document.get("sources")
    if not isinstance(settings, dict):
        raise ArtefactError(f"{SETTINGS_FILE}: settings must be a table; {_AGAIN}")
    if not isinstance(described, list):
        raise ArtefactError(f"{SETTINGS_FILE}: sources must be a list; {_AGAIN}")
    sources = tuple(_source(one, files) for one in described)
    for source in sources:
        if source.n_items != n_items:
            raise ArtefactError(f"{source.name} is of {source.n_items} items, the catalogue of {n_items}; {_AGAIN}")
    names = {source.name for source in sources}
    ranker, new_ranker = (_ranker(document.get(one), files, names, file) for one, file in _RANKER_FILES.items())
    return Unpacked(settings, sources, ranker, _beliefs(document.get(_BELIEFS), files, n_items), new_ranker)


def _beliefs(named: Any, files: Mapping[str, Any], n_items: int) -> ItemBeliefs | None:
    if not named:
        return None
    beliefs = ItemBeliefs.from_parts(_arrays(_BELIEFS, named, files))
    if len(beliefs.means) != n_items:
        raise ArtefactError(f"the beliefs are of {len(beliefs.means)} items, the catalogue of {n_items}; {_AGAIN}")
    return beliefs


def _ranker(described: Any, files: Mapping[str, Any], sources: Collection[str], file: str) -> Ranker | None:
    if described is None:
        return None
    if not isinstance(described, dict):
        raise ArtefactError(f"{SETTINGS_FILE}: ranker must be a table or null; {_AGAIN}")
    if file not in files:
        raise ArtefactError(f"the recommender has no file {file}; copy the release again")
    ranker = Ranker.from_parts(described, files[file], file)
    if not set(ranker.sources) <= set(sources):
        raise ArtefactError(f"the ranker reads sources that the recommender does not have; {_AGAIN}")
    return ranker


def _source(described: Any, files: Mapping[str, Any]) -> CandidateSource:
    if not isinstance(described, dict) or set(described) != {"name", "kind", "settings", "arrays"}:
        raise ArtefactError(f"{SETTINGS_FILE}: a source needs name, kind, settings and arrays; {_AGAIN}")
    name, kind = described["name"], described["kind"]
    if kind not in SOURCE_KINDS:
        raise ArtefactError(f"{SETTINGS_FILE}: this version knows no source of kind {kind!r}; upgrade first")
    arrays = _arrays(name, described["arrays"], files)
    try:
        source = SOURCE_KINDS[kind].from_parts(described["settings"], arrays)
    except ArtefactError as error:
        raise ArtefactError(f"the source {name}: {error}") from None
    if source.name != name:
        raise ArtefactError(f"{SETTINGS_FILE}: the source {name} calls itself {source.name}; {_AGAIN}")
    return source


def _arrays(name: str, named: Any, files: Mapping[str, Any]) -> Arrays:
    """The named arrays of a source."""
    arrays: Arrays = {}
    for array in named:
        path = array_file(name, array)
        if path not in files:
            raise ArtefactError(f"the recommender has no file {path}; copy the release again")
        arrays[array] = read_npy(files[path], path)
    return arrays
