"""What is signed or verified: a file, a folder, or bytes and streams in memory.

No symbolic link is followed: the walk goes through open folders, and a file that is opened later must be
the very one that the walk saw. Whatever changes between the first look and the last is noticed.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from vault.actions.signing_walk import Looking, Stamp, changed, odd, stamp_of, unreadable, walk
from vault.core import names
from vault.core.oms_statement import ALONE
from vault.errors import NotFound

Readable = Any  # an object with readinto() or read(), as open(…, "rb") gives
Target = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Mapping[str, Any]

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not hang us


Read = Callable[[memoryview], int]  # fills a buffer from where the last call ended; 0 at the end


class Content(Protocol):
    """Files by their paths in the model, each readable once from its beginning."""

    @property
    def name(self) -> str:
        """What the model is called if nobody says otherwise; empty if nothing tells."""

    @property
    def files(self) -> Mapping[str, Stamp | None]:
        """Every file, `.` alone where the model is one file; None where nothing is known of it."""

    def open(self, path: str) -> Any:
        """Open a file as a context that gives its `Read`.

        Raises:
            DigestMismatch: it is another than was seen, or changed while it was read.
            Unavailable: it cannot be read.
        """

    def settle(self) -> None:
        """Look once more, after everything was read.

        Raises:
            DigestMismatch: files came, went or changed.
        """


@dataclass(slots=True)
class FolderContent:
    """A folder on disk, held open."""

    path: Path
    name: str
    descriptor: int
    looking: Looking
    files: Mapping[str, Stamp | None] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()  # what was there and left out
    outside: tuple[str, ...] = ()  # links that lead out of the folder

    @contextmanager
    def open(self, path: str) -> Iterator[Read]:
        """Open a file; see `Content.open`."""
        seen = self.files[path]
        with _opened(path, self.descriptor, f"{self.path}/{path}", follow=self.looking.links) as opened:
            yield from _reading(opened, seen, f"{self.path}/{path}")

    def settle(self) -> None:
        """Walk again; see `Content.settle`."""
        _still_there(self.path, self.descriptor)
        again, _, _ = walk(self.descriptor, self.looking, str(self.path))
        for path in sorted({*again, *self.files}):
            if again.get(path) != self.files.get(path):
                raise changed(f"{self.path}/{path}")

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.descriptor)


@dataclass(slots=True)
class FileContent:
    """One file on disk, held open."""

    path: Path
    name: str
    descriptor: int
    files: Mapping[str, Stamp | None]

    @contextmanager
    def open(self, path: str) -> Iterator[Read]:
        """Read the file; see `Content.open`."""
        yield from _reading(self.descriptor, self.files[path], str(self.path))

    def settle(self) -> None:
        """See that the file was not changed meanwhile, nor another put in its place."""
        _still_there(self.path, self.descriptor)
        if stamp_of(os.fstat(self.descriptor)) != self.files[ALONE]:
            raise changed(str(self.path))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.descriptor)


@dataclass(slots=True)
class MemoryContent:
    """Bytes and streams, by their paths in the model."""

    held: Mapping[str, Any]
    name: str = ""

    @property
    def files(self) -> Mapping[str, Stamp | None]:
        """The paths; nothing is known of what is behind them."""
        return dict.fromkeys(self.held)

    @contextmanager
    def open(self, path: str) -> Iterator[Read]:
        """Read bytes, or a stream to its end; see `Content.open`."""
        yield reader_of(self.held[path])

    def settle(self) -> None:
        """Do nothing: whoever holds the bytes keeps them."""

    def close(self) -> None:
        """Do nothing: streams belong to whoever opened them."""


@contextmanager
def opened(target: Target, looking: Looking) -> Iterator[FolderContent | FileContent | MemoryContent]:
    """Open what a caller gave: a path, bytes, a stream, or a mapping of paths to bytes and streams.

    Raises:
        NotFound: there is no such path.
        Malformed: a link, a device, a name that no model may have, more files than are signed.
        Unavailable: something cannot be read.
        TypeError: it is none of these.
    """
    found = _open(target, looking)
    try:
        yield found
    finally:
        found.close()


def _open(target: Target, looking: Looking) -> FolderContent | FileContent | MemoryContent:
    if isinstance(target, str | os.PathLike):
        path = Path(os.path.abspath(target))
        descriptor = _open_path(path)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return FileContent(path, path.name, descriptor, {ALONE: stamp_of(os.fstat(descriptor))})
            files, left_out, outside = walk(descriptor, looking, str(path))
        except BaseException:
            os.close(descriptor)
            raise
        return FolderContent(path, path.name, descriptor, looking, files, left_out, outside)
    if isinstance(target, Mapping):
        if not target:
            raise ValueError("A model has at least one file.")
        for name in target:
            names.path(name)
        return MemoryContent(target)
    reader_of(target)
    return MemoryContent({ALONE: target})


def _open_path(path: Path) -> int:
    try:
        descriptor = os.open(path, _FILE)
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.", subject=str(path)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise odd(str(path), "is a symbolic link") from None
        raise unreadable(str(path), error) from None
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(descriptor)
        raise odd(str(path), "is neither a file nor a folder")
    return descriptor


def _still_there(path: Path, descriptor: int) -> None:
    try:
        found, held = os.lstat(path), os.fstat(descriptor)
    except FileNotFoundError:
        raise changed(str(path)) from None
    if (found.st_dev, found.st_ino) != (held.st_dev, held.st_ino):
        raise changed(str(path))


def reader_of(data: Any) -> Read:
    """Give what reads bytes or a stream from where it stands.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        return _Bytes(memoryview(data).cast("B")).read
    if hasattr(data, "readinto"):
        return lambda buffer: data.readinto(buffer) or 0
    if not hasattr(data, "read"):
        raise TypeError(f"A path, bytes, a stream or a mapping of them is signed, not {type(data).__name__}.")

    def read(buffer: memoryview) -> int:
        block = data.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    return read


@dataclass(slots=True)
class _Bytes:
    data: memoryview
    at: int = 0

    def read(self, buffer: memoryview) -> int:
        part = self.data[self.at : self.at + len(buffer)]
        buffer[: len(part)] = part
        self.at += len(part)
        return len(part)


@contextmanager
def _opened(path: str, folder: int, shown: str, *, follow: bool) -> Iterator[int]:
    try:
        descriptor = os.open(path, _FILE & ~os.O_NOFOLLOW if follow else _FILE, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        raise changed(shown) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise changed(shown) from None
        raise unreadable(shown, error) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _reading(descriptor: int, seen: Stamp | None, shown: str) -> Iterator[Read]:
    """Read an open file from its beginning; it must be what was seen, before and after."""
    if stamp_of(os.fstat(descriptor)) != seen:
        raise changed(shown)
    place = _Place(descriptor, shown)
    yield place.read
    if stamp_of(os.fstat(descriptor)) != seen or (place.ended and place.at != seen.size):
        raise changed(shown)


@dataclass(slots=True)
class _Place:
    descriptor: int
    shown: str
    at: int = 0
    ended: bool = False

    def read(self, buffer: memoryview) -> int:
        try:
            count = os.preadv(self.descriptor, [buffer], self.at)
        except OSError as error:
            raise unreadable(self.shown, error) from None
        self.at += count
        self.ended = count == 0
        return count
