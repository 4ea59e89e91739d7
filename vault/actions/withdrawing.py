"""Withdraw a version from an environment: signed records that bar its manifest in every slot."""

from dataclasses import dataclass

from vault.actions import auditing, logged, promote, recording, resolving
from vault.actions.recording import Seen, Step
from vault.actions.session import Session
from vault.core import admission, channels, names
from vault.core.channels import Entry, Slots
from vault.core.in_force import Channel, Signed
from vault.core.names import Digest, Environment, Model, Reference, Slot, Version
from vault.core.stages import Authorised, Target, Verified
from vault.errors import AccessDenied, Conflict, NotFound, Refused, Rollback

_ROUNDS = 8  # of others promoting what is being withdrawn


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What a withdrawal did: in which slots a record was written, and what replaces the version there."""

    model: Model
    environment: Environment
    digests: tuple[Digest, ...]
    written: tuple[Channel, ...]
    replaced: tuple[Channel, ...]
    replacement: Version | None
    already: bool


def withdraw(
    session: Session,
    reference: Reference,
    environment: Environment,
    slot: Slot | None = None,
    replacement: Version | None = None,
    *,
    again: bool = False,
) -> Withdrawal:
    """Keep a version out of an environment, in every slot; optionally put another in its place.

    The first record, in `main`, decides for all slots; a record in every other
    slot that uses the version follows, so that each channel's history tells of
    it. `replacement` takes its place in `slot`, or in every slot that uses it.
    Where somebody else is first, it is tried again: what they did does not matter.
    `again` writes records even where it is withdrawn: a bar counts for as long as
    its signer does, so before one leaves, another signs it too.

    Raises:
        AccessDenied: this identity may neither withdraw, approve nor promote there, or may not
            promote the replacement.
        ValueError: there is no slot in which the replacement could take its place.
        Conflict: somebody else changed a channel meanwhile.
        NotFound, Refused, Unavailable, NoUsableKey.
    """
    with auditing.acting(session, "withdraw", reference, environment, slot=slot):
        return _withdraw(session, reference, environment, slot, replacement, again)


def _withdraw(
    session: Session,
    reference: Reference,
    environment: Environment,
    slot: Slot | None,
    replacement: Version | None,
    again: bool,
) -> Withdrawal:
    authorised = _authorise(session, environment, reference.model)
    digests = _meant(session, authorised, reference)
    source = attempt = None
    if replacement is not None:
        source = _replacement(session, environment, Reference(reference.model, version=replacement), digests)
        attempt = logged.intent(session, authorised.resolved.rule, source)
    wanted = _wanted(session, authorised, digests, slot, source)
    written: list[Channel] = []
    replaced: list[Channel] = []
    for _ in range(_ROUNDS):
        signed = frozenset(place.slot for place in written) if again else None
        seen = _next(session, authorised, digests, wanted - {place.slot for place in replaced}, signed)
        if seen is None:
            break
        if not seen.guessed:
            session.remember(authorised.resolved, (seen.where, seen.found.head))
        step = Step(None, None, digests)
        if source is not None and seen.where.slot in wanted and _uses(seen, digests):
            step = Step(source.manifest.version, source.digest, digests)
        try:
            record = recording.write(session, seen, step, attempt if step.manifest else None)
        except Conflict:
            continue  # whatever somebody else did there: this version is to be out
        session.remember(authorised.resolved, (seen.where, record))
        written.append(seen.where)
        if step.manifest is not None:
            replaced.append(seen.where)
    else:
        raise Conflict(
            f"Others keep promoting {reference} to {environment}.",
            subject=str(reference),
            hint=f"Look at what is there: mvault history {reference.model}",
        )
    return Withdrawal(
        reference.model,
        environment,
        digests,
        tuple(written),
        tuple(replaced),
        None if source is None else source.manifest.version,
        not written,
    )


def is_withdrawn(session: Session, reference: Reference, environment: Environment) -> bool:
    """Tell whether a version is withdrawn already; where it is not, that this identity may withdraw it.

    Raises:
        AccessDenied, ValueError, NotFound, Refused, Unavailable, NoUsableKey: as `withdraw`.
    """
    authorised = _authorise(session, environment, reference.model)
    among = resolving.slots(session, authorised.resolved, reference.model)
    return all(_is_barred(among, digest) for digest in _meant(session, authorised, reference))


def _authorise(session: Session, environment: Environment, model: Model) -> Authorised:
    """Demand that this identity may sign a record that bars: by `withdraw`, `approve` or `promote`."""
    resolved = session.resolve(environment)
    key_id = Digest(session.identity.key_id)
    denied: AccessDenied | None = None
    for action in ("withdraw", "approve", "promote"):
        try:
            return admission.authorise(resolved, key_id, action, model)
        except AccessDenied as refusal:
            denied = denied or refusal
    raise denied or AccessDenied(f"Nobody may withdraw {model}.", subject=str(model))


def _meant(session: Session, authorised: Authorised, reference: Reference) -> tuple[Digest, ...]:
    """Give the manifests that a reference means: what verifies, and whatever records here call that version.

    A version whose publisher was revoked can still be withdrawn.

    Raises:
        NotFound: there is no such version.
        Rollback, Unavailable.
    """
    resolved, model = authorised.resolved, reference.model
    if reference.digest is not None:
        return (reference.digest,)
    version = reference.version
    found: set[Digest] = set()
    if reference.environment is not None:
        where = Channel(resolved.rule.name, reference.slot or names.MAIN, model)
        if reference.environment != resolved.rule.name:
            raise ValueError(f"{reference} is not in {resolved.rule.name}: name a version, as {model}:3.")
        naming = recording.look_past(session, authorised, where).found.naming
        if naming is not None and naming.record.manifest is not None:
            found.add(naming.record.manifest)
    elif version is None:
        raise ValueError(f"Say which version of {model} to withdraw, as {model}:3.")
    else:
        for place in resolving.slots(session, resolved, model).places.values():
            genuine = (entry.record for entry in place if isinstance(entry, Signed))
            found |= {entry.manifest for entry in genuine if entry.version == version and entry.manifest}
        try:
            data = resolving.read_manifest(session, model, version)
            target = Target(version, None, None, open=False)
            found.add(resolving.verify(session, authorised, target, data).digest)
        except Rollback:
            raise
        except (NotFound, Refused):
            pass  # altered or deleted; what the records call by this name is barred all the same
    if not found:
        raise NotFound(
            f"There is no {reference} to withdraw.",
            subject=str(reference),
            hint=f"See what there is: mvault history {model}",
        )
    return tuple(sorted(found))


def _replacement(
    session: Session, environment: Environment, reference: Reference, digests: tuple[Digest, ...]
) -> Verified:
    """Verify the version that is to take the place by all that a promotion asks, and give its keys."""
    into = promote.authorise(session, reference.model, environment)
    source = promote.admit(session, into, reference)
    if source.digest in digests:
        raise ValueError(f"{reference} cannot replace itself.")
    promote.give_keys(session, source, into.resolved.rule, only_missing=False)
    return source


def _wanted(
    session: Session,
    authorised: Authorised,
    digests: tuple[Digest, ...],
    slot: Slot | None,
    source: Verified | None,
) -> frozenset[Slot]:
    """Give the slots in which the replacement takes the version's place: those that use it now.

    Raises:
        ValueError: there is none.
    """
    if source is None:
        return frozenset()
    using, done = set(), False
    among = resolving.slots(session, authorised.resolved, authorised.model)
    for name, place in among.places.items():
        if slot in (None, name):
            seen = recording.look_past(session, authorised, place.where, among)
            done = done or seen.found.manifest == source.digest
            if _uses(seen, digests):
                using.add(name)
    if not using and not (done and all(_is_barred(among, digest) for digest in digests)):
        where = authorised.resolved.rule.name if slot is None else f"{authorised.resolved.rule.name}/{slot}"
        raise ValueError(f"{where} does not use that version, so nothing can take its place there.")
    return frozenset(using)


def _next(
    session: Session,
    authorised: Authorised,
    digests: tuple[Digest, ...],
    wanted: frozenset[Slot],
    signed: frozenset[Slot] | None,
) -> Seen | None:
    """Look at everything anew; give the channel that needs a record next, None when all is done.

    `signed` are the slots that have a record of this identity's, where what others wrote is not enough.
    """
    main = Channel(authorised.resolved.rule.name, names.MAIN, authorised.model)
    seen = recording.look_past(session, authorised, main)
    if any(not _is_barred(seen.among, digest) for digest in digests):
        return seen
    if signed is not None and names.MAIN not in signed:
        return seen
    for place in seen.among.places.values():
        here = recording.look_past(session, authorised, place.where, seen.among)
        slot = place.where.slot
        mine = signed is None or slot in signed
        if _uses(here, digests) and (slot in wanted or not mine or not _tells(here, digests)):
            return here
    return None


def _is_barred(among: Slots, digest: Digest) -> bool:
    """Tell whether a bar is later than everything that names a digest, approved or not, in any slot."""
    last = (0, 0)
    for place in among.places.values():
        for entry in place:
            if isinstance(entry, Signed) and entry.record.manifest == digest:
                last = max(last, channels.order_of(among.context, entry))
                break
    return among.bar(digest, since=last) is not None


def _uses(seen: Seen, digests: tuple[Digest, ...]) -> bool:
    """Tell whether a channel names one of the manifests, withdrawn or not."""
    naming = seen.found.naming
    return naming is not None and naming.record.manifest in digests


def _tells(seen: Seen, digests: tuple[Digest, ...]) -> bool:
    """Tell whether a channel's own records say that what it names was withdrawn."""
    naming: Entry | None = seen.found.naming
    if naming is None:
        return True
    since = channels.order_of(seen.among.context, naming)
    later = seen.among.places[seen.where.slot].since(since)
    return any(naming.record.manifest in entry.record.bars for entry in later)
