"""Folders and files of this user alone: made durably, never through a link."""

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_ZEROS: Final = 1 << 16


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, durably; it is private to its user, and no link.

    Raises:
        OSError: it cannot be made, is a link, or belongs to somebody else.
    """
    missing = []
    place = folder
    while not place.is_dir():
        missing.append(place)
        place = place.parent
    for made in reversed(missing):
        try:
            os.mkdir(made, 0o700)
        except FileExistsError:
            continue  # another process was first; what is no folder is refused below
        sync_folder(made.parent)
    status = os.stat(folder, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ELOOP, "its folder is a link, or no folder")
    if status.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "its folder belongs to another user")
    if status.st_mode & 0o077:
        os.chmod(folder, 0o700)


def make_file(folder: Path, names: Sequence[str]) -> None:
    """Make the first of these files, empty, unless it is there; each is private to its user, and no link.

    SQLite gives the files beside its database the permissions of that.

    Raises:
        OSError: it cannot be made; one of them is a link, no regular file, or somebody else's.
    """
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(folder / names[0], flags, 0o600))
    except FileExistsError:
        pass
    for name in names:
        try:
            status = os.stat(folder / name, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise OSError(errno.ELOOP, f"{name} is a link, or no regular file")
        if status.st_uid != os.geteuid():
            raise OSError(errno.EPERM, f"{name} belongs to another user")
        if status.st_mode & 0o077:
            os.chmod(folder / name, 0o600)


def reserve(path: Path, size: int) -> None:
    """Keep room on the disk, to be given back by removing the file; without room there is none.

    Raises:
        OSError: the file cannot be made for another reason.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        # Written, since what is only allocated is not there on every file system.
        for _ in range(0, size, _ZEROS):
            os.write(descriptor, bytes(_ZEROS))
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno not in FULL:
            raise
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: the disk says no.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush(descriptor: int) -> None:
    """Wait for the disk itself: on macOS `fsync` does not.

    Raises:
        OSError: the disk says no; what was written may be lost.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        fcntl.fcntl(descriptor, full)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def is_still(path: Path, known: os.stat_result) -> bool:
    """Tell whether a name still means the file that was known by it.

    Raises:
        OSError: its folder cannot be searched.
    """
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (known.st_dev, known.st_ino)
