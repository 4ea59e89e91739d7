"""ECDSA keys, for formats that know no Ed25519: verify with them, and the one that an identity has.

An identity's P-256 key is derived from its seed (docs/format.md, "OMS bundle"), so no file holds it and
no policy names it. It never authorises anything in a vault.
"""

from dataclasses import dataclass, field
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vault.core import public_keys
from vault.core.public_keys import P256, P384, P521, PublicKey

DERIVATION: Final = b"mvault compatibility key, ECDSA P-256, v1"
DERIVED_BYTES: Final = 48  # 128 bits more than the order has: FIPS 186-5, A.2.1

_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CURVES: Final[dict[str, tuple[ec.EllipticCurve, HashAlgorithm]]] = {
    P256: (ec.SECP256R1(), SHA256()),
    P384: (ec.SECP384R1(), SHA384()),
    P521: (ec.SECP521R1(), SHA512()),
}


@dataclass(frozen=True, slots=True)
class CompatibilityKey:
    """The P-256 key of an identity; it shows no secret when printed."""

    public: PublicKey
    _private: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    def sign(self, message: bytes) -> bytes:
        """Return the ECDSA signature of `message` with SHA-256, in DER; deterministic as RFC 6979 has it."""
        return self._private.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied to a file or another process by accident."""
        raise TypeError("A derived key is not serialised; derive it again")


def from_secret(secret: bytes) -> CompatibilityKey:
    """Make the key from 48 secret bytes: their number modulo the order less one, plus one.

    Raises:
        ValueError: there are not 48.
    """
    if len(secret) != DERIVED_BYTES:
        raise ValueError(f"{DERIVED_BYTES} secret bytes make a key.")
    private = ec.derive_private_key(int.from_bytes(secret, "big") % (_ORDER - 1) + 1, ec.SECP256R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return CompatibilityKey(PublicKey(P256, point), private)


def check(key: PublicKey, subject: str) -> None:
    """See that the point of an ECDSA key lies on its curve.

    Raises:
        Malformed: `malformed-key`.
    """
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[key.kind][0], key.raw)
    except ValueError:
        raise public_keys.bad(subject, "its point is not on its curve") from None


def verify(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Tell whether `signature` (DER) is this key's over `message`, with the hash that fits the curve.

    P-256 with SHA-256, P-384 with SHA-384, P-521 with SHA-512, as OMS has it.
    """
    curve, algorithm = _CURVES[key.kind]
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(curve, key.raw)
        public.verify(signature, message, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError):
        return False
    return True
