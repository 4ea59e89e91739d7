"""Where a model comes from: time, git, runs, Python, platform, libraries; recorded without being asked."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.actions.libraries import installed
from vault.core.strict_json import JSONValue

if TYPE_CHECKING:
    from vault.loaders.fingerprint import Fingerprint

GIT_SECONDS = 5
_CHARS = 200  # of an id that another program gives


def describe(folder: Path, known: Mapping[str, JSONValue] | None = None) -> dict[str, JSONValue]:
    """Describe this process: git state of `folder`, runs, Python, platform.

    `known` has what need not be asked.
    """
    return {
        "git": git_state(folder) if known is None else known["git"],
        "runs": runs(os.environ, sys.modules),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
    }


def libraries() -> dict[str, str]:
    """Give the versions of the libraries that a saved model may depend on."""
    return dict(installed())


def known(folder: Path) -> dict[str, JSONValue]:
    """Ask once, for many models, what `describe` would ask three programs for each."""
    return {"git": git_state(folder)}


def training(data: Any) -> dict[str, JSONValue]:
    """Digest training data, if there are any, as metadata keep it; an iterator is read to its end.

    Raises:
        TypeError, ValueError, MissingLibrary, NotFound, Unavailable: see `fingerprint.fingerprint`.
    """
    if data is None:
        return {"training_data": None, "training_kind": None, "training_rows": None}
    found = data_digest(data)
    return {"training_data": found.digest, "training_kind": found.kind, "training_rows": found.rows}


def data_digest(data: Any) -> "Fingerprint":
    """Digest training data as `save_model` records it: `.digest`, `.kind`, `.rows`; see docs/lineage.md.

    Takes a table, an array, a sparse matrix, a path, or an iterator of chunks, which is read to its end.

    Raises:
        TypeError, ValueError, MissingLibrary, NotFound, Unavailable: see `fingerprint.fingerprint`.
    """
    from vault.loaders import fingerprint

    return fingerprint.fingerprint(data)


def runs(environ: Mapping[str, str], modules: Mapping[str, Any]) -> dict[str, JSONValue] | None:
    """Give the ids of the runs of MLflow and Weights & Biases that this process is in; None without any.

    Only what is in the environment, or imported already, is looked at: nothing is
    imported, and no address is kept, since one may hold a password.
    """
    found: dict[str, JSONValue] = {}
    for name, read in (("mlflow", _mlflow), ("wandb", _wandb)):
        try:
            active = read(modules[name]) if name in modules else {}
        except Exception:  # another library's state is no reason to refuse a model
            active = {}
        given = {key: environ.get(variable) for key, variable in _VARIABLES[name].items()}
        cleaned = {key: _clean(value) for key, value in ({**given, **active} if active else given).items()}
        if cleaned["run"] is not None:
            found[name] = dict(cleaned)
    return found or None


_VARIABLES = {
    "mlflow": {"run": "MLFLOW_RUN_ID", "experiment": "MLFLOW_EXPERIMENT_ID"},
    "wandb": {"run": "WANDB_RUN_ID", "project": "WANDB_PROJECT", "entity": "WANDB_ENTITY"},
}


def _mlflow(module: Any) -> dict[str, object]:
    run = module.active_run()
    return {} if run is None else {"run": run.info.run_id, "experiment": run.info.experiment_id}


def _wandb(module: Any) -> dict[str, object]:
    run = module.run
    return {} if run is None else {"run": run.id, "project": run.project, "entity": run.entity}


def _clean(value: object) -> str | None:
    """Keep a short printable text, and nothing else."""
    if not isinstance(value, str):
        return None
    text = "".join(character for character in value[: 4 * _CHARS] if character.isprintable()).strip()
    return text[:_CHARS].encode("utf-8", "replace").decode("utf-8") or None


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
