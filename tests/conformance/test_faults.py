"""The fault-injecting store does what it is told, so that tests with it can be believed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.conformance.creating_suite import put
from tests.conformance.store_suite import StoreSuite
from tests.faults import (
    VERBS,
    Fault,
    FaultyStore,
    Operation,
    at,
    every_operation,
    never,
    on,
    with_a_fault_at_every_operation,
)
from vault.errors import Conflict, NotFound, Unavailable
from vault.ports import Buffer, Store
from vault.storage.memory import MemoryStore


class TestFaultyStoreWithoutFaults(StoreSuite):
    """Without a plan the wrapper is a store like any other."""

    in_memory = True

    @pytest.fixture
    def store(self) -> Store:
        return FaultyStore(MemoryStore())


def create(store: Store) -> None:
    with store.create("new") as sink:
        sink.write(b"1234")
        sink.write(b"5678")


def read_into(store: Store) -> bytes:
    buffer = bytearray(4)
    with store.open("old") as source:
        source.read_into(0, memoryview(buffer))
    return bytes(buffer)


ACTIONS: dict[str, Callable[[Store], object]] = {
    "create": create,
    "write": create,
    "commit": create,
    "open": read_into,
    "read_into": read_into,
    "read": lambda store: store.read("old", limit=4),
    "list": lambda store: list(store.list("")),
    "list_folders": lambda store: list(store.list_folders("")),
    "delete": lambda store: store.delete("old"),
    "stat": lambda store: store.stat("old"),
}
CODES = {Fault.FULL: "storage-full", Fault.DENIED: "storage-denied"}


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_fail_in_every_way(verb: str, fault: Fault) -> None:
    inner = MemoryStore({"old": b"text"})
    store = FaultyStore(inner, on(verb, fault))
    with pytest.raises(Unavailable) as caught:
        ACTIONS[verb](store)
    assert caught.value.code == CODES.get(fault, "unavailable")
    expected = {"old": b"text"}
    if fault is Fault.AFTER and verb == "commit":
        expected = {"old": b"text", "new": b"12345678"}
    if fault is Fault.AFTER and verb == "delete":
        expected = {}
    assert inner.objects == expected
    assert store.operations[-1].verb == verb


def test_the_middle_of_a_write_is_half_of_its_bytes() -> None:
    written: list[bytes] = []

    class Recorder:
        def write(self, data: Buffer) -> None:
            written.append(bytes(data))

    class RecordingStore(MemoryStore):
        @contextmanager
        def create(self, name: str, *, size: int | None = None) -> Iterator[Recorder]:  # type: ignore[override]
            yield Recorder()

    store = FaultyStore(RecordingStore(), on("write", Fault.MIDDLE, nth=1))
    with pytest.raises(Unavailable):
        create(store)
    assert written == [b"1234", b"56"]


def test_the_middle_of_a_read_is_half_of_its_bytes_and_of_a_listing_half_of_its_names() -> None:
    buffer = bytearray(4)
    store = FaultyStore(MemoryStore(dict.fromkeys("abcd", b"text")), on("read_into", Fault.MIDDLE))
    with store.open("a") as source, pytest.raises(Unavailable):
        source.read_into(0, memoryview(buffer))
    assert buffer == b"te\0\0"
    store.plan = on("list", Fault.MIDDLE)
    names = store.list("")
    assert [next(names), next(names)] == ["a", "b"]
    with pytest.raises(Unavailable):
        next(names)


def test_a_swallowed_write_fault_still_discards() -> None:
    inner = MemoryStore()

    def attempt() -> None:
        with FaultyStore(inner, on("write", Fault.BEFORE)).create("a") as sink, suppress(Unavailable):
            sink.write(b"x")

    with pytest.raises(Unavailable, match="earlier write"):
        attempt()
    assert inner.objects == {}


def test_steps_are_counted_and_recorded() -> None:
    store = FaultyStore(MemoryStore({"old": b"text"}))
    create(store)
    put(store, "b/c")
    read_into(store)
    assert store.operations == [
        Operation(0, "create", "new", 0),
        Operation(1, "write", "new", 0),
        Operation(2, "write", "new", 1),
        Operation(3, "commit", "new", 0),
        Operation(4, "create", "b/c", 1),
        Operation(5, "write", "b/c", 2),
        Operation(6, "commit", "b/c", 1),
        Operation(7, "open", "old", 0),
        Operation(8, "read_into", "old", 0),
    ]
    assert [step.changes for step in store.operations] == [True] * 7 + [False] * 2


def test_the_hook_sees_each_step_before_and_after_it_happens() -> None:
    seen = []
    inner = MemoryStore()

    def hook(step: Operation, phase: str) -> None:
        seen.append((step.verb, phase, "new" in inner.objects))

    store = FaultyStore(inner, on_operation=hook)
    create(store)
    assert seen == [
        ("create", "before", False),
        ("create", "after", False),
        ("write", "before", False),
        ("write", "after", False),
        ("write", "before", False),
        ("write", "after", False),
        ("commit", "before", False),
        ("commit", "after", True),
    ]
    seen.clear()
    store.plan = on("stat", Fault.BEFORE)
    with pytest.raises(Unavailable):
        store.stat("new")
    assert seen == [("stat", "before", True)]


def test_plans_choose_by_index_verb_name_and_count() -> None:
    step = Operation(5, "read", "models/churn/@/1/manifest.json", 2)
    assert never(step) is None
    assert at(5, Fault.FULL)(step) is Fault.FULL
    assert at(4, Fault.FULL)(step) is None
    assert on("read", Fault.AFTER)(step) is Fault.AFTER
    assert on("read", Fault.AFTER, name="models/*/manifest.json")(step) is Fault.AFTER
    assert on("read", Fault.AFTER, name="log/*")(step) is None
    assert on("read", Fault.AFTER, nth=2)(step) is Fault.AFTER
    assert on("read", Fault.AFTER, nth=1)(step) is None
    assert on("stat", Fault.AFTER)(step) is None
    with pytest.raises(ValueError, match="none of"):
        on("fsync", Fault.AFTER)


def test_errors_of_the_store_behind_come_through() -> None:
    store = FaultyStore(MemoryStore({"old": b"text"}))
    with pytest.raises(Conflict):
        put(store, "old")
    with pytest.raises(NotFound):
        store.stat("new")


def test_every_step_of_an_action_is_failed_once_in_every_way() -> None:
    def build() -> MemoryStore:
        return MemoryStore({"old": b"text"})

    def action(store: Store) -> str:
        create(store)
        store.delete("old")
        return "done"

    steps = every_operation(build, action)
    assert [step.verb for step in steps] == ["create", "write", "write", "commit", "delete"]
    outcomes = list(with_a_fault_at_every_operation(build, action))
    assert [(o.operation, o.fault) for o in outcomes] == [(step, fault) for step in steps for fault in Fault]
    assert all(outcome.error is not None and outcome.result is None for outcome in outcomes)
    some = list(with_a_fault_at_every_operation(build, action, faults=(Fault.AFTER,), verbs=("delete",)))
    assert [list(outcome.inner.list("")) for outcome in some] == [["new"]]


def test_an_action_that_retries_has_a_result_and_no_error() -> None:
    def action(store: Store) -> int:
        try:
            return store.stat("old").size
        except Unavailable:
            return store.stat("old").size

    outcomes = list(with_a_fault_at_every_operation(lambda: MemoryStore({"old": b"text"}), action))
    assert [(outcome.result, outcome.error) for outcome in outcomes] == [(4, None)] * len(Fault)


def test_what_is_not_an_error_of_the_vault_is_raised_with_the_step_in_a_note() -> None:
    def action(store: Store) -> None:
        try:
            store.stat("old")
        except Unavailable as error:
            raise IndexError from error

    with pytest.raises(IndexError) as caught:
        list(with_a_fault_at_every_operation(lambda: MemoryStore({"old": b"text"}), action))
    assert "BEFORE" in caught.value.__notes__[0]
    assert "stat" in caught.value.__notes__[0]
