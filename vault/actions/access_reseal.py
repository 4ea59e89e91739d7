"""Re-encrypt a version's payloads under fresh file keys, and sign the sealing record that says so.

The manifest binds plaintext, so its signatures, approvals and channel records
stand. Old payloads stay where they are: nothing is overwritten, and removing
them is retention's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vault import sealing
from vault.actions import archived, keyring, logged, objects, resolving
from vault.actions.access_headers import Place, Rewrapped, seal_of
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import (
    admission,
    age,
    channels,
    ciphertext_tree,
    envelope,
    in_force,
    layout,
    limits,
    manifest,
    policy_document,
    records,
)
from vault.core.manifest import FileEntry
from vault.core.names import Digest, Environment
from vault.core.policy import EnvironmentRule
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Opened, Resolved, Sealed, Target, Verified
from vault.core.trust import Skipped
from vault.errors import Conflict, DigestMismatch, NotFound, NoUsableKey, Refused, Rollback, Unavailable
from vault.range_reader import RangeReader

Resolutions = Mapping[Environment, Resolved]


@dataclass(frozen=True, slots=True, order=True)
class Began:
    """Under which policy an environment's newest epoch was first seen: its era and version."""

    era: int
    version: int

    def covers(self, record: SealingRecord) -> bool:
        """Tell whether a sealing record was made under that policy or a later one."""
        return (record.policy.era, record.policy.version) >= (self.era, self.version)


def began(session: Session, environment: Environment) -> Began:
    """Find the oldest policy that has an environment's newest epoch.

    Policies that do not verify, or are gone, are left out: then more is done again, never less.

    Raises:
        NotFound: the environment has no key.
        Unavailable: the store failed.
    """
    trust = session.trust()
    rule = trust.policy.environments[environment]
    keyring.newest_epoch(rule)
    found = Began(trust.policy_id.era, trust.policy_id.version)
    for number in trust.listing[1]:
        try:
            data = objects.read_listed(session.store, layout.policy(number), limit=limits.ENVELOPE_BYTES)
            older, made = policy_document.verify(trust.root, number, data)
        except Refused:
            continue
        entry = older.environments.get(environment)
        if entry is not None and rule.epochs[-1] in entry.epochs:
            found = min(found, Began(made.era, made.version))
    return found


def reseal(
    session: Session, resolved: Resolutions, since: Began, rule: EnvironmentRule, place: Place
) -> Rewrapped:
    """Re-encrypt one version, unless that was done since the newest epoch began.

    The new file keys are wrapped to `rule`'s newest epoch, and to every other
    environment where the version may be used.

    Raises:
        Unavailable: the store failed.
    """
    sealed = seal_of(session, resolved[rule.name], place)
    if isinstance(sealed, Rewrapped):
        return sealed
    if since.covers(sealed.sealing):
        return Rewrapped(place, 0, len(sealed.sealing.files))
    try:
        return Rewrapped(place, _Resealing(session, resolved, sealed).run(), 0)
    except Rollback:
        raise
    except (Refused, NotFound, NoUsableKey, Conflict, Unavailable) as error:
        if isinstance(error, Unavailable) and error.code != archived.CODE:
            raise
        return Rewrapped(place, 0, 0, problems=(Skipped(place.subject, error.message, error.code),))


class _Resealing:
    """One version whose payloads are written anew."""

    def __init__(self, session: Session, resolved: Resolutions, sealed: Sealed) -> None:
        self._session = session
        self._resolved = resolved
        self._verified = sealed.verified
        self._record = sealed.sealing
        self._folder = layout.sealed(self._record.model, self._record.version)

    def run(self) -> int:
        """Write payloads, then headers, then the record that counts; give the number of files."""
        record, session = self._record, self._session
        # Before anything is written: who may not sign the record would do all this in vain.
        self._sign(self._next(record.files))
        rule = self._verified.authorised.resolved.rule
        keys = keyring.file_keys(session, record, rule, record.files)
        opened = Package(session, self._verified).opened
        to = self._environments()
        files = tuple(self._file(opened, file, keys[file.file_id], to) for file in record.files)
        following = self._next(files)
        objects.create(session.store, self._folder + layout.numbered(following.number), self._sign(following))
        self._log(following)
        return len(files)

    def _log(self, record: SealingRecord) -> None:
        """Log what counts from now on, so that it counts still when who signed it has left."""
        logged.change(
            self._session,
            "access",
            self._verified.authorised.resolved.rule.name,
            envelope.digest(records.encode_sealing(record)),
            subject="sealing record",
            model=record.model,
            version=record.version,
            manifest=record.manifest,
        )

    def _environments(self) -> list[EnvironmentRule]:
        """List the environments that are to have the new keys: this one, and where records allow its use.

        That somebody put a header under an environment's name is no reason:
        it would be a way to be given a model.
        """
        here = self._verified.authorised.resolved.rule
        return [
            here,
            *(
                resolved.rule
                for name, resolved in self._resolved.items()
                if name != here.name and resolved.rule.epochs and self._may_be_used(resolved)
            ),
        ]

    def _may_be_used(self, resolved: Resolved) -> bool:
        session, verified = self._session, self._verified
        model, version = verified.manifest.model, verified.manifest.version
        authorised = resolving.anybody(resolved, model)
        try:
            among = resolving.slots(session, resolved, model)
            history = resolving.history(session, authorised, among, verified.digest)
            target = channels.target_of_version(resolved, version, verified.digest, history, verified.subject)
            if target.via is None:
                data = resolving.read_manifest(session, model, version)
                resolving.verify(session, authorised, Target(version, verified.digest, None), data)
        except Rollback:
            raise
        except (Refused, NotFound):
            return False
        return True

    def _file(self, opened: Opened, file: SealedFile, key: bytes, to: list[EnvironmentRule]) -> SealedFile:
        """Re-encrypt one payload, comparing its plaintext with what was signed in the same pass."""
        session, record = self._session, self._record
        file_id, file_key, nonce = (session.random(16) for _ in range(3))
        entry = next(entry for entry in self._verified.manifest.files if entry.path == file.path)
        self._demand_here(file)
        name = layout.payload(record.model, record.version, file_id.hex())
        with (
            session.store.open(layout.payload(record.model, record.version, file.name)) as stored,
            session.store.create(name, size=file.cipher_size) as sink,
        ):
            plain = _Plain(
                RangeReader(
                    stored, self._units(file), file_key=key, cipher_size=file.cipher_size, root=file.root
                )
            )
            done = sealing.seal(
                plain,
                sink,
                file_key=file_key,
                nonce=nonce,
                size=file.plain_size,
                progress=session.progress,
                what=f"{self._verified.subject} {file.path}",
            )
            _check(opened, entry, done.sha256, self._verified)
        if len(done.unit_digests) > ciphertext_tree.DIGEST_BYTES:
            objects.create(session.store, layout.units(name), done.unit_digests)
        for rule in to:
            keyring.wrap_file_key(session, record.model, record.version, file_id, file_key, rule)
        return replace(
            file,
            file_id=file_id,
            cipher_size=done.cipher_size,
            root=done.root,
            key_check=age.key_check(file_key, file_id),
        )

    def _demand_here(self, file: SealedFile) -> None:
        """Stop before anything is written where a payload was archived.

        Raises:
            Unavailable: `archived`, or the store failed.
            NotFound: it is gone.
        """
        name = layout.payload(self._record.model, self._record.version, file.name)
        try:
            with self._session.store.open(name) as stored:
                stored.read_into(0, memoryview(bytearray(1)))
        except (NotFound, Unavailable) as error:
            raise archived.explained(self._session, self._verified, file, error) from None

    def _units(self, file: SealedFile) -> bytes | None:
        if age.unit_count(file.cipher_size) == 1:
            return None
        name = layout.units(layout.payload(self._record.model, self._record.version, file.name))
        return self._session.store.read(name, limit=ciphertext_tree.units_size(file.cipher_size))

    def _next(self, files: tuple[SealedFile, ...]) -> SealingRecord:
        taken = objects.numbers(self._session.store, self._folder)
        return replace(
            self._record,
            files=files,
            number=objects.lowest_free(taken, self._record.number, self._verified.subject),
            policy=self._verified.authorised.resolved.context.policy_id,
            created=self._session.now(),
        )

    def _sign(self, record: SealingRecord) -> bytes:
        """Sign a sealing record as loaders will accept it.

        Raises:
            Refused: this identity neither published the version nor may rotate it.
        """
        identity = self._session.identity
        signer = [(Digest(identity.key_id), identity.sign)]
        data = envelope.serialise(envelope.sign(records.SEALING, records.encode_sealing(record), signer))
        verified = self._verified
        judged = in_force.sealing_record(
            verified.authorised.resolved.context,
            record.model,
            record.version,
            verified.digest,
            verified.publishers,
            record.number,
            data,
        )
        if isinstance(judged, Skipped):
            raise Refused(judged.reason, code=judged.code, subject=verified.subject)
        return data


def _check(opened: Opened, entry: FileEntry, sha256: bytes, verified: Verified) -> None:
    if entry.path != manifest.METADATA:
        admission.check_plaintext(opened, entry, entry.size, sha256)
    elif sha256.hex() != entry.sha256:
        raise DigestMismatch(
            f"{verified.subject}: {entry.path} is not what was signed.", subject=verified.subject
        )


class _Plain:
    """The plaintext of a stored payload as a source (`ports.Source`): every unit is authenticated."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader

    @property
    def size(self) -> int:
        """The plaintext's size in bytes."""
        return self._reader.size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there."""
        part = self._reader.read(offset, len(buffer))
        buffer[: len(part)] = part
        return len(part)
