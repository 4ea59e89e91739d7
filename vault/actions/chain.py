"""Read a channel's records without a gap: each names, in `prev`, what was in force when it was made."""

from collections.abc import Collection

from vault.actions import objects
from vault.core import envelope, layout, limits, records
from vault.core.channels import Entry, Records
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
    genuine = [entry for entry in place if isinstance(entry, Signed)]
    era = place.context.policy_id.era
    named = {entry.record.prev for entry in genuine if entry.record.policy.era == era}
    missing = {digest for digest in named if digest is not None} - {entry.digest for entry in genuine}
    if missing and not missing <= _lying_there(store, place, missing):
        raise Rollback(
            f"A record of {place.where} that a later one follows is gone from the store.",
            subject=str(place.where),
            hint="Somebody deleted it, and it may have been a withdrawal. Restore it from a backup; if it is "
            "lost, the holders of the root begin a new era.",
        )
    return genuine


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
