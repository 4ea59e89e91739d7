"""Kill a writer at every step, in a process of its own.

    python -m tests.attacks.vault_crash push|promote FOLDER all|changes

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
from pathlib import Path
from typing import Final

from tests.attacks.vault_mixing import check, outcome
from tests.builders import Built, solo
from tests.faults import FaultyStore, Operation
from vault.storage.local import LocalStore

FIRST: Final = {"model.json": b'{"secret weight":1}'}
SECOND: Final = {"model.json": b'{"secret weight":2}', "features.json": b'["secret feature"]'}
FINISHED: Final = 7


def push(built: Built) -> object:
    """Publish the second version."""
    return built.publish(SECOND)


def promote(built: Built) -> object:
    """Promote it."""
    return built.promote("churn:2")


# What is done, what a client looks at, and what it may see there besides the first version.
VERBS: Final[dict[str, tuple[Callable[[Built], object], str]]] = {
    "push": (push, "churn"),
    "promote": (promote, "churn@prod"),
}


def vault(verb: str) -> Built:
    """Build the vault that the verb is done to."""
    built = solo(seed="crash")
    built.promote(built.publish(FIRST))
    if verb == "promote":
        built.publish(SECOND)
    built.read("churn@prod")
    return built


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


def complaints(built: Built, folder: Path, verb: str, seen: Counter[str]) -> list[str]:
    """Say what is wrong in a folder where a writer was killed, before and after the verb is done again."""
    act, ref = VERBS[verb]
    found = litter(built, folder)
    new = client(built, folder, " new")
    new.forgetful = True
    saw = outcome(new, ref)
    if saw not in (FIRST, SECOND):
        found.append(f"a new client sees {saw}")
    seen["old" if saw == FIRST else "new"] += 1
    again = client(built, folder, " again")
    for moment in ("after the kill", "after a second try"):
        report = check(again)
        found += [
            f"{moment}: {entry.subject}: {entry.message}" for entry in report.findings if entry.level == "bad"
        ]
        if moment == "after the kill":
            act(again)
    if outcome(again, ref) != SECOND:
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
    """Kill a writer before and after every step, or every one that may change the store."""
    built = vault(verb)
    act, _ = VERBS[verb]
    kills = 0
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    taken = steps(built, folder / "rehearsal", act)
    for step in taken:
        if not (everything or step.changes):
            continue
        for when in ("before", "after"):
            place = folder / f"{step.index}-{when}"
            if not killed(on_disk(built, place, " killed"), act, step.index, when):
                wrong.append(f"not killed {when} {step}")
                continue
            kills += 1
            wrong += [f"killed {when} {step}: {what}" for what in complaints(built, place, verb, seen)]
    return {"steps": len(taken), "kills": kills, "seen": seen, "wrong": wrong}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]), everything=sys.argv[3] == "all")))
