"""Read UBJSON as XGBoost writes it: bounded, in one spelling, without a copy of the numbers.

Format: the Universal Binary JSON specification, draft 12. Of it, what
XGBoost's writer emits: lengths and counts are 64-bit (`L`), arrays have a
count, objects have none, keys are unique. Everything else is refused.
"""

import struct
from dataclasses import dataclass
from typing import Final

from vault.core import limits
from vault.errors import FormatRefused

_NUMBERS: Final = {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q", "d": "f", "D": "d"}
_SIZES: Final = {"i": 1, "U": 1, "I": 2, "l": 4, "L": 8, "d": 4, "D": 8}


@dataclass(frozen=True, slots=True)
class Numbers:
    """An array of numbers of one kind: UBJSON's letter (`l` is int32, `d` float32, …) and their bytes."""

    kind: str
    count: int
    data: memoryview

    def unpack(self) -> tuple[int, ...]:
        """Give the numbers; integers for every kind but `d` and `D`."""
        return struct.unpack(f">{self.count}{_NUMBERS[self.kind]}", self.data)


Value = dict[str, "Value"] | list["Value"] | Numbers | str | int | float | bool | None


def parse(data: bytes | memoryview, *, subject: str = "") -> Value:
    """Return the one value that `data` holds.

    Arrays that name the kind of their numbers become `Numbers` over `data`;
    others become lists.

    Raises:
        FormatRefused: `format-content`: not this subset of UBJSON, deeper or larger than the limits.
    """
    reader = _Reader(memoryview(data).toreadonly().cast("B"), subject)
    value = reader.value(reader.mark(), 0)
    reader.end()
    return value


class _Reader:
    def __init__(self, view: memoryview, subject: str) -> None:
        self._view = view
        self._at = 0
        self._left = limits.UBJSON_ITEMS
        self._subject = subject

    def mark(self) -> str:
        """Take the letter that says what follows."""
        return chr(self._take(1)[0])

    def value(self, mark: str, depth: int) -> Value:
        """Take the value that `mark` announced."""
        self._left -= 1
        if self._left < 0 or depth > limits.UBJSON_DEPTH:
            raise self._refused("it is larger or deeper than the limit")
        if mark == "{":
            return self._object(depth + 1)
        if mark == "[":
            return self._array(depth + 1)
        if mark == "S":
            return self._text()
        if mark in _NUMBERS:
            number: int | float = struct.unpack(f">{_NUMBERS[mark]}", self._take(_SIZES[mark]))[0]
            return number
        if mark in "TFZ":
            return {"T": True, "F": False, "Z": None}[mark]
        raise self._refused(f"it holds {mark!r}, which XGBoost does not write")

    def end(self) -> None:
        """Refuse bytes after the value."""
        if self._at != len(self._view):
            raise self._refused("something follows its end")

    def _object(self, depth: int) -> dict[str, Value]:
        found: dict[str, Value] = {}
        while (mark := self.mark()) != "}":
            if mark != "L":
                raise self._refused("a key has no length")
            key = self._characters()
            if key in found:
                raise self._refused(f"it names {key[:40]!r} twice")
            found[key] = self.value(self.mark(), depth)
        return found

    def _array(self, depth: int) -> "list[Value] | Numbers":
        mark = self.mark()
        kind = None
        if mark == "$":
            kind, mark = self.mark(), self.mark()
            if kind not in _NUMBERS:
                raise self._refused("an array holds no numbers")
        if mark != "#" or self.mark() != "L":
            raise self._refused("an array has no count")
        count = self._length()
        if kind is not None:
            return Numbers(kind, count, self._take(count * _SIZES[kind]))
        return [self.value(self.mark(), depth) for _ in range(count)]

    def _text(self) -> str:
        if self.mark() != "L":
            raise self._refused("a text has no length")
        return self._characters()

    def _characters(self) -> str:
        try:
            return str(self._take(self._length()), "utf-8")
        except UnicodeDecodeError:
            raise self._refused("a text is not UTF-8") from None

    def _length(self) -> int:
        length = int.from_bytes(self._take(8), "big")
        if length > len(self._view) - self._at:
            raise self._refused("a part runs past the end")
        return length

    def _take(self, size: int) -> memoryview:
        if size > len(self._view) - self._at:
            raise self._refused("it ends in the middle")
        part = self._view[self._at : self._at + size]
        self._at += size
        return part

    def _refused(self, what: str) -> FormatRefused:
        return FormatRefused(
            f"{self._subject or 'The XGBoost model'} cannot be read: {what}.",
            code="format-content",
            subject=self._subject,
        )
