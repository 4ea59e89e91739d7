"""Find out what a store really honours, through the port alone.

The vault rests on few promises (docs/format.md, "Layout"): a name is created once, of several writers
one wins, and what was created is read and listed at once. Servers that call themselves compatible keep
some of them. So they are tried, on objects of their own under `layout.PROBES`, which are deleted again
where the store deletes.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from vault.core import layout, limits
from vault.errors import Conflict, Malformed, NotFound, VaultError
from vault.ports import Sink, Store

RACERS: Final = 12
LARGE: Final = 17 * limits.MIB  # more than any adapter publishes in one request

DONE, DENIED, IGNORED = "done", "denied", "ignored"

# Their order tells a listing by code points from one by folders, or by any locale.
_LATE, _READ, _RACE, _LAST, _LARGE = "o-x", "o/x", "oB", "oa", "o.x"


@runtime_checkable
class TellsTime(Protocol):
    """A store whose server says what time it is."""

    def server_time(self) -> int | None:
        """Give the server's time in seconds since 1970, or None where it did not say.

        Raises:
            Unavailable: the server did not answer.
        """


@runtime_checkable
class TellsSpace(Protocol):
    """A store that knows how much room it has left."""

    def free_space(self) -> int | None:
        """Give how many bytes may still be written, or None where that is not known.

        Raises:
            Unavailable: the store failed.
        """


@dataclass(frozen=True, slots=True)
class Probe:
    """What a store did when it was tried; `deletes` is `DONE`, `DENIED` or `IGNORED`.

    `creates_large` is None where no large object was tried. `left` are the objects that stayed behind.
    """

    racers: int
    winners: int
    creates: bool
    creates_large: bool | None
    reads: bool
    lists: bool
    orders: bool
    ranges: bool
    deletes: str
    left: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """Say which promises the store breaks that nothing can make up for; none: it is fit for a vault."""
        found = (
            (not self.creates, "it overwrites a name that exists"),
            (
                self.winners != 1,
                f"of {self.racers} writers of one name {self.winners} were told that they won",
            ),
            (self.creates_large is False, "it overwrites a large object that exists"),
            (not self.reads, "what was written is not what is read at once"),
            (not self.lists, "what was written is not listed at once"),
            (not self.orders, "its listings are not in the order of code points"),
            (not self.ranges, "it does not give the range that was asked for"),
        )
        return tuple(said for wrong, said in found if wrong)


def probe(store: Store, *, racers: int = RACERS, large: bool = False) -> Probe:
    """Try what a store honours; with `large` also an object of `LARGE` bytes, which is written twice.

    Raises:
        Unavailable: the store failed, or refuses to be written to; it may work another time.
    """
    return _Probing(store, f"{layout.PROBES}{os.urandom(16).hex()}/").run(racers, large=large)


@dataclass(frozen=True, slots=True)
class _Content:
    """The content of an object: `unit`, `count` times."""

    unit: bytes
    count: int = 1

    def __len__(self) -> int:
        return len(self.unit) * self.count

    def write(self, sink: Sink) -> None:
        for _ in range(self.count):
            sink.write(self.unit)

    def part(self, start: int, length: int) -> bytes:
        """Give at most `length` bytes, no more than a unit has, from `start`."""
        first = start % len(self.unit)
        return (self.unit * 2)[first : first + min(length, len(self) - start)]


def _large() -> tuple[_Content, _Content]:
    """Give two large contents that differ everywhere."""
    one = bytes(number % 251 for number in range(limits.MIB))
    other = bytes(255 - number % 251 for number in range(limits.MIB))
    return _Content(one, LARGE // limits.MIB), _Content(other, LARGE // limits.MIB)


class _Probing:
    """One round of trials on names below `base`."""

    def __init__(self, store: Store, base: str) -> None:
        self._store = store
        self._base = base
        self._tried: list[str] = []

    def run(self, racers: int, *, large: bool) -> Probe:
        try:
            reads, ranges = self._reads()
            creates = self._creates(_LATE, _Content(b"quick"), _Content(b"slow, and later"))
            winners = self._race(racers)
            creates_large = self._creates(_LARGE, *_large()) if large else None
            lists, orders = self._lists()
        except BaseException:
            with suppress(VaultError):
                self._delete()
            raise
        deletes, left = self._delete()
        return Probe(racers, winners, creates, creates_large, reads, lists, orders, ranges, deletes, left)

    def _put(self, leaf: str, data: _Content) -> bool:
        """Create an object; tell whether the store took it."""
        name = self._name(leaf)
        try:
            with self._store.create(name, size=len(data)) as sink:
                data.write(sink)
        except Conflict:
            return False
        return True

    def _name(self, leaf: str) -> str:
        name = self._base + leaf
        if name not in self._tried:
            self._tried.append(name)
        return name

    def _reads(self) -> tuple[bool, bool]:
        """Ask for a name before it is there, write it, and read it in every way at once; then its ranges."""
        name, data = self._name(_READ), bytes(range(256)) * 8
        absent = self._is_absent(name)
        self._put(_READ, _Content(data))
        size = len(data)
        reads = absent and self._content(_READ, size) == data and not self._is_absent(name, size)
        asked = ((0, 1), (1, 700), (size - 1, 1), (1000, size - 1000), (size - 8, 100), (size, 5))
        return reads, all(
            self._range(_READ, offset, length) == data[offset : offset + length] for offset, length in asked
        )

    def _is_absent(self, name: str, size: int | None = None) -> bool:
        """Tell whether a name is not there, or has another size than it should."""
        try:
            return self._store.stat(name).size != size
        except NotFound:
            return True

    def _content(self, leaf: str, most: int) -> bytes | None:
        try:
            return self._store.read(self._base + leaf, limit=most)
        except (NotFound, Malformed):
            return None

    def _range(self, leaf: str, offset: int, length: int) -> bytes | None:
        buffer = bytearray(length)
        try:
            with self._store.open(self._base + leaf) as source:
                return bytes(buffer[: source.read_into(offset, memoryview(buffer))])
        except NotFound:
            return None

    def _creates(self, leaf: str, first: _Content, second: _Content) -> bool:
        """Let a slow writer begin first and end last: it must be told that the quick one has won."""
        late = self._ends_later(leaf, first, second)
        again = self._put(leaf, second)
        return not late and not again and self._holds(leaf, first)

    def _ends_later(self, leaf: str, first: _Content, second: _Content) -> bool:
        """Tell whether the slow writer was told that it had won."""
        try:
            with self._store.create(self._name(leaf), size=len(second)) as sink:
                second.write(sink)
                self._put(leaf, first)
        except Conflict:
            return False
        return True

    def _holds(self, leaf: str, data: _Content) -> bool:
        if data.count == 1:
            return self._content(leaf, len(data)) == data.unit
        places = (0, len(data) // 2, max(0, len(data) - 1_000))
        return all(self._range(leaf, start, 1_000) == data.part(start, 1_000) for start in places)

    def _race(self, racers: int) -> int:
        """Let writers create one name at the same time; count those who were told that they won.

        Where the object is not the winner's, nobody counts.
        """
        barrier = threading.Barrier(racers)
        failed: list[BaseException] = []
        won: list[int] = []
        self._name(_RACE)

        def run(number: int) -> None:
            try:
                barrier.wait()
                if self._put(_RACE, _Content(_writer(number))):
                    won.append(number)
            except BaseException as error:  # raised below, in the caller's thread
                failed.append(error)
                barrier.abort()

        names = [f"storage-probe-{number}" for number in range(racers)]
        _join(
            [threading.Thread(target=run, name=name, args=[number]) for number, name in enumerate(names)],
            failed,
        )
        if len(won) == 1 and self._content(_RACE, 100) != _writer(won[0]):
            return 0
        return len(won)

    def _lists(self) -> tuple[bool, bool]:
        """Tell whether everything is listed at once, and whether in order, also from the middle on."""
        self._put(_LAST, _Content(b""))
        names = sorted(self._tried)
        found = list(self._store.list(self._base))
        folders = list(self._store.list_folders(self._base))
        parts = sorted({name[len(self._base) :].partition("/")[0] for name in names} - {"o"} | {"o/"})
        whole = set(found) == set(names) and len(found) == len(names) and set(folders) == set(parts)
        rest = list(self._store.list(self._base, after=names[1]))
        return whole, not whole or (found == names and folders == parts and rest == names[2:])

    def _delete(self) -> tuple[str, tuple[str, ...]]:
        """Delete what was tried; say how that went, and what is still there."""
        for name in self._tried:
            try:
                self._store.delete(name)
            except VaultError as error:
                if error.code != "storage-denied":
                    raise
                return DENIED, tuple(self._store.list(self._base))
        left = tuple(self._store.list(self._base))
        return IGNORED if left else DONE, left


def _writer(number: int) -> bytes:
    return b"writer %d" % number


def _join(threads: Sequence[threading.Thread], failed: Sequence[BaseException]) -> None:
    """Run threads to their end; raise the first failure that they noted."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in failed:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
