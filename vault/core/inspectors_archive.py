"""Inspect containers of any files: zip and tar archives, and compressed streams, layer by layer."""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from vault.core import formats, limits, tar_reader, zip_reader
from vault.core.findings import Findings
from vault.core.unpacking import compression_of, unpack, unread_kind
from vault.errors import Malformed

TAR: Final = "tar"
_END: Final = b"PK\x05\x06"
_END_REACH: Final = 22 + 0xFFFF  # an end record and the longest comment behind it
_SALVAGED: Final = 1_000  # members of a broken archive that are looked at
_PIECE: Final = 64 * limits.MIB  # of each of them
_COMPRESSED_ENDINGS: Final = (".gz", ".bz2", ".xz", ".lzma", ".z")


def container_of(kind: str, name: str, view: memoryview) -> str:
    """Name the container that bytes of no model format are: `tar`, a compression, or one that is not read.

    Empty where they are none. Compressions whose first bytes occur in texts count only
    where the name says so, or where they really unpack.
    """
    if kind not in (formats.DATA, formats.TEXT):
        return ""
    if tar_reader.is_tar(view):
        return TAR
    head = bytes(view[:16])
    known = compression_of(head)
    if known in ("zlib", "lzma") and not name.lower().endswith(_COMPRESSED_ENDINGS):
        try:
            whole = unpack(view, room=limits.MIB).whole
        except Malformed as error:
            whole = error.code == "too-large"
        return known if whole else ""
    return known or unread_kind(head)


def zip_archive(name: str, view: memoryview, found: Findings) -> None:
    """Inspect every member of a zip archive.

    One that breaks the strict rules stays refused; what its members seem to be is told all the same.
    """
    _enter(found)
    try:
        archive = zip_reader.open_archive(view, everyday=True)
    except Malformed as refusal:
        found.refuse(refusal.message, refusal.code, hint="Unpack it, and inspect the folder.")
        _salvage(view, found)
        return
    for member, entry in archive.entries.items():
        found.budget.member()
        found.budget.unpack(entry.size if entry.deflated else 0)
        found.take_in(found.look(member, archive.read(member, limit=entry.size)), member)


def tar_archive(name: str, view: memoryview, found: Findings) -> None:
    """Inspect every member of a tar archive."""
    _enter(found)
    archive = tar_reader.open_archive(view)
    for member in archive.entries:
        found.budget.member()
        found.take_in(found.look(member, archive.read(member)), member)


def compressed(name: str, view: memoryview, found: Findings) -> None:
    """Inspect what a compressed stream unpacks to."""
    _enter(found)
    stream = unpack(view, room=found.budget.room())
    found.budget.unpack(len(stream.content))
    if not stream.whole:
        found.refuse(
            f"Its {stream.kind} stream is cut short, or has something behind its end.", "malformed-archive"
        )
    if compression_of(bytes(stream.content[:16])):
        found.refuse("It is compressed twice.", "format-refused", rule="compressed-twice")
    inner = _inner_name(name)
    found.take_in(found.look(inner, stream.content), inner)


def unread(name: str, view: memoryview, found: Findings) -> None:
    """Refuse a container that is not read."""
    kind = unread_kind(bytes(view[:16]))
    found.refuse(
        f"It is packed with {kind}, which is not read.",
        "format-refused",
        hint="Unpack it, and inspect what comes out.",
    )


def check_single(kind: str, view: memoryview, found: Findings) -> None:
    """Refuse bytes of a format that are also a tar archive, or have a zip archive at their end.

    `zipfile` and `torch.load` read from the end, others from the start.
    """
    if kind not in (formats.DATA, formats.TEXT) and tar_reader.is_tar(view):
        found.refuse(
            f"Its bytes are {kind} and a tar archive at once.", "format-content", rule="ambiguous-content"
        )
    if bytes(view[:2]) == b"PK":
        return
    tail = bytes(view[max(0, len(view) - _END_REACH) :])
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        return
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    start = len(view) - len(tail) + at - size
    if size and start >= 0 and bytes(view[start : start + 4]) == b"PK\x01\x02":
        found.refuse(
            "A zip archive stands at its end, which other programs read in its place.",
            "format-content",
            rule="ambiguous-content",
        )
        _salvage(view, found)


def _enter(found: Findings) -> None:
    if found.layer >= limits.INSPECT_LAYERS:
        raise Malformed(
            "Archives are nested too deeply to be inspected.",
            code="malformed-archive",
            hint="Unpack it, and inspect what comes out.",
        )


def _inner_name(name: str) -> str:
    """Name what is inside a compressed stream as its tool would."""
    last = name.rpartition("/")[2]
    for ending, left in ((".tgz", ".tar"), (".tbz2", ".tar"), (".txz", ".tar")):
        if last.lower().endswith(ending):
            return last[: -len(ending)] + left
    for ending in _COMPRESSED_ENDINGS:
        if last.lower().endswith(ending) and len(last) > len(ending):
            return last[: -len(ending)]
    return last


def _salvage(view: memoryview, found: Findings) -> None:
    """Look at what the members of a refused zip archive seem to be, as a tolerant reader would see them."""
    for name, content in _tolerant(view, found):
        inner = found.look(name, content)
        if inner.globals or inner.dangers:
            found.take_in(inner, name)


def _tolerant(view: memoryview, found: Findings) -> Iterator[tuple[str, memoryview]]:
    """Give the members that the last central directory lists and that can be unpacked."""
    tail = bytes(view[max(0, len(view) - _END_REACH) :])
    end = len(view) - len(tail) + tail.rfind(_END)
    if _END not in tail or end + 22 > len(view):
        return
    size, offset = struct.unpack_from("<II", view, end + 12)
    at = end - size
    shift = at - offset  # what stands before the archive
    for _ in range(_SALVAGED):
        if at < 0 or at + 46 > end or bytes(view[at : at + 4]) != b"PK\x01\x02":
            return
        flags, method = struct.unpack_from("<HH", view, at + 8)
        packed = int.from_bytes(view[at + 20 : at + 24], "little")
        name_size, extra, comment = struct.unpack_from("<HHH", view, at + 28)
        header = int.from_bytes(view[at + 42 : at + 46], "little") + shift
        name = bytes(view[at + 46 : at + 46 + name_size]).decode("utf-8", "replace")
        at += 46 + name_size + extra + comment
        content = _content(view, header, method, packed, found)
        if content is not None and not flags & 1:
            yield name, content


def _content(view: memoryview, header: int, method: int, packed: int, found: Findings) -> memoryview | None:
    if header < 0 or header + 30 > len(view) or bytes(view[header : header + 4]) != b"PK\x03\x04":
        return None
    name_size, extra = struct.unpack_from("<HH", view, header + 26)
    start = header + 30 + name_size + extra
    body = view[start : start + packed]
    if method == 0:
        return body
    if method != 8:
        return None
    most = max(1, min(found.budget.room(), _PIECE))
    try:
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(body, most)
    except zlib.error:
        return None
    found.budget.unpack(len(content))
    return memoryview(content)
