"""Writers of one log race, and are killed: nothing that was acknowledged is lost, and the log is whole."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.logs import everything, numbered, state, writer
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

REPOSITORY = Path(__file__).parents[2]


def run(folder: Path, rounds: int, seed: int) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.attacks.log_crash", str(folder), str(rounds), str(seed)],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=False, timeout=60 + 20 * rounds,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def check_whole(found: dict[str, Any]) -> None:
    assert found["wrong"] == []
    assert found["unmended"] == []
    assert found["mended"]
    assert found["commits"] >= found["calls"] > 0


def test_writers_that_are_killed_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    check_whole(run(tmp_path, 3, 1))


@pytest.mark.slow
def test_sixty_rounds_of_three_writers_killed_lose_nothing(tmp_path: Path) -> None:
    check_whole(run(tmp_path, 60, 2))


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_threads_with_writers_of_their_own_append_all_their_entries(kind: str, tmp_path: Path) -> None:
    store = MemoryStore() if kind == "memory" else LocalStore(tmp_path)
    failures: list[BaseException] = []

    def work(place: int) -> None:
        log = writer(store, ("ann", "bob")[place % 2])
        try:
            for at in range(6):
                log.append(numbered(1_000 * place + 10 * at, 10), derive=at % 2 == 0)
        except BaseException as error:  # whatever it is, the test tells it
            failures.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    entries = everything(store)
    assert len(entries) == 240
    for place in range(4):
        mine = [entry for at in range(6) for entry in numbered(1_000 * place + 10 * at, 10)]
        assert [entry for entry in entries if entry in set(mine)] == mine
    assert state(store).skipped == ()
