"""Copies of environment keys in key services: who gets one, who reads by one, and what strangers put there.

The services are simulated here; real ones are in tests/keys and in the days of tests/e2e.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from tests import builders
from tests.builders import CONTENT, PROD, Built, new_identity
from tests.e2e.drafting_parts import joining
from vault.actions import access, access_rotate, access_sync, compiling, drafting, keyring, teaming
from vault.actions.access import EnvironmentAccess, Reader
from vault.actions.session import Session
from vault.core import envelope, key_services, layout
from vault.core.key_services import KMS, TRANSIT, KeyServiceId
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import SERVICE, Key, Member, Policy
from vault.errors import (
    AccessDenied,
    DigestMismatch,
    MissingLibrary,
    NoUsableKey,
    Refused,
    Unavailable,
    VaultError,
)
from vault.keys import recipients
from vault.keys.identity_file import Identity
from vault.policyfile import PrincipalSource

AWS = KeyServiceId(KMS, "arn:aws:kms:eu-central-1:123456789012:key/8bf1e17c-934d-4a8d-84f0-3d380db9a688")
BAO = KeyServiceId(TRANSIT, "https://bao.example.com:8200/transit/prod")


@dataclass
class Simulated:
    """Wraps by remembering; `failing` is what it answers with instead."""

    service: KeyServiceId
    kept: dict[bytes, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    failing: VaultError | None = None
    asked: int = 0

    def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Give a ticket."""
        self.asked += 1
        if self.failing is not None:
            raise self.failing
        ticket = hashlib.sha256(b"%d" % len(self.kept) + plaintext).digest()
        self.kept[ticket] = (plaintext, dict(context))
        return ticket

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Take a ticket."""
        self.asked += 1
        if self.failing is not None:
            raise self.failing
        plaintext, bound = self.kept.get(wrapped, (b"", {}))
        if bound != dict(context):
            raise key_services.not_opened(self.service.key, "no such ticket, or another context")
        return plaintext


@dataclass
class World:
    """A vault whose prod's key lies in services as well, and a loader that has nothing but them."""

    built: Built
    services: dict[KeyServiceId, Simulated]

    def session(self, who: str | None = "owner", env: str = "dev") -> Session:
        """Open the vault with these services."""
        session = self.built.session(who, env=env)
        session.key_services.update(self.services)
        return session

    def read(self, ref: str = "churn@prod", who: str = "web") -> dict[str, bytes]:
        """Load as the loader does."""
        return self.built.read(ref, session=self.session(who, "prod"))

    def shown(self) -> EnvironmentAccess:
        """Look at who can read prod."""
        (found,) = access.show(self.session(None), PROD).environments
        return found

    def reader(self, who: str) -> Reader:
        """Look at one of them."""
        return next(entry for entry in self.shown().readers if entry.who == who)

    def copies(self, epoch: int = 1) -> list[str]:
        """Name the copies that lie in storage."""
        return [*self.built.store.list(layout.service_keys(PROD, epoch))]


def named(built: Built, *services: KeyServiceId) -> None:
    """Let a policy name key services for prod."""

    def change(before: Policy) -> Policy:
        prod = replace(before.environments[PROD], key_services=services)
        return replace(before, environments={**before.environments, PROD: prod})

    built.amend(change)


def world(*services: KeyServiceId, sync: bool = True) -> World:
    """Give a vault with churn:1 in prod, and `web`, which has no age key, as a loader there."""
    built = builders.solo()
    ref = built.publish()
    built.promote(ref)
    web = replace(new_identity("web"), recipient=None, age_identity=None)
    built.identities["web"] = web

    def change(before: Policy) -> Policy:
        key = Key(web.public, Digest(web.key_id), revoked=False, until=None)
        member = Member(
            Principal("web"), SERVICE, (Principal("owner"),), (Principal("loader"),), None, (key,), ()
        )
        return replace(before, members={**before.members, member.name: member})

    built.amend(change)
    named(built, *services)
    made = World(built, {service: Simulated(service) for service in (AWS, BAO)})
    if sync:
        access_sync.sync(made.session(), PROD)
    return made


def test_a_loader_without_an_age_key_reads_by_a_service() -> None:
    found = world(AWS)
    assert found.read() == CONTENT
    assert found.services[AWS].asked == 2
    assert found.services[BAO].asked == 0


def test_the_service_is_asked_once_while_a_vault_is_open() -> None:
    found = world(AWS)
    session = found.session("web", "prod")
    for _ in range(3):
        assert found.built.read("churn@prod", session=session) == CONTENT
    assert found.services[AWS].asked == 2


def test_who_has_a_copy_of_their_own_does_not_ask_the_service() -> None:
    found = world(AWS)
    found.services[AWS].failing = Unavailable("down")
    assert found.read(who="owner") == CONTENT


def test_a_reader_whose_own_copies_are_gone_reads_by_the_service() -> None:
    found = world(AWS)
    for name in [
        name for name in found.built.store.objects if "/owner/" in name and name.startswith("keys/prod")
    ]:
        del found.built.store.objects[name]
    assert found.read(who="owner") == CONTENT


def test_the_key_is_bound_to_the_vault_the_environment_and_the_epoch() -> None:
    found = world(AWS)
    (bound,) = [context for _, context in found.services[AWS].kept.values()]
    assert bound == {
        "compartment": "all",
        "environment": "prod",
        "epoch": "1",
        "purpose": "mvault/v1/environment-key",
        "vault": found.built.vault,
    }


def test_nothing_of_the_key_lies_in_storage() -> None:
    found = world(AWS)
    (plaintext,) = [line for line, _ in found.services[AWS].kept.values()]
    assert plaintext == found.built.environment_key("prod").encode().encode() + b"\n"
    assert not any(plaintext.strip() in data for data in found.built.store.objects.values())


def test_who_is_no_reader_by_the_policy_is_not_given_the_key_by_an_honest_client() -> None:
    found = world(AWS)
    found.built.amend(
        lambda before: replace(
            before,
            members={**before.members, Principal("web"): replace(before.members[Principal("web")], roles=())},
        )
    )
    session = found.session("web", "prod")
    with pytest.raises(NoUsableKey):
        keyring.environment_key(session, PROD, 1)
    assert found.services[AWS].asked == 1, "when the copy was written"


def test_a_revoked_key_is_not_given_it_either() -> None:
    found = world(AWS)

    def change(before: Policy) -> Policy:
        web = before.members[Principal("web")]
        keys = tuple(replace(key, revoked=True) for key in web.keys)
        return replace(before, members={**before.members, web.name: replace(web, keys=keys)})

    found.built.amend(change)
    with pytest.raises(NoUsableKey):
        keyring.environment_key(found.session("web", "prod"), PROD, 1)
    assert found.services[AWS].asked == 1


# --- more than one service, and what they answer ---


@pytest.mark.parametrize(
    "failure", [Unavailable("down"), AccessDenied("no"), NoUsableKey("who?"), MissingLibrary("x")]
)
def test_another_service_stands_in_for_one_that_fails(failure: VaultError) -> None:
    found = world(AWS, BAO)
    found.services[AWS].failing = failure
    assert found.read() == CONTENT


@pytest.mark.parametrize(
    ("first", "second", "raised"),
    [
        (AccessDenied("no"), Unavailable("down"), Unavailable),
        (NoUsableKey("who?"), AccessDenied("no"), AccessDenied),
        (DigestMismatch("x", code="decrypt-failed"), NoUsableKey("who?"), DigestMismatch),
        (NoUsableKey("who?"), NoUsableKey("who?"), NoUsableKey),
    ],
)
def test_what_is_raised_says_whether_to_try_again(
    first: VaultError, second: VaultError, raised: type[VaultError]
) -> None:
    found = world(AWS, BAO)
    found.services[AWS].failing, found.services[BAO].failing = first, second
    with pytest.raises(raised):
        found.read()


def test_a_key_that_the_policy_does_not_name_is_refused() -> None:
    found = world(AWS)
    other = recipients.generate_identity("x25519", found.built.draws)
    ticket, (_, bound) = next(iter(found.services[AWS].kept.items()))
    found.services[AWS].kept[ticket] = (other.encode().encode() + b"\n", bound)
    with pytest.raises(DigestMismatch) as caught:
        found.read()
    assert caught.value.code == "key-mismatch"


# --- what strangers put beside the copies ---


def put(
    found: World, data: bytes, service: KeyServiceId = AWS, epoch: int = 1, name: str | None = None
) -> str:
    place = name or layout.service_key(PROD, epoch, service.digest, envelope.digest(data))
    found.built.write(place, data)
    return place


def test_strangers_copies_do_not_hide_the_genuine_one() -> None:
    found = world(AWS)
    for number in range(40):
        put(found, key_services.encode_wrapped(AWS, b"%d" % number))
    put(found, b"{}")
    put(found, key_services.encode_wrapped(BAO, b"x"))
    folder = layout.service_keys(PROD, 1) + layout.copies_for(AWS.digest)
    for number in range(100):
        put(found, b"junk", name=f"{folder}{number:032x}.json")
    assert found.read() == CONTENT
    assert found.services[AWS].asked <= 43
    assert found.reader(AWS.key).garbage == 102


def test_a_copy_of_another_place_is_refused_where_it_was_put() -> None:
    """The context is not read from the object, so that whoever moves one gains nothing."""
    found = world(AWS)
    access_rotate.rotate(found.session(), PROD)
    (first,), (second,) = found.copies(1), found.copies(2)
    objects = found.built.store.objects
    moved, other = objects.pop(second), objects.pop(first)
    put(found, moved, epoch=1)
    put(found, other, epoch=2)
    with pytest.raises(Refused) as caught:
        found.read()
    assert caught.value.code == "decrypt-failed"


def test_an_altered_copy_is_refused() -> None:
    found = world(AWS)
    (name,) = found.copies()
    data = found.built.store.objects.pop(name)
    service, wrapped = key_services.parse_wrapped(data, name)
    put(found, key_services.encode_wrapped(service, bytes([wrapped[0] ^ 1]) + wrapped[1:]))
    with pytest.raises(DigestMismatch):
        found.read()


# --- access: show, sync, rotate ---


def test_show_tells_services_and_who_reads_by_them() -> None:
    found = world(AWS)
    held = found.reader(AWS.key)
    assert (held.kind, held.reads, held.epochs, held.missing) == ("kms", True, (1,), ())
    assert found.reader("web").note == f"has no age key; reads through {AWS.key}"
    assert found.shown().complete
    assert not found.shown().leaks


def test_show_tells_a_reader_who_can_read_nothing() -> None:
    found = world()
    assert found.reader("web").note == "has no age key, so can read nothing"


def test_a_service_that_is_new_lacks_its_copies_until_a_sync() -> None:
    found = world(AWS, sync=False)
    assert not found.shown().complete
    assert found.reader(AWS.key).missing == (1,)
    with pytest.raises(NoUsableKey):
        found.read()
    done = access_sync.sync(found.session(), PROD)
    assert [(copy.who, copy.service) for copy in done.written] == [(AWS.key, AWS)]
    assert found.shown().complete
    again = access_sync.sync(found.session(), PROD)
    assert (again.written, again.complete) == ((), True)


def test_a_service_can_be_given_another_copy() -> None:
    """As after a rotation of its own key: the new copy is under the new version."""
    found = world(AWS)
    done = access_sync.sync(found.session(), PROD, again=[AWS.key])
    assert len(done.written) == 1
    assert len(found.copies()) == 2
    assert found.read() == CONTENT


@pytest.mark.parametrize(
    "failure", [Unavailable("down"), AccessDenied("no"), NoUsableKey("who?"), MissingLibrary("x")]
)
def test_a_service_that_fails_stops_no_other_copy(failure: VaultError) -> None:
    found = world(AWS, BAO, sync=False)
    found.services[AWS].failing = failure
    done = access_sync.sync(found.session(), PROD)
    assert [copy.who for copy in done.written] == [BAO.key]
    assert [(problem.name, problem.code) for problem in done.problems] == [(AWS.key, failure.code)]
    assert not done.complete


def test_whoever_reads_by_a_service_alone_can_hand_the_key_on() -> None:
    found = world(AWS)
    named(found.built, AWS, BAO)
    done = access_sync.sync(found.session("web"), PROD)
    assert [copy.who for copy in done.written] == [BAO.key]


def test_a_service_that_is_taken_out_reads_what_was_until_then_and_nothing_new() -> None:
    found = world(AWS, BAO)
    named(found.built, BAO)
    held = found.reader(AWS.key)
    assert (held.kind, held.reads, held.former) == ("kms", False, (1,))
    assert [entry.who for entry in found.shown().leaks] == [AWS.key]
    access_rotate.rotate(found.session(), PROD)
    assert not found.shown().leaks
    assert "can still read what was stored under epoch 1" in found.reader(AWS.key).note
    assert all(found.built.store.objects[name].find(AWS.key.encode()) < 0 for name in found.copies(2))
    ref = found.built.publish({"model.json": b"[2]"})
    found.built.promote(ref, session=found.session())
    assert found.read() == {"model.json": b"[2]"}
    assert found.services[AWS].asked == 1, "a service that the policy does not name is not asked"


def test_a_rotation_gives_services_the_new_key() -> None:
    found = world(AWS)
    done = access_rotate.rotate(found.session(), PROD)
    assert done.copies is not None
    assert done.copies.complete
    assert found.reader(AWS.key).epochs == (1, 2)
    assert found.read() == CONTENT
    assert found.built.policy.environments[PROD].key_services == (AWS,)


@pytest.mark.parametrize("failure", [Unavailable("down"), AccessDenied("no"), NoUsableKey("who?")])
def test_a_key_that_a_service_does_not_take_is_not_put_in_force(failure: VaultError) -> None:
    """Whoever reads through services alone would read nothing new any more."""
    found = world(AWS, BAO)
    found.services[BAO].failing = failure
    before = dict(found.built.store.objects)
    with pytest.raises(type(failure)):
        access_rotate.rotate(found.session(), PROD)
    assert found.built.store.objects == before
    found.services[BAO].failing = None
    access_rotate.rotate(found.session(), PROD)
    assert found.read() == CONTENT


def test_whoever_has_no_age_key_can_rotate_and_goes_on_reading() -> None:
    found = world(AWS)
    ageless = replace(found.built.owner, recipient=None, age_identity=None)
    found.built.identities["owner"] = ageless
    found.built.amend(
        lambda before: replace(
            before,
            members={
                **before.members,
                Principal("owner"): replace(before.members[Principal("owner")], recipients=()),
            },
        )
    )
    done = access_rotate.rotate(found.session(), PROD)
    assert done.complete
    assert done.written
    assert found.read(who="owner") == CONTENT


def test_a_new_environment_with_a_service_is_readable_through_it() -> None:
    found = world(AWS)
    session = found.session()
    source = teaming.source_of(found.built.policy)
    canary = Environment("canary")
    source = replace(source, environments={**source.environments, canary: replace(source.environments[PROD])})
    made = drafting.policy_draft(session, source, {})
    assert [*found.built.store.list(layout.service_keys(canary, 1))]
    assert isinstance(made.document, Policy)
    assert made.document.environments[canary].key_services == (AWS,)


# --- people and policies ---


def compiled(before: Member | None, *joined: Identity) -> Member:
    source = PrincipalSource("person", (), (), None)
    return compiling._member(
        Principal("ann"), source, before, [joining(entry, "ann") for entry in joined], "x25519"
    )


def test_all_keys_of_somebody_have_an_age_key_beside_them_or_none() -> None:
    """Else nobody could tell which age key goes when a signing key is revoked."""
    one, two = new_identity("ann", seed="1"), new_identity("ann", seed="2")
    ageless = replace(new_identity("ann", seed="3"), recipient=None, age_identity=None)
    other = replace(new_identity("ann", seed="4"), recipient=None, age_identity=None)
    assert len(compiled(compiled(None, one), two).recipients) == 2
    assert compiled(compiled(None, ageless), other).recipients == ()
    with pytest.raises(ValueError, match="or none"):
        compiled(compiled(None, one), ageless)
    with pytest.raises(ValueError, match="or none"):
        compiled(compiled(None, ageless), one)
    with pytest.raises(ValueError, match="or none"):
        compiled(None, one, ageless)


def test_an_age_key_goes_with_the_signing_key_that_is_revoked_beside_it() -> None:
    one = new_identity("ann", seed="1")
    ageless = replace(new_identity("ann", seed="3"), recipient=None, age_identity=None)
    source = PrincipalSource("person", (), (), None, revoked=(one.key_id,))
    found = compiling._member(
        Principal("ann"), source, compiled(None, one), [joining(ageless, "ann")], "x25519"
    )
    assert found.recipients == ()
