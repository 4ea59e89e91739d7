"""Keep a cache's folder within its size: what was not used for longest goes first."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vault.core import limits

_USED_AGAIN: Final = 3600.0  # seconds after which a use is noted again
_LOOK_AFTER: Final = 64 * limits.MIB  # written by this process, until the whole folder is looked at
_LOOK_SHARE: Final = 16  # or this part of the room, where that is less
_ABANDONED: Final = 86_400.0  # seconds after which what is still being written belongs to nobody
_LARGEST_SHARE: Final = 2  # an object of more than half of the room would push out all others
_LEFT: Final = 0.9  # of the room, after something was removed
_DEPTH: Final = 3


class Room:
    """The bytes that a folder may hold, counted over all processes that use it.

    Each process looks at the folder when it begins to write, and again when it
    has written a share of the room: so the folder can exceed it by that share
    for each process. An entry may be removed while somebody reads it, who
    keeps what is open; a removed entry is fetched again when it is needed.
    """

    def __init__(self, folder: Path, size: int) -> None:
        """Count nothing yet."""
        self._folder = folder
        self._size = size
        self._since_look: int | None = None

    def admits(self, size: int) -> bool:
        """Tell whether an entry of `size` bytes is worth its room."""
        return size * _LARGEST_SHARE <= self._size

    def used(self, path: Path) -> None:
        """Note that an entry was used."""
        with suppress(OSError):
            now = time.time()
            if now - os.stat(path).st_mtime > _USED_AGAIN:
                os.utime(path, (now, now))

    def taken(self, size: int) -> None:
        """Note that an entry of `size` bytes was written, and make room where it is due."""
        first = self._since_look is None
        self._since_look = (self._since_look or 0) + size
        if first or self._since_look >= min(_LOOK_AFTER, self._size // _LOOK_SHARE):
            self._since_look = 0
            with suppress(OSError):
                self.make()

    def make(self) -> None:
        """Remove what was not used for longest until the folder is within its room again.

        Raises:
            OSError: the folder cannot be read.
        """
        with self._alone() as alone:
            if not alone:
                return  # another process is at it
            found = sorted(self._entries())
            total = sum(size for _, size, _ in found)
            if total <= self._size:
                return
            for _, size, path in found:
                with suppress(OSError):
                    os.unlink(path)
                    total -= size
                if total <= self._size * _LEFT:
                    return

    def _entries(self) -> Iterator[tuple[float, int, str]]:
        """Give when each file was last used, its size and path; what a killed process left is removed."""
        now = time.time()
        for folder, folders, files in os.walk(self._folder):
            if len(Path(folder).relative_to(self._folder).parts) >= _DEPTH:
                folders.clear()
            for name in files:
                path = os.path.join(folder, name)
                if folder == os.fspath(self._folder):
                    continue  # the tag and the lock
                with suppress(OSError):
                    status = os.lstat(path)
                    if os.path.basename(folder) == "new" and now - status.st_mtime > _ABANDONED:
                        os.unlink(path)
                    else:
                        yield status.st_mtime, status.st_size, path

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep other processes from removing entries at the same time; tell whether none is."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._folder / "lock", flags, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)
