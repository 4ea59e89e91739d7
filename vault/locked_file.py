"""Change one small file of this user's, which several processes share: one after another, and durably.

Under a lock on a side file the file is read again, then replaced (write aside,
fsync, rename, fsync the folder) or added to (write at its end, fsync). A kill
leaves the old content or the new; of what is added, perhaps a part.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vault.core import memory_format
from vault.errors import Unavailable

READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

_LOCK_SECONDS: Final = 30.0
_LOCK_PAUSE: Final = 0.005
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

# Device, inode, modification time and size: what tells one content from the next.
Stamp = tuple[int, int, int, int]


class LockedFile:
    """One small file that several processes replace or add to, one after another."""

    def __init__(self, path: Path) -> None:
        """Stand for the file at `path`, which need not be there."""
        self.path = path

    def stamp(self) -> Stamp | None:
        """Return what changes whenever the file does; None if there is none.

        A folder that this user may not look into counts as none: a container
        often gives a HOME that is somebody else's.

        Raises:
            Unavailable: nobody can say now.
        """
        try:
            return _stamp(os.stat(self.path))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def read(self, limit: int, *, start: int = 0) -> tuple[bytes | None, Stamp | None]:
        """Return the bytes from `start` on, and the stamp of the file, which has at most `limit`.

        None and None if there is no file, or it is out of reach.

        Raises:
            Refused: `memory-damaged`: it is too large, no regular file, or may not be read.
            Unavailable: it cannot be read now.
        """
        if self.stamp() is None:
            return None, None
        try:
            # O_NONBLOCK: a pipe put where the file belongs must not hang the reader.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            raise memory_format.damaged(str(self.path), f"{error.strerror}.") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise memory_format.damaged(str(self.path), "It is not a regular file.")
            if status.st_size > limit:
                raise memory_format.damaged(str(self.path), f"It is larger than {limit:,} bytes.")
            return _read(descriptor, start, status.st_size), _stamp(status)
        except OSError as error:
            raise _unreadable(self.path, error) from None
        finally:
            os.close(descriptor)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock beside the file; the folder is made if need be.

        Raises:
            Unavailable: another process holds it, and does not let go.
            OSError: it cannot be made or opened.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{self.path} has been locked by another process for {_LOCK_SECONDS:g} seconds.",
                        subject=str(self.path),
                        hint="Try again; if it stays so, look for a process that hangs.",
                    )
                time.sleep(_LOCK_PAUSE)
            yield
        finally:
            os.close(descriptor)

    def replace(self, data: bytes) -> Stamp:
        """Put new content in place, durably. The caller holds the lock, so one name for drafts is enough.

        Raises:
            OSError: the disk failed or is full; the old content is there.
        """
        draft = self.path.with_suffix(".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
            status = os.fstat(descriptor)
        os.replace(draft, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return _stamp(status)

    def append(self, data: bytes, stamp: Stamp) -> Stamp | None:
        """Add to the file that has this stamp, durably; None if another is there. The caller holds the lock.

        Raises:
            OSError: the disk failed or is full; nothing was added, or what was is no whole line.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags)
        try:
            if _stamp(os.fstat(descriptor)) != stamp:
                return None
            try:
                written = 0
                while written < len(data):
                    written += os.write(descriptor, data[written:])
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, stamp[3])  # nobody is to believe what may not be on the disk
                raise
            return _stamp(os.fstat(descriptor))
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """See that what another process added is on the disk: it may have been read before it was synced.

        Raises:
            OSError: the disk failed.
        """
        with suppress(FileNotFoundError):
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _read(descriptor: int, start: int, end: int) -> bytes:
    """Read from `start` to `end`, or to where the file ends by now."""
    pieces = []
    while start < end and (piece := os.pread(descriptor, end - start, start)):
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unreadable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"{path} cannot be read now: {error.strerror}.",
        subject=str(path),
        hint="Look after that disk, then try again.",
    )


def unwritable(path: Path, error: OSError) -> Unavailable:
    """Say that a file of this user's was not written."""
    return Unavailable(
        f"{path} was not written: {error.strerror}.",
        code="storage-full" if error.errno in _FULL else "storage-denied",
        subject=str(path),
        hint="Make room there or correct its permissions, then try again.",
    )
