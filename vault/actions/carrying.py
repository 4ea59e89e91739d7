"""Bring a version to the store of an environment that is kept apart, before a record there names it.

The order is that of a publication, the manifest last. Payloads are copied with flat memory and held to the
root of their ciphertext tree, which the sealing record signs; no key is needed for that. What was
interrupted is taken up again: what lies there and is right is left as it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vault.actions import ciphertext_copy, objects
from vault.actions.session import Session
from vault.core import layout, limits
from vault.core.names import Environment, Model, Version
from vault.core.records import SealingRecord
from vault.errors import NotFound
from vault.ports import Store
from vault.storage import apart_copies, apart_trust
from vault.storage.apart import ApartStore
from vault.storage.apart_names import VERSION, place_of


def carry(session: Session, record: SealingRecord, environment: Environment) -> None:
    """Copy a version, as its sealing record in force describes it, to an environment's own store.

    Where the environment has no store of its own nothing is to be done.

    Raises:
        DigestMismatch: the version was altered where it comes from, or other bytes lie where it goes to.
        NotFound: a part of it is gone.
        Unavailable: a store failed; nothing of it is in force there yet.
    """
    store = _apart(session)
    if store is None or environment not in store.apart:
        return
    store.mend(environment)
    target = store.apart[environment]
    for file in record.files:
        ciphertext_copy.copy(session, store, target, record, file)
    folder = layout.adoptions(record.model, record.version)
    adopted = (folder + name for name in store.list_folders(folder) if layout.is_approval(name))
    tested = objects.votes(
        store, layout.attestations(record.model, record.version), limit=limits.ATTESTATION_BYTES
    )
    for name in (
        *adopted,
        *(name for name, _ in tested),
        layout.sealed(record.model, record.version) + layout.numbered(record.number),
        layout.manifest(record.model, record.version),
    ):
        apart_copies.copy(name, store, target)


def follow(session: Session, model: Model, version: Version, written: Iterable[str]) -> None:
    """Copy what was written of a version later on to every environment's own store that has the version.

    Raises:
        Unavailable: a store failed.
    """
    store = _apart(session)
    if store is None:
        return
    for target in store.apart.values():
        if "manifest.json" in target.list_folders(layout.version(model, version)):
            for name in written:
                apart_copies.copy(name, store, target)


def _apart(session: Session) -> ApartStore | None:
    """Give the stores that a session's vault lies in, where there are several."""
    store: Store = getattr(session.store, "inner", session.store)  # behind what asks ahead
    return store if isinstance(store, ApartStore) else None


def demand_place(session: Session, environment: Environment) -> None:
    """Stop before a record goes where no loader of an environment looks, because it has a store of its own.

    Every environment's wrapped keys, one for recovery at least, lie in its store from the beginning.

    Raises:
        NotFound: this store has none of them.
        Unavailable: the store failed.
    """
    folder = f"keys/{environment}/"
    if next(iter(session.store.list_folders(folder)), None) is None:
        raise NotFound(
            f"{session.store.location} holds nothing of {environment}, not even its keys: it lies elsewhere.",
            subject=environment,
            hint=f"Name its own store: MVAULT_STORES={environment}=LOCATION, or [stores] in config.toml. "
            "If its keys were deleted, restore them.",
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Where an environment's own store differs from the main one; `harmless` where only it has an object."""

    name: str
    reason: str
    code: str
    harmless: bool = False


def differences(session: Session) -> Iterator[Difference]:
    """Compare what environments' own stores have copies of with the original.

    Contents of payloads are not read: `mvault check` does that, run on an environment's store itself.

    Raises:
        Unavailable: a store failed.
    """
    store = _apart(session)
    if store is None:
        return
    for target in store.apart.values():
        for name in apart_trust.missing(store.main, target):
            yield Difference(f"{target.location}: {name}", "it was not copied there", "not-found")
        for name in _copies(target):
            found = _compare(name, store.main, target)
            if found is not None:
                yield found


def _copies(target: Store) -> Iterator[str]:
    for folder in (layout.ROOTS, layout.POLICIES, apart_trust.RECIPIENTS):
        yield from (folder + name for name in target.list_folders(folder) if not name.endswith("/"))
    yield from (name for name in target.list(layout.MODELS) if place_of(name).kind == VERSION)


def _compare(name: str, main: Store, target: Store) -> Difference | None:
    place = f"{target.location}: {name}"
    try:
        if "/files/" in name:
            equal = main.stat(name).size == target.stat(name).size
        else:
            equal = apart_copies.same(name, main, target)
    except NotFound:
        return Difference(place, f"{main.location} does not have it", "not-found", harmless=True)
    return None if equal else Difference(place, f"it is other than in {main.location}", "digest-mismatch")
