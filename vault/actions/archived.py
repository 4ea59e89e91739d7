"""Tell of a version whose payloads were moved away: where they are, and what it takes to have them."""

from collections.abc import Iterator

from vault.actions import objects
from vault.actions.session import Session
from vault.core import archives, layout, limits, names
from vault.core.archives import ArchiveRecord
from vault.core.in_force import Signed
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Verified
from vault.core.trust import Skipped
from vault.errors import NotFound, Refused, Unavailable, VaultError
from vault.ports import ColdStorage, Store

CODE = "archived"
COLD = "storage-archived"


def judged(session: Session, verified: Verified) -> Iterator[Signed[ArchiveRecord] | Skipped]:
    """Read and judge a version's archive records, newest first.

    Raises:
        Rollback, Unavailable.
    """
    found = verified.manifest
    folder = layout.archives(found.model, found.version)
    for number in reversed(objects.numbers(session.store, folder)):
        name = folder + layout.numbered(number)
        try:
            data = objects.read_listed(session.store, name, limit=limits.ENVELOPE_BYTES)
        except Refused as refusal:
            yield Skipped(name, refusal.message, refusal.code)
            continue
        context = verified.authorised.resolved.context
        yield archives.judge(context, found.model, found.version, verified.digest, number, data)


def in_force(session: Session, verified: Verified) -> Signed[ArchiveRecord] | None:
    """Give a version's archive record in force, if there is one; it may say that all was brought back.

    Raises:
        Rollback, Unavailable.
    """
    return next((entry for entry in judged(session, verified) if isinstance(entry, Signed)), None)


def explained(session: Session, verified: Verified, file: SealedFile, error: VaultError) -> VaultError:
    """Say of a payload that cannot be read that it was archived, where that is so; else give `error` back."""
    cold = isinstance(error, Unavailable) and error.code == COLD
    if not cold and not isinstance(error, NotFound):
        return error
    record = in_force(session, verified)
    if record is not None and archives.covers(record.record, file.file_id):
        return _archived(verified.subject, record)
    return _cold_here(session, verified, file, error.hint) if cold else error


def demand_here(session: Session, verified: Verified, record: SealingRecord) -> None:
    """Stop before a version is put into use whose payloads were moved away.

    Raises:
        Unavailable: `archived`.
    """
    known = in_force(session, verified)
    if known is None or known.record.state != archives.ARCHIVED:
        return
    for file in record.files:
        if archives.covers(known.record, file.file_id):
            name = layout.payload(record.model, record.version, file.name)
            cold = cold_storage(session.store)
            try:
                session.store.stat(name)
                readable = cold is None or cold.archive_state(name).readable
            except NotFound:
                readable = False
            if not readable:
                raise _archived(verified.subject, known)


def _cold_here(session: Session, verified: Verified, file: SealedFile, by_hand: str) -> Unavailable:
    """Say that the store itself moved a payload to a cold class; `by_hand` is how to ask where we cannot."""
    subject = verified.subject
    record = verified.manifest
    name = layout.payload(record.model, record.version, file.name)
    return Unavailable(
        f"{subject} is archived: the store moved {file.path} to a class from which it must be asked for, "
        f"which takes minutes to two days{_under_way(session.store, [name])}.",
        code=CODE,
        subject=subject,
        hint=by_hand if cold_storage(session.store) is None else _ask(subject),
    )


def _archived(subject: str, found: Signed[ArchiveRecord]) -> Unavailable:
    record = found.record
    told = f"on {names.day_text(record.created)} by {', '.join(found.signers)}"
    if record.kind == archives.STORE:
        return Unavailable(
            f"{subject} is archived: its files ({record.size:,} bytes) were moved to {record.where} {told}.",
            code=CODE,
            subject=subject,
            hint=f"Read them from there: mvault pull {subject} DIR --wait. "
            f"Or have them back here: mvault archive --back {subject}",
        )
    return Unavailable(
        f"{subject} is archived: its files ({record.size:,} bytes) were put into the class {record.where} "
        f"{told}. It takes {archives.expected(record.where)} to have them, once they are asked for.",
        code=CODE,
        subject=subject,
        hint=_ask(subject),
    )


def _ask(subject: str) -> str:
    return (
        f"Ask for them, then come again: mvault pull {subject} DIR --request; or --wait for them. "
        f"To have them back for good: mvault archive --back {subject}"
    )


def cold_storage(store: Store) -> ColdStorage | None:
    """Give what can be asked about cold classes, where a store has them."""
    inner = getattr(store, "inner", store)  # behind what asks ahead
    return inner if isinstance(inner, ColdStorage) else None


def _under_way(store: Store, wanted: list[str]) -> str:
    """Say that objects were asked for already, where that is known."""
    cold = cold_storage(store)
    try:
        if cold is not None and any(cold.archive_state(name).restoring for name in wanted):
            return "; it was asked for, and is on its way"
    except (Unavailable, NotFound):
        pass  # what is told is true without it
    return ""
