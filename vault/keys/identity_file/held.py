"""Hold an unlocked identity: its name, both public keys, and what signs and reads for it."""

from dataclasses import dataclass, field
from typing import Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.core import ed25519, names
from vault.core.key_services import SigningKeyId
from vault.ports import Random, SigningService

DERIVING: Final = b"mvault/v1/derive\0"  # what a key in a service signs in place of showing its seed


@dataclass(frozen=True, slots=True)
class PublicIdentity:
    """What anybody who reads the file learns: whose it is, and both public keys."""

    name: names.Principal
    public: bytes
    key_id: str
    recipient: str | None
    protected: bool
    signer: SigningKeyId | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """The signing key of an identity, where that is in a service."""

    key: SigningKeyId
    service: SigningService = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """An unlocked identity; it signs (`core.ed25519.Signer`), and shows no secret when printed.

    `age_identity` is the private age key as its bech32 text, `recipient` the
    public one, None where it has none; `created` is in seconds; `warnings` are
    sentences for the user. The signing key is held here, or is in a service.
    """

    name: names.Principal
    public_key: ed25519.PublicKey
    recipient: str | None
    created: int
    age_identity: str | None = field(repr=False, compare=False)
    _private: Ed25519PrivateKey | Remote = field(repr=False, compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @property
    def key_id(self) -> str:
        """The id of the signing key: SHA-256 of its public half, in hexadecimal."""
        return self.public_key.key_id

    @property
    def public(self) -> bytes:
        """The public half of the signing key, 32 bytes."""
        return self.public_key.raw

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of `message`, 64 bytes.

        Raises:
            BadSignature, Unavailable, AccessDenied, NoUsableKey: of a key in a service: see
                `ports.SigningService`.
        """
        if isinstance(self._private, Remote):
            return self._private.service.sign(message)
        return self._private.sign(message)

    def derive(self, info: bytes) -> "DerivedKey":
        """Give the Ed25519 key that belongs to this identity for one purpose, as `info` spells it.

        HKDF-SHA256 (RFC 5869) of the signing key's seed, without salt, 32 bytes: another key for each
        `info`, none of which tells of another or of the seed.
        """
        private = Ed25519PrivateKey.from_private_bytes(self.expand(info, ed25519.SEED_BYTES))
        return DerivedKey(private.public_key().public_bytes_raw(), private)

    def expand(self, info: bytes, size: int) -> bytes:
        """Give `size` secret bytes for one purpose, derived as `derive` derives its keys.

        Of a key in a service the seed is not known. What stands for it is the signature of a message that
        nobody signs for any other reason, which nobody else can make and which is always the same.

        Raises:
            BadSignature, Unavailable, AccessDenied, NoUsableKey: see `sign`.
        """
        if isinstance(self._private, Remote):
            return HKDF(SHA256(), size, None, info).derive(self.sign(DERIVING + info))
        return HKDF(SHA256(), size, None, info).derive(self._private.private_bytes_raw())

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied to a file or another process by accident."""
        raise TypeError("An identity holds private keys and is not serialised; use save")


@dataclass(frozen=True, slots=True)
class DerivedKey:
    """A key that an identity has for one purpose; it shows no secret when printed."""

    public: bytes  # 32 bytes
    _private: Ed25519PrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of `message`, 64 bytes."""
        return self._private.sign(message)

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied to a file or another process by accident."""
        raise TypeError("A derived key is not serialised; derive it again")


def new(
    name: str,
    *,
    random: Random,
    now: int,
    age_identity: str | None,
    age_recipient: str | None,
    remote: tuple[Remote, ed25519.PublicKey] | None = None,
) -> Identity:
    """Make an identity with a fresh Ed25519 key, or one in a service, around an age key pair.

    The age key pair is bech32 text, or None where the identity is to have none.

    Raises:
        Malformed: `malformed-name`: `name` is not a principal's name.
    """
    if remote is not None:
        held, known = remote
        return Identity(names.principal(name), known, age_recipient, now, age_identity, held)
    private = Ed25519PrivateKey.from_private_bytes(random(ed25519.SEED_BYTES))
    public = ed25519.PublicKey.parse(private.public_key().public_bytes_raw())
    return Identity(names.principal(name), public, age_recipient, now, age_identity, private)
