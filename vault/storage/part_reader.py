"""Read an object of a remote store: a range as it is asked for, a sequence in parts that are fetched ahead.

One request to a remote store costs milliseconds before its first byte. So
once reads follow each other (as those of the threads that open a payload do,
slightly out of order) the parts to come are fetched by threads of their own,
first one and then twice as many each time that one was used up. What was not
fetched ahead is fetched as it is asked for, so that guessing wrong costs time
and never the answer.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Final

from vault.core import limits

PART: Final = 8 * limits.MIB
AHEAD: Final = 4
_RECENT: Final = 32  # reads whose ends are remembered: more than there are threads
_BACK: Final = 2  # parts behind the furthest read that a late thread may still be at

Fetch = Callable[[int, memoryview], None]


class PartReader:
    """The `Source` of a remote store's object; several threads may read from it at once.

    `fetch(offset, buffer)` fills the whole buffer from that offset, or raises; several threads call it
    at once. It takes at most `part * (ahead + 1)` bytes of memory and `ahead` threads, and none of
    either before reads follow each other.
    """

    def __init__(self, fetch: Fetch, size: int, *, part: int = PART, ahead: int = AHEAD) -> None:
        """Read an object of `size` bytes in parts of `part` bytes, `ahead` of them at once."""
        if size < 0 or part < 1 or ahead < 1:
            raise ValueError("a size is not negative, and a part and what is read ahead are at least 1")
        self._fetch = fetch
        self._size = size
        self._part = part
        self._ahead = ahead
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._slots: list[_Slot] = []  # in the order of their offsets
        self._free: list[memoryview] = []
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._end = 0  # of the furthest read of the sequence
        self._next = 0  # where the next part begins; 0 before there is a sequence
        self._window = 1
        self._closed = False

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there.

        Raises:
            ValueError: `offset` is negative, or the block of `open` has ended.
            Exception: whatever `fetch` raised for a part that this needs.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        if self._closed:
            raise ValueError("read after the object was closed")
        length = min(buffer.nbytes, self._size - offset)
        if length <= 0:
            return 0
        target = buffer.cast("B")[:length]
        if length > self._part:
            self._read_large(offset, target)
            return length
        with self._lock:
            self._notice(offset, offset + length)
        done = 0
        while done < length:
            done += self._read_some(offset + done, target[done:])
        return length

    def close(self) -> None:
        """Fetch nothing more; a fetch that runs ends by itself, and its bytes go nowhere."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
            self._slots.clear()
            self._free.clear()
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _notice(self, begin: int, end: int) -> None:
        """Learn from a read whether reads follow each other, and fetch ahead if they do."""
        adjoins = begin in self._recent
        self._recent.append(end)
        if self._next and self._end - _BACK * self._part <= begin <= self._end + self._part:
            self._end = max(self._end, end)
            self._next = max(self._next, begin)
        elif adjoins:
            self._drop(lambda _: True)
            self._next, self._end, self._window = begin, end, 1
        self._fetch_ahead()

    def _fetch_ahead(self) -> None:
        """Begin the parts that the sequence will need; those that nobody needs any more make room."""
        if self._closed or not self._next:
            return
        self._drop(lambda slot: slot.left <= 0 or slot.end + _BACK * self._part <= self._end)
        while (
            len(self._slots) <= self._window
            and self._next < self._size
            and self._next <= self._end + self._window * self._part
        ):
            length = min(self._part, self._size - self._next)
            whole = self._free.pop() if self._free else memoryview(bytearray(min(self._part, self._size)))
            try:
                slot = _Slot(self._next, whole, length, self._submit(self._next, whole[:length]))
            except RuntimeError:  # no more threads: what is asked for is fetched as it is asked for
                return
            self._slots.append(slot)
            self._next += length

    def _submit(self, offset: int, target: memoryview) -> "Future[None]":
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._ahead, thread_name_prefix="part-reader")
        return self._pool.submit(self._fetch, offset, target)

    def _drop(self, unneeded: Callable[["_Slot"], bool]) -> None:
        """Let go of parts that nobody waits for; a buffer that may still be written to is not used again."""
        for slot in [slot for slot in self._slots if not slot.readers and unneeded(slot)]:
            if slot.future.done() or slot.future.cancel():
                self._slots.remove(slot)
                self._free.append(slot.whole)

    def _read_some(self, position: int, target: memoryview) -> int:
        """Copy what one part holds from `position`, or fetch what none holds; return how much it was."""
        with self._lock:
            slot = next((slot for slot in self._slots if slot.offset <= position < slot.end), None)
            if slot is not None and not slot.readers and slot.has_failed():
                self._slots.remove(slot)  # before anybody needed it; perhaps it can be had by now
                slot = None
            if slot is None:
                later = min(
                    (slot.offset for slot in self._slots if slot.offset > position), default=self._size
                )
            else:
                slot.readers += 1
        if slot is None:
            length = min(len(target), later - position)
            self._fetch(position, target[:length])
            return length
        length = min(len(target), slot.end - position)
        fetched = False
        try:
            slot.future.result()
            begin = position - slot.offset
            target[:length] = slot.whole[begin : begin + length]
            fetched = True
        except CancelledError:
            raise ValueError("read after the object was closed") from None
        finally:
            with self._lock:
                slot.readers -= 1
                slot.left = slot.left - length if fetched else 0  # a part that failed is not kept
                if slot.left <= 0 and not self._closed:
                    self._window = min(self._ahead, self._window * 2)
                    self._fetch_ahead()
        return length

    def _read_large(self, offset: int, target: memoryview) -> None:
        """Fetch a range of several parts into its own place, several parts at once."""
        pieces = [
            (offset + start, target[start : start + self._part])
            for start in range(0, len(target), self._part)
        ]
        pool = ThreadPoolExecutor(min(self._ahead, len(pieces)), thread_name_prefix="part-reader")
        fetching = []
        try:
            for piece in pieces:
                try:
                    fetching.append(pool.submit(self._fetch, *piece))
                except RuntimeError:  # no more threads
                    self._fetch(*piece)
            wait(fetching, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # nobody may write into the buffer afterwards
        for done in fetching:
            if not done.cancelled():
                done.result()


class _Slot:
    """A part that is or will be there: `left` bytes were not asked for yet, `readers` wait or copy."""

    __slots__ = ("end", "future", "left", "offset", "readers", "whole")

    def __init__(self, offset: int, whole: memoryview, length: int, future: "Future[None]") -> None:
        self.offset = offset
        self.end = offset + length
        self.whole = whole
        self.left = length
        self.readers = 0
        self.future = future

    def has_failed(self) -> bool:
        return self.future.done() and (self.future.cancelled() or self.future.exception() is not None)
