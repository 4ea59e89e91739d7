"""Threads and I/O around core/age: seal a file into a store, open it again, check its ciphertext.

Every thread takes a whole unit of 1 MiB through all its steps, the caller being one of them, and
enters an ordered section for the digest over the whole and for the write. SHA-256, not the cipher,
is what takes the time, and `hashlib` and `cryptography` release the interpreter lock.
"""

import hashlib
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final, cast

from vault import errors
from vault.core import age, ciphertext_tree, limits
from vault.ports import Progress, Sink, Source, no_progress
from vault.sealing_feed import Reader, SourceFeed, StreamFeed, check_sizes, read_exactly
from vault.sealing_threads import Crew

_MAPPED_FROM: Final = 4 * limits.MIB


@dataclass(frozen=True, slots=True)
class Sealed:
    """Describe a payload that was written: sizes in bytes, the plaintext's SHA-256, the tree.

    `unit_digests` are 32 bytes each, as the `.units` object stores them.
    """

    plain_size: int
    cipher_size: int
    sha256: bytes
    root: bytes
    unit_digests: bytes


def seal(
    reader: Reader | Source,
    sink: Sink,
    *,
    file_key: bytes,
    nonce: bytes,
    size: int | None = None,
    threads: int | None = None,
    progress: Progress = no_progress,
    what: str = "",
) -> Sealed:
    """Seal everything in `reader` and write the payload to `sink`, in order.

    A `Source` is read by all threads at once, a stream by one after the other. `size`, where it
    is known, is checked. The sink must be done with each buffer when its `write` returns.

    Raises:
        ValueError: the input is shorter or longer than `size` or than the source said, so that
            somebody changed it meanwhile; or it is larger than any file may be.
        Exception: whatever `reader`, `sink` or `progress` raises; every thread has then ended.
    """
    source = cast("Source", reader) if hasattr(reader, "read_into") else None
    known = size if source is None else source.size
    if size is not None and size != known:
        raise ValueError(f"the input has {known} bytes, not {size}")
    crew = Crew(threads, None if known is None else age.unit_count(age.cipher_size(known)))
    feed = StreamFeed(cast("Reader", reader), size, crew.turns()) if source is None else SourceFeed(source)
    task = _Sealing(crew, feed, sink, file_key, nonce, known, progress, what)
    crew.run(task.work)
    return task.result()


def unseal(
    source: Source,
    sink: Sink,
    *,
    file_key: bytes,
    cipher_size: int,
    plain_size: int,
    threads: int | None = None,
    progress: Progress = no_progress,
    what: str = "",
) -> bytes:
    """Open the payload in `source`, write its plaintext to `sink` in order; return its SHA-256.

    The sink must keep what it is given to itself until this has returned and the caller has
    compared the digest: only then is it known that the payload had its end.

    Raises:
        DigestMismatch: the payload is not of these sizes (`size-mismatch`), or does not
            authenticate (`decrypt-failed`).
        Exception: whatever `source`, `sink` or `progress` raises; every thread has then ended.
    """
    check_sizes(source, cipher_size, plain_size)
    crew = Crew(threads, age.unit_count(cipher_size))
    task = _Unsealing(crew, source, plain_size, file_key, progress, what)
    buffers = [memoryview(bytearray(min(plain_size, limits.UNIT_PLAIN))) for _ in range(crew.threads)]
    crew.run(lambda index: task.work(index, lambda _: buffers[index], sink.write))
    return task.digest.digest()


def unseal_bytes(
    source: Source,
    *,
    file_key: bytes,
    cipher_size: int,
    plain_size: int,
    threads: int | None = None,
    progress: Progress = no_progress,
    what: str = "",
) -> tuple[memoryview, bytes]:
    """Open the payload in `source` in memory; return its plaintext, read-only, and its SHA-256.

    Raises:
        DigestMismatch: the payload is not of these sizes (`size-mismatch`), or does not
            authenticate (`decrypt-failed`).
        Malformed: the plaintext does not fit into memory (`too-large`).
        Exception: whatever `source` or `progress` raises; every thread has then ended.
    """
    check_sizes(source, cipher_size, plain_size)
    crew = Crew(threads, age.unit_count(cipher_size))
    task = _Unsealing(crew, source, plain_size, file_key, progress, what)
    result = _allocate(plain_size)

    def place(unit: int) -> memoryview:
        return result[unit * limits.UNIT_PLAIN : (unit + 1) * limits.UNIT_PLAIN]

    try:
        crew.run(lambda index: task.work(index, place, lambda _: None))
    except BaseException:
        for start in range(0, plain_size, limits.UNIT_PLAIN):
            part = result[start : start + limits.UNIT_PLAIN]
            part[:] = bytes(len(part))
        raise
    return result.toreadonly(), task.digest.digest()


def scrub(
    source: Source,
    *,
    cipher_size: int,
    root: bytes,
    threads: int | None = None,
    progress: Progress = no_progress,
    what: str = "",
) -> None:
    """Check a stored payload against the root of its ciphertext tree; needs no key.

    Raises:
        DigestMismatch: it has another size (`size-mismatch`) or other content (`digest-mismatch`).
        Exception: whatever `source` or `progress` raises; every thread has then ended.
    """
    units = age.unit_count(cipher_size)
    check_sizes(source, cipher_size, age.plain_size(cipher_size))
    crew = Crew(threads, units)
    turns = crew.turns()
    digests = bytearray()

    def work(index: int) -> None:
        buffer = _unit_buffer(cipher_size)
        for unit in range(index, units, crew.threads):
            start = age.unit_start(unit)
            part = buffer[: min(age.unit_start(unit + 1), cipher_size) - start]
            read_exactly(source, start, part)
            digest = hashlib.sha256(part).digest()
            turns.enter(unit)
            digests.extend(digest)
            progress(start + len(part), cipher_size, what)
            turns.leave(unit)

    crew.run(work)
    ciphertext_tree.check_root(cipher_size, bytes(digests), root)


class _Sealing:
    """One payload on its way into a sink."""

    def __init__(
        self,
        crew: Crew,
        feed: SourceFeed | StreamFeed,
        sink: Sink,
        file_key: bytes,
        nonce: bytes,
        size: int | None,
        progress: Progress,
        what: str,
    ) -> None:
        self._step = crew.threads
        self._feed = feed
        self._sink = sink
        self._file_key = file_key
        self._nonce = nonce
        self._size = size
        self._report = progress
        self._what = what
        self._digesting, self._writing = crew.turns(), crew.turns()
        self._digest = hashlib.sha256()
        self._unit_digests = bytearray()
        self._plain_size = 0
        age.payload_cipher(file_key, nonce)  # refuses a wrong key here, not in a thread

    def work(self, index: int) -> None:
        """Take the units index, index + threads, … through all their steps."""
        room = limits.UNIT_PLAIN if self._size is None else min(self._size, limits.UNIT_PLAIN)
        plain = memoryview(bytearray(room))
        buffer = memoryview(bytearray(age.cipher_size(room)))
        buffer[: limits.AGE_NONCE] = self._nonce
        sealed = buffer[limits.AGE_NONCE :]
        cipher = age.payload_cipher(self._file_key, self._nonce)
        for unit in count(index, self._step):
            got = self._feed.read(unit, plain)
            if got is None:
                return
            size, last = got
            part = plain[:size]
            self._digesting.enter(unit)
            self._digest.update(part)
            self._digesting.leave(unit)
            written = age.seal_unit(cipher, unit, part, sealed, last=last)
            stored = sealed[:written] if unit else buffer[: limits.AGE_NONCE + written]
            digest = hashlib.sha256(stored).digest()
            self._writing.enter(unit)
            self._sink.write(stored)
            self._unit_digests += digest
            self._plain_size += size
            self._report(self._plain_size, self._size or 0, self._what)
            self._writing.leave(unit)
            if last:
                return

    def result(self) -> Sealed:
        """Return what was written."""
        cipher_size = age.cipher_size(self._plain_size)
        digests = bytes(self._unit_digests)
        root = ciphertext_tree.root(cipher_size, digests)
        return Sealed(self._plain_size, cipher_size, self._digest.digest(), root, digests)


class _Unsealing:
    """One payload on its way out of a source."""

    def __init__(
        self, crew: Crew, source: Source, plain_size: int, file_key: bytes, progress: Progress, what: str
    ) -> None:
        self._step = crew.threads
        self._source = source
        self._plain_size = plain_size
        self._cipher_size = age.cipher_size(plain_size)
        self._file_key = file_key
        self._report = progress
        self._what = what
        self._digesting, self._writing = crew.turns(), crew.turns()
        self.digest = hashlib.sha256()
        self._first = _unit_buffer(self._cipher_size)
        read_exactly(source, 0, self._first)
        self._nonce = bytes(self._first[: limits.AGE_NONCE])
        age.payload_cipher(file_key, self._nonce)  # refuses a wrong key here, not in a thread

    def work(
        self, index: int, place: Callable[[int], memoryview], release: Callable[[memoryview], None]
    ) -> None:
        """Take the units index, index + threads, … through all their steps."""
        buffer = self._first if index == 0 else _unit_buffer(self._cipher_size)
        cipher = age.payload_cipher(self._file_key, self._nonce)
        for unit, end in self._units(index):
            sealed = buffer[limits.AGE_NONCE :][: end - max(age.unit_start(unit), limits.AGE_NONCE)]
            if unit:
                read_exactly(self._source, age.unit_start(unit), sealed)
            out = place(unit)
            last = end == self._cipher_size
            plain = out[: age.open_chunks(cipher, unit * limits.UNIT_CHUNKS, sealed, out, last=last)]
            self._digesting.enter(unit)
            self.digest.update(plain)
            self._digesting.leave(unit)
            self._writing.enter(unit)
            release(plain)
            done = min((unit + 1) * limits.UNIT_PLAIN, self._plain_size)
            self._report(done, self._plain_size, self._what)
            self._writing.leave(unit)

    def _units(self, index: int) -> Iterator[tuple[int, int]]:
        """Yield each unit of this thread with the offset of its end."""
        for unit in range(index, age.unit_count(self._cipher_size), self._step):
            yield unit, min(age.unit_start(unit + 1), self._cipher_size)


def _unit_buffer(cipher_size: int) -> memoryview:
    return memoryview(bytearray(min(cipher_size, age.unit_start(1))))


def _allocate(size: int) -> memoryview:
    """Return zeroed memory; large pieces come from the system, so that the threads touch them first."""
    try:
        if size < _MAPPED_FROM:
            return memoryview(bytearray(size))
        return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    except (MemoryError, OSError, OverflowError):
        raise errors.Malformed(
            f"A file of {size} bytes does not fit into this machine's memory.",
            code="too-large",
            hint="Pull it to a disk instead, or load it on a larger machine.",
        ) from None
