"""Keep what this client remembers: its memory of each vault, and the locations that it trusts.

Both files are changed under a lock on a side file: read again, merge, write
aside, fsync, rename, fsync the folder. A kill leaves the old file or the new.
A file that was put back to an older state as a whole cannot be told from a
client that has seen less.
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vault.core import limits, memory_format, names
from vault.core.memory_format import Memory, Pin
from vault.errors import Conflict, Unavailable

_LOCK_SECONDS: Final = 30.0
_LOCK_PAUSE: Final = 0.005
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_Stamp = tuple[
    int, int, int, int
]  # device, inode, modification time, size: what tells one file from the next


class ClientMemory:
    """This client's memory of one vault; safe to share between threads.

    Without a state folder, or with one that cannot be written, the checks are
    the same and what is learned lasts as long as this object.
    """

    def __init__(self, vault: str, state_dir: Path | None, *, floor: Memory | None = None) -> None:
        """Remember the vault with the id `vault` below `state_dir`, and nothing older than `floor`.

        `floor` is what a trust file brings along. Nothing is read yet.

        Raises:
            Malformed: `malformed-name`: `vault` is not a digest.
            ValueError: `floor` is of another vault.
        """
        if floor is not None and floor.vault != vault:
            raise ValueError("The floor is of another vault")
        self._vault = names.digest(vault)
        self._file = None if state_dir is None else _LockedFile(state_dir / "memory" / f"{vault}.json")
        self._stamp: _Stamp | None = None
        self._stored = Memory(vault)  # what the file holds
        self._known = floor or self._stored  # that, the floor, and what this process has seen
        self._lock = threading.Lock()
        self._durable = self._file is not None

    @property
    def durable(self) -> bool:
        """Whether the last attempt to write was not refused by a read-only file system or its permissions."""
        return self._durable

    def load(self) -> Memory:
        """Return all that is known.

        An operation takes this *before* it reads the store, and compares with it
        what it finds (`memory_format.check`): another process may go ahead
        meanwhile, which is no rollback. Costs one `stat` if nothing is new.

        Raises:
            Refused: `memory-damaged`.
            Rollback: the file and this process saw different content under one number.
            Unavailable: the file cannot be read now.
        """
        with self._lock:
            self._refresh()
            return self._known

    def advance(self, seen: Memory) -> None:
        """Remember what was seen in force, durably before this returns; the later of each number stays.

        Nothing is written if nothing is new.

        Raises:
            Rollback: something was seen with other content under the same number.
            Refused: `memory-damaged`.
            Unavailable: the file cannot be locked or written for another reason than that it may not be.
        """
        with self._lock:
            self._refresh()
            self._known = memory_format.merge(self._known, seen)
            if self._file is not None and self._known is not self._stored and self._durable:
                self._store(self._file)

    def _refresh(self) -> None:
        """Take in what other processes wrote."""
        if self._file is not None and self._file.stamp() != self._stamp:
            self._take(self._file)

    def _take(self, file: "_LockedFile") -> None:
        data, stamp = file.read(limits.MEMORY_BYTES)
        stored = Memory(self._vault)
        if data is not None:
            stored = memory_format.parse(data, self._vault, str(file.path))
            self._known = memory_format.merge(stored, self._known)
        self._stored, self._stamp = stored, stamp  # only now: what is refused once is refused again

    def _store(self, file: "_LockedFile") -> None:
        try:
            with file.locked():
                if file.stamp() != self._stamp:
                    self._take(file)
                if self._known is not self._stored:
                    self._stamp = file.replace(memory_format.encode(self._known))
                    self._stored = self._known
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise _unwritable(file.path, error) from None
            self._durable = False


class Pins:
    """The locations that this user trusts, each with the digest of its root, version 1."""

    def __init__(self, config_dir: Path | None) -> None:
        """Keep them below `config_dir`; without one there are none."""
        self._file = None if config_dir is None else _LockedFile(config_dir / "trusted.json")

    def all(self) -> Mapping[str, Pin]:
        """Return every trusted location and its pin.

        Raises:
            Refused: `memory-damaged`.
            Unavailable: the file cannot be read now.
        """
        data = None if self._file is None else self._file.read(limits.PINS_BYTES)[0]
        return {} if data is None or self._file is None else _parse_pins(data, self._file)

    def get(self, location: str) -> Pin | None:
        """Return the pin of a location (as `Store.location` spells it), or None.

        Raises:
            Refused: `memory-damaged`.
            Unavailable: the file cannot be read now.
        """
        return self.all().get(location)

    def check_free(self, location: str) -> None:
        """Refuse a location for a new vault where another is trusted, although it is not there.

        Raises:
            Conflict: there is a pin for it.
            Refused: `memory-damaged`.
            Unavailable: the file cannot be read now.
        """
        found = self.get(location)
        if found is not None and self._file is not None:
            raise Conflict(
                f"{location} is trusted on this machine as the vault sha256:{found.root}, since "
                f"{found.added}, and that vault is not there.",
                subject=location,
                hint=f"Restore it from a backup. Only if it may be gone, take it out of {self._file.path}.",
            )

    def add(self, location: str, root: str, *, now: int, replace: bool = False) -> Pin:
        """Trust `location` with the root digest `root` from now (seconds) on; doing it twice is no error.

        With `replace` it takes the place of another root. What was seen under that
        one stays in the state folder, under its own id.

        Raises:
            Conflict: another root is trusted there.
            Refused: `memory-damaged`.
            Unavailable: there is no configuration folder, or it cannot be written.
            ValueError: the location is empty or too long.
        """
        if not 0 < len(location) <= limits.LOCATION_CHARS:
            raise ValueError(f"A location has 1 to {limits.LOCATION_CHARS:,} characters")
        wanted = Pin(names.digest(root), names.time_text(now))
        if self._file is None:
            raise _no_place("There is no home folder to remember it in")
        try:
            with self._file.locked():
                data, _ = self._file.read(limits.PINS_BYTES)
                pins = {} if data is None else _parse_pins(data, self._file)
                found = pins.get(location)
                if found is not None and found.root != wanted.root and not replace:
                    raise _other_root(location, found, self._file.path)
                if found is not None and found.root == wanted.root:
                    return found
                if found is None and len(pins) >= limits.PINS:
                    raise _no_place(f"{self._file.path} has {limits.PINS:,} entries already")
                self._file.replace(memory_format.encode_pins({**pins, location: wanted}))
        except OSError as error:
            raise _unwritable(self._file.path, error) from None
        return wanted


class _LockedFile:
    """One small file that several processes replace, one after another."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stamp(self) -> _Stamp | None:
        """Return what changes whenever the file is replaced; None if there is none.

        A folder that this user may not look into counts as none: a container
        often gives a HOME that is somebody else's.
        """
        try:
            return _stamp(os.stat(self.path))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except OSError as error:
            raise _unreadable(self.path, error) from None

    def read(self, limit: int) -> tuple[bytes | None, _Stamp | None]:
        """Return the bytes and their stamp; None and None if there is no file, or it is out of reach."""
        if self.stamp() is None:
            return None, None
        try:
            # O_NONBLOCK: a pipe put where the file belongs must not hang the reader.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            raise memory_format.damaged(str(self.path), f"{error.strerror}.") from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise memory_format.damaged(str(self.path), "It is not a regular file.")
            if status.st_size > limit:
                raise memory_format.damaged(str(self.path), f"It is larger than {limit:,} bytes.")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(status.st_size + 1), _stamp(status)
        except OSError as error:
            raise _unreadable(self.path, error) from None
        finally:
            os.close(descriptor)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock beside the file; the folder is made if need be."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path.with_suffix(".lock"), flags, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{self.path} has been locked by another process for {_LOCK_SECONDS:g} seconds.",
                        subject=str(self.path),
                        hint="Try again; if it stays so, look for a process that hangs.",
                    )
                time.sleep(_LOCK_PAUSE)
            yield
        finally:
            os.close(descriptor)

    def replace(self, data: bytes) -> _Stamp:
        """Put new content in place, durably. The caller holds the lock, so one name for drafts is enough."""
        draft = self.path.with_suffix(".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
            status = os.fstat(descriptor)
        os.replace(draft, self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return _stamp(status)


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parse_pins(data: bytes, file: _LockedFile) -> dict[str, Pin]:
    return memory_format.parse_pins(data, str(file.path))


def _other_root(location: str, found: Pin, path: Path) -> Conflict:
    return Conflict(
        f"{location} is trusted on this machine with another root, sha256:{found.root}, since {found.added}.",
        subject=location,
        hint="Ask its owner which one is right, by another way than the storage. Only if it is the new one: "
        f"mvault trust LOCATION --root sha256:… --replace. The old one stands in {path}.",
    )


def _no_place(reason: str) -> Unavailable:
    return Unavailable(
        f"{reason}.",
        code="storage-denied",
        hint="Set MVAULT_CONFIG_DIR to a folder that you may write to, or MVAULT_TRUST to a trust file.",
    )


def _unreadable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"{path} cannot be read now: {error.strerror}.",
        subject=str(path),
        hint="Look after that disk, then try again.",
    )


def _unwritable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"{path} was not written: {error.strerror}.",
        code="storage-full" if error.errno in _FULL else "storage-denied",
        subject=str(path),
        hint="Make room there or correct its permissions, then try again.",
    )
