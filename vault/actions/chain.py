"""Read a channel's records without a gap: each names, in `prev`, what was in force when it was made."""

from collections.abc import Collection, Iterable

from vault.actions import objects
from vault.core import envelope, layout, limits, records
from vault.core.channels import Entry, Records, Slots
from vault.core.in_force import Channel, Signed
from vault.core.names import Digest
from vault.errors import Refused, Rollback
from vault.ports import Store


def unbroken(store: Store, place: Records) -> list[Entry]:
    """Give a channel's genuine records, newest first, none of which was taken out from among them.

    A withdrawal below newer records would be missed by nobody else: heads attest
    the newest record only, and a client that is new remembers nothing. Records
    of earlier eras are let be: a new era is the way out of what was lost.

    Raises:
        Rollback: what a record follows is gone from the store.
        Unavailable.
    """
    genuine = _genuine(place)
    _demand(store, place, _followed(place, genuine) - _digests(genuine))
    return genuine


def unbroken_so_far(store: Store, among: Slots) -> None:
    """Refuse where one was taken out from among those records of a model that its channel was judged by.

    Step 4 reads back, in every slot, to the point before which no withdrawal
    matters. The last record that it read there lies at that point or before: what
    that one follows is not asked for. Nothing more is read while each record
    follows the one below it.

    Raises:
        Rollback: what a record follows is gone from the store.
        Unavailable.
    """
    for place in among.places.values():
        read = [entry for entry in place.looked_at if isinstance(entry, Signed)]
        later = read if place.exhausted else read[:-1]
        missing = _followed(place, later) - _digests(read)
        if missing:
            _demand(store, place, missing - _digests(_genuine(place)))


def _genuine(place: Records) -> list[Entry]:
    return [entry for entry in place if isinstance(entry, Signed)]


def _digests(entries: Iterable[Entry]) -> set[Digest]:
    return {entry.digest for entry in entries}


def _followed(place: Records, entries: Iterable[Entry]) -> set[Digest]:
    """Give what records of the policy's era follow."""
    era = place.context.policy_id.era
    named = {entry.record.prev for entry in entries if entry.record.policy.era == era}
    return {digest for digest in named if digest is not None}


def _demand(store: Store, place: Records, missing: set[Digest]) -> None:
    """Refuse where something lies in the store under no number of a channel, whether it counts or not."""
    if missing and not missing <= _lying_there(store, place, missing):
        raise Rollback(
            f"A record of {place.where} that a later one follows is gone from the store.",
            subject=str(place.where),
            hint="Somebody deleted it, and it may have been a withdrawal. Restore it from a backup; if it is "
            "lost, the holders of the root begin a new era.",
        )


def _lying_there(store: Store, place: Records, wanted: Collection[Digest]) -> set[Digest]:
    """Give those digests that records have which do not count any more: their signers left."""
    found: set[Digest] = set()
    for number in place.numbers:
        try:
            data = objects.read_listed(store, _name(place.where, number), limit=limits.ENVELOPE_BYTES)
            digest = envelope.parse(data, kind=records.CHANNEL, subject=str(place.where)).digest
        except Refused:
            continue
        if digest in wanted:
            found.add(digest)
    return found


def _name(where: Channel, number: int) -> str:
    return layout.channel(where.environment, where.slot, where.model) + layout.numbered(number)
