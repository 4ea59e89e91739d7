"""Keep copies of a store's objects in a folder of this user, for every process that is given the folder.

A cache is worth no more than any other store: what is read from it passes the
same checks. It holds what the store held, ciphertext and signed documents,
and no plaintext. It never stops a load: what is damaged, cannot be
read or cannot be written is as if it were not there. Layout of the folder:

    CACHEDIR.TAG                        what backup programs look for
    SPACE/xx/DIGEST                     one object: SHA-256 of its name; SPACE is the vault and where it lies
    SPACE/traces/DIGEST                 what a load of a reference asked for: a hint where to begin
    new/                                what is still being written

An entry is 64 bytes, then the object: `mvault-cache-1\\n\\0`, its size in 8 bytes, the SHA-256 of its name
and content, or 32 zeros for a large payload, which was never in memory as a whole; 8 zeros.
"""

import hashlib
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vault.core import limits
from vault.errors import Refused, Unavailable
from vault.ports import Buffer, Source
from vault.storage.cached_room import Room
from vault.storage.memory import MemorySource

DEFAULT_BYTES: Final = 10 * limits.GIB
HEADER: Final = struct.Struct(">16sQ32s8x")
_MAGIC: Final = b"mvault-cache-1\n\0"
_UNCHECKED: Final = bytes(32)
_TAG: Final = b"Signature: 8a477f597d28d172789f06886806bc55\n# Copies of a model vault; safe to delete.\n"
_TRACES: Final = "traces"
_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class FolderCache:
    """The part of a cache folder that belongs to one vault in one place; many processes may share it."""

    def __init__(self, folder: Path, vault: str, location: str, *, room: int = DEFAULT_BYTES) -> None:
        """Use `folder`, made if need be, for `room` bytes at most, of all vaults together.

        Raises:
            Refused: `not-trusted`: the folder is a link, somebody else's, or others may write to it.
            Unavailable: it is not there and cannot be made.
        """
        self.folder = folder
        self._lock = threading.Lock()
        self._finishing: list[tuple[CachedDraft, str]] = []
        self._thread: threading.Thread | None = None
        _prepare(folder)
        space = hashlib.sha256(f"{vault}\n{location}".encode()).hexdigest()[:32]
        self._space = folder / space
        self._new = folder / "new"
        self._room = Room(folder, room)

    def get(self, name: str, limit: int) -> bytes | None:
        """Give an object of at most `limit` bytes; None where there is none, or none that is whole."""
        found = self._whole(self._path(name), name, limit)
        if found is not None:
            self._room.used(self._path(name))
        return found

    def has(self, name: str) -> bool:
        """Tell whether there is an entry for an object, whole or not."""
        return os.path.isfile(self._path(name))

    def put(self, name: str, data: bytes) -> None:
        """Keep an object that was verified; if that fails, nothing is kept."""
        self._write(self._path(name), name, data)

    def drop(self, name: str) -> bool:
        """Let go of an object; tell whether nothing is left of it."""
        with suppress(OSError):
            self._path(name).unlink()
        return not os.path.lexists(self._path(name))

    @contextmanager
    def open(self, name: str) -> Iterator[Source | None]:
        """Open the payload of that name; None where there is none, or none that is whole."""
        try:
            descriptor = os.open(self._path(name), _READ)
        except OSError:
            yield None
            return
        try:
            size, digest = _described(descriptor)
            if size is None or digest == _UNCHECKED:
                found: Source | None = None if size is None else CachedSource(descriptor, size)
            else:
                data = self._whole(self._path(name), name, size)
                found = None if data is None else MemorySource(data)
            if found is None:
                self.drop(name)
            else:
                self._room.used(self._path(name))
            yield found
        finally:
            os.close(descriptor)

    def draft(self, name: str, size: int) -> "CachedDraft | None":
        """Begin to keep a payload of `size` bytes as it is read; None where there is no room for it."""
        if not self._room.admits(size + HEADER.size):
            return None
        return CachedDraft.begin(self._new, size, lambda draft: self._finish(draft, name))

    def trace(self, key: str) -> bytes | None:
        """Give what was noted under `key`; it is a hint, which anybody may have written."""
        return self._whole(self._trace_path(key), key, limits.MIB)

    def note(self, key: str, data: bytes) -> None:
        """Note what a load asked for."""
        if self.trace(key) != data:
            self._write(self._trace_path(key), key, data)

    def settle(self) -> None:
        """Wait until the payloads that were read are on the disk."""
        while (thread := self._thread) is not None:
            thread.join()

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self._space / digest[:2] / digest

    def _trace_path(self, key: str) -> Path:
        return self._space / _TRACES / hashlib.sha256(key.encode()).hexdigest()

    def _whole(self, path: Path, name: str, limit: int) -> bytes | None:
        """Read an entry in one piece; one that is damaged is let go of."""
        try:
            descriptor = os.open(path, _READ)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > HEADER.size + limit:
                return None
            data = b"".join(iter(lambda: os.read(descriptor, limits.MIB), b""))
        except OSError:
            return None
        finally:
            os.close(descriptor)
        content = data[HEADER.size :]
        if data[: HEADER.size] != HEADER.pack(_MAGIC, len(content), _digest(name, content)):
            with suppress(OSError):
                path.unlink()
            return None
        return content

    def _write(self, path: Path, name: str, data: bytes) -> None:
        """Write an entry beside its place, and move it there in one step."""
        if self._room.admits(HEADER.size + len(data)):
            draft = CachedDraft.begin(self._new, len(data), lambda _: None)
            if draft is not None:
                draft.fill(name, data)
                self._place(draft, path)

    def _finish(self, draft: "CachedDraft", name: str) -> None:
        """Put a payload in its place in a thread: it may take the disk as long as it took the network."""
        with self._lock:
            self._finishing.append((draft, name))
            if self._thread is not None and self._thread.is_alive():  # after a fork it is not
                return
            thread = self._thread = threading.Thread(target=self._finish_all, name="cache-payloads")
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the process is about to end
            with self._lock:
                left, self._finishing, self._thread = self._finishing, [], None
            for each, _ in left:
                each.discard()

    def _finish_all(self) -> None:
        while True:
            with self._lock:
                if not self._finishing:
                    self._thread = None
                    return
                draft, name = self._finishing.pop(0)
            self._place(draft, self._path(name), sync=True)

    def _place(self, draft: "CachedDraft", path: Path, *, sync: bool = False) -> None:
        if draft.place(path, sync=sync):
            self._room.taken(draft.size + HEADER.size)


def _described(descriptor: int) -> tuple[int | None, bytes]:
    """Read the header of an entry: the object's size, None where that is not what lies there; its digest."""
    try:
        header = os.pread(descriptor, HEADER.size, 0)
        status = os.fstat(descriptor)
    except OSError:
        return None, b""
    magic, size, digest = HEADER.unpack(header) if len(header) == HEADER.size else (b"", 0, b"")
    whole = stat.S_ISREG(status.st_mode) and status.st_size == HEADER.size + size
    return (size if whole and magic == _MAGIC else None), digest


class CachedSource:
    """An open entry, read without its header; several threads may read from it at once."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Read from `descriptor`, whose object has `size` bytes."""
        self._descriptor = descriptor
        self._size = size

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there, and could be read.

        Raises:
            ValueError: `offset` is negative.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        rest = buffer.cast("B")[: max(0, self._size - offset)]
        wanted = len(rest)
        with suppress(OSError):  # a payload that cannot be read ends too early, and is taken out for that
            while rest:
                count = os.preadv(self._descriptor, [rest], HEADER.size + offset)
                if not count:
                    break
                rest, offset = rest[count:], offset + count
        return wanted - len(rest)


class CachedDraft:
    """An entry that is being written, in any order and by several threads, and seen by nobody."""

    def __init__(
        self, descriptor: int, path: Path, size: int, finish: Callable[["CachedDraft"], None]
    ) -> None:
        """Write to `descriptor`, which is `path` until it is put in its place; see `begin`."""
        self.size = size
        self._digest = _UNCHECKED
        self._descriptor = descriptor
        self._path = path
        self._finish = finish
        self._lock = threading.Lock()
        self._written: list[tuple[int, int]] = []  # ranges, ascending and apart
        self._failed = False

    @classmethod
    def begin(cls, folder: Path, size: int, finish: Callable[["CachedDraft"], None]) -> "CachedDraft | None":
        """Begin an entry of `size` bytes; None where nothing can be written."""
        path = folder / f"{os.getpid()}-{os.urandom(8).hex()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            return cls(os.open(path, flags, 0o600), path, size, finish)
        except OSError:
            return None

    def write(self, offset: int, data: Buffer) -> None:
        """Write at `offset`; a full disk, or bytes beyond the size, make the whole entry worthless."""
        rest = memoryview(data).cast("B")
        end = offset + len(rest)
        try:
            at = HEADER.size + offset
            while rest and not self._failed:
                count = os.pwrite(self._descriptor, rest, at)
                rest, at = rest[count:], at + count
        except OSError:
            self._failed = True
        if end > self.size:
            self._failed = True
        with self._lock:
            self._written = _with(self._written, offset, end)

    def fill(self, name: str, data: bytes) -> None:
        """Write the whole of the object with that name, so that damage to the entry is seen later."""
        self.write(0, data)
        self._digest = _digest(name, data)

    @property
    def whole(self) -> bool:
        """Whether every byte was written."""
        return not self._failed and (self._written == [(0, self.size)] or not self.size)

    def rest(self) -> None:
        """Close the file until it is known whether it is to be kept; nothing more is written."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def keep(self) -> None:
        """Keep the entry if it is whole; either way nothing more is written."""
        if self.whole:
            self._finish(self)
        else:
            self.discard()

    def place(self, path: Path, *, sync: bool) -> bool:
        """Write the header and move the entry to its place; tell whether it is there."""
        try:
            if not self.whole:
                return False
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            os.pwrite(self._descriptor, HEADER.pack(_MAGIC, self.size, self._digest), 0)
            if sync:
                os.fsync(self._descriptor)
            for folder in (path.parent.parent, path.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            os.replace(self._path, path)
        except OSError:
            return False
        else:
            return True
        finally:
            self.discard()

    def discard(self) -> None:
        """Close the file, and remove it where it has not got its place."""
        self.rest()
        with suppress(OSError):
            os.unlink(self._path)


def _with(ranges: list[tuple[int, int]], begin: int, end: int) -> list[tuple[int, int]]:
    """Add a range to others, joining those that meet."""
    apart = [(start, stop) for start, stop in ranges if stop < begin or start > end]
    meeting = [(start, stop) for start, stop in ranges if not (stop < begin or start > end)]
    joined = (
        min([begin, *(start for start, _ in meeting)]),
        max([end, *(stop for _, stop in meeting)]),
    )
    return sorted([*apart, joined])


def _digest(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + content).digest()


def _prepare(folder: Path) -> None:
    """Make the folder, or see that it is this user's own and nobody else writes there."""
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
        status = os.stat(folder, follow_symlinks=False)
    except OSError as error:
        raise Unavailable(
            f"The cache {folder} cannot be made: {error.strerror}.",
            subject=str(folder),
            hint="Name another folder with MVAULT_CACHE.",
        ) from error
    reason = ""
    if not stat.S_ISDIR(status.st_mode):
        reason = "it is a link, or no folder"
    elif status.st_uid != os.geteuid():
        reason = "it belongs to another user"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = "other users may write to it"
    if reason:
        raise Refused(
            f"The cache {folder} is not used: {reason}.",
            code="not-trusted",
            subject=str(folder),
            hint=f"Name a folder of your own with MVAULT_CACHE, or correct this one: chmod 700 {folder}",
        )
    tag = folder / "CACHEDIR.TAG"
    with suppress(OSError):
        if not tag.exists():
            tag.write_bytes(_TAG)
