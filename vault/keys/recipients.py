"""Recipients and identities of age: keys as text, wrapping and unwrapping a file key, small files.

Two kinds: `x25519`, and the hybrid post-quantum `mlkem768x25519`, which is HPKE (RFC 9180) over
the KEM of filippo.io/hpke-pq. Source of the stanzas: C2SP age.md, "Native recipient types".
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault import errors
from vault.core import age, bech32, limits
from vault.ports import Random

Kind = Literal["x25519", "mlkem768x25519"]

SECRET_BYTES: Final = 32
_POINT_BYTES: Final = 32
_MLKEM_PUBLIC_BYTES: Final = 1184
_MLKEM_SEED_BYTES: Final = 64
_ENCAPSULATED_BYTES: Final = 1120
_WRAPPED_BYTES: Final = age.FILE_KEY_BYTES + limits.AGE_TAG
_X25519: Final = "X25519"
_HYBRID: Final = "mlkem768x25519"
_SCRYPT: Final = "scrypt"
_X25519_INFO: Final = b"age-encryption.org/v1/X25519"
_HYBRID_INFO: Final = b"age-encryption.org/mlkem768x25519"
_ZERO_NONCE: Final = bytes(12)
_RECIPIENT_PREFIXES: Final[dict[str, Kind]] = {"age": "x25519", "age1pq": "mlkem768x25519"}
_IDENTITY_PREFIXES: Final[dict[str, Kind]] = {
    "AGE-SECRET-KEY-": "x25519",
    "AGE-SECRET-KEY-PQ-": "mlkem768x25519",
}
_PREFIX_OF: Final = {kind: prefix for prefix, kind in _RECIPIENT_PREFIXES.items()}
_SECRET_PREFIX_OF: Final = {kind: prefix for prefix, kind in _IDENTITY_PREFIXES.items()}
_TYPE_OF: Final[dict[Kind, str]] = {"x25519": _X25519, "mlkem768x25519": _HYBRID}
_ARGUMENT_BYTES: Final = {_X25519: _POINT_BYTES, _HYBRID: _ENCAPSULATED_BYTES}
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Hold a public key: 32 bytes for `x25519`, 1,216 for `mlkem768x25519`.

    Raises:
        Malformed: the bytes are no such key, or a weak one (`malformed-key`).
    """

    kind: Kind
    public: bytes

    def __post_init__(self) -> None:
        if self.kind == "x25519":
            _check_point(self.public)
        else:
            _hybrid_public(self.public)

    def encode(self) -> str:
        """Return the key as text: `age1…` or `age1pq1…`."""
        return bech32.encode(_PREFIX_OF[self.kind], self.public)


@dataclass(frozen=True, slots=True)
class Identity:
    """Hold the secret half of a recipient: 32 bytes, which `repr` does not show.

    Raises:
        Malformed: the secret has another length (`malformed-key`).
    """

    kind: Kind
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            _refuse_key("a secret key has 32 bytes")

    def encode(self) -> str:
        """Return the secret as text: `AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…`."""
        return bech32.encode(_SECRET_PREFIX_OF[self.kind], self.secret)

    def recipient(self) -> Recipient:
        """Return the public half."""
        if self.kind == "x25519":
            return Recipient(self.kind, _x25519_secret(self.secret).public_key().public_bytes_raw())
        mlkem, x25519 = _hybrid_secrets(self.secret)
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        return Recipient(self.kind, public)


def generate_identity(kind: Kind, random: Random) -> Identity:
    """Make a new identity.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in _PREFIX_OF:
        raise ValueError(f"{kind!r} is not a kind of recipient")
    return Identity(kind, _draw(random, SECRET_BYTES))


def parse_recipient(text: str) -> Recipient:
    """Parse `age1…` or `age1pq1…`, in lower case, as every age program writes them.

    Raises:
        Malformed: it is no such text, or the key is weak (`malformed-key`).
    """
    prefix, data = bech32.decode(text)
    kind = _RECIPIENT_PREFIXES.get(prefix)
    if kind is None:
        _refuse_key("it is not the text of a recipient of a kind known here (age1…, age1pq1…)")
    return Recipient(kind, data)


def parse_identity(text: str) -> Identity:
    """Parse `AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…`, in upper case.

    Raises:
        Malformed: it is no such text (`malformed-key`).
    """
    prefix, data = bech32.decode(text)
    kind = _IDENTITY_PREFIXES.get(prefix)
    if kind is None:
        _refuse_key("it is not the text of an identity of a kind known here")
    return Identity(kind, data)


def wrap(file_key: bytes, recipients: Sequence[Recipient], random: Random) -> bytes:
    """Return an age header that wraps `file_key`, of 16 bytes, for every recipient.

    Ephemeral X25519 keys come from `random`; the hybrid kind draws its own inside the library.

    Raises:
        ValueError: there are no recipients, too many for one header, or of both kinds: a hybrid
            recipient beside a classical one would protect nothing from a quantum computer.
    """
    if len({recipient.kind for recipient in recipients}) != 1:
        raise ValueError("a header needs at least one recipient, and all of one kind")
    stanzas = tuple(
        _wrap_x25519(file_key, recipient.public, random)
        if recipient.kind == "x25519"
        else _wrap_hybrid(file_key, recipient.public)
        for recipient in recipients
    )
    return age.serialise_header(age.build_header(stanzas, file_key))


def unwrap(header: age.Header, identities: Sequence[Identity]) -> bytes:
    """Return the file key that the first fitting identity opens, once the header's MAC holds.

    Stanzas of unknown types are ignored. A stanza does not say whose it is, and one that does not
    authenticate is somebody else's: where a bit of our own was flipped, no key fits either.

    Raises:
        Malformed: a stanza of the type of an identity given here breaks its form, or a scrypt
            stanza is present (`malformed-header`).
        NoUsableKey: no stanza opens with any of the identities.
        DigestMismatch: the key opened and the header's MAC does not fit (`decrypt-failed`).
    """
    _check_stanzas(header, {_TYPE_OF[identity.kind] for identity in identities})
    for identity in identities:
        opener = _opener(identity)
        for stanza in header.stanzas:
            if stanza.arguments[0] == _TYPE_OF[identity.kind]:
                file_key = opener.open(stanza)
                if file_key is not None:
                    age.check_mac(header, file_key)
                    return file_key
    raise errors.NoUsableKey(
        "None of the identities here opens this.",
        hint="Use an identity that it was encrypted to, or ask for access.",
    )


def encrypt_bytes(plaintext: bytes, recipients: Sequence[Recipient], random: Random) -> bytes:
    """Return a whole age file, in memory, that holds `plaintext` for every recipient.

    Raises:
        ValueError: as `wrap`.
    """
    file_key = _draw(random, age.FILE_KEY_BYTES)
    header = wrap(file_key, recipients, random)
    return header + age.seal_payload(file_key, _draw(random, limits.AGE_NONCE), plaintext)


def decrypt_bytes(file: bytes, identities: Sequence[Identity], *, limit: int) -> bytes:
    """Return the plaintext, of at most `limit` bytes, of a whole age file in memory.

    Raises:
        Malformed: the header or a length is not that of an age file (`malformed-header`), or the
            plaintext is larger than `limit` (`too-large`).
        NoUsableKey: none of the identities opens it.
        DigestMismatch: the header or the payload was altered (`decrypt-failed`).
    """
    header, consumed = age.parse_header(file)
    payload = memoryview(file)[consumed:]
    if age.plain_size(len(payload)) > limit:
        raise errors.Malformed(f"An age file here may hold at most {limit} bytes.", code="too-large")
    return age.open_payload(unwrap(header, identities), payload)


class _Opener:
    """Opens stanzas with one identity, whose derived keys it computes once."""

    def __init__(self, identity: Identity) -> None:
        self._hybrid: hpke.MLKEM768X25519PrivateKey | None = None
        if identity.kind == "x25519":
            self._secret = _x25519_secret(identity.secret)
            self._public = self._secret.public_key().public_bytes_raw()
        else:
            mlkem, self._secret = _hybrid_secrets(identity.secret)
            self._hybrid = hpke.MLKEM768X25519PrivateKey(mlkem, self._secret)

    def open(self, stanza: age.Stanza) -> bytes | None:
        """Return the file key, or nothing where the stanza is not this identity's.

        Raises:
            Malformed: the shared secret is all zeros (`malformed-header`).
        """
        argument = age.decode_base64(stanza.arguments[1].encode())
        shared = _exchange(self._secret, argument[-_POINT_BYTES:])
        try:
            if self._hybrid is not None:
                return _SUITE.decrypt(argument + stanza.body, self._hybrid, _HYBRID_INFO)
            cipher = _x25519_cipher(shared, argument, self._public)
            return cipher.decrypt(_ZERO_NONCE, stanza.body, None)
        except InvalidTag:
            return None


@lru_cache(maxsize=16)
def _opener(identity: Identity) -> _Opener:
    """Keep the derived keys of the last identities: a service opens every model with the same one."""
    return _Opener(identity)


def _check_stanzas(header: age.Header, types: set[str]) -> None:
    for stanza in header.stanzas:
        kind = stanza.arguments[0]
        if kind == _SCRYPT:
            _refuse_header("it is protected by a passphrase, which is not accepted here")
        if kind not in types:
            continue
        if len(stanza.arguments) != 2:
            _refuse_header(f"a {kind} stanza has more or fewer than two arguments")
        if len(age.decode_base64(stanza.arguments[1].encode())) != _ARGUMENT_BYTES[kind]:
            _refuse_header(f"the key in a {kind} stanza has a wrong length")
        # Before any decryption: a longer body could be made to open under several keys.
        if len(stanza.body) != _WRAPPED_BYTES:
            _refuse_header(f"the body of a {kind} stanza has a wrong length")


def _wrap_x25519(file_key: bytes, public: bytes, random: Random) -> age.Stanza:
    ephemeral = _x25519_secret(_draw(random, SECRET_BYTES))
    share = ephemeral.public_key().public_bytes_raw()
    cipher = _x25519_cipher(_exchange(ephemeral, public), share, public)
    body = cipher.encrypt(_ZERO_NONCE, file_key, None)
    return age.Stanza((_X25519, age.encode_base64(share).decode("ascii")), body)


def _wrap_hybrid(file_key: bytes, public: bytes) -> age.Stanza:
    sealed = _SUITE.encrypt(file_key, _hybrid_public(public), _HYBRID_INFO)
    share, body = sealed[:_ENCAPSULATED_BYTES], sealed[_ENCAPSULATED_BYTES:]
    return age.Stanza((_HYBRID, age.encode_base64(share).decode("ascii")), body)


def _x25519_cipher(shared: bytes, share: bytes, public: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(HKDF(SHA256(), 32, share + public, _X25519_INFO).derive(shared))


def _x25519_secret(secret: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(secret)


def _hybrid_secrets(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """Expand a seed as filippo.io/hpke-pq and X-Wing do: SHAKE-256 into both secrets."""
    expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + SECRET_BYTES)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES])
    return mlkem, _x25519_secret(expanded[_MLKEM_SEED_BYTES:])


def _hybrid_public(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    if len(public) != _MLKEM_PUBLIC_BYTES + _POINT_BYTES:
        _refuse_key("a hybrid public key has 1,216 bytes")
    point = _check_point(public[_MLKEM_PUBLIC_BYTES:])
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES])
    except ValueError:
        _refuse_key("its ML-KEM half is not a key")
    return hpke.MLKEM768X25519PublicKey(mlkem, point)


def _check_point(public: bytes) -> X25519PublicKey:
    """Return a point that is not of low order: any secret at all gives all zeros with one that is."""
    if len(public) != _POINT_BYTES:
        _refuse_key("an X25519 public key has 32 bytes")
    point = X25519PublicKey.from_public_bytes(public)
    try:
        _x25519_secret(bytes(SECRET_BYTES)).exchange(point)
    except ValueError:
        _refuse_key("it is a point of low order, which would hide nothing")
    return point


def _exchange(secret: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return secret.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        _refuse_header("a share is a point of low order")


def _draw(random: Random, size: int) -> bytes:
    data = random(size)
    if len(data) != size:
        raise ValueError(f"the source of randomness gave {len(data)} bytes instead of {size}")
    return data


def _refuse_key(reason: str) -> NoReturn:
    raise errors.Malformed(
        f"This is not a usable key: {reason}.",
        code="malformed-key",
        hint="Ask its owner to send the recipient again.",
    )


def _refuse_header(reason: str) -> NoReturn:
    raise errors.Malformed(
        f"An age header cannot be used: {reason}.",
        code="malformed-header",
        hint="Restore it from a copy of the vault.",
    )
