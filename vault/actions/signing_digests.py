"""Digest files: one pass over each, on every core, in bounded memory."""

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from vault.actions.signing_content import Content, Read
from vault.core import limits
from vault.core.oms_statement import ALONE, Resource
from vault.errors import Malformed, MissingLibrary
from vault.ports import Progress, no_progress

_BLOCK: Final = 512 * 1024  # fits a core's own cache, so that the digest reads what was just copied
_WORTH_A_THREAD: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Digesting:
    """By what to digest: an algorithm of `oms_statement.HASHES`, and of how many bytes a part is."""

    hash_type: str = "sha256"
    shard_size: int | None = None


@dataclass(slots=True)
class Kept:
    """The bytes of files that a loader will be given: exactly those that were digested."""

    wanted: frozenset[str] | None = None  # None for all
    most: int = limits.LOAD_BYTES
    held: dict[str, memoryview] = field(default_factory=dict)
    _taken: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wants(self, path: str) -> bool:
        """Tell whether a file's bytes are to be kept."""
        return self.wanted is None or path == ALONE or path in self.wanted

    def take(self, path: str, data: bytearray) -> None:
        """Keep a file."""
        with self._lock:
            self.held[path] = memoryview(data).toreadonly()

    def room(self, more: int) -> None:
        """Take room for so many bytes more.

        Raises:
            Malformed: `too-large`.
        """
        with self._lock:
            self._taken += more
            if self._taken > self.most:
                raise Malformed(f"The files have more than {self.most:,} bytes together.", code="too-large")


def digest_all(
    content: Content,
    paths: Iterable[str],
    by: Digesting,
    *,
    keep: Kept | None = None,
    tap: dict[str, bytes] | None = None,
    progress: Progress = no_progress,
    what: str = "hashing",
) -> dict[str, tuple[Resource, ...]]:
    """Digest files; give the resources of each. What was read of each is what its resources say.

    `tap` takes the SHA-256 of each file as well, in the same pass.

    Raises:
        DigestMismatch: a file changed while it was read.
        Unavailable: a file cannot be read.
        MissingLibrary: BLAKE3 is not installed.
    """
    sizes = {path: stamp.size if (stamp := content.files[path]) else 0 for path in paths}
    work = _Work(content, by, keep, tap, progress, sum(sizes.values()), what)
    engine(by.hash_type)
    ordered = sorted(sizes, key=lambda path: -sizes[path])  # the longest first, so that none is left alone
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    others = min(cores, len(ordered)) - 1 if sum(sizes.values()) > _WORTH_A_THREAD else 0
    queue = iter(ordered)
    threads = [threading.Thread(target=work.run, args=(queue,), daemon=True) for _ in range(others)]
    for thread in threads:
        thread.start()
    try:
        work.run(queue)
    except BaseException:
        work.stopped = True
        raise
    finally:
        for thread in threads:
            thread.join()
    if work.failed is not None:
        raise work.failed
    return work.found


@dataclass(slots=True)
class _Work:
    content: Content
    by: Digesting
    keep: Kept | None
    tap: dict[str, bytes] | None
    progress: Progress
    total: int
    what: str
    done: int = 0
    found: dict[str, tuple[Resource, ...]] = field(default_factory=dict)
    failed: Exception | None = None
    stopped: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, queue: Iterator[str]) -> None:
        """Take files from the queue until it is empty or somebody failed."""
        buffer = memoryview(bytearray(_BLOCK))
        try:
            while not self.stopped and self.failed is None:
                with self.lock:
                    path = next(queue, None)
                if path is None:
                    return
                self.found[path] = self._digest(path, buffer)
        except Exception as error:  # it is raised again by the thread that waits
            with self.lock:
                self.failed = self.failed or error

    def _digest(self, path: str, buffer: memoryview) -> tuple[Resource, ...]:
        with self.content.open(path) as read:
            if self.keep is not None and self.keep.wants(path):
                stamp = self.content.files[path]
                return self._parts(path, self._keeping(path, read, stamp.size if stamp else 0))
            return self._parts(path, self._blocks(read, buffer))

    def _blocks(self, read: Read, buffer: memoryview) -> Iterator[memoryview]:
        while (count := read(buffer)) and not self.stopped:
            yield buffer[:count]
            self._report(count)

    def _keeping(self, path: str, read: Read, size: int) -> Iterator[memoryview]:
        """Give the blocks of a file that is kept; what the caller digests is the memory that is kept."""
        keep = self.keep
        if keep is None:
            return
        keep.room(size)
        data = bytearray(size)
        at = 0
        while True:
            if at == len(data):  # a stream, whose size nobody knows, or the end
                probe = bytearray(_BLOCK)
                count = read(memoryview(probe))
                if not count:
                    break
                keep.room(count)
                data += probe[:count]
            else:
                with memoryview(data) as whole, whole[at : at + _BLOCK] as part:
                    count = read(part)
                if not count:
                    break
            with memoryview(data) as whole, whole[at : at + count] as part:
                yield part
            at += count
            self._report(count)
        del data[at:]
        keep.take(path, data)

    def _tapped(self, path: str, blocks: Iterator[memoryview], tap: dict[str, bytes]) -> Iterator[memoryview]:
        hasher = hashlib.sha256()
        for block in blocks:
            hasher.update(block)
            yield block
        tap[path] = hasher.digest()

    def _parts(self, path: str, blocks: Iterator[memoryview]) -> tuple[Resource, ...]:
        if self.tap is not None:
            blocks = self._tapped(path, blocks, self.tap)
        if self.by.shard_size is None:
            hasher = engine(self.by.hash_type)
            for block in blocks:
                hasher.update(block)
            return (Resource(path, hasher.digest()),)
        return tuple(_shards(path, blocks, self.by.shard_size, self.by.hash_type))

    def _report(self, count: int) -> None:
        with self.lock:
            self.done += count
            self.progress(self.done, max(self.total, self.done), self.what)


def _shards(path: str, blocks: Iterator[memoryview], size: int, hash_type: str) -> Iterator[Resource]:
    """Digest a file in parts of `size` bytes; an empty file has none."""
    hasher, start, at = engine(hash_type), 0, 0
    for block in blocks:
        while len(block):
            part = block[: start + size - at]
            hasher.update(part)
            at += len(part)
            block = block[len(part) :]  # noqa: PLW2901
            if at == start + size:
                yield Resource(path, hasher.digest(), start, at)
                hasher, start = engine(hash_type), at
    if at > start:
        yield Resource(path, hasher.digest(), start, at)


def engine(hash_type: str) -> Any:
    """Start a digest of an algorithm of `oms_statement.HASHES`.

    Raises:
        MissingLibrary: BLAKE3 is not installed.
    """
    if hash_type == "sha256":
        return hashlib.sha256()
    if hash_type == "blake2b":
        return hashlib.blake2b()
    try:
        import blake3
    except ImportError:
        raise MissingLibrary(
            "This model was hashed by BLAKE3, and the library for it is not installed.",
            hint="Install it: pip install 'model-artifact-vault[blake3]'",
        ) from None
    return blake3.blake3()
