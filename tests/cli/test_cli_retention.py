"""`mvault retain` and `mvault hold`: what is typed, shown, asked, and given to scripts."""

import json

import pytest

from tests.cli.test_cli_channels import documented
from tests.cli.test_cli_verbs import same_shape
from tests.cli.typing_user import User


@pytest.fixture
def keeper(owner: User) -> User:
    """Give an owner of churn 1 to 4, of which prod uses 1."""
    for number in (2, 3, 4):
        owner.write("model.json", f'{{"weights":[{number}]}}')
        assert owner.run("push", "churn", "model.json").status == 0
    return owner


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_a_dry_run_tells_of_every_version_what_and_why(keeper: User) -> None:
    shown = keeper.run("retain", "--keep-last", "1", "--dry-run")
    assert shown.status == 0
    assert [(row[0], row[1], row[4]) for row in rows(shown.out)] == [
        ("keep", "churn:4", "last"),
        ("remove", "churn:3", "not kept by keep-last 1"),
        ("remove", "churn:2", "not kept by keep-last 1"),
        ("keep", "churn:1", "prod uses it"),
    ]
    assert "2 versions would be removed" in shown.err
    assert keeper.run("pull", "churn:2", "two").status == 0


def test_where_nobody_can_be_asked_yes_must_be_given(keeper: User) -> None:
    asked = keeper.run("retain", "--keep-last", "1")
    assert asked.status == 2
    assert "say --yes" in asked.err
    asked = keeper.run("retain", "--keep-last", "1", "--json")
    assert (asked.status, asked.json["error"]["code"]) == (2, "usage")
    assert keeper.run("pull", "churn:2", "two").status == 0


def test_removing_taking_back_and_reclaiming(keeper: User) -> None:
    done = keeper.run("retain", "--keep-last", "1", "--grace", "0h", "--yes", "--json")
    assert done.status == 0
    same_shape(done.json, documented("retain"))
    assert [entry["reference"] for entry in done.json["removed"]] == ["churn:3", "churn:2"]
    gone = keeper.run("pull", "churn:2", "two", "--json")
    assert (gone.status, gone.json["error"]["code"]) == (6, "removed")
    listed = {row[0]: row for row in rows(keeper.run("ls", "churn").out)}
    assert set(listed) == {"1", "2", "3", "4"}
    releases = keeper.run("ls", "churn", "--json").json["models"][0]["releases"]
    assert {entry["version"]: entry["removed"] for entry in releases} == {
        "4": None,
        "3": "remove",
        "2": "remove",
        "1": None,
    }
    assert "remove" in keeper.run("history", "churn").out
    back = keeper.run("retain", "--undo", "churn:3")
    assert (back.status, back.out) == (0, "churn:3\n")
    assert keeper.run("pull", "churn:3", "three").status == 0
    assert keeper.run("retain", "--undo", "churn:3", "--json").json["already"] is True
    dry = keeper.run("retain", "--reclaim", "--dry-run")
    assert rows(dry.out)[0][:2] == ["delete", "churn:2"]
    assert keeper.run("retain", "--reclaim").status == 2
    deleted = keeper.run("retain", "--reclaim", "--yes")
    assert deleted.status == 0
    assert "The files of 1 version are deleted" in deleted.err
    assert keeper.run("retain", "--undo", "churn:2").status == 6
    assert keeper.run("check").status == 0
    assert keeper.run("show", "churn:2", "--json").json["removed"] == "reclaim"
    again = keeper.run("retain", "--reclaim", "--yes", "--json")
    assert set(again.json) == {
        *("dry_run", "going", "blocked", "deleted", "objects", "bytes", "kept", "elsewhere", "failed")
    }


def test_at_a_terminal_it_is_shown_and_asked(keeper: User) -> None:
    no = keeper.type("retain", "--keep-last", "1", answers=(("go on?", "n\n"),))
    assert "not kept by keep-last 1" in no.out
    assert "Nothing was removed." in no.out
    yes = keeper.type("retain", "--keep-last", "1", answers=(("go on?", "y\n"),))
    assert "2 versions removed, 2 kept" in yes.out


def test_rules_come_from_a_file_too(keeper: User) -> None:
    nothing = keeper.run("retain", "--dry-run")
    assert nothing.status == 2
    assert "--starter" in nothing.err
    keeper.write("policies/retention.yaml", keeper.run("retain", "--starter").out)
    assert keeper.run("retain", "--dry-run").status == 0
    keeper.write("other.yaml", "models:\n  churn: {keep_last: 2}\n")
    assert rows(keeper.run("retain", "--rules", "other.yaml", "--dry-run").out)[2][0] == "remove"
    keeper.write("other.yaml", "models:\n  churn: {keep_last: two}\n")
    wrong = keeper.run("retain", "--rules", "other.yaml", "--dry-run")
    assert wrong.status == 3
    assert "other.yaml, line 2" in wrong.err
    assert keeper.run("retain", "--rules", "none.yaml", "--dry-run").status == 6


def test_a_version_goes_by_name_unless_it_is_needed(keeper: User) -> None:
    assert keeper.run("retain", "churn:4", "--yes").status == 0
    assert keeper.run("pull", "churn:4", "four").status == 6
    needed = keeper.run("retain", "churn:1", "--yes", "--json")
    assert needed.json["removed"] == []
    assert keeper.run("retain", "churn:4", "--yes").status == 6
    assert keeper.run("retain", "churn:77", "--yes").status == 6


@pytest.mark.parametrize(
    "arguments",
    [
        ("--reclaim", "--leftovers"),
        ("--reclaim", "--keep-last", "3"),
        ("--undo", "churn:1", "--dry-run"),
        ("--undo", "churn:1", "churn"),
        ("churn:1", "churn"),
        ("churn:1", "--keep-last", "3"),
        ("churn:1", "--rules", "x"),
        ("--keep-last", "3", "--rules", "x"),
        ("--group-by", "model"),
        ("--grace", "1d"),
        ("--keep-last", "three"),
        ("--keep-within", "1w"),
        ("--keep-last", "3", "--group-by", "host"),
        ("--leftovers",),
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_told(keeper: User, arguments: tuple[str, ...]) -> None:
    answer = keeper.run("retain", *arguments)
    assert answer.status == 2, answer.err
    assert answer.err


def test_holding_and_releasing(keeper: User) -> None:
    assert keeper.run("hold").err == "Nothing is held.\n"
    assert keeper.run("hold", "churn:2").status == 2
    made = keeper.run("hold", "churn:2", "--reason", "case 7", "--json")
    same_shape(made.json, documented("hold"))
    assert keeper.run("hold", "churn", "--reason", "all of it").status == 0
    listed = keeper.run("hold", "list")
    assert sorted(row[0] for row in rows(listed.out)) == ["churn", "churn:2"]
    assert set(keeper.run("hold", "--json").json) == {"holds", "skipped"}
    assert "held by anna: case 7" in keeper.run("retain", "--keep-last", "1", "--dry-run").out
    released = keeper.run("hold", "churn", "--release", "--reason", "done", "--json")
    assert [entry["what"] for entry in released.json["released"]] == ["churn"]
    assert keeper.run("hold", made.json["digest"], "--release").status == 0
    assert keeper.run("hold", "churn", "--release").status == 6


def test_leftovers_are_noted(keeper: User) -> None:
    keeper.write("models/models/churn/@/9/files/" + "a" * 32, b"left")
    noted = keeper.run("retain", "--leftovers", "--yes", "--json")
    assert noted.status == 0
    assert noted.json["noted"] == [{"reference": "churn:9", "objects": 1, "since": None}]
    waits = keeper.run("retain", "--leftovers", "--dry-run")
    assert rows(waits.out)[0][:3] == ["wait", "churn:9", "1"]
    gone = keeper.run("retain", "--leftovers", "--yes", "--grace", "0h")
    assert rows(gone.out)[0][:2] == ["delete", "churn:9"]
    assert keeper.run("retain", "--leftovers", "--yes").err.startswith("Nothing was left behind.")


def test_the_python_verbs_are_those_of_the_command(keeper: User) -> None:
    import vault

    opened = vault.open("models/")
    plan = opened.retain("churn", keep_last=1, keep_tag="x", keep_within="1h", dry_run=True).plan
    assert [entry.subject for entry in plan.decisions][:1] == ["churn:4"]
    assert [entry.keep for entry in opened.retain(keep_last="unlimited", dry_run=True).plan.decisions] == [
        True
    ] * 4
    with pytest.raises(ValueError, match="No rule is given"):
        opened.retain()
    with pytest.raises(ValueError, match="not from both"):
        opened.retain(keep_last=1, rules={})
    with pytest.raises(ValueError, match="from 0"):
        opened.retain(keep_last=-7)
    with pytest.raises(ValueError, match="which version"):
        opened.remove("churn")
    with pytest.raises(ValueError, match="which versions"):
        opened.remove()
    rules = plan.decisions[0].rules
    assert rules is not None
    assert opened.retain(rules=rules, dry_run=True).plan.decisions
    assert opened.retain(rules={"churn": rules}, require_backup=True, dry_run=True).plan.decisions
    keeper.write("rules.yaml", json.dumps({"models": {"*": {"keep_last": "1"}}}))
    assert opened.retain(rules="rules.yaml", dry_run=True).plan.going
    assert opened.remove("churn:3", require_backup=True).removed == ()
    assert opened.remove("churn:3").removed
    assert opened.take_back("churn:3").versions == ("churn:3",)
    assert opened.hold("churn:3", reason="case 7").subject == "churn:3"
    assert len(opened.holds().holds) == 1
    assert opened.release("churn:3").holds
    assert opened.reclaim("churn").deleted == ()
    assert opened.sweep().deleted == []
