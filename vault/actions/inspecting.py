"""Inspect files and folders on disk: what they would do if they were loaded. They never are."""

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vault.core import limits
from vault.core.inspection import Inspection, inspect_bytes, inspect_folder, set_aside
from vault.errors import NotFound, Unavailable
from vault.ports import Progress, no_progress

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PIECE: Final = 16 * limits.MIB
_SPECIAL: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def inspect(path: Path, *, progress: Progress = no_progress) -> Inspection:
    """Inspect one file, or everything below one folder: its inspection then has those as `members`.

    Links are not followed and pipes not opened; below a folder they are refused by name, as
    is a file that cannot be read. A file is read as it is at one moment, or refused as changed.

    Raises:
        NotFound: there is no such file.
        ValueError: it is a link, a pipe or a device.
        Unavailable: it cannot be read.
    """
    if stat.S_ISDIR(_status(path).st_mode):
        return inspect_folder(str(path), tuple(below(path, progress=progress)))
    return _file(path, str(path))


def below(path: Path, *, progress: Progress = no_progress) -> Iterator[Inspection]:
    """Inspect every file below a folder, in the order of their names.

    The files of a folder come before those of the folders in it.
    """
    seen = 0
    waiting = [("", 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            with os.scandir(path / folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            yield _unreadable(str(path / folder), error)
            continue
        folders = []
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(name)
                continue
            seen += 1
            progress(seen, 0, name)
            if seen > limits.INSPECT_FILES:
                yield _too_many(str(path / name))
                return
            yield _entry(path / name, str(path / name))
        if folders and depth >= limits.INSPECT_FOLDERS:
            yield _too_deep(str(path / folders[0]))
        else:
            waiting.extend((name, depth + 1) for name in reversed(folders))


def _entry(path: Path, name: str) -> Inspection:
    """Inspect what lies below a folder; whatever it is, the others are looked at too."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return set_aside(
                name, "link", "link", "It is a symbolic link, which is not followed.", "format-refused",
                hint="Inspect what it leads to by its own path, or copy the folder with cp -RL.",
            )  # fmt: skip
        for holds, what in _SPECIAL:
            if holds(status.st_mode):
                message = f"It is {what}, which is not opened."
                return set_aside(name, what.partition(" ")[2], "special-file", message, "format-refused")
        return _file(path, name)
    except OSError as error:
        return _unreadable(name, error)
    except (NotFound, Unavailable, ValueError) as error:
        return _unread(name, str(error))


def _file(path: Path, name: str) -> Inspection:
    with _descriptor(path) as descriptor:
        before = os.fstat(descriptor)
        with _content(descriptor, before.st_size) as whole:
            found = inspect_bytes(name, whole)
            after = os.fstat(descriptor)
            if len(whole) == before.st_size == after.st_size and before.st_mtime_ns == after.st_mtime_ns:
                return found
    return set_aside(
        name, found.format, "changed", "It changed while it was looked at.", "unavailable",
        hint="Inspect a copy that nobody else writes to.",
    )  # fmt: skip


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    """Open a regular file.

    Raises:
        NotFound, Unavailable, ValueError: see `inspect`.
    """
    try:
        opened = os.open(path, _FLAGS)  # O_NONBLOCK: a pipe that was put there must not hang us
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.", subject=str(path)) from None
    except OSError as error:
        if path.is_symlink():
            raise _no_file(path) from None
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise _no_file(path)
        yield opened
    finally:
        os.close(opened)


@contextmanager
def _content(descriptor: int, size: int) -> Iterator[memoryview]:
    """Give a file's bytes: a copy that nobody can change, or where that is too large, a map of it."""
    if size > limits.INSPECT_READ_BYTES:
        with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as pages, memoryview(pages) as whole:
            yield whole
        return
    content = bytearray()
    while len(content) <= size:
        piece = os.pread(descriptor, min(_PIECE, size + 1 - len(content)), len(content))
        if not piece:
            break
        content += piece
    yield memoryview(content).toreadonly()


def _status(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"There is no {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None


def _no_file(path: Path) -> ValueError:
    return ValueError(f"{path} is a link, a device or a pipe; a regular file or a folder is expected.")


def _unreadable(name: str, error: OSError) -> Inspection:
    return _unread(name, f"It cannot be read: {error.strerror}.")


def _unread(name: str, message: str) -> Inspection:
    return set_aside(name, "unknown", "unreadable", message, "unavailable")


def _too_many(name: str) -> Inspection:
    message = f"From here on nothing was looked at: there are more than {limits.INSPECT_FILES:,} files."
    return set_aside(
        name, "unknown", "too-large", message, "too-large", hint="Inspect its folders one by one."
    )


def _too_deep(name: str) -> Inspection:
    message = f"It was not looked into: it lies more than {limits.INSPECT_FOLDERS} folders deep."
    return set_aside(name, "folder", "too-large", message, "too-large", hint="Inspect it by its own path.")
