"""Write one new file that nobody can see until it is whole and on disk.

On Linux the file has no name at all (`O_TMPFILE`, open(2)), so a killed
process leaves nothing. Elsewhere it has a random name in a hidden folder at
the store's root, and what a killed process leaves there is swept later.
"""

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from typing import Final

from vault.errors import Unavailable
from vault.ports import Buffer
from vault.storage import naming
from vault.storage.local_append import Appender
from vault.storage.local_folders import close, open_root, step, unavailable

_DESCRIPTORS: Final = "/proc/self/fd"  # linkat(2): how an unnamed file gets its name without privileges
# How kernels and file systems say that they have no unnamed files; old kernels try to open the folder.
NO_UNNAMED: Final = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EISDIR, errno.EINVAL, errno.ENOSYS}

# Gone already, forgotten by the file server, a folder, or open in this client of NFS.
_NOT_SWEPT: Final = {errno.ENOENT, errno.ESTALE, errno.EISDIR, errno.EBUSY}


class Draft:
    """An open file on its way to a name: the `Sink` that a local store hands out."""

    def __init__(
        self,
        descriptor: int,
        name: str,
        *,
        size: int | None = None,
        folder: int | None = None,
        hidden: str = "",
    ) -> None:
        """Write to `descriptor` for the object `name`, which may be known to get `size` bytes.

        A named draft is `hidden` in the folder `folder`.
        """
        self._descriptor = descriptor
        self._name = name
        self._folder = folder
        self._hidden = hidden
        self._appender = Appender(descriptor, size)
        self._failed = False

    def write(self, data: Buffer) -> None:
        """Append `data`.

        Raises:
            ValueError: the block of `create` has ended.
            Unavailable: the file system failed or is full; the object will not become visible.
        """
        if self._descriptor < 0:
            raise ValueError("write after the object was finished")
        rest = memoryview(data).cast("B")
        self._refuse_after_failure()
        try:
            self._appender.append(rest)
        except OSError as error:
            self._failed = True
            raise unavailable(error, "write", self._name) from error
        except BaseException:  # an interrupt: nobody knows how much of it was written
            self._failed = True
            raise

    def seal(self) -> None:
        """Put every byte on disk.

        A duplicate descriptor is closed too: network file systems report a full disk only at `close`,
        which must be known before the file gets its name, and an unnamed file must stay open until then.

        Raises:
            Unavailable: the file system failed, or an earlier write had; the object must not become visible.
        """
        self._refuse_after_failure()
        try:
            self._appender.finish()
            os.fsync(self._descriptor)
            os.close(os.dup(self._descriptor))
        except OSError as error:
            raise unavailable(error, "store", self._name) from error

    @contextlib.contextmanager
    def view(self) -> Iterator[memoryview]:
        """Look at what was written so far, before anybody else can.

        Raises:
            Unavailable: the file system failed, or an earlier write had.
        """
        self._refuse_after_failure()
        try:
            self._appender.finish()
            size = os.fstat(self._descriptor).st_size
            pages = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ) if size else None
        except OSError as error:
            self._failed = True
            raise unavailable(error, "look at", self._name) from error
        yield memoryview(pages or b"")  # unmapped with its last reference: a refusal's traceback may hold one

    def _refuse_after_failure(self) -> None:
        if self._failed:
            raise Unavailable(
                f"An earlier write to {self._name} failed, so it was not stored.",
                subject=self._name,
                hint="Try again.",
            )

    def link(self, folder: int, leaf: str) -> None:
        """Give the file the name `leaf` in the open folder `folder`, unless that name is taken.

        Raises:
            FileExistsError: something has that name.
            OSError: the file system failed.
        """
        try:
            if self._folder is None:
                os.link(f"{_DESCRIPTORS}/{self._descriptor}", leaf, dst_dir_fd=folder, follow_symlinks=True)
            else:
                os.link(self._hidden, leaf, src_dir_fd=self._folder, dst_dir_fd=folder, follow_symlinks=False)
        except OSError:
            if not self._has_name(folder, leaf):
                raise

    def _has_name(self, folder: int, leaf: str) -> bool:
        """Tell whether the name is ours after a link that seems to have failed.

        A client of NFS repeats a request whose answer was lost, and the repeated one finds the name
        taken, by ourselves; or it gives up, and the link is there all the same (open(2), `O_EXCL`). What
        has the name is asked first. Where the client's cache says that nothing has, our own file tells:
        nobody else knows of it, so that another name of it is the one we gave it.
        """
        with contextlib.suppress(OSError):
            looking = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)  # past the client's cache
            try:
                there = os.stat(leaf, dir_fd=looking, follow_symlinks=False)
                return os.path.samestat(there, os.fstat(self._descriptor))
            finally:
                close(looking)
        with contextlib.suppress(OSError):
            return self._names() > (0 if self._folder is None else 1)
        return False

    def _names(self) -> int:
        """Count the names that the file has; what is opened anew is not counted from a cache."""
        if self._folder is None:
            return os.fstat(self._descriptor).st_nlink
        opened = os.open(self._hidden, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._folder)
        try:
            return os.fstat(opened).st_nlink
        finally:
            close(opened)

    def close(self) -> None:
        """Let go of the file; without a name in the store it is gone.

        Errors are not reported: `seal` has seen every one that concerns the content, and a hidden name
        that stays behind is swept later.
        """
        descriptor, self._descriptor = self._descriptor, -1
        try:
            self._appender.close()
        finally:  # an interrupt while a write was waited for
            with contextlib.suppress(OSError):
                os.close(descriptor)
            if self._folder is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self._hidden, dir_fd=self._folder)
                close(self._folder)


def new_draft(root: str, folder: int, name: str, *, size: int | None = None) -> Draft:
    """Open a draft in the open folder `folder`, or in the hidden folder where there are no unnamed files.

    `size` is how many bytes it will get, if that is known.

    Raises:
        FileNotFoundError: the folder has been removed.
        OSError: the file system failed.
    """
    if hasattr(os, "O_TMPFILE") and os.path.isdir(_DESCRIPTORS):
        try:
            descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o666, dir_fd=folder)
        except OSError as error:
            if error.errno == errno.EPERM and os.fstat(folder).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error  # as ext4 says it
            if error.errno not in NO_UNNAMED:
                raise
        else:
            return Draft(descriptor, name, size=size)
    return _named_draft(root, name, size)


def _named_draft(root: str, name: str, size: int | None) -> Draft:
    folder = open_hidden(root, make=True)
    try:
        hidden, descriptor = _new_file(folder)
    except BaseException:
        close(folder)
        raise
    return Draft(descriptor, name, size=size, folder=folder, hidden=hidden)


def _new_file(folder: int) -> tuple[str, int]:
    """Open a new file with a random name.

    Nobody else has such a name: if it is taken, that was a request of ours whose answer was lost.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    hidden = os.urandom(16).hex()
    try:
        return hidden, os.open(hidden, flags, 0o666, dir_fd=folder)
    except FileExistsError:
        with contextlib.suppress(OSError):
            os.unlink(hidden, dir_fd=folder)
    hidden = os.urandom(16).hex()
    return hidden, os.open(hidden, flags, 0o666, dir_fd=folder)


def open_hidden(root: str, *, make: bool) -> int:
    """Open the hidden folder; `make` it if need be.

    Raises:
        FileNotFoundError: it is not there.
        OSError: the file system failed.
    """
    above = open_root(root)
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(naming.RESERVED, dir_fd=above)
        return step(above, naming.RESERVED, name=naming.RESERVED)
    finally:
        close(above)


def sweep(root: str, older_than_seconds: int, now: int) -> int:
    """Remove named drafts last written to more than `older_than_seconds` before `now`; return how many.

    Raises:
        Unavailable: the file system failed or refused.
    """
    removed = 0
    try:
        folder = open_hidden(root, make=False)
        try:
            for leaf in os.listdir(folder):
                removed += _sweep_one(folder, leaf, now - older_than_seconds)
        finally:
            close(folder)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise unavailable(error, "sweep", naming.RESERVED) from error
    return removed


def _sweep_one(folder: int, leaf: str, before: int) -> bool:
    try:
        if os.stat(leaf, dir_fd=folder, follow_symlinks=False).st_mtime >= before:
            return False
        os.unlink(leaf, dir_fd=folder)
    except OSError as error:
        if error.errno in _NOT_SWEPT:
            return False
        raise
    return True
