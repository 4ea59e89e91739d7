"""The store in SQLite keeps the promises of a store."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import md5
from pathlib import Path

import pytest

from tests.conformance.creating_suite import get, put
from tests.conformance.crossing_suite import CrossingSuite
from vault.actions import objects
from vault.core import limits
from vault.errors import Conflict
from vault.ports import Store
from vault.storage.opening import open_store
from vault.storage.sql import SqlStore


class TogetherSuite:
    """What `create_all` of a database promises: whole objects, few transactions, and nothing taken over."""

    def test_many_small_objects_are_created_together(self, store: SqlStore) -> None:
        many = {f"keys/{number:04d}": b"%d" % number * (number % 50) for number in range(1_200)}
        assert store.create_all(many) == []
        assert list(store.list("keys/")) == sorted(many)
        assert {name: get(store, name) for name in list(many)[::100]} == {
            name: many[name] for name in list(many)[::100]
        }
        assert store.create_all({}) == []

    def test_what_is_taken_or_large_is_left_to_create(self, store: SqlStore) -> None:
        put(store, "a/2", b"theirs")
        large = bytes(limits.MIB + 1)
        left = store.create_all({"a/1": b"1", "a/2": b"2", "a/3": bytes(limits.MIB), "a/4": large})
        assert {"a/2", "a/4"} <= set(left)
        assert set(store.list("")) == {"a/1", "a/2", "a/3", "a/4"} - set(left) | {"a/2"}
        assert get(store, "a/2") == b"theirs"
        objects.create_all(store, {"a/1": b"1", "a/2": b"theirs", "a/3": bytes(limits.MIB), "a/4": large})
        assert [store.stat(f"a/{number}").size for number in (1, 2, 3, 4)] == [
            1,
            6,
            limits.MIB,
            limits.MIB + 1,
        ]
        with pytest.raises(Conflict):
            objects.create_all(store, {"a/5": b"5", "a/2": b"ours"})
        assert get(store, "a/2") == b"theirs"

    def test_a_name_that_is_none_is_the_callers_mistake_before_anything_is_created(
        self, store: SqlStore
    ) -> None:
        with pytest.raises(ValueError, match="part"):
            store.create_all({"a": b"", "b/../c": b""})
        assert list(store.list("")) == []


class TestSqliteStore(TogetherSuite, CrossingSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        self.path = tmp_path / "store.db"
        yield open_store(f"sqlite:///{self.path}")
        if tables(self.path):
            with closing(sqlite3.connect(self.path)) as connection:
                assert connection.execute("SELECT version FROM mvault_schema").fetchall() == [(1,)]
                assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
                assert connection.execute("PRAGMA application_id").fetchone() == (0x6D766C74,)

    def fill(self, store: Store, names: list[str]) -> None:
        """Create many small objects in one transaction, each with its name for its bytes."""
        with store.create("first"):
            pass
        store.delete("first")
        rows = [(name, len(name), md5(name.encode()).digest(), name.encode()) for name in names]
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany(
                "INSERT INTO mvault_chunks (content, seq, data) VALUES (?, 0, ?)",
                [(content, data) for _, _, content, data in rows],
            )
            connection.executemany(
                "INSERT INTO mvault_objects (name, size, content) VALUES (?, ?, ?)",
                [(name, size, content) for name, size, content, _ in rows],
            )

    def check_no_litter(self, store: Store) -> None:
        if not tables(self.path):
            return
        with closing(sqlite3.connect(self.path)) as connection:
            orphans = connection.execute(
                "SELECT count(*) FROM mvault_chunks WHERE content NOT IN (SELECT content FROM mvault_objects)"
            )
            assert orphans.fetchone() == (0,)


def tables(path: Path) -> set[str]:
    """Name the tables of a database file."""
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
