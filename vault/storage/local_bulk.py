"""Create many small files at once, durably, with two syncs for all of them instead of two for each.

syncfs(2) puts everything on disk that was written to a file system. It tells
of failed writes since Linux 5.8; where it does not, where there are no unnamed
files, or where a name is taken, nothing is done here and the caller creates
one object after the other.
"""

import contextlib
import ctypes
import errno
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Final

from vault.storage.local_draft import NO_UNNAMED
from vault.storage.local_folders import DESCRIPTORS, open_at_once, open_root, step, unavailable

_AT_ONCE: Final = 256  # files open at a time, each perhaps with a folder of its own
_REPORTS_ERRORS: Final = (5, 8)  # the first Linux whose syncfs does
# No unnamed files; or a folder was removed, as empty, on the way to it: `create` knows what to do.
_NOT_HERE: Final = {*NO_UNNAMED, errno.ENOENT, errno.ESTALE}
_NOT_GIVEN: Final = {errno.EEXIST, errno.ENOENT, errno.ESTALE}  # taken; or the folder was removed


def create_all(root: str, objects: Mapping[str, bytes], parts: Callable[[str], Sequence[str]]) -> list[str]:
    """Create the objects, name → bytes, below `root`; return the names of those that were not.

    `parts` checks and splits a name. What was created is durable, and what was not left no trace but
    perhaps an empty folder.

    Raises:
        Unavailable: the file system failed or is full; what became visible is whole.
    """
    sync = _syncfs()
    if sync is None:
        return list(objects)
    left: list[str] = []
    names = iter(objects)
    while batch := list(islice(names, _AT_ONCE)):
        try:
            with contextlib.ExitStack() as stack:
                left += _Batch(root, stack, sync).run({name: (parts(name), objects[name]) for name in batch})
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise unavailable(error, "create", batch[0]) from error
            left += batch  # not a name was given yet: those are given to what exists
    return left


class _Batch:
    """Files that get their names together."""

    def __init__(self, root: str, stack: contextlib.ExitStack, sync: Callable[[int], None]) -> None:
        self._root = root
        self._stack = stack
        self._sync = sync
        self._folders: dict[tuple[str, ...], int] = {}

    def run(self, objects: Mapping[str, tuple[Sequence[str], bytes]]) -> list[str]:
        """Write, sync, name, sync; return the names that could not be given."""
        # Opened before anything is written: what fails from here on is told to this descriptor.
        above = self._keep(open_root(self._root))
        written = {name: (*self._written(parts, data), parts[-1]) for name, (parts, data) in objects.items()}
        self._sync(above)
        left = []
        for name, (folder, descriptor, leaf) in written.items():
            try:
                os.link(f"{DESCRIPTORS}/{descriptor}", leaf, dst_dir_fd=folder, follow_symlinks=True)
            except OSError as error:
                if error.errno not in _NOT_GIVEN:
                    raise unavailable(error, "create", name) from error
                left.append(name)
        self._sync(above)
        return left

    def _written(self, parts: Sequence[str], data: bytes) -> tuple[int, int]:
        """Write an unnamed file where it will lie; give the folder and the file."""
        folder = self._folder(tuple(parts[:-1]))
        descriptor = self._keep(os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o666, dir_fd=folder))
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        return folder, descriptor

    def _folder(self, parts: tuple[str, ...]) -> int:
        """Open a folder, making what is missing."""
        if parts not in self._folders:
            found = open_at_once(self._root, parts)
            if found is None:  # most often it is the last of its parts that is missing
                above = open_at_once(self._root, parts[:-1])
                found = self._walk(parts) if above is None else self._enter(above, parts)
            self._folders[parts] = self._keep(found)
        return self._folders[parts]

    def _walk(self, parts: tuple[str, ...]) -> int:
        folder = open_root(self._root)
        for depth in range(1, len(parts) + 1):
            folder = self._enter(folder, parts[:depth])
        return folder

    def _enter(self, folder: int, parts: tuple[str, ...]) -> int:
        """Open or make the last of the parts in the open folder of the others, which is closed."""
        name = "/".join(parts)
        try:
            try:
                return step(folder, parts[-1], name=name)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(parts[-1], dir_fd=folder)
                return step(folder, parts[-1], name=name)
        finally:
            os.close(folder)

    def _keep(self, descriptor: int) -> int:
        self._stack.callback(os.close, descriptor)
        return descriptor


@lru_cache(maxsize=1)
def _syncfs() -> Callable[[int], None] | None:
    """Give syncfs(2), if this system has one that reports what it could not write."""
    if not hasattr(os, "O_TMPFILE") or not os.path.isdir(DESCRIPTORS) or _linux() < _REPORTS_ERRORS:
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None

    def sync(descriptor: int) -> None:
        if call(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return sync


def _linux() -> tuple[int, int]:
    if platform.system() != "Linux":
        return (0, 0)
    major, _, rest = platform.release().partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)
