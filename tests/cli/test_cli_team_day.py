"""The first day of a team: three people found a vault, release, take back, rotate, and one of them leaves."""

from pathlib import Path

import pytest

from tests.cli.typing_user import Answer, User

PEOPLE = ("anna", "ben", "cleo")


def ok(answer: Answer) -> Answer:
    assert answer.status == 0, answer.out + answer.err
    return answer


class Team:
    """Three people who type in one folder, each with an identity and a memory of their own."""

    def __init__(self, user: User) -> None:
        self.user = user
        for name in PEOPLE:
            self.run(
                "identity", "new", name, "-o", f"{name}.json", "--no-passphrase", "--recipient", "x25519"
            )
            self.run("identity", "export", f"{name}.pub", "--identity", f"{name}.json")

    def run(self, *arguments: str) -> Answer:
        return ok(self.user.run(*arguments))

    def try_(self, who: str, *arguments: str) -> Answer:
        return self.user.run(*arguments, "--identity", f"{who}.json")

    def as_(self, who: str, *arguments: str) -> Answer:
        return ok(self.try_(who, *arguments))

    def agree(self, *drafts: str, by: str = "ben") -> Answer:
        """Let a second holder of the root sign, and apply."""
        self.as_(by, "policy", "sign", *drafts)
        return self.as_(by, "policy", "apply", *drafts)


@pytest.fixture
def team(user: User) -> Team:
    """Give a vault that anna and ben founded, whose root cleo holds too, and who releases."""
    made = Team(user)
    made.as_(
        "anna", "init", "models/", "--recipient", "x25519", "--team", "--key", "ben=ben.pub",
        "--root-holder", "ben=ben.pub", "--root-holder", "cleo=cleo.pub", "--threshold", "2",
    )  # fmt: skip
    made.as_("ben", "policy", "sign", "policy-1.json", "root-1.json")
    made.as_("ben", "policy", "apply", "--vault", "models/", "policy-1.json", "root-1.json")
    return made


@pytest.fixture
def releasing(team: Team) -> Team:
    """Give that vault with cleo as a release manager, and churn:1 in prod."""
    roles = ("--role", "release-manager", "--role", "releaser")
    (draft,) = team.as_("anna", "team", "add", "cleo=cleo.pub", *roles).out.split()
    team.agree(draft)
    team.user.write("model.json", "[1]")
    team.as_("anna", "push", "churn", "model.json")
    team.as_("anna", "promote", "churn:1", "--env", "staging")
    return team


def test_whoever_only_holds_the_root_is_told_so(team: Team) -> None:
    found = team.as_("cleo", "doctor", "--json").json["findings"]
    (identity,) = (entry for entry in found if entry["subject"] == "identity")
    assert identity["level"] == "ok"
    assert identity["message"].endswith("cleo, who holds the root and has no role")


def test_the_commands_of_a_founder_s_folder_find_the_vault(team: Team) -> None:
    assert (team.user.folder / "mvault.toml").is_file()
    assert team.as_("ben", "team", "list").out.startswith("anna\t")


def test_who_approves_last_is_told_who_promotes(releasing: Team) -> None:
    first = releasing.as_("cleo", "approve", "churn:1", "--env", "prod")
    assert "1 of 2 approvals. Waiting for ben." in first.err
    second = releasing.as_("ben", "approve", "churn:1", "--env", "prod")
    assert "Next, by cleo: mvault promote churn:1 --env prod" in second.err
    again = releasing.as_("cleo", "approve", "churn:1", "--env", "prod")
    assert "\nNext: mvault promote churn:1 --env prod" in again.err


def test_approvals_from_before_a_withdrawal_are_not_just_missing(releasing: Team) -> None:
    for who in ("ben", "cleo"):
        releasing.as_(who, "approve", "churn:1", "--env", "prod")
    releasing.as_("cleo", "promote", "churn:1", "--env", "prod")
    releasing.as_("ben", "withdraw", "churn:1", "--env", "prod")
    refused = releasing.try_("cleo", "promote", "churn:1", "--env", "prod")
    assert refused.status == 3
    assert "what ben and cleo approved was withdrawn since. Waiting for any of: ben, cleo." in refused.err


def test_where_a_promotion_comes_from_is_called_advisory(releasing: Team) -> None:
    asked = ("policy", "explain", "promote", "churn", "--env", "prod", "--as", "cleo")
    allowed = releasing.as_("anna", *asked)
    assert "staging (advisory: what is signed does not say it)" in allowed.out
    assert "where the version comes from is advisory" in allowed.out
    found = releasing.as_("anna", *asked, "--from", "dev", "--json").json
    assert (found["allowed"], found["strength"], found["sources"]) == (False, "advisory", ["staging"])
    stranger = ("policy", "explain", "promote", "churn", "--env", "prod", "--as", "ben", "--from", "dev")
    assert releasing.as_("anna", *stranger, "--json").json["strength"] == "cryptographic"


def test_signers_see_what_a_change_breaks_and_what_becomes_of_retired_keys(releasing: Team) -> None:
    drafts = releasing.as_("anna", "team", "retire", "ben").out.split()
    assert drafts == ["policy-3.json", "root-2.json"]
    shown = releasing.as_("cleo", "policy", "status", *drafts)
    assert "1 more of root 1: ben, cleo" in shown.out
    assert "1 more of root 2: cleo" in shown.out
    signed = releasing.as_("cleo", "policy", "sign", *drafts)
    assert "a key that counts on for what the logs have, and for nothing new" in signed.out
    assert "Root 2 takes 2 of 2: anna, cleo." in signed.err
    assert "With it, prod: it asks for 2 approvals, and at most 1 can be given" in signed.err
    releasing.as_("cleo", "policy", "apply", *drafts)
    able = releasing.as_("cleo", "policy", "who-can", "approve", "churn", "--env", "prod").out
    assert [line.split("\t")[0] for line in able.splitlines()] == ["cleo"], "ben can approve nothing new"
    alone = releasing.as_("cleo", "approve", "churn:1", "--env", "prod")
    assert "1 of 2 approvals. Nobody is left who could." in alone.err
    stuck = releasing.try_("cleo", "promote", "churn:1", "--env", "prod")
    assert "Somebody has to join as release-manager first: mvault team add" in stuck.err
    assert releasing.try_("ben", "withdraw", "churn:1", "--env", "prod").status == 4


def test_a_change_that_cannot_be_written_leaves_no_trace_in_the_logs(releasing: Team) -> None:
    Path(releasing.user.folder / "policy-3.json").write_text("{}")
    logs = releasing.user.folder / "models" / "log"
    before = sorted(logs.rglob("*"))
    refused = releasing.try_("anna", "team", "retire", "ben")
    assert refused.status == 9
    assert "may be a change that waits for signatures" in refused.err
    trust = [path for path in sorted(logs.rglob("*")) if path not in before and "access" not in path.parts]
    assert trust == []
