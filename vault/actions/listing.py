"""Tell what is there: models, versions, channels over time, and what one version holds."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vault.actions import attesting, auditing, labelling, removing, resolving
from vault.actions.checking import all_channels, models
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import admission, names, removal
from vault.core.attestation import Attestation
from vault.core.in_force import Channel, Signed
from vault.core.labels import Labels
from vault.core.manifest import METADATA, Parent
from vault.core.names import Digest, Environment, Model, Reference, Version
from vault.core.stages import Authorised, Opened, Resolved, Target, Verified
from vault.core.strict_json import JSONValue
from vault.core.trust import Skipped
from vault.errors import AccessDenied, NotFound, NoUsableKey, Refused, Rollback, Unavailable

# What a step in a version's removal is called in its history.
_REMOVALS: Final = {removal.REMOVE: "remove", removal.KEEP: "restore", removal.RECLAIM: "reclaim"}


@dataclass(frozen=True, slots=True)
class Release:
    """One version as anybody may see it: what is public in its manifest, and where it is in force."""

    model: str
    version: str
    created: str
    publishers: tuple[str, ...]
    formats: tuple[str, ...]
    size: int  # bytes of plaintext, metadata left out
    digest: str  # sha256:… of the manifest
    channels: tuple[str, ...]  # environment or environment/slot
    tags: tuple[str, ...] = ()  # given by signed labels, where those were asked for
    removed: str = ""  # `remove`, or `reclaim` once its files are being deleted, for readers here
    kept_until: str | None = None  # from when its files may be deleted

    @property
    def reference(self) -> str:
        """The version as `name:version`."""
        return f"{self.model}:{self.version}"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model in a list: its newest version, how many there are, and what each environment uses."""

    model: str
    newest: str | None
    versions: int
    channels: dict[str, str]  # environment or environment/slot → version


@dataclass(frozen=True, slots=True)
class Event:
    """One step in a model's life; `seq` numbers a channel's records.

    `action` is publish, adopt, approve, promote, withdraw, tag, untag, note,
    remove, restore or reclaim; `detail` is a tag, the text of a note, or a reason.
    """

    time: str
    action: str
    reference: str
    who: tuple[str, ...]
    where: str
    digest: str
    seq: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Details:
    """Everything about one version that this identity may see; `metadata` is None where it may not read."""

    release: Release
    files: tuple[dict[str, JSONValue], ...]
    metadata: dict[str, JSONValue] | None
    unread: str  # why metadata is None
    votes: tuple[Event, ...]  # who adopted and approved it; `mvault pending` tells what counts
    labels: Labels
    parents: tuple[Parent, ...]  # as its manifest names them, verified when it was published


def releases(
    session: Session, model: Model, *, labelled: bool = False
) -> tuple[list[Release], list[Skipped]]:
    """List a model's verified versions, newest first, and what was skipped; `labelled` with their tags.

    Raises:
        NotFound: nothing of that name is in the store.
        Refused, Unavailable.
    """
    resolved = session.resolve(session.environment)
    listed = resolving.version_names(session, model)
    if not listed:
        raise NotFound(f"There is no model {model}.", subject=model, hint="See what there is: mvault ls")
    in_use = _in_use(session, model)
    found, skipped = [], []
    for version in listed:
        try:
            verified = _verify(session, resolved, model, version)
        except (Refused, NotFound) as error:
            skipped.append(Skipped(f"{model}:{version}", error.message, error.code))
            continue
        release = _marked(session, resolved, _release(verified, in_use), verified)
        if labelled:
            tags = labelling.labels(session, resolved, verified).tags
            release = replace(release, tags=tuple(sorted(tags)))
        found.append(release)
    return found, skipped


def overview(session: Session, below: str = "") -> list[ModelRow]:
    """List the models, one row each; `below` narrows to one model or the models below a folder."""
    rows = []
    resolved = session.resolve(session.environment)
    for model in models(session, below):
        listed = resolving.version_names(session, model)
        # A pre-release is the newest only of a model that has nothing else.
        ranked = sorted(listed, key=lambda version: not names.version_order(version).released)
        newest = next((version for version in ranked if _is_genuine(session, resolved, model, version)), None)
        if newest is None:
            continue
        in_use = _in_use(session, model)
        channels = {place: str(version) for place, (version, _) in in_use.items()}
        rows.append(ModelRow(model, newest, len(listed), channels))
    return sorted(rows, key=lambda row: row.model)


def history(session: Session, model: Model) -> list[Event]:
    """Give what happened to a model, newest first, as the signed records tell it.

    Raises:
        NotFound, Refused, Unavailable.
    """
    found, _ = releases(session, model)
    events = [
        Event(
            release.created,
            "publish",
            release.reference,
            release.publishers,
            session.environment,
            release.digest,
        )
        for release in found
    ]
    here = session.resolve(session.environment)
    for release in found:
        events += _votes(session, model, release) + _words(session, here, model, release)
        events += _removals(session, here, model, release)
    known = {release.digest: release.reference for release in found}
    for where in all_channels(session, [model]):
        resolved = session.resolve(where.environment)
        for record in resolving.judged(session, resolved, where):
            if isinstance(record, Skipped):
                continue
            entry = record.record
            place = _place(where.environment, where.slot)
            for barred in entry.bars:
                digest = f"sha256:{barred}"
                name = known.get(digest, model)
                events.append(
                    Event(entry.created, "withdraw", name, record.signers, place, digest, entry.seq)
                )
            if entry.version is not None:
                name = str(Reference(model, version=entry.version))
                digest = f"sha256:{entry.manifest}"
                events.append(Event(entry.created, "promote", name, record.signers, place, digest, entry.seq))
    # Within one second: a version is published before it is promoted, and records follow their numbers.
    return sorted(events, key=lambda event: (event.time, event.seq or 0), reverse=True)


def _votes(session: Session, model: Model, release: Release) -> list[Event]:
    """Tell who adopted, tested and, for which environment, approved a version; not whether that counts."""
    version, digest = names.version(release.version), names.digest(release.digest.removeprefix("sha256:"))
    resolved = session.resolve(session.environment)
    events = [
        Event(entry.record.created, "adopt", release.reference, entry.signers, "", release.digest)
        for entry in resolving.adoptions(session, resolved, model, version, digest)
    ]
    events += [
        Event(
            entry.record.created,
            "test",
            release.reference,
            entry.signers,
            "",
            release.digest,
            detail=_outcome(entry.record),
        )
        for entry in attesting.attestations(session, resolved, model, version, digest)
    ]
    for environment in session.trust().policy.environments:
        where = Channel(environment, names.MAIN, model)
        events += [
            Event(
                entry.record.created, "approve", release.reference, entry.signers, environment, release.digest
            )
            for entry in resolving.approvals(session, resolved, where, version, digest)
        ]
    return events


def _outcome(word: Attestation) -> str:
    told = "passed" if word.passed else f"failed: {word.reason}"
    return told if word.against is None else f"{told}, against {word.against}"


def _words(session: Session, resolved: Resolved, model: Model, release: Release) -> list[Event]:
    """Tell who tagged a version, and noted what."""
    version, digest = names.version(release.version), names.digest(release.digest.removeprefix("sha256:"))
    events = []
    for entry in labelling.signed(session, resolved, model, version, digest):
        word = entry.record
        said = [("tag", name) for name in word.tags] + [("untag", name) for name in word.untags or {}]
        said += [] if word.note is None else [("note", word.note)]
        events += [
            Event(word.created, action, release.reference, entry.signers, "", release.digest, detail=detail)
            for action, detail in said
        ]
    return events


def _removals(session: Session, resolved: Resolved, model: Model, release: Release) -> list[Event]:
    """Tell who removed a version, took that back, and deleted its files."""
    version, digest = names.version(release.version), names.digest(release.digest.removeprefix("sha256:"))
    return [
        Event(
            entry.record.created,
            _REMOVALS[entry.record.state],
            release.reference,
            entry.signers,
            "",
            release.digest,
            detail=entry.record.reason,
        )
        for entry in removing.records(session, resolved.context, model, version, digest)
        if isinstance(entry, Signed)
    ]


def _marked(session: Session, resolved: Resolved, release: Release, verified: Verified) -> Release:
    """Say of a release whether it was removed, for readers in an environment."""
    gone = removing.removed(
        session, resolved, verified.manifest.model, verified.manifest.version, verified.digest
    )
    return release if gone is None else replace(release, removed=_REMOVALS[gone.state], kept_until=gone.after)


def show(session: Session, reference: Reference) -> Details:
    """Describe one version; its confidential half only where this identity may read it.

    Raises:
        Refused, NotFound, Unavailable, ValueError.
    """
    environment = resolving.environment_of(session, reference)
    resolved = session.resolve(environment)
    authorised = resolving.anybody(resolved, reference.model)
    verified, gone = _found(session, authorised, reference)
    files: list[dict[str, JSONValue]] = [
        {"path": entry.path, "role": entry.role, "format": entry.format, "size": entry.size}
        for entry in verified.manifest.files
        if entry.path != METADATA
    ]
    release = _release(verified, _in_use(session, reference.model))
    release = _marked(session, resolved, release, verified)
    votes = tuple(sorted(_votes(session, reference.model, release), key=lambda event: event.time))
    public = labelling.labels(session, resolved, verified), verified.manifest.parents
    opened, unread = (None, gone) if gone else confidential(session, resolved, verified)
    if opened is None:
        return Details(release, tuple(files), None, unread, votes, *public)
    for file in files:
        facts = opened.metadata.files[names.path(str(file["path"]))]
        file["sha256"] = facts.sha256
        file["pins"] = list(facts.pins)
    info: dict[str, JSONValue] = {**opened.metadata.info, "libraries": dict(opened.metadata.libraries)}
    return Details(release, tuple(files), info, "", votes, *public)


def confidential(session: Session, resolved: Resolved, verified: Verified) -> tuple[Opened | None, str]:
    """Open the metadata of a version for whoever may load it in an environment; else None, and why.

    Raises:
        Refused: it is not what was signed.
        Unavailable: the store failed.
    """
    try:
        key_id = Digest(session.identity.key_id)
        mine = admission.authorise(resolved, key_id, "load", verified.manifest.model)
        reading = Verified(mine, verified.target, verified.manifest, verified.digest, verified.publishers)
        with _recorded(session, resolved, reading):
            return Package(session, reading).opened, ""
    except (AccessDenied, NoUsableKey, NotFound, Unavailable) as error:
        if isinstance(error, Unavailable) and error.code != auditing.NO_RECORD:
            raise
        return None, error.message


@contextlib.contextmanager
def _recorded(session: Session, resolved: Resolved, reading: Verified) -> Iterator[None]:
    """Record that the confidential half of a version is read, where the environment demands a record of that.

    Raises:
        AccessDenied, Unavailable: `no-audit-record`.
    """
    if not resolved.rule.require.audit:
        yield
        return
    with auditing.acting(session, "load", f"metadata of {reading.subject}", resolved.rule.name) as act:
        auditing.demand(act, resolved)
        act.learn(reading)
        yield


def _verify(session: Session, resolved: Resolved, model: Model, version: Version) -> Verified:
    data = resolving.read_manifest(session, model, version)
    target = Target(version, None, None, open=False)
    return resolving.verify(session, resolving.anybody(resolved, model), target, data)


def _found(session: Session, authorised: Authorised, reference: Reference) -> tuple[Verified, str]:
    """Find what a reference means, and say what became of it where it was removed.

    Raises:
        Refused, NotFound, Unavailable, ValueError.
    """
    try:
        return resolving.find_authorised(session, authorised, reference).verified, ""
    except NotFound as gone:
        if gone.code != "removed":
            raise
        version = reference.version or resolving.version_of(session, authorised, reference)
        return _verify(session, authorised.resolved, reference.model, version), str(gone)


def _is_genuine(session: Session, resolved: Resolved, model: Model, version: Version) -> bool:
    """Tell whether a version verifies and was not removed."""
    try:
        removing.demand(session, _verify(session, resolved, model, version))
    except (Refused, NotFound):
        return False
    return True


def _in_use(session: Session, model: Model) -> dict[str, tuple[Version, Digest]]:
    """Give what is in force in every channel of a model: place → (version, manifest digest)."""
    found = {}
    for environment in session.trust().policy.environments:
        resolved = session.resolve(environment)
        for name in session.store.list_folders(f"channels/{environment}/"):
            try:
                where = Channel(environment, names.slot(name.removesuffix("/")), model)
            except Refused:
                continue
            try:
                found_here = resolving.channel(session, resolving.anybody(resolved, model), where)
            except Rollback:
                raise
            except (Refused, NotFound):
                continue  # what it names was altered, as a load and `check` tell; everything else is listed
            naming = found_here.naming
            if naming is not None and naming.record.version and found_here.manifest:
                found[_place(environment, where.slot)] = (naming.record.version, found_here.manifest)
    return found


def _release(verified: Verified, in_use: dict[str, tuple[Version, Digest]]) -> Release:
    manifest = verified.manifest
    content = [entry for entry in manifest.files if entry.path != METADATA]
    ranked: Sequence[str] = [entry.format for entry in content if entry.role == "model"]
    return Release(
        model=manifest.model,
        version=manifest.version,
        created=manifest.created,
        publishers=verified.publishers,
        formats=tuple(sorted(set(ranked or [entry.format for entry in content]))),
        size=sum(entry.size for entry in content),
        digest=f"sha256:{verified.digest}",
        channels=tuple(place for place, (_, digest) in in_use.items() if digest == verified.digest),
    )


def _place(environment: Environment, slot: names.Slot) -> str:
    return environment if slot == names.MAIN else f"{environment}/{slot}"
