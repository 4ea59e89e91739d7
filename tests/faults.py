"""A store that fails on purpose: before, after or in the middle of any step, as a plan says.

Every step that a caller takes is an `Operation`: `create` (beginning an object), each `write`, `commit`,
`open`, each `read_into`, `read`, `list`, `list_folders`, `delete` and `stat`. They are counted, so that a
test can fail or be killed at step k, for every k that there is.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from itertools import islice
from typing import Final, Generic, TypeVar

from vault.errors import Unavailable, VaultError
from vault.ports import Buffer, Sink, Source, Stat, Store

T = TypeVar("T")

VERBS: Final = (
    "create", "write", "commit", "open", "read_into", "read", "list", "list_folders", "delete", "stat",
)  # fmt: skip


class Fault(Enum):
    """What goes wrong at a step."""

    BEFORE = "the step fails and nothing has happened"
    AFTER = "the step happens, but its answer is lost"
    MIDDLE = "half of the bytes are written, or half of the names listed, then the step fails"
    FULL = "the disk is full: half of the bytes are written, and a commit fails"
    DENIED = "the store's own access control refuses; nothing has happened"


@dataclass(frozen=True, slots=True)
class Operation:
    """One step: its index in the run, its verb and object, and how many times that verb came before."""

    index: int
    verb: str
    name: str
    nth: int

    @property
    def changes(self) -> bool:
        """Tell whether the step may change what is stored."""
        return self.verb in {"create", "write", "commit", "delete"}


Plan = Callable[[Operation], Fault | None]
Hook = Callable[[Operation, str], None]


def never(_: Operation) -> Fault | None:
    """Plan no fault."""
    return None


def at(index: int, fault: Fault) -> Plan:
    """Plan one fault at the step with this index."""
    return lambda operation: fault if operation.index == index else None


def on(verb: str, fault: Fault, *, name: str = "*", nth: int | None = None) -> Plan:
    """Plan a fault at every step with this verb, or its `nth` only, on objects that fit `name`."""
    if verb not in VERBS:
        raise ValueError(f"{verb!r} is none of {VERBS}")
    return lambda operation: (
        fault
        if operation.verb == verb and fnmatchcase(operation.name, name) and nth in {None, operation.nth}
        else None
    )


class FaultyStore:
    """Another store with faults: passes every step on, unless the plan says otherwise.

    Attributes: `inner`, the store behind; `operations`, every step so far; `plan`, which may be replaced;
    `on_operation`, called with each step and "before" or "after" (not after a step that failed), where a
    test may end its own process.
    """

    def __init__(self, inner: Store, plan: Plan = never, *, on_operation: Hook | None = None) -> None:
        """Pass on to `inner` what `plan` lets through."""
        self.inner = inner
        self.plan = plan
        self.on_operation = on_operation
        self.operations: list[Operation] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """The location of the store behind."""
        return self.inner.location

    def _next(self, verb: str, name: str) -> tuple[Operation, Fault | None]:
        with self._lock:
            operation = Operation(len(self.operations), verb, name, self._counts[verb])
            self._counts[verb] += 1
            self.operations.append(operation)
        if self.on_operation is not None:
            self.on_operation(operation, "before")
        return operation, self.plan(operation)

    def _done(self, operation: Operation) -> None:
        if self.on_operation is not None:
            self.on_operation(operation, "after")

    def _step(
        self, verb: str, name: str, act: Callable[[], T], *, half: Callable[[], object] | None = None
    ) -> T:
        """Take one step; `half` does the first half of it, where a step has halves."""
        operation, fault = self._next(verb, name)
        if fault in {Fault.MIDDLE, Fault.FULL} and half is not None:
            half()
        if fault not in {None, Fault.AFTER}:
            raise failure(operation, fault)
        result = act()
        if fault is Fault.AFTER:
            raise failure(operation, fault)
        self._done(operation)
        return result

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:
        """Create through the store behind; a fault at `write` that the caller swallows still discards.

        Beginning has no effect that outlives it, so any fault there is one before it.
        """
        self._step("create", name, _nothing)
        creating = self.inner.create(name, size=size)
        faulty = _FaultySink(self, creating.__enter__(), name)
        try:
            yield faulty
            operation, fault = self._next("commit", name)
            if fault not in {None, Fault.AFTER}:
                raise failure(operation, fault)
            faulty.check()
        except BaseException as error:
            creating.__exit__(type(error), error, error.__traceback__)
            raise
        creating.__exit__(None, None, None)
        if fault is Fault.AFTER:
            raise failure(operation, fault)
        self._done(operation)

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:
        """Open through the store behind."""
        self._step("open", name, _nothing)
        with self.inner.open(name) as source:
            yield _FaultySource(self, source, name)

    def read(self, name: str, *, limit: int) -> bytes:
        """Read through the store behind."""
        return self._step("read", name, lambda: self.inner.read(name, limit=limit))

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """List through the store behind; one step, however many names it gives."""
        return self._listing("list", prefix, self.inner.list(prefix, after=after))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List folders through the store behind; one step."""
        return self._listing("list_folders", prefix, self.inner.list_folders(prefix))

    def _listing(self, verb: str, prefix: str, names: Iterator[str]) -> Iterator[str]:
        operation, fault = self._next(verb, prefix)
        if fault in {Fault.BEFORE, Fault.DENIED}:
            raise failure(operation, fault)
        found = [*names]
        yield from islice(found, len(found) if fault in {None, Fault.AFTER} else len(found) // 2)
        if fault is not None:
            raise failure(operation, fault)
        self._done(operation)

    def delete(self, name: str) -> None:
        """Delete through the store behind."""
        self._step("delete", name, lambda: self.inner.delete(name))

    def stat(self, name: str) -> Stat:
        """Ask the store behind."""
        return self._step("stat", name, lambda: self.inner.stat(name))


def _nothing() -> None:
    pass


class _FaultySink:
    def __init__(self, store: FaultyStore, inner: Sink, name: str) -> None:
        self._store = store
        self._inner = inner
        self._name = name
        self._broken = False

    def write(self, data: Buffer) -> None:
        half = memoryview(data).cast("B")[: memoryview(data).nbytes // 2]
        try:
            self._store._step(
                "write", self._name, lambda: self._inner.write(data), half=lambda: self._inner.write(half)
            )
        except Unavailable:
            self._broken = True
            raise

    def check(self) -> None:
        if self._broken:
            raise Unavailable(f"An earlier write to {self._name} failed.", subject=self._name)


class _FaultySource:
    def __init__(self, store: FaultyStore, inner: Source, name: str) -> None:
        self._store = store
        self._inner = inner
        self._name = name

    @property
    def size(self) -> int:
        return self._inner.size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        half = buffer.cast("B")[: buffer.nbytes // 2]
        return self._store._step(
            "read_into",
            self._name,
            lambda: self._inner.read_into(offset, buffer),
            half=lambda: self._inner.read_into(offset, half),
        )


def failure(operation: Operation, fault: Fault | None) -> Unavailable:
    """Give the error that a store raises for this fault."""
    code = {Fault.FULL: "storage-full", Fault.DENIED: "storage-denied"}.get(
        fault or Fault.BEFORE, "unavailable"
    )
    return Unavailable(
        f"Planned fault at step {operation.index}, {operation.verb} {operation.name}: {fault}.",
        code=code,
        subject=operation.name,
    )


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What came of one run with one fault: the store behind as it was left, and the result or the error."""

    operation: Operation
    fault: Fault
    inner: Store
    result: T | None
    error: VaultError | None


def every_operation(build: Callable[[], Store], action: Callable[[Store], object]) -> list[Operation]:
    """Run `action` once without faults on a new store and give the steps that it took."""
    store = FaultyStore(build())
    action(store)
    return store.operations


def with_a_fault_at_every_operation(
    build: Callable[[], Store],
    action: Callable[[Store], T],
    *,
    faults: tuple[Fault, ...] = tuple(Fault),
    verbs: tuple[str, ...] = VERBS,
) -> Iterator[Outcome[T]]:
    """Run `action` again and again on stores from `build`, each time with one fault at another step.

    `build` gives equal stores, each its own; `action` takes the same steps on equal stores. Only a
    `VaultError` may leave it; anything else is raised here, with a note that names the step.
    """
    for step in every_operation(build, action):
        if step.verb not in verbs:
            continue
        for fault in faults:
            inner = build()
            result, error = None, None
            try:
                result = action(FaultyStore(inner, at(step.index, fault)))
            except VaultError as caught:
                error = caught
            except BaseException as escaped:
                escaped.add_note(f"with {fault.name} at {step}")
                raise
            yield Outcome(step, fault, inner, result, error)
