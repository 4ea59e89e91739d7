"""Take the URL of a database apart: which server or file, which schema, and no secret in what is shown."""

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

# Beside `schema` and `host` these are libpq's own (PostgreSQL, "Parameter Key Words").
POSTGRES_OPTIONS: Final = (
    "host",
    "passfile",
    "require_auth",
    "schema",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
)
DEFAULT_SCHEMA: Final = "public"

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_PORT: Final = re.compile(r"[0-9]{1,5}\Z")
_URL_CHARS: Final = 4_096
_SQLITE: Final = re.compile(r"sqlite:///(.+)\Z", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """Where a PostgreSQL server is: `parameters` are libpq's, `location` is the URL without its password."""

    location: str
    schema: str
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """Where an SQLite database is: the absolute `path` of its file, and its URL."""

    location: str
    path: str


def parse(url: str) -> PostgresAddress | SqliteAddress:
    """Parse the URL of a database.

    Raises:
        ValueError: it is malformed, or has an option that is not known; no password is in the message.
    """
    if len(url) > _URL_CHARS or any(ord(char) < 0x20 or ord(char) == 0x7F for char in url):
        raise ValueError(f"a database's URL has at most {_URL_CHARS} characters and no control character")
    scheme = url.partition(":")[0].lower()
    return _sqlite(url) if scheme == "sqlite" else _postgres(url)


def _sqlite(url: str) -> SqliteAddress:
    """Read `sqlite:///relative` or `sqlite:////absolute`, as SQLAlchemy writes them: nothing is unquoted."""
    found = _SQLITE.match(url)
    path = found[1] if found is not None else ""
    if not path or path.startswith(":memory:") or path.endswith("/"):
        raise ValueError(
            "An SQLite vault is a file: sqlite:////an/absolute/path.db (four slashes) or sqlite:///relative.db"
        )
    if "?" in path or "#" in path:
        raise ValueError("An SQLite vault has no options, and no '?' or '#' in the name of its file.")
    absolute = os.path.abspath(path)
    return SqliteAddress(location=f"sqlite:///{absolute}", path=absolute)


def _postgres(url: str) -> PostgresAddress:
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        database = unquote(parts.path.removeprefix("/"), errors="strict")
    except ValueError:
        raise _malformed() from None
    if parts.fragment or "/" in database or "\0" in unquote(url):
        raise _malformed()
    options = _options(given)
    user, password, hosts = _authority(parts.netloc)
    schema = options.pop("schema", DEFAULT_SCHEMA)
    if _SCHEMA.match(schema) is None:
        raise ValueError("The option schema is a name of small letters, digits and '_', at most 63.")
    if hosts and "host" in options:
        raise ValueError("The host is named twice: before the database and as an option.")
    parameters = dict(options)
    if database:
        parameters["dbname"] = database
    if user:
        parameters["user"] = user
    if hosts:
        parameters["host"] = ",".join(host for host, _ in hosts)
        if any(port for _, port in hosts):
            parameters["port"] = ",".join(port for _, port in hosts)
    location = _location(user, hosts, database, schema, options)
    if password:
        parameters["password"] = password
    return PostgresAddress(location, schema, parameters)


def _options(given: list[tuple[str, str]]) -> dict[str, str]:
    """Check the names of options, each once; their values are libpq's to judge."""
    options = dict(given)
    unknown = sorted(set(options) - set(POSTGRES_OPTIONS))
    if unknown:
        raise ValueError(
            f"{unknown[0][:40]!r} is not an option of a PostgreSQL vault. "
            f"There are: {', '.join(POSTGRES_OPTIONS)}. A password comes from PGPASSWORD or ~/.pgpass."
        )
    if len(options) != len(given):
        raise ValueError("An option of the vault's URL is given twice.")
    return options


def _authority(text: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Split `user:password@host:port,host:port` into user, password, and hosts with their ports."""
    identity, _, servers = text.rpartition("@")
    user, _, password = identity.partition(":")
    hosts = [_host(server) for server in servers.split(",")] if servers else []
    try:
        return unquote(user, errors="strict"), unquote(password, errors="strict"), hosts
    except ValueError:
        raise _malformed() from None


def _host(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            raise _malformed()
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if not host or (port and (_PORT.match(port) is None or not 0 < int(port) < 1 << 16)):
        raise _malformed()
    return host, port


def _location(
    user: str, hosts: list[tuple[str, str]], database: str, schema: str, options: dict[str, str]
) -> str:
    """Write the URL again, one spelling for one place, without the password."""
    servers = ",".join(
        (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "") for host, port in hosts
    )
    shown = dict(options)
    if schema != DEFAULT_SCHEMA:
        shown["schema"] = schema
    identity = quote(user, safe="") + "@" if user else ""
    query = "?" + urlencode(sorted(shown.items()), safe="/,") if shown else ""
    return f"postgresql://{identity}{servers}/{quote(database, safe='')}{query}"


def _malformed() -> ValueError:
    return ValueError("A PostgreSQL vault's URL is postgresql://user@host:port/database?option=value")
