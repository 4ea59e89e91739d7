"""Read a tar archive strictly, from bytes: one meaning for every reader, or a refusal.

Regular files and folders only, under names that stay inside the archive, each
once. Links, devices, sparse files, archives in several volumes and everything
that one reader knows and another does not are refused.

Format: POSIX.1-2017, `pax` utility, "ustar Interchange Format" and "pax
Interchange Format"; the GNU long names from the GNU tar manual, "The Standard
Format".
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from vault.core import limits
from vault.errors import Malformed

BLOCK: Final = 512
_CHECKSUM: Final = slice(148, 156)
_REGULAR: Final = frozenset({b"0", b"\x00", b"7"})
_FOLDER: Final = b"5"
_KINDS: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"M": "the continuation of another volume",
    b"V": "a volume label",
    b"N": "an old list of names",
    b"D": "a dump of a folder",
}
_GNU_NAME: Final = b"L"
_GNU_LINK: Final = b"K"
_PAX_FILE: Final = (b"x", b"X")
_PAX_ALL: Final = b"g"
# What may stand in a pax header without a bearing on names and contents.
_PAX_IDLE: Final = frozenset(
    {"atime", "ctime", "mtime", "gid", "uid", "gname", "uname", "comment", "charset", "hdrcharset"}
)
_PAX_IDLE_STARTS: Final = ("LIBARCHIVE.", "SCHILY.", "RHT.", "APPLE.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file: its name, and where its bytes lie."""

    name: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A verified tar layout over `data`; a member is a slice of it, without a copy."""

    data: memoryview
    entries: Mapping[str, Entry]

    def read(self, name: str) -> memoryview:
        """Return the content of member `name`.

        Raises:
            Malformed: there is no such member.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise _malformed(f"The archive has no member {name!r}.", name)
        return self.data[entry.start : entry.start + entry.size]


@dataclass(slots=True)
class _Ahead:
    """What extension headers said about the member that follows them."""

    name: str | None = None
    size: int | None = None


def is_tar(data: bytes | memoryview) -> bool:
    """Tell whether `data` begins with a tar header: by its checksum, as every reader does."""
    head = bytes(data[:BLOCK])
    return len(head) == BLOCK and head.strip(b"\x00") != b"" and _checksum_fits(head)


def open_archive(data: bytes | memoryview, *, entries: int = limits.TAR_ENTRIES) -> Archive:
    """Check the whole layout of a tar archive of at most `entries` members and return it.

    Raises:
        Malformed: a damaged header, something that is neither a file nor a folder, a name that
            leads outside, twice the same name, or bytes behind the end.
    """
    view = memoryview(data).toreadonly().cast("B")
    found: dict[str, Entry] = {}
    folded: set[str] = set()
    ahead, at, seen = _Ahead(), 0, 0
    while True:
        head = bytes(view[at : at + BLOCK])
        if len(head) < BLOCK:
            raise _malformed("The archive is cut short: it has no end.")
        if not head.strip(b"\x00"):
            _check_end(view, at)
            break
        seen += 1
        if seen > 2 * entries:
            raise _malformed(f"The archive has more than {entries:,} members.")
        kind, size, name = _header(head, ahead)
        start = at + BLOCK
        if size > len(view) - start:
            raise _malformed(f"Member {name!r} runs past the end of the archive.", name)
        at = start + -(-size // BLOCK) * BLOCK
        if kind in (_GNU_NAME, _GNU_LINK, *_PAX_FILE, _PAX_ALL):
            _extension(kind, bytes(_short(view[start : start + size])), ahead)
            continue
        ahead = _Ahead()
        _check_kind(kind, name, size)
        path = _path(name, folder=kind == _FOLDER)
        if kind == _FOLDER:
            continue
        key = unicodedata.normalize("NFC", path).casefold()
        if key in folded:
            raise _malformed(f"The archive has {path!r} twice.", path)
        folded.add(key)
        found[path] = Entry(path, start, size)
        if len(found) > entries:
            raise _malformed(f"The archive has more than {entries:,} members.")
    if ahead != _Ahead():
        raise _malformed("The archive ends behind the header of a member that is not there.")
    _check_parents(found, folded)
    return Archive(view, MappingProxyType(found))


def _malformed(message: str, subject: str = "") -> Malformed:
    return Malformed(message, code="malformed-archive", subject=subject)


def _checksum_fits(head: bytes) -> bool:
    stated = _octal(head[_CHECKSUM])
    if stated is None:
        return False
    return stated == sum(head) - sum(head[_CHECKSUM]) + 8 * ord(" ")


def _octal(field: bytes) -> int | None:
    """Read a number in octal digits, ended by a space or NUL; None for anything else."""
    digits = field.strip(b" \x00")
    if not digits:
        return 0
    return int(digits, 8) if all(ord("0") <= digit <= ord("7") for digit in digits) else None


def _number(field: bytes, what: str) -> int:
    """Read a size: octal, or for large ones GNU's base 256.

    Raises:
        Malformed: it is neither, or negative.
    """
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    value = _octal(field)
    if value is None:
        raise _malformed(f"The archive has {what} that is no number.")
    return value


def _text(field: bytes) -> str:
    """Read a NUL-ended text.

    Raises:
        Malformed: it is not UTF-8.
    """
    try:
        return field.partition(b"\x00")[0].decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("The archive has a name that is not UTF-8.") from None


def _header(head: bytes, ahead: _Ahead) -> tuple[bytes, int, str]:
    """Return kind, size in bytes and name of a member, as its header and those before it say."""
    if not _checksum_fits(head):
        raise _malformed("A header of the archive does not match its checksum.")
    kind, size = head[156:157], _number(head[124:136], "a size")
    if kind in (_GNU_NAME, _GNU_LINK, *_PAX_FILE, _PAX_ALL):
        return kind, size, "an extension header"
    name = _text(head[:100])
    if head[257:263] == b"ustar\x00" and (prefix := _text(head[345:500])):
        name = f"{prefix}/{name}"
    return kind, size if ahead.size is None else ahead.size, name if ahead.name is None else ahead.name


def _short(content: memoryview) -> memoryview:
    if len(content) > limits.TAR_EXTENSION_BYTES:
        raise _malformed(f"A header of the archive is larger than {limits.TAR_EXTENSION_BYTES:,} bytes.")
    return content


def _extension(kind: bytes, content: bytes, ahead: _Ahead) -> None:
    """Take in an extension header: a long name, or pax records."""
    if kind == _GNU_LINK:
        raise _malformed("The archive has a link.")
    if kind == _GNU_NAME:
        _say_name(ahead, _text(content))
        return
    for key, value in _records(content):
        if key == "path" and kind != _PAX_ALL:
            _say_name(ahead, value)
        elif key == "size" and kind != _PAX_ALL:
            if ahead.size is not None or not value.isascii() or not value.isdigit() or len(value) > 16:
                raise _malformed("The archive has a size that is no number, or two of them.")
            ahead.size = int(value)
        elif key not in _PAX_IDLE and not key.startswith(_PAX_IDLE_STARTS):
            raise _malformed(f"The archive uses the extension {key[:40]!r}, which is not read.")


def _say_name(ahead: _Ahead, name: str) -> None:
    if ahead.name is not None:
        raise _malformed(f"The archive has two names for one member: {name!r}.", name)
    ahead.name = name


def _records(content: bytes) -> list[tuple[str, str]]:
    """Parse pax records: `length key=value` and a line end, where `length` counts all of it."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 8)
        digits = content[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() else 0
        record = content[at : at + length]
        if length < 5 or len(record) < length or record[-1:] != b"\n":
            raise _malformed("A pax header of the archive is malformed.")
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or b"\x00" in record:
            raise _malformed("A pax header of the archive is malformed.")
        found.append((_text(key), _text(value)))
        at += length
    return found


def _check_kind(kind: bytes, name: str, size: int) -> None:
    """Let files and empty folders pass."""
    if kind in _REGULAR:
        return
    if kind != _FOLDER:
        what = _KINDS.get(kind, "of a kind that is not read")
        raise _malformed(f"Member {name!r} is {what}, not a file.", name)
    if size:
        raise _malformed(f"The folder {name!r} has content.", name)


def _path(name: str, *, folder: bool) -> str:
    """Check a member's name and return it without `./` before it and `/` behind a folder's."""
    path = name.removeprefix("./")
    if folder:
        path = path.rstrip("/")
        if path in ("", "."):
            return ""
    parts = path.split("/")
    wrong = (
        not path
        or path.startswith("/")
        or "\\" in path
        or (len(path) > 1 and path[1] == ":")
        or any(part in ("", ".", "..") for part in parts)
        or len(path) > limits.PATH_CHARS
        or len(parts) > limits.PATH_PARTS
    )
    if wrong:
        raise _malformed(f"Member {name[:200]!r} has a name that leads outside the archive, or is odd.", name)
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in path):
        raise _malformed(f"Member {name[:200]!r} has control characters in its name.", name)
    return path


def _check_parents(found: Mapping[str, Entry], folded: set[str]) -> None:
    """Refuse a file that lies below another file."""
    for path in found:
        parts = unicodedata.normalize("NFC", path).casefold().split("/")
        for length in range(1, len(parts)):
            if "/".join(parts[:length]) in folded:
                raise _malformed(f"The archive has {path!r} below a file.", path)


def _check_end(view: memoryview, at: int) -> None:
    """Refuse anything but zeros from the end mark on."""
    step = 4 * limits.MIB
    for start in range(at, len(view), step):
        if bytes(view[start : start + step]).strip(b"\x00"):
            raise _malformed("The archive goes on behind its end.")
