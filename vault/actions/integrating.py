"""Move audit records that wait on this machine into the access log of their identity."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vault.actions import log_writers
from vault.actions.session import Session
from vault.core import audit_record
from vault.core.log_chain import Head
from vault.core.log_names import Log
from vault.errors import Refused, Unavailable

if TYPE_CHECKING:
    from vault.audit.held import Held, HeldTurn
    from vault.audit.intake import Intake, Turn

_PAUSE: Final = 0.02


def integrate(session: Session, intake: "Intake | Held", *, wait: float) -> int:
    """Store what waits, oldest first, in commits of the log; give how many records were moved.

    Another process that is at it is waited for `wait` seconds, since it takes ours too.

    Raises:
        AccessDenied: the policy does not know this identity.
        NoUsableKey: there is no identity.
        Unavailable, Refused, Conflict: it cannot be done now; what was not moved waits on.
    """
    deadline, moved = time.monotonic() + wait, 0
    while intake.waiting().entries:
        with intake.integrating(wait=max(0.0, deadline - time.monotonic())) as turn:
            if turn is not None:
                if not intake.waiting().entries:
                    return moved  # whoever had the turn before took ours too
                return moved + _move(session, log_writers.own_log(session, intake.instance), turn)
        if time.monotonic() >= deadline:
            raise Unavailable(
                "Another process is moving audit records into the log.",
                subject=session.store.location,
                hint="Try again.",
            )
        time.sleep(_PAUSE)
    return moved


def _move(session: Session, log: Log, turn: "Turn | HeldTurn") -> int:
    known = log_writers.known(session, log)
    if turn.since is not None:
        turn.forget(_stored_since(session, log, known, turn.since))
    writer = log_writers.writer(session, log)
    number = writer.read().head.number
    moved = 0
    while batch := turn.batch(since=number):
        done = writer.append([entry.data for entry in batch], derive=False)
        number = done.number
        turn.forget(entry.record_id for entry in batch)
        moved += len(batch)
    if moved:
        writer.derive()
        log_writers.remember(session, log, done.head)
    return moved


def _stored_since(session: Session, log: Log, known: Head | None, since: int) -> list[bytes]:
    """List the ids of the records that came into a log after a commit: a crash may have kept them waiting.

    Whoever reviews here may have seen, and remembered, more of the log than that.
    """
    from vault.audit.reading import CommitRead, LogReader

    found: list[bytes] = []

    def take(commit: CommitRead) -> None:
        for entry in commit.entries:
            with suppress(Refused):  # some other program's
                found.append(audit_record.parse(entry).record_id)

    start = known if known is not None and known.number <= since else None
    LogReader(session.store, log, session.trust().policy, known=known).read(take, start=start)
    return found
