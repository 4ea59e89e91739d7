"""Policies and roots as several people change them, each with an identity of their own, offline in turn."""

from pathlib import Path

import pytest

from tests.cli.typing_user import Answer, User
from vault import policyfile

SOLO = policyfile.shipped("solo")
PEOPLE = "  anna: {kind: person, roles: [owner]}\n  ben: {kind: person, roles: [owner]}\n"


def anna_policy(*lines: str) -> str:
    return SOLO.replace("  owner: {kind: person, roles: [owner]}\n", "") + "".join(
        f"{line}\n" for line in lines
    )


@pytest.fixture
def team(owner: User) -> User:
    """Anna owns models/; ben and cleo have identities beside her, and their public halves lie there too."""
    for name in ("ben", "cleo"):
        made = owner.run(
            "identity", "new", name, "-o", f"{name}.json", "--no-passphrase", "--recipient", "x25519"
        )
        assert made.status == 0, made.err
        owner.write(f"{name}.pub", owner.run("identity", "export", "--identity", f"{name}.json").out)
    return owner


def as_(user: User, name: str, *arguments: str) -> Answer:
    """Run a command with somebody else's identity."""
    return user.run(*arguments, "--identity", f"{name}.json")


def ok(answer: Answer) -> Answer:
    assert answer.status == 0, answer.err
    return answer


# --- policies ---


def test_a_policy_is_drafted_signed_and_applied(team: User) -> None:
    team.write("team.yaml", anna_policy(PEOPLE))
    team.write("identities/ben.pub", (team.folder / "ben.pub").read_text())
    made = ok(team.run("policy", "draft", "team.yaml"))
    assert made.out == "policy-2.json\n"
    assert "mvault policy sign policy-2.json" in made.err
    signed = ok(team.run("policy", "sign", "policy-2.json"))
    assert "ben" in signed.out + signed.err, "what it changes is shown before it is signed"
    assert "mvault policy apply policy-2.json" in signed.err
    done = ok(team.run("policy", "apply", "policy-2.json", "--json")).json
    assert done["policy"] == 2
    assert done["root"] is None
    assert {"env": "prod", "who": "ben"} in done["granted"]
    assert ok(as_(team, "ben", "pull", "churn@prod", "out/")).status == 0


def test_a_draft_by_json_has_the_documented_shape(team: User) -> None:
    team.write("team.yaml", anna_policy(PEOPLE))
    value = ok(
        team.run("policy", "draft", "team.yaml", "--key", "ben=ben.pub", "-o", "next.json", "--json")
    ).json
    (entry,) = value["drafts"]
    assert set(entry) == {"path", "kind", "version", "digest"}
    assert (entry["path"], entry["kind"], entry["version"]) == ("next.json", "policy", 2)
    signed = ok(team.run("policy", "sign", "next.json", "--json")).json
    assert set(signed) == {"drafts", "change"}
    assert signed["drafts"][0]["signed"] == ["anna"]
    assert signed["drafts"][0]["missing"] == []
    status = ok(team.run("policy", "status", "next.json", "--json")).json
    assert set(status) == {"policy", "root", "holders", "threshold", "drafts", "change"}
    assert status["policy"]["version"] == 1
    assert status["change"]["stopped"] == []


def test_somebody_without_a_public_identity_is_named_with_the_way_out(team: User) -> None:
    team.write("team.yaml", anna_policy(PEOPLE))
    answer = team.run("policy", "draft", "team.yaml")
    assert answer.status == 6
    assert "There is no public identity of ben." in answer.err
    assert "--key ben=FILE" in answer.err


def test_an_unsigned_draft_is_not_applied(team: User) -> None:
    team.write("team.yaml", anna_policy(PEOPLE))
    ok(team.run("policy", "draft", "team.yaml", "--key", "ben=ben.pub"))
    answer = team.run("policy", "apply", "policy-2.json", "--json")
    assert answer.status == 3
    assert answer.json["error"]["code"] == "threshold-not-met"


def test_the_loser_of_a_race_is_told_with_status_9(team: User) -> None:
    team.write("team.yaml", anna_policy(PEOPLE))
    for name in ("a.json", "b.json"):
        expires = "1y" if name == "a.json" else "2y"
        ok(team.run("policy", "draft", "team.yaml", "--key", "ben=ben.pub", "-o", name, "--expires", expires))
        ok(team.run("policy", "sign", name))
    ok(team.run("policy", "apply", "a.json"))
    answer = team.run("policy", "apply", "b.json", "--json")
    assert answer.status == 9
    assert answer.json["error"]["code"] == "conflict"


def test_an_outage_is_refused_with_the_code_for_it(team: User) -> None:
    ok(team.run("team", "add", "ben=ben.pub", "--role", "owner"))
    team.write("m2.json", "[2]")
    ok(as_(team, "ben", "push", "churn", "m2.json"))
    ok(team.run("promote", "churn:2", "--env", "prod"))
    team.write("alone.yaml", anna_policy("  anna: {kind: person, roles: [owner]}"))
    ok(team.run("policy", "draft", "alone.yaml"))
    ok(team.run("policy", "sign", "policy-3.json"))
    answer = team.run("policy", "apply", "policy-3.json", "--json")
    assert (answer.status, answer.json["error"]["code"]) == (3, "outage")
    done = ok(team.run("policy", "apply", "policy-3.json", "--accept-outage"))
    assert "mvault access rotate prod" in done.err


def test_the_status_tells_people_what_is_in_force(team: User) -> None:
    shown = ok(team.run("policy", "status")).out
    assert "policy\t1" in shown
    assert "root-holders\tanna" in shown
    assert "threshold\t1 of 1" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("policy", "draft", "team.yaml", "--key", "ben"),
        ("policy", "draft", "team.yaml", "--key", "a/b=ben.pub"),
        ("policy", "draft", "team.yaml", "--expires", "soon"),
        ("policy", "sign"),
        ("policy", "apply"),
        ("root", "draft", "--threshold", "0"),
        ("trust", "models/", "--replace"),
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_command_ends_with_status_2(team: User, arguments: tuple[str, ...]) -> None:
    team.write("team.yaml", anna_policy("  anna: {kind: person, roles: [owner]}"))
    assert team.run(*arguments).status == 2


# --- roots ---


def test_a_root_of_two_of_three_is_drafted_signed_in_turn_and_applied(team: User) -> None:
    made = ok(
        team.run(
            "root", "draft", "--holder", "anna", "--holder", "ben=ben.pub", "--holder", "cleo=cleo.pub",
            "--threshold", "2",
        )
    )  # fmt: skip
    files = ("policy-for-root-2.json", "root-2.json")
    assert made.out == " ".join(files) + "\n"
    half = ok(team.run("policy", "sign", *files))
    assert "ben, cleo" in half.err
    assert team.run("policy", "apply", *files).status == 3
    whole = ok(as_(team, "cleo", "policy", "sign", *files))
    assert "Signed by all that it takes" in whole.err
    assert ok(team.run("policy", "apply", *files)).out == "policy 2 root 2\n"
    status = ok(team.run("policy", "status", "--json")).json
    assert (status["threshold"], status["holders"]) == (2, ["anna", "ben", "cleo"])
    assert ok(team.run("pull", "churn@prod", "out/")).status == 0


# --- the team ---


def two_of_three(team: User) -> None:
    """Give the root to anna, ben and cleo, two of whom must sign."""
    holders = ("--holder", "anna", "--holder", "ben=ben.pub", "--holder", "cleo=cleo.pub")
    ok(team.run("root", "draft", *holders, "--threshold", "2"))
    drafts = sorted(path.name for path in team.folder.glob("*root*.json"))
    ok(team.run("policy", "sign", *drafts))
    ok(as_(team, "ben", "policy", "sign", *drafts))
    ok(team.run("policy", "apply", *drafts))


def test_from_one_owner_to_roles_and_a_root_of_two_of_three(team: User) -> None:
    listed = ok(team.run("team", "list"))
    assert "anna\tperson\towner\tdev, prod\tyes" in listed.out
    assert "Below 2 of 3" in listed.err
    team.run("policy", "status")
    first = ok(
        team.run("team", "add", "ben=ben.pub", "--role", "release-manager", "--starter", "--accept-outage")
    )
    assert "ben joined." in first.err
    ok(team.run("team", "add", "ben=ben.pub", "--root-holder"))
    ok(team.run("team", "add", "cleo=cleo.pub", "--role", "release-manager", "--root-holder", "--json"))
    ok(team.run("root", "draft", "--threshold", "2"))
    drafts = sorted(path.name for path in team.folder.glob("*root*.json"))
    ok(team.run("policy", "sign", *drafts))
    ok(as_(team, "ben", "policy", "sign", *drafts))
    ok(team.run("policy", "apply", *drafts))
    again = ok(team.run("team", "list", "--json"))
    assert (again.json["threshold"], again.json["holders"]) == (2, 3)
    assert ok(team.run("team", "list")).err == ""
    waiting = ok(team.run("team", "remove", "cleo"))
    lack = "1 more signature of the holders of root"
    assert f"Nothing has changed yet. The policy needs {lack}" in waiting.err
    again = team.run("team", "add", "ben=ben.pub", "--role", "auditor")
    assert again.status == 9
    assert "may be a change that waits for signatures" in again.err
    assert "-o FILE" not in again.err


def test_a_copy_of_what_is_in_force_needs_no_more_signatures(team: User) -> None:
    two_of_three(team)
    draft = ok(team.run("team", "add", "ben=ben.pub", "--role", "loader")).out.strip()
    team.write("mine.json", (team.folder / draft).read_text())
    ok(as_(team, "ben", "policy", "sign", draft))
    assert team.run("policy", "apply", "mine.json").status == 3
    ok(team.run("policy", "apply", draft))
    assert "was in force" in ok(team.run("policy", "apply", "mine.json")).err


def test_a_rotation_by_several_is_a_draft_that_says_what_it_does(team: User) -> None:
    two_of_three(team)
    begun = ok(team.run("access", "rotate", "prod"))
    draft = begun.out.strip()
    assert draft.startswith("policy-")
    assert "needs 1 more signature of the holders of root" in begun.err
    assert ok(team.run("policy", "status", draft, "--json")).json["drafts"][0]["signed"] == ["anna"]
    signed = ok(as_(team, "ben", "policy", "sign", draft))
    assert "prod\t~\tkey: epoch 1 → epoch 2" in signed.out
    assert f"told by: mvault policy status {draft}" in signed.err
    unsigned = team.run("access", "rotate", "prod")
    assert unsigned.status == 9, "the draft's file is there"
    ok(team.run("policy", "apply", draft))
    assert ok(team.run("access", "rotate", "prod", "--continue")).status == 0


def test_a_service_joins_and_leaves(team: User) -> None:
    ok(team.run("team", "add", "web=ben.pub", "--role", "loader", "--owner", "anna"))
    assert "web\tservice\tloader\tprod\t" in ok(team.run("team", "list")).out
    done = ok(team.run("team", "remove", "web"))
    assert "May read no longer: web (prod)" in done.err
    assert "web" not in ok(team.run("team", "list")).out


def test_a_role_that_is_not_there_is_told_with_those_that_are(team: User) -> None:
    answer = team.run("team", "add", "ben=ben.pub", "--role", "release-manager")
    assert answer.status == 2
    assert "--starter" in answer.err
    assert team.run("team", "remove", "zoe").status == 6
    assert team.run("team", "remove", "anna").status == 2, "nobody would hold the root"


# --- founding together ---


def test_a_vault_of_several_is_founded_once_enough_have_signed(user: User) -> None:
    for name in ("ben", "cleo"):
        ok(
            user.run(
                "identity", "new", name, "-o", f"{name}.json", "--no-passphrase", "--recipient", "x25519"
            )
        )
        user.write(f"{name}.pub", user.run("identity", "export", "--identity", f"{name}.json").out)
    begun = ok(
        user.run(
            "init", "models/", "--no-passphrase", "--name", "anna", "--recipient", "x25519", "--team",
            "--key", "ben=ben.pub", "--root-holder", "ben=ben.pub", "--root-holder", "cleo=cleo.pub",
            "--threshold", "2",
        )
    )  # fmt: skip
    files = tuple(begun.out.split())
    assert files == ("policy-1.json", "root-1.json")
    assert "There is no vault yet" in begun.err
    assert user.run("ls", "--vault", "models/").status == 6
    assert user.run("policy", "apply", *files, "--vault", "models/").status == 3
    status = ok(user.run("policy", "status", *files, "--json")).json
    assert status["drafts"][0]["signed"] == ["anna"]
    alone = user.run("policy", "status", "policy-1.json")
    assert (alone.status, "the draft of its first root" in alone.err) == (2, True)
    signed = ok(as_(user, "cleo", "policy", "sign", *files))
    fingerprint = f"sha256:{status['drafts'][1]['digest'].removeprefix('sha256:')}"
    for told in (fingerprint, "Root 1 takes 2 of 3: anna, ben, cleo", "prod takes 2 approvals", "at most 1"):
        assert told in signed.err, "what a founder signs is shown"
    assert "mvault policy apply --vault LOCATION policy-1.json root-1.json" in signed.err
    done = ok(user.run("policy", "apply", *files, "--vault", "models/", "--json")).json
    assert done["vault"] == fingerprint
    assert done["settings"].endswith("mvault.toml")
    assert ok(user.run("ls")).out == ""
    listed = ok(user.run("team", "list", "--vault", "models/", "--json")).json
    assert (listed["threshold"], listed["holders"]) == (2, 3)
    assert {entry["name"] for entry in listed["people"]} == {"anna", "ben", "cleo"}


def test_a_team_is_begun_by_one_who_holds_the_root(user: User) -> None:
    answer = ok(
        user.run("init", "models/", "--team", "--no-passphrase", "--name", "anna", "--recipient", "x25519")
    )
    assert answer.out.startswith("sha256:")
    assert "mvault promote churn:1 --env staging" in answer.err, "what the policy lets anna do"
    assert "--env prod" not in answer.err
    assert "So far, prod: it asks for 2 approvals, and at most 0 can be given" in answer.err
    listed = ok(user.run("team", "list", "--json")).json
    assert [entry["roles"] for entry in listed["people"]] == [["maintainer", "data-scientist", "ml-engineer"]]


# --- trust, again ---


def test_a_location_gets_another_root_only_by_word(owner: User, tmp_path: Path) -> None:
    old = owner.run("trust", "models/", "--root", "0" * 64)
    assert old.status == 3
    new = ok(
        owner.run(
            "init",
            "second/",
            "--no-passphrase",
            "--recipient",
            "x25519",
            "--recovery",
            str(tmp_path / "second.txt"),
            "--vault",
            "second/",
        )
    ).out.strip()
    (owner.folder / "models").rename(owner.folder / "lost")
    (owner.folder / "second").rename(owner.folder / "models")
    refused = owner.run("trust", "models/", "--root", new)
    assert refused.status == 9
    assert "--replace" in refused.err
    done = ok(owner.run("trust", "models/", "--root", new, "--replace", "--json")).json
    assert done["vault"] == new
    assert done["replaced"].startswith("sha256:")
    assert ok(owner.run("ls")).out == ""
