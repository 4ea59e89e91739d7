"""A user with an empty home and an empty folder, and the command to type in it."""

import os
from pathlib import Path

import pytest

from tests.cli.typing_user import User


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """A new user in an empty project folder."""
    for name in list(os.environ):
        if name.startswith(("MVAULT_", "XDG_", "_MVAULT")) or name in {"NO_COLOR", "PYTHONWARNINGS"}:
            monkeypatch.delenv(name)
    home, folder = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    return User(home, folder)


@pytest.fixture
def owner(user: User) -> User:
    """A user who owns a vault in models/ with churn:1 in dev and prod."""
    user.found()
    user.write("model.json", '{"weights":[1,2,3]}')
    assert user.run("push", "churn", "model.json", "--metric", "auc=0.91").status == 0
    assert user.run("promote", "churn:1", "--env", "prod").status == 0
    return user
