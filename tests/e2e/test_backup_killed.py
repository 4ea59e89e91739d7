"""The plug is pulled at each operation of a backup or restore: what is there is whole, and it goes on."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.attacks.vault_mixing import check, outcome
from tests.builders import Built
from tests.e2e.plugs import FIRST, SECOND, Plug, one_version, two_versions
from tests.faults import Fault
from vault.actions import backing_up, restoring, restoring_recovery
from vault.actions.backing_up_run import Options
from vault.core import backup_order, layout
from vault.core.names import Slot
from vault.errors import NotFound, Unavailable, VaultError
from vault.ports import Store
from vault.storage.memory import MemoryStore

SLOW = pytest.mark.slow
MOMENTS = [Fault.BEFORE, Fault.MIDDLE, Fault.AFTER, Fault.FULL]
STEPS = [(Fault.MIDDLE, 9), (Fault.AFTER, 11), *(pytest.param(how, 1, marks=SLOW) for how in MOMENTS)]


def promoted() -> Built:
    """Give the vault with both versions, the second of them in prod."""
    built = two_versions().fork()
    built.promote("churn:2")
    return built


@dataclass(frozen=True)
class Scene:
    """What is at the destination before, and what the vault holds."""

    before: Callable[[], dict[str, bytes]]
    vault: Callable[[], Built]


def _earlier() -> dict[str, bytes]:
    target = MemoryStore()
    run(one_version().fork(), target)
    return dict(target.objects)


SCENES = {"first": Scene(dict, promoted), "again": Scene(_earlier, promoted)}


def run(built: Built, target: Store) -> object:
    return backing_up.backup(built.session(), target, Options(name=Slot("nightly"), threads=1))


def restored(source: Store, built: Built, target: Store) -> restoring.Restored:
    here = restoring.Here(lambda: built.now, built.draws)
    key = restoring_recovery.parse(built.recovery.encode(), "it")
    asked = restoring.Asked(key, sample=100.0, threads=1)
    return restoring.restore(source, target, built.vault, asked, here)


def is_whole(built: Built, target: MemoryStore) -> bool:
    """Tell whether what a destination holds is a whole vault, or none yet."""
    if layout.root(1) not in target.objects:
        return True
    fresh = built.fork(forgetful=True)
    fresh.store = MemoryStore(dict(target.objects))
    found = outcome(fresh, "churn@prod")
    return check(fresh).whole and (found in (FIRST, SECOND) or found == "not-found")


@pytest.mark.parametrize(("how", "step"), STEPS)
@pytest.mark.parametrize("scene", SCENES)
def test_a_backup_whose_destination_goes_away(scene: str, how: Fault, step: int) -> None:
    failed = index = 0
    while True:
        built = SCENES[scene].vault().fork()
        inner = MemoryStore(SCENES[scene].before())
        plug = Plug(inner, index, how)
        try:
            run(built, plug)
        except Unavailable:  # and nothing else
            failed += 1
        else:
            break
        assert is_whole(built, inner), plug.operations[index]
        again = run(built, inner)
        assert again.whole, plug.operations[index]  # type: ignore[attr-defined]
        assert is_whole(built, inner)
        held = {name: data for name, data in inner.objects.items() if name != backup_order.MARKER}
        assert set(built.store.objects) <= set(held), plug.operations[index]
        index += step
    assert failed > 40 // step


@pytest.mark.parametrize("how", [Fault.BEFORE])
def test_a_backup_whose_vault_goes_away(how: Fault) -> None:
    objects = dict(promoted().store.objects)
    failed = 0
    for index in range(0, 1_000, 3):
        built = promoted().fork()
        built.store = MemoryStore(dict(objects))
        plug = Plug(built.store, index, how)
        target = MemoryStore()
        session = built.session(store=plug)
        try:
            backing_up.backup(session, target, Options(name=Slot("nightly"), threads=1))
        except Unavailable:
            failed += 1
        if index >= len(plug.operations):
            break
        assert is_whole(built, target), plug.operations[index]
        assert run(built, target).whole  # type: ignore[attr-defined]
    assert failed > 10


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(("how", "step"), STEPS)
def test_a_restore_that_is_interrupted_goes_on(side: str, how: Fault, step: int) -> None:
    built = promoted().fork()
    backup = MemoryStore()
    run(built, backup)
    failed = index = 0
    while True:
        place = MemoryStore()
        stores: tuple[Store, Store] = (backup, place)
        plug = Plug(stores[side == "target"], index, how)
        stores = (plug, place) if side == "source" else (backup, plug)
        try:
            found = restored(stores[0], built, stores[1])
        except Unavailable:  # and nothing else
            failed += 1
        else:
            if index >= len(plug.operations):
                break
            assert not found.whole or how is Fault.AFTER or plug.operations[index].verb == "delete"
        assert is_whole(built, place), plug.operations[index]
        if backup_order.RESTORING in place.objects or not place.objects:
            again = restored(backup, built, place)
            assert again.whole, plug.operations[index]
            assert again.opened is not None
            assert again.opened.versions == 2
        index += step
    assert failed > 40 // step
    assert dict(backup.objects).keys() - {backup_order.MARKER} == place.objects.keys()


def test_an_interrupted_first_backup_is_no_vault_or_one_that_restores() -> None:
    built = promoted()
    for index in range(0, 90, 7):
        inner = MemoryStore()
        with suppress(VaultError):
            run(built.fork(), Plug(inner, index, Fault.BEFORE))
        place = MemoryStore()
        try:
            assert restored(inner, built, place).whole
        except NotFound:
            assert layout.root(1) not in inner.objects
