"""Read protobuf messages by a table of their fields, keeping texts alone; what is not in it is refused.

The wire format is that of Protocol Buffers ("Encoding", protobuf.dev). Every
occurrence of a field is kept: readers merge repeated singular messages, so none
of them may hide behind a later one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from vault.core import limits
from vault.errors import FormatRefused

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS: Final = {_FIXED32: 4, _FIXED64: 8}
_TEXT_LIMIT: Final = 4 * limits.KIB


class Kind(Enum):
    """How a field is encoded, and what a reader does with it."""

    VARINT = auto()  # repeated ones may be packed, as with the next two
    FIXED32 = auto()
    FIXED64 = auto()
    BYTES = auto()  # stepped over
    TEXT = auto()  # kept
    REFUSED = auto()  # never there


# A message is a mapping of field number to an encoding, or to the name of the message that it holds.
Field = Kind | str
_WIRE: Final[Mapping[Kind, tuple[int, ...]]] = {
    Kind.VARINT: (_VARINT, _BYTES),
    Kind.FIXED32: (_FIXED32, _BYTES),
    Kind.FIXED64: (_FIXED64, _BYTES),
    Kind.BYTES: (_BYTES,),
    Kind.TEXT: (_BYTES,),
    Kind.REFUSED: (),
}


@dataclass(slots=True)
class Message:
    """The texts of one message by field number, and the messages in it that hold any."""

    texts: dict[int, list[str]] = field(default_factory=dict)
    parts: dict[int, list["Message"]] = field(default_factory=dict)

    def each(self, *numbers: int) -> Iterator["Message"]:
        """Yield the messages along a path of field numbers."""
        found = self.parts.get(numbers[0], ())
        if len(numbers) == 1:
            yield from found
        else:
            for part in found:
                yield from part.each(*numbers[1:])

    def text(self, number: int) -> list[str]:
        """Give the texts of one field."""
        return self.texts.get(number, [])

    def everything(self) -> Iterator[str]:
        """Yield the texts of all fields of this message and of all below it."""
        pending = [self]
        while pending:
            message = pending.pop()
            for texts in message.texts.values():
                yield from texts
            for parts in message.parts.values():
                pending.extend(parts)


class Reader:
    """Reads the messages of one file; `tables` lists the fields of each kind of message."""

    __slots__ = ("_fields", "_subject", "_tables", "_view", "_what")

    def __init__(
        self, view: memoryview, tables: Mapping[str, Mapping[int, Field]], *, what: str, subject: str
    ) -> None:
        """Prepare to read `view`; `what` names it in messages where there is no `subject`."""
        self._view = view
        self._tables = tables
        self._what = what
        self._subject = subject
        self._fields = 0

    def read(self, name: str) -> Message:
        """Read the whole file as one message.

        Raises:
            FormatRefused: `format-content`: an unknown or refused field, another encoding than
                the table's, a text that is not short UTF-8, or a limit.
        """
        return self._message(name, 0, len(self._view), 0)

    def _message(self, name: str, at: int, end: int, depth: int) -> Message:
        if depth > limits.PROTOBUF_DEPTH:
            raise self._bad("is nested too deeply")
        table = self._tables[name]
        message = Message()
        while at < end:
            number, wire, at = self._tag(at, end)
            self._fields += 1
            if self._fields > limits.PROTOBUF_FIELDS:
                raise self._bad("has too many fields")
            known = table.get(number)
            if known is None:
                raise self._bad(f"has field {number} in {name}, which this release does not know")
            if wire not in ((_BYTES,) if isinstance(known, str) else _WIRE[known]):
                raise self._bad(f"has field {number} of {name}, which is not read, or in another encoding")
            start, at = self._value(at, end, wire)
            if isinstance(known, str):
                part = self._message(known, start, at, depth + 1)
                if part.texts or part.parts:
                    message.parts.setdefault(number, []).append(part)
            elif known is Kind.TEXT:
                message.texts.setdefault(number, []).append(self._text(start, at))
        return message

    def _tag(self, at: int, end: int) -> tuple[int, int, int]:
        value, at = self._varint(at, end)
        number, wire = value >> 3, value & 7
        if not 0 < number < 1 << 29 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise self._bad("has a group or an unknown field encoding")
        return number, wire, at

    def _value(self, at: int, end: int, wire: int) -> tuple[int, int]:
        """Step over one value; give the offsets where its content starts and ends."""
        if wire == _VARINT:
            return at, self._varint(at, end)[1]
        if wire == _BYTES:
            length, at = self._varint(at, end)
        else:
            length = _WIDTHS[wire]
        if length > end - at:
            raise self._bad("has a length beyond its end")
        return at, at + length

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Read a base-128 number in its shortest form; give it and the next offset."""
        value = shift = 0
        while at < end and shift < 70:
            byte = self._view[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if (byte == 0 and shift) or value >> 64:
                    raise self._bad("has an overlong number")
                return value, at
            shift += 7
        raise self._bad("ends in a number, or has an overlong one")

    def _text(self, start: int, end: int) -> str:
        if end - start > _TEXT_LIMIT:
            raise self._bad("has a name that is too long")
        try:
            return bytes(self._view[start:end]).decode("utf-8")
        except UnicodeDecodeError:
            raise self._bad("has a name that is not UTF-8") from None

    def _bad(self, what: str) -> FormatRefused:
        return FormatRefused(
            f"{self._subject or self._what} {what}.", code="format-content", subject=self._subject
        )
