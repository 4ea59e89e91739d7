"""`mvault approve`, `withdraw`, `rollback`, `pending` and `adopt-version` in a vault of one owner.

What they do in a team's vault is in tests/e2e/test_team_flow.py.
"""

import json
import re
from typing import Any

import pytest

from tests.cli.test_cli_verbs import DOCUMENT, same_shape
from tests.cli.typing_user import User


def documented(name: str) -> Any:
    """Give the JSON that docs/cli.md shows for a command."""
    section = re.search(rf"^## mvault {name}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)
    assert section is not None
    shown = re.search(r"```json\n(.*?)```", section[1], re.S)
    assert shown is not None
    return json.loads(shown[1].replace("…", ""))


@pytest.fixture
def releaser(owner: User) -> User:
    """Give an owner whose prod used churn:1 and uses churn:2."""
    owner.write("model.json", '{"weights":[2]}')
    assert owner.run("push", "churn", "model.json").status == 0
    assert owner.run("promote", "churn:2", "--env", "prod").status == 0
    return owner


def test_going_back_and_forth(releaser: User) -> None:
    back = releaser.run("rollback", "churn", "--env", "prod", "--json")
    same_shape(back.json, documented("rollback"))
    assert back.json["version"] == "1"
    assert "seq" not in back.json
    forth = releaser.run("rollback", "churn", "--env", "prod", "-v")
    assert forth.out == "churn@prod\n"
    assert "churn@prod is churn:2 again." in forth.err
    assert "This is record 4 of the channel." in forth.err
    assert "is churn:1 again" in releaser.run("rollback", "churn", "--env", "prod", "--to", "1").err
    assert "is churn:1 already" in releaser.run("rollback", "churn", "--env", "prod", "--to", "1").err
    gone = releaser.run("rollback", "churn", "--env", "prod", "--to", "9", "--json")
    assert (gone.status, gone.json["error"]["message"]) == (6, "churn@prod never named churn:9.")


def test_withdrawing_and_replacing(releaser: User) -> None:
    done = releaser.run("withdraw", "churn:2", "--env", "prod", "--replace-with", "1", "--json")
    same_shape(done.json, documented("withdraw"))
    assert (done.json["written"], done.json["replaced"], done.json["already"]) == (
        ["prod/main"],
        ["prod/main"],
        False,
    )
    assert releaser.run("show", "churn@prod", "--json").json["version"] == "1"
    again = releaser.run("withdraw", "churn:2", "--env", "prod")
    assert (again.out, "was withdrawn from prod before" in again.err) == ("churn:2\n", True)
    out = releaser.run("withdraw", "churn@prod", "--env", "prod")
    assert "mvault rollback churn --env prod" in out.err
    refused = releaser.run("pull", "churn@prod", "out", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (3, "barred")
    events = releaser.run("history", "churn", "--json").json["events"]
    assert [event["reference"] for event in events if event["action"] == "withdraw"] == ["churn:1", "churn:2"]


def test_a_replacement_is_told_in_a_sentence(releaser: User) -> None:
    told = releaser.run("withdraw", "churn:2", "--env", "prod", "--replace-with", "1").err
    assert told == "churn:2 is out of prod, in every slot. churn@prod is churn:1 now.\n"
    wrong = releaser.run("withdraw", "churn:2", "--env", "prod", "--slot", "b", "--replace-with", "1")
    assert (wrong.status, "prod/b does not use that version" in wrong.err) == (2, True)


def test_what_waits(releaser: User) -> None:
    assert releaser.run("pending").err == "Nothing waits.\n"
    releaser.run("push", "churn", "model.json")
    waits = releaser.run("pending", "--json").json
    assert [(entry["step"], entry["need"], entry["in_use"]) for entry in waits["pending"]] == [
        ("promote", 0, "2")
    ]
    assert releaser.run("pending").out == "churn:3\tprod\tpromote\t0/0\tanna\t2\n"
    mine = releaser.run("pending", "--mine")
    assert "1 step for you, first: mvault promote churn:3 --env prod" in mine.err
    same_shape(waits, documented("pending"))


def test_approving_where_nobody_has_to(releaser: User) -> None:
    done = releaser.run("approve", "churn:2", "--env", "prod", "--json")
    same_shape(done.json, documented("approve"))
    assert done.json["need"] == 0
    assert "prod asks for no approvals now" in releaser.run("approve", "churn:2", "--env", "prod").err


def test_adopting_what_needs_no_adoption(releaser: User) -> None:
    done = releaser.run("adopt-version", "churn:2", "--json")
    same_shape(done.json, documented("adopt-version"))
    assert done.json["already"]


@pytest.mark.parametrize("command", [("approve", "churn:2"), ("withdraw", "churn:2"), ("rollback", "churn")])
def test_the_environment_has_to_be_said(command: tuple[str, ...], releaser: User) -> None:
    answer = releaser.run(*command)
    assert (answer.status, "--env ENV, as in --env prod" in answer.err) == (2, True)
