"""Look whether a store lets this client do what it should, and whether it keeps what a vault rests on.

Trying that needs objects of the doctor's own, which are deleted again. So it is tried only by who may
write to the vault, and not where nothing is ever deleted, unless the user says so.
"""

import os
import platform
import stat
from collections.abc import Iterator
from functools import partial
from typing import Final

from vault import _version
from vault.actions import probing
from vault.actions.doctor_findings import OK, WARNING, Finding, guarded
from vault.actions.init import FORMAT
from vault.actions.libraries import distribution_versions
from vault.actions.session import Session
from vault.core import layout, limits, policy, strict_json
from vault.core.names import Digest
from vault.errors import NotFound, Refused, Unavailable
from vault.keys import identity_file
from vault.ports import Store
from vault.settings import Settings
from vault.storage.local import LocalStore
from vault.storage.probing import DONE, TellsSpace, TellsTime

WRITES: Final = ("publish", "adopt", "approve", "promote", "withdraw", "rotate", "delete")
SKEW: Final = 300  # seconds; S3 refuses requests that are 15 minutes off

_LITTLE: Final = limits.GIB
_LIBRARIES: Final = (
    "cryptography", "boto3", "botocore", "google-cloud-storage", "azure-storage-blob", "azure-identity",
    "SQLAlchemy", "psycopg", "hvac",
)  # fmt: skip


def reads(store: Store) -> Iterator[Finding]:
    """Tell whether a store can be listed and read with this client's credentials."""
    for one in probing.stores_of(store):
        next(iter(one.list_folders("")), None)
        one.stat(layout.root(1))
        yield Finding(OK, "store", f"{one.location} can be listed and read")


def writes(session: Session, found: Settings, *, asked: bool | None, large: bool) -> Iterator[Finding]:
    """Try what the store honours, if that is wanted: `asked` True always, False never, None see `_reason`."""
    reason = _reason(session, found) if asked is None else "" if asked else "as you asked"
    if reason:
        yield Finding(OK, "probe", f"What the store honours was not tried, {reason}")
        return
    try:
        seen = probing.survey(session.store, large=large)
    except Unavailable as error:
        if error.code != "storage-denied":
            raise
        yield Finding(
            WARNING,
            "probe",
            f"The store's access control lets these credentials read, and not write: {error.message}",
            "That is right for who only loads. Who publishes or promotes needs more: docs/storage.md.",
            error.code,
        )
        return
    stays = (
        f"; {len(seen.left)} objects stay under {layout.PROBES}, as it does not delete" if seen.left else ""
    )
    sizes = ", also of large objects" if seen.creates_large else ""
    yield Finding(
        OK,
        "probe",
        f"It creates a name only once{sizes}, of {seen.racers} writers one won, and what was written is "
        f"read and listed at once{stays}",
    )
    yield from guarded("probe", partial(_compared, session.store, seen.deletes))


def _reason(session: Session, found: Settings) -> str:
    """Say why nothing should be written, or nothing where it may be."""
    if session.unlock is None or found.identity is None:
        return "as there is no identity here"
    if not _may_write(session, Digest(identity_file.read_public(found.identity).key_id)):
        return "as this identity may not write: a loader needs no right to"
    try:
        known = probing.recorded(session.store)
    except Refused:
        return ""  # told of elsewhere
    if known is not None and known.probe.deletes != DONE:
        return "as what is written there stays for good (try it all the same: --write)"
    return ""


def _may_write(session: Session, key_id: Digest) -> bool:
    trust = session.trust()
    if any(key.key_id == key_id for key in trust.root.root.keys):
        return True
    member = trust.policy.holder(key_id)
    if member is None:
        return False
    return any(action in WRITES for action, _ in policy.granted(trust.policy, member.name))


def _compared(store: Store, deletes: str) -> Iterator[Finding]:
    """Compare how the store deletes with how it did when the vault was made."""
    known = probing.recorded(store)
    if known is not None and known.probe.deletes != deletes:
        yield Finding(
            WARNING,
            "probe",
            f"When the vault was made, on {known.at[:10]}, deleting was {known.probe.deletes}; "
            f"now it is {deletes}.",
            "Whoever runs the store changed who may delete, or the vault was moved.",
        )


def clock(store: Store, now: int) -> Iterator[Finding]:
    """Compare this clock with the server's, where the store tells it."""
    for one in probing.stores_of(store):
        there = one.server_time() if isinstance(one, TellsTime) else None
        if there is None:
            continue
        ahead = now - there
        if abs(ahead) > SKEW:
            yield Finding(
                WARNING,
                "clock",
                f"This clock is {abs(ahead):,} seconds {'ahead of' if ahead > 0 else 'behind'} that of "
                f"{one.location}.",
                "Set this machine's clock: servers refuse requests that are minutes off.",
            )
        else:
            yield Finding(OK, "clock", f"It agrees with that of {one.location}")


def space(store: Store) -> Iterator[Finding]:
    """Tell how much room there is."""
    for one in probing.stores_of(store):
        left = one.free_space() if isinstance(one, TellsSpace) else None
        if left is None:
            yield Finding(OK, "space", f"How much room {one.location} has is not known")
        elif left < _LITTLE:
            yield Finding(
                WARNING,
                "space",
                f"{one.location} has {left / limits.MIB:,.0f} MiB left.",
                "Make room before the next push; loading needs none.",
            )
        else:
            yield Finding(OK, "space", f"{one.location} has {left / limits.GIB:,.0f} GiB left")


def folders(store: Store) -> Iterator[Finding]:
    """Tell what is odd about a folder: how it is mounted, and who else may write to it."""
    for one in probing.stores_of(store):
        if not isinstance(one, LocalStore):
            continue
        if one.mount.nfs:
            yield _mounted(one)
        try:
            mode = os.stat(one.location).st_mode
        except OSError:
            continue  # told of the store
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield Finding(
                WARNING,
                "permissions",
                f"Everybody on this machine may write to {one.location}, and so delete there.",
                f"Let only those write who should: chmod o-w {one.location}",
            )


def _mounted(store: LocalStore) -> Finding:
    if store.mount.options & {"soft", "softerr"}:
        return Finding(
            WARNING,
            "mount",
            f"{store.location} is on NFS, mounted softly: a slow answer becomes an error.",
            "Mount it with the option hard (docs/storage/nfs.md).",
        )
    return Finding(OK, "mount", f"{store.location} is on NFS")


def identity_mode(found: Settings) -> Iterator[Finding]:
    """Tell whether others may read an identity that no passphrase protects."""
    path = found.identity
    if path is None or not path.exists() or identity_file.read_public(path).protected:
        return
    if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding(
            WARNING, "permissions", f"{path} has no passphrase, and others may read it.", f"chmod 600 {path}"
        )


def versions(store: Store) -> Iterator[Finding]:
    """Tell the versions of this software, of Python and of the libraries that stores need, and the format."""
    listed = ", ".join(f"{name} {version}" for name, version in distribution_versions(_LIBRARIES).items())
    here = f"mvault {_version.__version__}, Python {platform.python_version()}, {listed}"
    try:
        told = strict_json.parse(store.read(layout.VAULT, limit=limits.KIB), subject=layout.VAULT)
    except NotFound:
        told = None
    number = told.get("format") if isinstance(told, dict) else None
    if number == FORMAT:
        yield Finding(OK, "versions", f"{here}; the vault's format is {FORMAT}")
    else:
        yield Finding(
            WARNING,
            "versions",
            f"{here}; {layout.VAULT} does not say that the vault's format is {FORMAT}.",
            "Nobody signed that, and no load depends on it. A newer release may say more.",
        )
