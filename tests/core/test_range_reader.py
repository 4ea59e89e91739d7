"""Ranges: what is returned was signed for, and a cut file is noticed before its length is believed."""

import hashlib
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.payload_parts import (
    FILE_KEY,
    MIB,
    NONCE,
    PAYLOAD,
    PLAIN,
    SEALED,
    BytesSource,
    Countdown,
    sealed,
)
from vault.core import age, ciphertext_tree
from vault.errors import DigestMismatch, Refused
from vault.ports import Buffer
from vault.range_reader import RangeReader


def reader(
    payload: Buffer = PAYLOAD,
    units: bytes | None = SEALED.unit_digests,
    *,
    cipher_size: int = len(PAYLOAD),
    root: bytes = SEALED.root,
    file_key: bytes = FILE_KEY,
) -> RangeReader:
    return RangeReader(BytesSource(payload), units, file_key=file_key, cipher_size=cipher_size, root=root)


READER = reader()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(PLAIN) + 10), st.integers(0, 3 * MIB))
def test_any_range_is_the_plaintexts(offset: int, length: int) -> None:
    assert READER.size == len(PLAIN)
    assert READER.read(offset, length) == PLAIN[offset : offset + length]


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, MIB, MIB + 1, 2 * MIB])
@pytest.mark.parametrize("stored_units", [True, False])
def test_every_size_is_read_from_its_edges(size: int, stored_units: bool) -> None:
    payload, result = sealed(PLAIN[:size])
    units = result.unit_digests if stored_units or size > MIB else None
    ranges = reader(payload, units, cipher_size=len(payload), root=result.root)
    assert ranges.size == size
    for offset in (0, size - 1, size, size + 1):
        for length in (0, 1, size, size + 1):
            if offset >= 0:
                assert ranges.read(offset, length) == PLAIN[:size][offset : offset + length]


def test_only_the_units_of_the_range_are_read() -> None:
    reads = Countdown()
    source = BytesSource(PAYLOAD, reads)
    ranges = RangeReader(
        source, SEALED.unit_digests, file_key=FILE_KEY, cipher_size=len(PAYLOAD), root=SEALED.root
    )
    opening = reads.calls
    assert opening <= 2
    ranges.read(MIB + 5, 100)
    ranges.read(MIB + 500, 100)
    assert reads.calls == opening + 1


def test_negative_ranges_are_the_callers_mistake() -> None:
    for offset, length in ((-1, 1), (0, -1)):
        with pytest.raises(ValueError, match="negative"):
            READER.read(offset, length)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, len(PAYLOAD) - 1))
def test_a_truncated_payload_is_refused_when_it_is_opened(length: int) -> None:
    with pytest.raises(DigestMismatch) as caught:
        reader(PAYLOAD[:length])
    assert caught.value.code == "size-mismatch"
    with pytest.raises(Refused):
        reader(PAYLOAD[:length], cipher_size=length)


def test_a_payload_cut_at_a_chunk_is_refused_even_where_a_root_was_made_for_it() -> None:
    for kept in (1, 15, 16, 17, 32):
        cut = PAYLOAD[: 16 + kept * 65_552]
        starts = [age.unit_start(unit) for unit in range(age.unit_count(len(cut)) + 1)]
        units = b"".join(hashlib.sha256(cut[start:end]).digest() for start, end in pairwise(starts))
        root = ciphertext_tree.root(len(cut), units)
        with pytest.raises(DigestMismatch) as caught:
            reader(cut, units, cipher_size=len(cut), root=root)
        assert caught.value.code == "decrypt-failed"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 8 * len(PAYLOAD) - 1))
def test_a_flipped_bit_is_refused_when_its_unit_is_read(bit: int) -> None:
    damaged = bytearray(PAYLOAD)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DigestMismatch):
        reader(damaged).read(0, len(PLAIN))


def test_a_unit_of_an_earlier_sealing_under_the_same_key_and_nonce_is_refused() -> None:
    other, _ = sealed(PLAIN[::-1])
    mixed = (
        PAYLOAD[: age.unit_start(2)]
        + other[age.unit_start(2) : age.unit_start(3)]
        + PAYLOAD[age.unit_start(3) :]
    )
    ranges = reader(mixed)
    assert ranges.read(0, 2 * MIB) == PLAIN[: 2 * MIB]
    with pytest.raises(DigestMismatch) as caught:
        ranges.read(2 * MIB, 1)
    assert caught.value.code == "digest-mismatch"


@pytest.mark.parametrize(
    "units", [None, b"", SEALED.unit_digests[:-32], SEALED.unit_digests + bytes(32), bytes(6 * 32)]
)
def test_unit_digests_that_do_not_give_the_root_are_refused(units: bytes | None) -> None:
    with pytest.raises(DigestMismatch):
        reader(units=units)


def test_another_root_or_another_key_is_refused() -> None:
    with pytest.raises(DigestMismatch) as caught:
        reader(root=bytes(32))
    assert caught.value.code == "digest-mismatch"
    with pytest.raises(DigestMismatch) as caught:
        reader(file_key=NONCE)
    assert caught.value.code == "decrypt-failed"


def test_threads_may_share_a_reader() -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        for step in range(30):
            offset = (seed * 7919 + step * 104_729) % len(PLAIN)
            if READER.read(offset, 5000) != PLAIN[offset : offset + 5000]:
                wrong.append(offset)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_kept_unit_cannot_be_changed_by_who_reads() -> None:
    got = READER.read(0, 10)
    assert isinstance(got, bytes)
    assert READER.read(0, 10) == got == PLAIN[:10]
