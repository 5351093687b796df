"""LightGBM's text model, checked before LightGBM reads it.

LightGBM 4.7 does not refuse a truncated or altered model text: its parser throws inside a thread and the whole process
aborts, and a child that points back makes a prediction loop for ever. So every tree is checked here first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from features.errors import ArtefactError

__all__ = ["check_booster_text"]

_MAX_TREES = 20_000
_NODE_FIELDS = ("split_feature", "threshold", "decision_type", "left_child", "right_child", "split_gain")
_NODE_FIELDS_2 = ("internal_value", "internal_weight", "internal_count")
_LEAF_FIELDS = ("leaf_value", "leaf_weight", "leaf_count")


def check_booster_text(text: str, feature_names: tuple[str, ...]) -> int:
    """The number of trees of a binary model over exactly these features.

    Raises:
        ArtefactError: the text is truncated, altered, of another objective or version, or for other features.
    """
    try:
        head, _, body = text.partition("\n\n")
        fields = _fields(head, "header")
        sizes = [int(size) for size in fields["tree_sizes"].split()]
        _check_header(head, fields, feature_names, len(sizes))
        start = 0
        for index, size in enumerate(sizes):
            _check_tree(body[start : start + size], index, len(feature_names))
            start += size
    except ArtefactError:
        raise
    except (ValueError, KeyError, UnicodeError, OverflowError) as error:
        raise ArtefactError(f"the boosted trees are damaged: {type(error).__name__} while reading them") from None
    _check_tail(body[start:])
    return len(sizes)


def _check_header(head: str, fields: dict[str, str], feature_names: tuple[str, ...], n_trees: int) -> None:
    if not head.startswith("tree\n") or fields["version"] != "v4":
        raise ArtefactError("the boosted trees are not LightGBM's text format v4")
    if (
        fields["objective"] != "binary sigmoid:1"
        or fields["num_class"] != "1"
        or fields["num_tree_per_iteration"] != "1"
    ):
        raise ArtefactError("the boosted trees are not a binary model with sigmoid 1")
    if tuple(fields["feature_names"].split(" ")) != feature_names or "average_output" in fields:
        raise ArtefactError("the boosted trees were made for other features than the model names")
    if int(fields["max_feature_idx"]) != len(feature_names) - 1:
        raise ArtefactError("the boosted trees count other features than they name")
    if len(fields["feature_infos"].split(" ")) != len(feature_names):
        raise ArtefactError("the boosted trees describe other features than they name")
    if not 1 <= n_trees <= _MAX_TREES:
        raise ArtefactError(f"the model has {n_trees} trees; from 1 to {_MAX_TREES} are read")


def _check_tail(tail: str) -> None:
    start, end, last = "end of trees\n", "\nend of parameters\n", "\npandas_categorical:null\n"
    if not (tail.startswith(start) and end in tail and tail.endswith(last)):
        raise ArtefactError("the boosted trees end early or differently; the file is truncated or was altered")


def _fields(block: str, what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block.split("\n"):
        key, _, value = line.partition("=")
        if key in found and key:
            raise ArtefactError(f"{what} of the boosted trees holds {key} twice")
        found[key] = value
    return found


def _check_tree(block: str, index: int, n_features: int) -> None:
    fields = _fields(block, f"tree {index}")
    if not block.startswith(f"Tree={index}\n") or not block.endswith("\n\n"):
        raise ArtefactError(f"tree {index} does not begin or end where the model says")
    if fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise ArtefactError(f"tree {index} is categorical or linear; this version reads numeric, constant leaves only")
    n_leaves = int(fields["num_leaves"])
    if not 1 <= n_leaves <= 4_096:
        raise ArtefactError(f"tree {index} has {n_leaves} leaves; from 1 to 4096 are read")
    leaf_fields = _LEAF_FIELDS if n_leaves > 1 else _LEAF_FIELDS[:1]
    for name in leaf_fields:
        _numbers(fields[name], n_leaves, name, index)
    _numbers(fields["shrinkage"], 1, "shrinkage", index)
    if n_leaves == 1:
        return
    nodes = {name: _numbers(fields[name], n_leaves - 1, name, index) for name in (*_NODE_FIELDS, *_NODE_FIELDS_2)}
    features = nodes["split_feature"]
    if (features != np.floor(features)).any() or features.min() < 0 or features.max() >= n_features:
        raise ArtefactError(f"tree {index} splits on a feature that does not exist")
    _check_children(nodes["left_child"], nodes["right_child"], index)


def _numbers(value: str, size: int, name: str, index: int) -> npt.NDArray[np.float64]:
    found = np.array([float(word) for word in value.split()], dtype=np.float64)
    # a threshold is infinite where a split only parts missing from present
    sound = ~np.isnan(found) if name == "threshold" else np.isfinite(found)
    if found.shape != (size,) or not sound.all():
        raise ArtefactError(f"tree {index} needs {size} finite numbers {name}")
    return found


def _check_children(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], index: int) -> None:
    """Each node but the root and each leaf (written as `~leaf`) is the child of exactly one earlier node."""
    n_nodes = left.shape[0]
    children = np.concatenate([left, right])
    parents = np.tile(np.arange(n_nodes), 2)
    expected = np.concatenate([np.arange(-(n_nodes + 1), 0), np.arange(1, n_nodes)])
    if not np.array_equal(np.sort(children), expected) or (children[children >= 0] <= parents[children >= 0]).any():
        raise ArtefactError(f"tree {index} is not a tree: a child is missing, shared or points back")
