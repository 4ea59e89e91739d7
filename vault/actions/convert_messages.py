"""Jobs and answers of the confined process: a JSON head, and named parts of bytes behind it.

    length of the head, 8 bytes, little-endian
    head: {"head": {…}, "parts": [[name, size], …]} as strict JSON
    the parts, one behind the other, to the end

Before its answer the process writes one line, `READY`, that says how it is
confined: it does so before it has read a byte of what it is confined for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import limits, strict_json
from vault.core.strict_json import JSONValue
from vault.errors import Malformed

_LENGTH: Final = 8
_HEAD_BYTES: Final = 16 * limits.MIB
_PARTS: Final = 4_096
READY_BYTES: Final = 16
_SUBJECT: Final = "the confined process"


@dataclass(frozen=True, slots=True)
class Message:
    """A head, and parts by name."""

    head: Mapping[str, JSONValue]
    parts: Mapping[str, memoryview]

    def text(self, name: str) -> str:
        """Give a text of the head; empty where there is none."""
        found = self.head.get(name)
        return found if isinstance(found, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """Give a list of texts of the head, without whatever else is in it."""
        found = self.head.get(name)
        return tuple(entry for entry in found if isinstance(entry, str)) if isinstance(found, list) else ()


def pack(head: Mapping[str, JSONValue], parts: Mapping[str, bytes]) -> bytes:
    """Write a message.

    Raises:
        ValueError: the head holds what JSON does not.
    """
    written = strict_json.encode(
        {"head": dict(head), "parts": [[name, len(data)] for name, data in parts.items()]}
    )
    return b"".join((len(written).to_bytes(_LENGTH, "little"), written, *parts.values()))


def unpack(data: memoryview) -> Message:
    """Read a message; its writer may be hostile.

    Raises:
        Malformed: it is not one.
    """
    length = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or length > min(_HEAD_BYTES, len(data) - _LENGTH):
        raise _malformed("it ends too early")
    value = strict_json.parse(
        data[_LENGTH : _LENGTH + length], limit=_HEAD_BYTES, floats=True, canonical=False, subject=_SUBJECT
    )
    if not isinstance(value, dict):
        raise _malformed("it has no head")
    head, listed = value.get("head"), value.get("parts")
    if not isinstance(head, dict) or not isinstance(listed, list) or len(listed) > _PARTS:
        raise _malformed("it has no head")
    parts: dict[str, memoryview] = {}
    position = _LENGTH + length
    for entry in listed:
        match entry:
            case [str(name), int(size)] if 0 <= size <= len(data) - position and name not in parts:
                parts[name] = data[position : position + size]
                position += size
            case _:
                raise _malformed("its parts are not what its head says")
    if position != len(data):
        raise _malformed("it goes on after its end")
    return Message(head, parts)


def ready(landlock: int, seccomp: bool) -> bytes:
    """Write the line that says how the process is confined."""
    return f"ready {landlock:04d} {seccomp:d}".encode().ljust(READY_BYTES - 1) + b"\n"


def read_ready(data: memoryview) -> tuple[int, bool] | None:
    """Read that line; None if it is not there."""
    words = bytes(data[:READY_BYTES]).split()
    match words:
        case [b"ready", landlock, (b"0" | b"1") as seccomp] if landlock.isdigit():
            return int(landlock), seccomp == b"1"
    return None


def _malformed(reason: str) -> Malformed:
    return Malformed(f"The answer of {_SUBJECT} cannot be read: {reason}.", subject=_SUBJECT)
