"""Open the database of a registry index, bring its tables up to date, and run transactions in it.

An SQLite file lies in the user's own state folder, and is taken for what it is:
something that anybody who can write there may have replaced. PostgreSQL is
shared. Neither is believed; what goes wrong in them is `Refused` or `Unavailable`.
"""

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event, exc, select, text

from vault.core import limits
from vault.core.names import Digest
from vault.errors import Refused, Unavailable
from vault.registry import migrations, schema
from vault.registry.rows import AlteredError

T = TypeVar("T")

FILE: Final = "registry.sqlite"
FILES: Final = (FILE, f"{FILE}-wal", f"{FILE}-shm")

_APPLICATION: Final = 0x6D765249  # "mvRI"
_BUSY_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 60.0  # a file may hold what never ends
_STEPS: Final = 100_000  # of SQLite's machine between two looks at the clock
_VALUE_BYTES: Final = 2 * limits.MIB
_CACHE_KIB: Final = 65_536
_WHY_CHARS: Final = 200
_WORK_MEMORY: Final = "64MB"  # of PostgreSQL, for one step of a statement
# PostgreSQL's classes of errors that the tables themselves cause: an object is missing or of another kind.
_SHAPE: Final = frozenset({"42P01", "42703", "42804", "42883", "42809", "22P02", "22003"})
_DENIED: Final = frozenset({"42501", "25006", "28000", "28P01"})


class Database:
    """The index of one vault in one database; for one thread at a time."""

    def __init__(self, engine: Engine, vault: Digest, *, place: str, schema_name: str | None = None) -> None:
        """Use an engine; `open_file` and `open_server` make one.

        Raises:
            Refused: what is there is no index of this vault (`memory-damaged`).
            Unavailable: the database cannot be used.
        """
        self._engine = engine.execution_options(schema_translate_map={None: schema_name})
        self._schema = schema_name
        self.place = place
        self.shared = engine.dialect.name == "postgresql"  # and so holds the public half alone
        self._vault = vault
        try:
            self._lay_out()
        except BaseException:
            engine.dispose()
            raise

    def read(self, act: Callable[[Connection], T]) -> T:
        """Let `act` read in one transaction, over one state of the tables.

        Raises:
            Refused: `memory-damaged`. Unavailable.
        """
        how = {"isolation_level": "REPEATABLE READ"} if self.shared else {"begin": "DEFERRED"}
        with self._transaction(how) as connection:
            if self.shared:  # sets of versions are looked up in memory, however many there are
                connection.execute(text(f"SET LOCAL work_mem = '{_WORK_MEMORY}'"))
            return act(connection)

    def write(self, act: Callable[[Connection], T]) -> T:
        """Let `act` write in one transaction, while nobody else does.

        Raises:
            Refused: `memory-damaged`. Unavailable.
        """
        how = {"isolation_level": "READ COMMITTED"} if self.shared else {"begin": "IMMEDIATE"}
        with self._transaction(how) as connection:
            if self.shared:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": self._lock_key()})
            return act(connection)

    @contextmanager
    def _transaction(self, how: dict[str, Any]) -> Iterator[Connection]:
        with self._guarded(), self._engine.connect() as connection:
            chosen = connection.execution_options(**how)
            with chosen.begin():
                yield chosen

    def clear(self) -> None:
        """Empty every table, in one transaction; the vault that it is of stays written there.

        Raises:
            Refused, Unavailable.
        """

        def act(connection: Connection) -> None:
            for half in (schema.PUBLIC,) if self.shared else (schema.PUBLIC, schema.SEALED):
                for table in half.sorted_tables:
                    connection.execute(table.delete())
            self._own(connection)

        try:
            self.write(act)
        except Refused:
            if not self.shared:  # a file is removed instead
                raise
            self.write(self._make_anew)

    def _make_anew(self, connection: Connection) -> None:
        for name in (*schema.PUBLIC.tables, schema.VERSIONS_OF_SCHEMA):
            connection.exec_driver_sql(f'DROP TABLE IF EXISTS "{self._schema}"."{name}"')
        self._upgrade(connection)
        self._own(connection)

    def settle(self) -> None:
        """Have the database look at how much it holds, after much was written, so that it plans well.

        Raises:
            Refused, Unavailable.
        """
        if not self.shared:
            return

        def act(connection: Connection) -> None:
            for table in schema.PUBLIC.sorted_tables:
                connection.execute(text(f'ANALYZE "{self._schema}"."{table.name}"'))

        self.write(act)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    # --- tables ---

    def _lay_out(self) -> None:
        """Bring the tables up to date, once, whoever else opens the index at the same time."""
        if self._revision() != schema.HEAD:
            self.write(self._upgrade)
        if (found := self._revision()) != schema.HEAD:
            raise self.damaged(
                f"its tables have the revision {str(found)[:40]!r}, not one that is known here"
            )
        owner = self.read(self._owner)
        if owner is None:
            self.write(self._own)
            owner = self.read(self._owner)
        if owner != self._vault:
            raise self.damaged("it is of another vault")

    def _revision(self) -> str | None:
        prefix = "" if self._schema is None else f'"{self._schema}".'
        query = text(f"SELECT version_num FROM {prefix}{schema.VERSIONS_OF_SCHEMA}")  # noqa: S608 (a checked name)
        with self._guarded(), self._engine.connect() as connection:
            try:
                rows = connection.execute(query).fetchmany(2)
            except exc.DBAPIError as error:
                if _is_absent(error):
                    return None
                raise
        return None if not rows else str(rows[0][0])

    def _upgrade(self, connection: Connection) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        if self.shared and self._schema is not None:
            known = connection.execute(text("SELECT to_regnamespace(:name)"), {"name": self._schema}).scalar()
            if known is None:
                connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
        config = Config()
        config.set_main_option("script_location", str(Path(migrations.__path__[0])).replace("%", "%%"))
        config.attributes["connection"] = connection
        config.attributes["schema"] = self._schema
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise self.damaged(f"its tables are not known here: {_why(error)}") from None

    def _owner(self, connection: Connection) -> str | None:
        query = select(schema.meta.c.value).where(schema.meta.c.name == schema.VAULT)
        return connection.execute(query).scalar()

    def _own(self, connection: Connection) -> None:
        if self._owner(connection) is None:
            notes = {schema.VAULT: self._vault, schema.GENERATION: secrets.token_hex(8)}
            rows = [{"name": name, "value": value} for name, value in notes.items()]
            connection.execute(schema.meta.insert(), rows)

    def _lock_key(self) -> int:
        """Give the advisory lock of this index: of those who write, one does."""
        digest = hashlib.sha256(f"mvault registry {self._schema}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    # --- what goes wrong ---

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except exc.SQLAlchemyError as error:
            raise self._translated(error) from error
        except (AlteredError, UnicodeError, OverflowError):
            raise self.damaged("a row of it is not as it was written") from None

    def damaged(self, reason: str) -> Refused:
        """Build the refusal of an index that is none."""
        return Refused(
            f"The registry index in {self.place} cannot be used: {reason}.",
            code="memory-damaged",
            subject=self.place,
            hint="It is no evidence, and made again from the store: mvault index rebuild",
        )

    def _translated(self, error: exc.SQLAlchemyError) -> Refused | Unavailable:
        cause = getattr(error, "orig", None) or error
        if _is_damage(cause):
            return self.damaged(_why(cause))
        code, hint = "unavailable", "Look after that database and its permissions, then try again."
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL or _state(cause) == "53100":
            code, hint = "storage-full", "Make room for the index, then try again."
        elif _state(cause) in _DENIED:
            code, hint = "storage-denied", "Ask whoever runs the database for the right (docs/registry.md)."
        return Unavailable(
            f"The registry index in {self.place} cannot be used: {_why(cause)}.",
            code=code,
            subject=self.place,
            hint=hint,
        )


def open_file(path: Path | None, vault: Digest) -> Database:
    """Open the index in a file that is there and private to its user; in memory without one.

    Raises:
        Refused: it is no index of this vault (`memory-damaged`).
        Unavailable: it cannot be used.
    """
    if path is None:
        options: dict[str, Any] = {"poolclass": StaticPool}
        engine = create_engine("sqlite://", creator=lambda: _connect(None), hide_parameters=True, **options)
    else:
        engine = create_engine("sqlite://", creator=lambda: _connect(path), hide_parameters=True)
    event.listen(engine, "begin", _begin)
    return Database(engine, vault, place="memory" if path is None else str(path))


def open_server(engine: Engine, vault: Digest, *, place: str, schema_name: str | None) -> Database:
    """Open the index in a PostgreSQL database, in `schema_name`, or in a schema named after the vault.

    Raises:
        Refused: what is there is no index of this vault (`memory-damaged`).
        Unavailable: the database cannot be used.
    """
    name = schema_name or f"mvault_registry_{vault[:16]}"
    return Database(engine, vault, place=place, schema_name=name)


# --- SQLite ---


class _Connection(sqlite3.Connection):
    end: float = 0.0


def _begin(connection: Connection) -> None:
    """Begin as the caller asked: a transaction that will write takes its lock at once."""
    raw = connection.connection.driver_connection
    if isinstance(raw, _Connection):
        raw.end = time.monotonic() + _ANSWER_SECONDS
    how = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {how}")


def _connect(path: Path | None) -> sqlite3.Connection:
    """Open the file, and trust nothing in it ("Defense Against The Dark Arts", sqlite.org)."""
    where = ":memory:" if path is None else f"file:{quote(str(path))}?mode=rw"
    connection = sqlite3.connect(
        where,
        uri=path is not None,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=_Connection,
    )
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES)
        connection.end = time.monotonic() + _ANSWER_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > connection.end, _STEPS)
        for pragma in (
            *("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"),
            *(f"cache_size=-{_CACHE_KIB}", "temp_store=MEMORY", "synchronous=NORMAL"),
        ):
            connection.execute(f"PRAGMA {pragma}")
        _turn_on_log(connection)
        _check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _turn_on_log(connection: sqlite3.Connection) -> None:
    """Turn on write-ahead logging, which waits for nobody: whoever comes second tries again."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _check(connection: sqlite3.Connection) -> None:
    """See that the file is an index, or new: no other program's, and nothing in it that runs.

    Raises:
        sqlite3.DatabaseError: it is not.
    """
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    query = "SELECT count(*), coalesce(sum(type IN ('view', 'trigger')), 0) FROM sqlite_master"
    tables, running = connection.execute(query).fetchone()
    if running or application not in {0, _APPLICATION} or (tables and not application):
        raise sqlite3.DatabaseError("it is another program's file, or holds what no index has")
    if not application:
        connection.execute(f"PRAGMA application_id={_APPLICATION}")


# --- errors of drivers ---


def _state(cause: object) -> str:
    found = getattr(cause, "sqlstate", None)
    return found if isinstance(found, str) else ""


def _is_absent(error: exc.SQLAlchemyError) -> bool:
    cause = getattr(error, "orig", None)
    return _state(cause) in {"42P01", "3F000"} or "no such table" in str(cause)


def _is_damage(cause: object) -> bool:
    if isinstance(cause, sqlite3.IntegrityError):
        return True
    if isinstance(cause, sqlite3.Error):
        code = (getattr(cause, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
        damage = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG}
        return code in damage or code in {sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_MISMATCH}
    return _state(cause) in _SHAPE or _state(cause).startswith("23")


def _why(cause: object) -> str:
    """Give the first line of a driver's message, printable and short: a server chose the words."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    shown = "".join(char if char.isprintable() else " " for char in (lines or [""])[0])
    return shown[:_WHY_CHARS].rstrip(" .") or type(cause).__name__
