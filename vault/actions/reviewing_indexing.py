"""Keep an index over the verified logs of a vault on this machine, and find records in it.

The index is a convenience: it lies in the state folder, or in memory without
one. What is shown of a record comes from there; what is proved comes from the log.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vault.actions import log_writers, reviewing_logs
from vault.actions.reviewing_replaying import entries
from vault.actions.session import Session
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.errors import LogInconsistent, NotFound, Refused, Unavailable, VaultError

if TYPE_CHECKING:
    from vault.audit.index import AuditIndex
    from vault.audit.reading import CommitRead

FOLDER: Final = "index"
_DIGITS: Final = 32  # of the vault's id, in the name of the folder
_BATCH: Final = 65_536  # entries in one transaction


def folder(session: Session, state: Path | None) -> Path | None:
    """Give the folder of the index in a state folder; None without one."""
    return None if state is None else state / "audit" / session.pin[:_DIGITS] / FOLDER


@dataclass(slots=True)
class Indexed:
    """The index of a vault, brought up to the logs in its store by `refresh`.

    `troubles` are the logs that could not be read, or do not hold, with the reason.
    """

    session: Session
    place: Path | None
    troubles: dict[str, VaultError] = field(default_factory=dict)
    _index: "AuditIndex | None" = None

    @property
    def index(self) -> "AuditIndex":
        """The index itself: in memory where the state folder cannot be written.

        Raises:
            Unavailable, Refused: it can be neither.
        """
        if self._index is None:
            from vault.audit.index import AuditIndex

            try:
                self._index = AuditIndex(self.place)
            except Unavailable:
                if self.place is None:
                    raise
                self._index = AuditIndex(None)
        return self._index

    def refresh(self, *, remember: bool = True) -> int:
        """Take in what the logs have that the index has not; give how many entries came.

        Their heads are remembered unless `remember` is false: who is about to verify
        them must not have his own first look for a memory. What does not hold, or
        cannot be read, is in `troubles`, and no reason to show nothing.

        Raises:
            Unavailable: the store, or the index, cannot be used at all.
            Refused: the trust documents do not verify.
        """
        try:
            return self._refresh(remember)
        except Refused as refusal:
            if refusal.code != "memory-damaged" or self._index is None:
                raise
        self._index.clear()  # it is no evidence, and made again from the logs
        return self._refresh(remember)

    def _refresh(self, remember: bool) -> int:
        self.troubles.clear()
        added = 0
        known = reviewing_logs.remembered(self.session)
        for log in reviewing_logs.all_logs(self.session):
            try:
                added += self._extend(log, known.get(str(log)), remember)
            except (LogInconsistent, Unavailable) as error:
                self.troubles[str(log)] = error
        self.index.ready()
        return added

    def extend(self, log: Log) -> None:
        """Take in what one log has that the index has not.

        Raises:
            LogInconsistent: it does not continue what is known of it.
            Unavailable: the store, or the index, cannot be used.
            Refused: the trust documents do not verify.
        """
        known = log_writers.known(self.session, log)
        try:
            self._extend(log, known, remember=False)
        except Refused as refusal:
            if refusal.code != "memory-damaged":
                raise
            self.index.clear()
            self._extend(log, known, remember=False)

    def has_outcome(self, record_id: bytes) -> bool:
        """Tell whether the index has the outcome of an attempt.

        Raises:
            Unavailable, Refused: the index cannot be read.
        """
        return bool(self.index.rows("SELECT 1 FROM entries WHERE of = ? LIMIT 1", (record_id,)))

    def _extend(self, log: Log, known: Head | None, remember: bool) -> int:
        """Bring one log up to date.

        Raises:
            LogInconsistent: it does not continue what is known of it; the index keeps what it had.
            Unavailable: the store failed.
        """
        from vault.audit import reading

        mark = self.index.marks().get(str(log))
        start = None if mark is None or not mark.size else Head(mark.commit, mark.size, mark.root)
        new = reading.numbers(self.session.store, log, 0 if start is None else start.number)
        if start is not None and not new:
            self._demand(log, start)
            return 0
        try:
            return self._read(log, known, start, len(new), remember)
        except LogInconsistent as error:
            if start is None or (known is not None and known.size >= start.size):
                raise
            # In a new era nothing is remembered of what the index has; still it is told.
            self.troubles[str(log)] = error
        self.index.forget(str(log))
        return self._read(log, known, None, len(new), remember)

    def _demand(self, log: Log, start: Head) -> None:
        """Notice cheaply that the end of a log is gone; whether the rest is there, `verify` tells.

        Raises:
            LogInconsistent: the commit that was indexed last is not there.
            Unavailable: the store failed.
        """
        try:
            self.session.store.stat(log.commit(start.number))
        except NotFound:
            raise LogInconsistent(
                f"{log} was seen with {entries(start.size)}, and its commit {start.number} is gone.",
                subject=str(log),
            ) from None

    def _read(self, log: Log, known: Head | None, start: Head | None, total: int, remember: bool) -> int:
        from vault.audit import reading

        session = self.session
        batch = _Batch(self.index, str(log))
        done = 0

        def take(commit: "CommitRead") -> None:
            nonlocal done
            done += 1
            batch.take(commit)
            session.progress(done, total, f"index of {log}")

        reader = reading.LogReader(session.store, log, session.trust().policy, known=known)
        state = reader.read(take, start=start)
        batch.flush()
        if remember and state.head.size and state.head != known:
            log_writers.remember(session, log, state.head)
        return batch.added


@dataclass(slots=True)
class _Batch:
    """Entries of one log on their way into the index, some commits in one transaction."""

    index: "AuditIndex"
    log: str
    added: int = 0
    _commits: "list[CommitRead]" = field(default_factory=list)
    _entries: int = 0

    def take(self, commit: "CommitRead") -> None:
        """Take the next commit."""
        self._commits.append(commit)
        self._entries += len(commit.entries)
        if self._entries >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        from vault.audit.index import Mark

        if not self._commits:
            return
        last = self._commits[-1]
        after = last.growth.after
        entries = ((commit.number, entry) for commit in self._commits for entry in commit.entries)
        mark = Mark(after.size, after.root, last.number)
        self.added += self.index.extend(self.log, self._commits[0].first, entries, mark)
        self._commits.clear()
        self._entries = 0
