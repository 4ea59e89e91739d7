"""Whoever may write to the tables, or brings the file, gets no more than an object that is not available."""

import os
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.conformance.creating_suite import get, put
from tests.servers.postgres import PostgresServer, postgres  # noqa: F401
from vault.core import limits
from vault.errors import NotFound, Unavailable, VaultError
from vault.storage import sql_sqlite
from vault.storage.opening import open_store
from vault.storage.sql import SqlStore

LARGE = Random(9).randbytes(2 * limits.MIB + 100)
SMALL = b"small"


@dataclass(frozen=True)
class Tables:
    """A store with a `large` and a `small` object, and the attacker's own way to its tables."""

    kind: str
    url: str
    execute: Callable[[str], list[Any]]

    @property
    def store(self) -> SqlStore:
        store = open_store(self.url)
        assert isinstance(store, SqlStore)
        return store

    def without_rules(self) -> None:
        """Replace the tables by such as take anything: whoever owns them can."""
        kinds = "" if self.kind == "sqlite" else "text"
        numbers = "" if self.kind == "sqlite" else "bigint"
        blobs = "" if self.kind == "sqlite" else "bytea"
        for statement in (
            f"CREATE TABLE loose_objects (name {kinds}, size {numbers}, content {blobs}, created {numbers})",
            "INSERT INTO loose_objects SELECT name, size, content, created FROM mvault_objects",
            f"CREATE TABLE loose_chunks (content {blobs}, seq {numbers}, data {blobs}, created {numbers})",
            "INSERT INTO loose_chunks SELECT content, seq, data, created FROM mvault_chunks",
            "DROP TABLE mvault_objects",
            "DROP TABLE mvault_chunks",
            "ALTER TABLE loose_objects RENAME TO mvault_objects",
            "ALTER TABLE loose_chunks RENAME TO mvault_chunks",
            "CREATE INDEX loose_names ON mvault_objects (name)" if self.kind == "sqlite" else "SELECT 1",
            "CREATE INDEX loose_seqs ON mvault_chunks (content, seq)"
            if self.kind == "sqlite"
            else "SELECT 1",
        ):
            self.execute(statement)


@pytest.fixture(params=["sqlite", "postgres"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tables]:
    if request.param == "sqlite":
        path = tmp_path / "vault.db"

        def execute(statement: str) -> list[Any]:
            with closing(sqlite3.connect(path)) as connection, connection:
                return connection.execute(statement).fetchall()

        made = Tables("sqlite", f"sqlite:///{path}", execute)
        filled(made)
        yield made
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    schema = server.new_schema()
    with server.connect() as connection:
        connection.execute(f"SET search_path = {schema}")

        def run(statement: str) -> list[Any]:
            done = connection.execute(statement)
            return [*done.fetchall()] if done.description is not None else []

        made = Tables("postgres", server.url(schema), run)
        filled(made)
        yield made
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


def filled(tables: Tables) -> None:
    put(tables.store, "large", LARGE)
    put(tables.store, "small", SMALL)


def zeros(size: int) -> str:
    """Write so many zero bytes in PostgreSQL's SQL."""
    return f"decode(repeat('00', {size}), 'hex')"


SMALLS = "(SELECT content FROM mvault_objects WHERE name = 'small')"
OF = {
    "large": "content = (SELECT content FROM mvault_objects WHERE name = 'large')",
    "small": "content = (SELECT content FROM mvault_objects WHERE name = 'small')",
}
# What is done to the object `large`, or in its place; None where one database cannot hold such a thing.
DAMAGE: dict[str, tuple[str | None, str | None]] = {
    "size too small": ("UPDATE mvault_objects SET size = 5 WHERE name = 'large'",) * 2,
    "size too large": ("UPDATE mvault_objects SET size = size + 1 WHERE name = 'large'",) * 2,
    "a chunk more": ("UPDATE mvault_objects SET size = size + 1048576 WHERE name = 'large'",) * 2,
    "a chunk less": ("UPDATE mvault_objects SET size = size - 1048576 WHERE name = 'large'",) * 2,
    "size negative": ("UPDATE mvault_objects SET size = -1 WHERE name = 'large'",) * 2,
    "size huge": ("UPDATE mvault_objects SET size = 9223372036854775807 WHERE name = 'large'",) * 2,
    "size NULL": ("UPDATE mvault_objects SET size = NULL WHERE name = 'large'",) * 2,
    "size text": ("UPDATE mvault_objects SET size = 'many' WHERE name = 'large'", None),
    "size real": ("UPDATE mvault_objects SET size = 2097252.0 WHERE name = 'large'", None),
    "size a blob": ("UPDATE mvault_objects SET size = x'00' WHERE name = 'large'", None),
    "content NULL": ("UPDATE mvault_objects SET content = NULL WHERE name = 'large'",) * 2,
    "content short": (
        "UPDATE mvault_objects SET content = x'00' WHERE name = 'large'",
        "UPDATE mvault_objects SET content = '\\x00' WHERE name = 'large'",
    ),
    "content huge": (
        "UPDATE mvault_objects SET content = zeroblob(50000000) WHERE name = 'large'",
        "UPDATE mvault_objects SET content = decode(repeat('00', 50000000), 'hex') WHERE name = 'large'",
    ),
    "content a number": ("UPDATE mvault_objects SET content = 7 WHERE name = 'large'", None),
    "content of another": (f"UPDATE mvault_objects SET content = {SMALLS} WHERE name = 'large'",) * 2,
    "first chunk gone": (f"DELETE FROM mvault_chunks WHERE seq = 0 AND {OF['large']}",) * 2,
    "middle chunk gone": (f"DELETE FROM mvault_chunks WHERE seq = 1 AND {OF['large']}",) * 2,
    "last chunk gone": (f"DELETE FROM mvault_chunks WHERE seq = 2 AND {OF['large']}",) * 2,
    "chunks moved": (f"UPDATE mvault_chunks SET seq = seq + 1 WHERE {OF['large']}",) * 2,
    "chunk doubled": (
        f"INSERT INTO mvault_chunks SELECT * FROM mvault_chunks WHERE seq = 1 AND {OF['large']}",
    )
    * 2,
    "object doubled": ("INSERT INTO mvault_objects SELECT * FROM mvault_objects WHERE name = 'large'",) * 2,
    "chunk short": (f"UPDATE mvault_chunks SET data = substr(data, 2) WHERE seq = 1 AND {OF['large']}",) * 2,
    "chunk long": (
        f"UPDATE mvault_chunks SET data = zeroblob(1048577) WHERE seq = 1 AND {OF['large']}",
        f"UPDATE mvault_chunks SET data = {zeros(1048577)} WHERE seq = 1 AND {OF['large']}",
    ),
    "chunk huge": (
        f"UPDATE mvault_chunks SET data = zeroblob(50000000) WHERE seq = 1 AND {OF['large']}",
        f"UPDATE mvault_chunks SET data = {zeros(50000000)} WHERE seq = 1 AND {OF['large']}",
    ),
    "first chunk huge": (
        f"UPDATE mvault_chunks SET data = zeroblob(50000000) WHERE seq = 0 AND {OF['large']}",
        f"UPDATE mvault_chunks SET data = {zeros(50000000)} WHERE seq = 0 AND {OF['large']}",
    ),
    "chunk NULL": (f"UPDATE mvault_chunks SET data = NULL WHERE seq = 1 AND {OF['large']}",) * 2,
    "chunk a number": (
        f"UPDATE mvault_chunks SET data = 9223372036854775807 WHERE seq = 1 AND {OF['large']}",
        None,
    ),
    "chunk text": (
        f"UPDATE mvault_chunks SET data = CAST(data AS TEXT) WHERE seq = 1 AND {OF['large']}",
        None,
    ),
    "seq text": (f"UPDATE mvault_chunks SET seq = '1x' WHERE seq = 1 AND {OF['large']}", None),
}
COUNT = 29
CONSISTENT = {"size too small", "content of another", "a chunk less"}


def attempts(store: SqlStore) -> dict[str, Callable[[], object]]:
    """Give every way to read `large`, at its start, in its middle and as a whole."""

    def part(offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        with store.open("large") as source:
            found = source.read_into(offset, memoryview(buffer))
        return bytes(buffer[:found])

    return {
        "read": lambda: store.read("large", limit=len(LARGE)),
        "start": lambda: part(0, 10),
        "middle": lambda: part(limits.MIB + 5, 10),
        "whole": lambda: part(0, len(LARGE)),
        "end": lambda: part(len(LARGE) - 10, 10),
    }


def test_every_damage_is_counted() -> None:
    assert len(DAMAGE) == COUNT
    assert sum(on_postgres is None for _, on_postgres in DAMAGE.values()) == 7


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_row_that_lies_makes_its_object_unavailable_and_costs_little(tables: Tables, damage: str) -> None:
    statement = DAMAGE[damage][tables.kind == "postgres"]
    if statement is None:
        return  # PostgreSQL's columns have types: there is no such row
    tables.without_rules()
    tables.execute(statement + " RETURNING 1")
    store = tables.store
    told: list[tuple[str, type[VaultError], str, str]] = []
    tracemalloc.start()
    try:
        for way, attempt in attempts(store).items():
            try:
                seen = attempt()
            except VaultError as error:
                told.append((way, type(error), error.code, error.subject))
            else:
                true = {"start": LARGE[:10], "middle": LARGE[limits.MIB + 5 :][:10], "end": LARGE[-10:]}
                # What another object's content id, or a smaller size, gives is for signatures to refuse.
                assert seen == true.get(way, LARGE) or damage in CONSISTENT
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert told, "something of it is noticed"
    for way, kind, code, subject in told:
        assert kind is Unavailable or code == "too-large", way
        assert subject == "large", way
    assert peak < 12 * limits.MIB, "what is announced is not what is allocated, and no row is read unseen"
    assert get(store, "small") == SMALL
    assert set(store.list("")) == {"large", "small"}
    with suppress(Unavailable):
        assert store.stat("large").size >= 0


BAD_NAMES = (
    "",
    "/",
    "a/",
    "a//b",
    "../up",
    ".",
    "a b",
    "é",
    "\U0001f600",
    "x" * 901,
    ".mvault-tmp/x",
    "\x7f",
    "a\x01",
)


def test_names_that_are_none_are_no_objects(tables: Tables) -> None:
    tables.without_rules()
    for name in BAD_NAMES:
        tables.execute(
            f"INSERT INTO mvault_objects SELECT '{name}', size, content, created FROM mvault_objects "
            "WHERE name = 'small' RETURNING 1"
        )
    if tables.kind == "sqlite":
        for value in ("NULL", "7", "1.5", "x'6c'", "CAST(x'ff2f78' AS TEXT)", "'l' || char(0) || 'x'"):
            tables.execute(
                f"INSERT INTO mvault_objects SELECT {value}, size, content, created FROM mvault_objects "
                "WHERE name = 'small' RETURNING 1"
            )
    else:
        tables.execute(
            "INSERT INTO mvault_objects VALUES (NULL, 1, NULL, 1), (repeat('y', 5000000), 1, NULL, 1)"
        )
    put(tables.store, "a/b/c", b"x")
    names = ["a/b/c", "large", "small"]
    assert list(tables.store.list("")) == names
    assert list(tables.store.list("a")) == ["a/b/c"]
    for after in ("a/b/b", "a/\U0001f600", "a/b/\0", "a\x00", "\ud800", "a b"):
        assert list(tables.store.list("", after=after)) == [name for name in names if name > after]
    assert list(tables.store.list_folders("")) == ["a/", "large", "small"]
    assert list(tables.store.list_folders("a/")) == ["b/"]


def test_a_huge_name_in_a_file_is_absent_or_makes_it_unavailable(tmp_path: Path) -> None:
    for value in ("CAST(zeroblob(5000000) AS TEXT)", "zeroblob(5000000)"):
        path = tmp_path / f"{len(value)}.db"
        store = hostile(
            path, *ONE_VERSION, "CREATE TABLE mvault_objects (name, size, content, created)", CHUNKS,
            f"INSERT INTO mvault_objects (name) VALUES ({value})",
        )  # fmt: skip
        for listing in (store.list, store.list_folders):
            with suppress(Unavailable):
                assert list(listing("")) == []


def test_a_thousand_names_that_are_none_hide_nothing(tables: Tables) -> None:
    tables.without_rules()
    numbers = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)",
        "postgres": "WITH n(i) AS (SELECT generate_series(1, 2500))",
    }[tables.kind]
    tables.execute(
        f"INSERT INTO mvault_objects (name) {numbers} SELECT 'k//' || i FROM n"
        if tables.kind == "postgres"
        else f"{numbers} INSERT INTO mvault_objects (name) SELECT 'k//' || i FROM n"
    )
    put(tables.store, "k/x", b"x")
    assert list(tables.store.list("")) == ["k/x", "large", "small"]
    assert list(tables.store.list_folders("k/")) == ["x"]


def test_a_chunk_that_was_slipped_in_under_an_upload_is_noticed(tables: Tables) -> None:
    """Its content id is no secret once its first chunk is stored."""
    store = tables.store

    def write() -> None:
        with store.create("new") as sink:
            sink.write(LARGE[: limits.MIB + 1])
            zero = "x'00'" if tables.kind == "sqlite" else "'\\x00'"
            tables.execute(
                f"INSERT INTO mvault_chunks (content, seq, data) SELECT content, 1, {zero} "
                "FROM mvault_chunks WHERE content NOT IN (SELECT content FROM mvault_objects) RETURNING 1"
            )
            sink.write(LARGE[limits.MIB + 1 :])

    with pytest.raises(Unavailable):
        write()
    assert list(store.list("")) == ["large", "small"]


def test_chunks_beyond_the_end_are_not_looked_at(tables: Tables) -> None:
    zero = "x'00'" if tables.kind == "sqlite" else "'\\x00'"
    tables.execute(
        f"INSERT INTO mvault_chunks (content, seq, data) SELECT content, 3, {zero} FROM mvault_objects "
        "RETURNING 1"
    )
    assert get(tables.store, "large") == LARGE
    assert get(tables.store, "small") == SMALL


@pytest.mark.parametrize("missing", ["mvault_objects", "mvault_chunks"])
def test_tables_that_were_removed_are_said_to_be(tables: Tables, missing: str) -> None:
    tables.execute(f"DROP TABLE {missing}")
    for attempt in (
        lambda: get(tables.store, "large"),
        lambda: put(tables.store, "new"),
        lambda: tables.store.delete("large"),
    ):
        with pytest.raises(Unavailable):
            attempt()


def test_tables_of_other_columns_are_unavailable(tables: Tables) -> None:
    tables.execute("DROP TABLE mvault_objects")
    tables.execute("CREATE TABLE mvault_objects (name integer, bytes integer)")
    with pytest.raises(Unavailable):
        get(tables.store, "large")
    with pytest.raises(Unavailable):
        tables.store.stat("large")


# Files of SQLite, which an attacker may have made from scratch.


def hostile(path: Path, *statements: str) -> SqlStore:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    store = open_store(f"sqlite:///{path}")
    assert isinstance(store, SqlStore)
    return store


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
ONE_VERSION = ("CREATE TABLE mvault_schema (version)", "INSERT INTO mvault_schema VALUES (1)")
CHUNKS = "CREATE TABLE mvault_chunks (content, seq, data, created)"


def test_a_view_without_end_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_sqlite, "WAIT_SECONDS", 0.3)
    store = hostile(
        tmp_path / "a.db",
        *ONE_VERSION,
        f"CREATE VIEW mvault_objects AS {ENDLESS} SELECT 'x' || i AS name, 1 AS size, NULL AS content FROM n",
        CHUNKS,
    )
    started = time.monotonic()
    for attempt in (lambda: store.stat("a"), lambda: list(store.list("")), lambda: get(store, "a")):
        with pytest.raises(Unavailable, match="too long"):
            attempt()
    assert time.monotonic() - started < 20


def test_a_value_that_a_view_makes_is_bounded(tmp_path: Path) -> None:
    store = hostile(
        tmp_path / "a.db",
        *ONE_VERSION,
        f"CREATE VIEW mvault_objects AS SELECT 'a' AS name, 1048576 AS size, x'{'00' * 16}' AS content",
        f"CREATE VIEW mvault_chunks AS SELECT x'{'00' * 16}' AS content, 0 AS seq, "
        "zeroblob(90000000) AS data",
    )
    with pytest.raises(Unavailable):
        get(store, "a")
    with pytest.raises(Unavailable):
        put(store, "b")


def test_a_schema_is_not_trusted_with_functions_that_act(tmp_path: Path) -> None:
    target = tmp_path / "made.txt"
    store = hostile(
        tmp_path / "a.db",
        *ONE_VERSION,
        "CREATE TABLE mvault_objects (name, size, content, created)",
        CHUNKS,
        "CREATE TRIGGER t AFTER INSERT ON mvault_objects BEGIN "
        f"SELECT load_extension('{target}'), fts3_tokenizer('x'); END",
    )
    with pytest.raises(Unavailable):
        put(store, "a")
    assert not target.exists()
    assert list(store.list("")) == []


@pytest.mark.parametrize("version", ["2", "NULL", "'1'", "x'01'", "1e308", "zeroblob(5000000)"])
def test_a_version_that_is_not_ours_is_refused(tmp_path: Path, version: str) -> None:
    store = hostile(
        tmp_path / "a.db",
        "CREATE TABLE mvault_schema (version)",
        f"INSERT INTO mvault_schema VALUES ({version})",
    )
    with pytest.raises(Unavailable):
        list(store.list(""))
    with pytest.raises(Unavailable):
        put(store, "a")


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_file_in_another_encoding_gives_the_same_names_or_is_unavailable(
    tmp_path: Path, encoding: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE mvault_schema (version INTEGER)")
        connection.execute("INSERT INTO mvault_schema VALUES (1)")
        connection.execute(
            "CREATE TABLE mvault_objects (name TEXT PRIMARY KEY, size INTEGER, content BLOB, created)"
        )
        connection.execute(CHUNKS)
        connection.commit()
    store = open_store(f"sqlite:///{tmp_path / 'a.db'}")
    put(store, "b/c", b"x")
    put(store, "a", b"y")
    assert get(store, "b/c") == b"x"
    with suppress(Unavailable):
        assert list(store.list("")) == ["a", "b/c"]


def test_damaged_pages_are_unavailable_or_true(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = open_store(f"sqlite:///{path}")
    for number in range(20):
        put(store, f"n/{number:02d}", Random(number).randbytes(2_000))
    put(store, "large", LARGE)
    del store
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")
    whole = path.read_bytes()
    random = Random(3)
    seen = {"true": 0, "false": 0, "unavailable": 0}
    for _ in range(80):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[random.randrange(len(whole) if random.random() < 0.3 else 80_000)] = random.randrange(256)
        path.write_bytes(damaged)
        store = open_store(f"sqlite:///{path}")
        for name in ("n/03", "large"):
            try:
                data = get(store, name)
            except (Unavailable, NotFound):
                seen["unavailable"] += 1
            else:  # bytes themselves are for signatures to judge
                seen["true" if data in {LARGE, Random(3).randbytes(2_000)} else "false"] += 1
        try:
            assert len(list(store.list(""))) < 1_000
            list(store.list_folders(""))
        except Unavailable:
            seen["unavailable"] += 1
        del store
        for leftover in tmp_path.glob("a.db-*"):
            os.unlink(leftover)
    assert seen["unavailable"] > 2
    assert seen["true"] > 5


def test_a_truncated_or_foreign_file_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    put(open_store(f"sqlite:///{path}"), "a", LARGE)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    whole = path.read_bytes()
    for data in (
        whole[:100],
        whole[: len(whole) // 2],
        b"not a database" * 1000,
        b"\0" * 5000,
        whole[:16] + b"\xff" * 4096,
    ):
        path.write_bytes(data)
        for act in (
            lambda: get(open_store(f"sqlite:///{path}"), "a"),
            lambda: put(open_store(f"sqlite:///{path}"), "b"),
        ):
            with suppress(Unavailable, NotFound):  # a part that is missing may be one that this did not need
                assert act() in {None, LARGE}


def test_a_fork_of_a_process_that_has_connections_reads_on(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'a.db'}")
    put(store, "a", b"parent")
    child = os.fork()
    if child == 0:
        try:
            ok = all(get(store, "a") == b"parent" for _ in range(20))
            put(store, "b", b"child")
            os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert get(store, "b") == b"child"
