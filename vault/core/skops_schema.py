"""Parse the JSON tree of a skops file, and compare its subtrees."""

import json
import re
from typing import Any, Final

from vault.core import limits
from vault.errors import FormatRefused

_VALUES_PER_PART: Final = 6  # of a node that holds one value
_SIMPLE: Final = re.compile(r'null|true|false|0|-?[1-9][0-9]{0,17}|"[A-Za-z0-9_ .-]{0,80}"')


def parse(content: memoryview, subject: str) -> dict[str, Any]:
    """Return the tree of a `schema.json`: ASCII, as skops writes it, no key twice, no NaN.

    Raises:
        FormatRefused: `format-content`, also where it has more parts than the limits for memory.
    """
    text = bytes(content)
    parts = text.count(b"{") + text.count(b"[")
    if parts > limits.SCHEMA_PARTS or text.count(b",") > _VALUES_PER_PART * limits.SCHEMA_PARTS:
        raise refused("schema.json has too many parts.", subject)
    try:
        schema = json.loads(text.decode("ascii"), object_pairs_hook=unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # also UnicodeDecodeError
        raise refused("schema.json is not strict JSON.", subject) from None
    if not isinstance(schema, dict):
        raise refused("schema.json is not an object.", subject)
    return schema


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from its pairs, for `json.loads`.

    Raises:
        ValueError: a key occurs twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a value")


def is_json(text: str) -> bool:
    """Tell whether `text` is one JSON value, no key twice; numbers and short names are most of them."""
    if _SIMPLE.fullmatch(text):
        return True
    try:
        json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        return False
    return True


def is_list_node(node: object) -> bool:
    """Tell whether a node is that of a list."""
    if not isinstance(node, dict) or node.get("__loader__") != "ListNode":
        return False
    return isinstance(node.get("content"), list)


class Comparison:
    """Compares subtrees, but for the names that skops draws anew each time it writes an object.

    Nodes inside nodes are compared once per level: all comparisons together are
    bounded by `limits.SCHEMA_COMPARISONS` values, after which nothing is the same.
    """

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = limits.SCHEMA_COMPARISONS

    def agree(self, first: dict[str, Any], second: dict[str, Any]) -> bool:
        """Tell whether two nodes with one identity hold the same, in one member if they are arrays.

        An array's member is called by its identity, so that it has one name.
        """
        same_member = second.get("__loader__") != "NdArrayNode" or first.get("file") == second.get("file")
        return same_member and self.same(first, second)

    def same(self, first: object, second: object) -> bool:
        """Tell whether two subtrees hold the same, by values of the same types."""
        self._left -= 1
        if self._left < 0:
            return False
        if isinstance(first, dict) and isinstance(second, dict):
            return first.keys() == second.keys() and all(
                self.same(first[key], second[key]) for key in first if key not in ("__id__", "file")
            )
        if isinstance(first, list) and isinstance(second, list):
            return len(first) == len(second) and all(map(self.same, first, second))
        return type(first) is type(second) and first == second


def refused(message: str, subject: str) -> FormatRefused:
    """Build the refusal of something inside a skops file."""
    told = f"{subject}: {message}" if subject else message
    return FormatRefused(told, code="format-content", subject=subject)
