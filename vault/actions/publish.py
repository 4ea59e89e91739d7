"""Publish a version: seal its files, then records, then the manifest that makes it visible.

Order: payloads → key headers → sealing record → manifest. A crash between any
two leaves either nothing visible or something complete.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from vault import sealing
from vault.actions import auditing, keyring, logged, numbering, objects
from vault.actions.auditing import Act
from vault.actions.session import Session
from vault.core import (
    admission,
    age,
    envelope,
    formats,
    layout,
    manifest,
    ml_bom,
    model_card,
    names,
    records,
)
from vault.core.manifest import METADATA, FileEntry, FileFacts, Manifest, Metadata, Parent
from vault.core.model_facts import BOM, CARD, FileFact, ModelFacts
from vault.core.names import Digest, Model, Path, Reference, Version
from vault.core.policy import EnvironmentRule
from vault.core.records import SealedFile, SealingRecord
from vault.core.stages import Authorised, Target
from vault.core.strict_json import JSONValue
from vault.errors import Conflict, Refused
from vault.ports import Source


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A file on its way into a package; `open` gives its bytes, once."""

    path: Path
    role: str
    format: str
    open: Callable[[], AbstractContextManager[Source]]
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a version: its files, and what `metadata.json` says beside their digests."""

    files: Sequence[PackageFile]
    info: Mapping[str, JSONValue]
    libraries: Mapping[str, str] = field(default_factory=dict)
    public: bool = False
    parents: tuple[Parent, ...] = ()  # ascending
    bump: str | None = None  # how the next version goes on from the last (`version_bumps.BUMPS`)
    documents: bool = False  # put a model card and a bill of materials beside the files
    # Is given the SHA-256 of every file as it was sealed, before anything is signed, and may refuse them.
    check: Callable[[Mapping[Path, bytes]], None] | None = None


def publish(session: Session, model: Model, version: Version | None, contents: Contents) -> Reference:
    """Seal and sign `contents` as a new version of `model`, and make it visible.

    Raises:
        AccessDenied: this identity may not publish this model here.
        Conflict: the version exists, or somebody else published it meanwhile; nothing was changed.
        FormatRefused: a file can run code, and this environment does not allow its format.
        ValueError: the files' paths collide, there are none, too much is to be recorded of them, or the
            versions do not go on as they are bumped.
        Unavailable: the store failed; nothing is visible.
    """
    with auditing.acting(
        session, "publish", str(model), session.environment, model=model, version=version
    ) as act:
        return _publish(session, model, version, contents, act)


def _publish(
    session: Session, model: Model, version: Version | None, contents: Contents, act: Act
) -> Reference:
    resolved = session.resolve(session.environment)
    act.learn(resolved)
    authorised = admission.authorise(resolved, Digest(session.identity.key_id), "publish", model)
    logged.demand(session, resolved.rule)
    try:
        manifest.check_paths([METADATA, *(file.path for file in contents.files)], str(model))
        _check_metadata(contents, model)
    except Refused as refusal:
        raise ValueError(refusal.message) from None
    if not contents.files:
        raise ValueError("A package has at least one file.")
    for file in contents.files:
        admission.check_stored(resolved.rule, file.path, file.format, str(model))
    number = numbering.choose(session, authorised, version, contents.bump)
    return _Publication(session, authorised, number).run(contents)


def _check_metadata(contents: Contents, model: Model) -> None:
    """See that what will be recorded can be read again, before anything is stored.

    Raises:
        Refused: it is larger, deeper or longer than a reader takes.
    """
    unknown = Digest("0" * 64)
    facts = {file.path: FileFacts(unknown, tuple(sorted(file.pins))) for file in contents.files}
    data = manifest.encode_metadata(Metadata(bytes(32), facts, contents.libraries, contents.info))
    entry = FileEntry(METADATA, len(data), "json", "metadata", None, envelope.digest(data))
    manifest.parse_metadata(data, entry, str(model))


class _Publication:
    """One version being written."""

    def __init__(self, session: Session, authorised: Authorised, version: Version) -> None:
        self._session = session
        self._authorised = authorised
        self._model = authorised.model
        self._version = version
        self._rule: EnvironmentRule = authorised.resolved.rule
        self._created = session.now()

    def run(self, contents: Contents) -> Reference:
        secret = self._session.random(32)
        stored: dict[Path, tuple[SealedFile, bytes]] = {}
        for file in contents.files:
            with file.open() as source:
                stored[file.path] = self._seal(file.path, source)
        if contents.check is not None:
            contents.check({file.path: stored[file.path][1] for file in contents.files})
        if contents.documents:
            contents = self._with_documents(contents, stored)
        facts = {
            file.path: FileFacts(Digest(stored[file.path][1].hex()), tuple(sorted(file.pins)))
            for file in contents.files
        }
        metadata = manifest.encode_metadata(Metadata(secret, facts, contents.libraries, contents.info))
        stored[METADATA] = self._seal(METADATA, BytesSource(metadata))
        signed = self._sign_manifest(contents, stored, secret)
        sealing_record = self._write_sealing(signed.digest, [stored[path][0] for path in sorted(stored)])
        self._commit(signed, sealing_record)
        return Reference(self._model, version=self._version)

    def _with_documents(self, contents: Contents, stored: dict[Path, tuple[SealedFile, bytes]]) -> Contents:
        """Seal what is written about the version from its metadata, but for what it brings of its own."""
        told = ModelFacts(
            vault=self._authorised.resolved.context.vault,
            model=self._model,
            version=self._version,
            created=self._created,
            publishers=(self._authorised.member.name,),
            parents=contents.parents,
            files=tuple(
                FileFact(
                    file.path,
                    file.role,
                    file.format,
                    stored[file.path][0].plain_size,
                    stored[file.path][1].hex(),
                )
                for file in sorted(contents.files, key=lambda file: file.path)
            ),
            info=contents.info,
            libraries=contents.libraries,
        )
        taken = {names.fold(file.path) for file in contents.files}
        made = []
        for name, render in ((CARD, model_card.render), (BOM, ml_bom.render)):
            if names.fold(name) not in taken:
                path, data = Path(name), render(told)
                stored[path] = self._seal(path, BytesSource(data))
                made.append(PackageFile(path, "file", formats.classify(path, data), _held(data)))
        return replace(contents, files=[*contents.files, *made])

    def _seal(self, path: Path, source: Source) -> tuple[SealedFile, bytes]:
        """Store one payload, its unit digests and its key header; give its record and plaintext digest."""
        session = self._session
        file_id, file_key, nonce = (session.random(16) for _ in range(3))
        name = layout.payload(self._model, self._version, file_id.hex())
        done: sealing.Sealed | None = None
        try:
            with session.store.create(name, size=age.cipher_size(source.size)) as sink:
                done = sealing.seal(
                    source,
                    sink,
                    file_key=file_key,
                    nonce=nonce,
                    size=source.size,
                    progress=session.progress,
                    what=path,
                )
        except Conflict:
            # The name is random, so what has it is ours: an answer was lost, and the store asked again.
            if done is None:
                raise
            with session.store.open(name) as stored:
                sealing.scrub(stored, cipher_size=done.cipher_size, root=done.root)
        if len(done.unit_digests) > 32:
            objects.create(session.store, layout.units(name), done.unit_digests)
        keyring.wrap_file_key(session, self._model, self._version, file_id, file_key, self._rule)
        check = age.key_check(file_key, file_id)
        sealed = SealedFile(path, file_id, records.SUITE, done.plain_size, done.cipher_size, done.root, check)
        return sealed, done.sha256

    def _sign_manifest(
        self, contents: Contents, stored: Mapping[Path, tuple[SealedFile, bytes]], secret: bytes
    ) -> envelope.Envelope:
        context = self._authorised.resolved.context
        entries = []
        for path, role, kind in [
            (METADATA, "metadata", "json"),
            *((file.path, file.role, file.format) for file in contents.files),
        ]:
            sealed, sha256 = stored[path]
            plain = path == METADATA
            entries.append(
                FileEntry(
                    path=path,
                    size=sealed.plain_size,
                    format=kind,
                    role=role,
                    commitment=None if plain else manifest.commit(secret, path, sealed.plain_size, sha256),
                    sha256=Digest(sha256.hex()) if plain or contents.public else None,
                )
            )
        document = Manifest(
            vault=context.vault,
            policy=context.policy_id,
            model=self._model,
            version=self._version,
            created=self._created,
            publishers=(Digest(self._session.identity.key_id),),
            public=contents.public,
            files=tuple(sorted(entries, key=lambda entry: entry.path)),
            parents=contents.parents,
        )
        return self._signed(manifest.KIND, manifest.encode(document))

    def _signed(self, kind: str, payload: bytes) -> envelope.Envelope:
        identity = self._session.identity
        return envelope.sign(kind, payload, [(Digest(identity.key_id), identity.sign)])

    def _write_sealing(self, digest: Digest, files: list[SealedFile]) -> Digest:
        """Store the sealing record; give its digest."""
        context = self._authorised.resolved.context

        def record(number: int) -> envelope.Envelope:
            value = SealingRecord(
                vault=context.vault,
                policy=context.policy_id,
                model=self._model,
                version=self._version,
                manifest=digest,
                number=number,
                created=self._created,
                files=tuple(files),
            )
            return self._signed(records.SEALING, records.encode_sealing(value))

        folder = layout.sealed(self._model, self._version)
        number = objects.create_next(
            self._session.store, folder, lambda number: envelope.serialise(record(number))
        )
        return record(number).digest

    def _commit(self, signed: envelope.Envelope, sealing_record: Digest) -> None:
        """Create the manifest: from here on the version is visible. Then remember it."""
        session = self._session
        data = envelope.serialise(signed)
        subject = f"{self._model}:{self._version}"
        target = Target(self._version, signed.digest, None, open=False)
        verified = admission.verify(self._authorised, target, data)
        if session.signed is not None:
            session.signed(verified)
        try:
            objects.create(session.store, layout.manifest(self._model, self._version), data)
        except Conflict:
            raise Conflict(
                f"Somebody else published {subject} first; yours was not published.",
                subject=subject,
                hint="Look at theirs, then run the same command again for the next version.",
            ) from None
        session.remember(self._authorised.resolved, verified)
        logged.change(
            session,
            "publish",
            self._rule.name,
            signed.digest,
            also={sealing_record: "sealing record"},
            required=self._rule.require.log is not None,
            model=self._model,
            version=self._version,
            manifest=signed.digest,
        )


def _held(data: bytes) -> Callable[[], AbstractContextManager[Source]]:
    return lambda: nullcontext(BytesSource(data))


class BytesSource:
    """Bytes as a source (`ports.Source`)."""

    def __init__(self, data: bytes | memoryview) -> None:
        """Read from `data`."""
        self._data = memoryview(data)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self._data)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there."""
        part = self._data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)
