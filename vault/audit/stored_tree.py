"""Hash parts of a log's tree from its tiles, for which nobody vouches: what they give is held to a root."""

from typing import Final

from vault.audit.tiles import TILE_LEVELS, read_tile, width
from vault.core import limits, merkle, note
from vault.core.log_chain import Head
from vault.core.log_names import TILE_WIDTH, Log
from vault.core.merkle import Node, Span
from vault.errors import LogInconsistent, NotFound, Refused
from vault.ports import Store

_KEPT_TILES: Final = 256


class StoredTree:
    """The tiles of a log that has `size` entries; without it, as many as `checkpoint` says."""

    def __init__(self, store: Store, log: Log, size: int | None = None) -> None:
        """Read nothing yet."""
        self._store, self._log = store, log
        self._size = size
        self._tiles: dict[tuple[int, int], list[bytes] | None] = {}

    def inclusion(self, index: int, leaf: bytes, size: int, root: bytes) -> tuple[bytes, ...] | None:
        """Prove that a leaf is number `index` of the tree with this size and root; None where tiles do not.

        Raises:
            Unavailable: the store failed.
        """
        if not 0 <= index < size:
            return None
        hashes = self.hash_spans(merkle.inclusion_spans(index, size))
        if hashes is not None and merkle.inclusion_root(index, size, leaf, hashes) == root:
            return hashes
        return None

    def consistent(self, one: Head, other: Head) -> bool:
        """Tell whether the tiles prove that two heads are of one history, whichever is the older.

        Raises:
            Unavailable: the store failed.
        """
        old, new = sorted((one, other), key=lambda head: head.size)
        hashes = self.hash_spans(merkle.consistency_spans(old.size, new.size))
        if hashes is None:
            return False
        try:
            merkle.verify_consistency(old.size, old.root, new.size, new.root, hashes, str(self._log))
        except LogInconsistent:
            return False
        return True

    def hash_spans(self, spans: list[Span]) -> tuple[bytes, ...] | None:
        """Hash spans of leaves; None where a tile that it takes is missing.

        Raises:
            Unavailable: the store failed.
        """
        found: dict[Node, bytes] = {}
        for span in spans:
            for place in merkle.complete_nodes(span):
                node = self._node(*place)
                if node is None:
                    return None
                found[place] = node
        return merkle.hash_spans(spans, lambda level, index: found[level, index])

    def _node(self, level: int, index: int) -> bytes | None:
        tile_level, above = divmod(level, TILE_LEVELS)
        first = index << above
        hashes = self._tile(tile_level, first // TILE_WIDTH)
        part = [] if hashes is None else hashes[first % TILE_WIDTH :][: 1 << above]
        if len(part) < 1 << above:
            return None
        return merkle.grow(merkle.EMPTY, part).after.root

    def _tile(self, level: int, index: int) -> list[bytes] | None:
        if (level, index) not in self._tiles:
            if self._size is None:
                self._size = self._told()
            last = self._size >> TILE_LEVELS * level
            count = TILE_WIDTH if index < last // TILE_WIDTH else width(self._size, level)
            found = read_tile(self._store, self._log, level, index, count) if count else None
            if len(self._tiles) >= _KEPT_TILES:
                self._tiles.clear()
            self._tiles[level, index] = found
        return self._tiles[level, index]

    def _told(self) -> int:
        name = self._log.checkpoint
        try:
            held = note.parse(self._store.read(name, limit=limits.NOTE_BYTES), name)
            return note.parse_checkpoint(held.text, name).size
        except (NotFound, Refused):
            return 0
