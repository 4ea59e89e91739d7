"""A user with an empty home and an empty folder, and the command to type in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.typing_user import User
from tests.variables import variables


@contextmanager
def _at(folder: Path) -> Iterator[User]:
    """Be a new user with a home and an empty project folder below `folder`."""
    # A test may set variables as a user does, for good.
    with variables({}), pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("MVAULT_", "XDG_", "_MVAULT")) or name in {"NO_COLOR", "PYTHONWARNINGS"}:
                patch.delenv(name)
        home, project = folder / "home", folder / "project"
        home.mkdir(exist_ok=True)
        project.mkdir(exist_ok=True)
        patch.setenv("HOME", str(home))
        patch.chdir(project)
        yield User(home, project)


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    """A new user in an empty project folder."""
    with _at(tmp_path) as found:
        yield found


def _found(user: User) -> None:
    user.found()
    user.write("model.json", '{"weights":[1,2,3]}')
    assert user.run("push", "churn", "model.json", "--metric", "auc=0.91").status == 0
    assert user.run("promote", "churn:1", "--env", "prod").status == 0


def _pull(user: User) -> None:
    assert user.run("pull", "churn@prod", "out").status == 0
    assert user.run("pull", "churn@prod", "out").status == 9
    assert user.run("audit", "repair").out.splitlines()[0] == "4"


def made_once(
    factory: pytest.TempPathFactory, name: str, before: Path | None, act: Callable[[User], None]
) -> Path:
    """Type commands once, after those of `before`; what they leave is copied for each test that begins so."""
    folder = factory.mktemp(name)
    if before is not None:
        _copy(before, folder)
    with _at(folder) as user:
        act(user)
    return folder


def _copy(source: Path, target: Path) -> None:
    """Copy a user's folders; what trusts a vault by its path trusts the copy."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    for path in (target / "home").rglob("trusted.json"):
        path.write_text(path.read_text().replace(str(source), str(target)))


@pytest.fixture(scope="session")
def _owned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "owned", None, _found)


@pytest.fixture(scope="session")
def _recorded(tmp_path_factory: pytest.TempPathFactory, _owned: Path) -> Path:
    return made_once(tmp_path_factory, "recorded", _owned, _pull)


@pytest.fixture
def owner(tmp_path: Path, _owned: Path) -> Iterator[User]:
    """A user who owns a vault in models/ with churn:1 in dev and prod."""
    _copy(_owned, tmp_path)
    with _at(tmp_path) as found:
        yield found


@pytest.fixture
def recorded(tmp_path: Path, _recorded: Path) -> Iterator[User]:
    """An owner who has pulled churn@prod twice, the second time over what was there; it is in the log."""
    _copy(_recorded, tmp_path)
    with _at(tmp_path) as found:
        yield found
