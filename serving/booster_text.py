"""LightGBM's text model, checked before LightGBM reads it.

LightGBM 4.7 does not refuse a truncated or altered model text: its parser throws inside a thread and the whole process
aborts, one bad character in the list of parameters ends in a segmentation fault, and a child that points back makes a
prediction loop for ever. So every line that LightGBM will read is checked here first, and the parameters of training,
which a prediction does not need, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError
from serving.pacing import breathe

__all__ = ["Objective", "check_booster_text", "join_trees", "trees_only"]

Objective = Literal["binary", "regression", "lambdarank"]
"""What the trees were boosted for: log-odds of an outcome, a number, or an order within groups."""

_END = "\n\nend of trees\n"
_MAX_TREES = 20_000
_MAX_LEAVES = 4_096
_MAX_CATEGORY_WORDS = 1 << 20
_FLOAT = r"-?(?:\d{1,40}(?:\.\d{1,40})?(?:e[+-]?\d{1,3})?|inf)"
_FLOATS = re.compile(rf"{_FLOAT}(?: {_FLOAT})*", re.ASCII)
_WHOLES = re.compile(r"-?\d{1,18}(?: -?\d{1,18})*", re.ASCII)
# a number's range, or the codes of a category, -1 for those seen too seldom
_RANGE = re.compile(rf"none|\[{_FLOAT}:{_FLOAT}\]|-?\d{{1,9}}(?::-?\d{{1,9}})*", re.ASCII)
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
_CATEGORY_FIELDS = {"cat_boundaries", "cat_threshold"}
_TREE_FIELDS = {
    *("Tree", "num_leaves", "num_cat", "is_linear", "shrinkage"),
    *(*_CATEGORY_FIELDS, *_NODE_FIELDS, *_LEAF_FIELDS),
}
_OBJECTIVES: dict[Objective, str] = {
    "binary": "binary sigmoid:1",
    "regression": "regression",
    "lambdarank": "lambdarank",
}
_HEADER = {
    "version": "v4",
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": "0",
}
_HEADER_FIELDS = {"tree", "max_feature_idx", "feature_names", "feature_infos", "objective", "tree_sizes", *_HEADER}


def trees_only(text: str) -> str:
    r"""The text without what stands behind its trees: importances and the parameters of training.

    >>> trees_only("tree\n...\n\nend of trees\n\nfeature_importances:\n")
    'tree\n...\n\nend of trees\n'
    """
    trees, end, _ = text.partition(_END)
    return trees + end


def join_trees(texts: Sequence[str]) -> str:
    """One text with the trees of several, as `trees_only` leaves them; its sum is the sum of theirs.

    The header is the first text's: all must be of one objective and over the same features.
    """
    head = texts[0].partition("\n\n")[0]
    trees: list[str] = []
    for text in texts:
        own_head, _, body = text.partition("\n\n")
        start = 0
        for size in own_head.rpartition("tree_sizes=")[2].split(" "):
            block = body[start : start + int(size)]
            start += int(size)
            trees.append(f"Tree={len(trees)}\n{block.partition(chr(10))[2]}")
    sizes = " ".join(str(len(tree)) for tree in trees)
    return f"{head.rpartition('tree_sizes=')[0]}tree_sizes={sizes}\n\n{''.join(trees)}{_END[2:]}"


def check_booster_text(text: str, feature_names: tuple[str, ...], objective: Objective = "binary") -> int:
    """The number of trees of a model over exactly these features, as `trees_only` leaves it.

    Raises:
        ArtefactError: the text is truncated, altered, of another objective or version, or for other features.
    """
    head, _, body = text.partition("\n\n")
    try:
        sizes = _check_header(head, feature_names, objective)
        start = 0
        for index, size in enumerate(sizes):
            _check_tree(body[start : start + size], index, len(feature_names))
            breathe()
            start += size
    except (ValueError, KeyError) as error:
        raise ArtefactError(f"the boosted trees are damaged: {type(error).__name__} while reading them") from None
    if body[start:] != _END[2:]:
        raise ArtefactError("the boosted trees end early or differently; the file is truncated or was altered")
    return len(sizes)


def _check_header(head: str, feature_names: tuple[str, ...], objective: Objective) -> list[int]:
    """The length of each tree's text."""
    fields = _fields(head, "the header")
    if not head.startswith("tree\n") or set(fields) != _HEADER_FIELDS:
        raise ArtefactError("the boosted trees do not begin as LightGBM's text format v4 does")
    for key, value in {**_HEADER, "objective": _OBJECTIVES[objective]}.items():
        if fields[key] != value:
            raise ArtefactError(f"the boosted trees have another {key} than {value}; here only v4 {objective} is read")
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
    if fields["is_linear"] != "0":
        raise ArtefactError(f"tree {index} has linear leaves; this version reads constant ones only")
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
    if nodes["decision_type"].min() < 0 or nodes["decision_type"].max() > 15:
        raise ArtefactError(f"tree {index} decides in a way that this version does not read")
    _check_categories(fields, nodes["threshold"][nodes["decision_type"] % 2 == 1], index)
    _check_children(nodes["left_child"], nodes["right_child"], index)


def _check_categories(fields: dict[str, str], thresholds: npt.NDArray[np.float64], index: int) -> None:
    """Each categorical node's threshold is the place of its own set of codes; the sets are words of 32 bits."""
    (n_sets,) = _numbers(fields, "num_cat", _WHOLES, 1, index)
    if n_sets == 0:
        if thresholds.size or _CATEGORY_FIELDS & set(fields):
            raise ArtefactError(f"tree {index} decides by categories that it does not hold")
        return
    if not set(fields) >= _CATEGORY_FIELDS:
        raise ArtefactError(f"tree {index} lacks the sets of categories that it counts")
    if not 0 < n_sets < _MAX_LEAVES:
        raise ArtefactError(f"tree {index} has {n_sets:.0f} sets of categories; fewer than {_MAX_LEAVES} are read")
    bounds = _numbers(fields, "cat_boundaries", _WHOLES, int(n_sets) + 1, index)
    if bounds[0] != 0 or (np.diff(bounds) < 1).any() or bounds[-1] > _MAX_CATEGORY_WORDS:
        raise ArtefactError(f"tree {index} has sets of categories that do not follow each other")
    words = _numbers(fields, "cat_threshold", _WHOLES, int(bounds[-1]), index)
    if words.min() < 0 or words.max() >= 1 << 32:
        raise ArtefactError(f"tree {index} holds a set of categories that is no word of 32 bits")
    if not np.array_equal(np.sort(thresholds), np.arange(n_sets)):
        raise ArtefactError(f"tree {index} decides by categories that it does not hold")


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
