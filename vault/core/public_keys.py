"""Read and write public keys in other people's forms: PEM, OpenSSH, minisign (docs/format.md, "OMS bundle").

Sources: RFC 8410 and RFC 5480 (SubjectPublicKeyInfo), RFC 7468 (PEM), RFC 8709 and RFC 5656 (OpenSSH),
and the format page of minisign. Only the kinds below, each in its one DER spelling, so that equal keys
are equal bytes. Whether a point lies on its curve, the library that verifies with it tells.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from vault.core import ed25519
from vault.errors import Malformed

ED25519: Final = "ssh-ed25519"
P256: Final = "ecdsa-sha2-nistp256"
P384: Final = "ecdsa-sha2-nistp384"
P521: Final = "ecdsa-sha2-nistp521"
PEM_BYTES: Final = 4_096

# What stands before the key in a SubjectPublicKeyInfo, and how many bytes the key has.
_SHAPES: Final = {
    ED25519: (bytes.fromhex("302a300506032b6570032100"), 32),
    P256: (bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"), 65),
    P384: (bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200"), 97),
    P521: (bytes.fromhex("30819b301006072a8648ce3d020106052b8104002303818600"), 133),
}
KINDS: Final = frozenset(_SHAPES)
_UNCOMPRESSED: Final = 4
_PEM: Final = re.compile(
    r"\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*\Z", re.ASCII
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: `kind` is OpenSSH's name for it, `raw` the 32 bytes of Ed25519 or a SEC1 point."""

    kind: str
    raw: bytes

    @property
    def key_id(self) -> str:
        """The id of the key in an envelope, in hexadecimal.

        For Ed25519 the vault's own key id; for ECDSA the SHA-256 of the PEM text, as OMS's hint is.
        """
        return ed25519.key_id(self.raw) if self.kind == ED25519 else hashlib.sha256(pem(self)).hexdigest()


def of(kind: str, raw: bytes, subject: str) -> PublicKey:
    """Take a key of a known kind.

    Raises:
        Malformed: `malformed-key`: another length, a compressed point, a weak Ed25519 key.
    """
    if kind not in _SHAPES:
        raise bad(subject, "it is neither Ed25519 nor ECDSA over P-256, P-384 or P-521")
    if len(raw) != _SHAPES[kind][1] or (kind != ED25519 and raw[0] != _UNCOMPRESSED):
        raise bad(subject, "it has not the length of its kind, or is compressed")
    if kind == ED25519:
        ed25519.PublicKey.parse(raw)
    return PublicKey(kind, raw)


def spki(key: PublicKey) -> bytes:
    """Give the SubjectPublicKeyInfo in DER."""
    return _SHAPES[key.kind][0] + key.raw


def pem(key: PublicKey) -> bytes:
    """Give the PEM text, as OpenSSL writes it."""
    text = base64.b64encode(spki(key)).decode("ascii")
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n".encode("ascii")


def parse_spki(data: bytes, subject: str) -> PublicKey:
    """Read a SubjectPublicKeyInfo.

    Raises:
        Malformed: `malformed-key`.
    """
    for kind, (prefix, size) in _SHAPES.items():
        if data.startswith(prefix) and len(data) == len(prefix) + size:
            return of(kind, data[len(prefix) :], subject)
    raise bad(
        subject, "it is neither Ed25519 nor ECDSA over P-256, P-384 or P-521 with an uncompressed point"
    )


def parse_pem(data: bytes, subject: str) -> PublicKey:
    """Read a public key in PEM (`BEGIN PUBLIC KEY`).

    Raises:
        Malformed: `malformed-key`.
    """
    found = _PEM.match(data[: PEM_BYTES + 1].decode("latin-1")) if len(data) <= PEM_BYTES else None
    if found is None:
        raise bad(subject, "it is not one PEM block BEGIN PUBLIC KEY")
    return parse_spki(_base64("".join(found[1].split()), subject), subject)


def openssh(key: PublicKey) -> str:
    """Give the two fields of an OpenSSH public key: its kind and its blob."""
    parts = [key.kind.encode("ascii")]
    if key.kind != ED25519:
        parts.append(key.kind.removeprefix("ecdsa-sha2-").encode("ascii"))
    parts.append(key.raw)
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return f"{key.kind} {base64.b64encode(blob).decode('ascii')}"


def parse_openssh(kind: str, text: str, subject: str) -> PublicKey:
    """Read an OpenSSH public key from its two fields.

    Raises:
        Malformed: `malformed-key`, also where the blob is of another kind than the line says.
    """
    if kind not in _SHAPES:
        raise bad(subject, f"{kind[:40]!r} is neither Ed25519 nor ECDSA over P-256, P-384 or P-521")
    blob = _base64(text, subject)
    size = _SHAPES[kind][1]
    found = PublicKey(kind, blob[-size:])
    if len(blob) < size or openssh(found) != f"{kind} {text}":
        raise bad(subject, "its blob is not that of its kind")
    return of(kind, found.raw, subject)


def minisign(key: PublicKey) -> str:
    """Give an Ed25519 key as a minisign public key file; its 8-byte id is the start of our key id.

    Raises:
        ValueError: it is no Ed25519 key.
    """
    if key.kind != ED25519:
        raise ValueError("minisign has Ed25519 keys only.")
    number = bytes.fromhex(key.key_id)[:8]
    line = base64.b64encode(b"Ed" + number + key.raw).decode("ascii")
    return f"untrusted comment: minisign public key {number[::-1].hex().upper()}\n{line}\n"


def bad(subject: str, reason: str) -> Malformed:
    """Build the refusal of something that is no public key."""
    return Malformed(
        f"{subject} is not a public key that can be used: {reason}.",
        code="malformed-key",
        subject=subject,
        hint="Ask its owner for it again: mvault identity export --form openssh",
    )


def _base64(text: str, subject: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error is one
        value = b""
    if not value or base64.b64encode(value).decode("ascii") != text:
        raise bad(subject, "it is not base64 in its canonical spelling")
    return value
