"""The local store creates batch after batch in a process of its own, and loses nothing when that dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.creating_suite import get, put
from vault.actions import objects
from vault.errors import Conflict, Unavailable
from vault.ports import CreatesInStream
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

BATCHES = [{f"a/{batch}/{number}": b"%d" % number for number in range(20)} for batch in range(4)]
ALL = {name: data for batch in BATCHES for name, data in batch.items()}
Process = subprocess.Popen[bytes]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    put(LocalStore(tmp_path / "store"), "vault.json", b"{}")
    return LocalStore(tmp_path / "store")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Note the processes that are started."""
    found: list[Process] = []
    real = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Process:
        found.append(real(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return found


def held(store: LocalStore) -> dict[str, bytes]:
    return {name: get(store, name) for name in store.list("a/")}


def test_batches_are_created_in_order_by_one_process_which_then_ends(
    store: LocalStore, started: list[Process]
) -> None:
    assert isinstance(store, CreatesInStream)
    assert list(store.create_stream(iter(BATCHES))) == [[], [], [], []]
    assert held(store) == ALL
    assert [process.returncode for process in started] == [0]


@pytest.mark.parametrize("batches", [[], BATCHES[:1]])
def test_for_few_objects_no_process_is_started(
    store: LocalStore, started: list[Process], batches: list[Mapping[str, bytes]]
) -> None:
    assert len(list(store.create_stream(batches))) == len(batches)
    assert not started
    assert held(store) == dict(*batches)


def test_the_next_batch_is_taken_while_one_is_created_and_no_further_one(store: LocalStore) -> None:
    taken = []

    def batches() -> Iterator[Mapping[str, bytes]]:
        for number, batch in enumerate(BATCHES):
            taken.append(number)
            yield batch

    done = [(list(taken), left) for left in store.create_stream(batches())]
    assert done == [([0], []), ([0, 1, 2], []), ([0, 1, 2, 3], []), ([0, 1, 2, 3], [])]


def test_names_that_are_taken_are_left_in_every_batch(store: LocalStore) -> None:
    for name in ("a/0/3", "a/1/4", "a/3/5"):
        put(store, name, b"theirs")
    assert list(store.create_stream(BATCHES)) == [["a/0/3"], ["a/1/4"], [], ["a/3/5"]]


def test_identical_bytes_count_as_success_and_others_as_conflict(store: LocalStore) -> None:
    put(store, "a/1/4", b"4")
    assert len(list(objects.create_stream(store, BATCHES))) == 4
    put(store, "b/4", b"theirs")
    with pytest.raises(Conflict):
        list(objects.create_stream(store, [{"b/1": b"1"}, {"b/2": b"2"}, {"b/4": b"4"}]))
    assert get(store, "b/4") == b"theirs"


def test_a_store_without_streams_creates_one_batch_after_the_other() -> None:
    store = MemoryStore()
    assert len(list(objects.create_stream(store, BATCHES))) == 4
    assert store.objects == ALL


@pytest.mark.parametrize("when", range(1, 4))
def test_a_process_that_is_killed_is_done_without(
    store: LocalStore, started: list[Process], when: int
) -> None:
    for number, left in enumerate(objects.create_stream(store, BATCHES)):
        assert left is None
        if number == when - 1 and started:
            os.killpg(started[0].pid, signal.SIGKILL)
    assert held(store) == ALL
    assert len(started) == 1


def test_where_no_process_can_be_started_all_is_done_here(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(store.location) + "/nothing")
    assert list(store.create_stream(BATCHES)) == [[], [], [], []]
    assert held(store) == ALL


def test_a_failure_of_the_file_system_is_told_as_it_would_be_here(store: LocalStore) -> None:
    put(store, "a/2", b"a file where a folder is needed")
    with pytest.raises(Unavailable) as here:
        store.create_all(BATCHES[2])
    with pytest.raises(Unavailable) as there:
        list(store.create_stream(BATCHES))
    assert there.value.__reduce__() == here.value.__reduce__()
    assert held(store) == {**BATCHES[0], **BATCHES[1], "a/2": get(store, "a/2")}


def test_a_name_that_is_none_reaches_no_file(store: LocalStore) -> None:
    with pytest.raises(ValueError, match=r"part"):
        list(store.create_stream([{"a/1": b""}, {"a/2": b""}, {"../b": b""}]))
    assert not (Path(store.location).parent / "b").exists()


def test_who_stops_early_leaves_no_process_behind(store: LocalStore, started: list[Process]) -> None:
    stream = store.create_stream(BATCHES)
    assert [next(stream), next(stream)] == [[], []]
    stream.close()  # type: ignore[attr-defined]
    assert [process.returncode for process in started] == [0]
    assert held(store).items() <= ALL.items()


def test_what_makes_the_batches_may_fail(store: LocalStore, started: list[Process]) -> None:
    def batches() -> Iterator[Mapping[str, bytes]]:
        yield from BATCHES[:3]
        raise Unavailable("the store that keys are read from failed")

    with pytest.raises(Unavailable, match="keys are read from"):
        list(store.create_stream(batches()))
    assert [process.returncode for process in started] == [0]
    assert held(store) == {**BATCHES[0], **BATCHES[1], **BATCHES[2]}


def test_the_process_gets_nothing_of_the_environment(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, started: list[Process]
) -> None:
    monkeypatch.setenv("MVAULT_PASSPHRASE", "test passphrase")
    for number, _ in enumerate(store.create_stream(BATCHES)):
        if number == 1:
            assert b"test passphrase" not in Path(f"/proc/{started[0].pid}/environ").read_bytes()
    assert len(started) == 1
