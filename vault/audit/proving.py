"""Make proofs from tiles, or from the commits where tiles are missing or wrong.

Nothing that a tile says is believed: a proof is handed out when it leads to a
root that is in force, and else made again from the commits.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from vault.audit import cosigning
from vault.audit.reading import CommitRead, LogReader, LogState, certified_note, read_commit
from vault.audit.stored_tree import StoredTree
from vault.audit.tiles import read_bundle, width
from vault.core import limits, log_commit, log_witness, merkle
from vault.core.log_chain import Head, Link
from vault.core.log_names import TILE_WIDTH, Log
from vault.core.log_proof import Proof
from vault.core.merkle import Node, Span
from vault.core.names import Principal
from vault.core.note import Note
from vault.core.policy import Policy
from vault.errors import LogInconsistent, NotFound
from vault.ports import Store

_COSIGNED_SIZES: Final = 16  # the newest that are looked at for one proof


class Prover:
    """Makes proofs in one log, at its newest head in force or at an earlier one.

    `known` and `seen` are as for `LogReader`; the log is read when a proof is
    first asked for, and again by `read`.
    """

    def __init__(
        self,
        store: Store,
        log: Log,
        policy: Policy,
        *,
        known: Head | None = None,
        seen: Mapping[int, bytes] | None = None,
    ) -> None:
        """Read nothing yet.

        Raises:
            LogInconsistent: `known` and `seen` contradict each other.
        """
        self._reader = LogReader(store, log, policy, known=known, seen=seen)
        self._store, self._log, self._policy = store, log, policy
        self._known = known
        self._state: LogState | None = None
        self._tree: StoredTree | None = None

    def read(self) -> LogState:
        """Look what is in force now.

        Raises:
            LogInconsistent, Unavailable: as `LogReader.read`.
        """
        start: Head | Link | None = self._known if self._state is None else self._state.newest
        self._state = self._reader.read(start=start)
        self._tree = None
        return self._state

    @property
    def newest(self) -> Link:
        """The newest commit in force, as it was when the log was last read."""
        return (self._state or self.read()).newest

    def note(self) -> Note:
        """Give the newest checkpoint in force, with its writer's certificate.

        Raises:
            NotFound: the log is empty.
            Unavailable: the store failed.
        """
        number = self.newest.number
        if not number:
            raise NotFound(f"{self._log} has no entries yet.", subject=str(self._log))
        data = read_commit(self._store, self._log, number)
        return certified_note(log_commit.parse(data, f"commit {number} of {self._log}"))

    def entry(self, index: int) -> bytes:
        """Give one entry as it is in the log, from its bundle where that is genuine.

        Raises:
            NotFound: the log has no such entry.
            LogInconsistent, Unavailable: as `LogReader.read`.
        """
        size = self.newest.size
        if not 0 <= index < size:
            raise NotFound(f"{self._log} has {size:,} entries and no entry {index}.", subject=str(self._log))
        at = index // TILE_WIDTH
        for count in (TILE_WIDTH, width(size, 0)):
            entries = read_bundle(self._store, self._log, at, count) if count else None
            if entries is not None and index % TILE_WIDTH < count:
                found = entries[index % TILE_WIDTH]
                if self._from_tiles(index, merkle.leaf_hash(found), size, self.newest.root) is not None:
                    return found
        return self._entry_of_commit(index)

    def _entry_of_commit(self, index: int) -> bytes:
        found: list[bytes] = []

        def take(commit: CommitRead) -> None:
            if commit.first <= index < commit.first + len(commit.entries):
                found.append(commit.entries[index - commit.first])

        self._reader.read(take)
        return found[0]

    def inclusion(
        self,
        index: int,
        entry: bytes,
        *,
        size: int | None = None,
        root: bytes = b"",
        note: Note | None = None,
    ) -> Proof:
        """Prove that `entry` is number `index`, at the newest head in force or at `size` with its `root`.

        `note` is the checkpoint of that size; without it the newest goes into the proof.

        Raises:
            LogInconsistent: `not-logged`: that is not so; or as `LogReader.read`.
            NotFound: the log is empty.
            Unavailable: the store failed.
        """
        newest = self.newest
        signed = note or self.note()
        at, wanted = (newest.size, newest.root) if size is None else (size, root)
        if not 0 <= index < at <= newest.size:
            raise _not_logged(self._log, index, at)
        leaf = merkle.leaf_hash(entry)
        hashes = self._from_tiles(index, leaf, at, wanted)
        if hashes is None:
            hashes = self._from_commits(merkle.inclusion_spans(index, at))
            merkle.verify_inclusion(index, at, leaf, hashes, wanted, str(self._log))
        return Proof(entry, index, hashes, signed)

    def consistency(self, old: Head, new: Head) -> tuple[bytes, ...]:
        """Prove that one head of the log extends another (RFC 6962, section 2.1.2).

        Raises:
            LogInconsistent: that is not so, or one is beyond the log.
            Unavailable: the store failed.
        """
        size = self.newest.size
        if not 0 <= old.size <= new.size <= size:
            raise LogInconsistent(
                f"{self._log} has {size:,} entries; there is no proof from {old.size:,} to {new.size:,}.",
                subject=str(self._log),
                hint="The log was cut off, or a head is of another log. Run: mvault audit verify",
            )
        spans = merkle.consistency_spans(old.size, new.size)
        for source in (self._stored, self._computed):
            hashes = source(spans)
            try:
                if hashes is not None:
                    merkle.verify_consistency(old.size, old.root, new.size, new.root, hashes, str(self._log))
                    return hashes
            except LogInconsistent as inconsistent:
                refused = inconsistent
        raise refused

    def check_consistent(self, one: Head, other: Head) -> None:
        """Demand that two heads are of one history, whichever is the older, and of what is in force.

        Raises:
            LogInconsistent, Unavailable: as `consistency`.
        """
        older, newer = sorted((one, other), key=lambda head: head.size)
        self.consistency(older, newer)
        self.consistency(newer, self.newest.head)

    def witnessed(self, index: int, entry: bytes, wanted: int, apart_from: Iterable[Principal] = ()) -> Proof:
        """Prove an entry at the newest checkpoint that enough witnesses have cosigned, with their lines.

        Raises:
            LogInconsistent: `not-witnessed`, or as `inclusion`.
            Unavailable: the store failed.
        """
        sizes = [size for size in cosigning.sizes(self._store, self._log) if index < size <= self.newest.size]
        genuine = 0
        for size in sorted(sizes, reverse=True)[: limits.LOG_COSIGNATURES]:
            found = cosigning.collect(self._store, self._log, self._policy, size)
            for signed in found:
                apart = (*apart_from, signed.writer)
                counted = log_witness.cosigners(signed.note, self._policy, self._log, apart)
                if len(counted) < wanted:
                    continue
                with suppress(LogInconsistent):  # it is of another history than what is in force
                    return self.inclusion(
                        index, entry, size=size, root=signed.checkpoint.root, note=signed.note
                    )
            genuine += bool(found)  # folders of strangers take no place
            if genuine == _COSIGNED_SIZES:
                break
        raise LogInconsistent(
            f"No checkpoint of {self._log} with entry {index} is cosigned by {wanted} witnesses who count.",
            code="not-witnessed",
            subject=str(self._log),
            hint="Let a witness run, then try again: mvault audit witness",
        )

    # --- hashes ---

    def _from_tiles(self, index: int, leaf: bytes, size: int, root: bytes) -> tuple[bytes, ...] | None:
        hashes = self._stored(merkle.inclusion_spans(index, size))
        if hashes is not None and merkle.inclusion_root(index, size, leaf, hashes) == root:
            return hashes
        return None

    def _stored(self, spans: list[Span]) -> tuple[bytes, ...] | None:
        """Hash spans from the tiles; None where one that it takes is missing."""
        if self._tree is None:
            self._tree = StoredTree(self._store, self._log, self.newest.size)
        return self._tree.hash_spans(spans)

    def _computed(self, spans: list[Span]) -> tuple[bytes, ...]:
        return self._from_commits(spans)

    def _from_commits(self, spans: list[Span]) -> tuple[bytes, ...]:
        """Hash spans from the whole log."""
        missing = {place for span in spans for place in merkle.complete_nodes(span)}
        found: dict[Node, bytes] = {}

        def take(commit: CommitRead) -> None:
            for level, index in list(missing):
                node = commit.growth.node(level, index)
                if node is not None:
                    found[level, index] = node
                    missing.discard((level, index))

        self._reader.read(take)
        return merkle.hash_spans(spans, lambda level, index: found[level, index])


def _not_logged(log: Log, index: int, size: int) -> LogInconsistent:
    return LogInconsistent(
        f"{log} at size {size:,} has no entry {index}.",
        code="not-logged",
        subject=str(log),
        hint="The log was cut off, or the index is of another log. Run: mvault audit verify",
    )
