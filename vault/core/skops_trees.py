"""Check the parts of a decision tree in a skops file before scikit-learn's compiled constructor gets them.

`Tree` reads its arrays without looking at how many dimensions they have or how
long they are: what it is given must fit together before it exists. What its
numbers mean is checked afterwards (`native_state`).

Source: `Tree.__cinit__` and `Tree.__setstate__` in `sklearn/tree/_tree.pyx` of scikit-learn 1.9.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from vault.core import npy

_INTEGER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_STATE: Final = ("max_depth", "node_count", "nodes", "values")


def fits(arguments: object, state: object, headers: Mapping[str, npy.Header]) -> bool:
    """Tell whether a tree's arguments and state, nodes that were walked, are of one tree.

    `headers` are those of the array members, by name.
    """
    try:
        features, classes, outputs = _content(arguments, "TupleNode", list)
        parts = [_content(state, "DictNode", dict)[name] for name in _STATE]
    except (KeyError, TypeError, ValueError):
        return False
    counts = [_integer(part) for part in (features, outputs, *parts[:2])]
    class_counts, nodes, values = (_header(part, headers) for part in (classes, *parts[2:]))
    if None in counts or class_counts is None or nodes is None or values is None:
        return False
    _, output_count, _, node_count = counts
    return (
        class_counts.descr in ("<i8", "<i4")
        and class_counts.shape == (output_count,)
        and isinstance(nodes.descr, list)
        and nodes.shape == (node_count,)
        and values.descr == "<f8"
        and len(values.shape) == 3
        and values.shape[:2] == (node_count, output_count)
        and output_count != 0
        and values.shape[2] != 0
    )


def _content(node: Any, loader: str, kind: type) -> Any:
    """Return what a node holds.

    Raises:
        TypeError: it is not a node of that loader, or holds something else.
    """
    if type(node) is not dict or node.get("__loader__") != loader or type(node.get("content")) is not kind:
        raise TypeError(loader)
    return node["content"]


def _integer(node: Any) -> int | None:
    """Return the whole number of a JSON node; None where it holds something else."""
    content = node.get("content") if type(node) is dict and node.get("__loader__") == "JsonNode" else None
    return int(content) if type(content) is str and _INTEGER.fullmatch(content) else None


def _header(node: Any, headers: Mapping[str, npy.Header]) -> npy.Header | None:
    """Return the header of a plain array in C order; None where the node is something else."""
    if (
        type(node) is not dict
        or node.get("__loader__") != "NdArrayNode"
        or node.get("__class__") != "ndarray"
    ):
        return None
    found = headers.get(node.get("file", ""))
    return None if found is None or found.fortran else found
