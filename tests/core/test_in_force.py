"""Which record counts: its name, its place, its signer under the newest policy, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests import builders
from tests.builders import PROD, Built, channel
from vault.core import admission, envelope, in_force, policy, records
from vault.core import manifest as manifests
from vault.core.in_force import Channel, Signed
from vault.core.names import Digest, Model, Principal, Version
from vault.core.policy import ApprovalRule, LogHead, Policy, PolicyId
from vault.core.records import Approval, ChannelRecord, SealingRecord
from vault.core.stages import Target
from vault.core.trust import Skipped
from vault.errors import Malformed, Rollback, UntrustedSigner


@pytest.fixture(scope="module")
def shared() -> Built:
    made = builders.team()
    made.publish(who="dora")
    return made


@pytest.fixture
def built(shared: Built) -> Built:
    return shared.fork()


def judge(
    built: Built, record: ChannelRecord, *who: str, number: int | None = None, where: Channel | None = None
) -> Signed[ChannelRecord] | Skipped:
    data = built.sign(records.CHANNEL, records.encode_channel(record), *who)
    return in_force.channel_record(built.context, where or channel(), number or record.seq, data)


def skipped(found: object) -> str:
    assert isinstance(found, Skipped)
    assert found.reason
    return found.code


# --- channel records ---


def test_a_record_by_who_may_promote_counts(built: Built) -> None:
    record = built.record("churn:1", 3)
    found = judge(built, record, "rex")
    assert isinstance(found, Signed)
    assert (found.record, found.signers) == (record, ("rex",))
    assert found.digest == envelope.digest(records.encode_channel(record))


def test_a_record_under_another_number_is_treated_as_absent(built: Built) -> None:
    assert skipped(judge(built, built.record("churn:1", 3), "rex", number=4)) == "misplaced"


@pytest.mark.parametrize("where", [channel(env="staging"), channel(slot="b"), channel("fraud")])
def test_a_record_of_another_channel_is_treated_as_absent(built: Built, where: Channel) -> None:
    assert skipped(judge(built, built.record("churn:1", 1), "rex", where=where)) == "misplaced"


def test_a_record_of_another_vault_is_treated_as_absent(built: Built) -> None:
    record = replace(built.record("churn:1", 1), vault=Digest("0" * 64))
    assert skipped(judge(built, record, "rex")) == "misplaced"


@pytest.mark.parametrize("who", ["dora", "ann", "server", "owner"])
def test_a_record_by_who_may_not_promote_is_treated_as_absent(built: Built, who: str) -> None:
    assert skipped(judge(built, built.record("churn:1", 1), who)) == "untrusted-signer"


def test_a_record_signed_by_nobody_or_by_a_stranger_is_treated_as_absent(built: Built) -> None:
    built.identities["eve"] = builders.new_identity("eve")
    assert skipped(judge(built, built.record("churn:1", 1))) == "unsigned"
    assert skipped(judge(built, built.record("churn:1", 1), "eve")) == "untrusted-signer"


def test_further_signatures_by_others_change_nothing(built: Built) -> None:
    built.identities["eve"] = builders.new_identity("eve")
    found = judge(built, built.record("churn:1", 1), "eve", "dora", "rex")
    assert isinstance(found, Signed)
    assert found.signers == ("rex",)


def test_garbage_is_treated_as_absent(built: Built) -> None:
    for data in (b"", b"{}", b"\xff" * 100):
        found = in_force.channel_record(built.context, channel(), 1, data)
        assert skipped(found) in ("malformed-json", "malformed-envelope")


def test_a_record_that_only_bars_may_come_from_who_may_withdraw_or_approve(built: Built) -> None:
    withdrawal = built.record(None, 1, bars=("churn:1",))
    for who in ("ann", "owner", "rex"):
        assert isinstance(judge(built, withdrawal, who), Signed)
    assert skipped(judge(built, withdrawal, "dora")) == "untrusted-signer"
    replacing = replace(built.record("churn:1", 1), bars=(Digest("0" * 64),))
    assert skipped(judge(built, replacing, "ann")) == "untrusted-signer"


def test_a_revoked_or_retired_key_no_longer_counts(built: Built) -> None:
    record = built.record("churn:1", 1)
    head = LogHead("log", 1, Digest("0" * 64))
    changes: tuple[dict[str, Any], ...] = ({"revoked": True}, {"until": head})
    for change in changes:

        def amend(before: Policy, change: dict[str, Any] = change) -> Policy:
            rex = before.members[Principal("rex")]
            keys = (replace(rex.keys[0], **change),)
            return replace(before, members={**before.members, rex.name: replace(rex, keys=keys)})

        other = built.fork()
        other.amend(amend)
        data = built.sign(records.CHANNEL, records.encode_channel(record), "rex")
        assert skipped(in_force.channel_record(other.context, channel(), 1, data)) == "untrusted-signer"


@pytest.mark.parametrize(
    "change",
    [
        lambda now: replace(now, version=now.version + 1),
        lambda now: replace(now, era=now.era + 1, version=1),
        lambda now: replace(now, digest=Digest("0" * 64)),
    ],
)
def test_a_record_made_under_a_newer_policy_means_that_the_policy_is_withheld(
    built: Built, change: Callable[[PolicyId], PolicyId]
) -> None:
    record = replace(built.record("churn:1", 1), policy=change(built.policy_id))
    with pytest.raises(Rollback) as caught:
        judge(built, record, "rex")
    assert caught.value.code == "withheld"


def test_a_stranger_cannot_claim_that_a_policy_is_withheld(built: Built) -> None:
    record = replace(built.record("churn:1", 1), policy=PolicyId(9, 9, Digest("0" * 64)))
    assert skipped(judge(built, record, "dora")) == "untrusted-signer"


def test_a_record_made_under_an_older_policy_is_normal(built: Built) -> None:
    record = built.record("churn:1", 1)
    built.amend(lambda before: before)
    assert isinstance(judge(built, record, "rex"), Signed)


# --- approvals ---


def approval(built: Built, who: str, **change: object) -> Signed[Approval] | Skipped:
    made = replace(built.fork().approve("churn:1", who), **change)  # type: ignore[arg-type]
    data = built.sign(records.APPROVAL, records.encode_approval(made), who)
    _, digest = built.manifest("churn:1")
    return in_force.approval(built.context, channel(), digest, data, "it")


def test_an_approval_by_a_person_who_may_approve_counts(built: Built) -> None:
    found = approval(built, "ann")
    assert isinstance(found, Signed)
    assert found.signers == ("ann",)


def test_an_approval_by_who_may_not_is_no_vote(built: Built) -> None:
    assert skipped(approval(built, "dora")) == "untrusted-signer"


def test_an_approval_by_a_service_is_no_vote_whatever_its_role(built: Built) -> None:
    built.add("autopilot", "release-manager", kind=policy.SERVICE, owners=("ann",))
    assert skipped(approval(built, "autopilot")) == "untrusted-signer"


@pytest.mark.parametrize(
    "change",
    [
        {"vault": Digest("0" * 64)},
        {"model": Model("fraud")},
        {"environment": builders.DEV},
        {"manifest": Digest("0" * 64)},
    ],
)
def test_an_approval_of_something_else_is_no_vote(built: Built, change: dict[str, object]) -> None:
    assert skipped(approval(built, "ann", **change)) == "misplaced"


def test_an_approval_under_a_newer_policy_means_that_the_policy_is_withheld(built: Built) -> None:
    with pytest.raises(Rollback):
        approval(built, "ann", policy=PolicyId(0, 10**9, Digest("0" * 64)))


def votes(built: Built, *who: str, seq: int = 0) -> list[Signed[Approval]]:
    found = [approval(built, name, seq=seq) for name in who]
    return [entry for entry in found if isinstance(entry, Signed)]


def count(
    built: Built,
    approvals: list[Signed[Approval]],
    *distinct: str,
    publishers: tuple[str, ...] = ("dora",),
    promoters: tuple[str, ...] = ("rex",),
    bar: tuple[int, int] = (0, 0),
) -> frozenset[str]:
    rule = ApprovalRule(Principal("release-manager"), 2, distinct)
    return frozenset(
        in_force.approvers(
            built.context,
            rule,
            approvals,
            publishers=map(Principal, publishers),
            promoters=map(Principal, promoters),
            bar=bar,
        )
    )


def test_each_person_counts_once_however_often_they_approve(built: Built) -> None:
    assert count(built, votes(built, "ann", "ann", "bob") * 2) == {"ann", "bob"}


def test_only_persons_of_the_role_count(built: Built) -> None:
    rule = ApprovalRule(Principal("releaser"), 1, ())
    arguments = {"publishers": (), "promoters": (), "bar": (0, 0)}
    found = in_force.approvers(built.context, rule, votes(built, "ann", "rex"), **arguments)  # type: ignore[arg-type]
    assert found == {"rex"}


def test_publishers_and_promoters_do_not_count_where_they_must_differ(built: Built) -> None:
    all_three = votes(built, "ann", "bob", "rex")
    assert count(built, all_three) == {"ann", "bob", "rex"}
    assert count(built, all_three, "promoter") == {"ann", "bob"}
    assert count(built, all_three, "publisher", publishers=("ann",)) == {"bob", "rex"}
    assert count(built, all_three, "publisher", "promoter", publishers=("ann", "bob")) == frozenset()


def test_an_owner_is_not_distinct_from_the_service_that_published(built: Built) -> None:
    assert count(built, votes(built, "ann", "bob"), "publisher", publishers=("robot",)) == {"bob"}


def test_an_approval_from_before_a_bar_never_counts_again(built: Built) -> None:
    before, after = votes(built, "ann", seq=4), votes(built, "bob", seq=5)
    assert count(built, before + after, bar=(0, 5)) == {"bob"}
    assert count(built, before + after, bar=(0, 6)) == frozenset()


# --- sealing records ---


def sealing(built: Built, *who: str, number: int = 1, **change: Any) -> Signed[SealingRecord] | Skipped:
    data = built.store.objects["models/churn/@/1/sealed/000001.json"]
    made = records.parse_sealing(envelope.parse(data, kind=records.SEALING, subject="it").payload, "it")
    made = replace(made, **change)
    _, digest = built.manifest("churn:1")
    return in_force.sealing_record(
        built.context,
        Model("churn"),
        Version("1"),
        digest,
        [Principal("dora")],
        number,
        built.sign(records.SEALING, records.encode_sealing(made), *who),
    )


def test_a_sealing_record_by_a_publisher_or_by_who_may_rotate_counts(built: Built) -> None:
    for who in ("dora", "owner"):
        found = sealing(built, who)
        assert isinstance(found, Signed)
        assert found.signers == (who,)


@pytest.mark.parametrize("who", ["ann", "rex", "robot"])
def test_a_sealing_record_by_anybody_else_is_treated_as_absent(built: Built, who: str) -> None:
    assert skipped(sealing(built, who)) == "untrusted-signer"


@pytest.mark.parametrize(
    "change",
    [
        {"vault": Digest("0" * 64)},
        {"model": Model("fraud")},
        {"version": Version("2")},
        {"number": 2},
        {"manifest": Digest("0" * 64)},
    ],
)
def test_a_sealing_record_of_something_else_is_treated_as_absent(
    built: Built, change: dict[str, Any]
) -> None:
    assert skipped(sealing(built, "dora", **change)) == "misplaced"


def test_a_sealing_record_under_a_newer_policy_means_that_the_policy_is_withheld(built: Built) -> None:
    with pytest.raises(Rollback):
        sealing(built, "dora", policy=PolicyId(0, 10**9, Digest("0" * 64)))


# --- whose signature it is ---


def test_signers_are_told_as_people_in_order(built: Built) -> None:
    data = built.sign(records.CHANNEL, b"{}", "rex", "ann", "bob")
    found = in_force.attribute(built.context, data, records.CHANNEL, "it")
    assert [member.name for member in found.holders] == ["ann", "bob", "rex"]
    assert found.keys == {built.identities[name].key_id for name in ("ann", "bob", "rex")}


def test_a_channel_is_written_as_a_reference() -> None:
    assert str(channel("nepse/NABIL", "prod", "b")) == "nepse/NABIL@prod/b"
    assert channel(env=PROD) == channel()


# --- what the store still offers ---


def test_a_remembered_manifest_is_still_offered_only_with_all_of_its_signatures(built: Built) -> None:
    name = "models/churn/@/1/manifest.json"
    data = built.store.objects[name]
    _, digest = built.manifest("churn:1")
    assert in_force.offers(built.context, data, digest, "it")
    assert not in_force.offers(built.context, data, Digest("0" * 64), "it")
    assert not in_force.offers(built.context, b"", digest, "it")
    payload = envelope.parse(data, kind=manifests.KIND, subject="it").payload
    for who in ((), ("ann",), ("owner", "ann")):
        assert not in_force.offers(built.context, built.sign(manifests.KIND, payload, *who), digest, "it")
    nonsense = built.sign(manifests.KIND, b"{}", "dora")
    assert not in_force.offers(built.context, nonsense, envelope.digest(b"{}"), "it")


def test_a_manifest_of_a_revoked_publisher_is_still_offered_but_not_accepted(built: Built) -> None:
    data = built.store.objects["models/churn/@/1/manifest.json"]
    _, digest = built.manifest("churn:1")

    def revoke(before: Policy) -> Policy:
        dora = before.members[Principal("dora")]
        keys = (replace(dora.keys[0], revoked=True),)
        return replace(before, members={**before.members, dora.name: replace(dora, keys=keys)})

    built.amend(revoke)
    assert in_force.offers(built.context, data, digest, "it")
    resolved = built.session().resolve(builders.DEV)
    authorised = admission.authorise(resolved, Digest(built.owner.key_id), "load", Model("churn"))
    with pytest.raises(UntrustedSigner):
        admission.verify(authorised, Target(Version("1"), None, None, open=False), data)


def test_documents_of_one_kind_are_not_taken_for_another(built: Built) -> None:
    payload = records.encode_channel(built.record("churn:1", 1))
    for kind in (records.APPROVAL, records.SEALING, manifests.KIND, policy.KIND):
        with pytest.raises(Malformed) as caught:
            in_force.attribute(built.context, built.sign(kind, payload, "rex"), records.CHANNEL, "it")
        assert caught.value.code == "wrong-payload-type"
