"""Write channel records: look at what is in force, create the next one, unless somebody else was first."""

from dataclasses import dataclass

from vault.actions import attested, carrying, log_decisions, logged, objects, resolving
from vault.actions.session import Session, mark_of
from vault.core import channels, envelope, in_force, layout, limits, memory_format, records
from vault.core.channels import Entry, InForce, Slots
from vault.core.in_force import Channel, Signed
from vault.core.names import Digest, Version
from vault.core.records import ChannelRecord
from vault.core.stages import Authorised, Resolved, Verified
from vault.core.trust import Skipped
from vault.errors import Conflict, Malformed, NotFound, Refused, Rollback, Unavailable


@dataclass(frozen=True, slots=True)
class Step:
    """What a record is to say: the version and manifest to be used from now on, or None, and what it bars."""

    version: Version | None
    manifest: Digest | None
    bars: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A channel as it was looked at: what is in force, and every name that was taken before that.

    `guessed` says that what is in force names something that does not verify.
    """

    authorised: Authorised
    where: Channel
    among: Slots
    found: InForce
    guessed: bool = False

    @property
    def resolved(self) -> Resolved:
        """The policy in force for the channel's environment."""
        return self.authorised.resolved


def look(session: Session, authorised: Authorised, where: Channel) -> Seen:
    """Look at a channel before something is written to it.

    Names are listed before records are read, so that what somebody writes from
    now on either collides with ours or is seen.

    Raises:
        Refused, Unavailable.
    """
    found = slots(session, authorised, where)
    return Seen(authorised, where, found, resolving.channel(session, authorised, where, found))


def slots(session: Session, authorised: Authorised, where: Channel) -> Slots:
    """Give the records of every slot of a channel's environment, the channel's own among them.

    Raises:
        Unavailable.
    """
    found = resolving.slots(session, authorised.resolved, where.model)
    if where.slot in found.places:
        return found
    here = resolving.judged(session, authorised.resolved, where)
    return Slots(found.context, {**found.places, where.slot: here})


def remember(session: Session, resolved: Resolved, seen: Seen, *also: Verified) -> None:
    """Remember what a channel came to, before something is written to it, and what else was verified.

    What this client saw in force may have lapsed with its signers or approvers: a
    load refuses then, but whoever writes here is to mend it. It must lie there still.

    Raises:
        Rollback: the store offers something older, or other, than was seen before.
        Unavailable.
    """
    attested.recall(session, resolved, seen.where.model, seen.among)
    where, head = seen.where, seen.found.head
    known = resolved.remembered.channels.get(
        memory_format.channel_key(where.environment, where.slot, where.model)
    )
    lapsed = known is not None and (head is None or mark_of(resolved.context, head).order < known.order)
    session.remember(resolved, *also, *(() if lapsed else ((where, head),)))


def look_past(session: Session, authorised: Authorised, where: Channel, among: Slots | None = None) -> Seen:
    """Look at a channel whose version may not even verify any more, so that it can be withdrawn.

    Raises:
        Rollback, Unavailable.
    """
    found = among or slots(session, authorised, where)
    try:
        return Seen(authorised, where, found, resolving.channel(session, authorised, where, found))
    except Rollback:
        raise
    except (Refused, NotFound):
        newest = next((entry for entry in found.places[where.slot] if isinstance(entry, Signed)), None)
        named = newest if newest is not None and newest.record.manifest is not None else None
        return Seen(authorised, where, found, InForce(newest, named), guessed=True)


def highest(session: Session, authorised: Authorised, among: Slots) -> int:
    """Give the highest number in force over a model's slots in the policy's era, 0 if there is none.

    A record that bars something counts whatever else it says. Where it cannot be
    told whether another slot's newest record has its approvals, its number counts.

    Raises:
        Rollback, Unavailable.
    """
    era = among.context.policy_id.era
    top = 0
    for place in among.places.values():
        head = look_past(session, authorised, place.where, among).found.head
        if head is not None and channels.order_of(among.context, head)[0] == era:
            top = max(top, head.record.seq)
    for place in among.places.values():
        barring = (entry.record.seq for entry in place.since((era, top + 1)) if entry.record.bars)
        top = max(top, next(barring, 0))
    return top


def write(session: Session, seen: Seen, step: Step, attempt: bytes | None = None) -> Entry:
    """Create the next record of a channel, and log it; `attempt` is the id of the record of its attempt.

    What came since it was looked at is either somebody's genuine record, who was
    first, or a stranger's object, which only costs its number.

    Raises:
        Conflict: somebody else was first.
        Refused: this identity's record would not count.
        NotFound: the environment has a store of its own, and this is not it.
        Unavailable.
    """
    carrying.demand_place(session, seen.where.environment)
    here = seen.among.places[seen.where.slot]
    context = seen.resolved.context
    above = highest(session, seen.authorised, seen.among)
    earlier = 0
    if context.policy_id.era:
        genuine = (entry for entry in here if isinstance(entry, Signed))
        earlier = sum(channels.order_of(context, entry)[0] < context.policy_id.era for entry in genuine)
    demanded = seen.resolved.rule.require.log is not None
    logged_before = log_decisions.taken(session, seen.where, context.policy_id.era, required=demanded)
    taken = {*here.numbers, *logged_before}
    while True:
        seq = objects.lowest_free(taken, above, str(seen.where), genuine=earlier)
        data = _sign(session, seen, step, seq)
        judged = in_force.channel_record(context, seen.where, seq, data)
        if isinstance(judged, Skipped):
            raise Refused(judged.reason, code=judged.code, subject=str(seen.where))
        try:
            objects.create(session.store, _name(seen.where, seq), data)
        except Conflict:
            if _is_genuine(session, seen, seq):
                raise _lost(seen, step) from None
            taken.add(seq)
            continue
        if len(seen.among.places) > 1:
            _check_company(session, seen, step, taken | {seq})
        _log(session, seen, judged, attempt)
        return judged


def _log(session: Session, seen: Seen, entry: Entry, attempt: bytes | None) -> None:
    """Log a record that was created; one that only bars counts whether or not it is logged."""
    record = entry.record
    logged.change(
        session,
        "withdraw" if record.manifest is None else "promote",
        record.environment,
        entry.digest,
        required=seen.resolved.rule.require.log is not None and record.manifest is not None,
        model=record.model,
        version=record.version,
        manifest=record.manifest,
        slot=record.slot,
        seq=record.seq,
        of=attempt,
    )


def _check_company(session: Session, seen: Seen, step: Step, known: set[int]) -> None:
    """Tell of a record that was written at the same time under another number, since numbers span slots."""
    folder = layout.channel(seen.where.environment, seen.where.slot, seen.where.model)
    for number in objects.numbers(session.store, folder):
        if number not in known and _is_genuine(session, seen, number):
            raise _lost(seen, step)


def _lost(seen: Seen, step: Step) -> Conflict:
    what = f"{seen.where.model}:{step.version}" if step.version else "your withdrawal"
    return Conflict(
        f"Somebody else changed {seen.where} first, or at the same time; do not count on {what}.",
        subject=str(seen.where),
        hint=f"Look at what is there (mvault history {seen.where.model}), then decide.",
    )


def _name(where: Channel, seq: int) -> str:
    return layout.channel(where.environment, where.slot, where.model) + layout.numbered(seq)


def _is_genuine(session: Session, seen: Seen, seq: int) -> bool:
    """Tell whether what lies at a number is a record by somebody who may write there.

    Raises:
        Unavailable: it is an object that cannot be read now, so nobody knows.
    """
    where = seen.where
    try:
        data = session.store.read(_name(where, seq), limit=limits.ENVELOPE_BYTES)
    except (NotFound, Malformed):
        return False
    except Unavailable:
        if seq in objects.numbers(session.store, layout.channel(where.environment, where.slot, where.model)):
            raise
        return False  # it has the name and is no object: a folder, a link
    return isinstance(in_force.channel_record(seen.resolved.context, where, seq, data), Signed)


def _sign(session: Session, seen: Seen, step: Step, seq: int) -> bytes:
    context = seen.resolved.context
    head = seen.found.head
    record = ChannelRecord(
        vault=context.vault,
        policy=context.policy_id,
        environment=seen.where.environment,
        slot=seen.where.slot,
        model=seen.where.model,
        seq=seq,
        version=step.version,
        manifest=step.manifest,
        prev=None if head is None else head.digest,
        bars=step.bars,
        created=session.now(),
    )
    identity = session.identity
    signer = [(Digest(identity.key_id), identity.sign)]
    return envelope.serialise(envelope.sign(records.CHANNEL, records.encode_channel(record), signer))
