"""Bring back what one version lost: verified in the backup first, and what is damaged is moved aside.

An object is replaced only where it is proved to be wrong and the backup's is
proved to be right: by a signature, by the digest in its name, or by a signed
sealing record. Everything else is left and told.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from vault import sealing
from vault.actions import (
    backing_up,
    backing_up_places,
    backing_up_versions,
    backup_receipts,
    logged,
    resolving,
)
from vault.actions.backing_up_copy import Ciphertext, Copier, Item
from vault.actions.backing_up_throttle import Throttle
from vault.actions.backing_up_versions import Known
from vault.actions.session import Session
from vault.core import backup_order, ciphertext_tree, envelope, in_force, layout, limits, strict_json
from vault.core.fields import Fields
from vault.core.in_force import Signed
from vault.core.names import Model, Reference, Version
from vault.core.stages import Target
from vault.errors import NotFound, Refused, Unavailable, VaultError
from vault.ports import Store
from vault.storage.opening import open_store

_PIECE = limits.MIB
_TYPE = envelope.PAYLOAD_TYPE.split("{}")


@dataclass(slots=True)
class Mended:
    """What became of one version: what was brought back, what was moved aside and where, what was left."""

    subject: str
    source: str
    restored: list[str] = field(default_factory=list)
    aside: dict[str, str] = field(default_factory=dict)  # name → where the damaged object lies now
    left: dict[str, str] = field(default_factory=dict)  # name → why it was not brought back
    dry_run: bool = False


def restore(session: Session, reference: Reference, source: str | None, *, dry_run: bool) -> Mended:
    """Bring back the objects of a version that are missing or damaged, from a backup that is known.

    `source` is a location; without it the backups are tried that receipts say hold the version.

    Raises:
        ValueError: the reference is not one version.
        NotFound: no backup is known, or none that can be reached holds the version.
        Refused: what the backups hold of it does not verify.
        Unavailable: a store failed.
    """
    if reference.version is None or reference.environment is not None:
        raise ValueError(f"Say which version, as in {reference.model}:3.")
    model, version = reference.model, reference.version
    tried: VaultError | None = None
    for location in [source] if source else _places(session, model, version):
        try:
            return _from(session, open_store(location), model, version, dry_run=dry_run)
        except (NotFound, Refused, Unavailable) as error:
            tried = error
    if tried is not None:
        raise tried
    raise NotFound(
        f"No receipt says which backup holds {model}:{version}.",
        subject=f"{model}:{version}",
        hint=f"Name the backup: mvault restore {model}:{version} --from LOCATION",
    )


def _places(session: Session, model: Model, version: Version) -> Iterator[str]:
    """Give the locations of backups that hold a version by their newest receipts, the newest first."""
    found = []
    for entry in backup_receipts.newest(session.store, session.trust().context):
        if entry.signed is None:
            continue
        try:
            listed = backup_receipts.versions(session.store, entry.signed.record)
        except (NotFound, Refused):
            continue
        if any((line.model, line.version) == (model, version) for line in listed):
            found.append((entry.signed.record.created, entry.signed.record.destination))
    return (place for _, place in sorted(found, reverse=True))


def _from(session: Session, source: Store, model: Model, version: Version, *, dry_run: bool) -> Mended:
    if not backing_up_places.is_vault(source, session.pin):
        raise NotFound(f"There is no backup of this vault at {source.location}.", subject=source.location)
    mending = _Mending(session, source, model, version)
    mending.run(dry_run=dry_run)
    told = mending.told
    if told.restored and not dry_run and session.unlock is not None:
        found = mending.known.verified
        logged.change(
            session, "restore", None, found.digest, model=model, version=version, manifest=found.digest
        )
    return told


class _Mending:
    """One version, between a vault and a backup."""

    def __init__(self, session: Session, source: Store, model: Model, version: Version) -> None:
        """Verify what the backup holds of the version, under the policy that is in force in the vault.

        Raises:
            NotFound, Refused: it is not there, or does not verify.
        """
        self._session = session
        self._store = backing_up.behind(session.store)
        self._source = source
        self._place = (model, version)
        self._folder = layout.version(model, version)
        self._resolved = backing_up_versions.resolved_of(session)
        self.known = self._verified(source)
        self.told = Mended(f"{model}:{version}", source.location)
        record = self.known.sealing
        self._payloads = {
            layout.payload(model, version, file.name): Ciphertext(file.cipher_size, file.root)
            for file in (() if record is None else record.files)
        }
        self._copier = Copier(source, self._store, Throttle(), self._payloads)

    def _verified(self, source: Store) -> Known:
        there = replace(self._session, store=source, allowance=backing_up_versions.EVERY_SIZE)
        return backing_up_versions.known(there, self._resolved, *self._place)

    def run(self, *, dry_run: bool) -> None:
        """Look at every object of the version that the backup has; payloads first, the manifest last."""
        self.told.dry_run = dry_run
        manifest = layout.manifest(*self._place)
        listed = [name for name in self._source.list(self._folder) if name != manifest]
        others = [name for name in listed if not name.startswith(f"{self._folder}files/")]
        for name in [*self._payloads, *(layout.units(name) for name in self._payloads), *others, manifest]:
            if name in self._payloads or name in listed or name == manifest:
                self._object(name, dry_run=dry_run)

    def _object(self, name: str, *, dry_run: bool) -> None:
        state = self._payload_state(name) if name in self._payloads else self._small_state(name)
        if state == "fine":
            return
        if state not in ("missing", "damaged"):
            self.told.left[name] = state
            return
        self.told.restored.append(name)
        if dry_run:
            return
        if state == "damaged":
            self._move_aside(name)
        done = self._copier.one(Item(name, self._source.stat(name).size))
        if done.error is not None:
            raise done.error

    def _payload_state(self, name: str) -> str:
        expected = self._payloads[name]
        try:
            with self._store.open(name) as source:
                sealing.scrub(source, cipher_size=expected.size, root=expected.root)
        except NotFound:
            return "missing"
        except Refused:
            return "damaged"
        return "fine"

    def _small_state(self, name: str) -> str:
        """Compare a small object here and there: `fine`, `missing`, `damaged`, or why it is left."""
        theirs = self._source.read(name, limit=limits.ENVELOPE_BYTES)
        try:
            ours: bytes | None = self._store.read(name, limit=limits.ENVELOPE_BYTES)
        except NotFound:
            ours = None
        except Refused:  # larger than anything that belongs there
            ours = b""
        if ours == theirs:
            return "fine"
        if not self._is_genuine(name, theirs):
            return "fine" if ours is not None else "the backup's is not proved to be genuine"
        if ours is None:
            return "missing"
        return "another one is there that is genuine too" if self._is_genuine(name, ours) else "damaged"

    def _is_genuine(self, name: str, data: bytes) -> bool:
        """Tell whether bytes are proved to belong under a name of this version."""
        model, version = self._place
        below = name.removeprefix(self._folder)
        if below == "manifest.json":
            return self._is_manifest(data)
        if below.startswith("sealed/"):
            number = layout.parse_number(below.removeprefix("sealed/"))
            found = self.known.verified
            context = self._resolved.context
            return number is not None and isinstance(
                in_force.sealing_record(
                    context, model, version, found.digest, found.publishers, number, data
                ),
                Signed,
            )
        if below.startswith("files/") and name.endswith(".units"):
            return self._is_units(name.removesuffix(".units"), data)
        if layout.fits_content(name, envelope.digest(data)):
            return True  # named after its content: a header, an approval, an adoption, an attestation
        return layout.parse_number(name.rpartition("/")[2]) is not None and self._is_signed(data)

    def _is_manifest(self, data: bytes) -> bool:
        target = Target(self._place[1], self.known.manifest, None, open=False)
        authorised = resolving.anybody(self._resolved, self._place[0])
        try:
            resolving.verify(self._session, authorised, target, data)
        except Refused:
            return False
        return True

    def _is_units(self, payload: str, data: bytes) -> bool:
        expected = self._payloads.get(payload)
        try:
            if expected is not None:
                ciphertext_tree.parse_units(data, cipher_size=expected.size, expected_root=expected.root)
        except Refused:
            return False
        return expected is not None

    def _is_signed(self, data: bytes) -> bool:
        """Tell whether a numbered record is signed by a key that counts; who may is judged in use."""
        try:
            kind = self._kind(data)
            outer = envelope.parse(data, kind=kind, subject=self.told.subject)
        except Refused:
            return False
        return bool(envelope.signers(outer, self._resolved.context.policy.counting_keys()))

    def _kind(self, data: bytes) -> str:
        """Read which kind of document an envelope says that it holds.

        Raises:
            Malformed: it is none.
        """
        fields = Fields(strict_json.parse(data, limit=limits.ENVELOPE_BYTES), self.told.subject)
        return fields.text("payloadType", str).removeprefix(_TYPE[0]).removesuffix(_TYPE[1])

    def _move_aside(self, name: str) -> None:
        """Keep a damaged object under another name, then take it away from its own.

        Raises:
            Unavailable: it cannot be read, or may not be removed.
        """
        when = self._session.now().replace(":", "")
        kept = f"{backup_order.ASIDE}{when}-{self._session.random(4).hex()}/{name}"
        with self._store.open(name) as source, self._store.create(kept, size=source.size) as sink:
            buffer = memoryview(bytearray(min(source.size, _PIECE)))
            for offset in range(0, source.size, _PIECE):
                part = buffer[: min(_PIECE, source.size - offset)]
                sink.write(part[: source.read_into(offset, part)])
        self.told.aside[name] = kept
        self._store.delete(name)
