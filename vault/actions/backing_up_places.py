"""Where a backup may go: not into the vault itself, and over nothing that is not this vault's backup."""

import hashlib
import os
import re
from typing import Final

from vault.actions import trusting
from vault.core import backup_order, names, strict_json
from vault.core.fields import Fields
from vault.core.names import Digest, Slot
from vault.errors import Conflict, Malformed, NotFound, Refused
from vault.ports import Store
from vault.storage.apart import ApartStore
from vault.storage.local import LocalStore
from vault.storage.opening import open_store

_FORMATS: Final = {
    backup_order.MARKER: "mvault-backup-v1",
    backup_order.RESTORING: "mvault-restoring-v1",
}
_MARKER_BYTES: Final = 4_096
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII)


def place(location: str | os.PathLike[str]) -> Store:
    """Open the store of a backup, or of what is restored from one; nothing is read or made yet.

    Raises:
        ValueError: the location is none.
        MissingLibrary: the library for this kind of storage is not installed.
    """
    return open_store(os.fspath(location))


def demand_apart(source: Store, target: Store) -> None:
    """Demand that neither store lies in the other.

    Raises:
        ValueError: one does, or they are the same.
    """
    stores = (source.main, *source.apart.values()) if isinstance(source, ApartStore) else (source,)
    there, how_there = _path(target)
    for store in stores:
        here, how_here = _path(store)
        if not here or not there or how_here != how_there:
            continue
        if here == there or here.startswith(f"{there}/") or there.startswith(f"{here}/"):
            raise ValueError(
                f"{target.location} and the vault at {store.location} lie in one another. "
                "Give a place of its own, best on another machine or with another provider."
            )


def _path(store: Store) -> tuple[str, str]:
    """Give where a store lies, and what its URL says of the way there; both empty where that says nothing."""
    if isinstance(store, LocalStore):
        return os.path.realpath(store.location), ""
    if not _SCHEME.match(store.location):
        return "", ""
    path, _, way = store.location.partition("?")
    return path.rstrip("/"), way


def claim(target: Store, vault: Digest, marker: str = backup_order.MARKER) -> bool:
    """Take an empty store for a vault's backup, or go on in one; tell whether the vault is there already.

    A vault without a marker is taken for a backup that another tool made; never for one to restore into.

    Raises:
        Conflict: something else lies there.
        Refused, Unavailable.
    """
    founded = is_vault(target, vault)
    marked = _marked(target, marker)
    if marked == vault:
        return founded
    if marked is not None:
        raise _another(target, "another vault's backup")
    if (not founded or marker != backup_order.MARKER) and next(iter(target.list("")), None) is not None:
        raise _another(target, "this vault already" if founded else "something else")
    data = strict_json.encode({"format": _FORMATS[marker], "vault": vault})
    try:
        with target.create(marker, size=len(data)) as sink:
            sink.write(data)
    except Conflict:  # another run was first
        if _marked(target, marker) != vault:
            raise _another(target, "another vault's backup") from None
    return founded


def is_vault(target: Store, vault: Digest) -> bool:
    """Tell whether a store holds this vault.

    Raises:
        Conflict: it holds another one.
        Refused, Unavailable.
    """
    try:
        found = trusting.fingerprint(target)
    except NotFound:
        return False
    if found != vault:
        raise _another(target, f"another vault (sha256:{found})")
    return True


def _marked(target: Store, marker: str) -> Digest | None:
    try:
        data = target.read(marker, limit=_MARKER_BYTES)
        fields = Fields(strict_json.parse(data, subject=marker), marker)
        form, vault = fields.text("format", str), fields.text("vault", names.digest)
        fields.done()
    except NotFound:
        return None
    except Malformed:
        raise _another(target, "something that is no backup of this vault") from None
    if form != _FORMATS[marker]:
        raise _another(target, "a backup of a later release")
    return vault


def _another(target: Store, what: str) -> Conflict:
    return Conflict(
        f"{target.location} holds {what}; nothing was written.",
        subject=target.location,
        hint="Give an empty place, or the one of an earlier backup of this vault.",
    )


def name_of(target: Store) -> Slot:
    """Name a backup after its place: the end of the location, and six digits of its digest."""
    place = target.location.partition("?")[0].rstrip("/")
    words = re.sub(r"[^a-z0-9]+", "-", place.rpartition("/")[2].lower()).strip("-")[:20].strip("-")
    digest = hashlib.sha256(place.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    found = f"{words}-{digest}" if words[:1].isalpha() else f"backup-{digest}"
    try:
        return names.slot(found)
    except Refused:
        return names.slot(f"backup-{digest}")
