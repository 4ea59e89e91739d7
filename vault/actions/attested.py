"""Compare what was found of a model with what the heads of its environment say, and what this client saw."""

from collections.abc import Collection

from vault.actions.session import Observation, Session, mark_of
from vault.core import (
    envelope,
    heads,
    in_force,
    layout,
    limits,
    memory_format,
    policy,
    policy_document,
    records,
)
from vault.core.channels import Entry, Slots
from vault.core.in_force import Channel, Context, Signed
from vault.core.memory_format import Mark, Memory
from vault.core.names import Environment, Model, Slot
from vault.core.stages import Resolved, Verified
from vault.errors import NotFound, Refused, Rollback
from vault.ports import Store


def compare(session: Session, verified: Verified, among: Slots, seen: tuple[Observation, ...]) -> bool:
    """Hold every slot of a model against the heads; tell whether this client knew the channel as it is.

    Every slot, because a record that is withheld in one may bar what another
    names. What was attested must lie there still, also below newer records,
    whose approvals it may have ended. `seen` are the channels that were looked
    at, and are compared where they are remembered.

    Raises:
        Rollback: a channel is older than the heads say.
        Unavailable.
    """
    resolved = verified.authorised.resolved
    state = resolved.freshness
    if state is None:
        return True
    newest: dict[Channel, Entry | None] = dict(entry for entry in seen if isinstance(entry, tuple))
    for slot in heads.slots_of(state, verified.manifest.model):
        where = Channel(resolved.rule.name, slot, verified.manifest.model)
        mark = heads.attested(state, where)
        if mark is not None and not _lies_there(session, resolved, among, where, mark):
            heads.check_channel(state, where, _newest(resolved, among, where))
            raise _gone(where, f"Number {mark.number} of {where}, which was attested,")
    via = verified.target.via
    if not newest and via is not None:
        newest = {Channel(resolved.rule.name, via.record.slot, via.record.model): via}
    known = resolved.remembered.channels
    return any(
        head is not None and known.get(_key(where)) == mark_of(resolved.context, head)
        for where, head in newest.items()
    )


def recall(session: Session, resolved: Resolved, model: Model, among: Slots) -> None:
    """Hold every slot of a model against what this client remembers of it: one may bar what another names.

    A remembered record must lie there still, also below newer ones: a withdrawal
    that was deleted would withdraw nothing. Whether the policy lets it count is
    another question.

    Raises:
        Rollback: a slot is older than this client has seen, or what it has seen there is gone.
        Unavailable.
    """
    continues = resolved.context.policy.continues
    for slot in sorted(_slots(resolved.remembered, resolved.rule.name)):
        where = Channel(resolved.rule.name, slot, model)
        key = _key(where)
        known = resolved.remembered.channels.get(key)
        if known is None:
            continue
        if known.era < resolved.context.policy.era and continues is not None and key not in continues:
            continue  # what was seen in an earlier era may be lost
        if not _lies_there(session, resolved, among, where, known):
            memory_format.check_channel(resolved.remembered, key, _newest(resolved, among, where))
            if known.era < resolved.context.policy.era:
                continue  # the new era goes on from what its policy names, and that is there
            raise _gone(where, f"Number {known.number} of {where}, which this client has seen,")


def _slots(remembered: Memory, environment: Environment) -> Collection[Slot]:
    """Give the slots of an environment in which any channel is remembered, even where no folder is left."""
    if not remembered.slots:
        found: dict[str, set[Slot]] = {}
        for key in remembered.channels:
            place, slot, _ = key.split("/", 2)
            found.setdefault(place, set()).add(Slot(slot))
        remembered.slots.update(found)  # in one step: other threads take what is there for all of them
    return remembered.slots.get(environment, ())


def _gone(where: Channel, what: str) -> Rollback:
    return Rollback(
        f"{what} is gone from the store.",
        subject=str(where),
        hint="Somebody deleted it, or a backup was restored. Ask the vault's owner.",
    )


def _newest(resolved: Resolved, among: Slots, where: Channel) -> Mark | None:
    genuine = (entry for entry in among.places.get(where.slot, ()) if isinstance(entry, Signed))
    return next((mark_of(resolved.context, entry) for entry in genuine), None)


def _lies_there(session: Session, resolved: Resolved, among: Slots, where: Channel, mark: Mark) -> bool:
    """Tell whether the store holds a record that was in force once, whether or not its signer counts now."""
    place = among.places.get(where.slot)
    if place is not None and any(entry.digest == mark.digest for entry in place.since(mark.order)):
        return True
    return _offered(session.store, resolved.context, where, mark)


def keep(session: Session, resolved: Resolved, *entries: Entry | None) -> None:
    """Remember withdrawals that were met, in whatever slot: each is in force whatever its slot has come to.

    Raises:
        Rollback: another record has been seen under the same number.
        Unavailable.
    """
    if resolved.freshness is not None and resolved.freshness.holds_only_what_was_seen:
        return
    marks: dict[str, Mark] = {}
    for entry in entries:
        if entry is None or entry.record.manifest is not None:
            continue
        key = _key(Channel(entry.record.environment, entry.record.slot, entry.record.model))
        mark = mark_of(resolved.context, entry)
        if key not in marks or marks[key].order < mark.order:
            marks[key] = mark
    if marks:
        session.memory.advance(Memory(resolved.context.vault, channels=marks))


def _key(where: Channel) -> str:
    return memory_format.channel_key(where.environment, where.slot, where.model)


def _offered(store: Store, context: Context, where: Channel, mark: Mark) -> bool:
    """Tell whether a record lies in the store, signed as it was by the policy under which it was made.

    By its digest alone whoever strips the signature could pass it off as that of somebody who left.
    """
    folder = layout.channel(where.environment, where.slot, where.model)
    try:
        data = _read(store, folder + layout.numbered(mark.number))
        sealed = envelope.parse(data, kind=records.CHANNEL, subject=str(where))
        if sealed.digest != mark.digest:
            return False
        made_under = records.parse_channel(sealed.payload, str(where)).policy
        place = layout.policy(made_under.version)
        document = envelope.parse(_read(store, place), kind=policy.KIND, subject=place)
        if document.digest != made_under.digest:
            return False
        then = Context(context.vault, policy_document.parse(document.payload, place), made_under)
    except (NotFound, Refused):
        return False
    return isinstance(in_force.channel_record(then, where, mark.number, data), Signed)


def _read(store: Store, name: str) -> bytes:
    return store.read(name, limit=limits.ENVELOPE_BYTES)
