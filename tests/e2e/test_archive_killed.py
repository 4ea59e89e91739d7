"""An archive, or a return from one, is stopped at any operation: nothing is lost, and again finishes it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Built
from tests.e2e.archive_parts import content, copied, move, nothing_is_lost, opened, pulled, three
from tests.e2e.plugs import Plug
from tests.faults import Fault, FaultyStore, Operation, never
from vault.actions import archiving, retrieving
from vault.actions.session import Session
from vault.core import names
from vault.errors import VaultError
from vault.ports import Store
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

ONE = names.reference("churn:1")
REPOSITORY = Path(__file__).parents[2]
SLOW = pytest.mark.slow


class Killed(BaseException):
    """This process ends here."""


def _archive(session: Session, target: Store) -> None:
    move(session, target)


def _return(session: Session, target: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieving, "open_store", lambda _: target)
    retrieving.bring_back(session, ONE, source="elsewhere")


Act = Callable[[Session, Store], object]


def _steps(built: Built, act: Act, start: tuple[Store, Store], which: int) -> int:
    """Count the operations of an act on one of the two stores."""
    stores: list[Store] = [*start]
    counted = FaultyStore(stores[which])
    stores[which] = counted
    act(built.fork(forgetful=True).session(store=stores[0]), stores[1])
    return len(counted.operations)


def _every(built: Built, act: Act, begin: Callable[[], tuple[MemoryStore, MemoryStore]], which: int) -> None:
    """Stop an act at each operation on one of the stores, in several ways, and finish it afterwards."""
    count = _steps(built, act, begin(), which)
    assert count > 5
    stopped = 0
    for index in range(count):
        for how in (Fault.BEFORE, Fault.MIDDLE, Fault.AFTER, None):
            store, target = begin()

            def kill(operation: Operation, phase: str, index: int = index) -> None:
                if phase == "before" and operation.index == index:
                    raise Killed

            stores: list[Store] = [store, target]
            if how is None:
                stores[which] = FaultyStore(stores[which], never, on_operation=kill)
            else:
                stores[which] = Plug(stores[which], index, how)
            try:
                act(built.fork(forgetful=True).session(store=stores[0]), stores[1])
            except (Killed, VaultError):
                stopped += 1
            nothing_is_lost(built, store, target, "churn:1")
            act(built.fork(forgetful=True).session(store=store), target)
            nothing_is_lost(built, store, target, "churn:1")
    assert stopped > 3 * count, "most of these stop it; the last ones may lose an answer only"


@pytest.mark.parametrize("which", [0, 1], ids=["here", "there"])
def test_an_archive_is_stopped_anywhere(which: int) -> None:
    built = three()
    _every(built, _archive, lambda: (copied(built), MemoryStore()), which)


@pytest.mark.parametrize("which", [0, 1], ids=["here", "there"])
def test_a_return_is_stopped_anywhere(which: int, monkeypatch: pytest.MonkeyPatch) -> None:
    built = three()
    target = MemoryStore()
    move(built.session(), target)

    def act(session: Session, there: Store) -> None:
        _return(session, there, monkeypatch)

    def begin() -> tuple[MemoryStore, MemoryStore]:
        return copied(built), MemoryStore(dict(target.objects))

    _every(built, act, begin, which)
    store, there = begin()
    act(built.fork(forgetful=True).session(store=store), there)
    fresh = built.fork(forgetful=True)
    fresh.store = store
    assert fresh.read("churn:1") == content(1)


CHILD = """
import os, sys
from tests.e2e.archive_parts import move, three
from tests.faults import FaultyStore, never
from vault.storage.local import LocalStore

left = int(sys.argv[3])

def kill(operation, phase):
    global left
    if phase == "before":
        left -= 1
        if left < 0:
            os._exit(9)

built = three()
here = FaultyStore(LocalStore(sys.argv[1]), never, on_operation=kill)
there = FaultyStore(LocalStore(sys.argv[2]), never, on_operation=kill)
move(built.session(store=here), there)
"""


@pytest.mark.parametrize("part", [0.7, 0.97, *(pytest.param(part, marks=SLOW) for part in (0.3, 0.8, 0.9))])
def test_a_process_that_archives_a_folder_is_killed(part: float, tmp_path: Path) -> None:
    built = three()
    rehearsed = FaultyStore(copied(built)), FaultyStore(MemoryStore())
    move(built.fork(forgetful=True).session(store=rehearsed[0]), rehearsed[1])
    after = int(part * sum(len(store.operations) for store in rehearsed))
    here, there = LocalStore(tmp_path / "here"), LocalStore(tmp_path / "there")
    for name, data in built.store.objects.items():
        with here.create(name, size=len(data)) as sink:
            sink.write(data)
    arguments = [str(tmp_path / "here"), str(tmp_path / "there"), str(after)]
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False,
        timeout=120,
    )
    assert ended.returncode == 9, "it was killed"
    nothing_is_lost(built, here, there, "churn:1")
    row = move(built.fork(forgetful=True).session(store=here), there)
    assert row.state in (archiving.ARCHIVED, archiving.ALREADY)
    nothing_is_lost(built, here, there, "churn:1")
    found = opened(built, store=here).pull("churn:1", tmp_path / "out", wait=True)
    assert pulled(found) == content(1)
