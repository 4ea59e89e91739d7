"""Who adopts a version stands in for a publisher who was lost, and for nobody else."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests import builders
from tests.builders import Built
from vault.core import admission, envelope, in_force, manifest, names, policy_document, publishing, records
from vault.core import policy as policies
from vault.core.in_force import Signed
from vault.core.names import Digest, Environment, Principal, Version
from vault.core.policy import ChannelHead, Policy, Rule
from vault.core.records import Adoption
from vault.core.stages import Authorised, Target, Verified
from vault.core.trust import Skipped
from vault.errors import Malformed, Refused, Rollback, UntrustedSigner

DORA = Principal("dora")


def may_adopt(before: Policy) -> Policy:
    """Let whoever has the role `steward` adopt in dev."""
    rule = Rule(("adopt", "load"), (builders.DEV,), None, None, None, own=False)
    return replace(before, roles={**before.roles, Principal("steward"): (rule,)})


@pytest.fixture(scope="module")
def stewarded() -> Built:
    """Build a team with a steward, eve, and churn:1 by dora."""
    built = builders.team()
    built.amend(may_adopt)
    built.add("eve", "steward")
    built.add("bot", "steward", kind=policies.SERVICE, owners=("eve",))
    built.publish(who="dora")
    return built


@pytest.fixture
def built(stewarded: Built) -> Built:
    return stewarded.fork(forgetful=True)


def revoke(who: str) -> Callable[[Policy], Policy]:
    def change(before: Policy) -> Policy:
        member = before.members[Principal(who)]
        keys = tuple(replace(key, revoked=True) for key in member.keys)
        return replace(before, members={**before.members, member.name: replace(member, keys=keys)})

    return change


def leave(who: str) -> Callable[[Policy], Policy]:
    return lambda before: replace(
        before, members={name: entry for name, entry in before.members.items() if name != who}
    )


def unrole(who: str) -> Callable[[Policy], Policy]:
    def change(before: Policy) -> Policy:
        member = replace(before.members[Principal(who)], roles=())
        return replace(before, members={**before.members, member.name: member})

    return change


def document(built: Built, **change: object) -> Adoption:
    found, digest = built.manifest("churn:1")
    made = Adoption(built.vault, built.policy_id, found.model, found.version, digest, built.time)
    return replace(made, **change)  # type: ignore[arg-type]


def adoption(built: Built, *who: str, **change: object) -> Signed[Adoption] | Skipped:
    _, digest = built.manifest("churn:1")
    data = built.sign(records.ADOPTION, records.encode_adoption(document(built, **change)), *who)
    return in_force.adoption(built.context, builders.CHURN, Version("1"), digest, data, "it")


def verify(built: Built, *adopted: Signed[Adoption] | Skipped, env: Environment | None = None) -> Verified:
    """Do step 5 for churn:1: in an environment without a record, or anywhere."""
    resolved = built.session().resolve(env or builders.DEV)
    authorised = Authorised(
        resolved, resolved.context.policy.members[Principal("owner")], "load", builders.CHURN
    )
    target = Target(Version("1"), None, None, open=env is not None)
    data = built.store.objects["models/churn/@/1/manifest.json"]
    found = [entry for entry in adopted if isinstance(entry, Signed)]
    return admission.verify(authorised, target, data, lambda _: found)


# --- the document ---


def test_an_adoption_is_read_back_as_it_was_written(built: Built) -> None:
    made = document(built)
    assert records.parse_adoption(records.encode_adoption(made), "it") == made


@pytest.mark.parametrize("field", ["vault", "policy", "model", "version", "manifest", "created"])
def test_an_adoption_with_a_field_missing_is_malformed(built: Built, field: str) -> None:
    payload = records.encode_adoption(document(built)).replace(
        f'"{field}":'.encode(), f'"{field}x":'.encode(), 1
    )
    with pytest.raises(Malformed):
        records.parse_adoption(payload, "it")


def test_an_adoption_by_a_person_who_may_adopt_counts(built: Built) -> None:
    found = adoption(built, "eve", "dora")
    assert isinstance(found, Signed)
    assert found.signers == ("eve",)


@pytest.mark.parametrize("who", ["dora", "ann", "rex", "bot"])
def test_an_adoption_by_who_may_not_or_by_a_service_is_none(built: Built, who: str) -> None:
    found = adoption(built, who)
    assert isinstance(found, Skipped)
    assert found.code == "untrusted-signer"


@pytest.mark.parametrize(
    "change", [{"vault": "0" * 64}, {"model": "fraud"}, {"version": "2"}, {"manifest": "0" * 64}], ids=str
)
def test_an_adoption_of_something_else_is_none(built: Built, change: dict[str, object]) -> None:
    found = adoption(built, "eve", **change)
    assert isinstance(found, Skipped)
    assert found.code == "misplaced"


def test_an_adoption_made_under_a_policy_that_is_not_served_means_that_it_is_withheld(built: Built) -> None:
    later = replace(built.policy_id, version=built.policy_id.version + 1)
    with pytest.raises(Rollback) as caught:
        adoption(built, "eve", policy=later)
    assert caught.value.code == "withheld"


# --- standing in ---


@pytest.mark.parametrize(
    "lost", [revoke("dora"), leave("dora"), unrole("dora")], ids=["revoked", "left", "role"]
)
def test_who_adopts_stands_in_for_a_publisher_who_does_not_count_any_more(
    built: Built, lost: Callable[[Policy], Policy]
) -> None:
    assert verify(built).publishers == ("dora",)
    built.amend(lost)
    with pytest.raises(Refused) as caught:
        verify(built)
    assert caught.value.code in ("untrusted-signer", "bad-signature")
    found = verify(built, adoption(built, "eve"))
    left = DORA not in built.policy.members
    assert found.publishers == (("eve",) if left else ("dora", "eve"))  # both differ from who may approve
    assert verify(built, adoption(built, "eve"), env=builders.DEV).publishers == found.publishers


def test_an_adoption_is_not_asked_for_where_every_publisher_counts(built: Built) -> None:
    def never(_: Digest) -> list[Signed[Adoption]]:
        raise AssertionError("nobody was lost")

    resolved = built.session().resolve(builders.DEV)
    authorised = Authorised(resolved, resolved.context.policy.members[DORA], "load", builders.CHURN)
    data = built.store.objects["models/churn/@/1/manifest.json"]
    assert admission.verify(authorised, Target(Version("1"), None, None), data, never).publishers == ("dora",)
    assert publishing.nobody(Digest("0" * 64)) == ()


def test_an_adopter_needs_the_authority_in_the_environment_where_no_record_stands_in(built: Built) -> None:
    built.amend(revoke("dora"))
    with pytest.raises(UntrustedSigner):
        verify(built, adoption(built, "eve"), env=names.environment("staging"))


def test_one_adoption_stands_in_for_several_who_were_lost(built: Built) -> None:
    name = "models/churn/@/1/manifest.json"
    found, _ = built.manifest("churn:1")
    ids = tuple(sorted(Digest(built.identities[who].key_id) for who in ("dora", "owner")))
    payload = manifest.encode(replace(found, publishers=ids))
    built.write(name, built.sign("manifest", payload, "owner", "dora"))
    built.amend(leave("dora"))
    built.amend(unrole("owner"))
    digest = envelope.digest(payload)
    data = built.sign(records.ADOPTION, records.encode_adoption(document(built, manifest=digest)), "eve")
    entry = in_force.adoption(built.context, builders.CHURN, Version("1"), digest, data, "it")
    assert verify(built, entry).publishers in (("eve", "owner"), ("owner", "eve"))


@pytest.mark.parametrize("stripped", [True, False])
def test_a_signature_that_was_stripped_is_not_made_up_for_by_an_adoption(
    built: Built, stripped: bool
) -> None:
    """Two published; while both keys count, or are known, both signatures have to be there."""
    name = "models/churn/@/1/manifest.json"
    found, _ = built.manifest("churn:1")
    ids = tuple(sorted(Digest(built.identities[who].key_id) for who in ("dora", "owner")))
    payload = manifest.encode(replace(found, publishers=ids))
    built.write(name, built.sign("manifest", payload, "owner", *([] if stripped else ["dora"])))
    built.amend(revoke("dora"))
    entry = adoption(built, "eve", manifest=envelope.digest(payload))
    if stripped:
        with pytest.raises(UntrustedSigner):
            verify(built, entry)
    else:
        assert set(verify(built, entry).publishers) == {"dora", "owner", "eve"}


def test_a_publisher_whose_key_counts_is_not_replaced(built: Built) -> None:
    name = "models/churn/@/1/manifest.json"
    sealed = envelope.parse(built.store.objects[name], kind="manifest", subject=name)
    built.write(name, built.sign("manifest", sealed.payload, "ann"))  # dora's signature is gone
    with pytest.raises(UntrustedSigner):
        verify(built, adoption(built, "eve"))


# --- where an era continues ---


def test_the_heads_that_an_era_continues_from_are_read_back_as_they_were_written(built: Built) -> None:
    heads = {
        "prod/main/nepse/NABIL": ChannelHead(7, Digest("a" * 64)),
        "dev/b/churn": ChannelHead(1, Digest("b" * 64)),
    }
    for era, continues in ((0, None), (1, None), (1, {}), (2, heads)):
        written = replace(built.policy, era=era, continues=continues)
        assert policy_document.parse(policy_document.encode(written), "policy").continues == continues


@pytest.mark.parametrize(
    "wrong",
    [
        b'"continues":[]',
        b'"continues":{"prod/main":{"digest":"%s","seq":1}}' % (b"a" * 64),
        b'"continues":{"prod/main/churn":{"digest":"%s","seq":0}}' % (b"a" * 64),
        b'"continues":{"prod/main/churn":{"digest":"%s"}}' % (b"a" * 64),
        b'"continues":{"prod/main/churn":{"digest":"%s","more":1,"seq":1}}' % (b"a" * 64),
        b'"continued":null',
    ],
)
def test_heads_of_another_shape_are_malformed(built: Built, wrong: bytes) -> None:
    payload = policy_document.encode(built.policy)
    assert b'"continues":null' in payload
    with pytest.raises(Malformed):
        policy_document.parse(payload.replace(b'"continues":null', wrong), "policy")
