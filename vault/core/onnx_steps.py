"""Compile the tables of `onnx_fields` for the walk; judge packed lists and functions that call functions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from vault.core import limits
from vault.core.onnx_fields import MESSAGES, Field, Kind

Operator = tuple[str, str]  # (domain, name)
Calls = dict[Operator, int]  # how often each is called

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIRE: Final = {
    Kind.VARINT: (VARINT,),
    Kind.VARINTS: (VARINT, BYTES),
    Kind.NUMBER: (VARINT,),
    Kind.FIXED32: (FIXED32,),
    Kind.FIXED32S: (FIXED32, BYTES),
    Kind.FIXED64S: (FIXED64, BYTES),
    Kind.BYTES: (BYTES,),
    Kind.TEXT: (BYTES,),
    Kind.INPUT: (BYTES,),
}
_RUNS: Final = (4096, 64)
_BLOCK: Final = 64 * limits.KIB


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with one field of one message in one encoding."""

    number: int
    wire: int
    kind: Field
    width: int  # in bytes: of the value itself, or of each item of a packed list
    listed: bool  # whether honest models repeat it millions of times


@cache
def runs(key: int) -> tuple[tuple[int, re.Pattern[bytes]], ...]:
    """Return patterns for exactly so many repetitions of one small field, its key of one byte included.

    A tree ensemble repeats such fields millions of times: they are stepped over at the speed of C.
    Text goes by its length, that of `BRANCH_LEQ` and `LEAF` first.
    """
    lengths = (10, 4, *(length for length in range(64) if length not in (10, 4)))
    text = b"|".join(b"\\x%02x.{%d}" % (length, length) for length in lengths)
    form = rb"[\x80-\xff]{0,9}+[\x00-\x7f]" if key & 7 == VARINT else b"(?:" + text + b")"
    one = b"(?:\\x%02x" % key + form + b")"
    return tuple((count, re.compile(one + b"{%d}+" % count, re.DOTALL)) for count in _RUNS)


_REPEATED: Final = {("Attribute", number) for number in (7, 8, 9)} | {
    ("Tensor", number) for number in (4, 5, 6, 7, 10, 11)
}
_CONTINUES: Final = bytes(128) + bytes([1]) * 128  # whether a byte of a number says that more follow
_TOO_LONG: Final = bytes([1]) * 10


def _steps(name: str) -> dict[int, Step]:
    """Return the steps of a message by the key that its field starts with."""
    found: dict[int, Step] = {}
    for number, kind in MESSAGES[name].items():
        if kind is Kind.EXTERNAL:
            continue
        for wire in (BYTES,) if isinstance(kind, str) else _WIRE[kind]:
            key = number << 3 | wire
            width = 4 if kind in (Kind.FIXED32, Kind.FIXED32S) else 8 if kind is Kind.FIXED64S else 1
            packed = isinstance(kind, Kind) and kind is not Kind.BYTES and wire == BYTES
            listed = (name, number) in _REPEATED and wire in (VARINT, BYTES) and not packed
            found[key] = Step(number, wire, kind, width, listed)
    return found


STEPS: Final = {name: _steps(name) for name in MESSAGES}


def is_overlong(packed: memoryview) -> bool:
    """Tell whether a packed list has a number of more than ten bytes."""
    overlap = len(_TOO_LONG) - 1
    return any(
        _TOO_LONG in bytes(packed[start : start + _BLOCK + overlap]).translate(_CONTINUES)
        for start in range(0, len(packed), _BLOCK)
    )


def inlined(called: Calls, functions: Mapping[Operator, Calls]) -> int:
    """Count the nodes that calls of functions become when they are inlined, up to one above the limit.

    A function that calls two others twice each, and so on, doubles at each
    step. One that calls itself counts for little: ONNX Runtime refuses it.
    """
    most = limits.ONNX_INLINED + 1
    sizes: dict[Operator, int] = {}
    entered: set[Operator] = set()
    pending = [operator for operator in called if operator in functions]
    while pending:
        operator = pending[-1]
        inner = functions[operator]
        waiting = [name for name in inner if name in functions and name not in sizes and name not in entered]
        entered.add(operator)
        if waiting:
            pending.extend(waiting)
            continue
        pending.pop()
        sizes[operator] = min(most, sum(times * sizes.get(name, 1) for name, times in inner.items()))
    return min(most, sum(times * sizes.get(name, 0) for name, times in called.items()))
