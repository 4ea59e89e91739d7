"""Parse Ed25519 public keys, refuse weak ones, and verify signatures (RFC 8032, section 5.1).

OpenSSL takes any 32 bytes for a public key. Under a small-order key one
signature fits many messages, and a non-canonical encoding gives one key two
ids, so every key is parsed here before it is compared, stored or used.
"""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vault.errors import Malformed

PUBLIC_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_SIGN: Final = 1 << 255

# The y coordinates of the eight points whose order divides 8: the neutral
# point, the one of order 2, the pair of order 4, and two pairs of order 8.
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({1, _P - 1, 0, _ORDER_8, _P - _ORDER_8})

_CACHED_KEYS: Final = 4_096
_CACHED_SIGNATURES: Final = 65_536

# SHA-256 of key, signature and message, in this order, of what verified in this process. A service loads
# the same documents again and again, and what held once for these very bytes holds for ever.
_verified: Final[set[bytes]] = set()


class Signer(Protocol):
    """Holds an Ed25519 private key and signs with it."""

    @property
    def key_id(self) -> str:
        """The id of the public key (`key_id`)."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`, 64 bytes."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that was parsed, so neither weak nor encoded in a second way.

    `raw` is its 32 bytes, `key_id` their SHA-256 in lowercase hexadecimal.
    """

    raw: bytes
    key_id: str
    _verifier: Ed25519PublicKey = field(repr=False, compare=False)

    @classmethod
    def parse(cls, raw: bytes) -> "PublicKey":
        """Parse the encoding of RFC 8032, section 5.1.2.

        Raises:
            Malformed: `malformed-key`: not 32 bytes, y not below 2^255 - 19, a sign
                on x = 0, not a point of the curve, or a point of small order.
        """
        return _parse(bytes(raw))

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Tell whether `signature` (64 bytes, S below the group order) is this key's over `message`."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        seen = hashlib.sha256(self.raw + signature + message).digest()
        if seen in _verified:
            return True
        try:
            self._verifier.verify(signature, message)
        except InvalidSignature:
            return False
        if len(_verified) >= _CACHED_SIGNATURES:
            _verified.clear()
        _verified.add(seen)
        return True


def key_id(raw: bytes) -> str:
    """Return the id of a public key: the SHA-256 of its 32 bytes, in lowercase hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def verify(raw_public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether `signature` is the one of `message` under the 32-byte key `raw_public`.

    Raises:
        Malformed: `malformed-key`, as `PublicKey.parse`.
    """
    return PublicKey.parse(raw_public).verify(signature, message)


@lru_cache(maxsize=_CACHED_KEYS)  # a modular exponentiation each, and a policy names many keys
def _parse(raw: bytes) -> PublicKey:
    if len(raw) != PUBLIC_BYTES:
        raise _weak(raw, f"it has {len(raw)} bytes instead of {PUBLIC_BYTES}")
    encoded = int.from_bytes(raw, "little")
    y = encoded % _SIGN
    if y >= _P:
        raise _weak(raw, "it is not in its canonical encoding")
    if y in _SMALL_ORDER:
        raise _weak(raw, "it is a point of small order, under which anybody can sign")
    if not _on_curve(y):
        raise _weak(raw, "it is not a point of the curve")
    return PublicKey(raw, key_id(raw), Ed25519PublicKey.from_public_bytes(raw))


def _on_curve(y: int) -> bool:
    """Tell whether some x has -x² + y² = 1 + d·x²·y²: whether x² = (y² - 1)/(d·y² + 1) is a square.

    The quotient is one exactly if the product is; x = 0 is of small order and was refused.
    """
    square = y * y % _P
    return _jacobi((square - 1) * (_D * square + 1) % _P, _P) == 1


def _jacobi(a: int, n: int) -> int:
    """Give the Jacobi symbol (a/n) of an odd n: for a prime, 1 exactly if `a` is a square other than 0.

    By quadratic reciprocity, three times as fast as Euler's criterion, which raises to a power. Source:
    H. Cohen, A Course in Computational Algebraic Number Theory, algorithm 1.4.10. Keys are public, so
    that its time may tell of them.
    """
    symbol = 1
    while a:
        twos = (a & -a).bit_length() - 1
        a >>= twos
        if twos & 1 and n & 7 in (3, 5):
            symbol = -symbol
        if a & n & 3 == 3:
            symbol = -symbol
        a, n = n % a, a
    return symbol if n == 1 else 0


def _weak(raw: bytes, reason: str) -> Malformed:
    return Malformed(
        f"An Ed25519 public key was refused: {reason}.",
        code="malformed-key",
        subject=raw[:PUBLIC_BYTES].hex(),
        hint="Ask its owner for the key again: mvault identity show prints it.",
    )
