"""The user's own files: regular ones only, read at any offset or looked at as a whole."""

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vault.errors import NotFound, Unavailable
from vault.storage.local_reading import LocalSource

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not hang us


def not_a_file(path: Path) -> ValueError:
    """Say that a path is no regular file."""
    return ValueError(f"{path} is a link, a folder, a device or a pipe; a regular file is expected.")


@contextmanager
def source(path: Path) -> Iterator[LocalSource]:
    """Open a regular file for reading; symbolic links are not followed.

    Raises:
        NotFound: there is no such file.
        ValueError: it is no regular file.
        Unavailable: it cannot be read.
    """
    with descriptor(path) as (opened, size):
        yield LocalSource(opened, size, str(path))


@contextmanager
def view(path: Path) -> Iterator[memoryview]:
    """Look at a regular file's bytes as a whole without reading them all into memory.

    Raises:
        As `source`.
    """
    with descriptor(path) as (opened, size), mapped(opened, size) as whole:
        yield whole


@contextmanager
def mapped(opened: int, size: int) -> Iterator[memoryview]:
    """Map `size` bytes of an open file."""
    if size == 0:
        yield memoryview(b"")
        return
    pages = mmap.mmap(opened, size, access=mmap.ACCESS_READ)
    try:
        yield memoryview(pages)
    finally:
        # A refusal on its way up keeps the reader that holds parts of the pages: then they go with it.
        with suppress(BufferError):
            pages.close()


@contextmanager
def descriptor(path: Path) -> Iterator[tuple[int, int]]:
    """Open a regular file for reading; give its descriptor and its size in bytes.

    Raises:
        As `source`.
    """
    try:
        opened = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.", subject=str(path)) from None
    except OSError as error:
        if path.is_symlink():
            raise not_a_file(path) from None
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise not_a_file(path)
        yield opened, found.st_size
    finally:
        os.close(opened)
