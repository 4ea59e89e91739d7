"""Keep objects in this process's memory, for tests and throw-away vaults."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from vault.ports import Buffer, Stat
from vault.storage import answers, naming


class MemoryStore:
    """A store in a dictionary: name → bytes; several threads may use it at once.

    Attributes: `objects`, which tests may read and tamper with.
    """

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        """Start with `objects`, or with none."""
        self.objects: dict[str, bytes] = {} if objects is None else objects
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """A name for messages; nobody can open it again."""
        return "memory:"

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator["MemorySink"]:
        """Create `name` when the block ends without an exception.

        Raises:
            Conflict: the name exists; at entry or at commit.
        """
        naming.check_name(name)
        if name in self.objects:
            raise answers.conflict(name)
        sink = MemorySink()
        try:
            yield sink
        finally:
            data = sink.finish()
        with self._lock:
            if name in self.objects:
                raise answers.conflict(name)
            self.objects[name] = data

    @contextmanager
    def open(self, name: str) -> Iterator["MemorySource"]:
        """Open `name` for reading.

        Raises:
            NotFound: there is no such name.
        """
        yield MemorySource(self._get(name))

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, at most `limit`.

        Raises:
            NotFound: there is no such name.
            Malformed: it is larger than `limit` (`too-large`).
        """
        if limit < 0:
            raise ValueError("a limit is not negative")
        data = self._get(name)
        if len(data) > limit:
            raise answers.too_large(name, len(data), limit)
        return data

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`, in code-point order."""
        naming.check_prefix(prefix)
        with self._lock:
            names = sorted(name for name in self.objects if name.startswith(prefix) and name > after)
        return iter(names)

    def list_sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield the names that start with `prefix`, in code-point order, each with its size."""
        naming.check_prefix(prefix)
        with self._lock:
            found = {name: len(data) for name, data in self.objects.items() if name.startswith(prefix)}
        return iter(sorted(found.items()))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the next path part of the names under `prefix`, folders with a `/` at the end."""
        naming.check_folder(prefix)
        with self._lock:
            rests = [name[len(prefix) :] for name in self.objects if name.startswith(prefix)]
        return iter(sorted({first + slash for first, slash, _ in (rest.partition("/") for rest in rests)}))

    def delete(self, name: str) -> None:
        """Remove `name`; a name that is not there is not an error."""
        naming.check_name(name)
        with self._lock:
            self.objects.pop(name, None)

    def stat(self, name: str) -> Stat:
        """Return the size of `name`.

        Raises:
            NotFound: there is no such name.
        """
        return Stat(size=len(self._get(name)))

    def _get(self, name: str) -> bytes:
        naming.check_name(name)
        data = self.objects.get(name)
        if data is None:
            raise answers.not_found(name)
        return data


class MemorySink:
    """Collects the bytes of one new object."""

    def __init__(self) -> None:
        """Start empty."""
        self._data = bytearray()
        self._finished = False

    def write(self, data: Buffer) -> None:
        """Append `data`.

        Raises:
            ValueError: the block of `create` has ended.
        """
        if self._finished:
            raise ValueError("write after the object was finished")
        self._data += data

    def finish(self) -> bytes:
        """Take no more bytes and give those collected."""
        self._finished = True
        return bytes(self._data)


class MemorySource:
    """An object as it was when it was opened."""

    def __init__(self, data: bytes) -> None:
        """Read from `data`."""
        self._data = data

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return len(self._data)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there.

        Raises:
            ValueError: `offset` is negative.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        part = memoryview(self._data)[offset : offset + buffer.nbytes]
        buffer.cast("B")[: len(part)] = part
        return len(part)
