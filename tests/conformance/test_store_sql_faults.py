"""The store in SQLite when the disk, the file or another process is in the way."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.conformance import processes
from tests.conformance.creating_suite import get, put
from tests.conformance.test_store_sql import tables
from vault.core import limits
from vault.errors import Conflict, Unavailable
from vault.storage import sql_sqlite
from vault.storage.opening import open_store
from vault.storage.sql import SqlStore

LARGE = Random(6).randbytes(3 * limits.MIB)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.db"


@pytest.fixture
def store(path: Path) -> SqlStore:
    made = open_store(f"sqlite:///{path}")
    assert isinstance(made, SqlStore)
    return made


def test_commits_are_synced_and_what_comes_before_them_need_not_be(store: SqlStore) -> None:
    put(store, "a")

    def level(connection: object) -> int:
        return int(connection.exec_driver_sql("PRAGMA synchronous").scalar())  # type: ignore[attr-defined]

    with store.create("b") as sink:
        sink.write(LARGE)
    assert store._database.run("look at", "", level) == 2  # FULL (sqlite.org, "PRAGMA synchronous")


@pytest.mark.parametrize("data", [b"x" * 200_000, LARGE], ids=["one chunk", "several"])
def test_a_full_disk_is_said_and_nothing_is_visible(store: SqlStore, path: Path, data: bytes) -> None:
    put(store, "before", b"x")
    pages = store._database.run(
        "look at", "", lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar()
    )
    limit_pages(store, int(pages or 0) + 5)
    with pytest.raises(Unavailable) as caught:
        put(store, "a/b", data)
    assert (caught.value.code, caught.value.subject) == ("storage-full", "a/b")
    assert list(store.list("")) == ["before"]
    assert get(store, "before") == b"x"
    limit_pages(store, 1 << 20)
    put(store, "a/b", data)
    assert get(store, "a/b") == data


def limit_pages(store: SqlStore, most: int) -> None:
    """Let the file have at most so many pages, as a full disk would; a limit belongs to a connection."""
    store._database.run(
        "limit", "", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={most}").scalar()
    )


def test_an_interrupted_writer_leaves_what_is_swept_later(store: SqlStore, path: Path) -> None:
    put(store, "a", LARGE)

    def fail() -> None:
        with store.create("b") as sink:
            sink.write(LARGE)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    now = int(time.time())
    assert store.sweep_leftovers(3_600, now) == 0
    assert store.sweep_leftovers(0, now + 3_600) == 1
    assert store.sweep_leftovers(0, now + 3_600) == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM mvault_chunks").fetchone() == (3,)
    assert get(store, "a") == LARGE

    def swept() -> None:
        with store.create("c") as sink:
            sink.write(LARGE)
            assert store.sweep_leftovers(0, now + 3_600) == 1

    with pytest.raises(Unavailable, match="swept"):
        swept()
    assert list(store.list("")) == ["a"]


def test_a_process_that_holds_the_file_is_waited_for_and_then_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_sqlite, "BUSY_SECONDS", 0.3)
    store = open_store(f"sqlite:///{path}")
    put(store, "a", b"x")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked") as caught:
            put(store, "b", b"y")
        assert "Another process" in caught.value.hint
        assert get(store, "a") == b"x", "readers do not wait for a writer"
        other.execute("ROLLBACK")
    put(store, "b", b"y")
    assert get(store, "b") == b"y"


def test_another_programs_database_is_not_touched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    before = path.read_bytes()
    store = open_store(f"sqlite:///{path}")
    assert list(store.list("")) == []
    with pytest.raises(Unavailable, match="another program"):
        put(store, "a")
    assert path.read_bytes() == before
    assert tables(path) == {"theirs"}


def test_a_file_that_is_no_database_or_a_missing_folder_is_said(tmp_path: Path, path: Path) -> None:
    path.write_bytes(b"This is not a database, but a text that somebody keeps here." * 100)
    for act in (
        lambda: put(open_store(f"sqlite:///{path}"), "a"),
        lambda: open_store(f"sqlite:///{path}").stat("a"),
    ):
        with pytest.raises(Unavailable, match="not a database"):
            act()
    with pytest.raises(Unavailable, match="unable to open"):
        put(open_store(f"sqlite:///{tmp_path}/missing/a.db"), "a")
    with pytest.raises(Unavailable):
        put(open_store(f"sqlite:///{tmp_path}"), "a")


def test_an_empty_file_becomes_a_vault(path: Path) -> None:
    """As a writer leaves it that was killed before it had made the tables."""
    path.touch()
    store = open_store(f"sqlite:///{path}")
    assert list(store.list("")) == []
    put(store, "a", b"x")
    assert get(store, "a") == b"x"


READ_ONLY = """
import os, sys
from vault.errors import Unavailable
from vault.storage.opening import open_store

# While this process may read its own libraries and this tree.
import sqlalchemy.dialects.sqlite
import vault.storage.sql_reading, vault.storage.sql_sqlite, vault.storage.sql_writing

store = open_store(sys.argv[1])
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    with store.create("b") as sink:
        sink.write(b"x")
except Unavailable as error:
    print(error.code, error.subject)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the user and group 65534 are Linux's")
@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_who_may_not_write_is_told_so(store: SqlStore, path: Path, tmp_path: Path, mode: int) -> None:
    put(store, "a", b"x")
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & 0o001:
            os.chmod(folder, 0o755)
    del store
    os.chmod(path, mode)
    environment = {**os.environ, "PYTHONPATH": str(processes.REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(
            [sys.executable, "-c", READ_ONLY, f"sqlite:///{path}"],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.chmod(path, 0o644)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("storage-denied")


def test_several_connections_of_one_store_see_what_was_committed(store: SqlStore) -> None:
    with store.create("a") as first:
        first.write(b"one")
        with store.create("b") as second:
            second.write(LARGE)
        assert get(store, "b") == LARGE
    assert get(store, "a") == b"one"
    with pytest.raises(Conflict):
        put(store, "b")
