"""`mvault audit witness` and `mvault audit anchor`: what they print, and their statuses."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_cli_verbs import documented, same_shape
from tests.cli.typing_user import User
from vault.policyfile import shipped


@pytest.fixture
def witness(owner: User) -> User:
    """The owner of a vault, who may witness its logs."""
    policy = shipped("solo")
    assert "[audit.read, log]" in policy
    owner.write("policy.yaml", policy.replace("[audit.read, log]", "[audit.read, log, witness]"))
    assert owner.run("policy", "draft", "policy.yaml").status == 0
    assert owner.run("policy", "sign", "policy-2.json", "--yes").status == 0
    answer = owner.run("policy", "apply", "policy-2.json")
    assert answer.status == 0, answer.err
    return owner


def prod(user: User) -> Path:
    return user.folder / "models" / "log" / "env" / "prod"


def test_a_witness_begins_when_told_and_goes_on(witness: User) -> None:
    answer = witness.run("audit", "witness", "--env", "prod")
    assert answer.status == 3
    assert "remembers no log here, so it would begin anew with env/prod" in answer.err
    assert "mvault audit witness --begin" in answer.err
    assert not (prod(witness) / "cosigned").exists()
    answer = witness.run("audit", "witness", "--env", "prod", "--begin")
    assert answer.status == 0, answer.err
    name, result, size, root = answer.out.strip().split("\t")
    assert (name, result, len(root)) == ("env/prod", "cosigned", 64)
    assert int(size) >= 1
    assert "wrote this checkpoint itself: the cosignature does not count" in answer.err
    answer = witness.run("audit", "witness", "--log", "env/prod")
    assert (answer.status, answer.out.split("\t")[1]) == (0, "unchanged")


def test_a_rewritten_log_ends_with_three_and_says_where_it_is_kept(witness: User) -> None:
    assert witness.run("audit", "witness", "--begin").status == 0
    shutil.rmtree(prod(witness) / "commit")
    answer = witness.run("audit", "witness", "--json")
    assert answer.status == 3
    (found,) = [entry for entry in answer.json["logs"] if entry["log"] == "env/prod"]
    assert (found["result"], found["error"]["code"]) == ("refused", "log-inconsistent")
    assert found["kept"] in answer.err
    assert (Path(found["kept"]) / "reason.txt").exists()
    everything = answer.json["logs"]
    assert {entry["result"] for entry in everything if entry["log"] != "env/prod"} <= {
        "cosigned",
        "unchanged",
    }


def test_every_goes_on_until_something_is_refused(witness: User, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            shutil.rmtree(prod(witness) / "commit")

    monkeypatch.setattr("vault.cli.audit_witness.time.sleep", sleep)
    answer = witness.run("audit", "witness", "--env", "prod", "--begin", "--every", "60")
    assert answer.status == 3
    assert slept == [60, 60]
    assert [line.split("\t")[1] for line in answer.out.splitlines()] == ["cosigned", "unchanged", "refused"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--log", "nonsense"), "nonsense"),
        (("--log", "env/prod", "--env", "prod"), "not both"),
        (("--every", "0"), "--every"),
    ],
)
def test_mistakes_are_usage_errors(arguments: tuple[str, ...], said: str, witness: User) -> None:
    answer = witness.run("audit", "witness", *arguments)
    assert answer.status == 2
    assert said in answer.err


def test_who_may_not_witness_is_told(owner: User) -> None:
    answer = owner.run("audit", "witness")
    assert answer.status == 4
    assert "may not witness any log" in answer.err


def test_heads_are_anchored_and_a_lost_log_is_noticed(owner: User) -> None:
    assert owner.run("pull", "churn@prod", "out").status == 0
    assert owner.run("audit", "repair").status == 0  # moves what waits
    answer = owner.run("audit", "anchor", "--env", "prod")
    assert answer.status == 0, answer.err
    name, size, root = answer.out.strip().split("\t")
    assert name.startswith("access/anna/")
    assert (int(size) > 0, len(root)) == (True, 64)
    again = owner.run("audit", "anchor", "--env", "prod", "--json")
    assert again.json == {"log": "env/prod", "added": [], "unchanged": 1, "troubles": []}
    shutil.rmtree(owner.folder / "models" / "log" / "access")
    answer = owner.run("audit", "anchor", "--env", "prod", "--json")
    assert answer.status == 3
    ((trouble),) = json.loads(answer.out)["troubles"]
    assert (trouble["log"], trouble["code"]) == (name, "log-inconsistent")
    answer = owner.run("audit", "verify")
    assert answer.status == 3
    assert name in answer.out + answer.err


def test_json_has_the_shape_that_the_document_tells(witness: User) -> None:
    assert witness.run("audit", "witness", "--begin").status == 0
    shutil.rmtree(prod(witness) / "commit")
    same_shape(witness.run("audit", "witness", "--json").json, documented("mvault audit witness"))
    same_shape(witness.run("audit", "anchor", "--json").json, documented("mvault audit anchor"))
