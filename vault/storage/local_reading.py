"""Read the files of a local store, and nothing but regular files."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from typing import Final

from vault.core import limits
from vault.errors import Unavailable
from vault.storage import answers, naming
from vault.storage.local_folders import close, descend, is_stale, link_refused, look, unavailable

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY  # a FIFO must not hang the reader
_READ_AT_ONCE: Final = 64 * limits.MIB


class LocalSource:
    """An open file; several threads may read from it at once."""

    def __init__(
        self, descriptor: int, size: int, name: str, *, reopen: Callable[[], tuple[int, int]] | None = None
    ) -> None:
        """Read from `descriptor`, whose file has `size` bytes.

        `reopen` opens it once more, as `open_file` does, if a file server has forgotten the first.
        """
        self._descriptor = descriptor
        self._size = size
        self._name = name
        self._reopen = reopen
        self._forgotten = -1
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """The file's size in bytes when it was opened."""
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there.

        Raises:
            ValueError: `offset` is negative, or the block of `open` has ended.
            Unavailable: the file system failed.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        descriptor = self._descriptor
        if descriptor < 0:
            raise ValueError("read after the object was closed")
        rest = buffer.cast("B")
        while rest:
            try:
                count = os.preadv(descriptor, [rest], offset)
            except OSError as error:
                if not is_stale(error):
                    raise unavailable(error, "read", self._name) from error
                descriptor = self._opened_anew(descriptor, error)
                continue
            if count == 0:
                break
            rest = rest[count:]
            offset += count
        return buffer.nbytes - len(rest)

    def _opened_anew(self, forgotten: int, error: OSError) -> int:
        """Give the descriptor of the file opened once more, by this thread or by another.

        The forgotten one stays open until the end: other threads may still read from it.
        """
        with self._lock:
            if self._descriptor == forgotten:
                if self._reopen is None or self._forgotten >= 0:
                    raise unavailable(error, "read", self._name) from error
                opened, size = self._reopen()
                if size != self._size:
                    close(opened)
                    raise unavailable(error, "read", self._name) from error
                self._descriptor, self._forgotten = opened, forgotten
            if self._descriptor < 0:
                raise ValueError("read after the object was closed")
            return self._descriptor

    def close(self) -> None:
        """Let go of the file; closing what was only read cannot lose anything, so errors do not matter."""
        with self._lock:
            found = (self._descriptor, self._forgotten)
            self._descriptor = self._forgotten = -1
        for descriptor in found:
            if descriptor >= 0:
                close(descriptor)


def open_file(root: str, name: str, *, cached: Callable[[], bool]) -> tuple[int, int]:
    """Open the regular file of an object; return its descriptor, which the caller closes, and its size.

    `cached` is that of `local_folders.look`.

    Raises:
        NotFound: there is no such name.
        Unavailable: the file system failed, or what lies there is not a regular file.
    """
    *folders, leaf = naming.check_name(name)

    def act(anew: bool) -> tuple[int, int]:
        folder = descend(root, folders, name=name, anew=anew)
        try:
            descriptor = os.open(leaf, _READ, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise link_refused(leaf, name) from error
            raise
        finally:
            close(folder)
        try:
            return descriptor, regular_size(os.fstat(descriptor), name)
        except BaseException:
            close(descriptor)
            raise

    try:
        return look(act, cached=cached)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise answers.not_found(name) from error
    except OSError as error:
        raise unavailable(error, "open", name) from error


def stat_file(root: str, name: str, *, cached: Callable[[], bool]) -> os.stat_result:
    """Look at what lies under a name; `cached` is that of `local_folders.look`.

    Raises:
        NotFound: there is no such name.
        Unavailable: the file system failed.
    """
    *folders, leaf = naming.check_name(name)

    def act(anew: bool) -> os.stat_result:
        folder = descend(root, folders, name=name, anew=anew)
        try:
            return os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        finally:
            close(folder)

    try:
        return look(act, cached=cached)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise answers.not_found(name) from error
    except OSError as error:
        raise unavailable(error, "look at", name) from error


def regular_size(found: os.stat_result, name: str) -> int:
    """Give the size of a regular file; a folder is no object, and nothing else is a store's.

    Raises:
        NotFound: it is a folder.
        Unavailable: it is a symbolic link, a device, a pipe or a socket.
    """
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    if stat.S_ISDIR(found.st_mode):
        raise answers.not_found(name)
    if stat.S_ISLNK(found.st_mode):
        raise link_refused(name.rpartition("/")[2], name)
    raise Unavailable(
        f"{name} is a device, a pipe or a socket, not a regular file.",
        subject=name,
        hint="Somebody else put it there; remove it.",
    )


def read_exactly(descriptor: int, size: int, name: str) -> bytes:
    """Read a file that has `size` bytes, and see that it ends there.

    Raises:
        Unavailable: it was changed while it was read.
        OSError: the file system failed.
    """
    pieces = []
    done = 0
    while done <= size:
        piece = os.pread(descriptor, min(size + 1 - done, _READ_AT_ONCE), done)
        if not piece:
            break
        pieces.append(piece)
        done += len(piece)
    if done != size:
        raise Unavailable(
            f"{name} was changed while it was read.",
            subject=name,
            hint="Objects are never changed in place: find out what writes there, then try again.",
        )
    return b"".join(pieces)
