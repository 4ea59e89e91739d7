"""The ciphertext tree commits to the size, the order and the content of a payload's units."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.core import age, ciphertext_tree
from vault.errors import DigestMismatch, Refused

THREE_UNITS = age.cipher_size(2 * (1 << 20) + 5)
DIGESTS = b"".join(hashlib.sha256(bytes([unit])).digest() for unit in range(3))


def test_the_root_is_the_hash_that_the_format_names() -> None:
    expected = hashlib.sha256(
        b"mvault/v1/ciphertext-tree" + b"\x00" + THREE_UNITS.to_bytes(8, "big") + DIGESTS
    ).digest()
    assert ciphertext_tree.root(THREE_UNITS, DIGESTS) == expected
    assert ciphertext_tree.units_size(THREE_UNITS) == 96


def test_stored_digests_that_give_the_root_are_returned() -> None:
    root = ciphertext_tree.root(THREE_UNITS, DIGESTS)
    assert ciphertext_tree.parse_units(DIGESTS, cipher_size=THREE_UNITS, expected_root=root) == DIGESTS


@given(st.integers(0, 96 * 8 - 1))
def test_any_flipped_bit_of_the_stored_digests_is_refused(bit: int) -> None:
    root = ciphertext_tree.root(THREE_UNITS, DIGESTS)
    flipped = bytearray(DIGESTS)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DigestMismatch) as caught:
        ciphertext_tree.parse_units(bytes(flipped), cipher_size=THREE_UNITS, expected_root=root)
    assert caught.value.code == "digest-mismatch"


@pytest.mark.parametrize("length", [0, 1, 64, 95, 97, 128])
def test_too_many_or_too_few_stored_digests_are_refused(length: int) -> None:
    root = ciphertext_tree.root(THREE_UNITS, DIGESTS)
    with pytest.raises(DigestMismatch) as caught:
        ciphertext_tree.parse_units(bytes(length), cipher_size=THREE_UNITS, expected_root=root)
    assert caught.value.code == "size-mismatch"


def test_another_size_or_another_order_gives_another_root() -> None:
    root = ciphertext_tree.root(THREE_UNITS, DIGESTS)
    swapped = DIGESTS[32:64] + DIGESTS[:32] + DIGESTS[64:]
    for size, digests in ((THREE_UNITS + 1, DIGESTS), (THREE_UNITS, swapped)):
        with pytest.raises(DigestMismatch):
            ciphertext_tree.check_root(size, digests, root)


def test_a_size_that_no_payload_has_is_refused() -> None:
    for size in (0, 15, 16, 31, -1):
        with pytest.raises(Refused):
            ciphertext_tree.units_size(size)


def test_a_wrong_number_of_digests_of_ones_own_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="not the unit digests"):
        ciphertext_tree.root(THREE_UNITS, DIGESTS[:-1])
