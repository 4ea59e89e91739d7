"""Read and write OMS bundles: a DSSE envelope in a Sigstore bundle (docs/format.md, "OMS bundle").

Sources: sigstore_bundle.proto and sigstore_common.proto in their JSON spelling, DSSE v1.0, and section 4
of the OpenSSF Model Signing specification v1.0. Nothing in a bundle is trusted: key ids, the hint and the
certificates say where to look, never whom to believe.
"""

import base64
from dataclasses import dataclass
from typing import Final

from vault.core import envelope, limits, strict_json
from vault.core.fields import Fields, base64_bytes, malformed, plain
from vault.core.strict_json import JSONValue
from vault.errors import Malformed, Unsigned

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
OLDER_MEDIA_TYPES: Final = frozenset(
    f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)
)
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True)
class Signature:
    """One entry of the signature list: a claim."""

    key_id: str  # may be empty
    value: bytes


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as received or to be written.

    `hint` is OMS's fingerprint of the first signature's key; where that key has a certificate,
    `certificates` are its chain in DER, leaf first, and `hint` is empty.
    """

    payload: bytes
    signatures: tuple[Signature, ...]
    hint: str = ""
    certificates: tuple[bytes, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the payload, which names this very content and every file name in it."""
        return envelope.digest(self.payload)


def message(payload: bytes) -> bytes:
    """Give the bytes that every signature of a bundle is over."""
    return envelope.pae(PAYLOAD_TYPE, payload)


def parse(data: bytes, *, strict: bool, subject: str) -> Bundle:
    """Read a bundle; messages call it `subject`. Its payload stays bytes.

    With `strict` every field that nobody needs is refused.

    Raises:
        Malformed: `malformed-json`, `malformed-envelope`, `too-large`, or `wrong-payload-type`.
        Unsigned: it has no signature.
    """
    value = strict_json.parse(
        data, limit=limits.OMS_BUNDLE_BYTES, floats=True, canonical=False, subject=subject
    )
    try:
        return _bundle(Fields(value, subject), strict, subject)
    except Malformed as error:
        if error.code == "wrong-payload-type":
            raise
        raise Malformed(
            f"{subject} is not an OMS bundle: {error.message}", code="malformed-envelope", subject=subject
        ) from None


def _bundle(fields: Fields, strict: bool, subject: str) -> Bundle:
    media = fields.text("mediaType", plain)
    if media != MEDIA_TYPE and (strict or media not in OLDER_MEDIA_TYPES):
        raise malformed(subject, f"its media type is {media[:80]!r}")
    hint, certificates = _material(Fields(fields.raw("verificationMaterial"), subject), strict, subject)
    wrapped = Fields(fields.raw("dsseEnvelope"), subject)
    payload_type = wrapped.text("payloadType", plain)
    if payload_type != PAYLOAD_TYPE:
        raise Malformed(
            f"{subject} signs a {payload_type[:120]!r}, not an in-toto statement.",
            code="wrong-payload-type",
            subject=subject,
        )
    payload = wrapped.text("payload", base64_bytes)
    signatures = tuple(_signature(entry, subject) for entry in wrapped.items("signatures", limits.SIGNATURES))
    fields.done()  # the specification's own schema allows no other field here
    wrapped.done()
    if not signatures:
        raise Unsigned(f"{subject} holds no signature.", subject=subject, hint="Sign it: mvault sign")
    return Bundle(payload, signatures, hint, certificates)


def _signature(value: JSONValue, subject: str) -> Signature:
    fields = Fields(value, f"{subject}: signature")
    found = fields.text("sig", base64_bytes)
    key_id = (fields.optional("keyid", plain) or "") if fields.has("keyid") else ""
    fields.done()
    if not 1 <= len(found) <= limits.OMS_SIGNATURE_BYTES or len(key_id) > limits.OMS_KEY_ID_CHARS:
        raise malformed(subject, "a signature or key id has no possible length")
    return Signature(key_id, found)


def _material(fields: Fields, strict: bool, subject: str) -> tuple[str, tuple[bytes, ...]]:
    """Read what the bundle says of its first key: a hint, or a chain of certificates."""
    if fields.has("certificate"):
        raise malformed(subject, "it was signed through Sigstore's service, whose bundles are not read here")
    hint, certificates = "", tuple[bytes, ...]()
    if fields.has("publicKey") == fields.has("x509CertificateChain"):
        raise malformed(subject, "it has not exactly one of a public key and a certificate chain")
    if fields.has("publicKey"):
        hint = _hint(Fields(fields.raw("publicKey"), f"{subject}: publicKey"), strict)
    else:
        certificates = _chain(
            Fields(fields.raw("x509CertificateChain"), f"{subject}: chain"), strict, subject
        )
    for unused in ("tlogEntries", "timestampVerificationData"):
        if fields.has(unused) and fields.raw(unused) and strict:
            raise malformed(subject, f"it has {unused}, which nothing here checks")
    if strict:
        fields.done()
    return hint, certificates


def _hint(key: Fields, strict: bool) -> str:
    hint = (key.optional("hint", plain) or "") if key.has("hint") else ""
    for older in ("rawBytes", "keyDetails"):  # before version 1.1 of the reference tool
        if key.has(older):
            key.optional(older, plain)
    if strict:
        key.done()
    return hint


def _chain(chain: Fields, strict: bool, subject: str) -> tuple[bytes, ...]:
    entries = chain.items("certificates", limits.OMS_CERTIFICATES)
    if not entries:
        raise malformed(subject, "its certificate chain is empty")
    if strict:
        chain.done()
    return tuple(_certificate(entry, strict, subject) for entry in entries)


def _certificate(value: JSONValue, strict: bool, subject: str) -> bytes:
    fields = Fields(value, f"{subject}: certificate")
    data = fields.text("rawBytes", base64_bytes)
    if not 1 <= len(data) <= limits.OMS_CERTIFICATE_BYTES:
        raise malformed(subject, "a certificate has no possible length")
    if strict:
        fields.done()
    return data


def serialise(bundle: Bundle) -> bytes:
    """Write a bundle; `parse` reads it back, strictly too."""
    material: dict[str, JSONValue] = {"tlogEntries": []}
    if bundle.certificates:
        material["x509CertificateChain"] = {
            "certificates": [{"rawBytes": _base64(entry)} for entry in bundle.certificates]
        }
    else:
        material["publicKey"] = {"hint": bundle.hint}
    return strict_json.encode(
        {
            "dsseEnvelope": {
                "payload": _base64(bundle.payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [
                    {"keyid": entry.key_id, "sig": _base64(entry.value)} for entry in bundle.signatures
                ],
            },
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": material,
        }
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
