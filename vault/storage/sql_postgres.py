"""Connect to PostgreSQL by psycopg 3: values as bytes, not as text, and never a wait without end."""

import time
from collections.abc import Generator
from functools import cache
from typing import Any, Final

from sqlalchemy import Engine, create_engine

from vault.storage import sql_statements
from vault.storage.sql_address import PostgresAddress
from vault.storage.sql_database import CONNECTIONS, CONNECTIONS_KEPT, WAIT_SECONDS, Dialect

_CONNECT_SECONDS: Final = 5
_RECYCLE_SECONDS: Final = 600  # a connection that idles in a pool may have been cut by a firewall
_MAKING_LOCK: Final = 0x6D7661756C74  # "mvault"; whoever makes tables holds this advisory lock
_LIBPQ_WITH_REQUIRE_AUTH: Final = 160_000


def dialect(address: PostgresAddress) -> Dialect:
    """Give the dialect of the server at `address`; nothing is connected yet."""
    return Dialect(
        statements=sql_statements.postgres(address.schema),
        open_engine=lambda: _open_engine(address),
        begin="BEGIN",
        making_lock=(f"SELECT pg_advisory_xact_lock({_MAKING_LOCK})",),
        # No name can be given to chunks while they are swept.
        sweeping_lock=(f'LOCK TABLE "{address.schema}".mvault_objects IN SHARE MODE',),
    )


def _open_engine(address: PostgresAddress) -> Engine:
    connecting = parameters(address)
    return create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connection_class().connect(**connecting),
        isolation_level="AUTOCOMMIT",  # each statement is a transaction of its own, and one round trip
        pool_size=CONNECTIONS_KEPT,
        max_overflow=CONNECTIONS - CONNECTIONS_KEPT,
        pool_timeout=WAIT_SECONDS,
        pool_recycle=_RECYCLE_SECONDS,
        pool_use_lifo=True,
        hide_parameters=True,
        use_native_hstore=False,
    )


def parameters(address: PostgresAddress) -> dict[str, Any]:
    """Give what psycopg connects with: the user's own parameters, and bounds on every wait.

    A server whose certificate was not checked may be anybody's, so it is not given a password in
    clear text (libpq's `require_auth`).
    """
    import psycopg

    found: dict[str, Any] = {
        "application_name": "mvault",
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": int(WAIT_SECONDS * 1000),
        "prepare_threshold": None,  # poolers in front of the server hand out another session each time
        **address.parameters,
    }
    checked = address.parameters.get("sslmode") in {"verify-ca", "verify-full"}
    if not checked and psycopg.pq.version() >= _LIBPQ_WITH_REQUIRE_AUTH:
        found.setdefault("require_auth", "!password")
    return found


@cache
def _connection_class() -> Any:
    """Make the class of connections, on first use: psycopg is imported when it is needed."""
    import psycopg

    class Connection(psycopg.Connection[Any]):
        """A connection whose results come in binary and whose waits end."""

        def cursor(self, *arguments: Any, **options: Any) -> Any:
            """Give a cursor; bytes as text would be twice as large."""
            options.setdefault("binary", True)
            return super().cursor(*arguments, **options)

        def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
            """Wait for the server, for as long as it gives signs of life."""
            return super().wait(_impatient(gen, self), *arguments, **options)

    def _impatient(steps: Any, connection: Connection) -> Generator[Any, Any, Any]:
        """Pass on psycopg's steps; psycopg looks in ten times a second, with nothing while nothing came."""
        heard = time.monotonic()
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > WAIT_SECONDS:
                    connection.close()
                    raise psycopg.OperationalError(f"no answer within {WAIT_SECONDS:.0f} s")
                wanted = steps.send(ready)
        except StopIteration as ended:
            return ended.value

    return Connection
