"""The URL of a database opens its store, shows no password, and makes nothing before it must."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.creating_suite import get, put
from vault.errors import MissingLibrary, NotFound
from vault.storage import sql_postgres
from vault.storage.opening import open_store
from vault.storage.sql_address import POSTGRES_OPTIONS, PostgresAddress, parse


def postgres_address(url: str) -> PostgresAddress:
    address = parse(url)
    assert isinstance(address, PostgresAddress)
    return address


@pytest.mark.parametrize(
    ("url", "location", "parameters"),
    [
        (
            "postgresql://ann@db.example.org/ml",
            "postgresql://ann@db.example.org/ml",
            {"user": "ann", "host": "db.example.org", "dbname": "ml"},
        ),
        (
            "postgresql://ann:p%40ss:word@db:6432/ml?sslmode=verify-full&schema=models",
            "postgresql://ann@db:6432/ml?schema=models&sslmode=verify-full",
            {"user": "ann", "password": "p@ss:word", "host": "db", "port": "6432", "dbname": "ml",
             "sslmode": "verify-full"},
        ),
        (
            "POSTGRESQL://db1:5432,db2/ml?target_session_attrs=read-write&schema=public",
            "postgresql://db1:5432,db2/ml?target_session_attrs=read-write",
            {"host": "db1,db2", "port": "5432,", "dbname": "ml", "target_session_attrs": "read-write"},
        ),
        (
            "postgresql:///ml?host=/run/postgresql",
            "postgresql:///ml?host=/run/postgresql",
            {"host": "/run/postgresql", "dbname": "ml"},
        ),
        (
            "postgresql://[::1]:5432/ml",
            "postgresql://[::1]:5432/ml",
            {"host": "::1", "port": "5432", "dbname": "ml"},
        ),
        (
            "postgresql://a%40b@db/m%20l",
            "postgresql://a%40b@db/m%20l",
            {"user": "a@b", "host": "db", "dbname": "m l"},
        ),
        ("postgresql://", "postgresql:///", {}),
    ],
)  # fmt: skip
def test_a_postgresql_url_says_where_and_as_whom(url: str, location: str, parameters: dict[str, str]) -> None:
    address = postgres_address(url)
    assert address.location == location
    assert address.parameters == parameters
    assert postgres_address(location).location == location, "one spelling"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/ml?password=hunter2",
        "postgresql://db/ml?options=-csearch_path%3Devil",
        "postgresql://db/ml?sslmode=require&sslmode=disable",
        "postgresql://db/ml?sslmode",
        "postgresql://db/ml?schema=Models",
        "postgresql://db/ml?schema=a%22b",
        "postgresql://db/ml?schema=",
        "postgresql://db/ml?schema=" + "x" * 64,
        "postgresql://db/ml/more",
        "postgresql://db/ml#fragment",
        "postgresql://ann:hunter2@db:port/ml",
        "postgresql://ann:hunter2@db:0/ml",
        "postgresql://ann:hunter2@db:70000/ml",
        "postgresql://ann:hunter2@[::1/ml",
        "postgresql://ann:hunter2@,/ml",
        "postgresql://ann:hunter2@db/%ff",
        "postgresql://ann:%ff@db/ml",
        "postgresql://ann:hunter2@db/m%00l",
        "postgresql://ann:hunter2@db/ml\n",
        "postgresql://db/ml?host=other",
        "postgresql://" + "x" * 5_000,
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://host/models.db",
        "sqlite:////srv/models.db?mode=ro",
        "sqlite:////srv/models/",
        "sqlite:////srv/models#1.db",
    ],
)
def test_other_urls_are_the_callers_mistake_and_show_no_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_option_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="pool_size") as caught:
        open_store("postgresql://db/ml?pool_size=100")
    for option in POSTGRES_OPTIONS:
        assert option in str(caught.value)


def test_waits_are_bounded_and_no_unknown_server_gets_a_password_in_clear_text() -> None:
    found = sql_postgres.parameters(postgres_address("postgresql://ann:secret@db/ml"))
    assert found["connect_timeout"] == 5
    assert found["tcp_user_timeout"] == 60_000
    assert found["require_auth"] == "!password"
    assert "sslmode" not in found, "libpq's own: PGSSLMODE, else prefer"
    for mode in ("verify-ca", "verify-full"):
        checked = sql_postgres.parameters(postgres_address(f"postgresql://ann@db/ml?sslmode={mode}"))
        assert "require_auth" not in checked
    chosen = sql_postgres.parameters(postgres_address("postgresql://ann@db/ml?require_auth=scram-sha-256"))
    assert chosen["require_auth"] == "scram-sha-256"


def test_an_sqlite_url_is_a_path_as_sqlalchemy_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (
        "sqlite:///a.db",
        "sqlite:///./a.db",
        f"sqlite:///{tmp_path}/a.db",
        f"SQLite:///{tmp_path}/x/../a.db",
    ):
        assert open_store(url).location == f"sqlite:///{tmp_path}/a.db"
    put(open_store("sqlite:///a%20 b.db"), "a", b"x")
    assert (tmp_path / "a%20 b.db").is_file(), "nothing is unquoted"


def test_looking_makes_nothing(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/a.db")
    assert list(store.list("")) == list(store.list_folders("")) == []
    with pytest.raises(NotFound):
        store.read("a", limit=1)
    with pytest.raises(NotFound), store.open("a"):
        pass
    store.delete("a")
    assert list(tmp_path.iterdir()) == []
    put(store, "a", b"x")
    assert get(store, "a") == b"x", "the same store sees what came to be"


def test_nothing_is_connected_by_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    assert open_store("postgresql://nobody@192.0.2.1/x").location == "postgresql://nobody@192.0.2.1/x"


@pytest.mark.parametrize(
    ("url", "missing", "extra"),
    [
        ("postgresql://db/ml", "sqlalchemy", "postgres"),
        ("postgresql://db/ml", "psycopg", "postgres"),
        ("sqlite:///a.db", "sqlalchemy", "sql"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    url: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("vault.storage.sql.find_spec", lambda name: None if name == missing else real(name))
    with pytest.raises(MissingLibrary, match=missing) as caught:
        open_store(url)
    assert f"model-artifact-vault[{extra}]" in caught.value.hint


def test_the_library_is_imported_with_the_first_such_store_and_psycopg_only_for_postgresql() -> None:
    code = """
import sys
from vault.storage.opening import open_store
open_store("models")
assert "sqlalchemy" not in sys.modules
open_store("sqlite:///a.db")
assert "sqlalchemy" in sys.modules and "psycopg" not in sys.modules
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
