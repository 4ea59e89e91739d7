"""Check one tree of an XGBoost model: its nodes form one tree, and index nothing out of range.

Layout: `RegTree` in XGBoost's `tree_model`. Prediction goes from a node to its
left child or the one after it, reads the feature that the node names, and,
for categorical nodes, a bit in a set as long as the largest category.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from vault.core import limits
from vault.core.ubjson import Value
from vault.core.xgboost_fields import Taker

_ARRAYS: Final[Mapping[str, str]] = {
    "base_weights": "d", "default_left": "U", "left_children": "l", "loss_changes": "d", "parents": "l",
    "right_children": "l", "split_conditions": "d", "split_indices": "l", "split_type": "U",
    "sum_hessian": "d",
}  # fmt: skip
_CATEGORIES: Final[Mapping[str, str]] = {
    "categories": "l", "categories_nodes": "l", "categories_segments": "L", "categories_sizes": "L",
}  # fmt: skip
_FIELDS: Final = {*_ARRAYS, *_CATEGORIES, "id", "tree_param"}
_NONE: Final = 0x7FFFFFFF  # the parent of the root; the feature of a node that pruning removed
_LARGEST: Final = 1 << 24  # categories are kept as 32-bit floats


def check(take: Taker, value: Value, index: int, features: int) -> int:
    """Check the tree at `index` of a model with so many features; give the bytes its category sets take.

    Raises:
        FormatRefused: `format-content`: arrays of unequal length, children that form no tree or are
            out of range, unknown features, categories that are not where they should be, a path
            longer than the limit.
    """
    told = take.fields(value, "tree", _FIELDS)
    sizes = take.fields(
        told["tree_param"], "tree_param", {"num_deleted", "num_feature", "num_nodes", "size_leaf_vector"}
    )
    nodes = take.count(sizes["num_nodes"], "num_nodes", _NONE - 1)
    deleted = take.count(sizes["num_deleted"], "num_deleted", nodes)
    if take.count(sizes["size_leaf_vector"], "size_leaf_vector", _NONE) > 1:
        raise take.refused("its leaves are vectors (multi_output_tree), which this release does not check")
    if told["id"] != index or take.count(sizes["num_feature"], "num_feature", features) != features:
        raise take.refused(f"tree {index} has another number, or other features, than the model")
    for name, kind in _ARRAYS.items():
        take.array(told[name], name, kind, nodes)
    left = take.ints(told["left_children"], "left_children", "l")
    right = take.ints(told["right_children"], "right_children", "l")
    parents = take.ints(told["parents"], "parents", "l")
    reached = _walk(take, left, right, parents, index)
    split = take.ints(told["split_indices"], "split_indices", "l")
    going_left = take.ints(told["default_left"], "default_left", "U")
    if any(value > 1 for value in going_left):
        raise take.refused(f"tree {index} has a node without a default direction")
    gone = [node for node in range(nodes) if not reached[node]]
    if len(gone) != deleted or any(split[node] != _NONE or going_left[node] != 1 for node in gone):
        raise take.refused(f"tree {index} has nodes that nothing refers to")
    # XGBoost looks at the parent of such a node when it reads the tree.
    if any(not 0 <= parents[node] < nodes or (left[node], right[node]) != (-1, -1) for node in gone):
        raise take.refused(f"tree {index} has a removed node that refers to another")
    if any(used and not 0 <= feature < features for used, feature in zip(reached, split, strict=True)):
        raise take.refused(f"tree {index} splits on a feature that the model does not have")
    return _categories(take, told, take.ints(told["split_type"], "split_type", "U"), index)


def _walk(
    take: Taker, left: Sequence[int], right: Sequence[int], parents: Sequence[int], index: int
) -> bytearray:
    """Visit every node from the root; give a flag for each node that was reached.

    A node is its parent's only reference, so that the nodes reached are a tree.
    """
    nodes = len(left)
    reached = bytearray(nodes)
    if nodes == 0 or parents[0] not in (_NONE, -1):
        raise take.refused(f"tree {index} has no root")
    reached[0] = 1
    level, depth = [0], 0
    while level:
        depth += 1
        if depth > limits.TREE_DEPTH:
            raise take.refused(f"tree {index} is deeper than {limits.TREE_DEPTH:,} nodes")
        below: list[int] = []
        for node in level:
            child = left[node]
            if child == -1 and right[node] == -1:
                continue
            # XGBoost's predictor takes the node after the left child for the right one.
            if not 0 < child < nodes - 1 or right[node] != child + 1:
                raise take.refused(f"tree {index} has a child that is out of range")
            if parents[child] != node or parents[child + 1] != node or reached[child] or reached[child + 1]:
                raise take.refused(f"tree {index} has a node with two parents, or with another than it says")
            reached[child] = reached[child + 1] = 1
            below += (child, child + 1)
        level = below
    return reached


def _categories(take: Taker, told: Mapping[str, Value], kinds: Sequence[int], index: int) -> int:
    """Check the categories of each categorical node; give the bytes of their bit sets."""
    categories = take.ints(told["categories"], "categories", _CATEGORIES["categories"])
    nodes = take.ints(told["categories_nodes"], "categories_nodes", "l")
    starts = take.ints(told["categories_segments"], "categories_segments", "L", len(nodes))
    sizes = take.ints(told["categories_sizes"], "categories_sizes", "L", len(nodes))
    if any(kind > 1 for kind in kinds) or list(nodes) != [node for node, kind in enumerate(kinds) if kind]:
        raise take.refused(f"tree {index} has categories for other nodes than it says")
    position = held = 0
    for start, size in zip(starts, sizes, strict=True):
        if start != position or not 0 < size <= len(categories) - position:
            raise take.refused(f"tree {index} has categories that overlap or run past their end")
        part = categories[position : position + size]
        if min(part) < 0 or max(part) >= _LARGEST:
            raise take.refused(f"tree {index} has a category that is out of range")
        held += max(part) // 8 + 4
        position += size
    if position != len(categories):
        raise take.refused(f"tree {index} has categories that belong to no node")
    return held
