"""Unpack the compressed containers that joblib writes, with the output capped.

Source: `joblib/compressor.py` of joblib 1.6: one zlib, gzip, bz2, xz or lzma
stream around the pickle, or LZ4 where its library is installed.
"""

import lzma
import zlib
from typing import Final

from vault.core import limits
from vault.core.compression import LZ4_MAGIC, unpacker
from vault.errors import PickleRefused

_STEP: Final = 4 * limits.MIB


def unpack(data: bytes | memoryview, *, limit: int = limits.UNPACKED_BYTES, subject: str = "") -> memoryview:
    """Return the pickle inside a joblib file: the bytes themselves, or what they unpack to.

    Raises:
        PickleRefused: it unpacks to more than `limit` bytes, is damaged, has bytes behind its end,
            or is compressed in a way that is not read.
    """
    view = memoryview(data).toreadonly().cast("B")
    head = bytes(view[:16])
    what = subject or "The joblib file"
    if head[:1] == b"\x80":
        return view
    opened = unpacker(head)
    if opened is None:
        raise PickleRefused(
            f"{what} is neither a pickle of protocol 3 to 5 nor compressed in a way that is read "
            "(zlib, gzip, bz2, xz, lzma, lz4).",
            subject=subject,
            hint="Install lz4." if head.startswith(LZ4_MAGIC) else "Save the model as skops or ONNX instead.",
        )
    content = bytearray()
    rest: bytes | memoryview = b""
    fed = 0
    try:
        while not opened.eof:
            if not rest:
                rest = view[fed : fed + _STEP]
                fed += len(rest)
            piece = opened.decompress(rest, min(_STEP, limit + 1 - len(content)))
            content += piece
            if len(content) > limit:
                raise PickleRefused(f"{what} unpacks to more than {limit} bytes.", subject=subject)
            rest = getattr(opened, "unconsumed_tail", b"")
            if not piece and not rest and fed == len(view):
                break
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, MemoryError):
        raise PickleRefused(f"{what} cannot be unpacked.", subject=subject) from None
    if not opened.eof or opened.unused_data or rest or fed != len(view):
        raise PickleRefused(f"{what} is cut short, or goes on after its end.", subject=subject)
    return memoryview(content).toreadonly()
