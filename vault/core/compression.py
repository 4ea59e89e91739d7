"""Recognise a compressed stream by its first bytes, and open a decompressor for it."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from vault.core import limits

LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"


class Unpacker(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was reached."""

    @property
    def unused_data(self) -> bytes:
        """What came behind the end of the stream."""

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        """Return at most `max_length` bytes of output."""


def unpacker(head: bytes) -> Unpacker | None:
    """Return a decompressor for the stream that starts with `head`; None where it is not one.

    LZ4 is read where the library `lz4` is installed.
    """
    if head[:1] == b"\x78":
        zlib_header = len(head) > 1 and (head[0] << 8 | head[1]) % 31 == 0
        return zlib.decompressobj() if zlib_header else None
    return next((open_() for magic, open_ in _OPENERS if head.startswith(magic)), None)


class _Lz4:
    """One LZ4 frame; damage is an `OSError`, as with bz2."""

    def __init__(self, opened: Any) -> None:
        self._opened = opened

    @property
    def eof(self) -> bool:
        return bool(self._opened.eof)

    @property
    def unused_data(self) -> bytes:
        return self._opened.unused_data or b""

    @property
    def needs_input(self) -> bool:
        return bool(self._opened.needs_input)

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        try:
            found: bytes = self._opened.decompress(data, max_length)
        except RuntimeError as error:
            raise OSError(str(error)) from None
        return found


def _lz4() -> Unpacker | None:
    try:
        from lz4.frame import LZ4FrameDecompressor
    except ImportError:
        return None
    return _Lz4(LZ4FrameDecompressor())


_OPENERS: Final[tuple[tuple[bytes, Callable[[], Unpacker | None]], ...]] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=limits.GIB)),
    (b"\x5d\x00\x00", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=limits.GIB)),
    (LZ4_MAGIC, _lz4),
)
