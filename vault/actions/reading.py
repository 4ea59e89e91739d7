"""From a verified manifest to plaintext: admission steps 7 and 8 with their reading."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vault import sealing
from vault.actions import archived, keyring, objects
from vault.actions.session import Session
from vault.core import admission, in_force, layout, limits, names
from vault.core.in_force import Signed
from vault.core.manifest import METADATA, FileEntry
from vault.core.names import Path
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Opened, Sealed, Verified
from vault.core.trust import Skipped
from vault.errors import DigestMismatch, NotFound, Refused, Unavailable, VaultError
from vault.ports import Sink, Source


def find_sealing(session: Session, verified: Verified) -> Sealed:
    """Find the sealing record in force for a manifest (step 7).

    Raises:
        Refused, NotFound, Unavailable.
    """
    return admission.seal(verified, judged(session, verified), session.allowance)


def judged(session: Session, verified: Verified) -> Iterator[Signed[SealingRecord] | Skipped]:
    """Read and judge a version's sealing records, newest first."""
    manifest = verified.manifest
    folder = layout.sealed(manifest.model, manifest.version)
    for number in reversed(objects.numbers(session.store, folder)):
        name = folder + layout.numbered(number)
        try:
            data = objects.read_listed(session.store, name, limit=limits.ENVELOPE_BYTES)
        except Refused as refusal:  # too large for a record, so it is none
            yield Skipped(name, refusal.message, refusal.code)
            continue
        yield in_force.sealing_record(
            verified.authorised.resolved.context,
            manifest.model,
            manifest.version,
            verified.digest,
            verified.publishers,
            number,
            data,
        )


class Package:
    """A package whose `metadata.json` is open; other files are decrypted when they are asked for."""

    def __init__(self, session: Session, verified: Verified, sealed: Sealed | None = None) -> None:
        """Do steps 7 and 8 up to the metadata; step 7 may have been done before.

        Raises:
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        self._session = session
        self._sealed = sealed or find_sealing(session, verified)
        self._keys: dict[bytes, bytes] = {}
        metadata, _ = self._decrypt(_stored(self._sealed, METADATA))
        self.opened: Opened = admission.open_package(self._sealed, metadata)

    def unlock(self, entries: Iterable[FileEntry]) -> None:
        """Unwrap the keys of these files in one listing.

        Raises:
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        self._unwrap([_stored(self._sealed, entry.path) for entry in entries])

    def read(self, entry: FileEntry) -> tuple[memoryview, bytes]:
        """Decrypt one file in memory: its plaintext and SHA-256, which nothing has been compared with yet.

        Raises:
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        return self._decrypt(_stored(self._sealed, entry.path))

    def write(self, entry: FileEntry, sink: Sink) -> bytes:
        """Decrypt one file into a sink that keeps it to itself; give its SHA-256, not compared yet.

        Raises:
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        file = _stored(self._sealed, entry.path)
        with self._payload(file) as source:
            return sealing.unseal(
                source,
                sink,
                file_key=self._keys[file.file_id],
                cipher_size=file.cipher_size,
                plain_size=file.plain_size,
                progress=self._session.progress,
                what=entry.path,
            )

    def _decrypt(self, file: SealedFile) -> tuple[memoryview, bytes]:
        with self._payload(file) as source:
            return sealing.unseal_bytes(
                source,
                file_key=self._keys[file.file_id],
                cipher_size=file.cipher_size,
                plain_size=file.plain_size,
                progress=self._session.progress,
                what=file.path,
            )

    @contextmanager
    def _payload(self, file: SealedFile) -> Iterator[Source]:
        """Open a payload whose key is at hand; say which file it was when something is wrong with it."""
        self._unwrap([file])
        record = self._sealed.sealing
        verified = self._sealed.verified
        subject = verified.subject
        try:
            with self._session.store.open(layout.payload(record.model, record.version, file.name)) as source:
                yield source
        except (NotFound, Unavailable) as error:
            gone: VaultError = error
            if isinstance(error, NotFound):
                gone = NotFound(
                    f"{subject}: the stored bytes of {file.path} are gone.",
                    subject=subject,
                    hint=f"Restore them: mvault restore {subject}",
                )
            raise archived.explained(self._session, verified, file, gone) from None
        except Refused as refusal:
            raise DigestMismatch(
                f"{subject} was altered in storage: {file.path} differs from what was signed on "
                f"{names.day_text(verified.manifest.created)}. Nothing was loaded.",
                code=refusal.code,
                subject=subject,
                hint=f"Restore it: mvault restore {subject}",
            ) from None

    def _unwrap(self, wanted: list[SealedFile]) -> None:
        missing = [file for file in wanted if file.file_id not in self._keys]
        if missing:
            rule = self._sealed.verified.authorised.resolved.rule
            self._keys |= keyring.file_keys(self._session, self._sealed.sealing, rule, missing)


def _stored(sealed: Sealed, path: Path) -> SealedFile:
    found = sealed.sealing.file(path)
    if found is None:
        raise NotFound(f"{sealed.verified.subject} has no file {path}.", subject=sealed.verified.subject)
    return found
