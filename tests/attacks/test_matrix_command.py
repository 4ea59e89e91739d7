"""The attack matrix by the command: what a stolen or restored folder does to who types it, end to end."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.cli.typing_user import Answer, User
from vault.core import memory_journal

ENVIRONMENT = ("MVAULT_", "XDG_", "_MVAULT")


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """Make a vault in models/ with churn:1 and churn:2, of which prod uses the second; keep copies of it."""
    place = tmp_path_factory.mktemp("matrix")
    made = User(place / "home", place / "project")
    made.home.mkdir()
    made.folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(ENVIRONMENT):
                patch.delenv(name)
        patch.setenv("HOME", str(made.home))
        patch.chdir(made.folder)
        made.found()
        for number in (1, 2):
            made.write("model.json", json.dumps({"w": number}))
            answer = made.run("push", "churn", "model.json")
            assert answer.status == 0, answer.err
            assert made.run("promote", f"churn:{number}", "--env", "prod").status == 0
            shutil.copytree(made.folder / "models", place / f"copy-{number}")
        shutil.copytree(made.home, place / "home-copy")
        shutil.copy(made.folder / "mvault.toml", place)
        yield made


@pytest.fixture
def user(owner: User) -> User:
    """Give that user as if nothing had been done since."""
    place = owner.home.parent
    for kept, used in (("home-copy", owner.home), ("copy-2", owner.folder / "models")):
        shutil.rmtree(used)
        shutil.copytree(place / kept, used)
    for name in ("out", "other"):
        shutil.rmtree(owner.folder / name, ignore_errors=True)
    shutil.copy(place / "mvault.toml", owner.folder)
    return owner


def pulls(user: User) -> Answer:
    """Pull prod's version in a process of its own."""
    return user.start("pull", "churn@prod", "out", "--json")


def state(user: User) -> dict[str, object]:
    """Give what the user trusts, and remembers of others; of their own records a refusal is one more."""
    found: dict[str, object] = {}
    for path in user.home.rglob("*.json"):
        if "memory" in path.parts:
            memory = memory_journal.parse(path.read_bytes(), path.stem, str(path)).memory
            logs = {log: mark for log, mark in memory.logs.items() if not log.startswith("access/")}
            found[str(path)] = replace(memory, logs=logs)
        elif path.name == "trusted.json":
            found[str(path)] = path.read_bytes()
    return found


def refused(user: User, status: int, code: str) -> None:
    """See a pull refused, with nothing written and nothing learned."""
    before = state(user)
    assert len(before) >= 2
    answer = pulls(user)
    assert (answer.status, json.loads(answer.out)["error"]["code"]) == (status, code), answer.err
    assert "Traceback" not in answer.err
    assert not (user.folder / "out").exists()
    assert state(user) == before


def put(user: User, number: int, *below: str) -> None:
    """Put back what lay below these folders when churn of this number was the newest."""
    for folder in below or ("",):
        shutil.rmtree(user.folder / "models" / folder)
        shutil.copytree(user.home.parent / f"copy-{number}" / folder, user.folder / "models" / folder)


def test_the_honest_flow(user: User) -> None:
    assert pulls(user).status == 0
    assert (user.folder / "out" / "model.json").read_bytes() == b'{"w": 2}'


@pytest.mark.parametrize("below", ["", "channels"], ids=["everything", "the channels"])
def test_a_folder_put_back_to_an_older_state_is_a_rollback(user: User, below: str) -> None:
    put(user, 1, *([below] if below else []))
    refused(user, 3, "rollback")


def test_one_versions_files_under_anothers_name_are_refused(user: User) -> None:
    versions = user.folder / "models/models/churn/@"
    shutil.rmtree(versions / "2")
    shutil.copytree(versions / "1", versions / "2")
    refused(user, 3, "digest-mismatch")


def test_another_vault_at_the_same_place_is_refused(user: User) -> None:
    shutil.rmtree(user.folder / "models")
    options = ("--no-passphrase", "--name", "eve", "--recipient", "x25519")
    assert user.run("init", "other/", *options).status == 0
    shutil.copytree(user.folder / "other", user.folder / "models")
    refused(user, 3, "digest-mismatch")


def test_a_strangers_project_sets_no_identity(user: User) -> None:
    user.write("mvault.toml", 'identity = "/etc/passwd"\n')
    refused(user, 3, "malformed-document")
