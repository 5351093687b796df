"""LightGBM's text model, checked before LightGBM reads it.

LightGBM 4.7 does not refuse a truncated or altered model text: its parser throws inside a thread and the whole process
aborts, one bad character in the list of parameters ends in a segmentation fault, and a child that points back makes a
prediction loop for ever. So every line that LightGBM will read is checked here first, and the parameters of training,
which a prediction does not need, are left out.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError

__all__ = ["check_booster_text", "trees_only"]

_END = "\n\nend of trees\n"
_MAX_TREES = 20_000
_MAX_LEAVES = 4_096
_FLOAT = r"-?(?:\d{1,40}(?:\.\d{1,40})?(?:e[+-]?\d{1,3})?|inf)"
_FLOATS = re.compile(rf"{_FLOAT}(?: {_FLOAT})*", re.ASCII)
_WHOLES = re.compile(r"-?\d{1,18}(?: -?\d{1,18})*", re.ASCII)
_RANGE = re.compile(rf"none|\[{_FLOAT}:{_FLOAT}\]", re.ASCII)
_NODE_FIELDS = {
    "split_feature": _WHOLES,
    "split_gain": _FLOATS,
    "threshold": _FLOATS,
    "decision_type": _WHOLES,
    "left_child": _WHOLES,
    "right_child": _WHOLES,
    "internal_value": _FLOATS,
    "internal_weight": _FLOATS,
    "internal_count": _WHOLES,
}
_LEAF_FIELDS = {"leaf_value": _FLOATS, "leaf_weight": _FLOATS, "leaf_count": _WHOLES}
_TREE_FIELDS = {"Tree", "num_leaves", "num_cat", "is_linear", "shrinkage", *_NODE_FIELDS, *_LEAF_FIELDS}
_HEADER = {
    "version": "v4",
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": "0",
    "objective": "binary sigmoid:1",
}
_HEADER_FIELDS = {"tree", "max_feature_idx", "feature_names", "feature_infos", "tree_sizes", *_HEADER}


def trees_only(text: str) -> str:
    r"""The text without what stands behind its trees: importances and the parameters of training.

    >>> trees_only("tree\n...\n\nend of trees\n\nfeature_importances:\n")
    'tree\n...\n\nend of trees\n'
    """
    trees, end, _ = text.partition(_END)
    return trees + end


def check_booster_text(text: str, feature_names: tuple[str, ...]) -> int:
    """The number of trees of a binary model over exactly these features, as `trees_only` leaves it.

    Raises:
        ArtefactError: the text is truncated, altered, of another objective or version, or for other features.
    """
    head, _, body = text.partition("\n\n")
    try:
        sizes = _check_header(head, feature_names)
        start = 0
        for index, size in enumerate(sizes):
            _check_tree(body[start : start + size], index, len(feature_names))
            start += size
    except (ValueError, KeyError) as error:
        raise ArtefactError(f"the boosted trees are damaged: {type(error).__name__} while reading them") from None
    if body[start:] != _END[2:]:
        raise ArtefactError("the boosted trees end early or differently; the file is truncated or was altered")
    return len(sizes)


def _check_header(head: str, feature_names: tuple[str, ...]) -> list[int]:
    """The length of each tree's text."""
    fields = _fields(head, "the header")
    if not head.startswith("tree\n") or set(fields) != _HEADER_FIELDS:
        raise ArtefactError("the boosted trees do not begin as LightGBM's text format v4 does")
    for key, value in _HEADER.items():
        if fields[key] != value:
            raise ArtefactError(f"the boosted trees have another {key} than {value}; only a binary model v4 is read")
    if tuple(fields["feature_names"].split(" ")) != feature_names:
        raise ArtefactError("the boosted trees were made for other features than the model names")
    ranges = fields["feature_infos"].split(" ")
    if fields["max_feature_idx"] != str(len(feature_names) - 1) or len(ranges) != len(feature_names):
        raise ArtefactError("the boosted trees count other features than they name")
    if not all(_RANGE.fullmatch(found) for found in ranges) or not _WHOLES.fullmatch(fields["tree_sizes"]):
        raise ArtefactError("the boosted trees have a header that is no list of numbers")
    sizes = [int(size) for size in fields["tree_sizes"].split(" ")]
    if len(sizes) > _MAX_TREES or min(sizes) < 1:
        raise ArtefactError(f"the model has {len(sizes)} trees; from 1 to {_MAX_TREES}, none empty, are read")
    return sizes


def _fields(block: str, what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block.split("\n"):
        key, _, value = line.partition("=")
        if key in found:
            raise ArtefactError(f"{what} of the boosted trees holds {key} twice")
        found[key] = value
    return found


def _check_tree(block: str, index: int, n_features: int) -> None:
    if not block.startswith(f"Tree={index}\n") or not block.endswith("\n\n\n"):
        raise ArtefactError(f"tree {index} does not begin or end where the model says")
    fields = _fields(block[:-3], f"tree {index}")
    if fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise ArtefactError(f"tree {index} is categorical or linear; this version reads numeric, constant leaves only")
    if not set(fields) <= _TREE_FIELDS:
        raise ArtefactError(f"tree {index} holds a field that LightGBM does not write")
    (n_leaves,) = _numbers(fields, "num_leaves", _WHOLES, 1, index)
    if not 1 <= n_leaves <= _MAX_LEAVES:
        raise ArtefactError(f"tree {index} has {n_leaves:.0f} leaves; from 1 to {_MAX_LEAVES} are read")
    _numbers(fields, "shrinkage", _FLOATS, 1, index)
    size = int(n_leaves)
    if size == 1:
        _numbers(fields, "leaf_value", _FLOATS, 1, index)
        return
    for name, form in _LEAF_FIELDS.items():
        _numbers(fields, name, form, size, index)
    nodes = {name: _numbers(fields, name, form, size - 1, index) for name, form in _NODE_FIELDS.items()}
    if nodes["split_feature"].min() < 0 or nodes["split_feature"].max() >= n_features:
        raise ArtefactError(f"tree {index} splits on a feature that does not exist")
    if nodes["decision_type"].min() < 0 or nodes["decision_type"].max() > 15 or (nodes["decision_type"] % 2).any():
        raise ArtefactError(f"tree {index} decides in a way that this version does not read")
    _check_children(nodes["left_child"], nodes["right_child"], index)


def _numbers(
    fields: dict[str, str], name: str, form: re.Pattern[str], size: int, index: int
) -> npt.NDArray[np.float64]:
    value = fields[name]
    if form.fullmatch(value):
        found = np.array(value.split(" "), dtype=np.float64)
        # a threshold is infinite where a split only parts missing from present
        if found.shape == (size,) and (name == "threshold" or np.isfinite(found).all()):
            return found
    raise ArtefactError(f"tree {index} needs {size} finite numbers {name}")


def _check_children(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], index: int) -> None:
    """Each node but the root and each leaf (written as `~leaf`) is the child of exactly one earlier node."""
    n_nodes = left.shape[0]
    children = np.concatenate([left, right])
    parents = np.tile(np.arange(n_nodes), 2)
    expected = np.concatenate([np.arange(-(n_nodes + 1), 0), np.arange(1, n_nodes)])
    if not np.array_equal(np.sort(children), expected) or (children[children >= 0] <= parents[children >= 0]).any():
        raise ArtefactError(f"tree {index} is not a tree: a child is missing, shared or points back")
