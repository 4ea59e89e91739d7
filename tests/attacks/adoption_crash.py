"""Kill an adoption whenever an object appears, in a process of its own, and run it again.

    python -m tests.attacks.adoption_crash FOLDER

Prints one JSON object: how often it was killed, how many versions had appeared by then, and what was
wrong. A child is forked for each step, before this process starts any thread.
"""

import json
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders import Built, solo
from tests.e2e.adopting_parts import adopt, lay, weights
from vault.storage.local import LocalStore
from vault.storage.local_draft import Draft
from vault.storage.memory import MemoryStore

MODELS = {f"models/{name}/v{number}.st": weights(number) for name, number in (("a", 1), ("b", 7))}
PATTERN = "models/{model}/v{version}.st"
FINISHED = 7


class Deadly(LocalStore):
    """A store that ends the process before or after the n-th object appears."""

    def __init__(self, folder: Path, step: int) -> None:
        """Kill at `step`: an even one before, an odd one after the object."""
        super().__init__(folder)
        self.step = step

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Draft]:
        """Create, or be killed."""
        self._strike(0)
        with super().create(name, size=size) as draft:
            yield draft
        self._strike(1)
        self.step -= 2

    def _strike(self, at: int) -> None:
        if self.step == at:
            os.kill(os.getpid(), signal.SIGKILL)


def on_disk(built: Built, folder: Path) -> None:
    """Write a vault's objects into a folder."""
    for name, data in built.store.objects.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def child(built: Built, top: Path, step: int) -> int:
    """Adopt in a process that is killed at a step; give its status."""
    pid = os.fork()
    if pid == 0:
        session = built.session(store=Deadly(top / "vault", step))
        report = adopt(built, top / "old", PATTERN, state=top / "state", session=session)
        os._exit(FINISHED if len(report.adopted) == len(MODELS) else 1)
    _, status = os.waitpid(pid, 0)
    return status


def after(built: Built, top: Path) -> tuple[int, list[str]]:
    """Run it again to the end; give how many versions were there before, and what is wrong."""
    session = built.session(store=LocalStore(top / "vault"))
    session.random = secrets.token_bytes  # the one who was killed drew the same "random" names
    report = adopt(built, top / "old", PATTERN, state=top / "state", session=session)
    before = sum(item.outcome == "already" for item in report.items)
    wrong = [f"{item.path}: {item.code} {item.reason}" for item in report.remaining]
    again = adopt(built, top / "old", PATTERN, state=top / "state", session=session)
    wrong += [f"again: {item.path} is {item.outcome}" for item in again.items if item.outcome != "already"]
    grown = built.fork()
    there = LocalStore(top / "vault").list("")
    grown.store = MemoryStore({name: (top / "vault" / name).read_bytes() for name in there})
    for path, data in MODELS.items():
        _, model, file = path.split("/")
        reference = f"{model}:{file[1:-3]}"
        if grown.read(reference) != {"model.safetensors": data}:
            wrong.append(f"{reference} holds something else")
    manifests = sum(name.endswith("/manifest.json") for name in grown.store.objects)
    if manifests != len(MODELS):
        wrong.append(f"there are {manifests} versions")
    return before, wrong


def main(folder: Path) -> None:
    """Kill at every step until one run comes to its end."""
    kills, seen, wrong = 0, Counter[int](), []
    for step in range(1_000):
        built = solo(seed="adoption crash")
        top = folder / str(step)
        lay(top / "old", MODELS)
        on_disk(built, top / "vault")
        status = child(built, top, step)
        if os.WIFEXITED(status):
            wrong += [] if os.WEXITSTATUS(status) == FINISHED else [f"step {step} failed"]
            break
        kills += 1
        # Threads are started here, so what comes after is looked at in a child too.
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, json.dumps(after(built, top)).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            before, faults = json.loads(told.read())
        os.wait()
        seen[before] += 1
        wrong += [f"step {step}: {fault}" for fault in faults]
    json.dump({"kills": kills, "seen": dict(seen), "wrong": wrong}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
