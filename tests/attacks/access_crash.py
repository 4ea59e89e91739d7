"""Kill who rotates or hands out keys at every step, in a process of its own.

    python -m tests.attacks.access_crash rotate|deep|sync FOLDER all|commits|some [THREADS]

Prints one JSON object: how many were killed, and what was wrong afterwards. Between the kill and the
second try everything loads, in every environment, for a client that remembers nothing; the second try
does what is missing, and a third finds nothing to do. With several threads there are several versions, and
their steps mix in another order each time, so a kill comes at another place each time.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.attacks.vault_crash import client, killed, litter, on_disk, steps
from tests.attacks.vault_mixing import check, outcome
from tests.builders import PROD, Built, solo
from vault.actions import access, access_rotate, access_sync
from vault.core.names import Principal

CONTENT: Final = {"model.json": b'{"secret weight":1}', "features.json": b'["secret feature"]'}
REFERENCES: Final = ("churn", "churn@prod", "churn:1")
VERSIONS: Final = 3  # for several threads
SOME: Final = 6  # kills of a verb by default, before and after a step each


def vault(versions: int = 1) -> Built:
    """Build a vault with churn:1 in dev and prod, and the others, with the same content, after it."""
    built = solo(seed="access crash")
    for _ in range(versions):
        built.promote(built.publish(CONTENT))
    built.read("churn@prod")
    return built


def rotate(built: Built) -> int:
    """Rotate prod's key, or go on with a rotation whose policy is in force; count what was written."""
    return _rotate(built, deep=False)


def deep(built: Built) -> int:
    """Rotate prod's key and encrypt payloads anew, or go on with that."""
    return _rotate(built, deep=True)


def _rotate(built: Built, *, deep: bool) -> int:
    began = len(built.policy.environments[PROD].epochs) > 1
    done = access_rotate.rotate(built.session(), PROD, deep=deep, resume=began, threads=THREADS)
    assert done.complete, done.problems
    return done.written


def sync(built: Built) -> int:
    """Write prod's wrapped keys for recovery, which were lost."""
    done = access_sync.sync(built.session(), PROD)
    assert done.complete
    return len(done.written)


def without_copies(built: Built) -> Built:
    """Take recovery's wrapped copies away."""
    for name in [name for name in built.store.objects if "/all/1/recovery/" in name]:
        del built.store.objects[name]
    return built


THREADS = 1  # or as many as the command says
VERBS: Final[dict[str, Callable[[Built], int]]] = {"rotate": rotate, "deep": deep, "sync": sync}


def complaints(built: Built, folder: Path, act: Callable[[Built], int]) -> list[str]:
    """Say what is wrong in a folder where somebody was killed, before and after it is done again."""
    found = litter(built, folder)
    for moment in ("after the kill", "after a second try"):
        new = client(built, folder, f" new {moment}")
        new.forgetful = True
        found += [f"{moment}: {ref} is {saw}" for ref in REFERENCES if (saw := outcome(new, ref)) != CONTENT]
        known = client(built, folder, f" known {moment}")
        found += [f"{moment}: {ref} fails" for ref in REFERENCES if outcome(known, ref) != CONTENT]
        found += [
            f"{moment}: {entry.subject}: {entry.message}"
            for entry in check(known).findings
            if entry.level == "bad"
        ]
        if moment == "after the kill":
            act(known)
            if act(client(built, folder, " third")):
                found.append("a third try found something to do")
    (state,) = access.show(known.session(), PROD).environments
    if not state.complete or state.leaks:
        found.append(f"wrapped copies are missing: {state}")
    if Principal("recovery") not in {entry.who for entry in state.readers}:
        found.append("recovery is no reader")
    return found


def run(verb: str, folder: Path, which: str) -> dict[str, object]:
    """Kill before and after every step, every one that makes an object visible, or some."""
    act = VERBS[verb]
    built = vault(1 if THREADS == 1 else VERSIONS)
    if verb == "sync":
        without_copies(built)
    kills = left = 0
    wrong: list[str] = []
    taken = steps(built, folder / "rehearsal", act)
    for step in taken:
        if which == "commits" and step.verb != "commit":
            continue
        if which == "some" and step.index % max(1, len(taken) // SOME) != len(taken) // (2 * SOME):
            continue
        for when in ("before", "after"):
            place = folder / f"{step.index}-{when}"
            if not killed(on_disk(built, place, " killed"), act, step.index, when):
                if step.verb == "list" and when == "after":
                    left += 1  # who finds the key at once leaves the listing, which has no end then
                elif THREADS == 1:
                    wrong.append(f"not killed {when} {step}")
                continue  # among threads there may be a step less, or one that another thread overtook
            kills += 1
            wrong += [f"killed {when} {step}: {what}" for what in complaints(built, place, act)]
    return {"steps": len(taken), "kills": kills, "left": left, "wrong": wrong}


if __name__ == "__main__":
    THREADS = int(sys.argv[4]) if len(sys.argv) > 4 else THREADS
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]), sys.argv[3])))
