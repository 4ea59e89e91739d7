"""Read and write receipts of backups: which versions another store holds, as was verified there."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from vault.actions import objects
from vault.actions.session import Session
from vault.core import backup_receipt, envelope, layout, limits, names
from vault.core.backup_receipt import BackupReceipt, Covered
from vault.core.in_force import Context, Signed
from vault.core.names import Digest, Slot
from vault.core.trust import Skipped
from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.ports import Store


@dataclass(frozen=True, slots=True)
class Receipt:
    """A backup's newest receipt in force, and the versions of its list."""

    signed: Signed[BackupReceipt]
    covered: tuple[Covered, ...]

    @property
    def record(self) -> BackupReceipt:
        """What was signed."""
        return self.signed.record


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a backup's folder: its newest receipt in force, and what above it does not count."""

    name: Slot
    signed: Signed[BackupReceipt] | None
    skipped: tuple[Skipped, ...]


def covered(session: Session, *, destination: str | None = None) -> frozenset[Digest]:
    """Give the manifests of all versions that a verified backup holds, by receipts in this vault.

    Of each backup its newest receipt in force counts. `destination` narrows to the backup of that
    name or at that location. A receipt whose list is gone or altered covers nothing.

    Raises:
        Refused, NotFound: the trust documents do not verify, or a receipt's policy is withheld.
        Unavailable: the store failed.
    """
    found: set[Digest] = set()
    for entry in newest(session.store, session.trust().context):
        if entry.signed is None or not is_of(entry.signed.record, destination):
            continue
        try:
            listed = versions(session.store, entry.signed.record)
        except (NotFound, Refused):
            continue
        found.update(version.manifest for version in listed)
    return frozenset(found)


def is_of(receipt: BackupReceipt, destination: str | None) -> bool:
    """Tell whether a receipt is about the backup of this name, or at this location; None means any."""
    return destination is None or destination in (receipt.name, receipt.destination)


def newest(store: Store, context: Context) -> Iterator[Found]:
    """Give what lies in the folder of each backup.

    Raises:
        Rollback: a receipt's policy is withheld.
        Unavailable: the store failed.
    """
    folders = (name for name in store.list_folders(layout.BACKUPS) if name.endswith("/"))
    for folder in islice(folders, limits.BACKUP_NAMES):
        try:
            name = names.slot(folder.removesuffix("/"))
        except Refused:
            continue  # a stranger's folder
        yield in_force(store, context, name)


def in_force(store: Store, context: Context, name: Slot) -> Found:
    """Find a backup's newest receipt in force; what does not count is skipped.

    Raises:
        Rollback: a receipt's policy is withheld.
        Unavailable: the store failed.
    """
    folder = layout.backup(name)
    skipped = []
    for number in reversed(objects.numbers(store, folder)):
        place = folder + layout.numbered(number)
        try:
            data = objects.read_listed(store, place, limit=limits.BACKUP_RECEIPT_BYTES)
        except Refused as refusal:  # larger than any
            skipped.append(Skipped(place, refusal.message, refusal.code))
            continue
        found = backup_receipt.judge(context, name, number, data)
        if isinstance(found, Signed):
            return Found(name, found, tuple(skipped))
        skipped.append(found)
    return Found(name, None, tuple(skipped))


def versions(store: Store, receipt: BackupReceipt) -> tuple[Covered, ...]:
    """Read the list of versions that a receipt is about.

    Raises:
        NotFound: it is gone.
        DigestMismatch, Malformed: it is not the list that was signed.
        Unavailable: the store failed.
    """
    place = layout.backup_list(receipt.name, receipt.list_digest)
    return backup_receipt.versions_of(receipt, store.read(place, limit=receipt.list_size), place)


def last(session: Session, name: Slot) -> Receipt | None:
    """Give a backup's newest receipt in force with its list; None if either does not hold.

    Raises:
        Refused, NotFound, Unavailable: see `covered`.
    """
    found = in_force(session.store, session.trust().context, name)
    if found.signed is None:
        return None
    try:
        return Receipt(found.signed, versions(session.store, found.signed.record))
    except (NotFound, Refused):
        return None


def may_sign(session: Session) -> bool:
    """Tell whether there is an identity here whose receipts would count.

    Raises:
        NoUsableKey: it cannot be unlocked.
        Refused, NotFound, Unavailable: the policy cannot be had.
    """
    if session.unlock is None:
        return False
    policy = session.trust().policy
    key_id = Digest(session.identity.key_id)
    holder = policy.holder(key_id) if key_id in policy.counting_keys() else None
    return holder is not None and backup_receipt.may_sign(policy, holder.name)


def write(
    session: Session, name: Slot, listed: bytes, build: Callable[[int, Digest], BackupReceipt], *, to: Store
) -> Signed[BackupReceipt]:
    """Sign a receipt, and create it with its list in this vault and in `to`; give it.

    `build` makes the receipt for a number and the digest of the list. The list comes first.

    Raises:
        Conflict: others keep writing receipts of this backup.
        Refused, NotFound, Unavailable, NoUsableKey.
    """
    store, identity = session.store, session.identity
    digest = Digest(hashlib.sha256(listed).hexdigest())
    for place in (to, store):
        objects.create(place, layout.backup_list(name, digest), listed)
    folder = layout.backup(name)
    known = in_force(store, session.trust().context, name).signed
    tried: list[int] = []
    while len(tried) < limits.GAP:
        taken = [*objects.numbers(store, folder), *objects.numbers(to, folder), *tried]
        number = objects.lowest_free(taken, 0 if known is None else known.record.number, folder)
        receipt = build(number, digest)
        payload = backup_receipt.encode(receipt)
        sealed = envelope.sign(backup_receipt.KIND, payload, [(Digest(identity.key_id), identity.sign)])
        data = envelope.serialise(sealed)
        try:
            objects.create(store, folder + layout.numbered(number), data)
        except Conflict:
            tried.append(number)
            continue
        objects.create(to, folder + layout.numbered(number), data)
        return Signed(receipt, sealed.digest, (identity.name,))
    raise Conflict(f"Others keep writing to {folder}.", subject=folder, hint="Try again.")


def sweep(store: Store, name: Slot, keep: Digest) -> None:
    """Remove the lists of receipts that a newer one superseded, where the store lets this user.

    Raises:
        Unavailable: the store failed.
    """
    folder = layout.backup_list(name, keep).removesuffix(keep)
    for leaf in list(store.list_folders(folder)):
        if leaf != keep and not leaf.endswith("/"):
            try:
                store.delete(folder + leaf)
            except Unavailable as error:
                if error.code != "storage-denied":
                    raise
                return
