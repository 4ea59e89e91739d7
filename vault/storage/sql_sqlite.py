"""Connect to SQLite: write-ahead logging, full durability, and no trust in what the file says.

A database file can hold views, triggers and oversized values, which run or are
read in our process ("Defense Against The Dark Arts", sqlite.org): values are
capped, the schema is not trusted, and what takes too long is interrupted.
"""

import os
import sqlite3
import time
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import Engine, QueuePool, create_engine, event

from vault.core import limits
from vault.errors import Unavailable
from vault.storage import sql_answers, sql_statements
from vault.storage.sql_address import SqliteAddress
from vault.storage.sql_database import CONNECTIONS, CONNECTIONS_KEPT, WAIT_SECONDS, Dialect

BUSY_SECONDS: Final = 30.0
_VALUE_BYTES: Final = 2 * limits.MIB  # a row of ours has at most one chunk and a little more
_STEPS: Final = 100_000  # of SQLite's machine between two looks at the clock: some milliseconds
_PAGE_BYTES: Final = 16 * limits.KIB
_LOG_PAGES: Final = 1_024  # the write-ahead log is copied back when it has 16 MiB
_APPLICATION: Final = 0x6D766C74  # "mvlt": what file(1) and other programs know a vault by


def dialect(address: SqliteAddress) -> Dialect:
    """Give the dialect of the file at `address`; nothing is opened yet."""
    return Dialect(
        statements=sql_statements.sqlite(),
        open_engine=lambda: _open_engine(address.path),
        begin="BEGIN IMMEDIATE",
        is_there=lambda: os.path.lexists(address.path),
        before_making=lambda: _prepare(address.path),
        after_making=lambda: _sync_folder(address.path),
        relax="PRAGMA synchronous=NORMAL",
        restore="PRAGMA synchronous=FULL",
    )


def _open_engine(path: str) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path, "rw"),
        isolation_level="AUTOCOMMIT",
        poolclass=QueuePool,
        pool_size=CONNECTIONS_KEPT,
        max_overflow=CONNECTIONS - CONNECTIONS_KEPT,
        pool_timeout=WAIT_SECONDS,
        hide_parameters=True,
    )
    event.listen(engine, "checkout", _start_clock)
    return engine


class _Clock:
    """Interrupts a statement that runs for too long: a view in a hostile file may have no end."""

    def __init__(self) -> None:
        self.end = time.monotonic() + WAIT_SECONDS

    def is_over(self) -> bool:
        return time.monotonic() > self.end


class _Connection(sqlite3.Connection):
    clock: _Clock


def _connect(path: str, mode: str) -> _Connection:
    """Open the file; `mode` is SQLite's: `rw` for a file that is there, `rwc` to make it."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(path)}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
    except sqlite3.OperationalError as error:
        if os.path.isdir(os.path.dirname(path)) and not _may(path):
            error.sqlite_errorname = "SQLITE_PERM"  # SQLite says of any file that it cannot open nothing else
        raise
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        connection.text_factory = bytes  # what claims to be text need not be UTF-8
        connection.clock = _Clock()
        connection.set_progress_handler(connection.clock.is_over, _STEPS)
        for pragma in (
            "trusted_schema=OFF",
            "cell_size_check=ON",
            "mmap_size=0",
            "synchronous=FULL",
            f"wal_autocheckpoint={_LOG_PAGES}",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _may(path: str) -> bool:
    """Tell whether this process may read and write the file, and make the log beside it."""
    return os.access(os.path.dirname(path), os.W_OK | os.X_OK) and (
        not os.path.exists(path) or os.access(path, os.R_OK | os.W_OK)
    )


def _start_clock(connection: _Connection, *_: Any) -> None:
    connection.clock.end = time.monotonic() + WAIT_SECONDS


def _prepare(path: str) -> None:
    """Make the file if there is none, and turn on its write-ahead log; other programs' files are left alone.

    Raises:
        Unavailable: the file cannot be made, or another program uses it.
    """
    try:
        connection = _connect(path, "rwc")
        try:
            if _is_foreign(connection):
                raise Unavailable(
                    f"{path} is another program's database.",
                    subject=path,
                    hint="Give a vault a file of its own.",
                )
            _turn_on_log(connection)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise sql_answers.unavailable(error, "make", path) from error


def _is_foreign(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    ours = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'mvault_schema'").fetchone()[0]
    return bool(tables) and not ours


def _turn_on_log(connection: sqlite3.Connection) -> None:
    """Turn on write-ahead logging; that waits for nobody, so whoever comes second tries again."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA application_id={_APPLICATION}")
        except sqlite3.OperationalError as error:
            if not sql_answers.code(error).startswith("SQLITE_BUSY") or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _sync_folder(path: str) -> None:
    """See that the file's name is on disk.

    Raises:
        Unavailable: the file system failed.
    """
    try:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unavailable(f"Could not store {path}: {error.strerror}.", subject=path) from error
