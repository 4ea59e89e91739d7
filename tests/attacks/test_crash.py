"""`kill -9` at every step of a verb that writes: nothing half-visible, and the same command works again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
# By verb: at how many steps that change something, and at how many of all, it is killed, at least.
VERBS = {
    "push": (18, 60),
    "promote": (18, 60),
    "approve": (6, 40),
    "withdraw": (18, 60),
    "rollback": (18, 60),
    "adopt": (12, 40),
}


def crash(verb: str, folder: Path, which: str) -> dict[str, Any]:
    """Kill writers in a process of their own; give what came of it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.vault_crash", verb, str(folder), which],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _check(found: dict[str, Any], kills: int) -> None:
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    assert found["kills"] >= kills
    assert found["seen"]["old"] > kills // 3
    assert found["seen"]["new"] >= 1  # killed after the commit, before anybody was told


@pytest.mark.parametrize("verb", VERBS)
def test_a_writer_killed_at_any_step_that_changes_something_leaves_a_vault_that_is_whole(
    verb: str, tmp_path: Path
) -> None:
    _check(crash(verb, tmp_path, "changes"), kills=VERBS[verb][0])


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_writer_killed_at_any_step_leaves_a_vault_that_is_whole(verb: str, tmp_path: Path) -> None:
    _check(crash(verb, tmp_path, "all"), kills=VERBS[verb][1])
