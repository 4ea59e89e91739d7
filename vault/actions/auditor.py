"""Where the records of a session go, and when they move into the log: see `auditing` for what they are of."""

import atexit
import contextlib
import socket
import sys
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vault.core import audit_record
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Principal
from vault.errors import Unavailable, VaultError

if TYPE_CHECKING:
    from vault.actions.session import Session
    from vault.audit.held import Held
    from vault.audit.intake import Intake

STORE: Final = "store"
STDOUT: Final = "stdout"
KEY_DIGITS: Final = 32  # of a key's id, in the names of its access logs and of its intake
BATCH: Final = 256
LATEST: Final = 600.0  # seconds after which records are moved, however few they are
OPEN: Final = 32  # intakes of which this process keeps the files open


@dataclass(eq=False)
class Queue:
    """Where the records of one identity wait, and what this process has put there since they were moved."""

    intake: "Intake | Held"
    taken: int = 0
    since: float = 0.0
    instead: "dict[str, Held]" = field(default_factory=dict)  # of an intake that cannot be written

    @property
    def due(self) -> bool:
        """Whether so many wait, or one for so long, that they are to be moved."""
        return self.taken >= BATCH or (self.taken > 0 and time.monotonic() - self.since >= LATEST)

    def add(self, count: int) -> None:
        """Count records that were taken in."""
        if not self.taken:
            self.since = time.monotonic()
        self.taken += count


@dataclass(eq=False)
class Auditor:
    """Where the records of a session go: `place` is `store`, `stdout`, a folder that lasts, or None.

    `state` is where they wait otherwise; where that is None, or cannot be written, they wait in memory.
    """

    place: str | Path | None = None
    state: Path | None = None
    host: str = field(default_factory=lambda: audit_record.fitting(socket.gethostname(), 255))
    _queues: dict[tuple[Digest, Digest], Queue] = field(default_factory=dict)  # by vault and key

    @property
    def lasting(self) -> bool:
        """Whether a record is safe as soon as it was taken in: its folder was declared to last."""
        return isinstance(self.place, Path)

    def intake(self, session: "Session") -> "Intake | Held":
        """Give where the records of a session's identity wait.

        Raises:
            NoUsableKey: there is no identity.
        """
        return self._queue(session).intake

    def _queue(self, session: "Session") -> Queue:
        key = session.pin, Digest(session.identity.key_id)
        found = self._queues.get(key)  # without a lock, which could be held where a process forks
        return found or self._queues.setdefault(key, Queue(self._opened(session, *key)))

    def _opened(self, session: "Session", vault: Digest, key: Digest) -> "Intake | Held":
        base = self.place if isinstance(self.place, Path) else self.state
        if base is None:
            from vault.audit.held import Held

            return Held(session.random)
        from vault.audit.intake import Intake

        folder = base / "audit" / vault[:KEY_DIGITS] / key[:KEY_DIGITS]
        who = Principal(key[:KEY_DIGITS])
        return Intake(folder, vault=vault, principal=who, random=session.random, durable=self.lasting)

    def take(self, session: "Session", *records: AuditRecord) -> None:
        """Take records in.

        Raises:
            Unavailable, Refused, NoUsableKey: it is nowhere, or nowhere safe.
        """
        from vault.audit.intake import Entry

        entries = [Entry(record.record_id, audit_record.encode(record)) for record in records]
        queue = self._queue(session)
        try:
            queue.intake.append(entries)
        except Unavailable:
            if self.lasting:
                raise
            # A state folder that cannot be written is no reason to record nothing: the store may take it.
            self._in_memory(session, queue).append(entries)
        queue.add(len(entries))
        _note(queue, self, session)
        if self.place == STDOUT:
            _print(entry.data for entry in entries)
        if self.place == STORE:
            self.secure(session)
        elif queue.due:
            with contextlib.suppress(VaultError):  # they are safe where they wait
                self.integrate(session, wait=0)

    def _in_memory(self, session: "Session", queue: Queue) -> "Held":
        from vault.audit.held import Held

        held = queue.instead.setdefault("held", Held(session.random))
        queue.intake = held
        return held

    def secure(self, session: "Session") -> None:
        """Return once every record that was taken in is where it lasts.

        Raises:
            Unavailable, Refused: it cannot be had now.
        """
        if not self.lasting:
            self.integrate(session, wait=30)

    def integrate(self, session: "Session", *, wait: float) -> None:
        """Move what waits into the access log; another process that is at it is waited for so many seconds.

        Raises:
            Unavailable, Refused, NoUsableKey: it cannot be done now.
        """
        from vault.actions import integrating

        queue = self._queue(session)
        queue.taken = 0
        pending = _PENDING.pop(queue, None)
        try:
            integrating.integrate(session, queue.intake, wait=wait)
        except BaseException:
            if pending is not None:
                _PENDING.setdefault(queue, pending)  # to be tried again, at the latest at the end
            raise


def shared(place: str | Path | None, state: Path | None, location: str) -> Auditor:
    """Give the one auditor of this process for a vault: a service may open it anew for each request."""
    key = place, state, location
    return _SHARED.get(key) or _SHARED.setdefault(key, Auditor(place, state))


_SHARED: Final[weakref.WeakValueDictionary[tuple[object, ...], Auditor]] = weakref.WeakValueDictionary()

# Whose records wait: kept until they were moved, also where the caller has let go of the vault.
_PENDING: "dict[Queue, tuple[Auditor, Session]]" = {}


def _note(queue: Queue, auditor: Auditor, session: "Session") -> None:
    """Note that records wait; of many queues only the newest keep their files open."""
    new = queue not in _PENDING
    _PENDING[queue] = auditor, session
    if new:
        atexit.unregister(_leave)  # what closes an intake at the end must have been registered before
        atexit.register(_leave)
        for other in list(_PENDING)[:-OPEN]:
            other.intake.close()


def _leave() -> None:
    """Move what still waits into the log when the process ends; what cannot be moved now waits on."""
    for auditor, session in list(_PENDING.values()):
        with contextlib.suppress(Exception):  # whatever a store that is being taken down raises
            auditor.integrate(session, wait=0)


def _print(lines: Iterable[bytes]) -> None:
    """Write records for whoever collects what this process says.

    Raises:
        Unavailable: nobody reads it any more.
    """
    try:
        sys.stdout.write("".join(line.decode("utf-8") + "\n" for line in lines))
        sys.stdout.flush()
    except (
        AttributeError,
        OSError,
        ValueError,
    ) as error:  # none, closed, or cannot spell it
        raise Unavailable(f"Standard output takes no records: {error}.", hint="MVAULT_AUDIT=store") from None
