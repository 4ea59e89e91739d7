"""Keys of logs and witnesses, and their certificates by an identity (docs/format.md, "Log keys").

A log key signs checkpoints and nothing else. It is in no policy: an identity,
which is, certifies it for one log and one use.
"""

import base64
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.core import ed25519, envelope, limits, log_rights, names, note, strict_json
from vault.core.fields import Fields, base64_bytes, one_of, time
from vault.core.log_names import ACCESS, Log, origin
from vault.core.names import Digest, Principal
from vault.core.note import Line
from vault.core.policy import LogHead, Policy
from vault.errors import BadSignature, DigestMismatch, Malformed

KIND: Final = "log-key"
LOG: Final = "log"
WITNESS: Final = "witness"
LINE: Final = b"mvault-log-key-v1"  # of a certificate that travels as a signature line

_INFO: Final = b"mvault/v1/log-key"


@dataclass(frozen=True, slots=True)
class LogKey:
    """An Ed25519 key of a log or a witness; shows no secret when printed."""

    public: bytes
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, 64 bytes."""
        return self._private.sign(message)


def from_seed(seed: bytes) -> LogKey:
    """Make the key of a seed of 32 bytes."""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return LogKey(private.public_key().public_bytes_raw(), private)


def info(use: str, log_origin: str) -> bytes:
    """Name the purpose of a key: "mvault/v1/log-key" ‖ 00 ‖ use ‖ 00 ‖ origin."""
    return b"\0".join((_INFO, use.encode(), log_origin.encode()))


def derive(identity_seed: bytes, use: str, log_origin: str) -> LogKey:
    """Derive an identity's key for one log and use from the seed of its Ed25519 key, 32 bytes.

    HKDF-SHA256 (RFC 5869) without salt; see `info`.
    """
    purpose = info(use, log_origin)
    return from_seed(HKDF(SHA256(), length=32, salt=None, info=purpose).derive(identity_seed))


@dataclass(frozen=True, slots=True)
class Certificate:
    """An identity's word that a key is its own for one log and use."""

    vault: Digest
    origin: str
    use: str  # LOG or WITNESS
    key: bytes  # 32 bytes
    created: str


def certify(certificate: Certificate, identity: ed25519.Signer) -> bytes:
    """Write the envelope of a certificate, signed by its identity."""
    payload = strict_json.encode(
        {
            "created": certificate.created,
            "key": base64.b64encode(certificate.key).decode("ascii"),
            "origin": certificate.origin,
            "use": certificate.use,
            "vault": certificate.vault,
        }
    )
    return envelope.serialise(envelope.sign(KIND, payload, [(Digest(identity.key_id), identity.sign)]))


def parse_certificate(payload: bytes, subject: str) -> Certificate:
    """Parse the payload of a certificate.

    Raises:
        Malformed: a field is missing, unknown or of another shape, or the key is weak.
    """
    fields = Fields(strict_json.parse(payload, subject=subject), subject)
    found = Certificate(
        vault=fields.text("vault", names.digest),
        origin=fields.text("origin", str),
        use=fields.text("use", one_of(LOG, WITNESS)),
        key=fields.text("key", base64_bytes),
        created=fields.text("created", time),
    )
    fields.done()
    ed25519.PublicKey.parse(found.key)
    return found


@dataclass(frozen=True, slots=True)
class Certified:
    """A log key, and whose it is.

    `principal` is None when the policy does not know the identity (any more):
    then nobody has verified the certificate. `current` says that the identity's
    key counts today; a retired one has `until`.
    """

    key: bytes
    key_id: Digest  # of the identity
    principal: Principal | None
    current: bool
    until: LogHead | None


def verify(data: bytes, current: Policy, log: Log, use: str, subject: str) -> Certified:
    """Verify a certificate for a log of the policy's vault; revoked and retired keys are known all the same.

    Raises:
        Malformed: it is no such document, or not signed by exactly one key.
        DigestMismatch: it is for another vault, log or use (`misplaced`).
        BadSignature: the policy knows the identity, whose signature does not fit.
    """
    if len(data) > limits.LOG_CERTIFICATE_BYTES:
        raise Malformed(f"{subject} has {len(data):,} bytes.", code="too-large", subject=subject)
    sealed = envelope.parse(data, kind=KIND, subject=subject)
    if len(sealed.signatures) != 1:  # which of two is the writer would be a matter of reading
        raise note.malformed_log(subject, "it is signed by exactly one key")
    found = parse_certificate(sealed.payload, subject)
    if (found.vault, found.origin, found.use) != (current.vault, origin(current.vault, log), use):
        raise DigestMismatch(
            f"{subject} is for the {found.use} key of {found.origin[:200]!r}.",
            code="misplaced",
            subject=subject,
        )
    key_id = sealed.signatures[0].key_id
    holder, key = current.holder(key_id), current.key(key_id)
    if holder is None or key is None:
        return Certified(found.key, key_id, None, False, None)
    if not envelope.signers(sealed, {key_id: key.public}):
        raise BadSignature(f"{subject} was altered: its signature does not fit.", subject=subject)
    counts = not key.revoked and key.until is None
    return Certified(found.key, key_id, holder.name, counts, None if key.revoked else key.until)


def may_write(current: Policy, log: Log, who: Certified, size: int) -> bool:
    """Tell whether a commit that brings a log to `size` entries may be this key's, under this policy.

    An access log is its own principal's alone. A retired key may have written
    what is not after the head at which it was retired, in the log of that head.
    """
    if who.principal is None:
        return False
    if not who.current:
        head = who.until
        if head is None or head.origin != origin(current.vault, log) or size > head.size:
            return False
    if log.kind == ACCESS:
        return who.principal == log.principal
    return log_rights.may_log(current, who.principal, LOG, log.environment)


def may_witness(current: Policy, log: Log, who: Certified) -> bool:
    """Tell whether a witness's cosignature of a log counts under this policy."""
    return (
        who.principal is not None
        and who.current
        and log_rights.may_log(current, who.principal, WITNESS, log.environment)
    )


# --- certificates that travel in a note ---


def certificate_line(name: str, certificate: bytes) -> Line:
    """Write a certificate as a signature line of a type of our own, which other verifiers ignore."""
    return Line(name, note.key_hash(name, note.OWN, LINE), certificate)


def certificates(found: note.Note, name: str) -> tuple[bytes, ...]:
    """Give the certificates that a note carries for the keys of one name: claims until `verify`."""
    wanted = note.key_hash(name, note.OWN, LINE)
    return tuple(line.signature for line in found.lines if line.name == name and line.key_hash == wanted)
