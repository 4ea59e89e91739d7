"""Strategies for hostile bytes: mutations of valid documents, as bytes and as JSON."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from vault.errors import Refused

T = TypeVar("T")
Valid = Callable[[], list[bytes]]  # called once hypothesis runs, so that no strategy holds documents

JUNK = st.binary(max_size=6) | st.sampled_from(
    [
        b" ", b"\n", b"\x00", b"\xff", b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"-", b"=", b"1e9",
        b"null", b"-> ", b"---", b"\\ud800",
    ]
)  # fmt: skip
SCALARS = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 2**53, 10**15, 10**16, 10**40, 0.5, "", "a", "0" * 64, "é", "e\u0301",
        "../x", "\x00", "con", "x" * 5_000,
    ]
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4) | st.dictionaries(
    st.sampled_from(["a", "vault", "files", "", "é"]), SCALARS, max_size=3
)


@st.composite
def damaged(draw: st.DrawFn, valid: Valid) -> bytes:
    """Draw one of `valid` with a few bytes flipped, inserted, removed, repeated or cut off."""
    data = _one_of(draw, valid())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["flip", "insert", "delete", "repeat", "truncate", "prepend", "append"])):
            case "flip" if at < len(data):
                data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
            case "insert":
                data = data[:at] + draw(JUNK) + data[at:]
            case "delete":
                data = data[:at] + data[at + draw(st.integers(1, 40)) :]
            case "repeat":
                end = at + draw(st.integers(1, 40))
                data = data[:end] + data[at:end] + data[end:]
            case "truncate":
                data = data[:at]
            case "prepend":
                data = draw(JUNK) + data
            case "append":
                data += draw(JUNK)
    return data


@st.composite
def altered_json(draw: st.DrawFn, valid: Valid) -> bytes:
    """Draw one of `valid`, parsed, changed at a place or two, and spelled canonically or nearly so."""
    value: Any = json.loads(_one_of(draw, valid()))
    for _ in range(draw(st.integers(0, 2))):
        value = _alter(draw, value)
    text = json.dumps(
        value,
        sort_keys=draw(st.integers(0, 9)) > 0,
        separators=(",", ":") if draw(st.integers(0, 9)) else (", ", ": "),
        ensure_ascii=draw(st.integers(0, 9)) == 0,
    )
    match draw(st.integers(0, 9)):
        case 0:  # a key twice
            text = text.replace("{", '{"vault":1,', 1)
        case 1:  # half a character
            text = (
                text.replace('"', '"\\ud800', 1)
                if draw(st.booleans())
                else text.replace(':"', ':"\\udfff', 1)
            )
        case 2:  # depth
            depth = draw(st.sampled_from([14, 15, 16, 17, 3_000]))
            text = text.replace(":", ":" + "[" * depth + "]" * depth + ",", 1)
        case _:
            pass
    return text.encode("utf-8", "surrogatepass")


def _alter(draw: st.DrawFn, value: Any) -> Any:
    """Replace, add or remove something somewhere in a JSON value."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.integers(0, 5)):
            case 0:
                return {name: entry for name, entry in value.items() if name != key}
            case 1:
                return {**value, draw(st.sampled_from(["zz", "", "Vault", key + " "])): draw(VALUES)}
            case _:
                return {**value, key: _alter(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 5)):
        at = draw(st.integers(0, len(value) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, value[at]]
            case 2:
                return value[::-1]
            case _:
                return [*value[:at], _alter(draw, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and draw(st.booleans()):
        at = draw(st.integers(0, len(value)))
        return value[:at] + draw(st.sampled_from(["", "0", "A", "é", "/", "=", "\n"])) + value[at + 1 :]
    return draw(VALUES)


def _one_of(draw: st.DrawFn, valid: list[bytes]) -> bytes:
    return valid[draw(st.integers(0, len(valid) - 1))]


def hostile(valid: Valid, *, text: bool = False) -> st.SearchStrategy[bytes]:
    """Draw anything, damaged documents, and unless they are `text` JSON that says other things."""
    found = st.binary(max_size=200) | damaged(valid)
    return found if text else found | altered_json(valid)


def attempt(parse: Callable[[bytes], T], data: bytes) -> T | Refused:
    """Give what `parse` makes of `data`, or its refusal; anything else that it raises fails the test."""
    try:
        return parse(data)
    except Refused as refusal:
        return refusal
