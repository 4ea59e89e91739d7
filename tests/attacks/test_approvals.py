"""What prod asks two other people for is not had from one, from the publisher, or from yesterday."""

from dataclasses import replace

import pytest

from tests.attacks.vault_forgeries import Value
from tests.attacks.vault_mixing import check, outcome, resigned, revoked, twin, without
from tests.builders import Built, new_identity, solo, team
from vault.actions import listing
from vault.core import envelope, layout, limits, names, policy, records
from vault.core.names import Digest, Principal
from vault.core.policy import Key, Policy
from vault.errors import Conflict, Refused

OLD = {"model.json": b'{"w":1}'}
NEW = {"model.json": b'{"w":2}'}
IN_PROD = "channels/prod/main/churn/@/"
APPROVALS = "models/churn/@/2/approvals/prod/"


def released(*, publisher: str = "owner") -> Built:
    """Build a vault whose prod has the approved churn 1; churn 2 has prod's keys, and rex's record."""
    built = team()
    first = built.publish(OLD)
    for who in ("ann", "bob"):
        built.approve(first, who)
    built.promote(first, who="rex")
    second = built.publish(NEW, who=publisher)
    # Rex promoted 2 as it should be once, somewhere else: its headers are here, nothing else.
    elsewhere = built.fork()
    for who in ("bob", "cat"):
        elsewhere.approve(second, who)
    elsewhere.promote(second, who="rex")
    for name, data in elsewhere.store.objects.items():
        if "/keys/prod-1/" in name:
            built.write(name, data)
    built.write_record(built.record(second, 2), "rex")
    return built.fork(forgetful=True)


def in_prod(built: Built) -> str | dict[str, bytes]:
    return outcome(built, "churn@prod", who="server")


def test_two_people_of_the_role_who_are_not_the_publisher_suffice() -> None:
    built = released()
    built.approve("churn:2", "bob")
    built.approve("churn:2", "cat")
    assert in_prod(built) == NEW


def test_a_record_without_its_approvals_is_skipped_and_the_older_stays_in_force() -> None:
    built = released()
    assert in_prod(built) == OLD
    built.approve("churn:2", "bob")
    assert in_prod(built) == OLD
    assert outcome(built, "churn:2", who="server", env="prod") == "not-promoted"


def test_a_record_without_approvals_is_no_reason_to_remember_it() -> None:
    built = released().fork()
    built.forgetful = False
    assert in_prod(built) == OLD
    del built.store.objects[f"{IN_PROD}000002.json"]
    assert in_prod(built) == OLD  # nothing went back: it never was in force


def test_approvals_that_were_seen_cannot_be_taken_away_unnoticed() -> None:
    built = released().fork()
    built.forgetful = False
    for who in ("bob", "cat"):
        built.approve("churn:2", who)
    assert in_prod(built) == NEW
    for name in [name for name in built.store.objects if name.startswith(APPROVALS)][:1]:
        del built.store.objects[name]
    assert in_prod(built) == "rollback"
    assert in_prod(built.fork(forgetful=True)) == OLD


@pytest.mark.parametrize("what", ["no manifest", "garbage for a manifest", "a stranger's record of it"])
def test_a_record_without_approvals_does_no_harm_whatever_it_names(what: str) -> None:
    built = released()
    record = built.record("churn:2", 2)
    if what == "no manifest":
        record = replace(record, version=names.version("9"), manifest=Digest("ab" * 32))
    elif what == "garbage for a manifest":
        built.write("models/churn/@/2/manifest.json", b"garbage")
    built.write_record(record, "rex")
    assert in_prod(built) == OLD


# --- who counts ---


@pytest.mark.parametrize("voters", [("bob", "owner"), ("bob", "dora"), ("bob", "server"), ("bob", "robot")])
def test_a_vote_by_somebody_without_the_role_does_not_count(voters: tuple[str, ...]) -> None:
    built = released()
    for who in voters:
        built.approve("churn:2", who)
    assert in_prod(built) == OLD


def test_one_person_counts_once_however_often_and_with_how_many_keys_they_approve() -> None:
    built = released()
    second = new_identity("bob", seed="second key")
    built.identities["bob-again"] = second

    def change(before: Policy) -> Policy:
        bob = before.members[Principal("bob")]
        more = replace(
            bob, keys=(*bob.keys, Key(second.public, Digest(second.key_id), revoked=False, until=None))
        )
        return replace(before, members={**before.members, bob.name: more})

    built.amend(change)
    built.approve("churn:2", "bob")
    built.approve("churn:2", "bob", seq=1)
    built.approve("churn:2", "bob-again")
    built.approve("churn:2", "bob-again", seq=1)
    assert len([name for name in built.store.objects if name.startswith(APPROVALS)]) == 4
    assert in_prod(built) == OLD
    built.approve("churn:2", "cat")
    assert in_prod(built) == NEW


def test_both_signatures_of_one_person_on_one_approval_are_one_vote() -> None:
    built = released()
    payload = records.encode_approval(built.approve("churn:2", "bob"))
    place(built, built.sign("approval", payload, "bob", "bob"))
    assert in_prod(built) == OLD
    place(built, built.sign("approval", payload, "bob", "cat"))
    assert in_prod(built) == NEW  # two people may sign one document


def place(built: Built, data: bytes) -> None:
    """Store an approval where it belongs."""
    built.write(f"{APPROVALS}{envelope.digest(data)}.json", data)


def test_more_strangers_objects_than_there_can_be_approvals_hide_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that are not named after their content take no place, nor does what is too large."""
    monkeypatch.setattr(limits, "PRINCIPALS", 20)
    built = released()
    built.approve("churn:2", "bob")
    built.approve("churn:2", "cat")
    genuine = [name for name in built.store.objects if name.startswith(APPROVALS)]
    for number in range(100):
        built.write(f"{APPROVALS}{number:064x}.json", built.store.objects[genuine[number % 2]])
        built.write(f"{APPROVALS}0{number:x}", b"garbage")
    built.write(f"{APPROVALS}{100:064x}.json", bytes(limits.APPROVAL_BYTES + 1))
    assert in_prod(built) == NEW
    for name in genuine:
        del built.store.objects[name]
    assert in_prod(built.fork(forgetful=True)) == OLD


def test_only_so_many_well_made_objects_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stranger reaches with more is what they reach by deleting an approval."""
    monkeypatch.setattr(limits, "PRINCIPALS", 20)
    built = released()
    built.approve("churn:2", "bob")
    built.approve("churn:2", "cat")
    for number in range(2_000):
        place(built, b"%d" % number)
    assert in_prod(built) == OLD


def test_the_publisher_does_not_approve_their_own() -> None:
    built = released(publisher="robot")  # a service of ann's: what it publishes is ann's act
    built.approve("churn:2", "ann")
    built.approve("churn:2", "bob")
    assert in_prod(built) == OLD
    with pytest.raises(Refused) as caught:
        built.promote("churn:2", who="rex")
    assert caught.value.code == "approvals-missing"
    assert "ann" not in caught.value.message.partition("Waiting")[2]
    built.approve("churn:2", "cat")
    assert in_prod(built) == NEW


def test_a_service_does_not_approve_whatever_role_it_has() -> None:
    built = released()
    built.add("bot", "release-manager", kind=policy.SERVICE, owners=("cat",))
    built.approve("churn:2", "bob")
    built.approve("churn:2", "bot")
    assert in_prod(built) == OLD


@pytest.mark.parametrize("change", [revoked("cat"), without("cat")], ids=["revoked", "removed"])
def test_the_vote_of_somebody_who_was_revoked_or_left_no_longer_counts(change: object) -> None:
    built = released()
    built.approve("churn:2", "bob")
    built.approve("churn:2", "cat")
    assert in_prod(built) == NEW
    assert callable(change)
    built.amend(change)
    assert in_prod(built) == OLD


def test_a_promoter_who_may_approve_counts_unless_the_policy_says_otherwise() -> None:
    built = released()
    built.approve("churn:2", "bob")
    built.approve("churn:2", "rex")
    assert in_prod(built) == NEW

    def change(before: Policy) -> Policy:
        prod = before.environments[names.environment("prod")]
        asked = prod.require.approvals
        assert asked is not None
        stricter = replace(prod.require, approvals=replace(asked, distinct_from=("promoter", "publisher")))
        return replace(
            before, environments={**before.environments, prod.name: replace(prod, require=stricter)}
        )

    built.amend(change)
    assert in_prod(built) == OLD


# --- what was approved ---


@pytest.mark.parametrize(
    "field",
    [{"environment": "staging"}, {"manifest": "00" * 32}, {"model": "fraud"}, {"vault": "00" * 32}],
    ids=str,
)
def test_an_approval_of_something_else_does_not_count(field: dict[str, str]) -> None:
    built = released()
    built.approve("churn:2", "bob")
    built.approve("churn:2", "cat", seq=1)
    (_, name) = sorted(name for name in built.store.objects if name.startswith(APPROVALS))
    signer = envelope.parse(built.store.objects[name], kind="approval", subject="").signatures[0].key_id
    who = next(who for who in ("bob", "cat") if built.identities[who].key_id == signer)
    assert in_prod(built) == NEW

    def change(doc: Value) -> None:
        doc.update(field)

    built.write(name, resigned(built, name, "approval", change, who))
    assert in_prod(built) == OLD


def test_the_approvals_of_the_version_before_do_not_serve_for_the_next() -> None:
    built = released()
    for name in [name for name in built.store.objects if "models/churn/@/1/approvals/" in name]:
        built.write(name.replace("@/1/", "@/2/"), built.store.objects[name])
    assert in_prod(built) == OLD


def test_approvals_at_or_before_a_bar_never_count_again() -> None:
    built = released()
    for who in ("bob", "cat"):
        built.approve("churn:2", who, seq=1)
    assert in_prod(built) == NEW
    built.write_record(built.record("churn:1", 3, bars=("churn:2",)), "rex")
    assert in_prod(built) == OLD
    built.write_record(built.record("churn:2", 4), "rex")
    assert in_prod(built) == OLD
    built.approve("churn:2", "bob", seq=3)
    assert in_prod(built) == OLD
    built.approve("churn:2", "ann", seq=3)
    assert in_prod(built) == NEW


def test_going_back_to_an_approved_version_needs_no_new_approvals() -> None:
    built = released()
    for who in ("bob", "cat"):
        built.approve("churn:2", who)
    assert in_prod(built) == NEW
    built.promote("churn:1", who="rex")
    assert in_prod(built) == OLD


# --- garbage among the approvals ---


def test_a_strangers_objects_among_the_approvals_are_no_votes_and_no_obstacle() -> None:
    built = released()
    built.approve("churn:2", "bob")
    approval = next(data for name, data in built.store.objects.items() if name.startswith(APPROVALS))
    other = twin(solo())
    for number, data in enumerate((b"", b"{}", b"\xff" * 99, approval, approval[:-1], bytes(17 << 20))):
        built.write(f"{APPROVALS}{number:064d}.json", data)
    built.write(f"{APPROVALS}deeper/than/expected", approval)
    built.write(f"{APPROVALS}root.json", other.store.objects[layout.root(1)])
    assert in_prod(built) == OLD
    built.approve("churn:2", "cat")
    assert in_prod(built) == NEW


def test_an_approval_made_under_a_policy_that_is_not_served_is_withheld_policy() -> None:
    built = released()
    built.approve("churn:2", "bob")
    built.approve("churn:2", "cat", seq=1)
    name = next(name for name in built.store.objects if name.startswith(APPROVALS))
    signer = envelope.parse(built.store.objects[name], kind="approval", subject="").signatures[0].key_id
    who = next(who for who in ("bob", "cat") if built.identities[who].key_id == signer)
    changed = resigned(built, name, "approval", lambda doc: doc["policy"].update(version=99), who)
    built.write(name, changed)
    assert in_prod(built.fork()) == OLD  # under another name than its own it is nothing
    place(built, changed)
    assert in_prod(built) == "withheld"


def test_promoting_without_approvals_changes_nothing() -> None:
    built = released()
    before = dict(built.store.objects)
    for ref in ("churn:2", "churn"):
        with pytest.raises(Refused) as caught:
            built.promote(ref, who="rex")
        assert caught.value.code == "approvals-missing"
    assert built.store.objects == before
    with pytest.raises((Refused, Conflict)):
        built.promote("churn:2", who="dora")


# --- damage to what was approved ---


def test_a_damaged_version_in_prod_stops_its_loads_and_nothing_else() -> None:
    built = released()
    for who in ("bob", "cat"):
        built.approve("churn:2", who)
    built.publish(OLD)
    built.publish(OLD, model="other")
    name = "models/churn/@/2/manifest.json"
    built.write(name, built.store.objects[name][:-1])
    assert isinstance(in_prod(built), str)  # never the older one: its approvals do not tell who published it
    rows = listing.overview(built.session(), "")
    assert [(row.model, row.newest) for row in rows] == [("churn", "3"), ("other", "1")]
    assert listing.show(built.session(), names.reference("churn:3")).release.version == "3"
    assert not check(built, data=False).whole


# --- bars and records of people who are gone ---


def test_the_record_of_a_promoter_who_was_revoked_is_skipped_and_the_older_stays() -> None:
    built = released()
    built.add("roy", "releaser")
    for who in ("bob", "cat"):
        built.approve("churn:2", who)
    built.write_record(built.record("churn:2", 2), "roy")
    assert in_prod(built) == NEW
    built.amend(revoked("roy"))
    assert in_prod(built) == OLD


def test_a_bar_counts_for_as_long_as_its_signer_does() -> None:
    built = released()
    built.add("wil", "release-manager")
    built.write_record(built.record(None, 3, bars=("churn:1",), prev="00" * 32), "wil")
    assert in_prod(built) == "barred"
    built.amend(revoked("wil"))
    assert in_prod(built) == OLD


@pytest.mark.parametrize("who", ["dora", "server", "robot"])
def test_a_bar_by_who_may_not_withdraw_bars_nothing(who: str) -> None:
    built = released()
    built.write_record(built.record(None, 3, bars=("churn:1",)), who)
    built.write_record(built.record(None, 3, bars=("churn:1",), slot="b"), who)
    assert in_prod(built) == OLD


def test_who_may_only_withdraw_cannot_put_another_version_in_place() -> None:
    built = released()
    for who in ("bob", "cat"):
        built.approve("churn:2", who)
    del built.store.objects[f"{IN_PROD}000002.json"]
    built.write_record(built.record("churn:2", 3, bars=("churn:1",)), "ann")
    assert in_prod(built) == OLD  # nothing of a record counts whose signer may not sign it


def test_deleting_the_approvals_or_the_record_below_a_withdrawal_brings_no_older_version_back() -> None:
    for gone in (APPROVALS, f"{IN_PROD}000002.json"):
        built = released()
        for who in ("bob", "cat"):
            built.approve("churn:2", who)
        assert in_prod(built) == NEW
        record = envelope.parse(built.store.objects[f"{IN_PROD}000002.json"], kind="channel", subject="it")
        unrelated = replace(
            built.record(None, 3, bars=("churn:1",), prev=record.digest), bars=(Digest("0" * 64),)
        )
        built.write_record(unrelated, "ann")
        assert in_prod(built) == NEW
        for name in [name for name in built.store.objects if name.startswith(gone)]:
            del built.store.objects[name]
        assert in_prod(built) == "barred"


def test_a_bar_in_another_slot_cannot_be_passed_over_by_withholding_the_copies() -> None:
    built = released()
    for who in ("bob", "cat"):
        built.approve("churn:2", who)
    built.promote("churn:2", who="rex", slot="b")
    built.write_record(built.record(None, 9, bars=("churn:2",)), "ann")
    for ref in ("churn@prod/b", "churn:2"):
        assert outcome(built, ref, who="server", env="prod") == "barred"
