"""A store that fails, loses answers, or never ends: typed errors, nothing half-visible, a retry works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from tests.attacks.vault_damage import LABELS, minimal
from tests.attacks.vault_damage import objects as of_kind
from tests.attacks.vault_mixing import check, outcome
from tests.builders import Built, solo
from tests.faults import Fault, FaultyStore, Outcome, with_a_fault_at_every_operation
from vault.actions import pulling
from vault.core import limits, names
from vault.core.allowance import Allowance
from vault.errors import Conflict, Malformed, Unavailable, VaultError
from vault.ports import Sink, Source, Stat, Store
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

FIRST = {"model.json": b'{"w":1}'}
SECOND = {"model.json": b'{"w":2}', "features.json": b'["a"]'}


@cache
def vault() -> Built:
    """Build a vault with churn 1 in prod, and churn 2 in dev."""
    built = solo(seed="faults")
    built.promote(built.publish(FIRST))
    built.publish(SECOND)
    built.read("churn@prod")
    return built


@cache
def before_second() -> Built:
    """Build the same vault before churn 2 was published."""
    built = solo(seed="faults")
    built.promote(built.publish(FIRST))
    return built


def copied(built: Built) -> Callable[[], MemoryStore]:
    return lambda: MemoryStore(dict(built.store.objects))


def at_every_step(
    built: Built, act: Callable[[Built], object], **kinds: object
) -> Iterator[tuple[Outcome, Built]]:  # type: ignore[type-arg]
    """Do something again and again with one fault each; give the outcome, and a client of what was left.

    Every run is by the same client with other random numbers, as another run of a program has.
    """
    runs = iter(range(10**6))

    def action(store: Store) -> object:
        fork = built.fork()
        fork.draws.seed += f" run {next(runs)}"
        fork.store = store  # type: ignore[assignment]
        return act(fork)

    for found in with_a_fault_at_every_operation(copied(built), action, **kinds):  # type: ignore[arg-type]
        left = built.fork()
        left.draws.seed += " afterwards"
        assert isinstance(found.inner, MemoryStore)
        left.store = found.inner
        yield found, left


def typed(found: Outcome) -> None:  # type: ignore[type-arg]
    """See that a failure is told as the store's failure, or that there was none."""
    if found.error is not None:
        assert type(found.error) is Unavailable, (found.operation, found.fault, found.error)
        assert found.error.code in {"unavailable", "storage-full", "storage-denied"}


FAULTS = [
    pytest.param(fault, marks=() if fault in {Fault.AFTER, Fault.MIDDLE} else pytest.mark.slow)
    for fault in Fault
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_push_that_fails_at_any_step_leaves_nothing_or_a_whole_version(fault: Fault) -> None:
    count = whole = 0
    for found, left in at_every_step(before_second(), lambda fork: fork.publish(SECOND), faults=(fault,)):
        typed(found)
        count += 1
        seen = outcome(left.fork(forgetful=True), "churn")
        assert seen in (FIRST, SECOND), found.operation
        assert found.error is not None or seen == SECOND
        whole += found.error is not None and seen == SECOND
        assert check(left).whole
        left.publish(SECOND)
        assert outcome(left, "churn") == SECOND
        assert outcome(left, "churn@prod") == FIRST
        assert check(left).whole
    assert count > 30
    # Where the answer to the commit was lost, the version is there, and whole.
    assert (whole > 0) == (fault is Fault.AFTER)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_promotion_that_fails_at_any_step_leaves_the_old_or_the_new_version(fault: Fault) -> None:
    count = new = 0
    for found, left in at_every_step(vault(), lambda fork: fork.promote("churn:2"), faults=(fault,)):
        typed(found)
        count += 1
        seen = outcome(left.fork(forgetful=True), "churn@prod")
        assert seen in (FIRST, SECOND), found.operation
        assert found.error is not None or seen == SECOND
        new += found.error is not None and seen == SECOND
        assert check(left).whole
        left.promote("churn:2")
        assert outcome(left, "churn@prod") == SECOND
        assert check(left).whole
    assert count > 30
    # The promotion stands where its answer was lost, or where nobody could look whether the version was
    # deleted meanwhile: who asks again is told that it is done.
    assert new > 0 or fault is not Fault.AFTER
    assert new <= (2 if fault is not Fault.AFTER else count)


@pytest.mark.parametrize("ref", ["churn@prod", "churn", pytest.param("churn:1", marks=pytest.mark.slow)])
def test_a_load_that_fails_at_any_step_gives_nothing_and_can_be_repeated(ref: str) -> None:
    expected = SECOND if ref == "churn" else FIRST
    count = 0
    for found, left in at_every_step(vault(), lambda fork: fork.read(ref)):
        typed(found)
        count += 1
        assert found.error is not None or found.result == expected
        assert outcome(left, ref) == expected
    assert count > 50


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pull_that_fails_at_any_step_leaves_nothing(zipped: bool, tmp_path: Path) -> None:
    runs = iter(range(10**6))
    folders: list[Path] = []

    def act(fork: Built) -> object:
        folders.append(tmp_path / str(next(runs)))
        target = folders[-1] / "churn.zip" if zipped else folders[-1]
        return pulling.pull(fork.session(), names.reference("churn:2"), target, zipped=zipped)

    for found, _ in at_every_step(vault(), act):
        typed(found)
        there = [path for path in folders[-1].rglob("*") if path.is_file()]
        assert len(there) == (0 if found.error is not None else 1 if zipped else 2), found.operation
    assert len(folders) > 50


@pytest.mark.slow
@pytest.mark.parametrize("fault", list(Fault))
def test_a_push_to_a_folder_that_fails_at_any_step_that_writes_can_be_repeated(
    fault: Fault, tmp_path: Path
) -> None:
    runs = iter(range(10**6))

    def build() -> Store:
        folder = tmp_path / str(next(runs))
        for name, data in before_second().store.objects.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return LocalStore(folder)

    def action(store: Store) -> object:
        fork = before_second().fork()
        fork.store = store  # type: ignore[assignment]
        return fork.publish(SECOND)

    for found in with_a_fault_at_every_operation(
        build, action, faults=(fault,), verbs=("create", "write", "commit")
    ):
        typed(found)
        left = before_second().fork(forgetful=True)
        left.draws.seed += " afterwards"
        left.store = found.inner  # type: ignore[assignment]
        assert outcome(left, "churn") in (FIRST, SECOND)
        assert check(left).whole
        left.publish(SECOND)
        assert outcome(left, "churn") == SECOND


# --- answers that were lost ---


class Forgetting(MemoryStore):
    """A store whose answer to one commit is lost, and which is asked again by its own client: a conflict."""

    lost = ""

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:  # type: ignore[override]
        """Create, then say that the name was taken already."""
        with super().create(name, size=size) as sink:
            yield sink
        if name == self.lost:
            raise Conflict(f"{name} exists.", subject=name)


@pytest.mark.parametrize("verb", ["publish", "promote"])
def test_a_lost_answer_is_not_taken_for_somebody_else(verb: str) -> None:
    base = before_second() if verb == "publish" else vault()

    def act(fork: Built) -> object:
        return fork.publish(SECOND) if verb == "publish" else fork.promote("churn:2")

    rehearsal = base.fork()
    act(rehearsal)
    written = [name for name in rehearsal.store.objects if name not in base.store.objects]
    assert len(written) >= 4
    for name in written:
        fork = base.fork()
        store = Forgetting(fork.store.objects)
        store.lost = name
        fork.store = store
        act(fork)
        assert fork.store.objects == rehearsal.store.objects
        assert check(fork).whole


def test_other_bytes_under_the_name_are_a_conflict() -> None:
    fork = before_second().fork()
    rehearsal = fork.fork()
    rehearsal.publish(SECOND)
    name = "models/churn/@/2/manifest.json"

    class Racing(MemoryStore):
        @contextmanager
        def create(self, wanted: str, *, size: int | None = None) -> Iterator[Sink]:  # type: ignore[override]
            if wanted == name:
                self.objects[name] = b"somebody else's"
            with super().create(wanted, size=size) as sink:
                yield sink

    fork.store = Racing(fork.store.objects)
    with pytest.raises(Conflict):
        fork.publish(SECOND)
    assert fork.store.objects[name] == b"somebody else's"


# --- data without end ---


class Endless(MemoryStore):
    """A store some of whose objects never end: to read one byte of them fails the test."""

    endless: frozenset[str] = frozenset()

    def read(self, name: str, *, limit: int) -> bytes:
        """Refuse as the port says, and see that every reader has a limit worth the name."""
        assert limit <= limits.ENVELOPE_BYTES
        if name in self.endless:
            raise Malformed(f"{name} is larger than {limit}.", code="too-large", subject=name)
        return super().read(name, limit=limit)

    def stat(self, name: str) -> Stat:
        """Tell the size."""
        return Stat(1 << 60) if name in self.endless else super().stat(name)

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:  # type: ignore[override]
        """Open; what never ends says so by its size."""
        if name in self.endless:
            yield _Endless()
        else:
            with super().open(name) as source:
                yield source


class _Endless:
    size = 1 << 60

    def read_into(self, offset: int, buffer: memoryview) -> int:
        raise AssertionError("read from an object that never ends")


@pytest.mark.parametrize("kind", LABELS)
def test_an_object_that_never_ends_is_refused_or_absent_before_it_is_read(kind: str) -> None:
    built = minimal().fork(forgetful=True)
    store = Endless(built.store.objects)
    store.endless = frozenset(of_kind(built, kind))
    built.store = store
    found = outcome(built, "churn@prod")
    if kind == "payload":
        assert found == "size-mismatch"
    else:
        assert isinstance(found, dict) or found in {"too-large", "not-found", "key-mismatch", "no-usable-key"}
    kinds_used = {"root", "policy", "manifest", "sealing record", "payload", "prod header", "channel record"}
    assert isinstance(found, str) == (kind in kinds_used | {"prod key of the loader"})
    with suppress(VaultError):  # without a root or policy nothing can be checked
        check(built)


def test_a_file_larger_than_the_operator_allows_is_refused_before_its_payload_is_read() -> None:
    built = minimal().fork()
    store = FaultyStore(built.store)
    session = built.session(store=store, allowance=Allowance(max_bytes=6))
    with pytest.raises(Malformed) as caught:
        built.read("churn@prod", session=session)
    assert caught.value.code == "too-large"
    assert not [step for step in store.operations if step.verb == "open"]


def test_no_reader_asks_for_an_object_without_a_limit() -> None:
    built = vault().fork()
    built.store = Endless(built.store.objects)
    built.promote(built.publish(FIRST))
    assert outcome(built, "churn@prod") == FIRST
    assert check(built).whole
