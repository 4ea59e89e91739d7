"""Parse the JSON tree of a skops file, and compare its subtrees."""

import json
import re
from typing import Any, Final

from vault.errors import FormatRefused

_SIMPLE: Final = re.compile(r'null|true|false|0|-?[1-9][0-9]{0,17}|"[A-Za-z0-9_ .-]{0,80}"')


def parse(content: memoryview, subject: str) -> dict[str, Any]:
    """Return the tree of a `schema.json`: UTF-8, no key twice, no NaN.

    Raises:
        FormatRefused: `format-content`.
    """
    try:
        schema = json.loads(
            bytes(content).decode("utf-8"), object_pairs_hook=unique, parse_constant=_no_constant
        )
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


def same(first: object, second: object) -> bool:
    """Compare two subtrees, but for the names that skops draws anew each time it writes an object."""
    if isinstance(first, dict) and isinstance(second, dict):
        return set(first) == set(second) and all(
            same(first[key], second[key]) for key in first if key not in ("__id__", "file")
        )
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(same(*pair) for pair in zip(first, second, strict=True))
    return type(first) is type(second) and first == second


def refused(message: str, subject: str) -> FormatRefused:
    """Build the refusal of something inside a skops file."""
    told = f"{subject}: {message}" if subject else message
    return FormatRefused(told, code="format-content", subject=subject)
