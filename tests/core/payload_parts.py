"""A payload to test with, and sources, streams and sinks that fail when they are told to."""

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from vault import sealing
from vault.core import limits
from vault.ports import Buffer

FILE_KEY = bytes(range(16))
NONCE = bytes(range(50, 66))
MIB = limits.MIB
PLAIN = Random(5).randbytes(5 * MIB + 77)


class Fault(Exception):
    """What a faulty part raises here."""


@dataclass
class Countdown:
    """Raises at call number `left`, counted over everything that shares it."""

    left: int = -1
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> None:
        with self.lock:
            self.calls += 1
            if self.calls == self.left:
                raise Fault


def nothing() -> None:
    """Let every call pass."""


class BytesSource:
    """Bytes that can be read anywhere."""

    def __init__(self, data: Buffer, before: Callable[[], None] = nothing) -> None:
        self.data = memoryview(data)
        self.before = before

    @property
    def size(self) -> int:
        """The size in bytes."""
        return len(self.data)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Copy what is there."""
        self.before()
        part = self.data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)


class Stream:
    """Bytes that can be read once, in pieces as small as `pieces` says."""

    def __init__(self, data: bytes, pieces: int = 1 << 30, before: Callable[[], None] = nothing) -> None:
        self.file = io.BytesIO(data)
        self.pieces = pieces
        self.before = before

    def readinto(self, buffer: memoryview, /) -> int:
        """Read one piece."""
        self.before()
        return self.file.readinto(buffer[: self.pieces])


class BytesSink:
    """Keeps what is written; nobody may write while somebody else does."""

    def __init__(self, before: Callable[[], None] = nothing) -> None:
        self.data = bytearray()
        self.before = before
        self.busy = threading.Lock()

    def write(self, data: Buffer) -> None:
        """Append, alone."""
        assert self.busy.acquire(blocking=False)
        self.before()
        self.data += data
        self.busy.release()


def sealed(plain: bytes, threads: int | None = None) -> tuple[bytes, sealing.Sealed]:
    """Seal `plain` in memory."""
    sink = BytesSink()
    result = sealing.seal(BytesSource(plain), sink, file_key=FILE_KEY, nonce=NONCE, threads=threads)
    return bytes(sink.data), result


PAYLOAD, SEALED = sealed(PLAIN)
