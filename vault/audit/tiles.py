"""Tiles, entry bundles and the `checkpoint` file: a log as other programs read it (C2SP tlog-tiles).

All of them follow from the commits. They are written as far as the store lets
us, never trusted, and may be deleted and written again.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from vault.audit.reading import CommitRead, LogReader
from vault.core import limits, log_commit, merkle
from vault.core.log_chain import START, Link
from vault.core.log_commit import Commit
from vault.core.log_names import TILE_WIDTH, Log
from vault.core.merkle import HASH_BYTES, Edge, Growth
from vault.core.note import Note
from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.ports import Store

TILE_LEVELS: Final = 8  # levels of the tree that a tile spans

_RECOVERED_COMMITS: Final = 300  # walked back to find where tiles are whole
_BUNDLE_BYTES: Final = TILE_WIDTH * (limits.LOG_ENTRY_BYTES + 2)


def tile_levels(size: int) -> range:
    """Give the levels of tiles that a tree of this size has."""
    return range((size.bit_length() + TILE_LEVELS - 1) // TILE_LEVELS)


def width(size: int, level: int) -> int:
    """Give how many hashes the partial tile of a level has; 0 when there is none."""
    return (size >> TILE_LEVELS * level) % TILE_WIDTH


class Tiles:
    """The derived objects of a log up to the tree `edge`: takes entries in order and writes what they fill.

    What is there already is replaced where it differs. `compare` collects the
    names that were missing or wrong; without `write` nothing is changed.
    """

    def __init__(
        self, store: Store, log: Log, *, write: bool = True, compare: list[str] | None = None
    ) -> None:
        """Begin with the empty tree."""
        self.edge: Edge = merkle.EMPTY
        self._store, self._log, self._write, self._compare = store, log, write, compare
        self._partial: dict[int, list[bytes]] = {}  # by level, the hashes of the tile that is not full
        self._bundle: list[bytes] = []  # the entries under that of level 0
        self._stale: set[str] = set()  # partial tiles that somebody wrote for an earlier tree

    @classmethod
    def resume(cls, store: Store, log: Log, link: Link) -> "Tiles | None":
        """Go on from what lies in the store after a commit in force, if it is whole.

        Raises:
            Unavailable: the store failed.
        """
        found = cls(store, log)
        found.edge = link.edge
        found.left_behind(link.size)
        for level in tile_levels(link.size):
            hashes = found._stored_hashes(level)
            if hashes is None:
                return None
            found._partial[level] = hashes
        entries = found._stored_entries()
        if entries is None:
            return None
        found._bundle = entries
        return found

    def _stored_hashes(self, level: int) -> list[bytes] | None:
        count, size = width(self.edge.size, level), self.edge.size >> TILE_LEVELS * level
        if not count:
            return []
        low, high = TILE_LEVELS * level, TILE_LEVELS * (level + 1)
        wanted = [root for (at, _), root in self.edge.nodes() if low <= at < high][::-1]
        for stored in (count, TILE_WIDTH):  # the partial tile, or the full one that took its place
            hashes = read_tile(self._store, self._log, level, size // TILE_WIDTH, stored)
            if hashes and merkle.grow(merkle.EMPTY, hashes[:count]).after.hashes == tuple(wanted):
                return hashes[:count]
        return None

    def _stored_entries(self) -> list[bytes] | None:
        leaves = self._partial.get(0, [])
        if not leaves:
            return []
        for stored in (len(leaves), TILE_WIDTH):
            entries = read_bundle(self._store, self._log, self.edge.size // TILE_WIDTH, stored)
            if entries and merkle.leaf_hashes(entries[: len(leaves)]) == leaves:
                return list(entries[: len(leaves)])
        return None

    def left_behind(self, size: int) -> None:
        """Note that somebody may have written the partial tiles of a tree: they are removed in time."""
        self._stale |= self._partials(size)

    def take(self, commit: CommitRead) -> None:
        """Take the next commit in force, as `LogReader.read` hands it over."""
        self.advance(commit.growth, commit.entries)

    def advance(self, growth: Growth, entries: Sequence[bytes]) -> None:
        """Take the next entries and what they made of the tree; write the tiles that are full now.

        Raises:
            Unavailable: the store failed or refused.
            ValueError: they do not follow what was taken before.
        """
        if growth.before != self.edge:
            raise ValueError("entries are taken in order")
        at = self.edge.size - len(self._bundle)
        waiting = [*self._bundle, *entries]
        whole = len(waiting) // TILE_WIDTH * TILE_WIDTH
        for start in range(0, whole, TILE_WIDTH):
            index = (at + start) // TILE_WIDTH
            data = log_commit.encode_entries(waiting[start : start + TILE_WIDTH])
            self._fill(self._log.bundle(index), data)
        self._bundle = waiting[whole:]
        for level in tile_levels(growth.after.size):
            first, hashes = growth.new(TILE_LEVELS * level)
            row = self._partial.get(level, [])
            self._partial[level] = self._fill_tiles(level, first - len(row), [*row, *hashes])
        self.edge = growth.after

    def _fill_tiles(self, level: int, at: int, hashes: list[bytes]) -> list[bytes]:
        whole = len(hashes) // TILE_WIDTH * TILE_WIDTH
        for start in range(0, whole, TILE_WIDTH):
            name = self._log.tile(level, (at + start) // TILE_WIDTH)
            self._fill(name, b"".join(hashes[start : start + TILE_WIDTH]))
        return hashes[whole:]

    def _fill(self, name: str, data: bytes) -> None:
        """Write a full tile, which every partial one of it gives way to."""
        self._put(name, data)
        if self._write:
            with suppress(Unavailable):  # what is left over does no harm
                for old in list(self._store.list(f"{name}.p/")):
                    self._store.delete(old)

    def flush(self, checkpoint: Note) -> None:
        """Write the partial tiles and the `checkpoint` file for what was taken so far.

        Those of earlier trees are removed.

        Raises:
            Unavailable: the store failed or refused.
        """
        size = self.edge.size
        now = self._partials(size)
        for level, row in self._partial.items():
            if row:
                name = self._log.tile(level, (size >> TILE_LEVELS * level) // TILE_WIDTH, len(row))
                self._put(name, b"".join(row))
        if self._bundle:
            name = self._log.bundle(size // TILE_WIDTH, len(self._bundle))
            self._put(name, log_commit.encode_entries(self._bundle))
        self._put(self._log.checkpoint, checkpoint.encode())
        if self._write:
            with suppress(Unavailable):
                for old in self._stale - now:
                    self._store.delete(old)
        self._stale = now

    def _partials(self, size: int) -> set[str]:
        found = set()
        for level in tile_levels(size):
            count = width(size, level)
            if count:
                index = (size >> TILE_LEVELS * level) // TILE_WIDTH
                found.add(self._log.tile(level, index, count))
                if not level:
                    found.add(self._log.bundle(index, count))
        return found

    def _put(self, name: str, data: bytes) -> None:
        """Write a derived object, in the place of anything else that has its name."""
        if self._compare is None and _created(self._store, name, data):
            return
        if _holds(self._store, name, data):
            return
        if self._compare is not None:
            self._compare.append(name)
        if self._write:
            self._store.delete(name)
            _created(self._store, name, data)


def _created(store: Store, name: str, data: bytes) -> bool:
    try:
        with store.create(name, size=len(data)) as sink:
            sink.write(data)
    except Conflict:
        return False
    return True


def _holds(store: Store, name: str, data: bytes) -> bool:
    try:
        return store.read(name, limit=len(data)) == data
    except (NotFound, Refused):
        return False


def read_tile(store: Store, log: Log, level: int, index: int, count: int) -> list[bytes] | None:
    """Read a tile of `count` hashes as it lies in the store, unverified; None where none of this size does.

    Raises:
        Unavailable: the store failed.
    """
    try:
        data = store.read(log.tile(level, index, count), limit=HASH_BYTES * count)
    except (NotFound, Refused):
        return None
    if len(data) != HASH_BYTES * count:
        return None
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def read_bundle(store: Store, log: Log, index: int, count: int) -> tuple[bytes, ...] | None:
    """Read the entries under a tile, unverified; None where there is no bundle of so many.

    Raises:
        Unavailable: the store failed.
    """
    name = log.bundle(index, count)
    try:
        entries = log_commit.parse_entries(store.read(name, limit=_BUNDLE_BYTES), name)
    except (NotFound, Refused):
        return None
    return entries if len(entries) == count else None


def recover(store: Store, log: Log, link: Link) -> Tiles | None:
    """Bring the tiles up to a commit in force, from the last before it after which they are whole.

    A writer that was killed leaves a commit without tiles. What it takes is
    found by walking back over the commits, each of which proves the one before.
    None when that is too far: then `repair` it.

    Raises:
        Unavailable: the store failed.
    """
    path: list[tuple[Growth, Commit]] = []
    while len(path) < _RECOVERED_COMMITS:
        tiles = Tiles(store, log) if not link.size else Tiles.resume(store, log, link)
        if tiles is not None:
            for growth, commit in reversed(path):
                tiles.advance(growth, commit.entries)
            return tiles
        found = _before(store, log, link)
        if found is None:
            return None
        link, growth, commit = found
        path.append((growth, commit))
    return None


def _before(store: Store, log: Log, link: Link) -> tuple[Link, Growth, Commit] | None:
    """Find the commit that a commit in force extends."""
    commit = _parsed(store, log, link.number)
    if commit is None or commit.edge != link.edge:
        return None
    leaves = merkle.leaf_hashes(commit.entries)
    if not commit.first:
        return START, merkle.grow(merkle.EMPTY, leaves), commit
    for number in range(link.number - 1, max(0, link.number - 2 - limits.GAP), -1):
        older = _parsed(store, log, number)
        if older is not None and older.edge.size == commit.first:
            growth = merkle.grow(older.edge, leaves)
            if growth.after == link.edge:
                before = Link(number, older.edge, older.edge.root, None, None, authorised=True)
                return before, growth, commit
    return None


def _parsed(store: Store, log: Log, number: int) -> Commit | None:
    try:
        return log_commit.parse(store.read(log.commit(number), limit=limits.LOG_COMMIT_BYTES), str(log))
    except (NotFound, Refused):
        return None


def repair(reader: LogReader, *, write: bool = True) -> tuple[str, ...]:
    """Write tiles, bundles and `checkpoint` again from the commits in force; name those that were wrong.

    Without `write` they are only compared.

    Raises:
        LogInconsistent, Unavailable: as `LogReader.read`; the store refused to write.
    """
    wrong: list[str] = []
    tiles = Tiles(reader.store, reader.log, write=write, compare=wrong)
    newest: list[Note] = []

    def take(commit: CommitRead) -> None:
        tiles.take(commit)
        newest[:] = [commit.note]

    reader.read(take)
    for checkpoint in newest:
        tiles.flush(checkpoint)
    return tuple(wrong)
