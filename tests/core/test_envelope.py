"""Envelopes: every signature is looked at, over the received bytes, under one payload type."""

import base64
import json
from collections.abc import Callable

import pytest

from tests.builders import new_identity
from vault.core import envelope, limits
from vault.core.envelope import Envelope, Signature
from vault.core.names import Digest
from vault.errors import BadSignature, Malformed, Unsigned, UntrustedSigner
from vault.keys.identity_file import Identity

ANN, BOB, EVE = (new_identity(name) for name in ("ann", "bob", "eve"))
KEYS = {Digest(who.key_id): who.public for who in (ANN, BOB)}
PAYLOAD = b'{"a":1}'
SMALL_ORDER = bytes(32)  # y = 0: a point of order 4


def signed(*people: Identity, kind: str = "policy", payload: bytes = PAYLOAD) -> Envelope:
    return envelope.sign(kind, payload, [(Digest(who.key_id), who.sign) for who in people])


def claims(*signatures: Signature) -> Envelope:
    return Envelope(envelope.payload_type("policy"), PAYLOAD, signatures)


def changed(change: Callable[[dict[str, object]], object]) -> bytes:
    value = json.loads(envelope.serialise(signed(ANN)))
    change(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def refused(data: bytes, kind: str = "policy") -> Malformed:
    with pytest.raises(Malformed) as caught:
        envelope.parse(data, kind=kind, subject="it")
    assert caught.value.subject == "it"
    return caught.value


def test_an_envelope_is_read_as_it_was_written() -> None:
    made = signed(ANN, BOB)
    data = envelope.serialise(made)
    assert envelope.parse(data, kind="policy", subject="it") == made
    assert envelope.serialise(envelope.parse(data, kind="policy", subject="it")) == data


def test_signatures_lie_in_the_order_of_their_key_ids_whoever_signed_first() -> None:
    assert signed(ANN, BOB) == signed(BOB, ANN)


def test_the_digest_is_that_of_the_payload_alone() -> None:
    assert signed(ANN).digest == signed(BOB).digest == envelope.digest(PAYLOAD)


def test_the_bytes_signed_are_those_of_the_dsse_protocol() -> None:
    # The example of the protocol's text.
    assert envelope.pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    # Lengths count bytes, not characters.
    assert envelope.pae("é", b"\x00\xff") == b"DSSEv1 2 \xc3\xa9 2 \x00\xff"


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("payload"),
        lambda value: value.pop("payloadType"),
        lambda value: value.pop("signatures"),
        lambda value: value.update(extra=1),
        lambda value: value.update(payload=1),
        lambda value: value.update(payload="!"),
        lambda value: value.update(payload="YQ"),
        lambda value: value.update(payload="YR=="),
        lambda value: value.update(payload="YQ==\n"),
        lambda value: value.update(payloadType=None),
        lambda value: value.update(signatures={}),
        lambda value: value.update(signatures=["a"]),
        lambda value: value["signatures"][0].update(cert="x"),
        lambda value: value["signatures"][0].pop("keyid"),
        lambda value: value["signatures"][0].update(keyid="0" * 63),
        lambda value: value["signatures"][0].update(sig=""),
        lambda value: value["signatures"][0].update(sig=base64.b64encode(bytes(63)).decode()),
        lambda value: value["signatures"][0].update(sig=base64.b64encode(bytes(65)).decode()),
        lambda value: value.update(signatures=value["signatures"] * (limits.SIGNATURES + 1)),
    ],
)
def test_an_envelope_of_another_shape_is_refused(change: Callable[[dict[str, object]], object]) -> None:
    assert refused(changed(change)).code == "malformed-envelope"


def test_bytes_that_are_no_strict_json_are_refused() -> None:
    data = envelope.serialise(signed(ANN))
    for bad in (b"", b"[]x", data + b"\n", data[:-1], data.replace(b":", b": ", 1)):
        assert refused(bad).code == "malformed-json"
    assert refused(b"[]").code == "malformed-envelope"


def test_an_envelope_over_the_limit_is_not_parsed() -> None:
    assert refused(b" " * (limits.ENVELOPE_BYTES + 1)).code == "too-large"


def test_a_payload_of_many_mebibytes_fits() -> None:
    payload = b'"' + b"a" * (limits.DOCUMENT_BYTES - 2) + b'"'
    data = envelope.serialise(signed(ANN, payload=payload))
    assert envelope.parse(data, kind="policy", subject="it").payload == payload


def test_a_document_of_another_kind_is_refused_although_its_signature_holds() -> None:
    data = envelope.serialise(signed(ANN, kind="manifest"))
    assert refused(data).code == "wrong-payload-type"
    assert refused(changed(lambda value: value.update(payloadType="application/vnd.in-toto+json"))).code == (
        "wrong-payload-type"
    )


def test_the_same_signature_under_another_payload_type_does_not_verify() -> None:
    made = signed(ANN, kind="manifest")
    moved = Envelope(envelope.payload_type("policy"), made.payload, made.signatures)
    with pytest.raises(BadSignature):
        envelope.require_signer(moved, KEYS, "it")


def test_every_signature_is_looked_at() -> None:
    ann, bob, eve = (signed(who).signatures[0] for who in (ANN, BOB, EVE))
    broken = Signature(ann.key_id, bytes(64))
    assert envelope.signers(claims(ann, bob), KEYS) == {ANN.key_id, BOB.key_id}
    assert envelope.signers(claims(broken, eve, bob), KEYS) == {BOB.key_id}
    assert envelope.signers(claims(broken, ann), KEYS) == {ANN.key_id}
    assert envelope.signers(claims(bob, bob, bob), KEYS) == {BOB.key_id}


def test_a_signature_under_another_persons_key_id_does_not_count() -> None:
    swapped = Signature(Digest(BOB.key_id), signed(ANN).signatures[0].value)
    assert envelope.signers(claims(swapped), KEYS) == frozenset()


def test_a_weak_key_never_verifies_anything() -> None:
    weak = Digest("0" * 64)
    with pytest.raises(Malformed):
        envelope.signers(claims(Signature(weak, bytes(64))), {weak: SMALL_ORDER})


def test_why_nobody_signed_is_told_apart() -> None:
    ann, eve = signed(ANN).signatures[0], signed(EVE).signatures[0]
    with pytest.raises(Unsigned):
        envelope.require_signer(claims(), KEYS, "it")
    with pytest.raises(UntrustedSigner):
        envelope.require_signer(claims(eve), KEYS, "it")
    with pytest.raises(UntrustedSigner):
        envelope.require_signer(claims(ann), {}, "it")
    with pytest.raises(BadSignature):
        envelope.require_signer(claims(eve, Signature(ann.key_id, eve.value)), KEYS, "it")
    assert envelope.require_signer(claims(eve, ann), KEYS, "it") == {ANN.key_id}


def test_a_changed_payload_is_refused() -> None:
    made = signed(ANN)
    with pytest.raises(BadSignature) as caught:
        envelope.require_signer(Envelope(made.payload_type, PAYLOAD + b" ", made.signatures), KEYS, "it")
    assert caught.value.subject == "it"


def test_digests_are_compared_whole() -> None:
    assert envelope.same_digest("ab", "ab")
    assert not envelope.same_digest("ab", "ac")
    assert not envelope.same_digest("ab", "abc")
