"""Keep objects as files in a folder: a disk, or anything mounted like one.

An object is written to a file without a name, synced, and linked in place if
its name is free; then the folder is synced. So an object is there whole or not
at all, whatever is killed or loses power, and of several writers one wins.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from vault.errors import Unavailable
from vault.ports import Stat
from vault.storage import answers, naming
from vault.storage.local_draft import Draft, new_draft, open_hidden
from vault.storage.local_folders import (
    descend,
    list_entries,
    make_root,
    open_at_once,
    open_root,
    step,
    unavailable,
)
from vault.storage.local_reading import LocalSource, open_file, read_exactly, regular_size

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

    @property
    def location(self) -> str:
        """The folder's absolute path."""
        return self._location

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

    def _parts(self, name: str) -> tuple[str, ...]:
        """Split a name into path parts, after checking it."""
        return naming.check_name(name)

    def _begin(self, name: str, parts: tuple[str, ...], size: int | None) -> Draft:
        """Open a draft in the deepest folder on the way that exists: a killed writer leaves no folders."""

        def attempt() -> Draft:
            folder, missing = self._deepest(name, parts[:-1])
            try:
                if not missing and _is_taken(folder, parts[-1]):
                    raise answers.conflict(name)
                return new_draft(self._root, folder, name, size=size)
            finally:
                os.close(folder)

        return _with_retries(attempt, name)

    def _deepest(self, name: str, parts: tuple[str, ...]) -> tuple[int, int]:
        """Open the deepest folder of `parts` that exists; say how many below it are missing."""
        found = open_at_once(self._root, parts)
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
                os.close(folder)
                raise
            os.close(folder)
            folder = below
        return folder, 0

    def _commit(self, draft: Draft, name: str, parts: tuple[str, ...]) -> None:
        def attempt() -> None:
            folder = self._make_folders(name, parts[:-1])
            try:
                draft.link(folder, parts[-1])
                os.fsync(folder)
            except FileExistsError as error:
                raise answers.conflict(name) from error
            finally:
                os.close(folder)

        _with_retries(attempt, name)

    def _make_folders(self, name: str, parts: tuple[str, ...]) -> int:
        """Open the folder `parts`, making what is missing; every folder on the way is durable then."""
        if "/".join(parts) in self._durable:  # and so are those above, which came before it
            found = open_at_once(self._root, parts)
            if found is not None:
                return found
        folder = open_root(self._root)
        for depth, part in enumerate(parts, start=1):
            try:
                below = self._enter(folder, part, name, "/".join(parts[:depth]))
            finally:
                os.close(folder)
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
            os.close(below)
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
        descriptor, size = open_file(self._root, name)
        source = LocalSource(descriptor, size, name)
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
        descriptor, size = open_file(self._root, name)
        try:
            try:
                if size > limit:
                    raise answers.too_large(name, size, limit)
                return read_exactly(descriptor, size, name)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unavailable(error, "read", name) from error

    def stat(self, name: str) -> Stat:
        """Return the size of `name`.

        Raises:
            NotFound: there is no such name.
            Unavailable: the file system failed, or what lies there is not a regular file.
        """
        *folders, leaf = naming.check_name(name)
        try:
            folder = descend(self._root, folders, name=name)
            try:
                found = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise answers.not_found(name) from error
        except OSError as error:
            raise unavailable(error, "look at", name) from error
        return Stat(size=regular_size(found, name))

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
        ahead = [base + key for key in reversed(list_entries(self._root, folders)) if key.startswith(start)]
        while ahead:
            name = ahead.pop()
            if not name.endswith("/"):
                if name > after and naming.is_name(name):
                    yield name
            elif (name > after or after.startswith(name)) and naming.is_name(name[:-1]):
                ahead += [name + key for key in reversed(list_entries(self._root, name[:-1].split("/")))]

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the next path part of the names under `prefix`, folders with a `/` at the end.

        One look into one folder: a folder is named although it may hold no object, as after a crash
        between two of a writer's steps.

        Raises:
            Unavailable: the folder cannot be read, or holds more than `limits.LISTED_NAMES` entries.
        """
        folders = naming.check_folder(prefix)
        return (
            key for key in list_entries(self._root, folders) if naming.is_name(prefix + key.removesuffix("/"))
        )

    def delete(self, name: str) -> None:
        """Remove `name`, and the folders that are empty then; a name that is not there is not an error.

        Raises:
            Unavailable: the file system failed or refused.
        """
        *folders, leaf = self._parts(name)
        try:
            folder = descend(self._root, folders, name=name, readable=True)
            try:
                with suppress(FileNotFoundError, IsADirectoryError):
                    os.unlink(leaf, dir_fd=folder)
                os.fsync(folder)
            finally:
                os.close(folder)
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
                    os.close(above)
                self._durable.discard("/".join(folders[:depth]))

    def sweep_leftovers(self, older_than_seconds: int, now: int) -> int:
        """Remove drafts last written to more than `older_than_seconds` before `now`; return how many.

        There are some only where the file system has no unnamed files and a writer was killed.

        Raises:
            Unavailable: the file system failed or refused.
        """
        removed = 0
        try:
            folder = open_hidden(self._root, make=False)
            try:
                for leaf in os.listdir(folder):
                    with suppress(FileNotFoundError, IsADirectoryError):
                        found = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
                        if found.st_mtime < now - older_than_seconds:
                            os.unlink(leaf, dir_fd=folder)
                            removed += 1
            finally:
                os.close(folder)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise unavailable(error, "sweep", naming.RESERVED) from error
        return removed


def _with_retries(attempt: Callable[[], _T], name: str) -> _T:
    """Run `attempt` again while a folder that it had found is gone: another process removed it as empty."""
    for _ in range(_ATTEMPTS):
        try:
            return attempt()
        except FileNotFoundError as error:
            gone = error
        except OSError as error:
            raise unavailable(error, "create", name) from error
    raise unavailable(gone, "create", name) from gone


def _is_taken(folder: int, leaf: str) -> bool:
    try:
        os.stat(leaf, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
