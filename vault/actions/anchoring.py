"""Anchor access logs: record their heads in a log that others hold too, so that their loss is noticed.

An access log belongs to one instance of one service. Whoever can write to the
store may delete it whole, and who never saw it cannot miss it. An anchor is a
record of its head in the trust log or in an environment's log.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from vault.actions import auditing, log_writers, reviewing_logs
from vault.actions.session import Session
from vault.core import audit_record, log_names
from vault.core.audit_record import AuditRecord
from vault.core.log_chain import Head
from vault.core.log_names import ACCESS, ENVIRONMENT, Log
from vault.core.names import Digest, Environment
from vault.core.note import Checkpoint
from vault.core.policy import LogHead
from vault.errors import AccessDenied, LogInconsistent, NotFound, Refused, VaultError

ACTION: Final = "anchor"
PREFIX: Final = b'{"action":"anchor"'  # of the bytes of such a record, which is enough to pass others over
_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class Anchor:
    """What an anchoring record says: that an access log had this head. Its `number` is 0: none is told."""

    log: Log
    head: Head


@dataclass(frozen=True, slots=True)
class Anchored:
    """What anchoring came to: the log that has the anchors now, which are new, and what was refused."""

    log: Log
    added: tuple[Anchor, ...]
    unchanged: int
    troubles: tuple[tuple[Log, VaultError], ...]

    @property
    def status(self) -> int:
        """Give the exit status: 3 if a log does not continue its anchors, 7 if one could not be read."""
        statuses = {error.exit_status for _, error in self.troubles}
        return Refused.exit_status if Refused.exit_status in statuses else max(statuses, default=0)


def subject_of(log: Log, head: Head) -> str:
    """Write what an anchoring record names: LOG SIZE ROOT, the root in hexadecimal."""
    return f"{log} {head.size} {head.root.hex()}"


def evidence_of(vault: Digest, log: Log, head: Head) -> Digest:
    """Give the SHA-256 of the text of a checkpoint."""
    text = Checkpoint(log_names.origin(vault, log), head.size, head.root).text()
    return Digest(hashlib.sha256(text).hexdigest())


def told(record: AuditRecord, vault: Digest) -> Anchor | None:
    """Give the head that a record anchors; None if it is no such record, or contradicts itself."""
    if record.action != ACTION or record.decision != audit_record.ALLOW or record.subject is None:
        return None
    parts = record.subject.split(" ")
    if len(parts) != 3 or not (parts[1].isascii() and parts[1].isdecimal() and len(parts[1]) <= 16):
        return None
    try:
        log, root = log_names.parse(parts[0]), bytes.fromhex(parts[2])
    except (Refused, ValueError):
        return None
    head = Head(0, int(parts[1]), root)
    if not head.size or len(root) != 32:
        return None
    return Anchor(log, head) if record.evidence == evidence_of(vault, log, head) else None


def anchors_in(entries: Iterable[bytes], vault: Digest) -> list[Anchor]:
    """Give what entries of a log anchor, in their order."""
    found = []
    for entry in entries:
        if not entry.startswith(PREFIX):
            continue
        try:
            anchor = told(audit_record.parse(entry), vault)
        except Refused:
            continue  # some other program's
        if anchor is not None:
            found.append(anchor)
    return found


def anchor(session: Session, environment: Environment | None) -> Anchored:
    """Record the head of every access log in the log of an environment, or in the trust log.

    The trust log takes the heads of environments' logs too.

    What has the same head since it was anchored there is left out. A log that does not
    continue what was anchored, or is gone, is refused; the others are anchored.

    Raises:
        AccessDenied: this identity may not write to that log.
        Refused, Conflict, Unavailable, NoUsableKey, NotFound: that log cannot be written, or not verified.
    """
    with auditing.acting(session, ACTION, str(log_writers.log_of(environment)), environment):
        return _anchor(session, environment)


def _anchor(session: Session, environment: Environment | None) -> Anchored:
    into = log_writers.log_of(environment)
    if not log_writers.writes(session, environment):
        raise AccessDenied(
            f"This identity may not write to the log {into}.",
            subject=str(into),
            hint="A role with {actions: [log]} allows it; with env, for that environment's log alone.",
        )
    before = _anchored_in(session, into)
    kinds = {ACCESS} if environment is not None else {ACCESS, ENVIRONMENT}  # for keys that retire: `until`
    there = {str(log): log for log in reviewing_logs.all_logs(session) if log.kind in kinds}
    logs = {**{name: found[-1].log for name, found in before.items()}, **there}
    added, troubles, unchanged = [], [], 0
    for done, (name, log) in enumerate(sorted(logs.items()), 1):
        anchors = before.get(name, [])
        try:
            head = _head(session, log, anchors)
        except VaultError as error:
            troubles.append((log, error))
            continue
        finally:
            session.progress(done, len(logs), name)
        if not head.size or any(
            (known.head.size, known.head.root) == (head.size, head.root) for known in anchors
        ):
            unchanged += 1
        else:
            added.append(Anchor(log, head))
    _write(session, into, environment, added)
    return Anchored(into, tuple(added), unchanged, tuple(troubles))


def trust_head(session: Session) -> LogHead:
    """Anchor every log in the trust log, and give its head: what was signed before then is older than it.

    Raises:
        AccessDenied, Refused, Conflict, Unavailable, NoUsableKey, NotFound: as `anchor`; also where
            another log does not hold.
    """
    done = anchor(session, None)
    for _, error in done.troubles:
        raise error
    head = log_writers.known(session, log_names.TRUST_LOG)
    if head is None:
        raise NotFound("The trust log of this vault has no entries.", subject=str(log_names.TRUST_LOG))
    return log_writers.told(session, log_names.TRUST_LOG, head)


def _anchored_in(session: Session, into: Log) -> Mapping[str, list[Anchor]]:
    """Read what a log has anchored, by the name of the access log, oldest first."""
    from vault.audit.reading import CommitRead, LogReader

    found: dict[str, list[Anchor]] = {}

    def take(commit: CommitRead) -> None:
        for entry in anchors_in(commit.entries, session.pin):
            found.setdefault(str(entry.log), []).append(entry)

    known = log_writers.known(session, into)
    LogReader(session.store, into, session.trust().policy, known=known).read(take)
    return found


def _head(session: Session, log: Log, anchors: Iterable[Anchor]) -> Head:
    """Verify an access log against what was anchored and what this client remembers; give its head.

    Raises:
        LogInconsistent: it does not continue that, or its anchors contradict each other.
        Unavailable: the store failed.
    """
    from vault.audit.reading import LogReader

    seen: dict[int, bytes] = {}
    for entry in anchors:
        if seen.setdefault(entry.head.size, entry.head.root) != entry.head.root:
            raise LogInconsistent(
                f"{log} was anchored with two histories of {entry.head.size:,} entries.", subject=str(log)
            )
    known = log_writers.known(session, log)
    # From its first commit: what was anchored by others has to be on the way to what is known here.
    head = LogReader(session.store, log, session.trust().policy, known=known, seen=seen).read().head
    if head.size:
        log_writers.remember(session, log, head)
    return head


def _write(session: Session, into: Log, environment: Environment | None, anchors: list[Anchor]) -> None:
    if not anchors:
        return
    writer = log_writers.writer(session, into)
    for at in range(0, len(anchors), _BATCH):
        entries = [_entry(session, environment, entry) for entry in anchors[at : at + _BATCH]]
        log_writers.remember(session, into, writer.append(entries).head)


def _entry(session: Session, environment: Environment | None, anchor: Anchor) -> bytes:
    subject = subject_of(anchor.log, anchor.head)
    record = replace(
        auditing.begun(session, ACTION, subject, environment),
        decision=audit_record.ALLOW,
        outcome=audit_record.DONE,
        evidence=evidence_of(session.pin, anchor.log, anchor.head),
    )
    # A host may be kept as a hash; the subject is what the record is for.
    return audit_record.encode(replace(auditing.shown(session, record), subject=subject))
