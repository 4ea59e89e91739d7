"""People leave, keys are replaced and lost: through the command's own steps, with a root of two of three."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import user  # noqa: F401 (a fixture)
from tests.cli.typing_user import Answer, User

POLICY = """
roles:
  lead:
    allow:
      - {actions: [publish, load, pull, rotate], env: [dev]}
      - {actions: [load, pull, rotate, approve, withdraw], env: [prod]}
      - {actions: [promote], from: dev, to: prod}
  loader: {allow: [{actions: [load, pull], env: [prod]}]}
environments:
  dev: {formats: [json]}
  prod: {formats: [json], require: {approvals: {role: lead, threshold: 2, distinct_from: [publisher]}}}
principals:
"""
PEOPLE = {name: f"  {name}: {{kind: person, roles: [lead]%s}}\n" for name in ("anna", "ben", "cleo")}
WEB = "  web: {kind: service, owners: [anna], roles: [loader]%s}\n"


def policy(*, web: str = "", without: str = "", **more: str) -> str:
    people = [text % more.get(name, "") for name, text in PEOPLE.items() if name != without]
    return POLICY + "".join(people) + WEB % web


def ok(answer: Answer) -> Answer:
    assert answer.status == 0, answer.err + answer.out
    return answer


def as_(user: User, who: str, *arguments: str) -> Answer:  # noqa: F811
    return user.run(*arguments, *(() if who == "anna" else ("--identity", f"{who}.json")))


def joins(user: User, name: str, file: str) -> str:  # noqa: F811
    """Make an identity in NAME.json, with its public half beside the policy file; give the key's id."""
    made = ("identity", "new", name, "-o", f"{file}.json", "--no-passphrase", "--recipient", "x25519")
    ok(user.run(*made))
    user.write(f"identities/{file}.pub", ok(user.run("identity", "export", "--identity", f"{file}.json")).out)
    shown = ok(user.run("identity", "show", "--identity", f"{file}.json", "--json")).json
    return str(shown["key_id"]).removeprefix("sha256:")


def change(user: User, text: str, *signers: str, apply: tuple[str, ...] = ()) -> Answer:  # noqa: F811
    """Draft, let people sign one after another, apply."""
    user.write("team.yaml", text)
    draft = ok(user.run("policy", "draft", "team.yaml")).out.strip()
    for who in signers:
        ok(as_(user, who, "policy", "sign", draft))
    return user.run("policy", "apply", draft, "--json", *apply)


@pytest.fixture
def vault(user: User) -> User:  # noqa: F811
    """A vault that anna, ben and cleo hold, two of three; web serves churn:1 from prod."""
    user.found()
    for name in ("ben", "cleo", "web"):
        joins(user, name, name)
    ok(change(user, policy(), "anna"))
    ok(user.run("root", "draft", "--holder=anna", "--holder=ben", "--holder=cleo", "--threshold", "2"))
    drafts = ("policy-for-root-2.json", "root-2.json")
    for who in ("anna", "ben"):
        ok(as_(user, who, "policy", "sign", *drafts))
    ok(user.run("policy", "apply", *drafts))
    released(user, "1", by="anna")
    return user


def released(user: User, version: str, *, by: str, approvers: tuple[str, ...] = ("ben", "cleo")) -> None:  # noqa: F811
    user.write("model.json", json.dumps([int(version)]))
    ok(as_(user, by, "push", "churn", "model.json", "--version", version))
    for who in approvers:
        ok(as_(user, who, "approve", f"churn:{version}", "--env", "prod"))
    ok(as_(user, by, "promote", f"churn:{version}", "--env", "prod"))


def served(user: User, who: str = "web", ref: str = "churn@prod") -> Answer:  # noqa: F811
    return as_(user, who, "pull", ref, str(Path("out") / f"{who}-{len(list(user.folder.glob('out/*')))}"))


def rotated(user: User, place: str, *signers: str, deep: tuple[str, ...] = ()) -> None:  # noqa: F811
    """Rotate an environment's key: the draft goes round, and the rotation goes on."""
    draft = f"rotate-{place}.json"
    ok(as_(user, signers[0], "access", "rotate", place, "-o", draft, *deep))
    for who in signers:
        ok(as_(user, who, "policy", "sign", draft))
    ok(user.run("policy", "apply", draft))
    ok(as_(user, signers[0], "access", "rotate", place, "--continue", *deep))


def test_a_person_leaves_and_reads_and_decides_nothing_that_comes_after(vault: User) -> None:
    ok(as_(vault, "cleo", "withdraw", "churn@sha256:" + "0" * 64, "--env", "prod"))
    ok(served(vault))
    left = policy(without="cleo")
    refused = change(vault, left, "anna", "ben")
    assert refused.json["error"]["code"] == "withdrawal-lapses"
    again = refused.json["error"]["hint"].split(": ")[1].split(" (")[0]
    assert again.endswith("--env prod --again")
    ok(as_(vault, "ben", *again.removeprefix("mvault ").split()))

    draft = "policy-4.json"
    stopping = vault.run("policy", "apply", draft, "--json")
    assert stopping.json["error"]["code"] == "outage", "cleo's approval goes with her, and prod asks for two"
    assert "churn@prod" in stopping.json["error"]["message"]
    done = ok(vault.run("policy", "apply", draft, "--json", "--accept-outage")).json
    assert {(entry["env"], entry["who"]) for entry in done["left"]} == {("dev", "cleo"), ("prod", "cleo")}
    assert served(vault, "cleo").status == 4
    assert as_(vault, "cleo", "approve", "churn:1", "--env", "prod").status == 4

    # The root still counts her: the two others make the next one.
    ok(as_(vault, "anna", "root", "draft", "--holder=anna", "--holder=ben", "--threshold", "2"))
    drafts = [path.name for path in sorted(vault.folder.glob("*root-3.json"))]
    for who in ("anna", "ben"):
        ok(as_(vault, who, "policy", "sign", *drafts))
    ok(vault.run("policy", "apply", *drafts))
    assert {entry["name"] for entry in ok(vault.run("team", "list", "--json")).json["people"]} == {
        "anna", "ben", "web",
    }  # fmt: skip

    for place in ("dev", "prod"):
        rotated(vault, place, "anna", "ben")
    shown = ok(vault.run("access", "show", "--json")).json
    for environment in shown["environments"]:
        cleo = [entry for entry in environment["readers"] if entry["who"] == "cleo"]
        assert [(entry["epochs"], entry["former"]) for entry in cleo] == [([], [1])], "none of the new key"
        assert environment["epochs"] == [1, 2]
    ok(vault.run("check"))


def test_a_rotation_of_payloads_goes_round_in_the_same_way(vault: User) -> None:
    rotated(vault, "prod", "ben", "cleo", deep=("--deep",))
    assert (vault.folder / "models/models/churn/@/1/sealed/000002.json").exists()
    ok(served(vault))
    ok(vault.run("check", "--data"))


def test_one_signature_is_too_few_for_a_rotation(vault: User) -> None:
    ok(vault.run("access", "rotate", "prod", "-o", "rotate.json"))
    ok(vault.run("policy", "sign", "rotate.json"))
    refused = vault.run("policy", "apply", "rotate.json", "--json")
    assert refused.json["error"]["code"] == "threshold-not-met"
    assert {"ben", "cleo"} <= set(refused.json["error"]["message"].replace(".", "").replace(",", "").split())
    ok(served(vault))


def test_the_key_of_a_service_is_replaced_while_it_serves(vault: User) -> None:
    shown = ok(vault.run("identity", "show", "--identity", "web.json", "--json")).json
    old = str(shown["key_id"]).removeprefix("sha256:")
    joins(vault, "web", "web.2")
    assert served(vault, "web.2").status == 4
    done = ok(change(vault, policy(), "anna", "cleo")).json
    assert {"env": "prod", "who": "web"} in done["granted"]
    for who in ("web", "web.2"):
        ok(served(vault, who))
    ok(change(vault, policy(web=f", revoked: [{old[:16]}]"), "anna", "ben"))
    assert served(vault, "web").status == 4
    ok(served(vault, "web.2"))
    rotated(vault, "prod", "anna", "ben")
    ok(served(vault, "web.2"))
    assert served(vault, "web").status == 4
    ok(change(vault, policy(), "anna", "ben"))
    assert served(vault, "web").status == 4, "a key that was revoked stays so, whatever the file leaves out"


def test_a_lost_key_is_replaced_by_the_two_who_have_theirs(vault: User) -> None:
    shown = ok(vault.run("identity", "show", "--identity", "ben.json", "--json")).json
    lost = str(shown["key_id"]).removeprefix("sha256:")
    (vault.folder / "ben.json").unlink()
    joins(vault, "ben", "ben.2")
    text = policy(ben=f", revoked: [{lost[:16]}]")
    stopping = change(vault, text, "anna", "cleo")
    assert stopping.json["error"]["code"] == "outage", "his approval went with his key"
    ok(vault.run("policy", "apply", "policy-4.json", "--accept-outage"))
    holders = ("--holder=anna", "--holder=ben=identities/ben.2.pub", "--holder=cleo")
    ok(vault.run("root", "draft", *holders, "--threshold", "2"))
    drafts = [path.name for path in sorted(vault.folder.glob("*root-3.json"))]
    for who in ("anna", "cleo"):
        ok(as_(vault, who, "policy", "sign", *drafts))
    ok(vault.run("policy", "apply", *drafts))
    assert served(vault).status == 3, "one approval too few"
    ok(as_(vault, "ben.2", "approve", "churn:1", "--env", "prod"))
    ok(served(vault))
    released(vault, "2", by="anna", approvers=("ben.2", "cleo"))
    for who in ("ben.2", "web"):
        ok(served(vault, who))
    rotated(vault, "prod", "ben.2", "anna")


def test_a_retired_key_keeps_its_until_and_is_shown(vault: User) -> None:
    shown = ok(vault.run("identity", "show", "--identity", "web.json", "--json")).json
    old = str(shown["key_id"]).removeprefix("sha256:")
    joins(vault, "web", "web.2")
    head = {"origin": "log.example/churn", "size": "7", "root": "9a" * 32}
    until = "{" + ", ".join(f"{key}: {value}" for key, value in head.items()) + "}"
    ok(change(vault, policy(web=f", retired: {{{old[:16]}: {until}}}"), "anna", "ben"))
    assert served(vault, "web").status == 4
    ok(served(vault, "web.2"))
    ok(change(vault, policy(), "anna", "cleo"))
    (web,) = [
        entry for entry in ok(vault.run("team", "list", "--json")).json["people"] if entry["name"] == "web"
    ]
    assert web["keys"] == 1
    expected = {"origin": "log.example/churn", "size": 7, "root": "9a" * 32}
    assert web["retired"] == [{"key": f"sha256:{old}", "state": "retired", "until": expected}]
    listed = ok(vault.run("team", "list")).out
    assert "log.example/churn" in listed
    answer = ok(vault.run("policy", "explain", "load", "churn@prod", "--as", "web", "--json")).json
    assert sorted(entry["state"] for entry in answer["keys"]) == ["counts", "retired"]
    told = ok(vault.run("policy", "explain", "load", "churn@prod", "--as", "web")).out
    assert f"sha256:{old[:16]}… retired: counts for what log.example/churn had at 7" in told


def test_a_draft_of_a_root_says_who_would_hold_it(vault: User) -> None:
    ok(vault.run("root", "draft", "--holder=anna", "--holder=ben", "--threshold", "1", "-o", "next.json"))
    drafts = [path.name for path in sorted(vault.folder.glob("*next.json"))]
    told = ok(vault.run("policy", "sign", *drafts))
    assert "Root 3 takes 1 of 2: anna, ben. Root 2 takes 2 of 3: anna, ben, cleo." in told.err
    assert "Nothing changes" not in told.err
