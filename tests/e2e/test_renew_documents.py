"""`mvault renew` signs root and policy anew in time: at once where one signature is enough, or as drafts."""

import json
import time
from pathlib import Path

import pytest

from tests.cli.conftest import user  # noqa: F401 (a fixture)
from tests.cli.typing_user import Answer, User
from vault import policyfile
from vault.actions import opening

DAY = 86_400
PEOPLE = ("anna", "ben", "cleo")


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    monkeypatch.setattr(opening, "clock", lambda: int(time.time() + days * DAY))


def ok(answer: Answer) -> Answer:
    assert answer.status == 0, answer.err
    return answer


def as_(user: User, name: str, *arguments: str) -> Answer:  # noqa: F811
    return user.run(*arguments, *(() if name == "anna" else ("--identity", f"{name}.json")))


def held_by(user: User, threshold: int) -> User:  # noqa: F811
    """Give a vault whose root anna, ben and cleo hold; its policy lasts a year, its root two."""
    user.found()
    user.write("model.json", "[1]")
    ok(user.run("push", "churn", "model.json"))
    ok(user.run("promote", "churn:1", "--env", "prod"))
    for name in PEOPLE[1:]:
        ok(
            user.run(
                "identity", "new", name, "-o", f"{name}.json", "--no-passphrase", "--recipient", "x25519"
            )
        )
        user.write(f"{name}.pub", user.run("identity", "export", "--identity", f"{name}.json").out)
    holders = [f"--holder={entry}" for entry in ("anna", "ben=ben.pub", "cleo=cleo.pub")]
    ok(user.run("root", "draft", *holders, "--threshold", str(threshold)))
    beside = ("policy-for-root-2.json",) if threshold > 1 else ()
    for name in PEOPLE:
        ok(as_(user, name, "policy", "sign", *beside, "root-2.json"))
    ok(user.run("policy", "apply", *beside, "root-2.json"))
    if not beside:  # the policy of one owner does not expire; the next one does
        user.write("solo.yaml", policyfile.shipped("solo"))
        ok(user.run("policy", "draft", "solo.yaml"))
        ok(user.run("policy", "sign", "policy-2.json"))
        ok(user.run("policy", "apply", "policy-2.json"))
    return user


def standing(user: User) -> dict[str, str]:  # noqa: F811
    found = ok(user.run("policy", "status", "--json")).json
    return {kind: str(found[kind]["expires"])[:10] for kind in ("policy", "root")}


def files(user: User) -> set[str]:  # noqa: F811
    return {path.name for path in user.folder.iterdir()}


def test_with_one_owner_nothing_is_ever_due(user: User, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    user.found()
    later(monkeypatch, 36_000)
    before = files(user)
    answer = ok(user.run("renew", "--within", "9999d", "--json"))
    assert answer.json == {"heads": [], "due": [], "planned": [], "problem": None}
    assert "nothing to renew" in ok(user.run("renew")).err
    assert files(user) == before


def test_nothing_is_renewed_before_its_time(user: User) -> None:  # noqa: F811
    held_by(user, 1)
    before = standing(user)
    assert ok(user.run("renew", "--json")).json["due"] == []
    assert standing(user) == before


def test_where_one_signature_is_enough_what_is_due_is_in_force_at_once(
    user: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_by(user, 1)
    before = ok(user.run("policy", "status", "--json")).json
    later(monkeypatch, 340)
    planned = ok(user.run("renew", "--dry-run", "--json")).json
    assert [(entry["document"], bool(entry["renewed"])) for entry in planned["due"]] == [("policy", True)]
    assert ok(user.run("policy", "status", "--json")).json == before
    there = files(user)
    answer = ok(as_(user, "ben", "renew"))
    assert "is renewed, until" in answer.err
    after = ok(user.run("policy", "status", "--json")).json
    assert after["policy"]["version"] == before["policy"]["version"] + 1
    assert after["policy"]["signed"] == ["ben"]
    assert after["root"] == before["root"], "the root is not due yet"
    assert files(user) == there
    assert ok(user.run("renew", "--json")).json["due"] == []
    later(monkeypatch, 400)
    assert user.run("pull", "churn@prod", "out").status == 0


def test_only_the_dates_change_and_the_length_stays(
    user: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_by(user, 1)

    def payload(number: int) -> dict[str, object]:
        import base64

        stored = json.loads((user.folder / f"models/trust/policy/{number:06}.json").read_bytes())
        found: dict[str, object] = json.loads(base64.b64decode(stored["payload"]))
        return found

    later(monkeypatch, 350)
    ok(user.run("renew"))
    one, other = payload(2), payload(3)
    assert {key for key in one if one[key] != other[key]} == {"created", "expires", "prev", "version"}
    assert str(other["expires"])[:4] == str(int(str(other["created"])[:4]) + 1)


def test_two_of_three_sign_one_after_the_other_and_the_second_puts_it_in_force(
    user: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_by(user, 2)
    later(monkeypatch, 720)  # the policy has expired, the root is about to
    assert user.run("pull", "churn@prod", "out").status == 3
    first = ok(as_(user, "ben", "renew", "--within", "30d"))
    assert "It lacks 1 signature of: anna, cleo" in first.err
    assert "mvault policy sign policy-3.json root-3.json" in first.err
    assert {"policy-3.json", "root-3.json"} <= files(user)
    again = ok(as_(user, "ben", "renew", "--json")).json
    assert [entry["waiting"] for entry in again["due"]] == [["anna", "cleo"]] * 2, "twice is once"
    last = ok(as_(user, "cleo", "renew", "--json")).json
    assert [bool(entry["renewed"]) for entry in last["due"]] == [True, True]
    assert user.run("pull", "churn@prod", "out").status == 0
    assert standing(user)["policy"] > "2028"


def test_the_draft_can_be_signed_and_applied_as_any_other(
    user: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_by(user, 2)
    later(monkeypatch, 350)
    ok(as_(user, "ben", "renew"))
    ok(as_(user, "cleo", "policy", "sign", "policy-3.json"))
    ok(user.run("policy", "apply", "policy-3.json"))
    assert ok(user.run("renew", "--json")).json["due"] == []


def test_somebody_without_a_root_key_leaves_the_draft_for_those_who_have_one(
    user: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_by(user, 2)
    ok(user.run("identity", "new", "dil", "-o", "dil.json", "--no-passphrase", "--recipient", "x25519"))
    later(monkeypatch, 350)
    (entry,) = ok(as_(user, "dil", "renew", "--json")).json["due"]
    assert (entry["draft"], entry["more"], entry["waiting"]) == ("policy-3.json", 2, ["anna", "ben", "cleo"])
    answer = ok(as_(user, "anna", "renew"))
    assert "It lacks 1 signature of: ben, cleo" in answer.err


def test_another_file_of_that_name_is_left_alone_and_told(
    user: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held_by(user, 2)
    later(monkeypatch, 350)
    other = Path(user.folder / "other.json")
    user.write("team.yaml", "")
    ok(user.run("root", "draft", "--expires", "9y", "-o", str(other)))
    other.rename(user.folder / "policy-3.json")
    content = (user.folder / "policy-3.json").read_bytes()
    answer = user.run("renew")
    assert answer.status == 9
    assert "another draft than this renewal" in answer.err
    assert (user.folder / "policy-3.json").read_bytes() == content


def test_a_folder_that_cannot_be_written_is_told_and_nothing_changes(
    user: User,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import vault

    held_by(user, 2)
    later(monkeypatch, 350)
    opened = vault.open("models/")
    found = opened.renew(folder=user.folder / "no" / "such")
    assert found.problem is not None
    assert found.problem.exit_status == 7
    assert found.heads == ()
