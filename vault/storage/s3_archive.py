"""Ask about objects that lifecycle rules moved to an archive class, and ask for them back."""

import re
from dataclasses import dataclass
from typing import Final

from vault.core import limits
from vault.storage.s3_client import Client
from vault.storage.s3_errors import Failed
from vault.storage.s3_reading import look_at, read_failed

_ARCHIVES: Final = {"GLACIER", "DEEP_ARCHIVE"}
_TIERED: Final = {"ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"}  # of the class INTELLIGENT_TIERING
_TIERS: Final = ("Bulk", "Standard", "Expedited")
_EXPIRY: Final = re.compile(r'expiry-date="([^"]{1,64})"')


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """Whether an object can be read now, and if not, whether it is on its way back.

    Attributes: `archived` (its class is one from which it must be restored), `restoring` (that was
    asked for and takes time), `readable`, and `readable_until` (as the store words it; empty for an
    object that stays readable).
    """

    archived: bool
    restoring: bool
    readable: bool
    readable_until: str = ""


def archive_state(client: Client, name: str, key: str) -> ArchiveState:
    """Ask what the object's class and the state of its restoring are.

    Raises:
        NotFound: there is no such object.
        Unavailable: the store failed or refused.
    """
    found = look_at(client, name, key)
    archived = found.get("StorageClass") in _ARCHIVES or found.get("ArchiveStatus") in _TIERED
    restore = str(found.get("Restore", ""))
    restoring = 'ongoing-request="true"' in restore
    until = _EXPIRY.search(restore) if 'ongoing-request="false"' in restore else None
    return ArchiveState(archived, restoring, not archived or until is not None, until[1] if until else "")


def request_restore(client: Client, name: str, key: str, *, days: int, tier: str) -> ArchiveState:
    """Ask for an archived object back for some days; asking again, or without need, is no error.

    Raises:
        NotFound: there is no such object.
        Unavailable: the store failed or refused.
        ValueError: `days` or `tier` is not one that S3 knows.
    """
    if not 1 <= days <= limits.DAYS:
        raise ValueError(f"an object is restored for 1 to {limits.DAYS} days, not {days}")
    if tier not in _TIERS:
        raise ValueError(f"the tier is one of {', '.join(_TIERS)}, not {tier!r}")
    state = archive_state(client, name, key)
    if not state.archived or state.restoring:
        return state
    wanted = {"Days": days, "GlacierJobParameters": {"Tier": tier}}
    try:
        client.send("restore_object", Key=key, RestoreRequest=wanted)
    except Failed as failure:
        if failure.code not in {"RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError"}:
            raise read_failed(failure, name, client, doing="restore") from failure
    return archive_state(client, name, key)
