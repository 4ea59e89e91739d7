"""Kill a writer at every step, in a process of its own.

    python -m tests.attacks.vault_crash push|promote|approve|withdraw|rollback|adopt FOLDER all|commits

Prints one JSON object: how many times a writer was killed, what a new client saw afterwards and how
often, and what was wrong. A child is forked for each step, so this process starts no threads itself
before it forks.
"""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.attacks.vault_mixing import check, outcome, revoked
from tests.builders import MAIN, PROD, Built, reference, solo, team
from tests.faults import FaultyStore, Operation
from vault.actions import adopting, approving, promote, withdrawing
from vault.core.names import Environment, Model, Principal, Version
from vault.core.policy import Rule
from vault.storage.local import LocalStore

FIRST: Final = {"model.json": b'{"secret weight":1}'}
SECOND: Final = {"model.json": b'{"secret weight":2}', "features.json": b'["secret feature"]'}
FINISHED: Final = 7
State = str | dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """A verb: the vault that it is done to, what it does, and what a client may see at these references.

    `states` are what the references may give, from before to after; `who` looks, in `env`, and checks
    plaintext too where they may.
    """

    build: Callable[[], Built]
    act: Callable[[Built], object]
    refs: tuple[str, ...]
    states: tuple[tuple[State, ...], ...]
    who: str = "owner"
    env: str = "dev"

    def look(self, built: Built) -> tuple[State, ...]:
        """Give what a client sees."""
        return tuple(outcome(built, ref, who=self.who, env=self.env) for ref in self.refs)


def owned(*, pushed: bool) -> Built:
    """Build a vault of one owner, whose prod has the first version; the second may be in dev."""
    built = solo(seed="crash")
    built.promote(built.publish(FIRST))
    if pushed:
        built.publish(SECOND)
    built.read("churn@prod")
    return built


def shared() -> Built:
    """Build a team's vault, whose prod had the first version and has the second, in two slots."""
    built = team(seed="crash")
    for content in (FIRST, SECOND):
        ref = built.publish(content, who="dora")
        for who in ("ann", "bob"):
            built.approve(ref, who)
        built.promote(ref, who="rex")
    built.promote("churn:2", slot="b", who="rex")
    built.read("churn@prod", who="server", env="prod")
    return built


def half_approved() -> Built:
    """Build a team's vault whose prod has the first version; the second lacks one approval."""
    built = team(seed="crash")
    for content, voters in ((FIRST, ("ann", "bob")), (SECOND, ("bob", "cat"))):
        ref = built.publish(content, who="dora")
        for who in voters:
            built.approve(ref, who)
        built.promote(ref, who="rex")
    digest = built.identities["cat"].key_id.encode()
    votes = "models/churn/@/2/approvals/"
    found = [name for name, data in built.store.objects.items() if name.startswith(votes) and digest in data]
    del built.store.objects[found[0]]
    built.memories.clear()
    return built


def orphaned() -> Built:
    """Build a team's vault whose publisher was revoked, and a steward who may adopt."""
    built = team(seed="crash")
    rule = Rule(("adopt", "load"), (Environment("dev"),), None, None, None, own=False)
    built.amend(lambda before: replace(before, roles={**before.roles, Principal("steward"): (rule,)}))
    built.add("eve", "steward")
    built.publish(FIRST, who="dora")
    built.amend(revoked("dora"))
    return built


def withdraw(built: Built) -> object:
    """Withdraw the second version and put the first in its place."""
    return withdrawing.withdraw(built.session("rex"), reference("churn:2"), PROD, replacement=Version("1"))


def approve(built: Built) -> object:
    """Approve the second version."""
    return approving.approve(built.session("ann"), reference("churn:2"), PROD)


def rollback(built: Built) -> object:
    """Go back to the first version, in so many words: the same command again changes nothing."""
    return promote.rollback(built.session("rex"), Model("churn"), PROD, MAIN, Version("1"))


def adopt(built: Built) -> object:
    """Stand in for the publisher of the first version."""
    return adopting.adopt(built.session("eve"), reference("churn:1"))


_SERVER: Final = ("server", "prod")
VERBS: Final = {
    "push": Case(
        lambda: owned(pushed=False), lambda built: built.publish(SECOND), ("churn",), ((FIRST,), (SECOND,))
    ),
    "promote": Case(
        lambda: owned(pushed=True),
        lambda built: built.promote("churn:2"),
        ("churn@prod",),
        ((FIRST,), (SECOND,)),
    ),
    "approve": Case(half_approved, approve, ("churn@prod",), ((FIRST,), (SECOND,)), *_SERVER),
    "withdraw": Case(
        shared,
        withdraw,
        ("churn@prod", "churn@prod/b", "churn:2"),
        (
            (SECOND, SECOND, SECOND),
            (FIRST, "barred", "barred"),  # the first record decides for every slot
            (FIRST, FIRST, "barred"),
        ),
        *_SERVER,
    ),
    "rollback": Case(shared, rollback, ("churn@prod",), ((SECOND,), (FIRST,)), *_SERVER),
    "adopt": Case(orphaned, adopt, ("churn:1",), (("untrusted-signer",), (FIRST,)), "eve"),
}


def on_disk(built: Built, folder: Path, seed: str) -> Built:
    """Write a vault into a folder; give a client that uses it there, with its own random numbers."""
    for name, data in built.store.objects.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return client(built, folder, seed)


def client(built: Built, folder: Path, seed: str) -> Built:
    """Give a client of a folder that remembers what the vault's client does."""
    found = built.fork()
    found.store = LocalStore(folder)  # type: ignore[assignment]
    found.draws.seed += seed
    return found


def steps(built: Built, folder: Path, act: Callable[[Built], object]) -> list[Operation]:
    """Do it once, unharmed; give the steps."""
    writer = on_disk(built, folder, " rehearsal")
    store = FaultyStore(writer.store)
    writer.store = store  # type: ignore[assignment]
    act(writer)
    return store.operations


def killed(writer: Built, act: Callable[[Built], object], index: int, when: str) -> bool:
    """Do it in a child that kills itself at one step; tell whether it came to that."""

    def hook(operation: Operation, moment: str) -> None:
        if operation.index == index and moment == when:
            os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        try:
            writer.store = FaultyStore(writer.store, on_operation=hook)  # type: ignore[assignment]
            act(writer)
        finally:
            os._exit(FINISHED)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def complaints(built: Built, folder: Path, case: Case, seen: Counter[str]) -> list[str]:
    """Say what is wrong in a folder where a writer was killed, before and after the verb is done again."""
    found = litter(built, folder)
    new = client(built, folder, " new")
    new.forgetful = True
    saw = case.look(new)
    if saw not in case.states:
        found.append(f"a new client sees {saw}")
    seen["old" if saw == case.states[0] else "new"] += 1
    again = client(built, folder, " again")
    for moment in ("after the kill", "after a second try"):
        report = check(again, data=case.who == "owner")
        found += [
            f"{moment}: {entry.subject}: {entry.message}"
            for entry in report.findings
            if entry.level == "bad" and entry.code != case.states[0][0]
        ]
        if moment == "after the kill":
            case.act(again)
    if case.look(again) != case.states[-1]:
        found.append("the second try is not what a client sees")
    return found


def litter(built: Built, folder: Path) -> list[str]:
    """List files that nobody can read through the store, and files that hold plaintext."""
    found = []
    names = set(LocalStore(folder).list(""))
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            continue
        name = path.relative_to(folder).as_posix()
        if name not in names or ".tmp" in name:
            found.append(f"litter: {name}")
        if b"secret" in path.read_bytes():
            found.append(f"plaintext: {name}")
    return found


def run(verb: str, folder: Path, *, everything: bool) -> dict[str, object]:
    """Kill a writer before and after every step, or those that make an object visible or take one away."""
    case = VERBS[verb]
    built = case.build()
    kills = 0
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    taken = steps(built, folder / "rehearsal", case.act)
    for step in taken:
        if not (everything or step.verb in ("commit", "delete")):
            continue
        for when in ("before", "after"):
            place = folder / f"{step.index}-{when}"
            if not killed(on_disk(built, place, " killed"), case.act, step.index, when):
                wrong.append(f"not killed {when} {step}")
                continue
            kills += 1
            wrong += [f"killed {when} {step}: {what}" for what in complaints(built, place, case, seen)]
    return {"steps": len(taken), "kills": kills, "seen": seen, "wrong": wrong}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]), everything=sys.argv[3] == "all")))
