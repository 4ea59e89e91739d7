"""Build LightGBM and XGBoost files by hand, so that a test can change one thing in a valid one."""

import copy
import struct
from collections.abc import Mapping
from typing import Any

# --- LightGBM's text ---

TREE = {
    "num_leaves": "4",
    "num_cat": "1",
    "split_feature": "0 1 2",
    "split_gain": "2 1.5 1e-05",
    "threshold": "0.5 0 -1",
    "decision_type": "2 1 8",
    "left_child": "1 -1 -2",
    "right_child": "2 -3 -4",
    "leaf_value": "-0.5 0.25 1 inf",
    "leaf_weight": "1 2 3 4",
    "leaf_count": "1 2 3 4",
    "internal_value": "0 nan 1",
    "internal_weight": "1 2 3",
    "internal_count": "10 4 6",
    "cat_boundaries": "0 2",
    "cat_threshold": "12 4294967295",
    "is_linear": "0",
    "shrinkage": "0.1",
}
LEAF = {
    "num_leaves": "1",
    "num_cat": "0",
    **dict.fromkeys(("split_feature", "split_gain", "threshold", "decision_type"), ""),
    **dict.fromkeys(("left_child", "right_child"), ""),
    "leaf_value": "1",
    "leaf_weight": "",
    "leaf_count": "50",
    **dict.fromkeys(("internal_value", "internal_weight", "internal_count"), ""),
    "is_linear": "0",
    "shrinkage": "1",
}
LINEAR = {
    **{key: value for key, value in TREE.items() if not key.startswith("cat_") and key != "shrinkage"},
    "num_cat": "0",
    "decision_type": "2 2 8",
    "is_linear": "1",
    "leaf_const": "1 2 3 4",
    "num_features": "2 0 1 0",
    "leaf_features": "0 1   2   ",
    "leaf_coeff": "0.5 1e-05   2   ",
    "shrinkage": "0.1",
}
HEADER: Mapping[str, str | None] = {
    "version": "v4",
    "num_class": "1",
    "num_tree_per_iteration": "1",
    "label_index": "0",
    "max_feature_idx": "2",
    "objective": "regression",
    "average_output": None,
    "feature_names": "a b=c é/x",
    "monotone_constraints": "1 0 -1",
    "feature_infos": "[-1.5:2] 1:0:3 none",
}
PARAMETERS = "[boosting: gbdt]\n[data: ]\n[interaction_constraints: [0,1],[2]]\n"
CATEGORIES = '[["x", "é"], [1, 2]]'


def lightgbm(
    *trees: Mapping[str, str],
    parameters: str = PARAMETERS,
    importances: str = "a=2\nb=c=1\n",
    categories: str | None = CATEGORIES,
    sizes: str | None = None,
    **header: str | None,
) -> bytes:
    """Write a file of these trees (one with categories if none is given); header lines may be replaced."""
    lines = dict(HEADER)
    for key, value in header.items():
        if value == "absent":
            del lines[key]
        else:
            lines[key] = value
    blocks = [
        f"Tree={index}\n" + "".join(f"{key}={value}\n" for key, value in tree.items()) + "\n\n"
        for index, tree in enumerate(trees or (TREE,))
    ]
    told = sizes if sizes is not None else " ".join(str(len(block.encode())) for block in blocks)
    head = "".join(key + "\n" if value is None else f"{key}={value}\n" for key, value in lines.items())
    text = f"tree\n{head}tree_sizes={told}\n\n{''.join(blocks)}end of trees\n\n"
    text += f"feature_importances:\n{importances}\nparameters:\n{parameters}\nend of parameters\n"
    return (text if categories is None else f"{text}\npandas_categorical:{categories}\n").encode()


# --- XGBoost's UBJSON ---


class Array:
    """An array of numbers of one kind, as `ubjson.Numbers` reads it."""

    def __init__(self, kind: str, *numbers: float) -> None:
        """Hold the numbers of `kind`, UBJSON's letter."""
        self.kind = kind
        self.numbers = numbers


def ubjson(value: Any) -> bytes:
    """Write a value as XGBoost does: integers as 8 bits where they fit, else 32; floats as 32 bits."""
    if isinstance(value, dict):
        return b"{" + b"".join(_sized(key) + ubjson(entry) for key, entry in value.items()) + b"}"
    if isinstance(value, list):
        return b"[#L" + len(value).to_bytes(8, "big") + b"".join(map(ubjson, value))
    if isinstance(value, Array):
        letters = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q", "d": "f", "D": "d"}
        head = f"[${value.kind}#L".encode() + len(value.numbers).to_bytes(8, "big")
        return head + struct.pack(f">{len(value.numbers)}{letters[value.kind]}", *value.numbers)
    if isinstance(value, str):
        return b"S" + _sized(value)
    if isinstance(value, bool) or value is None:
        return {True: b"T", False: b"F", None: b"Z"}[value]
    if isinstance(value, float):
        return b"d" + struct.pack(">f", value)
    return b"i" + struct.pack("b", value) if -128 <= value < 128 else b"l" + struct.pack(">i", value)


def _sized(text: str) -> bytes:
    return b"L" + len(text.encode()).to_bytes(8, "big") + text.encode()


NONE = 0x7FFFFFFF


def tree(index: int = 0) -> dict[str, Any]:
    """Give a tree of seven nodes: two were removed by pruning, and the root splits on categories."""
    return {
        "base_weights": Array("d", *[0.5] * 7),
        "categories": Array("l", 1, 5),
        "categories_nodes": Array("l", 0),
        "categories_segments": Array("L", 0),
        "categories_sizes": Array("L", 2),
        "default_left": Array("U", 0, 1, 0, 0, 0, 1, 1),
        "id": index,
        "left_children": Array("l", 1, -1, 3, -1, -1, -1, -1),
        "loss_changes": Array("d", *[0.5] * 7),
        "parents": Array("l", NONE, 0, 0, 2, 2, 1, 1),
        "right_children": Array("l", 2, -1, 4, -1, -1, -1, -1),
        "split_conditions": Array("d", *[0.5] * 7),
        "split_indices": Array("l", 2, 0, 1, 0, 0, NONE, NONE),
        "split_type": Array("U", 1, 0, 0, 0, 0, 0, 0),
        "sum_hessian": Array("d", *[0.5] * 7),
        "tree_param": {"num_deleted": "2", "num_feature": "3", "num_nodes": "7", "size_leaf_vector": "1"},
    }


MODEL: dict[str, Any] = {
    "learner": {
        "attributes": {"best_iteration": "1", "scikit_learn": '{"_estimator_type": "regressor"}'},
        "feature_names": ["a", "b", "c"],
        "feature_types": ["float", "int", "c"],
        "gradient_booster": {
            "model": {
                "cats": {
                    "enc": [
                        {"offsets": Array("l"), "values": Array("i")},
                        {"type": 15, "values": Array("L", 7, 9)},
                        {"offsets": Array("l", 0, 1, 3), "values": Array("i", 120, 121, 122)},
                    ],
                    "feature_segments": Array("l", 0, 0, 2, 4),
                    "sorted_idx": Array("l", 1, 0, 0, 1),
                },
                "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "2"},
                "iteration_indptr": [0, 1, 2],
                "tree_info": [0, 0],
                "trees": [tree(0), tree(1)],
            },
            "name": "gbtree",
        },
        "learner_model_param": {
            "base_score": "[5E-1]",
            "boost_from_average": "1",
            "num_class": "0",
            "num_feature": "3",
            "num_target": "1",
        },
        "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
    },
    "version": [3, 2, 0],
}
ABSENT = object()


def changed(changes: Mapping[str, Any], base: Any = MODEL) -> Any:
    """Copy a value with parts replaced, added or (`ABSENT`) removed, each named by its path `a/b/0`."""
    value = copy.deepcopy(base)
    for path, new in changes.items():
        *way, last = path.split("/")
        inside = value
        for step in way:
            inside = inside[int(step)] if isinstance(inside, list) else inside[step]
        if new is ABSENT:
            del inside[last]
        elif isinstance(inside, list):
            inside[int(last)] = new
        else:
            inside[last] = new
    return value


def xgboost(changes: Mapping[str, Any] | None = None) -> bytes:
    """Write `MODEL` with changes."""
    return ubjson(changed(changes or {}))
