"""Whatever parses re-serialises to the same bytes; anything else is `Refused`, and nothing else is raised."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.property.mutations import attempt, hostile
from vault.core import (
    age,
    envelope,
    identity_format,
    labels,
    layout,
    manifest,
    memory_format,
    names,
    policy,
    policy_document,
    public_identity,
    records,
    strict_json,
    trust,
    trusted_locations,
    trustfile,
)
from vault.core.allowance import Allowance
from vault.core.manifest import METADATA, FileEntry
from vault.core.memory_format import Memory
from vault.core.names import Digest
from vault.core.public_identity import PublicIdentity
from vault.core.trustfile import TrustFile
from vault.errors import Refused

VAULT = Digest("a" * 64)


@dataclass(frozen=True)
class Codec:
    """A kind of document: some valid ones, and parse followed by serialise."""

    valid: Callable[[], list[bytes]]
    again: Callable[[bytes], bytes]


@cache
def built() -> builders.Built:
    made = builders.team()
    made.publish(who="dora")
    made.approve("churn:1", "ann")
    made.approve("churn:1", "bob", seq=3)
    made.promote("churn:1", who="rex")
    made.write_record(made.record(None, 2, bars=("churn:1",)), "rex")
    return made


def stored(*prefixes: str) -> list[bytes]:
    """Give the envelopes whose names start so."""
    return [data for name, data in sorted(built().store.objects.items()) if name.startswith(prefixes)]


def payloads(kind: str, *prefixes: str) -> list[bytes]:
    return [envelope.parse(data, kind=kind, subject="it").payload for data in stored(*prefixes)]


def any_envelope(data: bytes) -> bytes:
    """Parse as every kind: the payload type alone tells them apart."""
    refusal: Refused | None = None
    for kind in (trust.KIND, policy.KIND, manifest.KIND, records.SEALING, records.APPROVAL, records.CHANNEL):
        try:
            return envelope.serialise(envelope.parse(data, kind=kind, subject="it"))
        except Refused as error:
            refusal = error
    assert refusal is not None
    raise refusal


def metadata_again(data: bytes) -> bytes:
    entry = FileEntry(METADATA, len(data), "json", "metadata", None, Digest(hashlib.sha256(data).hexdigest()))
    return manifest.encode_metadata(manifest.parse_metadata(data, entry, "it"))


def identity_again(data: bytes) -> bytes:
    return identity_format.serialise(identity_format.parse(data, "it"))


def identities() -> list[bytes]:
    who = built().owner
    secrets = identity_format.Secrets(bytes(32), who.age_identity, builders.NOW)
    plain = identity_format.seal(
        name=who.name,
        public=who.public_key,
        recipient=who.recipient,
        secrets=secrets,
        passphrase=b"",
        protection=None,
        nonce=bytes(identity_format.NONCE_BYTES),
    )
    cost = identity_format.Argon2idCost()
    protected = replace(plain, protection=identity_format.Protection(cost, bytes(identity_format.SALT_BYTES)))
    return [identity_format.serialise(plain), identity_format.serialise(protected)]


def headers() -> list[bytes]:
    keys = [data for name, data in sorted(built().store.objects.items()) if "/keys/dev-1/" in name]
    stanzas = (age.Stanza(("X25519", "abc"), bytes(32)), age.Stanza(("grease", "x", "!"), bytes(48)))
    return [*keys[:1], age.serialise_header(age.build_header(stanzas, bytes(16)))]


def child() -> bytes:
    """Give the payload of a manifest that names parents."""
    found, digest = built().manifest("churn:1")
    parents = tuple(
        manifest.Parent(names.model(model), names.version("1"), digest, relation)
        for model, relation in (("base", "same-data"), ("nepse/NABIL", "fine-tuned-from"))
    )
    return manifest.encode(replace(found, parents=parents))


def words() -> list[bytes]:
    found, digest = built().manifest("churn:1")
    said = labels.Label(
        built().vault, built().policy_id, found.model, found.version, digest, built().time, ("a", "b")
    )
    taken = replace(said, untags={"old": (VAULT, Digest("b" * 64))}, note="¡Olé!")
    return [labels.encode(said), labels.encode(taken)]


def memories() -> list[bytes]:
    made = built()
    made.read("churn:1")
    return [memory_format.encode(Memory(made.vault)), memory_format.encode(made.memory().load())]


def codec(valid: Callable[[], list[bytes]], again: Callable[[bytes], bytes]) -> Codec:
    """Make the valid documents once, when they are first needed."""
    return Codec(cache(valid), again)


CODECS = {
    "strict JSON": codec(
        lambda: payloads(policy.KIND, layout.POLICIES),
        lambda data: strict_json.encode(strict_json.parse(data)),
    ),
    "envelope": codec(lambda: stored("trust/root/", "trust/policy/", "channels/"), any_envelope),
    "root": codec(
        lambda: payloads(trust.KIND, layout.ROOTS), lambda data: trust.encode(trust.parse(data, "it"))
    ),
    "policy": codec(
        lambda: payloads(policy.KIND, layout.POLICIES),
        lambda data: policy_document.encode(policy_document.parse(data, "it")),
    ),
    "manifest": codec(
        lambda: [*payloads(manifest.KIND, "models/churn/@/1/manifest"), child()],
        lambda data: manifest.encode(manifest.parse(data, "it")),
    ),
    "sealing record": codec(
        lambda: payloads(records.SEALING, "models/churn/@/1/sealed/"),
        lambda data: records.encode_sealing(records.parse_sealing(data, "it")),
    ),
    "approval": codec(
        lambda: payloads(records.APPROVAL, "models/churn/@/1/approvals/"),
        lambda data: records.encode_approval(records.parse_approval(data, "it")),
    ),
    "channel record": codec(
        lambda: payloads(records.CHANNEL, "channels/"),
        lambda data: records.encode_channel(records.parse_channel(data, "it")),
    ),
    "label": codec(words, lambda data: labels.encode(labels.parse(data, "it"))),
    "metadata": codec(
        lambda: [manifest.encode_metadata(built().open("churn:1").opened.metadata)], metadata_again
    ),
    "memory": codec(
        memories, lambda data: memory_format.encode(memory_format.parse(data, built().vault, "it"))
    ),
    "identity file": codec(identities, identity_again),
    "age header": codec(headers, lambda data: age.serialise_header(age.parse_detached_header(data))),
}


@pytest.mark.parametrize("kind", CODECS)
def test_valid_documents_re_serialise_to_the_same_bytes(kind: str) -> None:
    codec = CODECS[kind]
    assert codec.valid()
    for data in codec.valid():
        assert codec.again(data) == data


@pytest.mark.parametrize("kind", CODECS)
@settings(max_examples=120)
@given(draw=st.data())
def test_hostile_bytes_re_serialise_to_the_same_bytes_or_are_refused(kind: str, draw: st.DataObject) -> None:
    codec = CODECS[kind]
    data = draw.draw(hostile(codec.valid, text=kind == "age header"))
    again = attempt(codec.again, data)
    if isinstance(again, Refused):
        assert str(again)
    else:
        assert again == data


# What people write by hand may be spelled freely: written again, it means the same.


def trust_files() -> list[bytes]:
    allowance = Allowance(formats=frozenset({"joblib"}), skops_types=frozenset({"a.B"}))
    return [trustfile.encode(TrustFile(VAULT, Memory(VAULT), allowance))]


def pin_lists() -> list[bytes]:
    pin = trusted_locations.Pin(VAULT, "2026-11-23T05:00:00Z")
    return [
        trusted_locations.encode_pins({}),
        trusted_locations.encode_pins({"/srv/models": pin, "memory:": pin}),
    ]


def public_identities() -> list[bytes]:
    who = built().owner
    return [public_identity.encode(PublicIdentity(who.name, who.public_key, who.recipient))]


@settings(max_examples=120)
@given(hostile(trust_files))
def test_hostile_trust_files_mean_the_same_when_written_again_or_are_refused(data: bytes) -> None:
    found = attempt(lambda data: trustfile.parse(data, "it"), data)
    if isinstance(found, Refused):
        assert found.code == "malformed-trust"
    else:
        assert trustfile.parse(trustfile.encode(found), "it") == found


@settings(max_examples=120)
@given(hostile(pin_lists))
def test_hostile_lists_of_pins_mean_the_same_when_written_again_or_are_refused(data: bytes) -> None:
    found = attempt(lambda data: trusted_locations.parse_pins(data, "it"), data)
    if isinstance(found, Refused):
        assert found.code == "memory-damaged"
    else:
        assert trusted_locations.parse_pins(trusted_locations.encode_pins(found), "it") == found


@settings(max_examples=120)
@given(hostile(public_identities))
def test_hostile_public_identities_mean_the_same_when_written_again_or_are_refused(data: bytes) -> None:
    found = attempt(lambda data: public_identity.parse(data, "it"), data)
    if isinstance(found, Refused):
        assert found.code == "malformed-identity"
    else:
        assert public_identity.parse(public_identity.encode(found), "it") == found
