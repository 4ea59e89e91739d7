"""DSSE envelopes, Ed25519 only (docs/format.md, "Envelope").

Source: the DSSE protocol and envelope of github.com/secure-systems-lab/dsse,
narrowed to one spelling: canonical strict JSON, standard base64 with padding,
key ids that are SHA-256 digests of the keys.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import ed25519, limits, names, strict_json
from vault.core.fields import Fields, base64_bytes, hexadecimal, plain
from vault.errors import BadSignature, Malformed, Unsigned, UntrustedSigner

PAYLOAD_TYPE: Final = "application/vnd.mvault.{}.v1+json"


def payload_type(kind: str) -> str:
    """Give the payload type of a document of `kind` (`root`, `policy`, `manifest`, …)."""
    return PAYLOAD_TYPE.format(kind)


def digest(payload: bytes) -> names.Digest:
    """Give a document's digest: the SHA-256 of its payload, so that signature lists carry no meaning."""
    return names.Digest(hashlib.sha256(payload).hexdigest())


@dataclass(frozen=True, slots=True)
class Signature:
    """One entry of the signature list: a claim until `signers` has checked it."""

    key_id: names.Digest
    value: bytes  # 64 bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """An envelope as received: nothing in it is trusted yet."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def digest(self) -> names.Digest:
        """The digest of the payload."""
        return digest(self.payload)


def parse(data: bytes, *, kind: str, subject: str) -> Envelope:
    """Parse the envelope of a document of `kind`; the payload stays bytes.

    Raises:
        Malformed: `malformed-json`, `malformed-envelope`, `too-large`, or
            `wrong-payload-type` when it holds another kind of document.
    """
    value = strict_json.parse(data, limit=limits.ENVELOPE_BYTES, subject=subject)
    try:
        fields = Fields(value, subject)
        found = Envelope(
            payload=fields.text("payload", base64_bytes),
            payload_type=fields.text("payloadType", plain),
            signatures=fields.objects("signatures", _signature, limits.SIGNATURES),
        )
        fields.done()
    except Malformed as error:
        raise Malformed(error.message, code="malformed-envelope", subject=subject) from None
    if found.payload_type != payload_type(kind):
        raise Malformed(
            f"{subject} holds {found.payload_type[:120]!r} where a {kind} belongs.",
            code="wrong-payload-type",
            subject=subject,
        )
    return found


def _signature(fields: Fields) -> Signature:
    return Signature(fields.text("keyid", names.digest), fields.text("sig", _signature_bytes))


def _signature_bytes(text: str) -> bytes:
    value = base64_bytes(text)
    return hexadecimal(64)(value.hex())


def serialise(envelope: Envelope) -> bytes:
    """Write an envelope; `parse` reads exactly these bytes."""
    return strict_json.encode(
        {
            "payload": base64.b64encode(envelope.payload).decode("ascii"),
            "payloadType": envelope.payload_type,
            "signatures": [
                {"keyid": entry.key_id, "sig": base64.b64encode(entry.value).decode("ascii")}
                for entry in envelope.signatures
            ],
        }
    )


def pae(kind_of_payload: str, payload: bytes) -> bytes:
    """Give the bytes that are signed: DSSE's pre-authentication encoding."""
    name = kind_of_payload.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(
    kind: str, payload: bytes, signers: Iterable[tuple[names.Digest, Callable[[bytes], bytes]]]
) -> Envelope:
    """Put `payload` into an envelope signed by each of `signers`, in the order of their key ids."""
    message = pae(payload_type(kind), payload)
    signatures = tuple(Signature(key_id, signer(message)) for key_id, signer in sorted(signers, key=_key_id))
    return Envelope(payload_type(kind), payload, signatures)


def _key_id(signer: tuple[names.Digest, Callable[[bytes], bytes]]) -> str:
    return signer[0]


def signers(envelope: Envelope, keys: Mapping[names.Digest, bytes]) -> frozenset[names.Digest]:
    """Tell which of `keys` (key id → 32 raw bytes) have signed these exact bytes.

    Every entry of the list is looked at. An entry by an unknown key, or one
    that does not verify, is no vote and no error: anybody can add one.
    """
    message = pae(envelope.payload_type, envelope.payload)
    return frozenset(
        entry.key_id
        for entry in envelope.signatures
        if entry.key_id in keys and ed25519.verify(keys[entry.key_id], entry.value, message)
    )


def require_signer(
    envelope: Envelope, keys: Mapping[names.Digest, bytes], subject: str
) -> frozenset[names.Digest]:
    """Give the keys that signed, at least one.

    Raises:
        Unsigned: the list is empty.
        UntrustedSigner: it names none of `keys`.
        BadSignature: it names one, and that signature does not verify.
    """
    found = signers(envelope, keys)
    if found:
        return found
    if not envelope.signatures:
        raise Unsigned(f"{subject} is not signed.", subject=subject, hint="Nothing unsigned is ever used.")
    if not any(entry.key_id in keys for entry in envelope.signatures):
        raise UntrustedSigner(
            f"{subject} is signed by a key that the policy does not know.",
            subject=subject,
            hint="If the signer is a colleague, the policy must list their key first.",
        )
    raise BadSignature(
        f"{subject} was altered: its signature does not fit its content.",
        subject=subject,
        hint="Restore it from a backup; nothing in it was used.",
    )


def same_digest(left: str, right: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())
