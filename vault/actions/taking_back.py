"""Take the removal of a version back, while its files are there."""

from dataclasses import dataclass
from typing import Final

from vault import sealing
from vault.actions import auditing, logged, removing, resolving, retaining, retaining_facts
from vault.actions.reading import find_sealing
from vault.actions.removing import Step
from vault.actions.retaining_facts import Facts
from vault.actions.session import Session
from vault.core import layout, names, removal, retention_plan
from vault.core.in_force import Signed
from vault.core.names import Reference
from vault.core.removal import Removal
from vault.core.retention_plan import Known
from vault.core.stages import Resolved, Target, Verified
from vault.errors import Conflict, NotFound, Rollback, Unavailable, VaultError

_REST: Final = 86_400  # seconds after which no reclaim that began is still at work


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What is there again: the version that was asked for, and what it was made from."""

    versions: tuple[str, ...]
    already: bool


def undo(session: Session, reference: Reference, reason: str = "taken back") -> TakenBack:
    """Take a removal back, and those of everything that the version was made from.

    What is being deleted is taken back only where all its files are there, as after a
    restore, and no run that deletes can still be at it.

    Raises:
        AccessDenied: this identity may not `delete` the model.
        NotFound: there is no such version; or `removed`: its files are gone.
        Conflict: it is being deleted, or somebody else was first.
        Refused, Unavailable, NoUsableKey, ValueError.
    """
    with auditing.acting(session, removal.ACTION, f"undo {reference}", session.environment):
        if reference.version is None:
            raise ValueError(f"Say which version to take back, as {reference.model}:3.")
        resolved = session.resolve(session.environment)
        logged.demand(session, resolved.rule)
        facts = retaining_facts.gather(session)
        wanted = _wanted(session, resolved, facts, reference)
        family = [wanted, *retention_plan.ancestors(wanted, facts.situation.versions)]
        gone = [known for known in family if known.gone]
        for known in gone:
            retaining.demand(session, resolved, known)
        done: list[str] = []
        for known in reversed(gone):  # what it was made from comes first
            entry, verified = facts.removals[known.manifest], facts.verified[known.manifest]
            if entry.record.state == removal.RECLAIM:
                if not _is_whole(session, verified):
                    if known is wanted:
                        raise removal.refuse(entry.record)
                    continue  # a part of its history that nobody can have back
                _demand_rest(session, entry)
            step = Step(removal.KEEP, None, None, removal.reason(reason))
            removing.write(session, resolved, verified, entry, step)
            done.append(known.subject)
        return TakenBack(tuple(reversed(done)), not done)


def _wanted(session: Session, resolved: Resolved, facts: Facts, reference: Reference) -> Known:
    for known in facts.situation.versions:
        if (known.model, known.candidate.version) == (reference.model, reference.version):
            return known
    if reference.version is not None:  # it is not there, or does not verify: say which
        data = resolving.read_manifest(session, reference.model, reference.version)
        target = Target(reference.version, None, None, open=False)
        resolving.verify(session, resolving.anybody(resolved, reference.model), target, data)
    raise NotFound(f"There is no {reference}.", subject=str(reference))


def _demand_rest(session: Session, entry: Signed[Removal]) -> None:
    record = entry.record
    if session.clock() < names.timestamp(record.created) + _REST:
        subject = f"{record.model}:{record.version}"
        raise Conflict(
            f"{subject} began to be deleted on {record.created}, and somebody may still be at it.",
            subject=subject,
            hint="Try again a day after that.",
        )


def _is_whole(session: Session, verified: Verified) -> bool:
    """Tell whether every payload is there as it was sealed, and has a key header in some environment.

    Raises:
        Rollback, Unavailable.
    """
    try:
        record = find_sealing(session, verified).sealing
        listed = session.store.list(layout.version_keys(record.model, record.version))
        opened = {layout.parse_header(name.rpartition("/")[2]) for name in listed}
        for file in record.files:
            if file.name not in opened:
                return False
            with session.store.open(layout.payload(record.model, record.version, file.name)) as source:
                sealing.scrub(
                    source,
                    cipher_size=file.cipher_size,
                    root=file.root,
                    progress=session.progress,
                    what=file.path,
                )
    except (Rollback, Unavailable):
        raise
    except VaultError:
        return False
    return True
