"""`kill -9` at every step of a rotation or a sync: everything loads, and the same command goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
COMMITS = {"rotate": 7, "deep": 14, "sync": 1}


def crash(verb: str, folder: Path, which: str) -> dict[str, Any]:
    """Kill in a process of its own; give what came of it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.access_crash", verb, str(folder), which],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("verb", COMMITS)
def test_a_kill_before_or_after_any_object_appears_leaves_everything_loadable(
    verb: str, tmp_path: Path
) -> None:
    found = crash(verb, tmp_path, "commits")
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    assert found["kills"] == 2 * COMMITS[verb]


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMITS)
def test_a_kill_at_any_step_leaves_everything_loadable(verb: str, tmp_path: Path) -> None:
    found = crash(verb, tmp_path, "all")
    assert not found["wrong"], "\n".join(found["wrong"][:20])
    assert found["kills"] == 2 * found["steps"]
