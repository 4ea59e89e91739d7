"""`kill -9` at every step of `init`: the same command again makes the vault, or says that it is there."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.attacks.vault_mixing import check, outcome
from tests.builders import CONTENT, NOW, Built, Draws, new_identity
from tests.faults import FaultyStore, Operation
from vault import memory, policyfile
from vault.actions import init
from vault.actions.init import Founded
from vault.core import layout, names
from vault.core.names import Digest
from vault.errors import Conflict
from vault.ports import Store
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

OWNER = new_identity("owner", seed="init")
OTHER = new_identity("other", seed="init")


def nowhere(_: str) -> None:
    """Keep no recovery key."""


def found(
    store: Store, seed: str, owner: object = OWNER, recovery: Callable[[str], None] = nowhere
) -> Founded:
    return init.init(
        store,
        owner,  # type: ignore[arg-type]
        policyfile.parse(policyfile.shipped("solo"), "solo.yaml"),
        kind="x25519",
        now=names.time_text(NOW),
        random=Draws(f"init {seed}"),
        keep_recovery=recovery,
    )


def use(store: Store, vault: Digest) -> Built:
    """Publish and promote in a new vault; see that a new client reads it and that nothing is wrong."""
    built = Built(store, vault, "x25519", {"owner": OWNER}, "", Draws("use"))  # type: ignore[arg-type]
    built.promote(built.publish())
    assert outcome(built, "churn@prod") == CONTENT
    report = check(built)
    assert not [entry for entry in report.findings if entry.level != "ok"]
    return built


def killed(folder: Path, name: str, when: str) -> bool:
    """Run `init` in a child that kills itself where one object becomes visible; tell whether it did."""

    def hook(operation: Operation, moment: str) -> None:
        if (operation.verb, operation.name, moment) == ("commit", name, when):
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            found(FaultyStore(LocalStore(folder), on_operation=hook), "killed")
        finally:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def steps() -> list[Operation]:
    """Give the steps at which something becomes visible."""
    store = FaultyStore(MemoryStore())
    found(store, "killed")
    return [operation for operation in store.operations if operation.verb == "commit"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_init_that_was_killed_at_any_step_is_done_again_by_the_same_command(
    tmp_path: Path, when: str
) -> None:
    taken = steps()
    assert [step.name for step in taken][-4:] == [
        layout.VAULT,
        layout.policy(1),
        layout.README,
        layout.root(1),
    ]
    for step in taken:
        folder = tmp_path / f"{step.index}"
        folder.mkdir()
        assert killed(folder, step.name, when)
        store = LocalStore(folder)
        if (step.name, when) == (layout.root(1), "after"):
            with pytest.raises(Conflict) as caught:
                found(store, "again")
            assert "mvault trust" in caught.value.hint
            continue
        vault = found(store, "again").vault
        use(store, vault)
        assert (folder / layout.README).read_text() == init.readme(vault, "x25519")
        assert len(list(store.list(layout.POLICIES))) == 1, "what the first try left is gone"


def test_an_init_that_was_killed_again_and_again_is_done_all_the_same(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for _ in range(2):
        assert killed(tmp_path, layout.root(1), "before")
    assert len(list(store.list(layout.POLICIES))) == 2
    vault = found(store, "again").vault
    use(store, vault)
    assert (tmp_path / layout.README).read_text() == init.readme(vault, "x25519")
    assert len(list(store.list(layout.POLICIES))) == 1


def test_of_two_inits_at_once_one_wins_and_its_vault_is_whole(tmp_path: Path) -> None:
    """At every step of the one, the other runs from its start to its end."""
    for step in steps():
        store = MemoryStore()
        won = race(store, step)
        built = Built(store, won.vault, "x25519", {"owner": OWNER}, "", Draws("use"))
        built.promote(built.publish())
        assert outcome(built, "churn@prod") == CONTENT
        assert not [entry for entry in check(built).findings if entry.level == "bad"]


def race(store: MemoryStore, step: Operation) -> Founded:
    """Run one `init` whole at a step of another; give what the one that was not refused made."""
    inner: list[Founded] = []

    def hook(operation: Operation, moment: str) -> None:
        if operation.index == step.index and moment == "before":
            inner.append(found(store, "second"))

    with suppress(Conflict):
        inner.append(found(FaultyStore(store, on_operation=hook), "first"))
    (won,) = inner
    return won


def begun(owner: object = OWNER) -> MemoryStore:
    """Give what is left of an `init` that was killed before root 1."""
    store = MemoryStore()
    found(store, "begun", owner)
    del store.objects[layout.root(1)]
    return store


def refused(store: MemoryStore, match: str) -> None:
    before = dict(store.objects)
    recovery: list[str] = []
    with pytest.raises(Conflict, match=match) as caught:
        found(store, "refused", recovery=recovery.append)
    assert caught.value.hint
    assert store.objects == before
    assert not recovery


def test_a_vault_is_never_begun_over_another() -> None:
    store = MemoryStore()
    found(store, "whole")
    refused(store, "There is a vault")


def test_what_somebody_else_began_is_left_alone() -> None:
    refused(begun(OTHER), "somebody else's")
    store = begun()
    store.objects[layout.policy(2)] = b"garbage"
    refused(store, "somebody else's")


def test_a_vault_that_was_used_and_lost_its_root_is_left_alone() -> None:
    store = MemoryStore()
    built = Built(store, found(store, "used").vault, "x25519", {"owner": OWNER}, "", Draws("use"))
    built.publish()
    del store.objects[layout.root(1)]
    refused(store, "lost its root")
    del store.objects[layout.policy(1)]
    refused(store, "lost its root")


def test_a_vault_whose_policy_was_changed_and_that_lost_its_root_is_left_alone() -> None:
    store = MemoryStore()
    built = Built(store, found(store, "used").vault, "x25519", {"owner": OWNER}, "", Draws("use"))
    built.amend(lambda before: before)
    del store.objects[layout.root(1)]
    refused(store, "what is left of a vault")


def test_a_readme_of_the_users_own_stays_as_it_is() -> None:
    store = MemoryStore({layout.README: b"My models.\n"})
    vault = found(store, "readme").vault
    assert store.objects[layout.README] == b"My models.\n"
    use(store, vault)


def test_files_of_the_users_own_are_in_nobodys_way() -> None:
    store = begun()
    store.objects["models/mine.onnx"] = b"mine"
    use(store, found(store, "again").vault)
    assert store.objects["models/mine.onnx"] == b"mine"


def test_a_location_where_a_lost_vault_is_trusted_is_no_place_for_a_new_one(tmp_path: Path) -> None:
    pins = memory.Pins(tmp_path)
    pins.check_free("/vault")
    memory.Pins(None).check_free("/vault")
    pins.add("/vault", "ab" * 32, now=NOW)
    with pytest.raises(Conflict, match="ab" * 32) as caught:
        pins.check_free("/vault")
    assert str(tmp_path / "trusted.json") in caught.value.hint
    pins.check_free("/elsewhere")
    assert json.loads((tmp_path / "trusted.json").read_text())["trusted"]
