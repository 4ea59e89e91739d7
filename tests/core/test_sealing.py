"""Sealing and unsealing: every size, every kind of input, and every kind of damage."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

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
    BytesSink,
    BytesSource,
    Countdown,
    Stream,
    sealed,
)
from vault import sealing
from vault.core import age, ciphertext_tree, limits
from vault.errors import DigestMismatch, Malformed, Refused
from vault.ports import Buffer

SIZES = [0, 1, 65_535, 65_536, 65_537, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 77]


def unseal_both(payload: Buffer, plain_size: int, threads: int | None = None) -> bytes:
    """Open a payload into a sink and in memory; both must agree on what comes out or on the refusal."""
    sink, source = BytesSink(), BytesSource(payload)
    sizes = (len(payload), plain_size)
    to_sink = refusal_or(lambda: unsealed_to(sink, source, *sizes, threads))
    in_memory = refusal_or(lambda: unsealed_in_memory(source, *sizes, threads))
    if isinstance(in_memory, Refused):
        assert isinstance(to_sink, Refused)
        assert (type(to_sink), to_sink.code) == (type(in_memory), in_memory.code)
        raise in_memory
    assert in_memory == to_sink
    digest, plain = in_memory
    assert digest == hashlib.sha256(plain).digest()
    return plain


def unsealed_to(
    sink: BytesSink, source: BytesSource, cipher_size: int, plain_size: int, threads: int | None
) -> tuple[bytes, bytes]:
    digest = sealing.unseal(
        source, sink, file_key=FILE_KEY, cipher_size=cipher_size, plain_size=plain_size, threads=threads
    )
    return digest, bytes(sink.data)


def unsealed_in_memory(
    source: BytesSource, cipher_size: int, plain_size: int, threads: int | None
) -> tuple[bytes, bytes]:
    plain, digest = sealing.unseal_bytes(
        source, file_key=FILE_KEY, cipher_size=cipher_size, plain_size=plain_size, threads=threads
    )
    return digest, bytes(plain)


def refusal_or(call: Callable[[], tuple[bytes, bytes]]) -> tuple[bytes, bytes] | Refused:
    try:
        return call()
    except Refused as refusal:
        return refusal


@pytest.mark.parametrize("threads", [None, 1, 2, 3, 7])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_opens_whatever_the_size_and_the_threads(size: int, threads: int | None) -> None:
    plain = PLAIN[:size]
    payload, result = sealed(plain, threads)
    assert payload == age.seal_payload(FILE_KEY, NONCE, plain)
    units = [
        payload[age.unit_start(unit) : age.unit_start(unit + 1)]
        for unit in range(age.unit_count(len(payload)))
    ]
    assert b"".join(units) == payload
    digests = b"".join(hashlib.sha256(unit).digest() for unit in units)
    root = ciphertext_tree.root(len(payload), digests)
    assert result == sealing.Sealed(size, len(payload), hashlib.sha256(plain).digest(), root, digests)
    assert unseal_both(payload, size, threads) == plain
    sealing.scrub(BytesSource(payload), cipher_size=len(payload), root=root, threads=threads)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_stream_is_sealed_as_the_same_bytes(size: int, known: bool) -> None:
    for pieces in (1 << 30, 1_000_003, 70_001):
        sink = BytesSink()
        stream = Stream(PLAIN[:size], pieces)
        result = sealing.seal(
            stream, sink, file_key=FILE_KEY, nonce=NONCE, size=size if known else None, threads=3
        )
        assert (bytes(sink.data), result) == sealed(PLAIN[:size])


def test_a_pipe_and_a_file_are_sealed(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(PLAIN)
    with path.open("rb") as buffered, path.open("rb", buffering=0) as unbuffered:
        for file in (buffered, unbuffered):
            sink = BytesSink()
            assert sealing.seal(file, sink, file_key=FILE_KEY, nonce=NONCE) == SEALED
            assert sink.data == PAYLOAD
    read_end, write_end = os.pipe()

    def feed() -> None:
        with open(write_end, "wb") as file:
            file.write(PLAIN)

    writer = threading.Thread(target=feed)
    writer.start()
    with open(read_end, "rb", buffering=0) as reader:
        assert sealing.seal(reader, BytesSink(), file_key=FILE_KEY, nonce=NONCE) == SEALED
    writer.join()


@pytest.mark.parametrize(
    ("size", "difference"),
    [
        (size, difference)
        for size in (0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB)
        for difference in (-MIB, -1, 1, MIB)
        if size + difference >= 0
    ],
)
def test_a_stream_of_another_length_than_promised_is_a_mistake(size: int, difference: int) -> None:
    stream = Stream(PLAIN[: size + difference])
    with pytest.raises(ValueError, match=f"the {size} bytes"):
        sealing.seal(stream, BytesSink(), file_key=FILE_KEY, nonce=NONCE, size=size)


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_source_that_changes_while_it_is_read_is_noticed(difference: int) -> None:
    class Changed(BytesSource):
        @property
        def size(self) -> int:
            return len(self.data) - difference

    with pytest.raises(ValueError, match="no longer"):
        sealing.seal(Changed(PLAIN), BytesSink(), file_key=FILE_KEY, nonce=NONCE)
    with pytest.raises(ValueError, match="not 3"):
        sealing.seal(BytesSource(PLAIN), BytesSink(), file_key=FILE_KEY, nonce=NONCE, size=3)


def test_a_stream_that_would_block_is_a_mistake() -> None:
    class Blocking:
        def readinto(self, buffer: memoryview, /) -> int | None:
            return None

    with pytest.raises(ValueError, match="non-blocking"):
        sealing.seal(Blocking(), BytesSink(), file_key=FILE_KEY, nonce=NONCE)


def test_keys_and_nonces_have_one_length_and_threads_are_at_least_one() -> None:
    source = BytesSource(PAYLOAD)
    for call in (
        lambda: sealing.seal(BytesSource(b""), BytesSink(), file_key=b"short", nonce=NONCE),
        lambda: sealing.seal(BytesSource(b""), BytesSink(), file_key=FILE_KEY, nonce=b"short"),
        lambda: sealing.seal(BytesSource(b""), BytesSink(), file_key=FILE_KEY, nonce=NONCE, threads=0),
        lambda: sealing.unseal_bytes(
            source, file_key=b"short", cipher_size=len(PAYLOAD), plain_size=len(PLAIN)
        ),
    ):
        with pytest.raises(ValueError, match=r"16 bytes|one thread"):
            call()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 8 * len(PAYLOAD) - 1), st.sampled_from([1, 2]))
def test_a_flipped_bit_is_refused_by_the_reader_and_by_the_scrub(bit: int, threads: int) -> None:
    damaged = bytearray(PAYLOAD)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DigestMismatch) as caught:
        unseal_both(damaged, len(PLAIN), threads)
    assert caught.value.code == "decrypt-failed"
    with pytest.raises(DigestMismatch) as caught:
        sealing.scrub(BytesSource(damaged), cipher_size=len(PAYLOAD), root=SEALED.root, threads=threads)
    assert caught.value.code == "digest-mismatch"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(PAYLOAD) - 1))
def test_a_truncated_payload_is_refused_under_its_own_and_under_the_signed_size(length: int) -> None:
    with pytest.raises(DigestMismatch) as caught:
        sealing.unseal_bytes(
            BytesSource(PAYLOAD[:length]), file_key=FILE_KEY, cipher_size=len(PAYLOAD), plain_size=len(PLAIN)
        )
    assert caught.value.code == "size-mismatch"
    try:
        plain_size = age.plain_size(length)
    except Refused:
        plain_size = length
    with pytest.raises(Refused):
        unseal_both(PAYLOAD[:length], plain_size)


def test_an_extended_or_reordered_payload_is_refused() -> None:
    unit = limits.UNIT_CIPHER
    body = PAYLOAD[16:]
    damaged = {
        "extended": PAYLOAD + bytes(1),
        "by a chunk": PAYLOAD + body[:65_552],
        "units swapped": PAYLOAD[:16] + body[unit : 2 * unit] + body[:unit] + body[2 * unit :],
        "unit repeated": PAYLOAD[:16] + body[:unit] + body[:unit] + body[2 * unit :],
        "unit dropped": PAYLOAD[:16] + body[unit:],
        "last unit dropped": PAYLOAD[: 16 + 5 * unit],
    }
    for payload in damaged.values():
        with pytest.raises(Refused):
            unseal_both(payload, age.plain_size(len(payload)))
        with pytest.raises(DigestMismatch):
            sealing.scrub(BytesSource(payload), cipher_size=len(payload), root=SEALED.root)


def test_sizes_that_do_not_belong_together_are_refused_before_anything_is_read() -> None:
    read = Countdown()
    for cipher_size, plain_size in ((len(PAYLOAD), len(PLAIN) - 1), (len(PAYLOAD) + 1, len(PLAIN) + 1)):
        with pytest.raises(DigestMismatch) as caught:
            sealing.unseal_bytes(
                BytesSource(PAYLOAD, read), file_key=FILE_KEY, cipher_size=cipher_size, plain_size=plain_size
            )
        assert caught.value.code == "size-mismatch"
    assert read.calls == 0


def test_a_source_that_ends_early_is_refused() -> None:
    class Lying(BytesSource):
        @property
        def size(self) -> int:
            return len(PAYLOAD)

    with pytest.raises(DigestMismatch) as caught:
        sealing.unseal_bytes(
            Lying(PAYLOAD[:-1]), file_key=FILE_KEY, cipher_size=len(PAYLOAD), plain_size=len(PLAIN)
        )
    assert caught.value.code == "size-mismatch"


def test_the_plaintext_in_memory_is_read_only_and_wiped_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, _ = sealing.unseal_bytes(
        BytesSource(PAYLOAD), file_key=FILE_KEY, cipher_size=len(PAYLOAD), plain_size=len(PLAIN)
    )
    assert plain.readonly
    assert plain == PLAIN
    kept: list[memoryview] = []

    def allocate(size: int) -> memoryview:
        kept.append(memoryview(bytearray(size)))
        return kept[0]

    monkeypatch.setattr(sealing, "_allocate", allocate)
    with pytest.raises(DigestMismatch):
        sealing.unseal_bytes(
            BytesSource(PAYLOAD[:-1] + b"\x00"),
            file_key=FILE_KEY,
            cipher_size=len(PAYLOAD),
            plain_size=len(PLAIN),
        )
    assert kept[0] == bytes(len(PLAIN))


def test_a_plaintext_larger_than_the_memory_is_refused() -> None:
    size = 1 << 49

    class Endless(BytesSource):
        @property
        def size(self) -> int:
            return age.cipher_size(size)

    with pytest.raises(Malformed) as caught:
        sealing.unseal_bytes(
            Endless(PAYLOAD), file_key=FILE_KEY, cipher_size=age.cipher_size(size), plain_size=size
        )
    assert caught.value.code == "too-large"
