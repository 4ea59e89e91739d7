"""`mvault convert` as people type it."""

import json
import pickle
from pathlib import Path

import pytest

from tests.cli.test_cli_verbs import documented, same_shape
from tests.cli.typing_user import User
from vault.confinement import confine, landlock

pytestmark = pytest.mark.skipif(not confine.available().whole, reason="this kernel lacks Landlock or seccomp")


@pytest.fixture
def folder(user: User) -> Path:
    """A folder with a legacy model of a kind that needs no fitting."""
    (user.folder / "model.pkl").write_bytes(pickle.dumps({"weights": [1.0, 2.0]}, protocol=2))
    return user.folder


def test_it_writes_beside_the_file_and_says_what_comes_next(folder: Path, user: User) -> None:
    answer = user.run("convert", "model.pkl")
    assert (answer.status, answer.out) == (0, "model.skops\n")
    assert "mvault push NAME model.skops" in answer.err
    assert "Nothing was compared" in answer.err
    assert (folder / "model.skops").exists()
    again = user.run("convert", "model.pkl")
    assert again.status == 9
    assert "--force" in again.err


def test_a_hostile_pickle_ends_with_status_5_and_json_has_the_documented_shape(
    folder: Path, user: User
) -> None:
    (folder / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch marker'\ntR.")
    answer = user.run("convert", "evil.pkl")
    assert answer.status == 5
    assert "os.system" in answer.err
    answer = user.run("convert", "evil.pkl", "--despite-dangers", "--json")
    assert (answer.status, sorted(entry.name for entry in folder.glob("mark*"))) == (0, [])
    assert json.loads(answer.out)["dangers"] == ["os.system"]
    same_shape(json.loads(answer.out), documented("mvault convert"))


def test_a_kernel_without_landlock_is_told(folder: Path, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    answer = user.run("convert", "model.pkl", "--json")
    assert (answer.status, json.loads(answer.out)["error"]["code"]) == (5, "no-sandbox")
    assert "--unsafe-no-sandbox" in answer.err
    assert not (folder / "model.skops").exists()
