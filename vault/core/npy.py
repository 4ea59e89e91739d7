"""Parse the header of a `.npy` array, so that its dtype is known before NumPy sees it.

Format: NumPy Enhancement Proposal 1 (`numpy.lib.format`), versions 1.0 to 3.0.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vault.core import limits
from vault.core.zip_reader import Archive
from vault.errors import FormatRefused

MAGIC: Final = b"\x93NUMPY"
HEADER_BYTES: Final = limits.NPY_HEADER_BYTES

Descr = str | list["Column"]
Column = tuple[str, "Descr"] | tuple[str, "Descr", tuple[int, ...]]

_SCALAR = re.compile(
    r"(?P<order>[<>|=]?)(?P<kind>[biufcmMSUV?])(?P<width>\d{0,9})(?P<unit>\[[0-9a-zA-Zμ/]{1,12}\])?"
)
_WIDTHS: Final = {
    "b": (1,),
    "i": (1, 2, 4, 8),
    "u": (1, 2, 4, 8),
    "f": (2, 4, 8, 12, 16),
    "c": (8, 16, 24, 32),
    "m": (8,),
    "M": (8,),
}
_TOKEN = re.compile(
    r"[ \n]*(?:(?P<number>0|[1-9][0-9]{0,18})L?|'(?P<text>[^'\\\n]*)'|\"(?P<text2>[^\"\\\n]*)\"|"
    r"(?P<word>True|False)|(?P<mark>[\[\](){},:]))"
)

_EXTENT: Final = r"(?:0|[1-9][0-9]{0,18})"
_USUAL = re.compile(
    r"\{'descr': (?P<descr>'[^'\\\n]{1,40}'|\[[^\]]{1,2000}\]), 'fortran_order': (?P<order>True|False), "
    rf"'shape': \((?P<shape>|{_EXTENT},|{_EXTENT}(?:, {_EXTENT}){{1,31}})\), \}} *\n"
)


@dataclass(frozen=True, slots=True)
class Header:
    """What a `.npy` header says: dtype, order, shape, where the data starts and its size in bytes."""

    descr: Descr
    fortran: bool
    shape: tuple[int, ...]
    offset: int
    itemsize: int

    @property
    def nbytes(self) -> int:
        """The size of the array's data in bytes."""
        return math.prod(self.shape) * self.itemsize


def parse_header(data: bytes | memoryview, *, size: int, subject: str = "") -> Header:
    """Return the header of a `.npy` file of `size` bytes that starts with `data`.

    `data` holds at least the header: the first `HEADER_BYTES` + 12 bytes suffice.

    Raises:
        FormatRefused: not an array, an object or otherwise unreadable dtype (`format-content`),
            or a file that is not exactly as long as its shape says.
    """
    head = bytes(data[:12])
    if not head.startswith(MAGIC) or len(head) < 10:
        raise _refused("This is not a NumPy array file.", subject)
    version = (head[6], head[7])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise _refused(f"NumPy array format {version[0]}.{version[1]} is not known.", subject)
    start = 10 if version == (1, 0) else 12
    length = int.from_bytes(head[8:start], "little")
    if length > HEADER_BYTES or start + length > len(data):
        raise _refused("The array's header is longer than the file, or than the limit.", subject)
    try:
        text = str(data[start : start + length], "utf-8" if version == (3, 0) else "latin-1")
    except UnicodeDecodeError:
        raise _refused("The array's header is not text.", subject) from None
    header = _header(text, start + length, subject)
    if header.offset + header.nbytes != size:
        raise _refused("The array is not as long as its header says.", subject)
    return header


def check_archive(archive: Archive, *, subject: str = "") -> Mapping[str, Header]:
    """Return the header of every array of an `.npz` archive.

    Raises:
        Malformed: a member is damaged.
        FormatRefused: a member is not an array, or one of objects.
    """
    headers: dict[str, Header] = {}
    for name, entry in archive.entries.items():
        if not name.endswith(".npy"):
            raise _refused(f"Member {name!r} is not an array.", subject)
        headers[name] = parse_header(archive.peek(name, HEADER_BYTES + 12), size=entry.size, subject=subject)
    return headers


def _header(text: str, offset: int, subject: str) -> Header:
    usual = _USUAL.fullmatch(text)
    if usual:  # what NumPy writes, but for the shape, is the same in the thousands of arrays of a forest
        descr, width = _column_types(usual["descr"], subject)
        shape = tuple(int(extent) for extent in usual["shape"].split(",") if extent)
        return Header(descr, usual["order"] == "True", _shape(shape, subject), offset, width)
    fields = _Literal(text, subject).top()
    fortran, found = fields["fortran_order"], fields["shape"]
    if not isinstance(fortran, bool) or not isinstance(found, tuple):
        raise _refused("The array's header has fields of the wrong kind.", subject)
    descr = _descr(fields["descr"], subject)
    return Header(descr, fortran, _shape(found, subject), offset, itemsize(descr, subject))


@lru_cache(maxsize=256)
def _column_types(text: str, subject: str) -> tuple[Descr, int]:
    """Return the dtype that a literal stands for, and the size in bytes of one item."""
    descr = _descr(_Literal(text, subject).value(), subject)
    return descr, itemsize(descr, subject)


def scalar_size(text: str, subject: str = "") -> int:
    """Return the size in bytes of one item of the scalar dtype `text`, such as `<f8` or `|S5`.

    Raises:
        FormatRefused: an object dtype, or one that no numeric or text array has.
    """
    match = _SCALAR.fullmatch(text)
    if match is None:
        why = "holds Python objects" if "O" in text else "is not one that is read"
        raise _refused(f"An array's dtype {text[:40]!r} {why}.", subject)
    kind, width = match["kind"], match["width"]
    if kind == "?":
        if width:
            raise _refused(f"An array's dtype {text[:40]!r} is not one that is read.", subject)
        return 1
    number = int(width) if width else -1
    if match["unit"] and kind not in "mM":
        raise _refused(f"An array's dtype {text[:40]!r} is not one that is read.", subject)
    if kind in _WIDTHS and number not in _WIDTHS[kind]:
        raise _refused(f"An array's dtype {text[:40]!r} has an unknown width.", subject)
    if number < 0:
        raise _refused(f"An array's dtype {text[:40]!r} has no width.", subject)
    return number * 4 if kind == "U" else number


def itemsize(descr: Descr, subject: str = "") -> int:
    """Return the size in bytes of one item of `descr`.

    Raises:
        FormatRefused: an object dtype, or one that no numeric or text array has.
    """
    if isinstance(descr, str):
        return scalar_size(descr, subject)
    total = 0
    for column in descr:
        repeat = math.prod(column[2]) if len(column) == 3 else 1
        total += itemsize(column[1], subject) * repeat
    return total


def _refused(message: str, subject: str) -> FormatRefused:
    return FormatRefused(message, code="format-content", subject=subject)


def _shape(value: object, subject: str) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > limits.NPY_DIMENSIONS:
        raise _refused("The array's shape is not a short tuple.", subject)
    if any(type(extent) is not int for extent in value):
        raise _refused("The array's shape is not made of whole numbers.", subject)
    if math.prod(extent or 1 for extent in value) > limits.FILE_BYTES:
        raise _refused("The array's shape is larger than any file.", subject)
    return tuple(value)


def _descr(value: object, subject: str) -> Descr:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise _refused("The array's dtype is neither a name nor a list of columns.", subject)
    columns: list[Column] = []
    for column in value:
        if not isinstance(column, tuple) or len(column) not in (2, 3) or not isinstance(column[0], str):
            raise _refused("A column of the array's dtype is malformed.", subject)
        inner = _descr(column[1], subject)
        if len(column) == 3:
            columns.append((column[0], inner, _shape(column[2], subject)))
        else:
            columns.append((column[0], inner))
    return columns


class _Literal:
    """Reads the one dictionary literal of a header: names, numbers, lists, tuples, nothing else."""

    __slots__ = ("_at", "_subject", "_text")

    def __init__(self, text: str, subject: str) -> None:
        self._text = text
        self._at = 0
        self._subject = subject

    def top(self) -> dict[str, object]:
        """Return the header's three fields."""
        self._expect("{")
        fields: dict[str, object] = {}
        while True:
            match = self._next()
            if match["mark"] == "}":
                break
            name = match["text"] if match["text"] is not None else match["text2"]
            if name is None or name in fields:
                raise self._bad()
            self._expect(":")
            fields[name] = self._value(self._next(), 0)
            match = self._next()
            if match["mark"] == "}":
                break
            if match["mark"] != ",":
                raise self._bad()
        if self._text[self._at :].strip(" \n") or set(fields) != {"descr", "fortran_order", "shape"}:
            raise self._bad()
        return fields

    def value(self) -> object:
        """Return the one value that the text starts with."""
        return self._value(self._next(), 0)

    def _value(self, match: re.Match[str], depth: int) -> object:
        if depth > limits.NPY_DEPTH:
            raise self._bad()
        if match["number"] is not None:
            return int(match["number"])
        if match["text"] is not None or match["text2"] is not None:
            return match["text"] if match["text"] is not None else match["text2"]
        if match["word"] is not None:
            return match["word"] == "True"
        if match["mark"] in ("(", "["):
            items = self._items(")" if match["mark"] == "(" else "]", depth + 1)
            return tuple(items) if match["mark"] == "(" else items
        raise self._bad()

    def _items(self, close: str, depth: int) -> list[object]:
        items: list[object] = []
        while True:
            match = self._next()
            if match["mark"] == close:
                return items
            items.append(self._value(match, depth))
            match = self._next()
            if match["mark"] == close:
                if close == ")" and len(items) == 1:
                    raise self._bad()  # without a comma it is no tuple
                return items
            if match["mark"] != ",":
                raise self._bad()

    def _next(self) -> re.Match[str]:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            raise self._bad()
        self._at = match.end()
        return match

    def _expect(self, mark: str) -> None:
        if self._next()["mark"] != mark:
            raise self._bad()

    def _bad(self) -> FormatRefused:
        return _refused("The array's header is not the one NumPy writes.", self._subject)
