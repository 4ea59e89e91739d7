"""Where the records of a session go, and when they move into the log: see `auditing` for what they are of."""

import atexit
import contextlib
import socket
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vault.core import audit_record
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Principal
from vault.errors import VaultError

if TYPE_CHECKING:
    from vault.actions.session import Session
    from vault.audit.held import Held
    from vault.audit.intake import Intake

STORE: Final = "store"
STDOUT: Final = "stdout"
KEY_DIGITS: Final = 32  # of a key's id, in the names of its access logs and of its intake
BATCH: Final = 256


@dataclass
class Auditor:
    """Where the records of a session go: `place` is `store`, `stdout`, a folder that lasts, or None.

    `state` is where they wait otherwise, None where nothing may be written on this machine.
    """

    place: str | Path | None = None
    state: Path | None = None
    host: str = field(default_factory=lambda: audit_record.fitting(socket.gethostname(), 255))
    _intakes: "dict[Digest, Intake | Held]" = field(default_factory=dict)
    _since: int = 0  # records taken in since the last were moved

    @property
    def lasting(self) -> bool:
        """Whether a record is safe as soon as it was taken in: its folder was declared to last."""
        return isinstance(self.place, Path)

    def intake(self, session: "Session") -> "Intake | Held":
        """Give where the records of a session's identity wait.

        Raises:
            NoUsableKey: there is no identity.
        """
        key = Digest(session.identity.key_id)
        if key not in self._intakes:
            base = self.place if isinstance(self.place, Path) else self.state
            who = Principal(key[:KEY_DIGITS])
            if base is None:
                from vault.audit.held import Held

                self._intakes[key] = Held(session.random)
            else:
                from vault.audit.intake import Intake

                folder = base / "audit" / session.pin[:KEY_DIGITS] / key[:KEY_DIGITS]
                self._intakes[key] = Intake(
                    folder, vault=session.pin, principal=who, random=session.random, durable=self.lasting
                )
        return self._intakes[key]

    def take(self, session: "Session", *records: AuditRecord) -> None:
        """Take records in.

        Raises:
            Unavailable, Refused, NoUsableKey: it is nowhere, or nowhere safe.
        """
        from vault.audit.intake import Entry

        entries = [Entry(record.record_id, audit_record.encode(record)) for record in records]
        if self.place == STDOUT:
            sys.stdout.writelines(entry.data.decode("utf-8") + "\n" for entry in entries)
            sys.stdout.flush()
        self.intake(session).append(entries)
        self._since += len(entries)
        _PENDING[id(self)] = self, session
        _when_leaving()
        if self.place == STORE:
            self.secure(session)
        elif self._since >= BATCH:
            with contextlib.suppress(VaultError):  # they are safe where they wait
                self.integrate(session, wait=0)

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

        self._since = 0
        _PENDING.pop(id(self), None)
        integrating.integrate(session, self.intake(session), wait=wait)


# Whose records wait: kept until they were moved, also where the caller has let go of the vault.
_PENDING: "dict[int, tuple[Auditor, Session]]" = {}


def _leave() -> None:
    """Move what still waits into the log when the process ends; what cannot be moved now waits on."""
    for auditor, session in list(_PENDING.values()):
        with contextlib.suppress(VaultError):
            auditor.integrate(session, wait=0)


@cache
def _when_leaving() -> None:
    """Register `_leave` after the intake was opened: what closes it at the end is then called after it."""
    atexit.register(_leave)
