"""Stores that break one promise each, as servers that call themselves compatible do."""

from collections.abc import Iterator
from contextlib import contextmanager

from vault.errors import NotFound, Unavailable
from vault.ports import Sink, Source, Stat
from vault.storage import answers
from vault.storage.memory import MemorySink, MemorySource, MemoryStore


class Overwriting(MemoryStore):
    """Knows nothing of conditions: whoever writes last has the name."""

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:  # type: ignore[override]
        """Create, whatever is there."""
        sink = MemorySink()
        yield sink
        self.objects[name] = sink.finish()


class CheckingFirst(Overwriting):
    """Looks before it writes, and not while it does: of two at once the last wins."""

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:  # type: ignore[override]
        """Create, unless something was there at the beginning."""
        if name in self.objects:
            raise answers.conflict(name)
        with super().create(name, size=size) as sink:
            yield sink


class OverwritingLarge(MemoryStore):
    """Takes a large object in parts, whose completion has no condition."""

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:  # type: ignore[override]
        """Create; a large object also over another."""
        if size is None or size < 16 << 20:
            with super().create(name, size=size) as sink:
                yield sink
            return
        large = MemorySink()
        yield large
        self.objects[name] = large.finish()


class TellingNobody(MemoryStore):
    """Keeps the first, and tells every writer that it has won."""

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:  # type: ignore[override]
        """Create; what is there already stays, without a word."""
        sink = MemorySink()
        yield sink
        self.objects.setdefault(name, sink.finish())


class RememberingAbsence(MemoryStore):
    """Says of a name that it is not there for as long as it has once said so."""

    def __init__(self) -> None:
        """Start empty, and remember nothing."""
        super().__init__()
        self.absent: set[str] = set()

    def stat(self, name: str) -> Stat:
        """Look, unless it was absent before."""
        if name in self.absent:
            raise answers.not_found(name)
        try:
            return super().stat(name)
        except NotFound:
            self.absent.add(name)
            raise


class ListingLate(MemoryStore):
    """Lists an object only once another one was created."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """List all but the newest."""
        newest = [*self.objects][-1:]
        return (name for name in super().list(prefix, after=after) if name not in newest)


class ListingByFolder(MemoryStore):
    """Lists folder by folder, as a file system does: `o/x` before `o-x`."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """List in the order of path parts."""
        names = super().list(prefix)
        return iter(sorted((name for name in names if name > after), key=lambda name: name.split("/")))


class IgnoringAfter(MemoryStore):
    """Begins every listing at its beginning."""

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """List everything."""
        return super().list(prefix)


class IgnoringRanges(MemoryStore):
    """Answers every range with the start of the object, as a server that knows no ranges."""

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:  # type: ignore[override]
        """Open; every read begins at the beginning."""

        class FromTheStart(MemorySource):
            def read_into(self, offset: int, buffer: memoryview) -> int:
                return super().read_into(0, buffer)

        yield FromTheStart(self._get(name))


class KeepingAll(MemoryStore):
    """Lets nobody delete."""

    def delete(self, name: str) -> None:
        """Refuse."""
        raise Unavailable(f"{name} may not be deleted.", code="storage-denied", subject=name)


class KeepingSilently(MemoryStore):
    """Says that it deletes, and does not."""

    def delete(self, name: str) -> None:
        """Do nothing."""
