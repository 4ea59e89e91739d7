"""Ed25519 public keys: what is parsed, what is refused, and what a signature is."""

import hashlib
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.core import ed25519
from vault.errors import Malformed, Refused

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
RAW = PRIVATE.public_key().public_bytes_raw()


def test_a_key_id_is_the_sha256_of_the_raw_key() -> None:
    assert ed25519.key_id(RAW) == hashlib.sha256(RAW).hexdigest()
    assert ed25519.PublicKey.parse(RAW).key_id == ed25519.key_id(RAW)


def test_keys_are_equal_by_their_bytes() -> None:
    assert ed25519.PublicKey.parse(RAW) == ed25519.PublicKey.parse(bytes(bytearray(RAW)))
    assert len({ed25519.PublicKey.parse(RAW), ed25519.PublicKey.parse(RAW)}) == 1


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64, 1_000_000])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(Malformed) as refusal:
        ed25519.PublicKey.parse(bytes(size))
    assert refusal.value.code == "malformed-key"
    assert len(refusal.value.subject) <= 64


def test_a_weak_key_is_refused_again_although_keys_are_cached() -> None:
    for _ in range(2):
        with pytest.raises(Refused):
            ed25519.verify(bytes(32), bytes(64), b"")


def test_half_of_all_encodings_are_points_of_the_curve_and_only_they_are_keys() -> None:
    """Compared with Euler's criterion, an independent way to tell squares."""
    prime = 2**255 - 19
    d = -121665 * pow(121666, -1, prime) % prime
    random = Random(25519)
    points = 0
    for _ in range(2_000):
        y = random.randrange(2, prime - 1)
        quotient = (y * y - 1) * pow(d * y * y + 1, -1, prime) % prime
        on_curve = pow(quotient, (prime - 1) // 2, prime) == 1
        points += on_curve
        raw = y.to_bytes(32, "little")
        if on_curve:
            assert ed25519.PublicKey.parse(raw).raw == raw
        else:
            with pytest.raises(Malformed, match="not a point of the curve"):
                ed25519.PublicKey.parse(raw)
    assert 900 < points < 1_100


def test_only_its_own_signature_fits_a_message() -> None:
    signature = PRIVATE.sign(b"message")
    assert ed25519.verify(RAW, signature, b"message")
    assert not ed25519.verify(RAW, signature, b"massage")
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert not ed25519.verify(RAW, other.sign(b"message"), b"message")


def test_every_flipped_bit_of_a_signature_is_noticed() -> None:
    signature = PRIVATE.sign(b"message")
    for bit in range(512):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        assert not ed25519.verify(RAW, bytes(altered), b"message")


@pytest.mark.parametrize("size", [0, 32, 63, 65, 128])
def test_a_signature_of_another_length_is_none(size: int) -> None:
    signature = (PRIVATE.sign(b"message") * 2)[:size]
    assert not ed25519.verify(RAW, signature, b"message")


def test_what_verified_once_is_no_excuse_for_anything_else() -> None:
    """Signatures that verified are remembered, by the key and by every byte."""
    first, second = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    key = ed25519.PublicKey.parse(first.public_key().public_bytes_raw())
    other = ed25519.PublicKey.parse(second.public_key().public_bytes_raw())
    message = b"a message"
    signature = first.sign(message)
    for _ in range(2):
        assert key.verify(signature, message)
        assert not other.verify(signature, message)
        assert not key.verify(signature, message + b"\0")
        assert not key.verify(signature, message[:-1])
        assert not key.verify(second.sign(message), message)
        assert not key.verify(signature[:-1], message)
        assert not key.verify(signature[:-1], signature[-1:] + message)


def test_no_more_signatures_are_remembered_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ed25519, "_CACHED_SIGNATURES", 3)
    private = Ed25519PrivateKey.generate()
    key = ed25519.PublicKey.parse(private.public_key().public_bytes_raw())
    for number in range(10):
        message = bytes([number])
        assert key.verify(private.sign(message), message)
        assert len(ed25519._verified) <= 3 or number == 0
