"""Look through a folder: every file in it, by its path, and what tells whether it is still the same.

No symbolic link is followed: the walk goes from open folder to open folder. Only the specification's own
profile may be told to follow a link to a file, never one to a folder.
"""

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import Any, Final

from vault.core import limits, names
from vault.errors import DigestMismatch, Malformed, Refused, Unavailable

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells whether a file is the same and unchanged; sizes in bytes, times in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def stamp_of(found: os.stat_result) -> Stamp:
    """Take the stamp of a file."""
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class Looking:
    """How to look at a folder: what to leave out, by path, and whether to follow links to files.

    `bundle` is the path of the signature in the folder and that file's device and inode.
    """

    left_out: frozenset[str] = frozenset()
    bundle: tuple[str, int, int] | None = None
    links: bool = False
    strict: bool = True


def walk(
    root: int, looking: Looking, shown: str
) -> tuple[dict[str, Stamp | None], tuple[str, ...], tuple[str, ...]]:
    """Give every file below an open folder, what was left out, and the links that lead out of it."""
    walk = _Walk(looking, shown, os.path.realpath(shown) if looking.links else "")
    walk.folder(root, "", 0)
    return walk.files, tuple(sorted(walk.left_out)), tuple(sorted(walk.outside))


@dataclass(slots=True)
class _Walk:
    looking: Looking
    shown: str
    real: str
    files: dict[str, Stamp | None] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    folders: int = 0

    def folder(self, descriptor: int, prefix: str, depth: int) -> None:
        self.folders += 1
        if depth > limits.OMS_FOLDERS or self.folders > limits.OMS_RESOURCES:
            raise odd(f"{self.shown}/{prefix}", "has more folders than are signed")
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    self._entry(descriptor, prefix + entry.name, entry, depth)
        except OSError as error:
            raise unreadable(f"{self.shown}/{prefix}", error) from None

    def _entry(self, folder: int, path: str, entry: "os.DirEntry[Any]", depth: int) -> None:
        if path in self.looking.left_out:
            self.left_out.append(path)
            return
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._below(folder, path, entry.name, depth)
            return
        if self.looking.bundle == (path, found.st_dev, found.st_ino):
            return
        _check_name(path, self.shown, strict=self.looking.strict)
        if stat.S_ISLNK(found.st_mode) and self.looking.links:
            found = self._follow(entry, path)
        if not stat.S_ISREG(found.st_mode):
            raise odd(f"{self.shown}/{path}", "is a link, a device or a pipe")
        if len(self.files) >= limits.OMS_RESOURCES:
            raise odd(self.shown, f"has more than {limits.OMS_RESOURCES:,} files")
        self.files[path] = stamp_of(found)

    def _below(self, folder: int, path: str, name: str, depth: int) -> None:
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError):
            raise changed(f"{self.shown}/{path}") from None
        try:
            self.folder(descriptor, f"{path}/", depth + 1)
        finally:
            os.close(descriptor)

    def _follow(self, entry: "os.DirEntry[Any]", path: str) -> os.stat_result:
        """Look behind a link, which the specification's own profile may be told to follow to a file."""
        try:
            found = entry.stat()
        except OSError:
            raise odd(f"{self.shown}/{path}", "is a link that leads nowhere") from None
        target = os.path.realpath(f"{self.real}/{path}")
        if not target.startswith(f"{self.real}/"):
            self.outside.append(path)
        return found


def _check_name(path: str, shown: str, *, strict: bool) -> None:
    try:
        path.encode("utf-8")
        if strict:
            names.path(path)
    except UnicodeEncodeError:
        raise odd(f"{shown}/{path!a}", "has a name that is not UTF-8", code="malformed-name") from None
    except Refused as refusal:
        raise Malformed(
            f"{shown} holds a file that not every system can name: {refusal.message}",
            code="malformed-name",
            subject=refusal.subject,
            hint="Rename it before the model is signed.",
        ) from None


def odd(shown: str, what: str, *, code: str = "malformed-document") -> Malformed:
    """Build the refusal of something that no signed model may hold."""
    return Malformed(
        f"{shown} {what}, and is neither signed nor verified.",
        code=code,
        subject=shown.encode("unicode_escape").decode(),
        hint="A signed model is regular files in folders.",
    )


def changed(shown: str) -> DigestMismatch:
    """Build the refusal of a file or folder that was changed while it was looked at."""
    return DigestMismatch(
        f"{shown} changed while it was being read.",
        subject=shown.encode("unicode_escape").decode(),
        hint="See who writes there; then try again.",
    )


def unreadable(shown: str, error: OSError) -> Unavailable:
    """Say that the file system failed."""
    code = "storage-denied" if error.errno in {errno.EACCES, errno.EPERM} else "unavailable"
    return Unavailable(
        f"{shown} cannot be read: {error.strerror}.",
        code=code,
        subject=shown.encode("unicode_escape").decode(),
    )
