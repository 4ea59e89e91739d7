"""Where old models lie: a folder, or a bucket. They are listed and copied from, and never changed."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from vault.core import limits
from vault.errors import Malformed, NotFound, Unavailable
from vault.storage.foreign import Bucket

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_PIECE: Final = 8 * limits.MIB


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as it is told apart from what may replace it: bytes, seconds since 1970 if known, a mark."""

    size: int
    modified: int | None
    mark: str


@dataclass(frozen=True, slots=True)
class Aside:
    """Something that is not looked at, and why."""

    path: str
    reason: str


class Place(Protocol):
    """A source of files; paths are relative to it, with `/` between their parts."""

    @property
    def location(self) -> str:
        """The place, absolute; it names no secret."""

    def files(self, prefix: str) -> Iterator[str | Aside]:
        """List the files whose paths begin with `prefix`, and what cannot be looked at.

        Raises:
            NotFound, Unavailable: the place itself cannot be listed.
        """

    def stamp(self, path: str) -> Stamp:
        """Tell what is known of a file without reading it.

        Raises:
            NotFound, Unavailable.
        """

    def copy(self, path: str, target: int, *, most: int) -> tuple[Stamp, str]:
        """Copy a file of at most `most` bytes into an open file; give its stamp and SHA-256.

        Raises:
            Malformed: it is larger (`too-large`).
            NotFound, Unavailable: it is not there, cannot be read, or changed meanwhile.
        """


class FolderPlace:
    """A folder of this machine. Links in it are not followed, not even those put there meanwhile."""

    def __init__(self, folder: Path) -> None:
        """Look below a folder; the path to it may lead through links.

        Raises:
            NotFound: there is no such folder.
            Unavailable: it cannot be opened.
        """
        self._top = Path(os.path.abspath(folder))
        with self._opened(()):
            pass

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return os.fsencode(self._top).decode("utf-8", "backslashreplace")

    def files(self, prefix: str) -> Iterator[str | Aside]:
        """List files folder by folder, in the order of their names."""
        seen = 0
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                with self._opened(parts) as opened, os.scandir(opened) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
                    found = [(entry.name, _kind(entry)) for entry in entries]
            except (Unavailable, NotFound) as error:
                yield Aside("/".join(parts), error.message)
                continue
            folders = []
            for name, kind in found:
                path = "/".join((*parts, name))
                if kind == "":
                    if f"{path}/".startswith(prefix) or prefix.startswith(f"{path}/"):
                        folders.append((*parts, name))
                    continue
                seen += 1
                if seen > limits.ADOPT_ENTRIES:
                    yield Aside(_shown(path), f"From here on nothing was looked at: {_MANY}")
                    return
                if path.startswith(prefix):
                    yield _listed(path, kind)
            if folders and len(parts) >= limits.INSPECT_FOLDERS:
                shown = _shown("/".join(folders[0]))
                yield Aside(shown, f"It lies more than {limits.INSPECT_FOLDERS} folders deep.")
            else:
                waiting.extend(reversed(folders))

    def stamp(self, path: str) -> Stamp:
        """Tell size and time of a regular file."""
        with self._file(path) as opened:
            return _stamp(os.fstat(opened))

    def copy(self, path: str, target: int, *, most: int) -> tuple[Stamp, str]:
        """Copy a regular file, as it is at one moment."""
        with self._file(path) as opened:
            before = os.fstat(opened)
            _check_size(path, before.st_size, most)
            digest = hashlib.sha256()
            done = 0
            try:
                while done <= before.st_size and (piece := os.pread(opened, _PIECE, done)):
                    digest.update(piece)
                    _write(target, piece)
                    done += len(piece)
            except OSError as error:
                raise _unreadable(path, error) from None
            after = os.fstat(opened)
        same = _stamp(before) == _stamp(after) and done == before.st_size
        if not same:
            raise _changed(path)
        return _stamp(before), digest.hexdigest()

    @contextmanager
    def _opened(self, parts: tuple[str, ...]) -> Iterator[int]:
        """Open a folder part by part, so that no part of the way is a link."""
        path = "/".join(parts) or str(self._top)
        try:
            opened = os.open(self._top, _FOLDER & ~os.O_NOFOLLOW)
            for part in parts:
                outer = opened
                try:
                    opened = os.open(part, _FOLDER, dir_fd=outer)
                finally:
                    os.close(outer)
        except FileNotFoundError:
            raise NotFound(f"There is no {_shown(path)}.", subject=_shown(path)) from None
        except NotADirectoryError:
            raise NotFound(
                f"{_shown(path)} is no folder.",
                subject=_shown(path),
                hint="For one file: mvault push, after mvault convert if it is a pickle.",
            ) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        try:
            yield opened
        finally:
            os.close(opened)

    @contextmanager
    def _file(self, path: str) -> Iterator[int]:
        *parts, name = path.split("/")
        with self._opened(tuple(parts)) as folder:
            try:
                opened = os.open(name, _FILE, dir_fd=folder)
            except FileNotFoundError:
                raise NotFound(f"There is no {_shown(path)}.", subject=_shown(path)) from None
            except OSError as error:
                raise _unreadable(path, error) from None
            try:
                if not stat.S_ISREG(os.fstat(opened).st_mode):
                    raise _changed(path)
                yield opened
            finally:
                os.close(opened)


_MANY: Final = f"there are more than {limits.ADOPT_ENTRIES:,} files."


class BucketPlace:
    """The objects below a prefix of a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        """Read a bucket; nothing is asked of it yet."""
        self._bucket = bucket

    @property
    def location(self) -> str:
        """The bucket's URL."""
        return self._bucket.location

    def files(self, prefix: str) -> Iterator[str | Aside]:
        """List the keys; what no path can be is set aside."""
        for seen, key in enumerate(self._bucket.keys(prefix)):
            if seen >= limits.ADOPT_ENTRIES:
                yield Aside(_shown(key), f"From here on nothing was looked at: {_MANY}")
                return
            yield _listed(key, "file")

    def stamp(self, path: str) -> Stamp:
        """Ask for an object's facts."""
        found = self._bucket.look(path)
        return Stamp(found.size, found.modified, found.mark)

    def copy(self, path: str, target: int, *, most: int) -> tuple[Stamp, str]:
        """Read an object by ranges; one that was replaced meanwhile is not read to its end."""
        before = self.stamp(path)
        _check_size(path, before.size, most)
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(min(_PIECE, before.size)))
        with self._bucket.open(path) as source:
            if source.size != before.size:
                raise _changed(path)
            done = 0
            while done < before.size:
                count = source.read_into(done, buffer)
                digest.update(buffer[:count])
                _write(target, buffer[:count])
                done += count
                if count == 0:
                    raise _changed(path)
        return before, digest.hexdigest()


def _kind(entry: "os.DirEntry[str]") -> str:
    """Tell what an entry of a folder is; a folder is the empty text."""
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return ""
    return "file" if entry.is_file(follow_symlinks=False) else "special"


def _listed(path: str, kind: str) -> str | Aside:
    if kind == "link":
        return Aside(_shown(path), "It is a symbolic link, which is not followed.")
    if kind == "special":
        return Aside(_shown(path), "It is a pipe, a socket or a device, which is not opened.")
    if _shown(path) != path:
        return Aside(_shown(path), "Its name is no text that can be printed.")
    return path


def _shown(path: str) -> str:
    """Write a path so that it can be printed: what is no printable text is escaped."""
    if path.isprintable():
        return path
    return path.encode("unicode_escape", "surrogatepass").decode("ascii")


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, int(status.st_mtime), str(status.st_mtime_ns))


def _write(target: int, piece: bytes | memoryview) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(target, rest) :]


def _check_size(path: str, size: int, most: int) -> None:
    if size > most:
        raise Malformed(
            f"{path} has {size:,} bytes; at most {most:,} are taken over.", code="too-large", subject=path
        )


def _changed(path: str) -> Unavailable:
    return Unavailable(
        f"{path} changed while it was read.", subject=path, hint="Run it again when nobody writes there."
    )


def _unreadable(path: str, error: OSError) -> Unavailable:
    shown = _shown(path)
    return Unavailable(f"{shown} cannot be read: {error.strerror}.", subject=shown)
