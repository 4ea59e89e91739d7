"""The ciphertext tree: one digest over a payload's units, so that a range can be checked alone.

root = SHA-256("mvault/v1/ciphertext-tree" ‖ 0x00 ‖ size as 8 bytes big-endian ‖ unit digests),
where a unit digest is the SHA-256 of one unit of the stored payload (docs/format.md, "Payload").
"""

import hashlib
import hmac
from typing import Final

from vault import errors
from vault.core import age

DIGEST_BYTES: Final = 32
_DOMAIN: Final = b"mvault/v1/ciphertext-tree\x00"


def root(cipher_size: int, unit_digests: bytes) -> bytes:
    """Return the 32-byte root over a payload of `cipher_size` bytes with these unit digests.

    Raises:
        ValueError: the digests are not those of so many units.
    """
    if len(unit_digests) != units_size(cipher_size):
        raise ValueError(f"{len(unit_digests)} bytes are not the unit digests of {cipher_size} bytes")
    return hashlib.sha256(_DOMAIN + cipher_size.to_bytes(8, "big") + unit_digests).digest()


def units_size(cipher_size: int) -> int:
    """Return the size in bytes of the `.units` object of a payload of `cipher_size` bytes.

    Raises:
        Refused: no payload has that size (see `age.plain_size`).
    """
    return DIGEST_BYTES * age.unit_count(cipher_size)


def parse_units(data: bytes, *, cipher_size: int, expected_root: bytes) -> bytes:
    """Return `data` as the unit digests of a payload, once they give its root.

    Raises:
        DigestMismatch: there are too many or too few (`size-mismatch`), or they give another
            root (`digest-mismatch`).
    """
    wanted = units_size(cipher_size)
    if len(data) != wanted:
        raise errors.DigestMismatch(
            f"The list of unit digests has {len(data)} bytes, but this payload needs {wanted}.",
            code="size-mismatch",
            hint="Restore it from a copy of the vault.",
        )
    check_root(cipher_size, data, expected_root)
    return data


def check_root(cipher_size: int, unit_digests: bytes, expected_root: bytes) -> None:
    """Check that the unit digests of a payload give the root that was signed for it.

    Raises:
        DigestMismatch: they give another one (`digest-mismatch`).
    """
    if not hmac.compare_digest(root(cipher_size, unit_digests), expected_root):
        raise errors.DigestMismatch(
            "The stored ciphertext is not the one that was signed for: it was altered or replaced.",
            hint="Restore it from a copy of the vault.",
        )
