"""Where units come from: streams, sources read at any offset, and stored payloads."""

from typing import Protocol

from vault import errors
from vault.core import age, limits
from vault.ports import Source
from vault.sealing_threads import Turns


class Reader(Protocol):
    """Read a stream once, from its start; short reads are allowed, only 0 means the end."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill at most `buffer`; return how many bytes were read."""


class SourceFeed:
    """Give units of plaintext from a source that can be read anywhere, by several threads."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._size = source.size

    def read(self, unit: int, buffer: memoryview) -> tuple[int, bool] | None:
        """Fill `buffer` with `unit`; return its size and whether it is the last, or nothing after it."""
        start = unit * limits.UNIT_PLAIN
        size = min(limits.UNIT_PLAIN, self._size - start)
        if size < 0 or (unit and not size):
            return None
        last = start + size == self._size
        surplus = memoryview(bytearray(1))
        if self._source.read_into(start, buffer[:size]) != size or (
            last and self._source.read_into(self._size, surplus)
        ):
            raise ValueError(f"the input no longer has the {self._size} bytes it had when it was opened")
        return size, last


class StreamFeed:
    """Give units of plaintext from a stream, in an ordered section of their own.

    A unit is known to be the last only once the stream has ended, so one byte is read ahead.
    """

    def __init__(self, reader: Reader, size: int | None, turns: Turns) -> None:
        self._reader = reader
        self._size = size
        self._turns = turns
        self._ahead = bytearray(1)
        self._held = 0  # bytes of `_ahead` that belong to the next unit
        self._total = 0
        self._ended = False

    def read(self, unit: int, buffer: memoryview) -> tuple[int, bool] | None:
        """Fill `buffer` with `unit`; return its size and whether it is the last, or nothing after it."""
        self._turns.enter(unit)
        got = None if self._ended else self._next(buffer)
        self._turns.leave(unit)
        return got

    def _next(self, buffer: memoryview) -> tuple[int, bool]:
        buffer[: self._held] = self._ahead[: self._held]
        size = self._held + self._fill(buffer[self._held :])
        self._held = self._fill(memoryview(self._ahead)) if size == len(buffer) else 0
        self._ended = not self._held
        self._total += size
        known = self._total + self._held
        if known > limits.FILE_BYTES:
            raise ValueError("the input is larger than any file may be")
        if self._size is not None and (known > self._size or (self._ended and known < self._size)):
            raise ValueError(f"the input has not the {self._size} bytes that it was said to have")
        return size, self._ended

    def _fill(self, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):
            got = self._reader.readinto(buffer[done:])
            if got is None:
                raise ValueError("a non-blocking stream cannot be sealed")
            if not got:
                break
            done += got
        return done


def check_sizes(source: Source, cipher_size: int, plain_size: int) -> None:
    """Check that a stored payload has the sizes, in bytes, that were signed for it.

    Raises:
        DigestMismatch: it has not, or the two do not belong together (`size-mismatch`).
        Refused: no payload has such a size (see `age.plain_size`).
    """
    if source.size != cipher_size:
        raise _wrong_size(f"it has {source.size} bytes instead of {cipher_size}")
    if age.plain_size(cipher_size) != plain_size:
        raise _wrong_size(f"{cipher_size} bytes of ciphertext do not hold {plain_size} of plaintext")


def read_exactly(source: Source, offset: int, buffer: memoryview) -> None:
    """Fill `buffer` from `offset` of a stored payload.

    Raises:
        DigestMismatch: the payload ends before that (`size-mismatch`).
        Unavailable: the store failed.
    """
    if source.read_into(offset, buffer) != len(buffer):
        raise _wrong_size(f"it ends before byte {offset + len(buffer)}")


def _wrong_size(reason: str) -> errors.DigestMismatch:
    return errors.DigestMismatch(
        f"A stored payload is not what was signed for: {reason}.",
        code="size-mismatch",
        hint="Restore it from a copy of the vault.",
    )
