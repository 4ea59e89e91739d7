"""Keep objects in a database: PostgreSQL, or SQLite for one machine, through SQLAlchemy.

An object is rows of at most 1 MiB and, written last, a row with its name,
which is unique: so it is there whole or not at all, and of several writers one
wins. Reads hold no transaction open: what has a name is never changed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vault.errors import MissingLibrary, Unavailable
from vault.ports import Stat
from vault.storage import answers, naming, sql_listing
from vault.storage.sql_address import PostgresAddress, parse

if TYPE_CHECKING:
    import builtins

    from sqlalchemy import Connection

    from vault.storage.sql_database import Database
    from vault.storage.sql_reading import SqlSource
    from vault.storage.sql_writing import SqlSink


def open_sql(url: str) -> "SqlStore":
    """Open the store in the database at a `postgresql://` or `sqlite://` URL; nothing is connected yet.

    Raises:
        ValueError: the URL is malformed, or has an option that is not known.
        MissingLibrary: SQLAlchemy or psycopg is not installed.
    """
    address = parse(url)
    if isinstance(address, PostgresAddress):
        _demand("PostgreSQL", "postgres", "sqlalchemy", "psycopg")
        from vault.storage import sql_postgres

        dialect = sql_postgres.dialect(address)
    else:
        _demand("SQLite", "sql", "sqlalchemy")
        from vault.storage import sql_sqlite

        dialect = sql_sqlite.dialect(address)
    from vault.storage.sql_database import Database

    return SqlStore(address.location, Database(dialect))


class SqlStore:
    """A store in the tables `mvault_…` of a database; several threads and processes may use it at once."""

    def __init__(self, location: str, database: "Database") -> None:
        """Use `database`, whose tables the first `create` makes if need be."""
        self._location = location
        self._database = database
        self._ready = False

    @property
    def round_trip(self) -> bool:
        """Whether each answer takes a while, because a server gives it."""
        return not self._location.startswith("sqlite:")

    @property
    def location(self) -> str:
        """The database's URL, without a password."""
        return self._location

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator["SqlSink"]:
        """Create `name` when the block ends without an exception, atomically and durably.

        Raises:
            Conflict: the name exists; at entry or at commit, and nothing was changed.
            Unavailable: the database failed, is full (`storage-full`) or refused (`storage-denied`).
                Nothing is visible, with one exception: if the database stays away after the very last
                statement was sent, the object may be.
        """
        from vault.storage.sql_writing import SqlSink

        naming.check_name(name)
        self._make_tables(name)
        if self._sizes(name):
            raise answers.conflict(name)
        sink = SqlSink(self._database, name, size)
        try:
            yield sink
        finally:
            sink.close()
        sink.publish()

    def create_all(self, objects: Mapping[str, bytes]) -> "builtins.list[str]":
        """Create small objects, name → bytes, hundreds in one transaction; return the names left to `create`.

        Raises:
            Unavailable: the database failed, is full (`storage-full`) or refused (`storage-denied`); some
                of the objects may be there, each whole.
        """
        from vault.storage.sql_writing import create_together

        for name in objects:
            naming.check_name(name)
        if not objects:
            return []
        self._make_tables(next(iter(objects)))
        return create_together(self._database, objects)

    @contextmanager
    def open(self, name: str) -> Iterator["SqlSource"]:
        """Open `name` for reading.

        Raises:
            NotFound: there is no such name.
            Unavailable: the database failed, or what it holds of the object was altered.
        """
        from vault.storage.sql_reading import HEAD_BYTES, SqlSource, look

        naming.check_name(name)
        if not self._has_tables(name):
            raise answers.not_found(name)
        yield SqlSource(self._database, name, look(self._database, name, limit=HEAD_BYTES))

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, at most `limit`.

        Raises:
            NotFound: there is no such name.
            Malformed: it is larger than `limit` (`too-large`); nothing was read.
            Unavailable: the database failed, or what it holds of the object was altered.
        """
        from vault.storage.sql_reading import SqlSource, look

        if limit < 0:
            raise ValueError("a limit is not negative")
        naming.check_name(name)
        if not self._has_tables(name):
            raise answers.not_found(name)
        head = look(self._database, name, limit=limit)
        if head.size > limit:
            raise answers.too_large(name, head.size, limit)
        if head.data is not None:
            return head.data
        data = bytearray(head.size)
        SqlSource(self._database, name, head).read_into(0, memoryview(data))
        return bytes(data)

    def stat(self, name: str) -> Stat:
        """Return the size of `name`.

        Raises:
            NotFound: there is no such name.
            Unavailable: the database failed, or what it holds of the object was altered.
        """
        from vault.storage.sql_reading import check_size

        naming.check_name(name)
        found = self._sizes(name) if self._has_tables(name) else ()
        if not found:
            raise answers.not_found(name)
        return Stat(size=check_size(name, found[0]))

    def _sizes(self, name: str) -> tuple[object, ...]:
        """Give the size that the row of `name` tells, if there is one."""

        def act(connection: "Connection") -> tuple[object, ...]:
            found = connection.execute(self._database.dialect.statements.size, {"name": name})
            return tuple(row[0] for row in found)

        return self._database.run("look at", name, act)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`, in code-point order.

        Names are fetched a thousand at a time. Rows whose name is none of ours are passed over.

        Raises:
            Unavailable: the database failed, or does not give its names in order.
        """
        naming.check_prefix(prefix)
        return self._pages(prefix, sql_listing.clamp(after))

    def _pages(self, prefix: str, after: str) -> Iterator[str]:
        while self._has_tables(prefix):
            given = {"after": after, "low": prefix, "high": sql_listing.behind(prefix)}
            names = self._names("names", prefix, given)
            if not names:
                return
            sql_listing.check_order(prefix, names[0] > after)
            for name in names:
                sql_listing.check_order(prefix, name >= after)
                if name > after and naming.is_name(name):
                    yield name
                after = name
            after = sql_listing.shortened(after)

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the names that start with `prefix`, in code-point order, each with its size in bytes.

        Raises:
            Unavailable: as `list`, or the database holds no size of an object.
        """
        naming.check_prefix(prefix)
        return sql_listing.sizes(self._database, prefix) if self._has_tables(prefix) else iter(())

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the next path part of the names under `prefix`, folders with a `/` at the end.

        The index is looked into once for each, a thousand of them in one statement.

        Raises:
            Unavailable: the database failed, or does not give its names in order.
        """
        naming.check_folder(prefix)
        return self._folder_pages(prefix)

    def _folder_pages(self, prefix: str) -> Iterator[str]:
        low = prefix + sql_listing.FIRST
        while self._has_tables(prefix):
            given = {"low": low, "high": sql_listing.behind(prefix), "skip": len(prefix) + 1}
            names = self._names("folders", prefix, given)
            for name in names:
                sql_listing.check_order(prefix, name >= low)
                part, slash, _ = name[len(prefix) :].partition("/")
                low = f"{prefix}{part}0" if slash else sql_listing.shortened(name) + sql_listing.FIRST
                if naming.is_name(prefix + part):
                    yield part + slash
            if not names:
                return

    def _names(self, statement: str, prefix: str, given: Mapping[str, object]) -> tuple[str, ...]:
        """Fetch a page of names, in order; some may be none, and one that is too long has lost its end."""
        clause = getattr(self._database.dialect.statements, statement)

        def act(connection: "Connection") -> tuple[object, ...]:
            return tuple(row[0] for row in connection.execute(clause, given))

        found = self._database.run("list", prefix, act)
        return tuple(name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in found)

    def delete(self, name: str) -> None:
        """Remove `name` and its bytes; a name that is not there is not an error.

        Raises:
            Unavailable: the database failed or refused.
        """
        naming.check_name(name)
        if not self._has_tables(name):
            return
        database = self._database

        def act(connection: "Connection") -> None:
            with database.transaction(connection):
                for statement in database.dialect.statements.delete:
                    connection.execute(statement, {"name": name})

        database.run("delete", name, act)

    def sweep_leftovers(self, older_than_seconds: int, now: int) -> int:
        """Remove the chunks of objects that were never finished; return of how many objects.

        Left are those whose last chunk came less than `older_than_seconds` before `now`, by the
        database's clock: their writer may still be at work. A writer that is swept nevertheless is
        told so when it ends, and stores nothing.

        Raises:
            Unavailable: the database failed or refused.
        """
        if not self._has_tables(""):
            return 0
        database = self._database
        statements = database.dialect.statements
        before = {"before": now - older_than_seconds}
        removed = 0
        while True:
            orphans = database.run(
                "sweep", "", lambda connection: [*connection.execute(statements.orphans, before).scalars()]
            )
            found = sum(self._drop_orphan({"content": content, **before}) for content in orphans)
            if not found:
                return removed
            removed += found

    def _drop_orphan(self, given: dict[str, object]) -> int:
        database = self._database

        def act(connection: "Connection") -> int:
            with database.transaction(connection):
                for lock in database.dialect.sweeping_lock:
                    connection.exec_driver_sql(lock)
                return int(connection.execute(database.dialect.statements.drop_orphan, given).rowcount > 0)

        return database.run("sweep", "", act)

    # Tables.

    def _has_tables(self, name: str) -> bool:
        """Tell whether the vault's tables are there; look until they are, then no more.

        Raises:
            Unavailable: the database failed, or the tables are those of another release.
        """
        if self._ready:
            return True
        if not self._database.dialect.is_there():
            return False
        versions = self._database.run("look at", name, self._versions)
        if versions is None:
            return False
        self._check_version(versions)
        self._ready = True
        return True

    def _versions(self, connection: "Connection") -> tuple[object, ...] | None:
        """Give what the table of versions holds; None if there is no such table."""
        from sqlalchemy import exc

        from vault.storage import sql_answers

        try:
            return tuple(row[0] for row in connection.execute(self._database.dialect.statements.version))
        except exc.DBAPIError as error:
            if sql_answers.is_absent(error):
                return None
            raise

    def _check_version(self, found: tuple[object, ...]) -> None:
        from vault.storage.sql_statements import VERSION

        if found != (VERSION,):
            raise Unavailable(
                f"The tables in {self._location} have the version {_shown(found)}, not {VERSION}.",
                subject=self._location,
                hint="Use the release of mvault that made them, or a newer one.",
            )

    def _make_tables(self, name: str) -> None:
        """Make the vault's tables unless they are there; of several processes at once one does it."""
        if self._has_tables(name):
            return
        dialect = self._database.dialect
        dialect.before_making()

        def act(connection: "Connection") -> None:
            with self._database.transaction(connection):
                for statement in (*dialect.making_lock, *dialect.statements.make):
                    connection.exec_driver_sql(statement)

        self._database.run("make the tables for", name, act)
        dialect.after_making()
        if not self._has_tables(name):
            raise Unavailable(f"The tables in {self._location} were removed.", subject=self._location)


def _shown(found: tuple[object, ...]) -> str:
    return ", ".join(str(value)[:20] for value in found) or "nothing"


def _demand(kind: str, extra: str, *libraries: str) -> None:
    """Say which extra to install if a library is not there.

    Raises:
        MissingLibrary: one is not.
    """
    for library in libraries:
        if find_spec(library) is None:
            raise MissingLibrary(
                f"A vault in {kind} needs {library}.",
                hint=f"Install it: pip install 'model-artifact-vault[{extra}]'",
            )
