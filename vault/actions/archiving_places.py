"""The places to which payloads are archived: another store, or a cold class of the vault's own."""

from typing import Protocol

from vault.actions import archived, ciphertext_copy
from vault.actions.session import Session
from vault.core import archives, layout
from vault.core.records import SealedFile, SealingRecord
from vault.errors import NotFound
from vault.ports import ColdStorage, Store
from vault.storage.opening import open_store


class Place(Protocol):
    """Where payloads go: `take` makes sure that they are safe, and only then does `leave` move them."""

    @property
    def kind(self) -> str:
        """`archives.STORE` or `archives.CLASS`."""

    @property
    def where(self) -> str:
        """The store's location, or the class."""

    def is_left(self, session: Session, record: SealingRecord, file: SealedFile) -> bool:
        """Tell whether a payload has still to be moved.

        Raises:
            Unavailable.
        """

    def take(self, session: Session, record: SealingRecord, file: SealedFile) -> None:
        """Make sure that a payload is whole where it is to stay; nothing is removed.

        Raises:
            DigestMismatch, NotFound, Unavailable.
        """

    def leave(self, session: Session, record: SealingRecord, file: SealedFile) -> bool:
        """Move a payload that is safe away from here; tell whether that was done.

        Raises:
            Unavailable: the store failed, or refused (`storage-denied`).
        """


class OtherStore:
    """Another store, in which payloads lie under the names that they had."""

    kind = archives.STORE

    def __init__(self, store: Store) -> None:
        """Use a store."""
        self.store = store

    @property
    def where(self) -> str:
        """The store's location."""
        return self.store.location

    def is_left(self, session: Session, record: SealingRecord, file: SealedFile) -> bool:
        """Tell whether a payload is still in the vault's own store."""
        return _is_there(session.store, record, file)

    def take(self, session: Session, record: SealingRecord, file: SealedFile) -> None:
        """Copy a payload, held to its root on the way, and read it back where it went."""
        if self.is_left(session, record, file):
            ciphertext_copy.copy(session, session.store, self.store, record, file)
        ciphertext_copy.verify(session, self.store, record, file)

    def leave(self, session: Session, record: SealingRecord, file: SealedFile) -> bool:
        """Remove a payload from the vault's own store, and see that it is gone."""
        session.store.delete(layout.payload(record.model, record.version, file.name))
        return not self.is_left(session, record, file)


class ColdClass:
    """A cold class of the vault's own store."""

    kind = archives.CLASS

    def __init__(self, cold: ColdStorage, storage_class: str) -> None:
        """Use a class."""
        self._cold = cold
        self._class = storage_class

    @property
    def where(self) -> str:
        """The class."""
        return self._class

    def is_left(self, session: Session, record: SealingRecord, file: SealedFile) -> bool:
        """Tell whether a payload is in another class."""
        name = layout.payload(record.model, record.version, file.name)
        try:
            return self._cold.archive_state(name).storage_class != self._class
        except NotFound:
            return False

    def take(self, session: Session, record: SealingRecord, file: SealedFile) -> None:
        """Read a payload and hold it to its root; one in an archive class was read before it went there."""
        name = layout.payload(record.model, record.version, file.name)
        if self._cold.archive_state(name).readable:
            ciphertext_copy.verify(session, session.store, record, file)

    def leave(self, session: Session, record: SealingRecord, file: SealedFile) -> bool:
        """Put a payload into the class."""
        self._cold.set_class(layout.payload(record.model, record.version, file.name), self._class)
        return True


def _is_there(store: Store, record: SealingRecord, file: SealedFile) -> bool:
    try:
        store.stat(layout.payload(record.model, record.version, file.name))
    except NotFound:
        return False
    return True


def place(session: Session, location: str | None, storage_class: str | None) -> Place:
    """Make the place to archive to: another store, or a cold class of the vault's own.

    Raises:
        ValueError: neither or both are given, or it is the vault itself, or another vault.
        Unavailable, MissingLibrary.
    """
    if (location is None) == (storage_class is None):
        raise ValueError(
            "Say where to: another place (to=, --to), or a cold class (storage_class=, --class)."
        )
    if storage_class is not None:
        cold = archived.cold_storage(session.store)
        if cold is None:
            raise ValueError(
                f"{session.store.location} has no storage classes that this release sets; archive to another "
                "place (to=, --to), whose own rules may move it on: mvault archive --lifecycle"
            )
        return ColdClass(cold, archives.class_of(storage_class))
    store = open_store(str(location))
    check_apart(session.store, store)
    return OtherStore(store)


def check_apart(vault: Store, target: Store) -> None:
    """Refuse to archive into a vault: this one, whose payloads would then be removed, or another one.

    Raises:
        ValueError, Unavailable.
    """
    if target.location == vault.location and target.location != "memory:":
        raise ValueError(f"{target.location} is the vault itself.")
    try:
        target.stat(layout.root(1))
    except NotFound:
        return
    raise ValueError(f"{target.location} holds a vault, or a backup of one; archive to a place of its own.")
