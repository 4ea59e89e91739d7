"""Payloads: sizes in both directions, units, and nothing opens that was altered in any way."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.core import age, limits
from vault.errors import DigestMismatch, Malformed, Refused

FILE_KEY = bytes(range(16))
NONCE = bytes(range(100, 116))
CHUNK = limits.AGE_CHUNK
SEALED = CHUNK + limits.AGE_TAG
UNIT = limits.UNIT_PLAIN
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, UNIT - 1, UNIT, UNIT + 1, 2 * UNIT, 2 * UNIT + CHUNK + 5]


def opened(payload: bytes) -> bytes:
    return age.open_payload(FILE_KEY, payload)


@pytest.mark.parametrize("size", SIZES)
def test_a_payload_of_any_size_comes_back_and_has_the_computed_size(size: int) -> None:
    plaintext = os.urandom(size)
    payload = age.seal_payload(FILE_KEY, NONCE, plaintext)
    assert payload[:16] == NONCE
    assert len(payload) == age.cipher_size(size)
    assert age.plain_size(len(payload)) == size
    assert age.unit_count(len(payload)) == max(1, -(-size // UNIT))
    assert opened(payload) == plaintext


@given(st.integers(0, limits.FILE_BYTES))
def test_the_sizes_are_each_others_inverse(size: int) -> None:
    assert age.plain_size(age.cipher_size(size)) == size


def test_sizes_that_no_payload_has_are_refused_and_all_others_are_not() -> None:
    possible = {age.cipher_size(size) for size in [*range(100), *range(CHUNK - 100, CHUNK + 100)]}
    for size in [*range(100), *range(SEALED - 60, SEALED + 60)]:
        if size in possible:
            assert age.cipher_size(age.plain_size(size)) == size
        else:
            with pytest.raises(Refused) as caught:
                age.plain_size(size)
            assert caught.value.code == ("malformed-header" if size < 16 else "decrypt-failed")


def test_sizes_over_the_limit_are_refused() -> None:
    largest = age.cipher_size(limits.FILE_BYTES)
    assert age.plain_size(largest) == limits.FILE_BYTES
    for size in (largest + 17, 1 << 70):
        with pytest.raises(Malformed) as caught:
            age.plain_size(size)
        assert caught.value.code == "too-large"
    for size in (-1, limits.FILE_BYTES + 1):
        with pytest.raises(ValueError, match="cannot be sealed"):
            age.cipher_size(size)


def test_units_start_where_the_format_says() -> None:
    assert [age.unit_start(unit) for unit in range(3)] == [0, 1_048_848, 1_048_848 + 1_048_832]


@pytest.mark.parametrize("size", [0, 1, 300])
def test_every_flipped_bit_of_a_small_payload_is_refused(size: int) -> None:
    payload = age.seal_payload(FILE_KEY, NONCE, bytes(size))
    for bit in range(8 * len(payload)):
        flipped = bytearray(payload)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DigestMismatch) as caught:
            opened(bytes(flipped))
        assert caught.value.code == "decrypt-failed"


def test_every_truncation_and_extension_of_a_small_payload_is_refused() -> None:
    payload = age.seal_payload(FILE_KEY, NONCE, bytes(300))
    for length in range(len(payload)):
        with pytest.raises(Refused):
            opened(payload[:length])
    for more in range(1, 100):
        with pytest.raises(Refused):
            opened(payload + bytes(more))


@pytest.mark.parametrize("chunks", [2, 16, 17, 33])
def test_cutting_at_a_chunk_is_refused(chunks: int) -> None:
    payload = age.seal_payload(FILE_KEY, NONCE, bytes(chunks * CHUNK))
    for kept in range(chunks):
        with pytest.raises(DigestMismatch):
            opened(payload[: 16 + kept * SEALED])


def chunked(payload: bytes) -> list[bytes]:
    return [payload[start : start + SEALED] for start in range(16, len(payload), SEALED)]


@given(st.data())
def test_reordered_repeated_or_dropped_chunks_are_refused(data: st.DataObject) -> None:
    payload = age.seal_payload(FILE_KEY, NONCE, bytes(3 * CHUNK + 7))
    chunks = chunked(payload)
    order = data.draw(
        st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(lambda ids: ids != [0, 1, 2, 3])
    )
    with pytest.raises(DigestMismatch):
        opened(payload[:16] + b"".join(chunks[index] for index in order))


def test_a_chunk_of_another_payload_is_refused_under_the_same_key() -> None:
    one = age.seal_payload(FILE_KEY, NONCE, bytes(2 * CHUNK))
    two = age.seal_payload(FILE_KEY, NONCE[::-1], bytes(2 * CHUNK))
    with pytest.raises(DigestMismatch):
        opened(one[: 16 + SEALED] + two[16 + SEALED :])
    with pytest.raises(DigestMismatch):
        opened(two[:16] + one[16:])


def test_an_empty_last_chunk_after_others_is_refused() -> None:
    cipher = age.payload_cipher(FILE_KEY, NONCE)
    full = cipher.encrypt(bytes(12), bytes(CHUNK), None)
    empty = cipher.encrypt((1 << 8 | 1).to_bytes(12, "big"), b"", None)
    with pytest.raises(DigestMismatch):
        opened(NONCE + full + empty)
    with pytest.raises(DigestMismatch):
        age.open_chunks(cipher, 1, memoryview(empty), memoryview(bytearray(0)), last=True)


def test_a_failure_wipes_all_that_was_opened() -> None:
    cipher = age.payload_cipher(FILE_KEY, NONCE)
    sealed = bytearray(2 * SEALED)
    plain = memoryview(b"s" * (2 * CHUNK))
    with pytest.raises(ValueError, match="not the plaintext"):
        age.seal_unit(cipher, 0, plain, memoryview(sealed), last=False)
    age.seal_unit(cipher, 0, plain, memoryview(sealed), last=True)
    sealed[-1] ^= 1
    out = bytearray(b"." * (2 * CHUNK + 9))
    with pytest.raises(DigestMismatch):
        age.open_chunks(cipher, 0, memoryview(sealed), memoryview(out), last=True)
    assert out == bytes(len(out))


def test_a_full_unit_opens_only_with_the_flag_it_was_sealed_with() -> None:
    cipher = age.payload_cipher(FILE_KEY, NONCE)
    for flag in (True, False):
        sealed, out = bytearray(limits.UNIT_CIPHER), bytearray(UNIT)
        age.seal_unit(cipher, 3, memoryview(bytes(UNIT)), memoryview(sealed), last=flag)
        first = 3 * limits.UNIT_CHUNKS
        assert age.open_chunks(cipher, first, memoryview(sealed), memoryview(out), last=flag) == UNIT
        with pytest.raises(DigestMismatch):
            age.open_chunks(cipher, first, memoryview(sealed), memoryview(out), last=not flag)


def test_buffers_without_room_are_the_callers_mistake() -> None:
    cipher = age.payload_cipher(FILE_KEY, NONCE)
    with pytest.raises(ValueError, match="no room"):
        age.seal_unit(cipher, 0, memoryview(bytes(5)), memoryview(bytearray(20)), last=True)
    with pytest.raises(ValueError, match="not the plaintext"):
        age.seal_unit(cipher, 1, memoryview(b""), memoryview(bytearray(16)), last=True)
    with pytest.raises(ValueError, match="no room"):
        age.open_chunks(cipher, 0, memoryview(bytes(21)), memoryview(bytearray(4)), last=True)
    with pytest.raises(ValueError, match="no room"):
        age.open_chunks(
            cipher, 0, memoryview(bytes(17 * SEALED)), memoryview(bytearray(17 * CHUNK)), last=True
        )


def test_keys_nonces_and_ids_have_one_length() -> None:
    for call in (
        lambda: age.payload_cipher(FILE_KEY[1:], NONCE),
        lambda: age.payload_cipher(FILE_KEY, NONCE[1:]),
        lambda: age.key_check(FILE_KEY, b"short"),
        lambda: age.key_check(b"short", NONCE),
    ):
        with pytest.raises(ValueError, match="16 bytes"):
            call()


def test_the_key_check_commits_to_the_key_and_the_id() -> None:
    check = age.key_check(FILE_KEY, NONCE)
    # HKDF-SHA-256 written out: extract with the id as salt, expand one block.
    import hmac

    prk = hmac.digest(NONCE, FILE_KEY, "sha256")
    assert check == hmac.digest(prk, b"mvault/v1/key-check\x01", "sha256")
    age.check_file_key(FILE_KEY, NONCE, check)
    for key, identifier in ((bytes(16), NONCE), (FILE_KEY, bytes(16))):
        with pytest.raises(DigestMismatch) as caught:
            age.check_file_key(key, identifier, check)
        assert caught.value.code == "key-mismatch"
