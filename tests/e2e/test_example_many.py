"""`examples/many_models.py`: hundreds of models through three environments, and one version back."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_examples import EXAMPLES, surroundings

MINUTES = 5


def play(folder: Path, count: int, seconds: float) -> str:
    """Run the example as its text says, for so many symbols; give what it printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / "many_models.py", folder / "desk", str(count)],
        env=surroundings(folder / "home"),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(home: Path, *arguments: str | Path) -> str:
    """Run the command afterwards, as the same user."""
    command = [sys.executable, "-c", "from vault.cli.main import main; main()", *map(str, arguments)]
    done = subprocess.run(
        command, env=surroundings(home), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_few_symbols_go_through_and_one_version_back(tmp_path: Path) -> None:
    printed = play(tmp_path, 6, 120)
    assert printed.splitlines()[-1].startswith("6 models, ")
    assert (
        len(re.findall(r"^.{44} +[0-9.]+ s +[0-9.]+ ms each  \(load [0-9.]+\)$", printed, re.MULTILINE)) == 11
    )
    place = tmp_path / "desk" / "models"
    rows = [line.split("\t") for line in told(tmp_path / "home", "ls", "--vault", place).splitlines()]
    assert [row[0] for row in rows] == [f"nepse/S{number:03d}" for number in range(6)]
    assert {row[3] for row in rows} == {"prod=1,staging=2"}
    # And in one command, forward again.
    told(tmp_path / "home", "promote", "nepse/*@staging", "--env", "prod", "--vault", place)
    rows = [line.split("\t") for line in told(tmp_path / "home", "ls", "--vault", place).splitlines()]
    assert {row[3] for row in rows} == {"prod=2,staging=2"}


@pytest.mark.slow
def test_three_hundred_take_less_than_five_minutes(tmp_path: Path) -> None:
    assert "300 models, " in play(tmp_path, 300, MINUTES * 60)
