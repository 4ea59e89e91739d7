"""Append to a log: one commit at a time, whoever else writes (docs/format.md, "Commits in force").

A commit is one object, created under the next free number. Who finds the number
taken reads what is there and tries again on top of it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from vault.audit import tiles
from vault.audit.reading import CommitRead, LogReader, LogState, Take, certified_note, read_commit
from vault.audit.tiles import Tiles
from vault.core import limits, log_commit, log_keys, merkle, note
from vault.core.log_chain import Head, Link
from vault.core.log_names import Log, origin
from vault.core.log_proof import Proof
from vault.core.merkle import Growth
from vault.core.note import Checkpoint, LogSigner, Note
from vault.core.policy import Policy
from vault.errors import Conflict, NotFound, Refused, Unavailable, UntrustedSigner
from vault.ports import Store

_ATTEMPTS: Final = 64


@dataclass(frozen=True, slots=True)
class Appended:
    """Entries that are in the log now: where, and the signed checkpoint with its writer's certificate."""

    number: int
    entries: tuple[bytes, ...]
    growth: Growth
    note: Note

    @property
    def first(self) -> int:
        """The index of the first of them."""
        return self.growth.before.size

    @property
    def head(self) -> Head:
        """The log's head after them: what a client remembers."""
        return Head(self.number, self.growth.after.size, self.growth.after.root)

    def proof(self, place: int) -> Proof:
        """Prove that `entries[place]` is in the log.

        Raises:
            IndexError: there is no such entry.
        """
        entry = self.entries[place]
        index = self.first + place % len(self.entries)
        spans = merkle.inclusion_spans(index, self.growth.after.size)
        return Proof(entry, index, merkle.hash_spans(spans, self._node), self.note)

    def _node(self, level: int, index: int) -> bytes:
        found = self.growth.node(level, index)
        if found is None:
            raise LookupError(f"node {level}/{index} is not needed for these entries")
        return found


class LogWriter:
    """Appends to one log with one log key; keeps in mind where the log ends.

    `known` and `seen` are as for `LogReader`; `take` sees each commit of others that comes after `known`,
    before anything is appended, and may refuse to go on. An instance is for one thread;
    other instances, processes and machines may write the same log.
    """

    def __init__(
        self,
        store: Store,
        log: Log,
        policy: Policy,
        signer: LogSigner,
        certificate: bytes,
        *,
        known: Head | None = None,
        seen: Mapping[int, bytes] | None = None,
        take: Take | None = None,
    ) -> None:
        """Check that this key may write the log; read nothing yet.

        Raises:
            UntrustedSigner: the policy does not let the certificate's identity write this log.
            Refused: the certificate does not hold.
            ValueError: it is for another key.
        """
        who = log_keys.verify(certificate, policy, log, log_keys.LOG, f"the key of {log}")
        if who.key != signer.public:
            raise ValueError("the certificate is for another key")
        if not who.current or not log_keys.may_write(policy, log, who, limits.NUMBER_MAX):
            raise UntrustedSigner(
                f"{who.principal or 'This identity'} may not write the log {log}.",
                subject=str(log),
                hint="Who may is told by: mvault policy who-can log",
            )
        self._reader = LogReader(store, log, policy, known=known, seen=seen)
        self._store, self._log = store, log
        self._origin = origin(policy.vault, log)
        self._signer, self._certificate = signer, certificate
        self._known = known
        self._take = take
        self._newest: Link | None = None
        self._note: Note | None = None
        self._tiles: Tiles | None = None
        self._lost = False  # the tiles are too far behind for a writer: `tiles.repair` mends them

    @property
    def head(self) -> Head | None:
        """The newest head in force as this writer knows it; None before it has looked."""
        return None if self._newest is None else self._newest.head

    def read(self) -> LogState:
        """Look what others have appended.

        Raises:
            LogInconsistent, Unavailable: as `LogReader.read`.
        """
        state = self._reader.read(self._follow, start=self._newest or self._known)
        self._newest = state.newest
        return state

    def append(self, entries: Sequence[bytes], *, derive: bool = True) -> Appended:
        """Append entries as one commit; they are in the log, durably, when this returns.

        With `derive` the tiles follow, as far as the store lets us. When the
        store fails it may have kept the commit all the same, so that an entry
        that is appended again may be in the log twice.

        Raises:
            Conflict: others were always faster, or no number is free.
            LogInconsistent: the log does not extend what was seen of it.
            Unavailable: the store failed.
            ValueError: they are not what one commit may hold (`log_commit.check_entries`).
        """
        log_commit.check_entries(entries)
        leaves = merkle.leaf_hashes(entries)
        tried: frozenset[int] = (
            frozenset()
        )  # a listing does not tell of everything that has a name, such as a folder
        lost, newest = 0, None
        while lost <= _ATTEMPTS:
            state = self.read()
            lost += newest is not None and newest.number != state.newest.number
            newest = state.newest
            self._find_tiles(newest)
            growth = merkle.grow(newest.edge, leaves)
            signed = note.sign_checkpoint(
                Checkpoint(self._origin, growth.after.size, growth.after.root), self._signer
            )
            number = self._free(newest.number, state.taken | tried)
            data = log_commit.encode(self._certificate, signed, growth.after, entries)
            if not self._create(self._log.commit(number), data):
                tried |= {number}
                continue
            line = log_keys.certificate_line(self._origin, self._certificate)
            done = Appended(number, tuple(entries), growth, signed.added([line]))
            self._appended(done)
            if derive:
                self.derive()
            return done
        raise Conflict(
            f"Others are always faster in writing to {self._log.commits}.",
            subject=str(self._log),
            hint="Try again.",
        )

    def _free(self, above: int, taken: frozenset[int]) -> int:
        for number in range(above + 1, above + 2 + limits.GAP):
            if number not in taken:
                return number
        raise Conflict(
            f"The next {limits.GAP:,} numbers of {self._log.commits} are taken by other objects.",
            subject=str(self._log),
            hint="Somebody with write access fills the store. Remove what mvault audit verify reports.",
        )

    def _create(self, name: str, data: bytes) -> bool:
        """Create a commit; the very same one that is there already is ours, whose answer was lost."""
        try:
            with self._store.create(name, size=len(data)) as sink:
                sink.write(data)
        except Conflict:
            try:
                return self._store.read(name, limit=len(data)) == data
            except (NotFound, Refused, Unavailable):
                return False
        return True

    def _appended(self, done: Appended) -> None:
        after = done.growth.after
        self._newest = Link(done.number, after, after.root, None, None, authorised=True)
        self._advance(done.growth, done.entries)
        self._note = done.note

    def _follow(self, commit: CommitRead) -> None:
        if self._take is not None:
            self._take(commit)
        self._advance(commit.growth, commit.entries)
        self._note = commit.note
        if self._tiles is not None:
            self._tiles.left_behind(commit.growth.after.size)

    # --- what other programs read ---

    def _find_tiles(self, newest: Link) -> None:
        """Find once where the tiles stand, so that they can be written as entries are appended."""
        if self._tiles is None and not self._lost:
            with suppress(Unavailable):
                self._tiles = tiles.recover(self._store, self._log, newest)
            self._lost = self._tiles is None

    def _advance(self, growth: Growth, entries: Sequence[bytes]) -> None:
        if self._tiles is not None:
            try:
                self._tiles.advance(growth, entries)
            except (Unavailable, Conflict):
                self._tiles = None

    def derive(self) -> bool:
        """Bring tiles and `checkpoint` up to what this writer knows; tell whether that was possible.

        Nothing depends on it: `tiles.repair` does the same at any later time.
        """
        if self._newest is None or not self._newest.size:
            return False
        self._find_tiles(self._newest)
        if self._tiles is None:
            return False
        try:
            self._tiles.flush(self._note or self._stored_note(self._newest.number))
        except (Unavailable, Conflict, Refused):
            self._tiles = None
            return False
        return True

    def _stored_note(self, number: int) -> Note:
        commit = log_commit.parse(read_commit(self._store, self._log, number), str(self._log))
        return certified_note(commit)
