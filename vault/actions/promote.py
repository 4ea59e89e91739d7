"""Promote a version: give its keys to the next environment, then write the channel record that counts."""

from contextlib import suppress
from dataclasses import dataclass

from vault.actions import (
    archived,
    attesting,
    auditing,
    carrying,
    keyring,
    logged,
    recording,
    removing,
    resolving,
    voting,
)
from vault.actions.reading import find_sealing
from vault.actions.recording import Step
from vault.actions.session import Session
from vault.core import admission, channels, layout, names, policy
from vault.core.channels import Entry, Slots
from vault.core.in_force import Channel, Signed
from vault.core.names import Digest, Environment, Model, Reference, Slot, Version
from vault.core.policy import EnvironmentRule
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Authorised, Resolved, Verified
from vault.core.trust import Skipped
from vault.errors import AccessDenied, Conflict, NotFound, NoUsableKey, Refused, Rollback


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion did: the record, and what lay in its way."""

    reference: Reference
    version: names.Version
    seq: int
    already: bool
    skipped: tuple[Skipped, ...]
    witnesses: int = 0  # how many must cosign the log before it counts


def promote(session: Session, reference: Reference, environment: Environment, slot: Slot) -> Promotion:
    """Make `slot` of `environment` name what `reference` means where it comes from.

    Payloads are not touched: the file keys are wrapped to the environment's
    public key, and a signed record is created under the next number.

    Raises:
        AccessDenied: this identity may not promote there, or may not load where the version comes from.
        Refused: the version does not meet what the environment requires.
        Conflict: somebody else promoted or withdrew meanwhile; nothing of ours counts.
        NotFound, Unavailable, NoUsableKey.
    """
    with auditing.acting(session, "promote", reference, environment, slot=slot) as act:
        authorised = authorise(session, reference.model, environment)
        act.learn(authorised.resolved)
        source = admit(session, authorised, reference)
        return enter(session, authorised, source, Channel(environment, slot, reference.model))


def authorise(session: Session, model: Model, environment: Environment) -> Authorised:
    """Demand that this identity may promote a model to an environment, and log it where that is asked for.

    Raises:
        AccessDenied, NotFound, Refused, Unavailable.
    """
    into = session.resolve(environment)
    authorised = admission.authorise(into, Digest(session.identity.key_id), "promote", model)
    logged.demand(session, into.rule)
    return authorised


def admit(session: Session, authorised: Authorised, reference: Reference) -> Verified:
    """Find what `reference` means where it comes from, and demand what the environment to be entered asks.

    Raises:
        AccessDenied, Refused, NotFound, Unavailable, NoUsableKey.
    """
    source = _from_source(session, authorised, reference)
    entering = Verified(authorised, source.target, source.manifest, source.digest, source.publishers)
    admission.require(entering, session.clock())
    attesting.demand(session, entering)
    votes = voting.count(
        session,
        authorised.resolved,
        authorised.model,
        source.manifest.version,
        source.digest,
        publishers=source.publishers,
        promoters=[authorised.member.name],
    )
    if votes is not None and not votes.enough:
        raise voting.missing(source.subject, authorised.resolved, votes)
    return source


def enter(session: Session, authorised: Authorised, source: Verified, where: Channel) -> Promotion:
    """Make a channel name a version that may enter.

    Raises:
        Conflict: somebody else was first.
        Refused, NotFound, Unavailable, NoUsableKey.
    """
    into = authorised.resolved
    seen = recording.look(session, authorised, where)
    head = seen.found.head
    recording.remember(session, into, seen)
    named = Reference(where.model, environment=where.environment, slot=where.slot)
    version = source.manifest.version
    already = head is not None and seen.found.manifest == source.digest
    give_keys(session, source, into.rule, only_missing=already)
    if head is not None and already:
        return Promotion(named, version, head.record.seq, True, seen.found.skipped)
    attempt = logged.intent(session, into.rule, source)
    written = recording.write(session, seen, Step(version, source.digest, ()), attempt)
    session.remember(into, (where, written))
    try:
        removing.demand_payloads(session, source)
    except NotFound:
        _step_back(session, authorised, where, source.digest)
        raise
    wanted = into.rule.require.witnesses or 0
    return Promotion(named, version, written.record.seq, False, seen.found.skipped, wanted)


def _step_back(session: Session, authorised: Authorised, where: Channel, digest: Digest) -> None:
    """Bar a version that began to be deleted while it was promoted, and use again what was used before.

    Raises:
        Conflict, Refused, NotFound, Unavailable, NoUsableKey.
    """
    seen = recording.look_past(session, authorised, where)
    if seen.found.manifest != digest:
        return  # somebody else has put another in its place
    earlier = earlier_of(session, authorised, where, seen.among, None)
    step, attempt = Step(None, None, (digest,)), None
    if earlier is not None and earlier.record.version is not None:
        with suppress(Refused, NotFound):
            source = admit(session, authorised, Reference(where.model, version=earlier.record.version))
            attempt = logged.intent(session, authorised.resolved.rule, source)
            step = Step(source.manifest.version, source.digest, (digest,))
    written = recording.write(session, seen, step, attempt)
    session.remember(authorised.resolved, (where, written))


def _from_source(session: Session, authorised: Authorised, reference: Reference) -> Verified:
    """Find the version in an environment from which this identity may promote, and may load."""
    current = authorised.resolved.context.policy
    who = authorised.member.name
    target = authorised.resolved.rule.name
    places = policy.sources(current, who, reference.model, target)
    if reference.environment is not None:
        if reference.environment not in places:
            raise AccessDenied(
                f"{who} may not promote from {reference.environment} to {target}.",
                subject=str(reference),
                hint=f"Allowed: from {', '.join(places) or 'nowhere'}.",
            )
        places = (reference.environment,)
    elif reference.version is None and reference.digest is None and resolving.DEV in places:
        places = (resolving.DEV,)  # a bare name means the newest version there, whatever else is allowed
    last: Refused | None = None
    for place in places:
        resolved = session.resolve(place)
        source = admission.authorise(resolved, Digest(session.identity.key_id), "load", reference.model)
        try:
            return resolving.find_authorised(session, source, reference).verified
        except Refused as refusal:
            if refusal.code != "not-promoted":
                raise
            last = refusal  # it is not in this environment; perhaps it is in another allowed one
    raise last or AccessDenied(
        f"{who} may not promote {reference.model} to {target}.", subject=str(reference)
    )


def give_keys(session: Session, source: Verified, to: EnvironmentRule, *, only_missing: bool) -> None:
    """Wrap every file's key to the next environment, and bring the version to its store where that is apart.

    A header that lies there already may be a stranger's, so it is no reason to
    leave ours out, except where the version is in the channel and this is a repair.

    Raises:
        Refused, NotFound, Unavailable, NoUsableKey.
    """
    record = find_sealing(session, source).sealing
    if not only_missing:
        archived.demand_here(session, source, record)
    files = list(record.files)
    if only_missing:
        files = [file for file in files if not _has_key(session, record, to, file)]
    keys = keyring.file_keys(session, record, source.authorised.resolved.rule, files)
    for done, file in enumerate(files):
        keyring.wrap_file_key(session, record.model, record.version, file.file_id, keys[file.file_id], to)
        session.progress(done + 1, len(files), f"keys for {to.name}")
    carrying.carry(session, record, to.name)


def _has_key(session: Session, record: SealingRecord, to: EnvironmentRule, file: SealedFile) -> bool:
    """Tell whether a file's key can be had there; who may not read there sees a header at most."""
    try:
        return bool(keyring.file_keys(session, record, to, [file]))
    except (NotFound, Refused):
        return False
    except NoUsableKey:
        folder = layout.header_folder(record.model, record.version, to.name, keyring.newest_epoch(to))
        return any(name.startswith(f"{file.name}-") for name in session.store.list_folders(folder))


# --- going back ---


def rollback(
    session: Session, model: Model, environment: Environment, slot: Slot, to: Version | None
) -> Promotion:
    """Promote again what a channel named before, or the version `to` if it named that once.

    Approvals bind a version and an environment, so none are needed anew unless
    the version was withdrawn since. What was withdrawn since is passed over.

    Raises:
        NotFound: the channel never named another version that could be used again, or never named `to`.
        AccessDenied, Refused, Conflict, Unavailable, NoUsableKey: as `promote`.
    """
    where = Channel(environment, slot, model)
    with auditing.acting(session, "promote", f"{where} back", environment, model=model, slot=slot) as act:
        authorised = authorise(session, model, environment)
        act.learn(authorised.resolved)
        return _go_back(session, authorised, where, to)


@dataclass(frozen=True, slots=True)
class WayBack:
    """Where a channel would go back to: the version, and the digest of the newest record that counts now."""

    version: Version
    head: Digest


def way_back(session: Session, where: Channel) -> WayBack:
    """Tell where `rollback` would bring a channel, and write nothing but that it was denied.

    Raises:
        NotFound, AccessDenied, Refused, Unavailable, NoUsableKey: as `rollback`.
    """
    facts = {"model": where.model, "slot": where.slot}
    with auditing.acting(session, "promote", f"{where} back", where.environment, **facts) as act:
        authorised = authorise(session, where.model, where.environment)
        act.learn(authorised.resolved)
        among = recording.slots(session, authorised, where)
        earlier = earlier_of(session, authorised, where, among, None)
        head = recording.look_past(session, authorised, where, among).found.head
        if earlier is None or earlier.record.version is None or head is None:
            raise _never(where, None)
        return WayBack(earlier.record.version, head.digest)


def in_use(session: Session, where: Channel) -> tuple[Version | None, Digest | None]:
    """Give the version that a channel lets be used, and the digest of its newest record that counts.

    Raises:
        Rollback, Unavailable.
    """
    anybody = resolving.anybody(session.resolve(where.environment), where.model)
    found = recording.look_past(session, anybody, where).found
    named = None if found.manifest is None or found.naming is None else found.naming.record.version
    return named, None if found.head is None else found.head.digest


def _never(where: Channel, to: Version | None) -> NotFound:
    return NotFound(
        f"{where} never named {where.model}:{to}."
        if to is not None
        else f"{where} named no earlier version that is still allowed there.",
        subject=str(where),
        hint=f"See what was there: mvault history {where.model}. "
        f"Or promote: mvault promote {where.model}:VERSION --env {where.environment}",
    )


def _go_back(session: Session, authorised: Authorised, where: Channel, to: Version | None) -> Promotion:
    among = recording.slots(session, authorised, where)
    earlier = earlier_of(session, authorised, where, among, to)
    if earlier is None or earlier.record.version is None:
        raise _never(where, to)
    source = admit(session, authorised, Reference(where.model, version=earlier.record.version))
    if source.digest != earlier.record.manifest:
        raise Conflict(
            f"{source.subject} is not what {where} named: its manifest differs.",
            subject=source.subject,
            hint="Restore it from a backup, or promote another version.",
        )
    return enter(session, authorised, source, where)


def earlier_of(
    session: Session, authorised: Authorised, where: Channel, among: Slots, to: Version | None
) -> Entry | None:
    """Find the newest record of another version than the channel's that holds; without `to`, not barred."""
    resolved: Resolved = authorised.resolved
    current = recording.look_past(session, authorised, where, among).found.naming
    below = current is None
    for entry in among.places[where.slot]:
        if not isinstance(entry, Signed) or entry.record.manifest is None:
            continue
        if to is not None:
            if entry.record.version == to and _held(session, authorised, where, entry, among):
                return entry
            continue
        if current is not None and entry.digest == current.digest:
            below = True
        elif below and (current is None or entry.record.manifest != current.record.manifest):
            order = channels.order_of(resolved.context, entry)
            barred = among.bar(entry.record.manifest, since=order) is not None
            if not barred and _held(session, authorised, where, entry, among):
                return entry
    return None


def _held(session: Session, authorised: Authorised, where: Channel, entry: Entry, among: Slots) -> bool:
    """Tell whether a record was in force; one whose version was altered or deleted is passed over."""
    try:
        return resolving.holds(session, authorised, where, entry, among)
    except Rollback:
        raise
    except (Refused, NotFound):
        return False
