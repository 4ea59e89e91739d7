"""`mvault adopt` as people type it."""

import json
from pathlib import Path

import pytest

from tests.cli.test_cli_verbs import documented, same_shape
from tests.cli.typing_user import User
from tests.e2e.adopting_parts import HOSTILE, lay, weights

PATTERN = ("--as", "{model}/v{version}.bin")


@pytest.fixture
def old(owner: User) -> Path:
    """A folder with two versions that are fine, and something else."""
    return lay(owner.folder / "old", {"m/v1.bin": weights(1), "m/v2.bin": weights(2), "README": b"hello"})


def test_it_publishes_and_says_so_for_scripts_and_people(old: Path, owner: User) -> None:
    answer = owner.run("adopt", "old", *PATTERN, "--dry-run")
    assert answer.status == 0
    assert "Nothing was published" in answer.err
    answer = owner.run("adopt", "old", *PATTERN, "--report", "told.md")
    assert answer.status == 0
    assert [line.split("\t")[:3] for line in answer.out.splitlines()] == [
        ["adopted", "m:1", "m/v1.bin"],
        ["adopted", "m:2", "m/v2.bin"],
    ]
    assert "2 adopted. 1 file not named by the pattern." in answer.err
    assert "| m:1 | m/v1.bin | safetensors |" in (owner.folder / "told.md").read_text()
    assert owner.run("pull", "m:1", "out").status == 0
    assert (owner.folder / "out" / "model.safetensors").read_bytes() == weights(1)
    again = owner.run("adopt", "old", *PATTERN)
    assert "2 adopted before" in again.err


def test_json_and_the_report_have_the_documented_shape(old: Path, owner: User) -> None:
    lay(old, {"evil/v1.bin": HOSTILE, "a b/v03.bin": weights(), "prod/m-3.bin": weights()})
    (old / "link").symlink_to(old)
    answer = owner.run("adopt", "old", *PATTERN, "--json", "--report", "told.json")
    assert answer.status == 5
    found = json.loads(answer.out)
    same_shape(found, documented("mvault adopt"))
    assert json.loads((owner.folder / "told.json").read_text()) == found
    assert found["summary"]["remains"] == 2
    told = owner.run("adopt", "old", "--as", "{env}/{model}-{version}.bin", "--promote", "--json")
    same_shape(json.loads(told.out), documented("mvault adopt"))
    assert json.loads(told.out)["promotions"][0]["done"] is True


def test_the_status_says_what_remains(old: Path, owner: User) -> None:
    assert owner.run("adopt", "old", *PATTERN).status == 0
    lay(owner.folder / "clash", {"m/v1.bin": weights(9)})
    answer = owner.run("adopt", "clash", *PATTERN)
    assert (answer.status, "from other bytes" in answer.out) == (9, True)
    lay(owner.folder / "names", {"x y/v1.bin": weights()})
    assert owner.run("adopt", "names", *PATTERN).status == 9
    assert owner.run("adopt", "names", *PATTERN, "--rename", "x y=xy").status == 0
    assert owner.run("adopt", "gone", *PATTERN).status == 6


@pytest.mark.parametrize(
    "arguments",
    [
        ("old",),
        ("old", "--as", "no-model"),
        ("old", *PATTERN, "--rename", "x"),
        ("old", *PATTERN, "--alias", "prod"),
        ("old", *PATTERN, "--alias", "champion=Not An Env"),
        ("old", *PATTERN, "--report", "told.txt"),
        ("ftp://x/y", "--as"),
    ],
)
def test_a_mistake_is_told_as_one(arguments: tuple[str, ...], old: Path, owner: User) -> None:
    answer = owner.run("adopt", *arguments)
    assert answer.status == 2
    assert answer.out == ""


def test_a_report_that_cannot_be_written_is_told(old: Path, owner: User) -> None:
    answer = owner.run("adopt", "old", *PATTERN, "--report", "no/such/folder.md")
    assert (answer.status, "cannot be written" in answer.err) == (7, True)


def test_python_callers_mistakes_are_value_errors(owner: User) -> None:
    import vault

    opened = vault.open(owner.folder / "models")
    for more in (
        {"as_": "x"},
        {"to": "pickle"},
        {"tolerance": 2},
        {"threads": 0},
        {"rename": ["x"]},
        {"alias": {"a": "NO"}},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            opened.adopt("old", **{"as_": "{model}", **more})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        opened.adopt("old", as_="{model}", rename="a=b")
