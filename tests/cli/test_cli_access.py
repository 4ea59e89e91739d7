"""`mvault access`: what it prints for people, for scripts and as JSON, and its exit statuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli_verbs import documented, same_shape
from tests.cli.typing_user import User

SHAPES: dict[str, tuple[str, ...]] = {
    "mvault access show": ("access", "show"),
    "mvault access sync": ("access", "sync"),
    "mvault access rotate": ("access", "rotate", "prod"),
}


def stored(owner: User) -> dict[str, bytes]:
    folder = owner.folder / "models"
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def forget_recovery(owner: User) -> None:
    for path in (owner.folder / "models/keys/prod/all/1/recovery").iterdir():
        path.unlink()


@pytest.mark.parametrize("path", SHAPES)
def test_json_has_the_documented_shape(path: str, owner: User) -> None:
    forget_recovery(owner)
    answer = owner.run(*SHAPES[path], "--json")
    assert (answer.status, answer.err) == (0, "")
    same_shape(answer.json, documented(path))


def test_show_is_a_table_and_says_what_cannot_be_undone(owner: User) -> None:
    answer = owner.run("access", "show")
    assert answer.status == 0
    assert answer.out.splitlines() == [
        "dev\tanna\tperson\tyes\t1\t",
        "dev\trecovery\trecovery\tyes\t1\t",
        "prod\tanna\tperson\tyes\t1\t",
        "prod\trecovery\trecovery\tyes\t1\t",
    ]
    assert "may have kept it" in answer.err
    assert owner.run("access", "show", "prod", "-q").out.count("\n") == 2
    assert owner.run("access", "show", "nowhere").status == 6


def test_show_needs_no_identity(owner: User) -> None:
    owner.run("trust", "export", "trust.json")
    owner.becomes_somebody_else()
    assert owner.run("access", "show", "prod", "--trust", "trust.json").status == 0


def test_sync_prints_its_plan_first_and_does_nothing_the_second_time(owner: User) -> None:
    forget_recovery(owner)
    before = stored(owner)
    assert "lacks epoch 1: mvault access sync" in owner.run("access", "show", "prod").out
    planned = owner.run("access", "sync", "--dry-run")
    assert (planned.status, planned.out) == (0, "prod\t1\trecovery\n")
    assert "Plan: write 1 wrapped key, for recovery (prod)." in planned.err
    assert stored(owner) == before
    done = owner.run("access", "sync")
    assert (done.status, done.out) == (0, "prod\t1\trecovery\n")
    assert done.err.index("Plan:") < done.err.index("Wrote 1 wrapped key.")
    assert "Nothing is missing: 4 wrapped keys in place." in owner.run("access", "sync").err
    assert owner.run("access", "sync", "--again", "recovery").out.count("\n") == 2
    assert owner.run("access", "sync", "--again", "nobody").status == 2


def test_sync_without_the_key_ends_with_8(owner: User) -> None:
    owner.run("trust", "export", "trust.json")
    forget_recovery(owner)
    owner.becomes_somebody_else()
    owner.run("identity", "new", "eve", "--no-passphrase", "--recipient", "x25519")
    answer = owner.run("access", "sync", "--trust", "trust.json")
    assert answer.status == 8
    assert "You do not hold the key of prod epoch 1" in answer.err


def test_rotate_prints_its_plan_first_and_everything_loads_afterwards(owner: User) -> None:
    before = stored(owner)
    planned = owner.run("access", "rotate", "prod", "--dry-run")
    assert (planned.status, planned.out) == (0, "")
    for text in (
        "Plan for prod, epoch 2:",
        "a new key, wrapped 2 times, for: anna, recovery",
        "a new policy, which takes 1 signature",
        "at most 2 key headers of 1 version",
        "may have kept it",
        "Whoever rotates an environment's key holds the new one.",
    ):
        assert text in planned.err
    assert stored(owner) == before
    done = owner.run("access", "rotate", "prod")
    assert (done.status, done.out) == (0, "prod\t2\n")
    assert done.err.index("Plan for prod") < done.err.index("prod: wrote 2 key headers of 1 version.")
    assert owner.run("pull", "churn@prod", "out").status == 0
    again = owner.run("access", "rotate", "prod", "--continue")
    assert "wrote 0 key headers of 0 versions, 2 were there." in again.err
    assert owner.run("check", "--data").status == 0
    assert owner.run("promote", "churn:1", "--env", "prod").status == 0


def test_rotate_deep_says_that_old_ciphertext_remains(owner: User) -> None:
    answer = owner.run("access", "rotate", "prod", "--deep")
    assert answer.status == 0
    assert "old ciphertext remains in storage until it is pruned" in answer.err
    assert "wrote 2 payloads of 1 version." in answer.err
    assert len(list((owner.folder / "models/models/churn/@/1/files").iterdir())) == 4
    assert owner.run("check", "--data").status == 0
    assert owner.run("pull", "churn@prod", "out").status == 0


def test_rotate_reports_what_it_could_not_do_and_ends_with_3(owner: User) -> None:
    header = next((owner.folder / "models/models/churn/@/1/keys/prod-1").iterdir())
    header.rename(owner.folder / "aside")
    answer = owner.run("access", "rotate", "prod", "--json")
    assert answer.status == 3
    assert [entry["code"] for entry in answer.json["problems"]] == ["not-found"]
    assert answer.json["written"] == 1
    (owner.folder / "aside").rename(header)
    assert owner.run("access", "rotate", "prod", "--continue").status == 0


def test_the_documented_shapes_are_those_of_the_commands() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    sections = re.findall(r"^## (mvault access [a-z]+)$", page, re.M)
    assert set(sections) == set(SHAPES)
    example: Any = documented("mvault access rotate")
    assert json.loads(json.dumps(example)) == example
