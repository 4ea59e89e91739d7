"""Whether this vault would survive its storage and its keepers: backups, drills, the keys' own backup."""

from collections.abc import Iterator
from typing import Final

from vault.actions import backup_receipts, key_backups, recovery_notes
from vault.actions.doctor_findings import OK, WARNING, Finding
from vault.actions.session import Session
from vault.core import backup_receipt, names
from vault.core.backup_receipt import BackupReceipt
from vault.core.names import Digest
from vault.keys import identity_file
from vault.settings import Settings

BACKUP_DAYS: Final = 7
DRILL_DAYS: Final = 180
_DAY: Final = 86_400


def backups(session: Session, found: Settings) -> Iterator[Finding]:
    """Look when a backup was last verified, and a drill held; only its keepers are warned.

    Raises:
        Refused, NotFound, Unavailable: the receipts cannot be had.
    """
    newest: BackupReceipt | None = None
    for entry in backup_receipts.newest(session.store, session.trust().context):
        if entry.signed is not None and (newest is None or entry.signed.record.created > newest.created):
            newest = entry.signed.record
    keeper = _is_keeper(session, found)
    late = WARNING if keeper else OK
    if newest is None:
        yield Finding(
            late,
            "backup",
            "no receipt says that this vault was ever backed up",
            "Make one: mvault backup LOCATION" if keeper else "",
        )
        return
    days = (session.clock() - names.timestamp(newest.created)) // _DAY
    told = f"{newest.versions:,} versions were verified at {newest.destination} on {newest.created[:10]}"
    if days > BACKUP_DAYS:
        hint = f"Bring it up to date: mvault backup {newest.destination}"
        yield Finding(late, "backup", f"{told}, {days} days ago", hint)
    else:
        yield Finding(OK, "backup", told)
    if keeper:
        yield _drill(session, found, newest.destination)


def _drill(session: Session, found: Settings, destination: str) -> Finding:
    noted = recovery_notes.of(found, session.pin)
    hint = f"Hold one: mvault restore --drill {destination} --recovery FILE"
    if noted.drill is None:
        return Finding(WARNING, "drill", "no recovery drill was ever held on this machine", hint)
    days = (session.clock() - names.timestamp(noted.drill)) // _DAY
    if noted.outcome != "passed":
        return Finding(WARNING, "drill", f"the drill of {noted.drill[:10]} failed", hint)
    if days > DRILL_DAYS:
        return Finding(WARNING, "drill", f"the last drill was held {days} days ago", hint)
    return Finding(OK, "drill", f"the drill of {noted.drill[:10]} passed")


def _is_keeper(session: Session, found: Settings) -> bool:
    """Tell whether this user's receipts of backups would count; nothing is unlocked for it."""
    path = found.identity
    if session.unlock is None or path is None or not path.exists():
        return False
    policy = session.trust().policy
    key_id = Digest(identity_file.read_public(path).key_id)
    holder = policy.holder(key_id) if key_id in policy.counting_keys() else None
    return holder is not None and backup_receipt.may_sign(policy, holder.name)


def keys(session: Session, found: Settings) -> Iterator[Finding]:
    """Look whether somebody said that the keys are kept elsewhere too.

    Raises:
        Refused, NotFound, Unavailable: the trust documents cannot be had.
    """
    told = key_backups.missing(session, found)
    if told:
        yield Finding(WARNING, "keys", told)
    elif (noted := recovery_notes.of(found, session.pin).keys) is not None:
        yield Finding(OK, "keys", f"said to be kept elsewhere too, on {noted[:10]}")
