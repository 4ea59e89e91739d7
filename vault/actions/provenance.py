"""Where a model comes from: time, git, Python, platform, libraries; recorded without being asked."""

import platform
import subprocess
import sys
from pathlib import Path

from vault.actions.libraries import installed
from vault.core.strict_json import JSONValue

GIT_SECONDS = 5


def describe(folder: Path) -> dict[str, JSONValue]:
    """Describe this process: git state of `folder`, Python, platform."""
    return {
        "git": git_state(folder),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
    }


def libraries() -> dict[str, str]:
    """Give the versions of the libraries that a saved model may depend on."""
    return dict(installed())


def git_state(folder: Path) -> dict[str, JSONValue] | None:
    """Give commit and dirty flag of the repository around `folder`, or None where there is none."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    return {
        "commit": commit.strip()[:64],
        "dirty": bool(changes) if changes is not None else None,
        "branch": None if branch is None else branch.strip()[:200],
    }


def _git(folder: Path, *arguments: str) -> str | None:
    # A repository may be a stranger's: its configuration must not make git run a program.
    safe = ["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat"]
    try:
        done = subprocess.run(  # noqa: S603 (no shell, and every argument is a constant)
            ["git", *safe, *arguments],  # noqa: S607 (the user's own git, as at their prompt)
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
