"""Hold the connections to one database: opened when first needed, tried again when one is lost."""

import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, exc

from vault.errors import Unavailable
from vault.storage import sql_answers
from vault.storage.sql_statements import Statements

CONNECTIONS: Final = 16  # at most, of one store in one process
CONNECTIONS_KEPT: Final = 4
WAIT_SECONDS: Final = 60.0  # for a free connection, or for a sign of life from the server
ATTEMPTS: Final = 4
_PAUSES: Final = (0.1, 0.5, 2.0)  # before the second attempt, the third, the fourth

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between databases beside the statements.

    `open_engine` opens without I/O; `is_there` says whether there is anything to connect to;
    `before_making` runs before the tables are made, with the store empty or another program's.
    """

    statements: Statements
    open_engine: Callable[[], Engine]
    begin: str
    is_there: Callable[[], bool] = lambda: True
    before_making: Callable[[], None] = lambda: None
    after_making: Callable[[], None] = lambda: None
    making_lock: tuple[str, ...] = ()
    sweeping_lock: tuple[str, ...] = ()
    relax: str = ""  # what the write of a chunk need not wait for, the commit of its name does
    restore: str = ""


class Database:
    """The connections of one store; several threads use it at once, and so may children after a fork."""

    def __init__(self, dialect: Dialect) -> None:
        """Use `dialect`; nothing is connected yet."""
        self.dialect = dialect
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._process = 0

    def run(self, doing: str, name: str, act: Callable[[Connection], _T]) -> _T:
        """Let `act` use a connection; again on a new one if that was lost, so it must be repeatable.

        Raises:
            Unavailable: the database failed, is full (`storage-full`) or refused (`storage-denied`).
            exc.IntegrityError: a row with that key exists already (`sql_answers.is_taken`).
        """
        for pause in (*_PAUSES, None):
            try:
                with self._connect() as connection:
                    return act(connection)
            except exc.SQLAlchemyError as error:
                if sql_answers.is_taken(error):
                    raise
                if pause is None or not sql_answers.is_transient(error):
                    raise sql_answers.unavailable(error, doing, name) from error
            except (UnicodeError, OverflowError) as error:
                raise sql_answers.altered(name, "a value of the wrong kind") from error
            time.sleep(pause * (500 + secrets.randbelow(1_000)) / 1_000)  # not all clients at once
        raise Unavailable(f"Could not {doing} {name}.", subject=name)

    def connect_once(self, act: Callable[[Connection], _T]) -> _T:
        """Let `act` use a connection, and raise what the library raises.

        Raises:
            exc.SQLAlchemyError: the database failed.
        """
        with self._connect() as connection:
            return act(connection)

    @contextmanager
    def transaction(self, connection: Connection) -> Iterator[None]:
        """Make one transaction of the statements in the block; an exception undoes them."""
        connection.exec_driver_sql(self.dialect.begin)
        try:
            yield
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            with suppress(exc.SQLAlchemyError):
                connection.exec_driver_sql("ROLLBACK")
            raise

    @contextmanager
    def relaxed(self, connection: Connection) -> Iterator[None]:
        """Let statements in the block return before they are on disk; a later commit brings them there."""
        if self.dialect.relax:
            connection.exec_driver_sql(self.dialect.relax)
        try:
            yield
        finally:
            if self.dialect.restore:
                with suppress(exc.SQLAlchemyError):
                    connection.exec_driver_sql(self.dialect.restore)

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        with self._get_engine().connect() as connection:
            yield connection

    def _get_engine(self) -> Engine:
        """Give this process's engine: a connection that was opened before a fork is its parent's."""
        with self._lock:
            process = os.getpid()
            if self._engine is None:
                self._engine = self.dialect.open_engine()
            elif self._process != process:
                self._engine.dispose(close=False)
            if self._process != process:
                weakref.finalize(self, _dispose, self._engine, process)
            self._process = process
            return self._engine


def _dispose(engine: Engine, process: int) -> None:
    """Close the connections of an engine whose store is gone, unless they are a parent's."""
    engine.dispose(close=process == os.getpid())
