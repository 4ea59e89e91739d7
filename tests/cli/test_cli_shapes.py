"""Every JSON shape that docs/cli.md shows is printed by a command that was really run."""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.test_cli_verbs import DOCUMENT, JSON_CASES, documented, same_shape
from tests.cli.typing_user import User
from vault.cli.audit import COMMANDS as AUDIT_COMMANDS

# Commands as they are typed, by the section and the place there of the shape that the last one prints. What
# is told has something in each list that the shape shows, as far as one vault can bring it about.
AGAIN = "push churn model.json --metric auc=0.92"
SECOND = (AGAIN, "promote churn:2 --env prod")
RUNS: list[tuple[str, int, tuple[str, ...]]] = [
    ("Many models", 0, ("promote --from refs --env prod",)),
    ("mvault ls", 0, ("tag churn:1 champion", "ls churn")),
    (
        "mvault show",
        0,
        (
            "push child model.json --parent churn:1 --training-data model.json --documents",
            "tag child:1 champion",
            "note child:1 'recall fell in May'",
            "promote child:1 --env prod",
            "show child:1",
        ),
    ),
    ("mvault history", 0, ("tag churn:1 champion", "note churn:1 'recall fell in May'", "history churn")),
    ("mvault search", 0, ("search metric.auc>0.9",)),
    ("mvault diff", 0, (AGAIN, "diff churn:1 churn:2")),
    ("mvault compare", 0, (AGAIN, "compare churn:1 churn:2 --all")),
    ("mvault index status", 0, ("index status",)),
    ("mvault index status", 0, ("index update", "index status")),
    ("mvault index update", 0, ("index update",)),
    ("mvault index update", 0, ("index rebuild",)),
    ("mvault tag", 0, ("note churn:1 'recall fell in May'", "tag churn:1 champion")),
    ("mvault note", 0, ("tag churn:1 champion", "note churn:1 'recall fell in May'")),
    (
        "mvault lineage",
        0,
        (
            "push base model.json --training-data model.json",
            "push child model.json --training-data model.json --parent base:1",
            "lineage child:1",
        ),
    ),
    ("mvault adopt-version", 0, ("adopt-version churn:1",)),
    ("mvault policy can-i", 0, ("policy can-i load churn --env prod",)),
    ("mvault policy who-can", 0, ("policy who-can load churn --env prod",)),
    ("mvault lock", 1, (*SECOND, "lock --check models.lock")),
    ("mvault card", 1, ("card churn@prod --output CARD.md",)),
    ("mvault bom", 0, ("bom churn@prod",)),
    ("mvault archive", 0, (*SECOND, "archive churn --to cold --keep-last 1")),
    ("mvault archive", 1, (*SECOND, "archive churn --to cold --keep-last 1", "archive --back churn:1")),
    ("mvault hold", 0, ("hold churn:1 --reason 'complaint 2026-114'",)),
    ("mvault hold", 1, ("hold churn:1 --reason 'complaint 2026-114'", "hold churn:1 --release")),
    (
        "mvault hold",
        2,
        ("hold churn:1 --reason 'complaint 2026-114'", "hold 'nepse/*' --reason x", "hold list"),
    ),
    ("mvault retain", 0, (AGAIN, AGAIN, "retain --keep-last 1 --yes")),
    (
        "mvault retain",
        1,
        (
            *(AGAIN, AGAIN, AGAIN),
            *("retain churn:2 --grace 0h --yes", "retain churn:3 --yes", "retain --reclaim --yes"),
        ),
    ),
    ("mvault retain", 2, (AGAIN, AGAIN, "retain churn:2 --yes", "retain --undo churn:2")),
    ("mvault retain", 3, ("retain --leftovers --yes", "retain --leftovers --grace 0h --yes")),
    ("mvault backup", 0, ("backup nas",)),
    ("mvault backup", 0, ("backup nas", "backup verify nas")),
    ("mvault restore", 0, ("backup nas", "lose", "restore churn:1")),
    ("mvault restore", 1, ("backup nas", "restore nas again --recovery recovery.txt")),
    ("mvault recovery print", 0, ("recovery print",)),
    ("mvault recovery read", 0, ("recovery read typed.txt --output key.txt",)),
    ("mvault recovery confirm", 0, ("recovery confirm",)),
    (
        "mvault recovery status",
        0,
        ("recovery confirm", "backup nas", "restore --drill nas", "recovery status"),
    ),
    ("mvault identity backup", 0, ("identity backup",)),
    ("mvault identity export", 0, ("identity export",)),
]


def lose(user: User) -> None:
    """Do to churn:1 what a disk does."""
    for path in (user.folder / "models/models/churn/@/1/files").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("section", "place", "typed"),
    RUNS,
    ids=[f"{section} {place}: {typed[-1]}" for section, place, typed in RUNS],
)
def test_json_has_the_documented_shape(section: str, place: int, typed: tuple[str, ...], owner: User) -> None:
    owner.write("refs", "churn:1\ngone:1\n")
    owner.write("models.lock", owner.run("lock", "churn@prod").out)
    owner.write("typed.txt", owner.run("recovery", "print").out)
    (recovery,) = owner.home.rglob("recovery-*.txt")
    owner.write("recovery.txt", recovery.read_text())
    if "--leftovers" in typed[-1]:
        owner.write("models/models/churn/@/9/files/" + "a" * 32, b"left")
    for line in typed[:-1]:
        if line == "lose":
            lose(owner)
        else:
            done = owner.run(*shlex.split(line))
            assert done.status == 0, done.err
    answer = owner.run(*shlex.split(typed[-1]), "--json")
    assert answer.status == (6 if section == "Many models" else 0), answer.err
    same_shape(answer.json, documented(section, place))


def test_a_drill_tells_its_report_and_a_report_what_it_says(owner: User) -> None:
    """What docs/cli.md says in words of shapes that only some options give."""
    assert owner.run("backup", "nas").status == 0
    drill = owner.run("restore", "--drill", "nas", "--report", "r.json", "--json")
    assert drill.json["report"].keys() == {"outcome", "signer", "path", "began", "ended"}
    told = owner.run("restore", "--check-report", "r.json", "--json")
    assert told.json.keys() == {
        *("vault", "backup", "outcome", "signers", "began", "ended", "versions", "failed", "failures")
    }


ELSEWHERE = {
    "mvault trust": "test_cli_verbs.py",
    "mvault identity import": "test_cli_verbs.py",
    "mvault sign": "test_cli_sign.py",
    "mvault verify": "test_cli_sign.py",
    "mvault adopt": "test_cli_adopt.py",
    "mvault approve": "test_cli_channels.py",
    "mvault withdraw": "test_cli_channels.py",
    "mvault rollback": "test_cli_channels.py",
    "mvault pending": "test_cli_channels.py",
    "mvault access show": "test_cli_access.py",
    "mvault access sync": "test_cli_access.py",
    "mvault access rotate": "test_cli_access.py",
    "mvault convert": "test_cli_convert.py",
    "mvault load-test": "test_cli_load_test.py",
    "mvault policy sign": "test_cli_verbs.py",
    "mvault policy status": "test_cli_verbs.py",
    "mvault policy apply": "test_cli_verbs.py",
    "mvault team add": "test_cli_verbs.py",
    **{f"mvault audit {name}": "test_cli_audit.py" for name in (*AUDIT_COMMANDS, "report verify")},
}


def test_every_documented_shape_is_tested() -> None:
    sections = re.findall(
        r"^## (mvault [a-z -]+|Many models)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S
    )
    with_shape = {(path, place) for path, text in sections for place in range(text.count("```json"))}
    run = {(path, place) for path, place, _ in RUNS}
    demo = {("mvault demo", 0)}  # tests/e2e/test_demo.py
    assert with_shape == run | demo | {(path, 0) for path in (*JSON_CASES, *ELSEWHERE)}


@pytest.mark.parametrize("path", ELSEWHERE)
def test_where_a_shape_is_said_to_be_tested_something_is_compared_with_it(path: str) -> None:
    text = Path(__file__).with_name(ELSEWHERE[path]).read_text()
    assert "same_shape(" in text
    assert path.split()[1] in text
