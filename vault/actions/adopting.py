"""Adopt a version: stand in for a publisher whose key was revoked, or who left, after reading every file."""

from collections.abc import Iterator
from dataclasses import dataclass

from vault.actions import auditing, logged, objects, resolving
from vault.actions.auditing import Act
from vault.actions.reading import Package, judged
from vault.actions.session import Session
from vault.core import admission, envelope, in_force, layout, limits, manifest, records
from vault.core.in_force import Signed
from vault.core.manifest import METADATA
from vault.core.names import Digest, Environment, Principal, Reference, Version
from vault.core.records import Adoption, SealingRecord
from vault.core.stages import Authorised, Sealed, Target, Verified
from vault.core.trust import Skipped
from vault.errors import AccessDenied, NotFound, NoUsableKey, Refused, Rollback, UntrustedSigner

_CANDIDATES = 16  # sealing records that nobody vouches for any more: how many are tried


@dataclass(frozen=True, slots=True)
class Adopted:
    """What an adoption did: who counts as the version's publishers now."""

    reference: Reference
    digest: Digest
    publishers: tuple[Principal, ...]
    already: bool


def adopt(session: Session, reference: Reference) -> Adopted:
    """Sign a version's manifest digest in the place of a publisher who does not count any more.

    Every file is decrypted and compared with the manifest first. Where the
    sealing record was the lost publisher's as well, it is signed anew.

    Raises:
        AccessDenied: this identity may not adopt the model, or is not a person.
        ValueError: the reference names no version or digest.
        Refused: it is not what was signed, or a signature of a key that counts is missing.
        NotFound, Unavailable, NoUsableKey.
    """
    environment = resolving.environment_of(session, reference)
    with auditing.acting(session, "adopt", reference, environment) as act:
        return _adopt(session, reference, environment, act)


def _adopt(session: Session, reference: Reference, environment: Environment, act: Act) -> Adopted:
    resolved = session.resolve(environment)
    act.learn(resolved)
    authorised = admission.authorise(resolved, Digest(session.identity.key_id), "adopt", reference.model)
    version = reference.version
    if version is None:
        raise ValueError(f"Say which version to adopt, as {reference.model}:3.")
    named = Reference(reference.model, version=version)
    data = resolving.read_manifest(session, reference.model, version)
    target = Target(version, None, None, open=False)
    try:
        found = resolving.verify(session, authorised, target, data)
        return Adopted(named, found.digest, found.publishers, True)
    except UntrustedSigner:
        pass  # the case for which adoptions are
    except Refused as refusal:
        if refusal.code not in ("bad-signature", "unsigned"):
            raise
    digest, mine = _adoption(session, authorised, version, data)
    own = in_force.adoption(resolved.context, reference.model, version, digest, mine, "your adoption")
    if isinstance(own, Skipped):
        raise AccessDenied(
            f"{authorised.member.name}'s adoption would not count: {own.reason}",
            subject=str(named),
            hint="Only people adopt, and only where a role allows them to.",
        )
    verified = admission.verify(authorised, target, data, lambda _: (own,))
    resealed = _reseal(session, verified)
    objects.create(session.store, layout.adoption(reference.model, version, envelope.digest(mine)), mine)
    session.remember(resolved, verified)
    logged.change(
        session,
        "adopt",
        resolved.rule.name,
        own.digest,
        also={} if resealed is None else {resealed: "sealing record"},
        model=reference.model,
        version=version,
        manifest=verified.digest,
    )
    return Adopted(named, verified.digest, verified.publishers, False)


def _adoption(
    session: Session, authorised: Authorised, version: Version, data: bytes
) -> tuple[Digest, bytes]:
    subject = f"{authorised.model}:{version}"
    digest = envelope.parse(data, kind=manifest.KIND, subject=subject).digest
    context = authorised.resolved.context
    record = Adoption(
        vault=context.vault,
        policy=context.policy_id,
        model=authorised.model,
        version=version,
        manifest=digest,
        created=session.now(),
    )
    return digest, _signed(session, records.ADOPTION, records.encode_adoption(record))


def _signed(session: Session, kind: str, payload: bytes) -> bytes:
    identity = session.identity
    return envelope.serialise(envelope.sign(kind, payload, [(Digest(identity.key_id), identity.sign)]))


def _reseal(session: Session, verified: Verified) -> Digest | None:
    """Read every file; where no sealing record counts any more, write one like it, and give its digest."""
    counting = next((entry for entry in judged(session, verified) if isinstance(entry, Signed)), None)
    if counting is not None:
        _read(session, verified, counting)
        return None
    last: Exception = NotFound(f"{verified.subject} has no sealing record.", subject=verified.subject)
    for candidate in _orphans(session, verified):
        try:
            _read(session, verified, candidate)
        except Rollback:
            raise
        except (Refused, NotFound, NoUsableKey) as error:
            last = error  # somebody else's object; the next may be the genuine one
            continue
        return _write_sealing(session, verified, candidate.record)
    raise last


def _orphans(session: Session, verified: Verified) -> Iterator[Signed[SealingRecord]]:
    """Give what looks like a sealing record of the manifest, newest first, whoever signed it.

    What it says is believed only as far as the files that it leads to are those
    that the manifest binds.
    """
    found = verified.manifest
    folder = layout.sealed(found.model, found.version)
    for number in sorted(objects.numbers(session.store, folder), reverse=True)[:_CANDIDATES]:
        name = folder + layout.numbered(number)
        try:
            data = objects.read_listed(session.store, name, limit=limits.ENVELOPE_BYTES)
            sealed = envelope.parse(data, kind=records.SEALING, subject=name)
            record = records.parse_sealing(sealed.payload, name)
        except Refused:
            continue
        same = (record.vault, record.model, record.version) == (found.vault, found.model, found.version)
        if same and record.manifest == verified.digest:
            yield Signed(record, sealed.digest, ())


def _read(session: Session, verified: Verified, entry: Signed[SealingRecord]) -> None:
    """Decrypt every file and compare it with what was signed; nothing is kept."""
    sealed: Sealed = admission.seal(verified, [entry], session.allowance)
    package = Package(session, verified, sealed)
    for file in verified.manifest.files:
        if file.path != METADATA:
            sha256 = package.write(file, _Nowhere())
            admission.check_plaintext(package.opened, file, file.size, sha256)


def _write_sealing(session: Session, verified: Verified, record: SealingRecord) -> Digest:
    context = verified.authorised.resolved.context
    created = session.now()

    def payload(number: int) -> bytes:
        again = SealingRecord(
            vault=context.vault,
            policy=context.policy_id,
            model=record.model,
            version=record.version,
            manifest=record.manifest,
            number=number,
            created=created,
            files=record.files,
        )
        return records.encode_sealing(again)

    number = objects.create_next(
        session.store,
        layout.sealed(record.model, record.version),
        lambda number: _signed(session, records.SEALING, payload(number)),
    )
    return envelope.digest(payload(number))


class _Nowhere:
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Drop what was decrypted."""
