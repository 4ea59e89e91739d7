"""Hold a recovery drill: bring a backup back as after a disaster, prove it, and report what came of it."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vault._version import __version__
from vault.actions import recovery_notes, restoring
from vault.actions.restoring import Asked, Here, Restored
from vault.actions.session import HeldIdentity, Session
from vault.core import drill_report, envelope, limits, names
from vault.core.drill_report import DrillReport
from vault.core.names import Digest, Principal
from vault.errors import Conflict, DigestMismatch, NotFound, Unavailable
from vault.ports import Store
from vault.settings import Settings


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill that was held: what came back, its report, and the report's file, if one was written."""

    restored: Restored
    report: DrillReport
    envelope: bytes
    signer: Principal | None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A report whose signature holds: what it says, and who signed it."""

    report: DrillReport
    digest: Digest
    signers: tuple[Principal, ...]


def drill(
    source: Store, place: Path | None, pin: Digest, asked: Asked, here: Here, identity: HeldIdentity | None
) -> Drill:
    """Restore a backup into a temporary folder, prove it, take it away, and sign what was found.

    Raises:
        As `restoring.try_out`.
    """
    began, started = here.clock(), time.monotonic()
    found = restoring.try_out(source, place, pin, asked, here)
    found.seconds["all"] = round(time.monotonic() - started, 3)
    bad = [(entry.subject, entry.message, entry.code) for entry in found.findings if entry.level == "bad"]
    opened = found.opened
    report = DrillReport(
        vault=pin,
        policy=found.policy,
        backup=source.location,
        began=names.time_text(began),
        ended=names.time_text(here.clock()),
        software=f"mvault {__version__}",
        objects=found.copied.objects,
        size=found.copied.size,
        versions=len(found.examined.covered),
        channels=found.examined.channels,
        sample=min(100, max(0, round(asked.sample))),
        logs=tuple(found.logs),
        opened=None
        if opened is None
        else drill_report.Opened(
            tuple(names.environment(name) for name in opened.environments),
            opened.versions,
            opened.bytes,
            opened.loaded,
            opened.rows,
        ),
        failed=len(bad),
        failures=drill_report.failures(bad),
    )
    signers = [] if identity is None else [(Digest(identity.key_id), identity.sign)]
    sealed = envelope.sign(drill_report.KIND, drill_report.encode(report), signers)
    return Drill(found, report, envelope.serialise(sealed), None if identity is None else identity.name)


def keep(held: Drill, path: Path) -> Drill:
    """Write a drill's report to a new file.

    Raises:
        Conflict: there is one.
        Unavailable: it cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(held.envelope)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise Conflict(f"{path} exists and was left as it is.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}.", subject=str(path)) from None
    return replace(held, path=path)


def note(held: Drill, found: Settings) -> None:
    """Note on this machine that a drill was held.

    Raises:
        Unavailable: it cannot be written.
    """
    change: dict[str, Any] = {"drill": held.report.ended, "outcome": held.report.outcome}
    recovery_notes.note(found, held.report.vault, **change)


def check(session: Session, path: Path) -> Checked:
    """Check the report of a drill: who signed it, by the policy in force, and that it is of this vault.

    Raises:
        NotFound, Unavailable: it cannot be read.
        Unsigned, UntrustedSigner, BadSignature, Malformed: it does not hold.
        DigestMismatch: it is of another vault (`misplaced`).
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.ENVELOPE_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    subject = str(path)
    sealed = envelope.parse(data, kind=drill_report.KIND, subject=subject)
    policy = session.trust().policy
    keys = envelope.require_signer(sealed, policy.counting_keys(), subject)
    report = drill_report.parse(sealed.payload, subject)
    if report.vault != session.pin:
        raise DigestMismatch(f"{path} is of a drill of another vault.", code="misplaced", subject=subject)
    signers = {holder.name for key in keys if (holder := policy.holder(key)) is not None}
    return Checked(report, sealed.digest, tuple(sorted(signers)))
