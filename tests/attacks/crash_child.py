"""Run one of the modules that kill or race writers in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


def told_by(module: str, *arguments: str | Path, seconds: int = 900) -> dict[str, Any]:
    """Run `python -m tests.attacks.MODULE`; give the JSON object that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.attacks.{module}", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
