"""Open the folders of a local store, following no symbolic link below its root.

Whoever can write to the folder could otherwise point a name at a file outside
it. Descriptors, not paths, carry the walk, so nothing can be swapped between a
check and its use (POSIX.1-2017, `openat`). Where the kernel tells the path of
an open folder (proc(5), `/proc/self/fd`), a folder is opened by its whole path
and then asked where it lies: no link led to it if that is where it was looked
for. What is there by then is what a walk would have found.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from vault.core import limits
from vault.errors import Unavailable

DESCRIPTORS: Final = "/proc/self/fd"

_WALK: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_PASS: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
_WORTH_IT: Final = 2  # a walk of one step is as fast
_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_DENIED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS: Final = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}

_T = TypeVar("_T")


def unavailable(error: OSError, doing: str, name: str) -> Unavailable:
    """Say that the file system failed while `doing` something to `name`."""
    why = error.strerror or type(error).__name__
    if error.errno in _FULL:
        code, hint = "storage-full", "Make room on that file system, then try again."
    elif error.errno in _DENIED:
        code, hint = "storage-denied", "Ask whoever owns the folder for access."
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            hint = "Even root may be refused on NFS (root_squash): use an account that may write there."
    elif error.errno == errno.ENOTDIR:
        code, hint = "unavailable", "A file lies where the name needs a folder; move it out of the store."
    elif error.errno == errno.ESTALE:
        code, hint = "unavailable", "The file server no longer knows it: try again, or mount the folder anew."
    elif error.errno in _NO_LINKS:
        code, hint = "unavailable", "This file system may have no hard links: use one that has."
    else:
        code, hint = "unavailable", "Check that the folder is mounted and healthy, then try again."
    return Unavailable(f"Could not {doing} {name or 'the store'}: {why}.", code=code, subject=name, hint=hint)


def is_stale(error: OSError) -> bool:
    """Tell whether the file server has forgotten a file or folder that this client had looked up."""
    return error.errno == errno.ESTALE


def look(act: Callable[[bool], _T], *, cached: Callable[[], bool]) -> _T:
    """Run `act(False)`, and `act(True)`, which is to open every folder anew, if a cache may have answered.

    A client of NFS remembers for a while which names there are not, and where those lie that there are;
    to open a folder for reading makes it ask the server (nfs(5), "Close-to-open cache consistency").
    `cached` is asked only if something seems not to be there; who may not read the folders on the way
    has to believe what the first look found.

    Raises:
        OSError: as `act`.
    """
    try:
        return act(False)
    except (FileNotFoundError, NotADirectoryError):
        if not cached():
            raise
        with suppress(PermissionError):
            return act(True)
        raise
    except OSError as error:
        if not is_stale(error):
            raise
    return act(True)


def close(descriptor: int) -> None:
    """Let go of a folder, or of a file that was only read: nothing can be lost by that."""
    with suppress(OSError):
        os.close(descriptor)


def open_root(root: str, *, readable: bool = True) -> int:
    """Open the store's root folder.

    Raises:
        FileNotFoundError: it does not exist.
        Unavailable: it is not a folder, or was replaced by a symbolic link since the store was opened.
        OSError: the file system failed.
    """
    try:
        return os.open(root, _WALK if readable else _PASS)
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise Unavailable(
                f"{root} is not a folder, or became a symbolic link after it was opened.",
                subject=root,
                hint="Look at what is there; open the vault again if the folder was moved on purpose.",
            ) from error
        raise


def step(folder: int, part: str, *, name: str, readable: bool = True) -> int:
    """Open the folder `part` of the open folder `folder`; `name` is the object on whose way it lies.

    Raises:
        FileNotFoundError: there is nothing of that name.
        NotADirectoryError: it is something other than a folder.
        Unavailable: it is a symbolic link.
        OSError: the file system failed.
    """
    try:
        return os.open(part, _WALK if readable else _PASS, dir_fd=folder)
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
        if is_link(folder, part):
            raise link_refused(part, name) from error
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error


def descend(root: str, parts: Sequence[str], *, name: str, readable: bool = False, anew: bool = False) -> int:
    """Open the folder `parts` below `root`; the caller closes the descriptor.

    Without `readable` it serves only as the start of further steps. With `anew` every folder on the way is
    opened for reading, so that no client answers from its cache.

    Raises:
        FileNotFoundError, NotADirectoryError, Unavailable, OSError: as `open_root` and `step`.
    """
    found = None if anew else open_at_once(root, parts, readable=readable)
    if found is not None:
        return found
    folder = open_root(root, readable=anew or (readable and not parts))
    for depth, part in enumerate(parts, start=1):
        try:
            below = step(folder, part, name=name, readable=anew or (readable and depth == len(parts)))
        finally:
            close(folder)
        folder = below
    return folder


def open_at_once(root: str, parts: Sequence[str], *, readable: bool = True) -> int | None:
    """Open a folder below the root by its path, if it certainly lies there; None says nothing but that.

    `parts` are names without `/`, `.` and `..`, and `root` is a path without links (`os.path.realpath`).
    The caller closes the descriptor.
    """
    if len(parts) < _WORTH_IT:
        return None
    path = f"{root}/{'/'.join(parts)}"
    try:
        folder = os.open(path, _WALK if readable else _PASS)
    except OSError:
        return None
    try:
        lies_there = os.readlink(f"{DESCRIPTORS}/{folder}") == path
    except OSError:
        lies_there = False
    except BaseException:
        os.close(folder)
        raise
    if not lies_there:
        os.close(folder)
        return None
    return folder


def is_link(folder: int, part: str) -> bool:
    """Tell whether `part` of the open folder `folder` is a symbolic link now."""
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def link_refused(part: str, name: str) -> Unavailable:
    """Say that a symbolic link lies in the way."""
    return Unavailable(
        f"{part!r} in {name} is a symbolic link, and the store follows none.",
        subject=name,
        hint="Put the file or folder itself there.",
    )


def make_root(root: str) -> None:
    """Make the root folder and what is missing above it, durably.

    Raises:
        OSError: the file system failed.
    """
    missing = []
    path = root
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
        above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(above)
        finally:
            os.close(above)


def list_entries(root: str, folders: Sequence[str], *, cached: Callable[[], bool]) -> list[str]:
    """Give the entries of a folder in code-point order of the names they stand for.

    `a/…` sorts after `a-b` and before `a0`, so a folder sorts as its name with the `/`. A folder
    that is not there has none. What is neither a regular file nor a folder is left out. `cached` is that
    of `look`.

    Raises:
        Unavailable: the folder cannot be read, or holds more than `limits.LISTED_NAMES` entries.
    """
    path = "/".join(folders)

    def act(anew: bool) -> list[str]:
        folder = descend(root, folders, name=path, readable=True, anew=anew)
        try:
            return _scan(folder, path)
        finally:
            close(folder)

    try:
        return look(act, cached=cached)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unavailable(error, "list", path) from error


def sized_entries(root: str, folders: Sequence[str], *, cached: Callable[[], bool]) -> list[tuple[str, int]]:
    """Give the entries of a folder as `list_entries` does, each file with its size, folders with 0.

    Raises:
        Unavailable: as `list_entries`.
    """
    path = "/".join(folders)

    def act(anew: bool) -> list[tuple[str, int]]:
        folder = descend(root, folders, name=path, readable=True, anew=anew)
        try:
            found = []
            for key in _scan(folder, path):
                with suppress(FileNotFoundError):  # it was removed since
                    size = (
                        0 if key.endswith("/") else os.stat(key, dir_fd=folder, follow_symlinks=False).st_size
                    )
                    found.append((key, size))
            return found
        finally:
            close(folder)

    try:
        return look(act, cached=cached)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unavailable(error, "list", path) from error


def _scan(folder: int, path: str) -> list[str]:
    """Sort the regular files and the folders, these with a `/` at the end, of an open folder.

    A file server may name an entry twice while others write to the folder.
    """
    keys = set()
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            if count >= limits.LISTED_NAMES:
                raise Unavailable(
                    f"The folder {path or 'of the store'} holds more than {limits.LISTED_NAMES} entries.",
                    subject=path,
                    hint="Somebody may be flooding it: look at what is there.",
                )
            if entry.is_dir(follow_symlinks=False):
                keys.add(entry.name + "/")
            elif entry.is_file(follow_symlinks=False):
                keys.add(entry.name)
    return sorted(keys)
