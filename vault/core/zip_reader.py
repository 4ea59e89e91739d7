"""Read a zip archive strictly, from bytes: one meaning for every reader, or a refusal.

Zip files can be read from the front (local headers) or from the back (central
directory), and tolerant readers disagree about what they hold. Here both must
tell the same story without gaps, overlaps or surplus bytes.

Format: PKWARE APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central
directory), 4.3.14 to 4.3.16 (end records), 4.5.3 (zip64 extra field), 4.6.1 (extra fields of others).
"""

import re
import struct
import unicodedata
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vault.core import limits
from vault.errors import Malformed

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64 = struct.Struct("<4sIQI")

_STORED, _DEFLATED = 0, 8
_UTF8_FLAG = 0x800
_NEWEST_VERSION = 45
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_REGULAR_FILE_MODES = (0, 0o10)  # the file-type bits of st_mode: not recorded, or a regular file
_FOLDER_MODES = (0, 0o4)
_DOS_FOLDER, _DOS_LABEL = 0x10, 0x08
# What everyday tools note of a file, and what no reader of its content looks at: NTFS times, Unix times
# and owners (Info-ZIP's UX, UT and ux).
_NOTES = frozenset({0x000A, 0x5855, 0x5455, 0x7875})
_FORBIDDEN = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f]')
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,80}")  # one spelling, in no folder
_INFLATE_STEP = 4 * limits.MIB


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: its name, where its packed bytes lie, and its sizes in bytes."""

    name: str
    deflated: bool
    crc: int
    start: int
    packed: int
    size: int


@dataclass(slots=True)
class _Record:
    """What the central directory says about a member, before its local header was compared."""

    name: str
    raw_name: bytes
    folder: bool
    stated: tuple[int, ...]  # version needed, flags, method, time, date, CRC: as in the local header
    packed: int
    size: int
    header: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A verified zip layout over `data`; members are read on request."""

    data: memoryview
    entries: Mapping[str, Entry]

    def read(self, name: str, *, limit: int) -> memoryview:
        """Return the whole content of member `name`, checked against its CRC.

        A stored member is a slice of the archive, without a copy.

        Raises:
            Malformed: no such member, larger than `limit`, damaged, or not its declared size.
        """
        entry = self._entry(name)
        if entry.size > limit:
            raise _malformed(f"Member {name!r} has {entry.size} bytes; at most {limit} are read.", name)
        packed = self.data[entry.start : entry.start + entry.packed]
        content = _inflate(entry, packed) if entry.deflated else packed
        if zlib.crc32(content) != entry.crc:
            raise _malformed(f"Member {name!r} does not match its checksum.", name)
        return content

    def peek(self, name: str, count: int) -> memoryview:
        """Return the first `count` bytes of member `name` (fewer if it is shorter), CRC unchecked.

        Raises:
            Malformed: no such member, or its packed bytes are damaged.
        """
        entry = self._entry(name)
        packed = self.data[entry.start : entry.start + entry.packed]
        if not entry.deflated:
            return packed[:count]
        try:
            return memoryview(zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, max(1, count)))
        except zlib.error:
            raise _malformed(f"Member {name!r} cannot be unpacked.", name) from None

    def verify(self) -> None:
        """Unpack every member and compare its CRC.

        Raises:
            Malformed: a member is damaged or not its declared size.
        """
        for name, entry in self.entries.items():
            self.read(name, limit=entry.size)

    def _entry(self, name: str) -> Entry:
        try:
            return self.entries[name]
        except KeyError:
            raise _malformed(f"The archive has no member {name!r}.", name) from None


def open_archive(
    data: bytes | memoryview,
    *,
    entries: int = limits.ZIP_ENTRIES,
    total: int = limits.ZIP_TOTAL_BYTES,
    everyday: bool = False,
) -> Archive:
    """Check the whole layout of a zip archive and return it; no member is unpacked.

    `entries` bounds the members, `total` the sum of their unpacked sizes in bytes. With `everyday`,
    which is for looking and never for loading, what `zip -r` writes is passed over: entries of folders,
    which hold nothing, and extra fields with times and owners.

    Raises:
        Malformed: headers disagree, overlap, leave gaps, use a feature outside the plain
            format (encryption, data descriptors, comments, several disks), name a path twice
            or outside the archive, or exceed a limit.
    """
    view = memoryview(data).toreadonly().cast("B")
    count, directory, end = _end_record(view)
    if count > entries:
        raise _malformed(f"The archive lists {count} members; at most {entries} are read.")
    records = _central_directory(view, count, directory, end, everyday=everyday)
    if sum(record.size for record in records) > total:
        raise _malformed(f"The archive unpacks to more than {total} bytes.")
    _check_names(records)
    found: dict[str, Entry] = {}
    position = 0
    for record in sorted(records, key=lambda item: item.header):
        if record.header != position:
            raise _malformed("The archive has a gap or an overlap between members.", record.name)
        entry = _local_header(view, record, directory, everyday=everyday)
        if not record.folder:
            found[entry.name] = entry
        position = entry.start + entry.packed
    if position != directory:
        raise _malformed("The archive has bytes between its last member and its directory.")
    return Archive(view, MappingProxyType(found))


def _malformed(message: str, subject: str = "") -> Malformed:
    return Malformed(message, code="malformed-archive", subject=subject)


def _end_record(view: memoryview) -> tuple[int, int, int]:
    """Return the number of members, and where the central directory starts and ends."""
    at = len(view) - _END.size
    if at < 0:
        raise _malformed("The archive is shorter than its end record.")
    magic, disk, first_disk, here, count, size, offset, comment = _END.unpack_from(view, at)
    if magic != b"PK\x05\x06" or comment:
        raise _malformed("The archive does not end in an end record without a comment.")
    if disk or first_disk or here != count:
        raise _malformed("The archive is spread over several disks.")
    locator = at - _LOCATOR64.size
    if locator >= 0 and bytes(view[locator : locator + 4]) == b"PK\x06\x07":
        count, size, offset, at = _end_record64(view, locator, (count, size, offset))
    elif count == _FULL16 or _FULL32 in (size, offset):
        raise _malformed("The archive needs a zip64 end record and has none.")
    if offset + size != at:
        raise _malformed("The central directory does not end where the end record starts.")
    return count, offset, at


def _end_record64(view: memoryview, locator: int, plain: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return members, directory size, its offset and its end from a zip64 end record."""
    at = locator - _END64.size
    _, disk, record, disks = _LOCATOR64.unpack_from(view, locator)
    if at < 0 or disk or disks != 1 or record != at:
        raise _malformed("The zip64 locator does not point at a zip64 end record beside it.")
    magic, length, _, needs, this, first, here, count, size, offset = _END64.unpack_from(view, at)
    if magic != b"PK\x06\x06" or length != _END64.size - 12 or this or first or here != count:
        raise _malformed("The zip64 end record is malformed.")
    if needs > _NEWEST_VERSION:
        raise _malformed("The archive needs a newer zip version.")
    full = (_FULL16, _FULL32, _FULL32)
    for small, mark, real in zip(plain, full, (count, size, offset), strict=True):
        if small not in (real, mark):
            raise _malformed("The two end records disagree.")
    return count, size, offset, at


def _central_directory(
    view: memoryview, count: int, start: int, end: int, *, everyday: bool
) -> list[_Record]:
    """Return the records of the central directory, which must fill `start` to `end` exactly."""
    records: list[_Record] = []
    at = start
    for _ in range(count):
        if at + _CENTRAL.size > end:
            raise _malformed("The central directory is shorter than its count of members.")
        fields = _CENTRAL.unpack_from(view, at)
        packed, size, name_length, extra_length, comment, disk, _, attributes, header = fields[8:]
        at += _CENTRAL.size
        if fields[0] != b"PK\x01\x02" or comment or disk:
            raise _malformed("A record of the central directory is malformed, or has a comment.")
        if at + name_length + extra_length > end:
            raise _malformed("A record of the central directory runs past its end.")
        raw_name = bytes(view[at : at + name_length])
        extra = bytes(view[at + name_length : at + name_length + extra_length])
        at += name_length + extra_length
        stated = fields[2:8]
        name = _name(raw_name, stated[1])
        _check_features(name, stated)
        folder = everyday and name.endswith("/")
        modes, allowed = (_FOLDER_MODES, _DOS_FOLDER) if folder else (_REGULAR_FILE_MODES, 0)
        if (attributes >> 28) not in modes or attributes & (_DOS_FOLDER | _DOS_LABEL) & ~allowed:
            raise _malformed(f"Member {name!r} is a link, a folder or a device, not a file.", name)
        if folder and (packed or size or stated[2] != _STORED or stated[5]):
            raise _malformed(f"Member {name!r} is a folder that holds bytes.", name)
        if everyday:
            extra = _without_notes(extra)
        if extra or _FULL32 in (size, packed, header):
            size, packed, header = _sizes64(name, extra, (size, packed, header))
        record = _Record(name, raw_name, folder, stated, packed, size, header)
        _check_sizes(record)
        records.append(record)
    if at != end:
        raise _malformed("The central directory has surplus bytes.")
    return records


def _local_header(view: memoryview, record: _Record, end: int, *, everyday: bool) -> Entry:
    """Compare a local header with its central record; return the entry."""
    name, at = record.name, record.header
    if at + _LOCAL.size > end:
        raise _malformed(f"The header of member {name!r} runs past the members.", name)
    fields = _LOCAL.unpack_from(view, at)
    packed, size, name_length, extra_length = fields[7:]
    name_end = at + _LOCAL.size + name_length
    start = name_end + extra_length
    if fields[0] != b"PK\x03\x04" or start + record.packed > end:
        raise _malformed(f"Member {name!r} has no header, or runs past the members.", name)
    extra = bytes(view[name_end:start])
    if everyday:
        extra = _without_notes(extra)
    if extra:
        if not packed == size == _FULL32:  # written before the size was known: both in the extra field
            raise _malformed(f"Member {name!r} has extra fields of an unknown kind.", name)
        size, packed, _ = _sizes64(name, extra, (size, packed, 0))
    if (
        view[at + _LOCAL.size : name_end] != record.raw_name
        or fields[1:7] != record.stated
        or (packed, size) != (record.packed, record.size)
    ):
        raise _malformed(f"Member {name!r}: its header and the directory disagree.", name)
    deflated, crc = record.stated[2] == _DEFLATED, record.stated[5]
    return Entry(name, deflated, crc, start, packed, size)


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8_FLAG else "ascii")
    except UnicodeDecodeError:
        raise _malformed("A member has a name that is neither ASCII nor marked UTF-8.") from None


def _check_features(name: str, stated: tuple[int, ...]) -> None:
    needs, flags, method = stated[:3]
    if flags & ~_UTF8_FLAG:
        raise _malformed(f"Member {name!r} is encrypted, streamed or patched (flags {flags:#x}).", name)
    if method not in (_STORED, _DEFLATED):
        raise _malformed(f"Member {name!r} is packed by method {method}; only deflate is read.", name)
    if needs > _NEWEST_VERSION:
        raise _malformed(f"Member {name!r} needs a newer zip version.", name)


def _sizes64(name: str, extra: bytes, plain: tuple[int, int, int]) -> tuple[int, int, int]:
    """Replace each full 32-bit field by its zip64 value; the extra field holds exactly those."""
    wanted = [index for index, value in enumerate(plain) if value == _FULL32]
    expected = struct.pack("<HH", 1, 8 * len(wanted))
    if not wanted or extra[:4] != expected or len(extra) != 4 + 8 * len(wanted):
        raise _malformed(f"Member {name!r} has extra fields other than the zip64 sizes it needs.", name)
    values = list(plain)
    for index, value in zip(wanted, struct.unpack(f"<{len(wanted)}Q", extra[4:]), strict=True):
        values[index] = value
    return values[0], values[1], values[2]


def _without_notes(extra: bytes) -> bytes:
    """Leave out the extra fields that only note times and owners; what is no whole field stays."""
    kept, at = b"", 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        field = extra[at : at + 4 + length]
        if kind not in _NOTES or len(field) != 4 + length:
            kept += field
        at += 4 + length
    return kept + extra[at:]


def _check_sizes(record: _Record) -> None:
    if record.stated[2] == _STORED and record.packed != record.size:
        raise _malformed(f"Member {record.name!r} is stored, but has two sizes.", record.name)
    if record.size > record.packed * limits.ZIP_RATIO + limits.KIB:
        raise _malformed(f"Member {record.name!r} claims to unpack to an impossible size.", record.name)


def _check_names(records: list[_Record]) -> None:
    seen: set[str] = set()
    for record in records:
        name = record.name.removesuffix("/") if record.folder else record.name
        if _PLAIN.fullmatch(name):
            folded = name.lower()
        else:
            _check_path(name)
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if folded in seen:
            raise _malformed(f"Two members are called {name!r} on some systems.", name)
        seen.add(folded)


def _check_path(name: str) -> None:
    parts = name.split("/")
    if not 0 < len(name) <= limits.PATH_CHARS or len(parts) > limits.PATH_PARTS:
        raise _malformed("A member has an empty name, or one that is too long.", name[:80])
    if any(part in ("", ".", "..") for part in parts):
        raise _malformed(f"Member {name!r} lies outside the archive, or is a folder.", name)
    if _FORBIDDEN.search(name):
        raise _malformed(f"Member {name!r} has a character that a path may not have.", name)
    if unicodedata.normalize("NFC", name) != name:
        raise _malformed(f"Member {name!r} is spelt in two ways on some systems.", name)


def _inflate(entry: Entry, packed: memoryview) -> memoryview:
    """Unpack to exactly `entry.size` bytes, growing only as real output appears."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    content = bytearray()
    rest: bytes | memoryview = b""
    fed = 0
    try:
        while len(content) <= entry.size and not unpacker.eof:
            if not rest:
                rest = packed[fed : fed + _INFLATE_STEP]
                fed += len(rest)
            piece = unpacker.decompress(rest, min(_INFLATE_STEP, entry.size + 1 - len(content)))
            content += piece
            rest = unpacker.unconsumed_tail
            if not piece and not rest and fed == len(packed):
                break
    except zlib.error:
        raise _malformed(f"Member {entry.name!r} cannot be unpacked.", entry.name) from None
    surplus = unpacker.unused_data or rest or fed != len(packed)
    if len(content) != entry.size or not unpacker.eof or surplus:
        raise _malformed(f"Member {entry.name!r} is not the size it claims, or has surplus.", entry.name)
    return memoryview(content).toreadonly()
