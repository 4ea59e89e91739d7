"""`mvault policy`: check, test, ask and compare, as people and scripts type it."""

import re
from pathlib import Path

import pytest

from tests.cli.typing_user import User
from vault import policyfile, starting
from vault.errors import AccessDenied

# What `owner` has in the vault of these tests, for the identity that is called anna there.
SOLO = policyfile.shipped("solo").replace(
    "  owner: {kind: person, roles: [owner]}", "  anna: {roles: [owner]}"
)


@pytest.fixture
def team(user: User) -> User:
    """A user with the shipped policy for teams and its tests."""
    for name in ("team", "team.test"):
        user.write(f"{name}.yaml", policyfile.shipped(name))
    return user


def edit(user: User, name: str, before: str, after: str) -> None:
    text = (user.folder / name).read_text()
    assert before in text
    user.write(name, text.replace(before, after))


# --- check ---


def test_check_of_a_sound_policy_says_nothing_on_standard_output(team: User) -> None:
    answer = team.run("policy", "check", "team.yaml")
    assert (answer.status, answer.out) == (0, "")
    assert "team.yaml: no errors." in answer.err
    assert "This is advice" in answer.err


def test_check_names_severity_line_and_code_and_ends_with_one(team: User) -> None:
    edit(team, "team.yaml", "threshold: 2", "threshold: 5")
    answer = team.run("policy", "check", "team.yaml")
    assert answer.status == 1
    severity, line, subject, message, code = answer.out.splitlines()[0].split("\t")
    text = (team.folder / "team.yaml").read_text().splitlines()
    assert "threshold: 5" in text[int(line) - 1]
    assert (severity, subject, code) == ("error", "prod", "threshold-unreachable")
    assert "at most 3 can be given" in message
    value = team.run("policy", "check", "team.yaml", "--json").json
    assert (value["ok"], value["findings"][0]["line"]) == (False, int(line))


def test_check_of_what_is_no_policy_names_the_line(team: User) -> None:
    team.write("bad.yaml", "roles: {}\nrules: {}\n")
    answer = team.run("policy", "check", "bad.yaml")
    assert answer.status == 3
    assert "bad.yaml, line 2: unknown key 'rules'" in answer.err
    assert team.run("policy", "check", "nothing.yaml").status == 6


def test_check_of_the_policy_in_force(owner: User) -> None:
    answer = owner.run("policy", "check", "in-force", "--json")
    assert answer.status == 0
    assert [entry["code"] for entry in answer.json["findings"]] == ["unused-role"]
    assert answer.json["findings"][0]["line"] is None


# --- test ---


def test_test_finds_the_tests_beside_the_policy(team: User) -> None:
    answer = team.run("policy", "test", "team.yaml")
    assert (answer.status, answer.out) == (0, "")
    assert "29 decisions, all as expected" in answer.err


def test_test_shows_each_decision_that_is_not_as_expected(team: User) -> None:
    edit(team, "team.yaml", "roles: [release-manager, releaser]", "roles: [release-manager]")
    answer = team.run("policy", "test", "team.yaml")
    assert answer.status == 1
    (row,) = answer.out.splitlines()
    line, expected, decided, decision, reason = row.split("\t")
    assert (expected, decided) == ("yes", "no")
    assert decision == "dil promote churn from staging in prod"
    assert "no role of dil" in reason
    value = team.run("policy", "test", "team.yaml", "--json").json
    assert [(entry["line"], entry["expected"]) for entry in value["failed"]] == [(int(line), True)]


def test_test_takes_another_file_and_the_policy_in_force(owner: User) -> None:
    owner.write("mine.yaml", "- {who: anna, action: load, model: churn, env: prod, allowed: true}\n")
    assert owner.run("policy", "test", "in-force", "mine.yaml").status == 0
    assert owner.run("policy", "test", "in-force").status == 2
    assert owner.run("policy", "test", "mine.yaml", "mine.yaml").status == 3


# --- can-i, who-can, explain ---


def test_can_i_answers_with_its_status(owner: User) -> None:
    yes = owner.run("policy", "can-i", "promote", "churn", "--env", "prod")
    assert (yes.status, yes.out) == (0, "yes\trole owner allows promote in prod\n")
    assert owner.run("policy", "can-i", "load", "churn@prod").status == 0
    no = owner.run("policy", "can-i", "publish", "churn", "--env", "prod")
    assert (no.status, no.out.split("\t")[0]) == (1, "no")
    assert owner.run("policy", "can-i", "load", "churn@prod", "--as", "web").status == 1
    value = owner.run("policy", "can-i", "promote", "churn@staging", "--env", "prod", "--json").json
    assert (value["who"], value["allowed"], value["from"]) == ("anna", False, "staging")
    assert "from dev only" in value["reason"]


def test_can_i_needs_no_passphrase(user: User) -> None:
    user.write("pass.txt", "sesame\n")
    made = user.run("init", "models/", "--recipient", "x25519", "--passphrase-file", "pass.txt")
    assert made.status == 0, made.err
    assert user.run("policy", "can-i", "load", "churn@prod").status == 0


def test_questions_are_checked(owner: User, team: User) -> None:
    for arguments in (
        ("can-i", "fly", "churn", "--env", "prod"),
        ("can-i", "load", "churn"),
        ("can-i", "load", "churn", "--env", "prod", "--from", "dev"),
        ("can-i", "load", "churn", "--env", "prod", "--policy", "team.yaml"),
        ("can-i", "load", "churn", "--env", "Prod"),
        ("who-can", "load", "../x", "--env", "prod"),
    ):
        assert owner.run("policy", *arguments).status == 2, arguments


def test_somebody_who_is_not_in_the_policy_is_told_so(owner: User) -> None:
    owner.run("identity", "new", "eve", "-o", "eve.json", "--no-passphrase")
    answer = owner.run("policy", "can-i", "load", "churn@prod", "--identity", "eve.json")
    assert answer.status == 4
    assert "is not in the vault's policy" in answer.err


def test_who_can_lists_people_and_services(team: User) -> None:
    answer = team.run("policy", "who-can", "publish", "churn", "--env", "dev", "--policy", "team.yaml")
    assert answer.out.splitlines() == [
        "ana\tperson\tdata-scientist\t",
        "owner\tperson\tdata-scientist\t",
        "training\tservice\tdata-scientist\tana",
    ]
    ask = ("policy", "who-can", "promote", "churn", "--env", "prod", "--policy", "team.yaml")
    assert [entry["name"] for entry in team.run(*ask, "--from", "staging", "--json").json["who"]] == ["dil"]
    nobody = team.run(*ask, "--from", "dev")
    assert (nobody.status, nobody.out) == (0, "")
    assert "Nobody may promote churn in prod." in nobody.err


def test_explain_names_the_rule_its_line_and_its_strength(team: User) -> None:
    ask = ("policy", "explain", "load", "--env", "prod", "--as", "web", "--policy", "team.yaml")
    value = team.run(*ask, "pricing", "--json").json
    text = (team.folder / "team.yaml").read_text().splitlines()
    assert (value["allowed"], value["strength"], value["rules"][0]["role"]) == (False, "loader", "loader")
    assert text[value["rules"][0]["line"] - 1].strip() == f"- {value['rules'][0]['text']}"
    assert team.run(*ask, "churn", "--json").json["strength"] == "cryptographic"
    shown = team.run(*ask, "pricing")
    assert shown.status == 0
    assert "strength\tloader: web holds the key of prod" in shown.out
    assert "comes-near\trole loader (team.yaml, line " in shown.out


def test_explain_of_the_policy_in_force(owner: User) -> None:
    out = owner.run("policy", "explain", "promote", "churn", "--env", "prod").out
    assert "rule\trole owner (policy 1, rule 3): {actions: [promote], from: dev, to: prod}" in out
    assert "from\tdev" in out
    assert "strength\tcryptographic" in out


# --- diff ---


def test_diff_tells_who_loses_what_and_which_channel_stops(owner: User) -> None:
    owner.write("next.yaml", SOLO.replace("      - {actions: [promote], from: dev, to: prod}\n", ""))
    answer = owner.run("policy", "diff", "in-force", "next.yaml")
    assert answer.status == 0
    lost, stop = answer.out.splitlines()
    assert lost == "person\tanna\t-\tpromote from dev to prod: every model"
    assert stop.startswith("channel\tchurn@prod\t!\tstops (1): churn@prod record 1 is signed")
    assert stop.endswith("no signer of it may promote to prod")
    assert "1 channel would stop." in answer.err
    (value,) = owner.run("policy", "diff", "in-force", "next.yaml", "--json").json["stopped"]
    assert (value["channel"], value["version"]) == ("churn@prod", "1")


def test_diff_changes_nothing_that_is_remembered(owner: User) -> None:
    owner.write("next.yaml", SOLO.replace("[publish], env: [dev]", "[load], env: [dev]"))
    state = {path: path.read_bytes() for path in owner.home.rglob("*") if path.is_file()}
    answer = owner.run("policy", "diff", "in-force", "next.yaml", "--json")
    assert {entry["channel"] for entry in answer.json["stopped"]} == {"churn@prod", "churn@dev"}
    assert {path: path.read_bytes() for path in owner.home.rglob("*") if path.is_file()} == state
    assert owner.run("check").status == 0


def test_diff_with_the_same_policy_changes_nothing(owner: User) -> None:
    owner.write("same.yaml", SOLO)
    answer = owner.run("policy", "diff", "in-force", "same.yaml")
    assert (answer.status, answer.out) == (0, "")
    assert "Nothing changes." in answer.err


def test_diff_puts_you_in_the_place_of_owner(owner: User) -> None:
    owner.write("solo.yaml", policyfile.shipped("solo"))
    assert owner.run("policy", "diff", "in-force", "solo.yaml").out == ""
    nobody = owner.run("policy", "diff", "in-force", "solo.yaml", "--identity", "none.json")
    assert "person\towner\t+\tadded" in nobody.out.splitlines()


def test_diff_of_an_environment_that_goes(owner: User) -> None:
    text = SOLO.replace("env: [dev, prod]", "env: [dev]").replace("env: [prod]", "env: [dev]")
    text = text.replace("      - {actions: [promote], from: dev, to: prod}\n", "")
    kept = re.sub(r"  prod:\n    formats: .*\n", "", text)
    assert len(kept) < len(text)
    owner.write("dev.yaml", kept)
    value = owner.run("policy", "diff", "in-force", "dev.yaml", "--json").json
    assert [(entry["name"], entry["change"]) for entry in value["environments"]] == [("prod", "removed")]
    assert [entry["reason"] for entry in value["stopped"]] == ["There is no environment prod"]


def test_diff_of_two_files_needs_no_vault(team: User) -> None:
    team.write(
        "new.yaml",
        policyfile.shipped("team").replace("roles: [release-manager, releaser]", "roles: [releaser]"),
    )
    answer = team.run("policy", "diff", "team.yaml", "new.yaml")
    assert answer.out.splitlines() == ["person\tdil\t-\tapprove, hold, withdraw in prod: every model"]
    assert "Two files were compared" in answer.err
    assert team.run("policy", "diff", "team.yaml", "new.yaml", "--json").json["stopped"] is None


def test_diff_shows_people_services_environments_and_owners(team: User) -> None:
    text = policyfile.shipped("team")
    for before, after in (
        ("  erik: {kind: person, roles: [auditor]}\n", "  fay: {kind: person, roles: [auditor]}\n"),
        ("owners: [owner]", "owners: [dil]"),
        ("threshold: 2", "threshold: 1"),
        ("  staging:\n", "  trial: {formats: [onnx]}\n  staging:\n"),
    ):
        assert before in text
        text = text.replace(before, after)
    team.write("new.yaml", text)
    out = team.run("policy", "diff", "team.yaml", "new.yaml").out.splitlines()
    vote = "by release-manager, not the publisher"
    for line in (
        "person\terik\t-\tremoved",
        "person\tfay\t+\tadded",
        "service\tweb\t~\towners: owner → dil",
        f"environment\tprod\t~\tapprovals: 2 {vote} → 1 {vote}",
        "environment\ttrial\t+\tadded",
    ):
        assert line in out


def test_a_key_that_the_file_revokes_stops_what_it_signed(owner: User) -> None:
    key = owner.run("identity", "show", "--json").json["key_id"].removeprefix("sha256:")
    revoked = f"  anna: {{roles: [owner], revoked: [{key[:20]}]}}"
    owner.write("next.yaml", SOLO.replace("  anna: {roles: [owner]}", revoked))
    out = owner.run("policy", "diff", "in-force", "next.yaml").out.splitlines()
    assert out[0] == f"person\tanna\t-\ta key that counts no more: sha256:{key[:16]}…"
    assert {line.split("\t")[1] for line in out if line.startswith("channel")} == {"churn@prod", "churn@dev"}


# --- in Python ---


def test_an_opened_vault_answers_too(owner: User) -> None:
    opened = starting.open("models/")
    assert opened.can("promote", "churn", "prod")
    assert not opened.can("publish", "churn", "prod")
    assert not opened.can("load", "churn", "prod", who="web")
    assert [entry.name for entry in opened.who_can("promote", "churn", "prod")] == ["anna"]
    assert opened.explain("load", "churn", "prod").strength == "cryptographic"
    with pytest.raises(ValueError, match="no action 'fly'"):
        opened.can("fly", "churn", "prod")
    owner.run("identity", "new", "eve", "-o", "eve.json", "--no-passphrase")
    with pytest.raises(AccessDenied):
        starting.open("models/", identity=Path("eve.json")).can("load", "churn", "prod")
