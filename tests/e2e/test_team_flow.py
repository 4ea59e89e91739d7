"""A team's release from publication to withdrawal: publisher, release managers, releaser and loader."""

from pathlib import Path

import pytest

from tests.attacks.vault_mixing import check
from tests.builders import Built, team
from tests.cli.typing_user import Answer, User
from tests.e2e.team_parts import ONE, TWO, as_, in_prod, let_in, npz, released, stewarded, with_rule
from vault.actions import listing
from vault.core import trustfile
from vault.core.names import Digest
from vault.errors import AccessDenied, Refused
from vault.keys import identity_file

# --- the whole flow ---


def test_a_version_enters_prod_when_two_others_have_approved_it() -> None:
    built = team()
    ref = str(built.publish(ONE, who="dora"))
    rex = as_(built, "rex")
    with pytest.raises(Refused) as caught:
        rex.promote(ref, env="prod")
    assert caught.value.code == "approvals-missing"
    assert str(caught.value) == (
        "churn:1 cannot enter prod: 0 of 2 approvals; its publisher cannot approve it. "
        "Waiting for any of: ann, bob, cat, rex. They run: mvault approve churn:1 --env prod"
    )
    first = as_(built, "ann").approve(ref, env="prod")
    assert (first.have, first.need, first.already, first.waiting) == (1, 2, False, ("bob", "cat", "rex"))
    with pytest.raises(Refused, match="1 of 2 approvals; its publisher cannot approve it"):
        rex.promote(ref, env="prod")
    assert as_(built, "bob").approve(ref, env="prod").have == 2
    rex.promote(ref, env="prod")
    assert in_prod(built) == ONE
    assert in_prod(built, "churn:1") == ONE
    assert check(built, data=False).whole
    told = [(event.action, event.reference, event.where, event.who) for event in rex.history("churn")]
    assert sorted(told) == [
        ("approve", "churn:1", "prod", ("ann",)),
        ("approve", "churn:1", "prod", ("bob",)),
        ("promote", "churn:1", "prod", ("rex",)),
        ("publish", "churn:1", "dev", ("dora",)),
    ]
    assert {vote.who for vote in as_(built, "ann").show(ref).votes} == {("ann",), ("bob",)}


def test_an_approval_is_given_once_however_often_the_command_runs() -> None:
    built = team()
    ref = str(built.publish(ONE, who="dora"))
    as_(built, "ann").approve(ref, env="prod")
    before = dict(built.store.objects)
    again = as_(built, "ann").approve(ref, env="prod")
    assert (again.already, again.have) == (True, 1)
    assert built.store.objects == before


def test_what_an_approver_means_may_be_a_version_a_digest_the_newest_or_a_channel() -> None:
    built = team()
    ref = built.publish(ONE, who="dora")
    _, digest = built.manifest(ref)
    as_(built, "rex").promote(ref, env="staging")
    for who, meant in (
        ("ann", f"churn@sha256:{digest}"),
        ("bob", "churn@staging"),
        ("cat", "churn"),
        ("rex", "churn:1"),
    ):
        assert as_(built, who).approve(meant, env="prod").digest == digest
    assert as_(built, "ann").approve("churn:1", env="prod").have == 4


# --- votes that would not count are refused early ---


@pytest.mark.parametrize(
    ("who", "publisher", "reason"),
    [
        ("ann", "robot", "ann published it, or owns the service that did"),
        ("dora", "dora", "may not approve"),
        ("server", "dora", "may not approve"),
    ],
)
def test_a_vote_that_would_not_count_is_refused_before_anything_is_signed(
    who: str, publisher: str, reason: str
) -> None:
    built = team()
    ref = built.publish(ONE, who=publisher)
    before = dict(built.store.objects)
    with pytest.raises(AccessDenied, match=reason):
        as_(built, who).approve(str(ref), env="prod")
    assert built.store.objects == before


def test_a_service_and_somebody_without_the_role_are_told_that_they_do_not_count() -> None:
    built = team()
    built.amend(with_rule("other", "approve"))
    built.add("bot", "release-manager", kind="service", owners=("cat",))
    built.add("olga", "other")
    ref = str(built.publish(ONE, who="dora"))
    with pytest.raises(AccessDenied, match="only people approve"):
        as_(built, "bot").approve(ref, env="prod")
    with pytest.raises(AccessDenied, match="a role that olga does not have"):
        as_(built, "olga").approve(ref, env="prod")


def test_where_no_approvals_are_asked_for_one_may_be_given_all_the_same() -> None:
    built = team()
    built.amend(with_rule("release-manager", "approve", env="staging"))
    ref = str(built.publish(ONE, who="dora"))
    done = as_(built, "ann").approve(ref, env="staging")
    assert (done.have, done.need, done.waiting) == (0, 0, ())
    assert as_(built, "ann").approve(ref, env="staging").already


def test_what_may_not_enter_is_not_approved() -> None:
    built = team()
    ref = str(built.publish({"model.npz": npz()}, who="dora"))
    with pytest.raises(Refused) as caught:
        as_(built, "ann").approve(ref, env="prod")
    assert caught.value.code == "format-refused"


# --- what waits ---


def steps(
    built: Built, who: str = "ann", *, mine: bool = False
) -> list[tuple[str, str, str, int, tuple[str, ...]]]:
    found = as_(built, who).pending(mine=mine)
    return [(entry.version, entry.environment, entry.step, entry.have, entry.waiting) for entry in found]


def test_what_waits_is_listed_with_those_whose_turn_it_is() -> None:
    built = released(ONE)
    ref = str(built.publish(TWO, who="robot"))  # ann's service, so ann is not asked
    others = ("bob", "cat", "rex")
    assert steps(built) == [
        ("2", "prod", "approve", 0, others),
        ("2", "staging", "promote", 0, ("rex",)),
    ]
    assert as_(built, "bob").pending()[0].replaces == "1"
    assert as_(built, "bob").pending()[0].command == "mvault approve churn:2 --env prod"
    assert steps(built, "ann", mine=True) == []
    assert steps(built, "bob", mine=True) == [("2", "prod", "approve", 0, others)]
    as_(built, "bob").approve(ref, env="prod")
    assert steps(built, "bob", mine=True) == []
    as_(built, "cat").approve(ref, env="prod")
    assert steps(built)[0] == ("2", "prod", "promote", 2, ("rex",))
    as_(built, "rex").promote(ref, env="prod")
    as_(built, "rex").promote(ref, env="staging")
    assert steps(built) == []


def test_an_older_version_waits_only_if_somebody_began_with_it() -> None:
    built = team()
    first, second = (str(built.publish(content, who="dora")) for content in (ONE, TWO))
    assert [entry[0] for entry in steps(built) if entry[1] == "prod"] == ["2"]
    as_(built, "ann").approve(first, env="prod")
    assert [entry[0] for entry in steps(built) if entry[1] == "prod"] == ["2", "1"]
    let_in(built, second)
    assert [entry[0] for entry in steps(built) if entry[1] == "prod"] == []


def test_a_withdrawn_version_and_one_that_may_not_enter_wait_for_nobody() -> None:
    built = released(ONE, TWO)
    as_(built, "ann").withdraw("churn:2", env="prod")
    built.publish({"model.npz": npz()}, who="dora")
    assert [entry for entry in steps(built) if entry[1] == "prod"] == [("1", "prod", "promote", 2, ("rex",))]


# --- the same by the command ---


class Team:
    """The team's vault on disk, used through the command by whoever it is whose turn it is."""

    def __init__(self, user: User, built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
        self._user = user
        self._set = monkeypatch.setenv
        place = user.folder / "models"
        for name, data in built.store.objects.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        for name, identity in built.identities.items():
            identity_file.save(identity, user.folder / f"{name}.json", None, random=built.draws)
        floor = built.memory().load()
        trust = trustfile.TrustFile(built.vault, floor, built.session().allowance)
        (user.folder / "trust.json").write_bytes(trustfile.encode(trust))
        self._set("MVAULT_VAULT", str(place))
        self._set("MVAULT_TRUST", str(user.folder / "trust.json"))

    def __call__(self, who: str, *arguments: str) -> Answer:
        self._set("MVAULT_IDENTITY", str(self._user.folder / f"{who}.json"))
        self._set("MVAULT_STATE_DIR", str(self._user.home / f"state-{who}"))
        return self._user.run(*arguments)


def test_the_whole_flow_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, folder = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    user = User(home, folder)
    built = stewarded()
    mvault = Team(user, built, monkeypatch)
    user.write("model.json", '{"w":2}')
    assert mvault("dora", "push", "churn", "model.json").out == "churn:2\n"
    refused = mvault("rex", "promote", "churn:2", "--env", "prod", "--json")
    assert (refused.status, refused.json["error"]["code"]) == (3, "approvals-missing")
    waits = mvault("ann", "pending", "--mine", "--json").json["pending"]
    assert [(entry["reference"], entry["environment"], entry["step"]) for entry in waits] == [
        ("churn:2", "prod", "approve")
    ]
    assert mvault("ann", "pending").out.startswith("churn:2\tprod\tapprove\t0/2\tann,bob,cat,rex\t1\n")
    done = mvault("ann", "approve", "churn:2", "--env", "prod", "--json").json
    assert (done["have"], done["need"], done["waiting"]) == (1, 2, ["bob", "cat", "rex"])
    again = mvault("ann", "approve", "churn:2", "--env", "prod")
    assert (again.out, "before; nothing was written" in again.err) == ("churn:2\n", True)
    denied = mvault("dora", "approve", "churn:2", "--env", "prod")
    assert denied.status == 4
    bob = mvault("bob", "approve", "churn:2", "--env", "prod")
    assert "Next, by rex: mvault promote churn:2 --env prod" in bob.err
    assert mvault("rex", "promote", "churn:2", "--env", "prod").out == "churn@prod\n"
    shown = mvault("ann", "show", "churn@prod", "--json").json
    assert shown["version"] == "2"
    assert sorted(vote["who"] for vote in shown["votes"]) == [["ann"], ["bob"]]
    gone = mvault("cat", "withdraw", "churn:2", "--env", "prod", "--json").json
    assert (gone["written"], gone["already"]) == (["prod/main"], False)
    assert mvault("server", "show", "churn@prod").status == 3
    assert "was withdrawn from prod before" in mvault("cat", "withdraw", "churn:2", "--env", "prod").err
    back = mvault("rex", "rollback", "churn", "--env", "prod", "--json", "-v").json
    assert (back["version"], back["already"], back["seq"]) == ("1", False, 4)
    assert mvault("server", "show", "churn@prod", "--json").json["version"] == "1"
    assert mvault("eve", "adopt-version", "churn:1", "--json").json["already"] is True
    acts = [event["action"] for event in mvault("ann", "history", "churn", "--json").json["events"]]
    assert acts.count("approve") == 4
    assert acts.count("withdraw") == 1
    assert mvault("ann", "pending", "--mine").err == "Nothing waits for you.\n"
    for usage in (["approve", "churn:2"], ["withdraw", "churn:2"], ["rollback", "churn"]):
        assert mvault("rex", *usage).status == 2
    gone = mvault("rex", "withdraw", "churn:1", "--env", "prod", "--replace-with", "2")
    assert gone.status == 3  # 2 was withdrawn, so it needs approvals anew


def test_every_release_of_the_model_is_told_with_its_channels() -> None:
    built = released(ONE, TWO)
    let_in(built, "churn:1", slot="b")
    assert listing.overview(built.session("ann"))[0].channels == {"prod": "2", "prod/b": "1"}
    as_(built, "ann").withdraw("churn:2", env="prod")
    assert listing.overview(built.session("ann"))[0].channels == {"prod/b": "1"}
    withdrawn = [event for event in as_(built, "ann").history("churn") if event.action == "withdraw"]
    assert [event.reference for event in withdrawn] == ["churn:2"]
    assert Digest(withdrawn[0].digest.removeprefix("sha256:")) == built.manifest("churn:2")[1]
