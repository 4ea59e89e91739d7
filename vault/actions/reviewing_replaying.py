"""Replay one log from its files and compare it with all that is known of it: see `reviewing_verifying`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vault.actions import anchoring, freshness, reviewing_witnesses
from vault.actions.session import Session
from vault.core import audit_decision, audit_record, limits, log_names, log_proof, note
from vault.core.log_chain import FORK, ORPHAN, REPEATED, Head
from vault.core.log_names import ACCESS, Log
from vault.core.names import Digest
from vault.errors import LogInconsistent, NotFound, Refused, Unavailable, VaultError

if TYPE_CHECKING:
    from vault.audit.reading import CommitRead, LogReader, LogState
    from vault.audit.tiles import Tiles

OK: Final = "ok"
NOTE: Final = "note"  # worth knowing, and no harm
UNKNOWN: Final = "unknown"  # it could not be checked
BAD: Final = "bad"

FIRST_SIGHT: Final = "first-sight"

MEMORY: Final = "what this machine has seen before"
TRUST_FILE: Final = "what this machine, or whoever made its trust file, has seen before"

_NAMED: Final = 3  # how many of many are named in a sentence


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one log: what was looked at, its `level` and what was found.

    `derived` says that it is about copies which follow from the commits.
    """

    level: str
    log: str
    check: str
    message: str
    code: str = ""
    derived: bool = False


@dataclass(frozen=True, slots=True)
class LogFound:
    """What one log came to; `head` is None when it does not hold or cannot be read.

    `pins` are what is known of it from elsewhere: size → who says so.
    """

    log: Log
    origin: str
    head: Head | None
    commits: int
    findings: tuple[Finding, ...]
    pins: Mapping[int, str]

    @property
    def holds(self) -> bool:
        """Tell whether the record itself holds: its commits, whatever lies beside them."""
        return self.head is not None and not any(
            entry.level == BAD and not entry.derived for entry in self.findings
        )


def some(texts: Sequence[str]) -> str:
    """Join sentences, of many only the first ones."""
    shown = "; ".join(text.rstrip(".") for text in texts[:_NAMED])
    rest = len(texts) - _NAMED
    return f"{shown}; and {rest:,} more" if rest > 0 else shown


@dataclass(slots=True)
class Replay:
    """The verification of one log.

    `known` is the head that is remembered, `anchors` are those of access logs that environment logs tell of.
    """

    session: Session
    log: Log
    known: Head | None
    anchors: dict[str, list[tuple[int, bytes, str]]]
    memory: str  # what `known` is from, as sentences name it
    _findings: list[Finding] = field(default_factory=list)
    _history: dict[int, bytes] = field(default_factory=dict)
    _decided: dict[audit_decision.Number, tuple[Digest, int]] = field(default_factory=dict)
    _wrong: list[str] = field(default_factory=list)
    _unreadable: int = 0
    _commits: int = 0
    _total: int = 0

    def run(self) -> LogFound:
        """Do every check; what stops the reading is a finding too."""
        policy = self.session.trust().policy
        origin = log_names.origin(policy.vault, self.log)
        head: Head | None = None
        pins: dict[int, str] = {}
        try:
            seen, pins = self._seen()
            head = self._read(seen, pins)
        except Unavailable as error:
            self._tell(UNKNOWN, "commits", f"{self.log} cannot be read: {error.message}", error.code)
        except VaultError as error:
            self._tell(BAD, "commits", error.message, error.code)
        return LogFound(self.log, origin, head, self._commits, tuple(self._findings), pins)

    def _tell(self, level: str, check: str, message: str, code: str = "", *, derived: bool = False) -> None:
        self._findings.append(Finding(level, str(self.log), check, message, code, derived))

    # --- what is known of the log from elsewhere ---

    def _seen(self) -> tuple[dict[int, bytes], dict[int, str]]:
        """Collect the trees that the log must contain, and who says so.

        Raises:
            LogInconsistent: two of them contradict each other.
        """
        seen: dict[int, bytes] = {}
        pins: dict[int, str] = {}
        for size, root, source in self._told():
            if not size:
                continue
            if seen.setdefault(size, root) != root:
                raise LogInconsistent(
                    f"{pins[size]} and {source} tell different histories of its first {entries(size)}.",
                    subject=str(self.log),
                )
            pins.setdefault(size, source)
        return seen, pins

    def _told(self) -> Iterator[tuple[int, bytes, str]]:
        policy = self.session.trust().policy
        if self.known is not None:
            yield self.known.size, self.known.root, self.memory
        origin = log_names.origin(policy.vault, self.log)
        yield from self._attested()
        for member in policy.members.values():
            for key in member.keys:
                if key.until is not None and key.until.origin == origin:
                    text = f"the policy, where it retires a key of {member.name}"
                    yield key.until.size, bytes.fromhex(key.until.root), text
        yield from self.anchors.get(str(self.log), ())

    def _attested(self) -> Iterator[tuple[int, bytes, str]]:
        """Give the head that the heads of the log's environment name, expired or not."""
        trust, environment = self.session.trust(), self.log.environment
        if environment is None or environment not in trust.policy.environments:
            return
        try:
            read = freshness.read(self.session.store, trust.context, trust.root, environment, None)
        except Refused as refusal:
            self._tell(BAD, "pins", refusal.message, refusal.code)
            return
        found = None if read.heads is None else read.heads.record
        if found is not None and found.log is not None:
            source = f"heads {found.number} of {environment}, attested {found.created}"
            yield found.log.size, bytes.fromhex(found.log.root), source

    # --- the log itself ---

    def _read(self, seen: dict[int, bytes], pins: Mapping[int, str]) -> Head:
        from vault.audit import reading
        from vault.audit.tiles import Tiles

        session = self.session
        self._total = len(reading.numbers(session.store, self.log, 0))
        tiles = Tiles(session.store, self.log, write=False, compare=self._wrong)
        reader = reading.LogReader(session.store, self.log, session.trust().policy, seen=seen)
        state, newest = self._replay(reader, tiles)
        self._tell_commits(state)
        self._tell_pins(pins, state.head.size)
        self._tell_decisions()
        self._tell_tiles(tiles, newest)
        for level, message, code in reviewing_witnesses.look(session, self.log, self._history, state.newest):
            self._tell(level, "witnesses", message, code)
        return state.head

    def _replay(self, reader: "LogReader", tiles: "Tiles") -> "tuple[LogState, CommitRead | None]":
        newest: CommitRead | None = None

        def take(commit: "CommitRead") -> None:
            nonlocal newest
            newest = commit
            self._commits += 1
            after = commit.growth.after
            self._history[after.size] = after.root
            tiles.take(commit)
            self._entries(commit)
            self.session.progress(self._commits, self._total, str(self.log))

        return reader.read(take), newest

    def _entries(self, commit: "CommitRead") -> None:
        """Look into entries that decide something; of access logs that is none, and they are many."""
        if self.log.kind == ACCESS:
            return
        for index, entry in enumerate(commit.entries, commit.first):
            try:
                record = audit_record.parse(entry)
            except Refused:
                self._unreadable += 1
                continue
            if entry.startswith(anchoring.PREFIX):
                self._anchor(record, index)
            else:
                self._decide(record, index)

    def _decide(self, record: audit_record.AuditRecord, index: int) -> None:
        """Hold writers to one record for each number of a channel."""
        found = audit_decision.decided(record)
        if found is None:
            return
        number, digest = found
        first = self._decided.setdefault(number, (digest, index))
        if first[0] != digest:
            where = f"{record.model}@{record.environment}/{record.slot}"
            self._tell(
                BAD,
                "decisions",
                f"Entries {first[1]} and {index} tell of two different records with number {record.seq} "
                f"of {where}.",
                "log-inconsistent",
            )

    def _anchor(self, record: audit_record.AuditRecord, index: int) -> None:
        found = anchoring.told(record, self.session.pin)
        if found is not None:
            source = f"entry {index} of {self.log}, which anchors it"
            heads = self.anchors.setdefault(str(found.log), [])
            heads.append((found.head.size, found.head.root, source))

    # --- what it came to ---

    def _tell_commits(self, state: "LogState") -> None:
        commits = f"{self._commits:,} commit{'' if self._commits == 1 else 's'}"
        lead = "leads" if state.head.size == 1 else "lead"
        text = f"{entries(state.head.size)} in {commits} {lead} to the signed root."
        self._tell(OK, "commits", text)
        for entry in state.skipped:
            if entry.kind in (FORK, ORPHAN):
                self._tell(BAD, "commits", entry.reason, entry.code)
            elif entry.kind != REPEATED:
                text = f"Object {entry.number} does not count and does no harm: {entry.reason}"
                self._tell(NOTE, "commits", text, entry.code)
        if state.provisional:
            more = entries(state.provisional[-1].size - state.head.size)
            who = state.provisional[0].writer or "somebody whom the policy does not know"
            self._tell(
                NOTE, "commits", f"After them {more} by {who}, who may not write this log, do not count."
            )
        if state.kept:
            text = f"{len(state.kept):,} commits at its end count, although their writer's key is revoked."
            self._tell(NOTE, "commits", text)
        if self._unreadable:
            self._tell(NOTE, "commits", f"No audit records of this release: {entries(self._unreadable)}.")

    def _tell_pins(self, pins: Mapping[int, str], size: int) -> None:
        for pinned, source in sorted(pins.items()):
            self._tell(OK, "pins", f"It continues the {entries(pinned)} known from {source}.")
        if not pins:
            self._tell(
                UNKNOWN,
                "pins",
                f"This machine sees {self.log} for the first time, so a cut at its end would not show.",
                FIRST_SIGHT,
            )

    def _tell_decisions(self) -> None:
        if self._decided and not any(entry.check == "decisions" for entry in self._findings):
            text = f"Each number of a channel was given to one record: {len(self._decided):,} in all."
            self._tell(OK, "decisions", text)

    def _tell_tiles(self, tiles: "Tiles", newest: "CommitRead | None") -> None:
        """Compare what other programs read with the commits; it may be missing, or behind, at any time."""
        if newest is None:
            return
        tiles.flush(newest.note)
        missing = [name for name in self._wrong if not _is_there(self.session, name)]
        other = [name for name in self._wrong if name not in missing and not self._behind(name)]
        behind = len(self._wrong) - len(missing) - len(other)
        if other:
            text = (
                f"{some(other)} differ from the commits, which count. Write them again: mvault audit repair"
            )
            self._tell(BAD, "tiles", text, "log-inconsistent", derived=True)
        elif missing or behind:
            text = "Copies for other programs are not up to date. Write them: mvault audit repair"
            self._tell(NOTE, "tiles", text, derived=True)
        else:
            self._tell(OK, "tiles", "Tiles and checkpoint agree with the commits.", derived=True)

    def _behind(self, name: str) -> bool:
        """Tell whether a checkpoint is an older one of this log, signed by who may write it."""
        if name != self.log.checkpoint:
            return False
        try:
            data = self.session.store.read(name, limit=limits.NOTE_BYTES)
            signed = log_proof.signed_by(
                note.parse(data, name), self.session.trust().policy, self.log, name
            ).checkpoint
        except (Refused, NotFound):
            return False
        older = signed.size < max(self._history, default=0)
        return older and self._history.get(signed.size) == signed.root


def listed(names: Sequence[str]) -> str:
    """List names, of many only the first ones."""
    shown = ", ".join(names[:_NAMED])
    rest = len(names) - _NAMED
    return f"{shown} and {rest:,} more" if rest > 0 else shown


def entries(count: int) -> str:
    """Write a number of entries."""
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def _is_there(session: Session, name: str) -> bool:
    try:
        session.store.stat(name)
    except NotFound:
        return False
    return True
