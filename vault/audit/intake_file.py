"""One SQLite file in which records wait on this machine, and one connection to it.

The file is in WAL mode, with `synchronous=NORMAL`: a commit writes to the WAL
and waits for nothing. Where durability is demanded the WAL is synced after the
commit, *outside* SQLite's write lock, so that several processes wait for the
disk together; `synchronous=FULL` would make them queue for it one by one.
A commit that was not synced yet when another process moved the WAL into the
file is durable all the same: SQLite syncs the WAL before a checkpoint and the
file after it (sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous).

The file is never opened here but through SQLite, since closing any descriptor
of it would drop the process's locks (sqlite.org/howtocorrupt.html, section 2.2).
"""

import errno
import os
import random as jitter
import sqlite3
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from vault.audit import private_files
from vault.core import limits
from vault.core.names import Digest, Principal
from vault.errors import Refused, Unavailable, VaultError
from vault.ports import Random

T = TypeVar("T")

NAME: Final = "intake.sqlite"
_WAL: Final = "intake.sqlite-wal"
_FILES: Final = (NAME, _WAL, "intake.sqlite-shm")
_RESERVE: Final = "intake.reserve"
_APPLICATION: Final = 0x6D764155  # "mvAU"
_SCHEMA: Final = 1
_PAGE: Final = 4_096
_CHECKPOINT_PAGES: Final = 1_000  # SQLite's own default: a WAL of 4 MiB, which is then written over
_RESERVE_BYTES: Final = 8 * limits.MIB  # for a WAL that could not be moved, and what removing entries writes
_LOCK_SECONDS: Final = 30.0
_PAUSE: Final = 0.0005
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP})

_PRIMARY: Final = 0xFF  # of an extended result code
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DENIALS: Final = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN})
_TROUBLE: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT})

_TABLES: Final = (
    "CREATE TABLE about(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE waiting(seq INTEGER PRIMARY KEY, id BLOB NOT NULL, data BLOB NOT NULL)",
    f"PRAGMA application_id={_APPLICATION}",
    f"PRAGMA user_version={_SCHEMA}",
)


_SETTINGS: Final = (
    f"page_size={_PAGE}",
    f"max_page_count={limits.AUDIT_INTAKE_BYTES // _PAGE}",
    "synchronous=NORMAL",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
    f"journal_size_limit={2 * _CHECKPOINT_PAGES * _PAGE}",
)
_ABANDONED: Final[list[sqlite3.Connection]] = []  # kept, so that nothing closes them


@dataclass(frozen=True, slots=True)
class Entry:
    """A record on its way: its id, 16 bytes, and its bytes, as they will be in the log."""

    record_id: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits: how many records, their bytes, and the oldest of them."""

    entries: int
    size: int
    oldest: Entry | None


class IntakeFile:
    """One connection; used by one thread at a time, and by the process that made it."""

    def __init__(self, folder: Path, vault: Digest, principal: Principal, random: Random) -> None:
        """Open, or make, the intake of `principal` in a vault; the folder is made if need be.

        Raises:
            Unavailable: it cannot be made, read or written.
            Refused: `memory-damaged`: it is damaged, of a newer release, or of another vault or principal.
        """
        self._path = folder / NAME
        self._wal_path = folder / _WAL
        self.lost_writes = False  # after a sync that failed nobody knows what is on the disk
        try:
            private_files.make_folder(folder)
            private_files.make_file(folder, _FILES)
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw",
                uri=True, timeout=0, isolation_level=None, check_same_thread=False,
            )  # fmt: skip
        except (OSError, sqlite3.Error) as error:
            raise self._translated(error) from None
        self._let_go = weakref.finalize(self, _close, self._connection, None)
        try:
            self.instance = self._guarded(lambda: self._begin(vault, principal, random))
        except BaseException:
            self.close()
            raise

    def append(self, entries: Sequence[Entry], *, durable: bool) -> None:
        """Add entries behind the others, all or none; with `durable`, return when they are on the disk.

        Raises:
            Unavailable: they were not added; or, with `durable`, may be lost.
            Refused: `memory-damaged`.
        """
        rows = [(entry.record_id, entry.data) for entry in entries]
        self._change(
            lambda: self._connection.executemany("INSERT INTO waiting(id, data) VALUES (?, ?)", rows)
        )
        if durable:
            self.sync()

    def sync(self) -> None:
        """Wait until what was committed is on the disk.

        Raises:
            Unavailable: it may not be; or the files are not those that were opened any more.
        """
        try:
            private_files.flush(self._wal)
        except OSError as error:
            self.lost_writes = True
            raise self._translated(error) from None
        try:
            wal = os.fstat(self._wal)
            same = private_files.is_still(self._path, self._opened)
            same = same and private_files.is_still(self._wal_path, wal)
        except OSError as error:
            raise self._translated(error) from None
        if not same:
            raise Unavailable(
                f"{self._path} was moved away or replaced while it was in use, so this record is lost.",
                subject=str(self._path),
                hint="Leave the folder alone while the vault is in use, then try again.",
            )

    def waiting(self) -> Waiting:
        """Count what waits.

        Raises:
            Unavailable: the file cannot be read now.
            Refused: `memory-damaged`.
        """
        query = "SELECT count(*), coalesce(sum(length(data)), 0) FROM waiting"
        entries, size = self._guarded(lambda: self._connection.execute(query).fetchone())
        first = self.first(1, limits.AUDIT_RECORD_BYTES)
        return Waiting(entries, size, first[0] if first else None)

    def first(self, most: int, size: int) -> tuple[Entry, ...]:
        """Give the oldest entries: at most so many, and bytes with two for the length of each.

        Raises:
            Unavailable: the file cannot be read now.
            Refused: `memory-damaged`.
        """
        query = "SELECT id, data FROM waiting ORDER BY seq LIMIT ?"
        found: list[Entry] = []

        def collect() -> None:
            left = size
            for record_id, data in self._connection.execute(query, (most,)):
                if not isinstance(record_id, bytes) or not isinstance(data, bytes):
                    raise self._damaged("a row of it is none")
                left -= 2 + len(data)
                if found and left < 0:
                    break
                found.append(Entry(record_id, data))

        self._guarded(collect)
        return tuple(found)

    def forget(self, record_ids: frozenset[bytes]) -> int:
        """Remove the entries with these ids, and the note of `hold`; give how many there were.

        Looks at no more of the oldest entries than one batch and the ids have.

        Raises:
            Unavailable: nothing was removed.
            Refused: `memory-damaged`.
        """
        query = "SELECT seq, id FROM waiting ORDER BY seq LIMIT ?"
        most = limits.AUDIT_BATCH_ENTRIES + len(record_ids)

        def remove() -> int:
            rows = self._connection.execute(query, (most,)).fetchall()
            gone = [(seq,) for seq, record_id in rows if record_id in record_ids]
            self._connection.executemany("DELETE FROM waiting WHERE seq = ?", gone)
            self._connection.execute("DELETE FROM about WHERE name = 'since'")
            return len(gone)

        return self._spending_reserve(remove)

    def hold(self, since: int) -> None:
        """Note durably that the oldest entries are about to be stored in a commit above number `since`.

        Raises:
            Unavailable: it was not noted.
            Refused: `memory-damaged`.
        """
        values = (str(since),)
        query = "INSERT OR IGNORE INTO about VALUES ('since', ?)"
        self._spending_reserve(lambda: self._connection.execute(query, values))
        self.sync()

    def held(self) -> int | None:
        """Give the number that `hold` noted first since `forget`.

        Raises:
            Unavailable: the file cannot be read now.
            Refused: `memory-damaged`.
        """
        noted = self._guarded(self._about).get("since")
        if noted is None:
            return None
        if not (noted.isascii() and noted.isdecimal() and len(noted) <= limits.JSON_INT_DIGITS):
            raise self._damaged("a number in it is none")
        return int(noted)

    def close(self) -> None:
        """Let go of the file."""
        self._let_go()

    def abandon(self) -> None:
        """Leave the file to the process that opened it: to close it here would drop that process's locks."""
        self._let_go.detach()
        _ABANDONED.append(self._connection)

    def _begin(self, vault: Digest, principal: Principal, random: Random) -> str:
        """Bring the connection into the mode that it needs; give the instance."""
        for setting in _SETTINGS:
            self._pragma(setting)
        if self._pragma("application_id") not in {0, _APPLICATION}:
            raise self._damaged("it is a database of another program")
        if self._pragma("journal_mode=WAL") != "wal":
            raise Unavailable(
                f"{self._path} cannot be shared by processes: its file system has no shared memory.",
                subject=str(self._path),
                hint="Put it on a disk of this machine; a network folder will not do.",
            )
        version = self._pragma("user_version")
        if version == 0:
            self._change(lambda: self._found(vault, principal, random))
        elif version != _SCHEMA:
            raise self._damaged(f"a newer release made it (layout {version}, here {_SCHEMA})")
        about = self._patiently(self._about)
        if (about.get("vault"), about.get("principal")) != (vault, principal):
            raise self._damaged("it belongs to another vault or principal")
        instance = about.get("instance", "")
        if len(instance) != 16 or not set(instance) <= set("0123456789abcdef"):
            raise self._damaged("its instance is none")
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        self._wal = os.open(self._wal_path, flags)
        self._let_go.detach()
        self._let_go = weakref.finalize(self, _close, self._connection, self._wal)
        self._opened = os.stat(self._path, follow_symlinks=False)
        self.sync()
        private_files.reserve(self._path.with_name(_RESERVE), _RESERVE_BYTES)
        private_files.sync_folder(self._path.parent)
        return instance

    def _found(self, vault: Digest, principal: Principal, random: Random) -> None:
        """Lay out a new file, unless another process just did."""
        if self._pragma("user_version") != 0:
            return
        for statement in _TABLES:
            self._connection.execute(statement)
        values = {"vault": vault, "principal": principal, "instance": random(8).hex()}
        self._connection.executemany("INSERT INTO about VALUES (?, ?)", values.items())

    def _pragma(self, text: str) -> object:
        row = self._patiently(lambda: self._connection.execute(f"PRAGMA {text}").fetchone())
        return row[0] if row else None

    def _about(self) -> dict[str, str]:
        rows = self._connection.execute("SELECT name, value FROM about LIMIT 16").fetchall()
        return {str(name): str(value) for name, value in rows}

    def _change(self, work: Callable[[], T]) -> T:
        """Do something in one transaction, all of it or nothing."""

        def run() -> T:
            self._patiently(lambda: self._connection.execute("BEGIN IMMEDIATE"))
            try:
                done = work()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return done

        return self._guarded(run)

    def _spending_reserve(self, work: Callable[[], T]) -> T:
        """Change something that leads to more room, even where there is none: a full disk must empty."""
        try:
            return self._change(work)
        except Unavailable as error:
            if error.code != "storage-full":
                raise
        self._guarded(lambda: self._path.with_name(_RESERVE).unlink(missing_ok=True))
        self._guarded(lambda: self._pragma("wal_checkpoint(TRUNCATE)"))
        return self._change(work)

    def _patiently(self, work: Callable[[], T]) -> T:
        """Wait while another process has the lock; SQLite's own waiting is longer and unfair."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                return work()
            except sqlite3.Error as error:
                if _code(error) not in _BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE * jitter.random())  # noqa: S311  no secret: only that they do not march in step

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (OSError, sqlite3.Error) as error:
            raise self._translated(error) from None

    def _translated(self, error: OSError | sqlite3.Error) -> VaultError:
        """Say in the vault's own terms why a record cannot be kept."""
        code = _code(error)
        if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in private_files.FULL:
            return self._unavailable(self._full_reason(), "storage-full", "Make room there, then try again.")
        if isinstance(error, OSError):
            denied = error.errno in _DENIED
            reason, hint = str(error.strerror), "Look after that disk and its permissions, then try again."
            return self._unavailable(reason, "storage-denied" if denied else "unavailable", hint)
        if code in _DENIALS:
            return self._unavailable(
                str(error),
                "storage-denied",
                "Give this user a folder of its own that it may write to: MVAULT_AUDIT=PATH.",
            )
        if code in _BUSY:
            reason = f"other processes have held it for {_LOCK_SECONDS:g} seconds"
            return self._unavailable(reason, "unavailable", "Look for a process that hangs, then try again.")
        if code in _TROUBLE:
            return self._unavailable(str(error), "unavailable", "Look after that disk, then try again.")
        return self._damaged(str(error))

    def _full_reason(self) -> str:
        try:
            pages, free = (
                self._connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count")
            )
        except (AttributeError, sqlite3.Error):  # not even opened, or not readable
            pages = free = 0
        if pages - free > limits.AUDIT_INTAKE_BYTES // _PAGE - 64:
            most = limits.AUDIT_INTAKE_BYTES // limits.MIB
            return f"{most} MiB of records wait there for a store that does not take them"
        return "the disk is full"

    def _unavailable(self, reason: str, code: str, hint: str) -> Unavailable:
        message = f"No audit record can be kept in {self._path}: {reason}."
        return Unavailable(message, code=code, subject=str(self._path), hint=hint)

    def _damaged(self, reason: str) -> Refused:
        return Refused(
            f"{self._path}, where audit records wait, cannot be used: {reason}.",
            code="memory-damaged",
            subject=str(self._path),
            hint="Keep that folder for whoever reviews the log, and move it away; a new one is made then.",
        )


def _close(connection: sqlite3.Connection, descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
    connection.close()


def _code(error: OSError | sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY
