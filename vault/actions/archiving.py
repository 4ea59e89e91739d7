"""Archive versions: move their payloads to another store, or to a cold class, and sign where they went.

Of each version: every payload is copied and read back there, both held to the root
that the sealing record signs → the archive record is written and logged → the
payloads are removed here. So wherever this is stopped each payload is whole in one
place at least, and is missing here only where a record tells where it is; done again
it goes on where it was. `metadata.json` stays, so that a version can still be shown,
searched and promoted from a list.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vault.actions import archived, auditing, checking, logged, objects, removing, resolving
from vault.actions.archiving_places import Place
from vault.actions.reading import find_sealing
from vault.actions.session import Session
from vault.core import archives, envelope, layout, names, policy
from vault.core.archives import ArchiveRecord, Candidate
from vault.core.in_force import Signed
from vault.core.manifest import METADATA
from vault.core.names import Digest, Model, Reference
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Target, Verified
from vault.core.trust import Skipped
from vault.errors import AccessDenied, Conflict, NotFound, Refused, Rollback, Unavailable

PLANNED = "planned"
ARCHIVED = "archived"
ALREADY = "already"
KEPT = "kept"
INCOMPLETE = "incomplete"  # it is archived, and the storage did not let all of it be removed here
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one version: `size` is the ciphertext of its `files` in bytes, `reason` says why."""

    reference: str
    state: str
    where: str
    files: int
    size: int
    reason: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which versions: a pattern of models with a rule, or one version."""

    pattern: str = ""
    version: Reference | None = None
    keep_last: int | None = None
    older_than: int | None = None  # seconds


def archive(session: Session, wanted: Wanted, place: Place, *, dry_run: bool = False) -> tuple[Row, ...]:
    """Archive versions to a place; what fails is told in its row, and the others go on.

    Raises:
        AccessDenied: this identity may archive none of the models.
        Conflict: the one version that was asked for is in use.
        NotFound: there is no such model or version.
        Refused, Unavailable, NoUsableKey, ValueError.
    """
    if wanted.version is not None:
        return (_single(session, wanted.version, place, dry_run=dry_run),)
    found = [model for model in checking.models(session) if policy.covers(frozenset([wanted.pattern]), model)]
    if not found:
        raise NotFound(f"No model is {wanted.pattern}.", hint="See what there is: mvault ls")
    allowed = [model for model in found if _may(session, model)]
    if not allowed:
        with auditing.acting(session, "archive", Reference(found[0]), None):
            raise _denied(session, found[0])
    rows: list[Row] = []
    for done, model in enumerate(allowed, start=1):
        rows += _model(session, model, wanted, place, dry_run=dry_run)
        session.progress(done, len(allowed), "models")
    rows += [
        Row(model, KEPT, "", 0, 0, "you may not archive it", "access-denied")
        for model in found
        if model not in allowed
    ]
    return tuple(rows)


def _single(session: Session, reference: Reference, place: Place, *, dry_run: bool) -> Row:
    model = reference.model
    if not _may(session, model):
        with auditing.acting(session, "archive", reference, None):
            raise _denied(session, model)
    verified = named(session, reference)
    why = uses(session, model).why(verified)
    if why:
        raise Conflict(
            f"{verified.subject} is {why}, so it stays where it is.",
            subject=verified.subject,
            hint="Promote another version, or withdraw this one, first.",
        )
    with auditing.acting(session, "archive", Reference(model, version=verified.manifest.version), None):
        return _Archiving(session, verified, place).run(dry_run=dry_run)


def _model(session: Session, model: Model, wanted: Wanted, place: Place, *, dry_run: bool) -> Iterator[Row]:
    """Archive the versions of one model that the rule chooses; each failure is its own row."""
    versions = {entry.manifest.version: entry for entry in _versions(session, model)}
    used = uses(session, model)
    candidates = [
        Candidate(version, entry.manifest.created, used.why(entry)) for version, entry in versions.items()
    ]
    chosen = archives.chosen(
        candidates, keep_last=wanted.keep_last, older_than=wanted.older_than, now=session.clock()
    )
    for entry in chosen:
        verified = versions[entry.version]
        if entry.why:
            yield Row(verified.subject, KEPT, "", 0, 0, entry.why)
            continue
        try:
            with auditing.acting(session, "archive", Reference(model, version=entry.version), None):
                yield _Archiving(session, verified, place).run(dry_run=dry_run)
        except Rollback:
            raise
        except (Refused, NotFound, Unavailable, Conflict) as error:
            yield Row(verified.subject, FAILED, place.where, 0, 0, error.message, error.code)


def _may(session: Session, model: Model) -> bool:
    context = session.trust().context
    holder = context.policy.holder(Digest(session.identity.key_id))
    return holder is not None and archives.may_archive(context, holder.name, model)


def _denied(session: Session, model: Model) -> AccessDenied:
    return AccessDenied(
        f"{session.identity.name} may not archive {model}.",
        subject=str(model),
        hint=f"Who may: mvault policy who-can archive {model} --env {session.environment}",
    )


def named(session: Session, reference: Reference) -> Verified:
    """Verify the version that a reference names, for anybody and wherever it may be used.

    Raises:
        ValueError: it names a channel, or no version.
        NotFound: there is none, or it was removed.
        Refused, Unavailable.
    """
    if reference.environment is not None or (reference.version is None and reference.digest is None):
        raise ValueError(f"Name one version, as {reference.model}:3, or give a rule for all of its versions.")
    resolved = session.resolve(session.environment)
    authorised = resolving.anybody(resolved, reference.model)
    version = reference.version or resolving.version_of(session, authorised, reference)
    data = resolving.read_manifest(session, reference.model, version)
    target = Target(version, reference.digest, None, open=False)
    verified = resolving.verify(session, authorised, target, data)
    removing.demand(session, verified)
    return verified


def _versions(session: Session, model: Model) -> Iterator[Verified]:
    """Give a model's genuine versions, newest first."""
    for version in resolving.version_names(session, model):
        try:
            yield named(session, Reference(model, version=version))
        except Rollback:
            raise
        except (Refused, NotFound):
            continue  # a stranger's, removed, or never finished; `check` tells of it


# --- what is in use ---


@dataclass(frozen=True, slots=True)
class Uses:
    """Which manifests of a model are in use, and where; and its newest release, which its name means."""

    channels: dict[Digest, tuple[str, ...]]
    newest: Digest | None

    def why(self, verified: Verified) -> str:
        """Say why a version is in use; empty if it is not."""
        places = self.channels.get(verified.digest)
        if places:
            return f"in use in {', '.join(places)}"
        return "the newest version" if verified.digest == self.newest else ""


def uses(session: Session, model: Model) -> Uses:
    """Find what channels name now, or will once what they wait for is there; in doubt it counts as used.

    Raises:
        Rollback, Expired, Unavailable.
    """
    found: dict[Digest, list[str]] = {}
    for environment in session.trust().policy.environments:
        resolved = session.resolve(environment)
        among = resolving.slots(session, resolved, model)
        for slot, records in among.places.items():
            where = str(environment) if slot == names.MAIN else f"{environment}/{slot}"
            genuine = [entry for entry in records if isinstance(entry, Signed)]
            try:
                here = resolving.channel(session, resolving.anybody(resolved, model), records.where, among)
            except Rollback:
                raise
            except (Refused, NotFound):
                named_here = {entry.record.manifest for entry in genuine}  # whatever it may come to
            else:
                head = None if here.head is None else here.head.record.seq
                named_here = {
                    entry.record.manifest for entry in genuine if head is None or entry.record.seq > head
                }
                named_here.add(here.manifest)
            for digest in named_here - {None}:
                if digest is not None:
                    found.setdefault(digest, []).append(where)
    released = (
        entry.digest
        for entry in _versions(session, model)
        if names.version_order(entry.manifest.version).released
    )
    return Uses({digest: tuple(places) for digest, places in found.items()}, next(released, None))


# --- one version ---


class _Archiving:
    """One version on its way into a place."""

    def __init__(self, session: Session, verified: Verified, place: Place) -> None:
        self._session = session
        self._verified = verified
        self._place = place
        self._record: SealingRecord = find_sealing(session, verified).sealing
        self._files: Sequence[SealedFile] = [file for file in self._record.files if file.path != METADATA]
        self._size = sum(file.cipher_size for file in self._files)

    def run(self, *, dry_run: bool) -> Row:
        """Copy, verify, record, remove; tell what became of it."""
        known = archived.in_force(self._session, self._verified)
        told = known is not None and self._is_told(known.record)
        here = [file for file in self._files if self._place.is_left(self._session, self._record, file)]
        if known is not None and known.record.state == archives.ARCHIVED and not told and not here:
            return self._row(KEPT, f"it is archived already, in {known.record.place}")
        if not here:
            if told:
                return self._row(ALREADY)
            if self._place.kind == archives.STORE:
                return self._row(KEPT, "its files are not here")
        if dry_run:
            return self._row(PLANNED, "to be finished" if told else "")
        for file in self._files:
            self._place.take(self._session, self._record, file)
        if not told:
            write(self._session, self._verified, self._value(known))
        why = uses(self._session, self._verified.manifest.model).why(self._verified)
        if why:
            return self._row(KEPT, f"meanwhile it is {why}; its files are here and in {self._place.where}")
        return self._leave(here)

    def _leave(self, here: Sequence[SealedFile]) -> Row:
        """Remove the payloads here; a storage that keeps some of them is told of."""
        left: list[str] = []
        for file in here:
            try:
                if not self._place.leave(self._session, self._record, file):
                    left.append("the storage keeps it")
            except Unavailable as error:
                if error.code != "storage-denied":
                    raise
                left.append(error.message)
        if left:
            reason = f"{len(left)} of its {len(self._files)} files stay here as well: {left[0]}"
            return self._row(INCOMPLETE, reason, "storage-denied")
        return self._row(ARCHIVED)

    def _is_told(self, record: ArchiveRecord) -> bool:
        return (record.kind, record.where) == (self._place.kind, self._place.where) and all(
            archives.covers(record, file.file_id) for file in self._files
        )

    def _value(self, known: Signed[ArchiveRecord] | None) -> ArchiveRecord:
        files = tuple(sorted(file.file_id for file in self._files))
        place = self._place.kind, self._place.where
        return value(self._session, self._verified, known, archives.ARCHIVED, place, files, self._size)

    def _row(self, state: str, reason: str = "", code: str = "") -> Row:
        where = self._place.where
        return Row(self._verified.subject, state, where, len(self._files), self._size, reason, code)


def value(
    session: Session,
    verified: Verified,
    known: Signed[ArchiveRecord] | None,
    state: str,
    place: tuple[str, str],
    files: tuple[bytes, ...],
    size: int,
) -> ArchiveRecord:
    """Make the record that follows the one in force.

    Raises:
        Conflict: no number is free.
    """
    found = verified.manifest
    context = verified.authorised.resolved.context
    folder = layout.archives(found.model, found.version)
    above = 0 if known is None else known.record.number
    return ArchiveRecord(
        vault=context.vault,
        policy=context.policy_id,
        model=found.model,
        version=found.version,
        manifest=verified.digest,
        number=objects.lowest_free(objects.numbers(session.store, folder), above, verified.subject),
        created=session.now(),
        state=state,
        kind=place[0],
        where=place[1],
        files=files,
        size=size,
    )


def signed(session: Session, verified: Verified, record: ArchiveRecord) -> tuple[bytes, Digest]:
    """Sign an archive record as readers will accept it; give the envelope, and the record's digest.

    Raises:
        AccessDenied: this identity may not archive the model.
    """
    identity = session.identity
    signer = [(Digest(identity.key_id), identity.sign)]
    data = envelope.serialise(envelope.sign(archives.KIND, archives.encode(record), signer))
    context = verified.authorised.resolved.context
    place = record.model, record.version, record.manifest, record.number
    judged = archives.judge(context, *place, data)
    if isinstance(judged, Skipped):
        raise _denied(session, record.model)
    return data, judged.digest


def write(session: Session, verified: Verified, record: ArchiveRecord) -> None:
    """Sign an archive record, store it, and log it.

    Raises:
        AccessDenied: this identity may not archive the model.
        Conflict: somebody else wrote one meanwhile.
        Unavailable.
    """
    data, digest = signed(session, verified, record)
    folder = layout.archives(record.model, record.version)
    objects.create(session.store, folder + layout.numbered(record.number), data)
    logged.change(
        session,
        "archive",
        session.environment,
        digest,
        subject=f"{record.state}: {record.place}",
        model=record.model,
        version=record.version,
        manifest=record.manifest,
    )


def failures(rows: Sequence[Row]) -> list[Row]:
    """Give the rows of what did not go as it was asked."""
    return [row for row in rows if row.state in (FAILED, INCOMPLETE)]
