"""Promote a version: give its keys to the next environment, then write the channel record that counts."""

from dataclasses import dataclass

from vault.actions import keyring, objects, resolving
from vault.actions.reading import find_sealing
from vault.actions.session import Session
from vault.core import admission, channels, envelope, in_force, layout, limits, names, policy, records
from vault.core.in_force import Channel, Signed
from vault.core.names import Digest, Environment, Reference, Slot
from vault.core.policy import EnvironmentRule
from vault.core.records import ChannelRecord, SealedFile, SealingRecord
from vault.core.stages import Authorised, Resolved, Sealed, Verified
from vault.core.trust import Skipped
from vault.errors import (
    AccessDenied,
    Conflict,
    Malformed,
    NotFound,
    NoUsableKey,
    Refused,
    Unavailable,
)


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion did: the record, and what lay in its way."""

    reference: Reference
    version: names.Version
    seq: int
    already: bool
    skipped: tuple[Skipped, ...]


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
    into = session.resolve(environment)
    key_id = Digest(session.identity.key_id)
    authorised = admission.authorise(into, key_id, "promote", reference.model)
    verified = _from_source(session, authorised, reference)
    target = Verified(authorised, verified.target, verified.manifest, verified.digest, verified.publishers)
    admission.require(target, session.clock())
    where = Channel(environment, slot, reference.model)
    _require_approvals(session, target, where)
    # Before the channel is read: a record that somebody writes from now on must collide with ours.
    taken = objects.numbers(session.store, layout.channel(environment, slot, reference.model))
    current, skipped = resolving.channel(session, authorised, where)
    session.remember(into, (where, current))
    named = Reference(reference.model, environment=environment, slot=slot)
    version = verified.manifest.version
    already = current is not None and current.record.manifest == verified.digest
    _give_keys(session, find_sealing(session, verified), into.rule, only_missing=already)
    if current is not None and already:
        return Promotion(named, version, current.record.seq, True, skipped)
    written = _write(session, target, where, current, taken)
    session.remember(into, (where, written))
    return Promotion(named, version, written.record.seq, False, skipped)


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


def _require_approvals(session: Session, target: Verified, where: Channel) -> None:
    """Tell early, by the rule that loaders enforce, whether the approvals suffice.

    Raises:
        Refused: `approvals-missing`, naming who could approve.
    """
    resolved = target.authorised.resolved
    rule = resolved.rule.require.approvals
    if rule is None:
        return
    manifest = target.manifest
    found = resolving.approvals(session, resolved, where, manifest.version, target.digest)
    counted = in_force.approvers(
        resolved.context,
        rule,
        found,
        publishers=target.publishers,
        promoters=[target.authorised.member.name],
        bar=channels.last_bar(resolving.judged(session, resolved, where), target.digest, found),
    )
    if len(counted) < rule.threshold:
        waiting = _could_approve(resolved, target, where) - counted
        raise Refused(
            f"{target.subject} cannot enter {where.environment}: "
            f"{len(counted)} of {rule.threshold} approvals. "
            f"Waiting for any of: {', '.join(sorted(waiting)) or 'nobody'}.",
            code="approvals-missing",
            subject=target.subject,
            hint=f"They run: mvault approve {target.subject} --env {where.environment}",
        )


def _could_approve(resolved: Resolved, target: Verified, where: Channel) -> frozenset[names.Principal]:
    rule = resolved.rule.require.approvals
    current = resolved.context.policy
    if rule is None:
        return frozenset()
    excluded: set[names.Principal] = set()
    if "publisher" in rule.distinct_from:
        for publisher in target.publishers:
            excluded |= policy.persons_behind(current, publisher)
    return frozenset(
        member.name
        for member in current.members.values()
        if member.kind == policy.PERSON
        and rule.role in member.roles
        and member.name not in excluded
        and policy.decide(current, member.name, "approve", where.model, where.environment).allowed
    )


def _give_keys(session: Session, sealed: Sealed, to: EnvironmentRule, *, only_missing: bool) -> None:
    """Wrap every file's key to the next environment.

    A header that lies there already may be a stranger's, so it is no reason to
    leave ours out, except where the version is in the channel and this is a repair.
    """
    record = sealed.sealing
    files = list(record.files)
    if only_missing:
        files = [file for file in files if not _has_key(session, record, to, file)]
    source = sealed.verified.authorised.resolved.rule
    keys = keyring.file_keys(session, record, source, files)
    for done, file in enumerate(files):
        keyring.wrap_file_key(session, record.model, record.version, file.file_id, keys[file.file_id], to)
        session.progress(done + 1, len(files), f"keys for {to.name}")


def _has_key(session: Session, record: SealingRecord, to: EnvironmentRule, file: SealedFile) -> bool:
    """Tell whether a file's key can be had there; who may not read there sees a header at most."""
    try:
        return bool(keyring.file_keys(session, record, to, [file]))
    except (NotFound, Refused):
        return False
    except NoUsableKey:
        folder = layout.header_folder(record.model, record.version, to.name, keyring.newest_epoch(to))
        return any(name.startswith(f"{file.name}-") for name in session.store.list_folders(folder))


def _write(
    session: Session,
    target: Verified,
    where: Channel,
    current: Signed[ChannelRecord] | None,
    listed: list[int],
) -> Signed[ChannelRecord]:
    """Create the next record after `current`; numbers in `listed` were seen when it was judged.

    What came since is either somebody's genuine record, who was first, or a
    stranger's object, which only costs its number.
    """
    folder = layout.channel(where.environment, where.slot, where.model)
    taken = set(listed)
    above = 0 if current is None else current.record.seq
    while True:
        seq = objects.lowest_free(taken, above, str(where))
        data = _sign(session, target, where, current, seq)
        judged = in_force.channel_record(target.authorised.resolved.context, where, seq, data)
        if isinstance(judged, Skipped):
            raise Refused(judged.reason, code=judged.code, subject=str(where))
        try:
            objects.create(session.store, folder + layout.numbered(seq), data)
        except Conflict:
            if _is_genuine(session, target, where, seq):
                raise Conflict(
                    f"Somebody else changed {where} first; it does not name {target.subject} by your word.",
                    subject=str(where),
                    hint=f"Look at what is there (mvault history {where.model}), then decide.",
                ) from None
            taken.add(seq)
            continue
        return judged


def _is_genuine(session: Session, target: Verified, where: Channel, seq: int) -> bool:
    """Tell whether what lies at a number is a record by somebody who may write there.

    Raises:
        Unavailable: it is an object that cannot be read now, so nobody knows.
    """
    folder = layout.channel(where.environment, where.slot, where.model)
    try:
        data = session.store.read(folder + layout.numbered(seq), limit=limits.ENVELOPE_BYTES)
    except (NotFound, Malformed):
        return False
    except Unavailable:
        if seq in objects.numbers(session.store, folder):
            raise
        return False  # it has the name and is no object: a folder, a link
    found = in_force.channel_record(target.authorised.resolved.context, where, seq, data)
    return isinstance(found, Signed)


def _sign(
    session: Session, target: Verified, where: Channel, current: Signed[ChannelRecord] | None, seq: int
) -> bytes:
    context = target.authorised.resolved.context
    record = ChannelRecord(
        vault=context.vault,
        policy=context.policy_id,
        environment=where.environment,
        slot=where.slot,
        model=where.model,
        seq=seq,
        version=target.manifest.version,
        manifest=target.digest,
        prev=None if current is None else current.digest,
        bars=(),
        created=session.now(),
    )
    identity = session.identity
    signer = [(Digest(identity.key_id), identity.sign)]
    return envelope.serialise(envelope.sign(records.CHANNEL, records.encode_channel(record), signer))
