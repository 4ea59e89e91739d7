"""Keep objects as files in a folder: a disk, or anything mounted like one.

An object is written to a file without a name, synced, and linked in place if
its name is free; then the folder is synced. So an object is there whole or not
at all, whatever is killed or loses power, and of several writers one wins.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from vault.errors import Unavailable
from vault.ports import Stat
from vault.storage import answers, local_bulk, naming
from vault.storage.local_draft import Draft, new_draft, sweep
from vault.storage.local_folders import (
    close,
    descend,
    is_stale,
    list_entries,
    look,
    make_root,
    open_at_once,
    open_root,
    sized_entries,
    step,
    unavailable,
)
from vault.storage.local_mount import Mount, mount_of
from vault.storage.local_reading import LocalSource, open_file, read_exactly, regular_size, stat_file

_KNOWN_FOLDERS: Final = 10_000
_ATTEMPTS: Final = 100  # a folder may be removed, because it is empty, between finding it and linking into it

_T = TypeVar("_T")


class LocalStore:
    """A store in one folder; several threads and processes may use it at once.

    Symbolic links in the path of the root itself are followed once, when the store is opened;
    below the root none ever is. Names and what else lies in the folder are told apart: only
    regular files with a valid name are objects.
    """

    def __init__(self, root: Path | str) -> None:
        """Use the folder `root`, which the first `create` makes if need be."""
        self._location = os.path.abspath(root)
        self._root = os.path.realpath(self._location)
        self._durable: set[str] = set()
        self._mount: Mount | None = None

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return self._location

    @property
    def mount(self) -> Mount:
        """What the folder is mounted from."""
        if self._mount is None:
            self._mount = mount_of(self._root)
        return self._mount

    def free_space(self) -> int | None:
        """Give how many bytes may still be written here, or None where the file system does not say.

        Raises:
            Unavailable: the file system failed.
        """
        try:
            found = os.statvfs(self._root)
        except OSError as error:
            raise unavailable(error, "look at", "") from error
        return found.f_bavail * found.f_frsize if found.f_blocks else None

    def _cached(self) -> bool:
        return self.mount.cached

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Draft]:
        """Create `name` when the block ends without an exception, atomically and durably.

        Raises:
            Conflict: something has that name; at entry or at commit, and nothing was changed.
            Unavailable: the file system failed, is full (`storage-full`) or refused (`storage-denied`),
                or a file lies where the name needs a folder. Nothing is visible, with one exception:
                if the very last sync of the folder fails, the object may be.
        """
        parts = self._parts(name)
        draft = self._begin(name, parts, size)
        try:
            yield draft
            draft.seal()
            self._commit(draft, name, parts)
        finally:
            draft.close()

    def create_all(self, objects: Mapping[str, bytes]) -> list[str]:
        """Create small objects, name → bytes, with few syncs for all; return the names still to be created.

        Each becomes visible whole, and is durable on return. Left are names that are taken, and all of
        them where the file system can do no better than `create`.

        Raises:
            Unavailable: as `create`; some of the objects may be there.
        """
        return local_bulk.create_all(self._root, objects, self._parts)

    def create_stream(self, batches: Iterable[Mapping[str, bytes]]) -> Iterator[Sequence[str]]:
        """Do as `create_all` with batch after batch, each while the next is made (`local_stream`)."""
        from vault.storage import local_stream

        return local_stream.create_stream(self._root, batches, self.create_all)

    def reading_ahead(self, prefix: str, inner: str) -> AbstractContextManager[None]:
        """Have small files below `prefix`, if many, read by a process while the block runs (`local_warm`)."""
        from vault.storage import local_warm

        return local_warm.reading_ahead(self._root, naming.check_folder(prefix), inner, self._entries)

    def _parts(self, name: str) -> tuple[str, ...]:
        """Split a name into path parts, after checking it."""
        return naming.check_name(name)

    def _begin(self, name: str, parts: tuple[str, ...], size: int | None) -> Draft:
        """Open a draft in the deepest folder on the way that exists: a killed writer leaves no folders."""

        def attempt(anew: bool) -> Draft:
            folder, missing = self._deepest(name, parts[:-1], anew=anew)
            try:
                if not missing and _is_taken(folder, parts[-1]):
                    raise answers.conflict(name)
                return new_draft(self._root, folder, name, size=size)
            finally:
                close(folder)

        return _with_retries(attempt, name)

    def _deepest(self, name: str, parts: tuple[str, ...], *, anew: bool) -> tuple[int, int]:
        """Open the deepest folder of `parts` that exists; say how many below it are missing."""
        found = None if anew else open_at_once(self._root, parts)
        if found is not None:
            return found, 0
        try:
            folder = open_root(self._root)
        except FileNotFoundError:
            make_root(self._root)
            folder = open_root(self._root)
        for depth, part in enumerate(parts):
            try:
                below = step(folder, part, name=name)
            except FileNotFoundError:
                return folder, len(parts) - depth
            except BaseException:
                close(folder)
                raise
            close(folder)
            folder = below
        return folder, 0

    def _commit(self, draft: Draft, name: str, parts: tuple[str, ...]) -> None:
        def attempt(anew: bool) -> None:
            folder = self._make_folders(name, parts[:-1], anew=anew)
            try:
                draft.link(folder, parts[-1])
                os.fsync(folder)
            except FileExistsError as error:
                raise answers.conflict(name) from error
            finally:
                close(folder)

        _with_retries(attempt, name)

    def _make_folders(self, name: str, parts: tuple[str, ...], *, anew: bool) -> int:
        """Open the folder `parts`, making what is missing; every folder on the way is durable then."""
        if not anew and "/".join(parts) in self._durable:  # and so are those above, which came before it
            found = open_at_once(self._root, parts)
            if found is not None:
                return found
        folder = open_root(self._root)
        for depth, part in enumerate(parts, start=1):
            try:
                below = self._enter(folder, part, name, "/".join(parts[:depth]))
            finally:
                close(folder)
            folder = below
        return folder

    def _enter(self, folder: int, part: str, name: str, path: str) -> int:
        """Open or make one folder, and see that its own name is on disk.

        Another writer may have made it and not yet synced it, so that is done once for every folder
        that this store meets, not only for those it makes.
        """
        made = False
        try:
            below = step(folder, part, name=name)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=folder)
            made = True
            below = step(folder, part, name=name)
        try:
            if made or path not in self._durable:
                os.fsync(folder)
        except BaseException:
            close(below)
            raise
        if len(self._durable) >= _KNOWN_FOLDERS:
            self._durable.clear()
        self._durable.add(path)
        return below

    @contextmanager
    def open(self, name: str) -> Iterator[LocalSource]:
        """Open `name` for reading.

        Raises:
            NotFound: there is no such name.
            Unavailable: the file system failed, or what lies there is not a regular file.
        """
        descriptor, size = self._open(name)
        source = LocalSource(descriptor, size, name, reopen=lambda: self._open(name))
        try:
            yield source
        finally:
            source.close()

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, at most `limit`.

        Raises:
            NotFound: there is no such name.
            Malformed: it is larger than `limit` (`too-large`); nothing was read.
            Unavailable: the file system failed, what lies there is not a regular file, or it was
                changed while it was read.
        """
        if limit < 0:
            raise ValueError("a limit is not negative")
        try:
            try:
                return self._read(name, limit)
            except OSError as error:
                if not is_stale(error):
                    raise
            return self._read(name, limit)
        except OSError as error:
            raise unavailable(error, "read", name) from error

    def _read(self, name: str, limit: int) -> bytes:
        descriptor, size = self._open(name)
        try:
            if size > limit:
                raise answers.too_large(name, size, limit)
            return read_exactly(descriptor, size, name)
        finally:
            close(descriptor)

    def _open(self, name: str) -> tuple[int, int]:
        return open_file(self._root, name, cached=self._cached)

    def stat(self, name: str) -> Stat:
        """Return the size of `name`.

        Raises:
            NotFound: there is no such name.
            Unavailable: the file system failed, or what lies there is not a regular file.
        """
        return Stat(size=regular_size(stat_file(self._root, name, cached=self._cached), name))

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`, in code-point order.

        Reads one folder at a time, and none whose names all sort before `after`. Only regular files
        with a valid name are objects; what else lies there is passed over.

        Raises:
            Unavailable: a folder cannot be read, or holds more than `limits.LISTED_NAMES` entries.
        """
        folders, start = naming.check_prefix(prefix)
        return self._walk(folders, start, after)

    def _walk(self, folders: tuple[str, ...], start: str, after: str) -> Iterator[str]:
        base = "".join(folder + "/" for folder in folders)
        ahead = [base + key for key in reversed(self._entries(folders)) if key.startswith(start)]
        while ahead:
            name = ahead.pop()
            if not name.endswith("/"):
                if name > after and naming.is_name(name):
                    yield name
            elif (name > after or after.startswith(name)) and naming.is_name(name[:-1]):
                ahead += [name + key for key in reversed(self._entries(name[:-1].split("/")))]

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the names that start with `prefix`, in code-point order, each with its size in bytes.

        Raises:
            Unavailable: as `list`.
        """
        folders, start = naming.check_prefix(prefix)
        base = "".join(folder + "/" for folder in folders)
        ahead = [(base + key, size) for key, size in reversed(self._sized(folders)) if key.startswith(start)]
        while ahead:
            name, size = ahead.pop()
            if not name.endswith("/"):
                if naming.is_name(name):
                    yield name, size
            elif naming.is_name(name[:-1]):
                ahead += [(name + key, more) for key, more in reversed(self._sized(name[:-1].split("/")))]

    def _sized(self, folders: Sequence[str]) -> Sequence[tuple[str, int]]:
        return sized_entries(self._root, folders, cached=self._cached)

    def _entries(self, folders: Sequence[str]) -> Sequence[str]:
        return list_entries(self._root, folders, cached=self._cached)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the next path part of the names under `prefix`, folders with a `/` at the end.

        One look into one folder: a folder is named although it may hold no object, as after a crash
        between two of a writer's steps.

        Raises:
            Unavailable: the folder cannot be read, or holds more than `limits.LISTED_NAMES` entries.
        """
        folders = naming.check_folder(prefix)
        return (key for key in self._entries(folders) if naming.is_name(prefix + key.removesuffix("/")))

    def delete(self, name: str) -> None:
        """Remove `name`, and the folders that are empty then; a name that is not there is not an error.

        Raises:
            Unavailable: the file system failed or refused.
        """
        *folders, leaf = self._parts(name)

        def act(anew: bool) -> None:
            folder = descend(self._root, folders, name=name, readable=True, anew=anew)
            try:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(leaf, dir_fd=folder)
                os.fsync(folder)
            finally:
                close(folder)

        try:
            look(act, cached=self._cached)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unavailable(error, "delete", name) from error
        self._remove_empty(folders)

    def _remove_empty(self, folders: Sequence[str]) -> None:
        """Remove `folders` from the deepest up while they are empty; a writer makes a lost one again."""
        with suppress(OSError, Unavailable):
            for depth in range(len(folders), 0, -1):
                above = descend(self._root, folders[: depth - 1], name="/".join(folders))
                try:
                    os.rmdir(folders[depth - 1], dir_fd=above)
                finally:
                    close(above)
                self._durable.discard("/".join(folders[:depth]))

    def sweep_leftovers(self, older_than_seconds: int, now: int) -> int:
        """Remove drafts last written to more than `older_than_seconds` before `now`; return how many.

        There are some only where the file system has no unnamed files and a writer was killed.

        Raises:
            Unavailable: the file system failed or refused.
        """
        return sweep(self._root, older_than_seconds, now)


def _with_retries(attempt: Callable[[bool], _T], name: str) -> _T:
    """Run `attempt` again while a folder that it had found is gone: another process removed it as empty.

    All but the first are to open every folder anew.
    """
    for number in range(_ATTEMPTS):
        try:
            return attempt(number > 0)
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and not is_stale(error):
                raise unavailable(error, "create", name) from error
            gone = error
    raise unavailable(gone, "create", name) from gone


def _is_taken(folder: int, leaf: str) -> bool:
    try:
        os.stat(leaf, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
