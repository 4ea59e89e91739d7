"""Verify the logs of a vault from their files, without any key, and say what that could not show.

A log that holds its entries may still have lost its end: only what somebody
remembers of it tells. So the answer to "is the record whole?" has three values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from vault.actions import log_writers, reviewing_witnesses
from vault.actions.session import Session
from vault.core import audit_record, log_names, memory_format
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

YES: Final = "yes"
NO: Final = "no"
NOT_CHECKABLE: Final = "not checkable"

_DECISIONS: Final = (b'{"action":"promote"', b'{"action":"withdraw"')
_ANCHOR: Final = b'{"action":"anchor"'
_NEVER: Final = (
    "A load or pull that was never recorded leaves no trace; records may still wait where they were made.",
    "An access log that was deleted whole, before this machine or an anchor saw it, cannot be missed.",
)
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


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying came to: log by log, and what could not be checked at all, each with the reason."""

    logs: tuple[LogFound, ...]
    limits: tuple[str, ...]

    @property
    def findings(self) -> Iterator[Finding]:
        """All that was found."""
        for entry in self.logs:
            yield from entry.findings

    @property
    def whole(self) -> str:
        """Answer whether the record is whole: `YES`, `NO` or `NOT_CHECKABLE`."""
        if any(entry.level == BAD and not entry.derived for entry in self.findings):
            return NO
        return NOT_CHECKABLE if self.because else YES

    @property
    def because(self) -> str:
        """Say why the record is not whole, or not known to be; empty where it is."""
        bad = [f"{entry.log}: {entry.message}" for entry in self.findings if _counts(entry)]
        if bad:
            return _some(bad)
        if not self.logs:
            return "nothing has been recorded in this vault yet"
        unread = [entry.message for entry in self.findings if entry.level == UNKNOWN and not entry.derived]
        return _some(unread)

    @property
    def status(self) -> int:
        """Give the exit status: 3 if anything does not hold, 7 if anything could not be read, else 0."""
        found = [*self.findings]
        if any(entry.level == BAD for entry in found):
            return Refused.exit_status
        if any(entry.level == UNKNOWN and entry.code in _UNREADABLE for entry in found):
            return Unavailable.exit_status
        return 0


_UNREADABLE: Final = frozenset({"unavailable", "storage-denied", "storage-full"})


def _counts(entry: Finding) -> bool:
    return entry.level == BAD and not entry.derived


def _some(texts: Sequence[str]) -> str:
    """Join sentences, of many only the first ones."""
    shown = "; ".join(text.rstrip(".") for text in texts[:_NAMED])
    rest = len(texts) - _NAMED
    return f"{shown}; and {rest:,} more" if rest > 0 else shown


def verify(session: Session, wanted: Log | None = None) -> Verification:
    """Replay every log, or one, from its commits; compare it with all that is known of it elsewhere.

    What holds is remembered, so that the next time its loss is noticed.

    Raises:
        NotFound: there is no such log, and none was ever seen.
        Refused, Unavailable: the trust documents themselves do not verify.
    """
    known = remembered(session)
    found: list[LogFound] = []
    anchors: dict[str, dict[int, tuple[bytes, str]]] = {}
    for log in _all_logs(session, known, wanted):
        one = _LogVerification(session, log, known.get(str(log)), anchors)
        told = one.run()
        if wanted is None or log == wanted:
            found.append(told)
    for entry in found:
        if entry.holds and entry.head is not None and entry.head.size:
            log_writers.remember(session, entry.log, entry.head)
    return Verification(tuple(found), _limits(session, found))


def remembered(session: Session) -> Mapping[str, Head]:
    """Give the heads of logs that this machine remembers, or its trust file brings along."""
    era = session.trust().policy.era
    known = memory_format.in_era(session.memory.load(), era).logs
    return {name: Head(mark.era, mark.number, bytes.fromhex(mark.digest)) for name, mark in known.items()}


def all_logs(session: Session) -> list[Log]:
    """List the logs of the store and those that are remembered: trust, environments, access.

    Raises:
        Unavailable: the store failed.
    """
    from vault.audit import reading

    found = {str(log): log for log in reading.logs(session.store)}
    for name in remembered(session):
        found.setdefault(name, log_names.parse(name))
    return sorted(found.values(), key=lambda log: (_KINDS.index(log.kind), str(log)))


_KINDS: Final = (log_names.TRUST, log_names.ENVIRONMENT, ACCESS)


def _all_logs(session: Session, known: Mapping[str, Head], wanted: Log | None) -> list[Log]:
    """List what has to be read: of an access log also the logs that its heads may be anchored in."""
    there = all_logs(session)
    if wanted is None:
        return there
    if wanted not in there and str(wanted) not in known:
        raise NotFound(
            f"There is no log {wanted}.", subject=str(wanted), hint="See what there is: mvault audit status"
        )
    if wanted.kind == ACCESS:
        return [*(log for log in there if log.kind == log_names.ENVIRONMENT), wanted]
    return [wanted]


def _limits(session: Session, found: Sequence[LogFound]) -> tuple[str, ...]:
    """Say what no look at these files can show."""
    texts = [*_NEVER]
    lone = [str(entry.log) for entry in found if entry.head is not None and not _witnessed(entry)]
    if lone:
        texts.append(
            f"No witness has cosigned {_some(lone)}: its writer could have shown others another history."
        )
    return tuple(texts)


def _witnessed(found: LogFound) -> bool:
    return any(entry.check == "witnesses" and entry.level == OK for entry in found.findings)


@dataclass(slots=True)
class _LogVerification:
    """The verification of one log. `anchors` are heads of access logs that environment logs tell of."""

    session: Session
    log: Log
    known: Head | None
    anchors: dict[str, dict[int, tuple[bytes, str]]]
    _findings: list[Finding] = field(default_factory=list)
    _history: dict[int, bytes] = field(default_factory=dict)
    _decided: dict[tuple[object, ...], tuple[Digest, int]] = field(default_factory=dict)
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
                    f"{pins[size]} and {source} tell different histories of its first {size:,} entries.",
                    subject=str(self.log),
                )
            pins.setdefault(size, source)
        return seen, pins

    def _told(self) -> Iterator[tuple[int, bytes, str]]:
        policy = self.session.trust().policy
        if self.known is not None:
            yield self.known.size, self.known.root, "what this machine has seen before"
        origin = log_names.origin(policy.vault, self.log)
        for member in policy.members.values():
            for key in member.keys:
                if key.until is not None and key.until.origin == origin:
                    text = f"the policy, where it retires a key of {member.name}"
                    yield key.until.size, bytes.fromhex(key.until.root), text
        for size, (root, source) in self.anchors.get(str(self.log), {}).items():
            yield size, root, source

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
            if entry.startswith(_ANCHOR):
                self._anchor(record, index)
            elif entry.startswith(_DECISIONS) and record.evidence is not None and record.seq is not None:
                self._decide(record, record.evidence, index)

    def _decide(self, record: audit_record.AuditRecord, evidence: Digest, index: int) -> None:
        """Hold writers to one record for each number of a channel; an era begins the numbers anew."""
        era = 0 if record.policy is None else record.policy.era
        key = (era, record.environment, record.slot, record.model, record.seq)
        first = self._decided.setdefault(key, (evidence, index))
        if first[0] != evidence:
            where = f"{record.model}@{record.environment}/{record.slot}"
            self._tell(
                BAD,
                "decisions",
                f"Entries {first[1]} and {index} tell of two different records with number {record.seq} "
                f"of {where}.",
                "log-inconsistent",
            )

    def _anchor(self, record: audit_record.AuditRecord, index: int) -> None:
        head = anchored(record.subject or "")
        if head is not None:
            log, size, root = head
            source = f"entry {index} of {self.log}, which anchors it"
            self.anchors.setdefault(log, {}).setdefault(size, (root, source))

    # --- what it came to ---

    def _tell_commits(self, state: "LogState") -> None:
        entries = f"{state.head.size:,} {'entry' if state.head.size == 1 else 'entries'}"
        text = f"{entries} in {self._commits:,} commits lead to the signed root."
        self._tell(OK, "commits", text)
        for entry in state.skipped:
            if entry.kind in (FORK, ORPHAN):
                self._tell(BAD, "commits", entry.reason, entry.code)
            elif entry.kind != REPEATED:
                text = f"Object {entry.number} does not count and does no harm: {entry.reason}"
                self._tell(NOTE, "commits", text, entry.code)
        if state.provisional:
            count = state.provisional[-1].size - state.head.size
            who = state.provisional[0].writer or "somebody whom the policy does not know"
            self._tell(
                NOTE, "commits", f"{count:,} entries at the end, by {who}, do not count: who may not write."
            )
        if state.kept:
            text = f"{len(state.kept):,} commits at its end count, although their writer's key is revoked."
            self._tell(NOTE, "commits", text)
        if self._unreadable:
            self._tell(NOTE, "commits", f"{self._unreadable:,} entries are no audit records of this release.")

    def _tell_pins(self, pins: Mapping[int, str], size: int) -> None:
        for pinned, source in sorted(pins.items()):
            self._tell(OK, "pins", f"It continues the {pinned:,} entries known from {source}.")
        if not pins:
            self._tell(
                UNKNOWN,
                "pins",
                f"this machine sees {self.log} for the first time, so a cut at its end would not show",
            )

    def _tell_decisions(self) -> None:
        if self._decided and not any(entry.check == "decisions" for entry in self._findings):
            text = f"{len(self._decided):,} channel records, one for each number of a channel."
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
                f"{_some(other)} differ from the commits, which count. Write them again: mvault audit repair"
            )
            self._tell(BAD, "tiles", text, "log-inconsistent", derived=True)
        elif missing or behind:
            text = "Copies for other programs are not up to date. Write them: mvault audit repair"
            self._tell(NOTE, "tiles", text, derived=True)
        else:
            self._tell(OK, "tiles", "Tiles and checkpoint agree with the commits.", derived=True)

    def _behind(self, name: str) -> bool:
        """Tell whether a checkpoint is an older one of this log."""
        from vault.core import limits, note

        if name != self.log.checkpoint:
            return False
        try:
            data = self.session.store.read(name, limit=limits.NOTE_BYTES)
            found = note.parse_checkpoint(note.parse(data, name).text, name)
        except (Refused, NotFound):
            return False
        return self._history.get(found.size) == found.root


def anchored(subject: str) -> tuple[str, int, bytes] | None:
    """Parse what an anchoring record names: LOGNAME SIZE ROOT, the root in hexadecimal; else None."""
    parts = subject.split(" ")
    if len(parts) != 3 or not parts[1].isascii() or not parts[1].isdigit() or len(parts[1]) > 16:
        return None
    try:
        log = log_names.parse(parts[0])
        root = bytes.fromhex(parts[2])
    except (Refused, ValueError):
        return None
    return (str(log), int(parts[1]), root) if len(root) == 32 else None


def _is_there(session: Session, name: str) -> bool:
    try:
        session.store.stat(name)
    except NotFound:
        return False
    return True
