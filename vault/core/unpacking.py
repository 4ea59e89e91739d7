"""Unpack a compressed stream of any kind that is met around a file, with the output capped."""

import lzma
import zlib
from dataclasses import dataclass
from typing import Final

from vault.core import limits
from vault.core.compression import Unpacker, unpacker
from vault.errors import Malformed, PickleRefused

_STEP: Final = limits.MIB
_MEMBERS: Final = 4_096
_KINDS: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x78", "zlib"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
_UNREAD: Final = (
    (b"\x28\xb5\x2f\xfd", "zstandard"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7-zip"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x1f\x9d", "compress"),
    (b"LZIP", "lzip"),
)


@dataclass(frozen=True, slots=True)
class Stream:
    """What a stream unpacked to, and how it was compressed; `whole` unless it broke off or went on."""

    kind: str
    content: memoryview
    whole: bool


def compression_of(head: bytes) -> str:
    """Name the compression that a stream begins with; empty where it is none that is read."""
    if unpacker(head) is None:
        return ""
    return next(kind for magic, kind in _KINDS if head.startswith(magic))


def unread_kind(head: bytes) -> str:
    """Name a container that is recognised but not read; empty where there is none."""
    return next((kind for magic, kind in _UNREAD if head.startswith(magic)), "")


def unpack(view: memoryview, *, room: int) -> Stream:
    """Unpack at most `room` bytes; streams one behind the other are one, as their tools have it.

    Raises:
        PickleRefused: it is compressed in a way that is not read.
        Malformed: `too-large`: it unpacks to more; `malformed-archive`: nothing could be unpacked.
    """
    kind = compression_of(bytes(view[:16]))
    opened = unpacker(bytes(view[:16]))
    if opened is None:
        raise PickleRefused("It is compressed in a way that is not read.")
    content = bytearray()
    fed, members, whole = 0, 1, True
    while opened is not None:
        try:
            fed += _member(opened, view[fed:], content, room)
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError):
            whole = False
            break
        if not _any_set(view[fed : fed + _STEP]):
            whole = not any(_any_set(view[at : at + _STEP]) for at in range(fed, len(view), _STEP))
            break
        head = bytes(view[fed : fed + 16])
        members += 1
        again = kind in ("gzip", "bzip2", "xz") and members <= _MEMBERS and compression_of(head) == kind
        opened = unpacker(head) if again else None
        whole = again
    if not content and not whole:
        raise Malformed(f"Its {kind} stream cannot be unpacked.", code="malformed-archive")
    return Stream(kind, memoryview(content).toreadonly(), whole)


def _any_set(piece: memoryview) -> bool:
    return bool(bytes(piece).strip(b"\x00"))


def _member(opened: Unpacker, view: memoryview, content: bytearray, room: int) -> int:
    """Append what one stream unpacks to; return how many bytes it took.

    Raises:
        Malformed: `too-large`.
        EOFError: it is cut short.
    """
    fed = 0
    rest: bytes | memoryview = b""
    while not opened.eof:
        if not rest and getattr(opened, "needs_input", True):
            rest = view[fed : fed + _STEP]
            fed += len(rest)
        piece = opened.decompress(rest, max(1, min(_STEP, room + 1 - len(content))))
        content += piece
        if len(content) > room:
            raise Malformed(
                "It unpacks to more than an inspection looks at.",
                code="too-large",
                hint="Unpack it where there is room, and inspect what comes out.",
            )
        rest = getattr(opened, "unconsumed_tail", b"")
        if not piece and not rest and fed == len(view) and getattr(opened, "needs_input", True):
            raise EOFError
    return fed - len(opened.unused_data)
