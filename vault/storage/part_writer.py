"""Write an object of a remote store: collect it in parts, and upload several of them at once."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from vault.errors import Unavailable
from vault.ports import Buffer

T = TypeVar("T")

Upload = Callable[[int, memoryview], T]


class PartWriter(Generic[T]):
    """The `Sink` of a remote store: parts of `part` bytes, of which `parallel` are on their way at once.

    `upload(index, data)` stores part `index` (0, 1, …) and gives what the store calls it; several
    threads call it at once, and the data is its own only until it returns. An object that fits one part
    never starts a thread: `whole` hands it back. Memory is bounded by `part * (parallel + 1)` bytes.

    Where a store limits the number of parts, their size doubles after every `doubling` of them; fewer
    are then on their way at once, so that memory does not grow until one part is as large as all were.
    """

    def __init__(self, upload: Upload[T], *, part: int, parallel: int = 4, doubling: int = 0) -> None:
        """Collect parts of `part` bytes for `upload`."""
        if part < 1 or parallel < 1 or doubling < 0:
            raise ValueError("a part and the number of parallel uploads are at least 1")
        self._upload = upload
        self._part = part
        self._parallel = parallel
        self._doubling = doubling
        self._bytes_at_once = part * parallel
        self._pool: ThreadPoolExecutor | None = None
        self._parts: list[Future[T]] = []
        self._running: dict[Future[T], bytearray] = {}
        self._free: list[bytearray] = []
        self._buffer = bytearray()
        self._filled = 0
        self._size = 0
        self._failure: BaseException | None = None
        self._finished = False

    @property
    def size(self) -> int:
        """How many bytes were written so far."""
        return self._size

    def write(self, data: Buffer) -> None:
        """Append `data`.

        Raises:
            ValueError: the object was finished.
            Exception: whatever an upload raised; every later call then fails too.
        """
        if self._finished:
            raise ValueError("write after the object was finished")
        self._refuse_after_failure()
        rest = memoryview(data).cast("B")
        try:
            while rest:
                if self._filled == self._part:
                    self._send()
                taken = self._take(rest)
                rest = rest[taken:]
        except BaseException as failure:  # an interrupt too: nobody knows how much of it was taken
            self._failure = failure
            raise

    def whole(self) -> memoryview | None:
        """Take no more bytes and give all of them, if they fit one part; nothing was uploaded then.

        Raises:
            Unavailable: an earlier write failed.
        """
        self._finished = True
        self._refuse_after_failure()
        return None if self._parts else memoryview(self._buffer)[: self._filled]

    def finish(self) -> list[T]:
        """Upload what is left, wait for every part and give what `upload` returned, in order.

        Raises:
            Exception: whatever an upload raised.
        """
        self._finished = True
        self._refuse_after_failure()
        try:
            if self._filled or not self._parts:
                self._send()
            while self._running:
                self._reap()
        except BaseException as failure:
            self._failure = failure
            raise
        return [part.result() for part in self._parts]

    def close(self) -> None:
        """Begin no more uploads, and wait for those that run, so that nothing arrives afterwards."""
        self._finished = True
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        self._running.clear()
        self._free.clear()
        self._buffer = bytearray()
        self._filled = 0

    def _take(self, data: memoryview) -> int:
        """Copy what fits of `data`; a buffer grows only as far as it is used."""
        end = min(self._filled + len(data), self._part)
        taken = end - self._filled
        if end <= len(self._buffer):
            self._buffer[self._filled : end] = data[:taken]
        else:  # it is full so far: one that is used again is as long as a part
            self._buffer += data[:taken]
        self._filled = end
        self._size += taken
        return taken

    def _send(self) -> None:
        """Hand the filled buffer to a thread, and get an empty one when few enough are on their way."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._parallel, thread_name_prefix="part-writer")
        index = len(self._parts)
        try:
            part = self._pool.submit(self._upload, index, memoryview(self._buffer)[: self._filled])
        except RuntimeError as error:
            raise Unavailable(
                "The system lets this process start no more threads.", hint="Try again later."
            ) from error
        self._parts.append(part)
        self._running[part] = self._buffer
        if self._doubling and len(self._parts) % self._doubling == 0:
            self._part *= 2
        while len(self._running) > max(1, min(self._parallel, self._bytes_at_once // self._part)):
            self._reap()
        for done in [part for part in self._running if part.done()]:
            self._collect(done)
        self._free = [buffer for buffer in self._free if len(buffer) == self._part]
        self._buffer = self._free.pop() if self._free else bytearray()
        self._filled = 0

    def _reap(self) -> None:
        """Wait until at least one upload has ended."""
        for part in wait(self._running, return_when=FIRST_COMPLETED).done:
            self._collect(part)

    def _collect(self, part: "Future[T]") -> None:
        """Take back the buffer of an upload that has ended.

        Raises:
            Exception: whatever the upload raised.
        """
        buffer = self._running.pop(part)
        part.result()
        self._free.append(buffer)

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise Unavailable(
                "An earlier part of this object could not be stored, so it was not stored.", hint="Try again."
            ) from self._failure
