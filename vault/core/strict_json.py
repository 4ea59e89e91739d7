"""Parse and write JSON in the one form that signed documents have (docs/format.md, "Strict JSON").

Bytes that parse are exactly the bytes that `encode` writes for the parsed
value, so there is one spelling for every value and nothing to hide between
two readers.
"""

import json
import math
import re
from typing import Final

from vault.core import limits
from vault.errors import Malformed

JSONValue = None | bool | int | float | str | list["JSONValue"] | dict[str, "JSONValue"]

_SEPARATORS: Final = (",", ":")
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def parse(
    data: bytes | memoryview,
    *,
    limit: int = limits.DOCUMENT_BYTES,
    floats: bool = False,
    canonical: bool = True,
    items: int = limits.JSON_ITEMS,
    subject: str = "",
) -> "JSONValue":
    """Parse UTF-8 JSON of at most `limit` bytes.

    Duplicate keys, NaN and infinities, lone surrogates, integers over 16
    digits, and more depth than `limits` allows or more than `items` items are refused; so are
    floats unless `floats`, and any spelling but the canonical one unless
    `canonical` is false (for other people's formats).

    Raises:
        Malformed: `malformed-json`, or `too-large` before anything is parsed.
    """
    if len(data) > limit:
        raise Malformed(
            f"{subject or 'A document'} has {len(data):,} bytes; at most {limit:,} are read.",
            code="too-large",
            subject=subject,
        )
    held = bytes(data)
    try:
        _bound_text(held, items)
        text = held.decode("utf-8")
        value: JSONValue = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_float if floats else _no_float,
            parse_int=_integer,
            parse_constant=_no_constant,
        )
        _bound(value, items)
        respelled = encode(value)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise _malformed(subject, _reason(error)) from None
    if canonical and respelled != data:
        raise _malformed(subject, "it is not in the canonical spelling")
    return value


def encode(value: "JSONValue") -> bytes:
    """Write `value` canonically: sorted keys, no spaces, UTF-8 without escapes that are not needed.

    Raises:
        ValueError: the value holds NaN, an infinity or a lone surrogate.
    """
    text = json.dumps(value, sort_keys=True, separators=_SEPARATORS, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def _malformed(subject: str, reason: str) -> Malformed:
    return Malformed(
        f"{subject or 'A document'} is not strict JSON: {reason}.", code="malformed-json", subject=subject
    )


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeError):
        return "it is not valid UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.lower()} at character {error.pos}"
    return str(error)


def _object(pairs: list[tuple[str, "JSONValue"]]) -> dict[str, "JSONValue"]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > limits.JSON_INT_DIGITS:
        raise ValueError(f"a number has more than {limits.JSON_INT_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _no_float(digits: str) -> float:
    raise ValueError("it holds a number that is not an integer")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a value")


def _bound_text(data: bytes, most: int) -> None:
    """Refuse more items than may be before any is built: a few bytes of text become hundreds in memory."""
    if data.count(b",") > most and _STRING.sub(b"", data).count(b",") > most:
        raise _too_many(most)


def _too_many(most: int) -> ValueError:
    return ValueError(f"it holds more than {most:,} items")


def _bound(value: "JSONValue", most: int) -> None:
    """Bound depth, items and string lengths; iterative, so depth costs no stack."""
    items = 0
    level: list[JSONValue] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > limits.JSON_DEPTH:
            raise ValueError(f"it is nested more than {limits.JSON_DEPTH} deep")
        below: list[JSONValue] = []
        for entry in level:
            if isinstance(entry, dict):
                items += 2 * len(entry)
                _bound_strings(entry)
                below.extend(entry.values())
            elif isinstance(entry, list):
                items += len(entry)
                below.extend(entry)
            elif isinstance(entry, str) and len(entry) > limits.JSON_STRING_CHARS:
                raise ValueError("a string is too long")
        if items > most:
            raise _too_many(most)
        level = below


def _bound_strings(entry: dict[str, "JSONValue"]) -> None:
    if any(len(key) > limits.JSON_STRING_CHARS for key in entry):
        raise ValueError("a key is too long")
