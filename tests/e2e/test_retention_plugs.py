"""The plug is pulled at every operation of a retention, a reclaim, a hold and a sweep; then it is put back.

Nothing that should be kept is lost, what is left is whole, and the next run ends what was begun.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import pytest

from tests.builders import Built, reference, solo
from tests.e2e.plugs import Plug
from tests.faults import Fault, every_operation
from vault.actions import checking, holding, reclaiming, retaining, sweeping, taking_back
from vault.actions.session import Session
from vault.core import layout
from vault.core.names import Model, Version
from vault.core.retention import Duration, Rules
from vault.core.retention_plan import ModelRules
from vault.errors import VaultError
from vault.ports import Store
from vault.storage.memory import MemoryStore

DAY = 86_400
KEPT = ("churn:1", "churn:4")  # in prod, and the newest
GONE = ("churn:2", "churn:3")
WANTED = retaining.Wanted({"*": ModelRules(Rules(last=1))})


@cache
def published() -> Built:
    """Build a vault with churn 1 to 4 in dev, and 1 in prod."""
    built = solo(seed="retention plugs")
    for _ in range(4):
        built.publish()
    built.promote("churn:1")
    return built


@cache
def removed() -> Built:
    """Build the same vault, with churn 2 and 3 removed and their grace period over."""
    built = published().fork()
    assert len(retaining.retain(built.session(), WANTED).removed) == 2
    built.now += 8 * DAY
    return built


@cache
def littered() -> Built:
    """Build the same vault with leftovers of churn 9 that were noted, and their grace period over."""
    built = published().fork()
    for name in ("files/" + "a" * 32, "keys/dev-1/x"):
        built.write(layout.version(Model("churn"), Version("9")) + name, b"left")
    assert sweeping.sweep(built.session(), None, Duration(days=7)).noted
    built.now += 8 * DAY
    return built


@dataclass(frozen=True)
class Act:
    """What is done, to which vault, and what shows that it was done in the end."""

    before: Callable[[], Built]
    run: Callable[[Session], object]
    done: Callable[[Built], bool]


def _has_files(built: Built, ref: str) -> bool:
    meant = reference(ref)
    assert meant.version is not None
    return any(built.store.list(layout.files(meant.model, meant.version)))


def _is_removed(built: Built, ref: str) -> bool:
    try:
        built.read(ref)
    except VaultError as error:
        return error.code == "removed"
    return False


def _held(built: Built) -> bool:
    return len(holding.standing(built.session()).holds) > 0


ACTS = {
    "retain": Act(
        published,
        lambda session: retaining.retain(session, WANTED, threads=1),
        lambda built: all(_is_removed(built, ref) for ref in GONE),
    ),
    "reclaim": Act(
        removed,
        lambda session: reclaiming.reclaim(session, threads=1),
        lambda built: not any(_has_files(built, ref) for ref in GONE),
    ),
    "undo": Act(
        removed,
        lambda session: taking_back.undo(session, reference("churn:2")),
        lambda built: not _is_removed(built, "churn:2"),
    ),
    "hold": Act(published, lambda session: holding.hold(session, "churn:2", "case 7"), _held),
    "sweep": Act(
        littered,
        lambda session: sweeping.sweep(session, None, Duration(days=7)),
        lambda built: not any(built.store.list(layout.version(Model("churn"), Version("9")))),
    ),
}


def _client(built: Built, store: Store, seed: str) -> Session:
    fork = built.fork()
    fork.draws.seed += seed
    return fork.session(store=store)


def _seen(built: Built, store: MemoryStore) -> Built:
    fresh = built.fork(forgetful=True)
    fresh.store = store
    return fresh


@pytest.mark.parametrize(
    "how", [pytest.param(Fault.BEFORE, marks=pytest.mark.slow), Fault.MIDDLE, Fault.AFTER]
)
@pytest.mark.parametrize("name", ACTS)
def test_with_the_plug_pulled_at_any_operation(name: str, how: Fault) -> None:
    act = ACTS[name]
    built = act.before()
    operations = every_operation(
        lambda: MemoryStore(dict(built.store.objects)),
        lambda store: act.run(_client(built, store, "rehearsal")),
    )
    assert len(operations) > 5
    for index in range(len(operations)):
        store = MemoryStore(dict(built.store.objects))
        plug = Plug(store, index, how)
        try:
            act.run(_client(built, plug, "first"))
        except VaultError as error:
            assert error.message  # noqa: PT017 (what fails is one of many operations)
        left = _seen(built, store)
        where = operations[index]
        for ref in KEPT:
            assert left.read(ref), where
        assert left.read("churn@prod", env="prod"), where
        for ref in GONE:
            assert _is_removed(left, ref) or left.read(ref), where
        assert checking.check(left.session(), None, data=False).whole, where
        act.run(_client(built, store, "second"))
        assert act.done(_seen(built, store)), where
        assert checking.check(_seen(built, store).session(), None, data=False).whole, where


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_reclaim_that_is_stopped_anywhere_can_meet_a_change_of_mind(step: int) -> None:
    """It is stopped, then somebody holds what it was at: what is whole by then stays for good."""
    built = removed()
    operations = every_operation(
        lambda: MemoryStore(dict(built.store.objects)),
        lambda store: reclaiming.reclaim(_client(built, store, "rehearsal"), threads=1),
    )
    for index in range(0, len(operations), step):
        store = MemoryStore(dict(built.store.objects))
        before = {name for name in store.objects if "/files/" in name}
        with suppress(VaultError):
            reclaiming.reclaim(_client(built, Plug(store, index, Fault.AFTER), "first"), threads=1)
        whole = {name for name in store.objects if "/files/" in name} == before
        later = _client(built, store, "second")
        for ref in GONE:
            try:
                holding.hold(later, ref, "case 7")
            except VaultError as error:
                assert error.code == "removed"  # noqa: PT017
        reclaiming.reclaim(later, threads=1)
        assert not whole or {name for name in store.objects if "/files/" in name} == before, operations[index]
