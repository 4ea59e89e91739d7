"""Have archived payloads again: read them from where they are for one pull, or bring them back for good.

What comes back is held to the root that the sealing record signs, whatever lay in
the archive meanwhile. A payload in a cold class is asked for first, and that takes
from minutes to two days.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qs, urlsplit

from vault.actions import archived, archiving, auditing, ciphertext_copy, resolving
from vault.actions.archiving import Row
from vault.actions.reading import find_sealing
from vault.actions.session import Session
from vault.core import archives, layout
from vault.core.archives import ArchiveRecord
from vault.core.manifest import METADATA
from vault.core.names import Reference
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Verified
from vault.errors import NotFound, Unavailable
from vault.ports import Store
from vault.storage.opening import names_server, open_store
from vault.storage.overlaid import Overlaid

RETURNED = "returned"
HERE = "here"
DAYS = 7  # for which what was asked for can be read
_EVERY = 60.0  # seconds between two looks at what was asked for


@dataclass(frozen=True, slots=True)
class Patience:
    """How to have what lies in a cold class: `wait` for it, and by which `tier`; `sleep` takes seconds."""

    wait: bool = False
    tier: str = archives.TIERS[0]
    sleep: Callable[[float], object] = time.sleep

    def __post_init__(self) -> None:
        """See that there is such a tier."""
        if self.tier not in archives.TIERS:
            raise ValueError(f"A tier is one of {', '.join(archives.TIERS)}, not {self.tier!r}.")


def reachable(
    session: Session, reference: Reference, *, wait: bool, patience: Patience | None = None
) -> Session:
    """Give a session that can read the payloads of a version wherever they were archived to.

    What lies in a cold class is asked for; without `wait` it may be too early to read it.

    Raises:
        Unavailable: `archived`: it was asked for, and takes time.
        ValueError: the archive is a server, which has to be named by `mvault archive --back`.
        Refused, NotFound.
    """
    resolved = session.resolve(resolving.environment_of(session, reference))
    verified = resolving.identify(session, resolved, reference)
    sealed = find_sealing(session, verified).sealing
    files = [file for file in sealed.files if file.path != METADATA]
    known = archived.in_force(session, verified)
    how = patience or Patience(wait)
    if known is None or known.record.state != archives.ARCHIVED or known.record.kind == archives.CLASS:
        _thaw(session, session.store, verified, sealed, files, how)
        return session
    away = [file for file in files if archives.covers(known.record, file.file_id)]
    missing = [file for file in away if not _is_here(session, sealed, file)]
    if not missing:
        return session
    behind = _open(session, known.record, None)
    _demand_there(behind, verified, sealed, missing)
    _thaw(session, behind, verified, sealed, missing, how)
    return replace(session, store=Overlaid(session.store, behind))


def bring_back(
    session: Session, reference: Reference, *, source: str | None = None, patience: Patience | None = None
) -> Row:
    """Bring the payloads of a version back into the vault's own store, and sign that they are here.

    `source` is where the archive lies now, if not where the record says. The copies there stay.

    Raises:
        AccessDenied: this identity may not archive the model.
        DigestMismatch: what lies in the archive is not what was moved there; it was not taken.
        Unavailable: `archived`: it was asked for, and takes time.
        NotFound, Refused, Conflict, NoUsableKey, ValueError.
    """
    verified = archiving.named(session, reference)
    subject = Reference(reference.model, version=verified.manifest.version)
    with auditing.acting(session, "archive", subject, None):
        return _bring_back(session, verified, source, patience or Patience())


def _bring_back(session: Session, verified: Verified, source: str | None, how: Patience) -> Row:
    sealed = find_sealing(session, verified).sealing
    files = [file for file in sealed.files if file.path != METADATA]
    size = sum(file.cipher_size for file in files)
    known = archived.in_force(session, verified)
    if known is None or known.record.state != archives.ARCHIVED:
        missing = [file for file in files if not _is_here(session, sealed, file)]
        if missing:
            raise NotFound(
                f"{verified.subject}: the stored bytes of {missing[0].path} are gone, and nothing says that "
                "they were archived.",
                subject=verified.subject,
                hint="Restore them from a backup.",
            )
        return Row(verified.subject, HERE, "", len(files), size, "its files are here")
    record = known.record
    following = archiving.value(
        session, verified, known, archives.RETURNED, (record.kind, record.where), record.files, record.size
    )
    archiving.signed(session, verified, following)  # whoever may not sign it would do all this in vain
    if record.kind == archives.STORE:
        _copy_back(session, verified, sealed, files, _open(session, record, source), how)
    else:
        _warm(session, verified, sealed, files, how)
    archiving.write(session, verified, following)
    return Row(verified.subject, RETURNED, record.where, len(files), size)


def _copy_back(
    session: Session,
    verified: Verified,
    sealed: SealingRecord,
    files: Sequence[SealedFile],
    behind: Store,
    how: Patience,
) -> None:
    missing = [file for file in files if not _is_here(session, sealed, file)]
    _demand_there(behind, verified, sealed, missing)
    _thaw(session, behind, verified, sealed, missing, how)
    for file in missing:
        ciphertext_copy.copy(session, behind, session.store, sealed, file)
    for file in files:
        ciphertext_copy.verify(session, session.store, sealed, file)


def _demand_there(
    behind: Store, verified: Verified, sealed: SealingRecord, files: Sequence[SealedFile]
) -> None:
    """Stop where an archive does not have what was moved there: its disk may not be mounted, or it moved on.

    Raises:
        Unavailable: it lacks one of them.
    """
    for file in files:
        try:
            behind.stat(layout.payload(sealed.model, sealed.version, file.name))
        except NotFound:
            raise Unavailable(
                f"{verified.subject} was archived at {behind.location}, and {file.path} is not there.",
                subject=verified.subject,
                hint="Look whether that place is mounted. If it is elsewhere now: mvault archive --back "
                f"{verified.subject} --from LOCATION. If it is lost: mvault restore {verified.subject}",
            ) from None


def _warm(
    session: Session, verified: Verified, sealed: SealingRecord, files: Sequence[SealedFile], how: Patience
) -> None:
    _thaw(session, session.store, verified, sealed, files, how)
    cold = archived.cold_storage(session.store)
    for file in files:
        if cold is not None:
            cold.set_class(layout.payload(sealed.model, sealed.version, file.name), archives.WARM)
        ciphertext_copy.verify(session, session.store, sealed, file)


def _thaw(
    session: Session,
    store: Store,
    verified: Verified,
    sealed: SealingRecord,
    files: Sequence[SealedFile],
    how: Patience,
) -> None:
    """Ask for payloads that lie in an archive class, and wait until they can be read if that is wanted.

    Raises:
        Unavailable: `archived`: they were asked for.
    """
    cold = archived.cold_storage(store)
    if cold is None:
        return
    names = [layout.payload(sealed.model, sealed.version, file.name) for file in files]
    frozen, classes = [], set()
    for name in names:
        state = cold.archive_state(name)
        if not state.readable:
            state = cold.request_restore(name, DAYS, how.tier)
            classes.add(state.storage_class)
        if not state.readable:
            frozen.append(name)
    if not frozen:
        return
    takes = " or ".join(sorted({archives.expected(entry, how.tier) for entry in classes}))
    if not how.wait:
        raise Unavailable(
            f"{verified.subject} was asked for: {len(frozen)} of its files are on their way out of "
            f"{', '.join(sorted(classes))}, which takes {takes}. They can then be read for {DAYS} days.",
            code=archived.CODE,
            subject=verified.subject,
            hint="Run the same again then, or with --wait.",
        )
    while frozen:
        session.progress(len(names) - len(frozen), len(names), f"waiting for {verified.subject} ({takes})")
        how.sleep(_EVERY)
        # Asked for again, which is no error: what could be read for some days may be cold once more.
        frozen = [name for name in frozen if not cold.request_restore(name, DAYS, how.tier).readable]


def _open(session: Session, record: ArchiveRecord, source: str | None) -> Store:
    """Open the archive that a record names, or the one that the caller does.

    A record is somebody else's word: it does not choose a server that this user's credentials go to,
    unless it is the vault's own.

    Raises:
        ValueError: it does; or it is no place that can be opened again.
    """
    where = record.where if source is None else source
    foreign = names_server(where) and _endpoint(where) != _endpoint(session.store.location)
    if source is None and (foreign or where == "memory:"):
        raise ValueError(
            f"The archive is at {record.where}, a server that you have not named yourself. "
            "If it is your team's: mvault archive --back REF --from LOCATION"
        )
    return open_store(where)


def _endpoint(location: str) -> tuple[str, list[str]]:
    """Give which server a location names: its kind, and its endpoint or host."""
    parts = urlsplit(location)
    endpoint = parse_qs(parts.query).get("endpoint")
    return parts.scheme, endpoint or [parts.netloc.rpartition("@")[2]]


def _is_here(session: Session, sealed: SealingRecord, file: SealedFile) -> bool:
    try:
        session.store.stat(layout.payload(sealed.model, sealed.version, file.name))
    except NotFound:
        return False
    return True
