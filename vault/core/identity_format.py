"""Read and write identity files (docs/format.md, "Identity file").

An identity file is strict JSON: who it is and both public keys in the clear,
both private keys sealed under a passphrase; or in place of the signing key the
name of one in a service. The key is Argon2id of the
passphrase (RFC 9106), the seal ChaCha20-Poly1305 (RFC 8439) with every other
field of the file as associated data, so that nothing in it can be altered.
"""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vault.core import ed25519, key_services, limits, names, strict_json
from vault.core.fields import Fields, base64_bytes, malformed, one_of
from vault.core.key_services import SigningKeyId
from vault.core.strict_json import JSONValue
from vault.errors import Malformed, NoUsableKey, Refused

FORMAT: Final = "mvault-identity-v1"
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32

_RECIPIENT: Final = re.compile(r"age1[a-z0-9]+\Z", re.ASCII)
_AGE_IDENTITY: Final = re.compile(r"AGE-SECRET-KEY-[A-Z0-9-]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Argon2idCost:
    """What one guess at a passphrase costs; the default is RFC 9106's second recommended choice."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


@dataclass(frozen=True, slots=True)
class Protection:
    """How the secrets of a file are sealed: an Argon2id cost and a 16-byte salt."""

    cost: Argon2idCost
    salt: bytes


@dataclass(frozen=True, slots=True)
class Secrets:
    """The private half: Ed25519 seed (32 bytes), age identity line, time of creation (seconds).

    There is no seed where a service signs, and no age identity where nothing is wrapped to the identity.
    """

    seed: bytes | None = field(repr=False)
    age_identity: str | None = field(repr=False)
    created: int


@dataclass(frozen=True, slots=True)
class IdentityDocument:
    """What an identity file says; `protection` is None where no passphrase protects it.

    `secret` is nonce and ciphertext, or the secrets as plain JSON. `signer` is the key that signs, where
    that is in a service; `recipient` is None where the identity has no age key.
    """

    name: names.Principal
    public: ed25519.PublicKey
    recipient: str | None
    protection: Protection | None
    secret: bytes = field(repr=False)
    signer: SigningKeyId | None = None


def parse(data: bytes, subject: str) -> IdentityDocument:
    """Parse an identity file; messages call it `subject`. Nothing secret is opened.

    Raises:
        Malformed: `malformed-identity`, also for Argon2id costs outside the limits.
    """
    try:
        return _document(data)
    except Refused as refusal:
        raise damaged(subject, refusal.message) from None


def open_secrets(document: IdentityDocument, passphrase: bytes, subject: str) -> Secrets:
    """Open the private half and check that it fits the public one; an unprotected file ignores `passphrase`.

    Raises:
        NoUsableKey: the passphrase is wrong, or there is no memory for Argon2id.
        Malformed: `malformed-identity`: what was sealed is not an identity, or not this one's.
    """
    if document.protection is None:
        plain = document.secret
    else:
        plain = _unseal(document, document.protection, passphrase, subject)
    try:
        secrets = _secrets(plain, document)
    except Refused as refusal:
        raise damaged(subject, refusal.message) from None
    if secrets.seed is not None:
        derived = Ed25519PrivateKey.from_private_bytes(secrets.seed).public_key().public_bytes_raw()
        if derived != document.public.raw:
            raise damaged(subject, "Its public key is not that of its private key.")
    return secrets


def seal(
    *,
    name: names.Principal,
    public: ed25519.PublicKey,
    recipient: str | None,
    secrets: Secrets,
    passphrase: bytes,
    protection: Protection | None,
    nonce: bytes,
    signer: SigningKeyId | None = None,
) -> IdentityDocument:
    """Make the document of an identity; with `protection` None whoever reads it has the secrets.

    `nonce` is 12 random bytes, used once; it and `passphrase` go unused without `protection`.

    Raises:
        ValueError: a part is not what `parse` and `open_secrets` would accept again.
        NoUsableKey: there is no memory for Argon2id.
    """
    told: dict[str, JSONValue] = {
        "age": secrets.age_identity,
        "created": names.time_text(secrets.created),
    }
    if secrets.seed is not None:
        told["ed25519"] = _base64(secrets.seed)
    plain = strict_json.encode(told)
    document = IdentityDocument(name, public, recipient, protection, plain, signer)
    try:
        _secrets(plain, document)
        _document(serialise(replace(document, secret=bytes(NONCE_BYTES + _TAG_BYTES))))
    except Refused as refusal:
        raise ValueError(f"This identity could not be read again: {refusal.message}") from None
    if protection is None:
        return document
    cipher = ChaCha20Poly1305(_derive(protection, passphrase, f"The identity {name}"))
    return replace(document, secret=nonce + cipher.encrypt(nonce, plain, _bound(document)))


def serialise(document: IdentityDocument) -> bytes:
    """Write the file; `parse` reads back the same document, and only from these bytes."""
    return strict_json.encode({**_clear(document), "secret": _base64(document.secret)})


def damaged(subject: str, reason: str) -> Malformed:
    """Build the refusal of a file that is no identity, or no longer one."""
    return Malformed(
        f"{subject} is not an identity file, or was damaged. {reason}",
        code="malformed-identity",
        subject=subject,
        hint="Restore it from your own copy, or make another: mvault identity new",
    )


def _document(data: bytes) -> IdentityDocument:
    fields = Fields(strict_json.parse(data, limit=limits.IDENTITY_FILE_BYTES), "The identity file")
    if fields.text("format", str) != FORMAT:
        raise malformed("The identity file", f"its format is not {FORMAT}")
    name = fields.text("name", names.principal)
    protection = fields.object("protection", _protection)
    public, recipient = fields.object("public", _public)
    secret = fields.text("secret", base64_bytes)
    signer = fields.object("signer", _signer) if fields.has("signer") else None
    fields.done()
    if protection is not None and len(secret) < NONCE_BYTES + _TAG_BYTES:
        raise malformed("The identity file", "its secret is too short")
    return IdentityDocument(name, public, recipient, protection, secret, signer)


def _clear(document: IdentityDocument) -> dict[str, JSONValue]:
    clear: dict[str, JSONValue] = {
        "format": FORMAT,
        "name": document.name,
        "protection": _protection_value(document.protection),
        "public": {"age": document.recipient, "ed25519": _base64(document.public.raw)},
    }
    if document.signer is not None:
        clear["signer"] = {
            "key": document.signer.key.url,
            "kind": key_services.TRANSIT,
            "version": document.signer.version,
        }
    return clear


def _bound(document: IdentityDocument) -> bytes:
    """Give the associated data: the canonical JSON of every field but `secret`."""
    return strict_json.encode(_clear(document))


def _protection(fields: Fields) -> Protection | None:
    kind = fields.text("kind", str)
    if kind == "none":
        return None
    if kind != "argon2id":
        raise malformed("The identity file", "it is protected by neither argon2id nor none")
    cost = Argon2idCost(
        memory_kib=fields.integer("memory_kib", limits.ARGON2_MEMORY_KIB_MIN, limits.ARGON2_MEMORY_KIB_MAX),
        iterations=fields.integer("iterations", limits.ARGON2_ITERATIONS_MIN, limits.ARGON2_ITERATIONS_MAX),
        lanes=fields.integer("lanes", 1, limits.ARGON2_LANES_MAX),
    )
    salt = fields.text("salt", base64_bytes)
    if len(salt) != SALT_BYTES:
        raise malformed("The identity file", f"its salt has not {SALT_BYTES} bytes")
    return Protection(cost, salt)


def _protection_value(protection: Protection | None) -> JSONValue:
    if protection is None:
        return {"kind": "none"}
    return {
        "iterations": protection.cost.iterations,
        "kind": "argon2id",
        "lanes": protection.cost.lanes,
        "memory_kib": protection.cost.memory_kib,
        "salt": _base64(protection.salt),
    }


def _signer(fields: Fields) -> SigningKeyId:
    fields.text("kind", one_of(key_services.TRANSIT))
    return SigningKeyId(fields.text("key", key_services.transit_key), fields.integer("version", 1))


def _public(fields: Fields) -> tuple[ed25519.PublicKey, str | None]:
    recipient = fields.optional("age", _matching(_RECIPIENT, "an age recipient"))
    return ed25519.PublicKey.parse(fields.text("ed25519", base64_bytes)), recipient


def _secrets(plain: bytes, document: IdentityDocument) -> Secrets:
    fields = Fields(strict_json.parse(plain, limit=limits.IDENTITY_FILE_BYTES), "Its secret part")
    age_identity = fields.optional("age", _matching(_AGE_IDENTITY, "an age identity"))
    created = fields.text("created", names.timestamp)
    seed = fields.text("ed25519", base64_bytes) if document.signer is None else None
    fields.done()
    if (age_identity is None) != (document.recipient is None):
        raise malformed("Its secret part", "it has one half of an age key")
    if seed is not None and len(seed) != ed25519.SEED_BYTES:
        raise malformed("Its secret part", f"the seed has not {ed25519.SEED_BYTES} bytes")
    return Secrets(seed, age_identity, created)


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse_text(text: str) -> str:
        if len(text) > limits.RECIPIENT_CHARS or not pattern.match(text):
            raise malformed("A field", f"{what} is expected")
        return text

    return parse_text


def _unseal(document: IdentityDocument, protection: Protection, passphrase: bytes, subject: str) -> bytes:
    key = _derive(protection, passphrase, subject)
    nonce, ciphertext = document.secret[:NONCE_BYTES], document.secret[NONCE_BYTES:]
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, _bound(document))
    except InvalidTag:
        raise NoUsableKey(
            f"{subject} does not open: the passphrase is wrong, or the file was altered.",
            subject=subject,
            hint="Try again, or restore the file from your own copy.",
        ) from None


def _derive(protection: Protection, passphrase: bytes, subject: str) -> bytes:
    cost = protection.cost
    try:
        return Argon2id(
            salt=protection.salt,
            length=_KEY_BYTES,
            iterations=cost.iterations,
            lanes=cost.lanes,
            memory_cost=cost.memory_kib,
        ).derive(passphrase)
    except MemoryError:
        raise NoUsableKey(
            f"{subject} needs {cost.memory_kib // 1024} MiB of memory to open, which is not there.",
            subject=subject,
            hint="Open it where there is more memory.",
        ) from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
