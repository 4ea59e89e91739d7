"""Hold the writers of a log to one record for each number of a channel.

docs/format.md, "Decisions in a log".
A record that was logged and then removed from the storage leaves its number
free there. Whoever took it would give two answers to one question, so numbers
are looked up in the log, by the index on this machine where there is one.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Final

from vault.actions import log_writers, reviewing_indexing
from vault.actions.reviewing_indexing import Indexed
from vault.actions.session import Session
from vault.core import audit_decision, limits
from vault.core.audit_decision import Number
from vault.core.audit_record import AuditRecord
from vault.core.in_force import Channel
from vault.core.log_names import Log
from vault.core.names import Digest
from vault.errors import LogInconsistent, Refused, VaultError

if TYPE_CHECKING:
    from vault.audit.reading import CommitRead, Take


def taken(session: Session, where: Channel, era: int, *, required: bool) -> frozenset[int]:
    """Give the numbers that a channel's log has records for, whether or not they are still in the storage.

    Who may not write the log is not asked. What is not `required` to be logged does not fail for it.

    Raises:
        LogInconsistent, Refused, Unavailable: it is required, and the log cannot be read.
    """
    if session.audit is None or not log_writers.writes(session, where.environment):
        return frozenset()
    anything = (era, where.environment, where.slot, where.model, 0)
    try:
        known = _known(session, log_writers.log_of(where.environment), [anything])
    except VaultError:
        if required:
            raise
        return frozenset()
    return frozenset(number[-1] for number in known)


def guard(session: Session, log: Log, records: Sequence[AuditRecord]) -> "Take | None":
    """Refuse to log a second record for a number; give who looks at what others log meanwhile.

    None where the records decide nothing.

    Raises:
        LogInconsistent: the log has another record for one of the numbers.
        Refused, Unavailable: the log cannot be read.
    """
    wanted: dict[Number, Digest] = {}
    for record in records:
        found = audit_decision.decided(record)
        if found is not None:
            _compare(log, found[0], wanted, found[1])
            wanted[found[0]] = found[1]
    known = _known(session, log, wanted) if wanted else {}
    for number in wanted:
        _compare(log, number, wanted, known.get(number))

    def look(commit: "CommitRead") -> None:
        for entry in commit.entries:
            try:
                found = audit_decision.parse(entry)
            except Refused:
                continue  # of a later release, or a writer's nonsense: `audit verify` tells of it
            if found is not None:
                _compare(log, found[0], wanted, found[1])

    return look if wanted else None


def _compare(log: Log, number: Number, wanted: Mapping[Number, Digest], logged: Digest | None) -> None:
    if logged is not None and wanted.get(number, logged) != logged:
        _, environment, slot, model, seq = number
        raise LogInconsistent(
            f"Record {seq} of {model}@{environment}/{slot} was logged before, as another one.",
            subject=str(log),
            hint="Somebody removed or replaced it: mvault audit log shows who wrote it. "
            "Run the same command again: it takes the next number.",
        )


def _known(session: Session, log: Log, asked: Iterable[Number]) -> dict[Number, Digest]:
    """Look up numbers of channels in the index, brought up to the log, with all others of those channels."""
    state = None if session.audit is None else session.audit.state
    indexed = Indexed(session, reviewing_indexing.folder(session, state))
    found: dict[Number, Digest] = {}
    with closing(indexed.index) as index:
        head = log_writers.known(session, log)
        if str(log) not in index.marks() and head is not None and head.number > limits.LOG_REREAD:
            return {}  # what came before the head that this client begins with is who gave it that head's
        indexed.extend(log)
        for era, environment, slot, model in {number[:-1] for number in asked}:
            values = (str(log), environment, slot, model, f"{era}.%", *audit_decision.ACTIONS)
            for seq, digest in index.rows(_NUMBERS, values):
                found.setdefault((era, environment, slot, model, seq), Digest(digest))
    return found


_NUMBERS: Final = """
SELECT seq, evidence.name FROM entries
JOIN logs ON logs.number = entries.log JOIN words AS evidence ON evidence.number = entries.evidence
JOIN words AS policy ON policy.number = entries.policy JOIN words AS action ON action.number = entries.action
WHERE seq IS NOT NULL AND logs.name = ?
AND environment = (SELECT number FROM words WHERE name = ?)
AND slot = (SELECT number FROM words WHERE name = ?)
AND model = (SELECT number FROM words WHERE name = ?)
AND policy.name LIKE ? AND action.name IN (?, ?)
ORDER BY position
"""
