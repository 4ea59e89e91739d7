"""Archives whose storage refuses, forgets or lies, and places that only a record names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.builders import Built
from tests.e2e.archive_parts import (
    content,
    move,
    nothing_is_lost,
    opened,
    payloads,
    three,
    verified,
)
from tests.faults import Fault, FaultyStore, on
from vault.actions import archiving
from vault.actions.archiving import ARCHIVED, INCOMPLETE
from vault.core import archives
from vault.core.names import Model, Version
from vault.errors import DigestMismatch, NotFound, Unavailable
from vault.storage.memory import MemorySource, MemoryStore

CHURN, ONE = Model("churn"), Version("1")


@pytest.fixture
def built() -> Built:
    return three()


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    return tmp_path / "cold"


def test_a_storage_that_does_not_remove_is_told_of_and_nothing_is_claimed(built: Built) -> None:
    target = MemoryStore()
    locked = FaultyStore(built.store, on("delete", Fault.DENIED))
    row = move(built.session(store=locked), target)
    assert (row.state, row.code) == (INCOMPLETE, "storage-denied")
    assert "3 of its 3 files stay here" in row.reason
    assert built.read("churn:1") == content(1)
    nothing_is_lost(built, built.store, target, "churn:1")
    assert move(built.session(), target).state == ARCHIVED, "once the lock has ended"


def test_a_storage_that_only_says_that_it_removed_is_told_of(built: Built) -> None:
    class Keeping(MemoryStore):
        def delete(self, name: str) -> None:
            return

    store = Keeping(built.store.objects)
    row = move(built.session(store=store), MemoryStore())
    assert row.state == INCOMPLETE


def test_an_archive_that_does_not_keep_what_it_was_given_gets_nothing(built: Built) -> None:
    class Forgetting(MemoryStore):
        @contextmanager
        def open(self, name: str) -> Iterator[MemorySource]:
            self.objects[name] = bytes(len(self.objects[name]))
            with super().open(name) as source:
                yield source

    before = dict(built.store.objects)
    with pytest.raises(DigestMismatch):
        move(built.session(), Forgetting())
    assert built.store.objects == before, "neither removed nor recorded"


def test_what_a_stranger_put_into_the_archive_before_is_not_taken_for_the_payload(built: Built) -> None:
    target = MemoryStore({payloads(built, "churn:1")[0]: b"squatted"})
    before = dict(built.store.objects)
    with pytest.raises(DigestMismatch):
        move(built.session(), target)
    assert built.store.objects == before


def test_an_archive_on_a_server_that_only_the_record_names_is_not_asked(built: Built) -> None:
    session = built.session()
    found = verified(session, "churn:1")
    files = tuple(sorted(bytes.fromhex(name.rpartition("/")[2]) for name in payloads(built, "churn:1")))
    where = "s3://cold/?endpoint=http://evil.example"
    record = archiving.value(session, found, None, archives.ARCHIVED, (archives.STORE, where), files, 1)
    archiving.write(session, found, record)
    for name in payloads(built, "churn:1"):
        del built.store.objects[name]
    with pytest.raises(ValueError, match="--from"):
        opened(built).unarchive("churn:1")
    with pytest.raises(ValueError, match="--from"):
        opened(built).pull("churn:1", "/nowhere", wait=True)


def test_an_archive_that_was_moved_is_named_by_hand(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    cold.rename(cold.parent / "moved")
    with pytest.raises((NotFound, Unavailable)):
        vault.unarchive("churn:1")
    vault.unarchive("churn:1", source=str(cold.parent / "moved"))
    assert built.read("churn:1") == content(1)


def test_an_archive_that_does_not_have_what_was_moved_there_is_named(built: Built, cold: Path) -> None:
    vault = opened(built)
    vault.archive("churn:1", to=str(cold))
    cold.rename(cold.parent / "unmounted")
    for again in (lambda: vault.unarchive("churn:1"), lambda: vault.pull("churn:1", cold / "x", wait=True)):
        with pytest.raises(Unavailable) as caught:
            again()
        assert str(cold) in caught.value.message
        assert "--from LOCATION" in caught.value.hint, "and not the command that was just given"
