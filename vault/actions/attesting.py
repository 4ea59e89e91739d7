"""Write and read what testers sign of a version, and stop what needs a load test and has none."""

import warnings
from collections.abc import Iterable, Iterator

from vault.actions import carrying, logged, objects
from vault.actions.session import Session
from vault.core import admission, attestation, envelope, layout, limits, policy, requirements
from vault.core.attestation import Attestation
from vault.core.in_force import Signed
from vault.core.names import Digest, Environment, Model, Principal, Version
from vault.core.requirements import Pin
from vault.core.stages import Resolved, Verified
from vault.core.trust import Skipped
from vault.errors import AccessDenied, Conflict, DigestMismatch, NotFound, Refused

TEST = "test"


def attestations(
    session: Session, resolved: Resolved, model: Model, version: Version, manifest: Digest
) -> tuple[Signed[Attestation], ...]:
    """Read what testers attested of a manifest; what does not hold is no word.

    Raises:
        Rollback: `withheld`.
        Unavailable.
    """
    found = _judged(session, resolved, model, version, manifest)
    return tuple(entry for entry in found if isinstance(entry, Signed))


def skipped(session: Session, verified: Verified) -> tuple[Skipped, ...]:
    """Give what lies among a version's attestations and does not count.

    Raises:
        Rollback, Unavailable: see `attestations`.
    """
    found = verified.manifest
    resolved = verified.authorised.resolved
    judged = _judged(session, resolved, found.model, found.version, verified.digest)
    return tuple(entry for entry in judged if isinstance(entry, Skipped))


def _judged(
    session: Session, resolved: Resolved, model: Model, version: Version, manifest: Digest
) -> Iterator[Signed[Attestation] | Skipped]:
    folder = layout.attestations(model, version)
    for name, data in objects.votes(session.store, folder, limit=limits.ATTESTATION_BYTES):
        yield attestation.judge(resolved.context, model, version, manifest, data, name)


def of(session: Session, verified: Verified) -> tuple[Signed[Attestation], ...]:
    """Read what testers attested of a verified version.

    Raises:
        Rollback, Unavailable: see `attestations`.
    """
    found = verified.manifest
    resolved = verified.authorised.resolved
    return attestations(session, resolved, found.model, found.version, verified.digest)


def demand(session: Session, verified: Verified) -> None:
    """Do the part of step 6 that asks for a load test; a test itself needs none before it.

    Raises:
        Refused: `not-tested`.
        Unavailable.
    """
    if verified.authorised.resolved.rule.require.load_test and verified.authorised.action != TEST:
        admission.tested(verified, of(session, verified))


def is_missing(session: Session, verified: Verified) -> bool:
    """Tell whether a load test is asked for, and none counts.

    Raises:
        Rollback, Unavailable.
    """
    try:
        demand(session, verified)
    except Refused as refusal:
        if refusal.code != "not-tested":
            raise
        return True
    return False


def testers(resolved: Resolved, model: Model) -> tuple[Principal, ...]:
    """Give those whose test of a model would count: they may test it, load it, and hold a key that counts."""
    current = resolved.context.policy
    keys = current.counting_keys()
    return tuple(
        sorted(
            member.name
            for member in current.members.values()
            if any(key.key_id in keys for key in member.keys)
            and policy.may_somewhere(current, member.name, TEST, model)
            and any(
                policy.decide(current, member.name, "load", model, place).allowed
                for place in current.environments
            )
        )
    )


def authorise(session: Session, resolved: Resolved, model: Model) -> None:
    """Demand that this identity may sign what comes of a test.

    Raises:
        AccessDenied.
    """
    current = resolved.context.policy
    key_id = Digest(session.identity.key_id)
    member = current.holder(key_id)
    if member is None or key_id not in current.counting_keys():
        raise AccessDenied(
            "This identity is not in the vault's policy, or is no longer.",
            subject=model,
            hint="Ask the vault's owner to add it, or choose another: MVAULT_IDENTITY, --identity.",
        )
    if not policy.may_somewhere(current, member.name, TEST, model):
        raise AccessDenied(
            f"{member.name} may not test {model} in any environment, so its word would not count.",
            subject=model,
            hint="To look without signing anything: --no-record. A policy change can allow it: "
            "mvault policy who-can test " + model,
        )


def mine(session: Session, found: Iterable[Signed[Attestation]], resolved: Resolved) -> Attestation | None:
    """Give this identity's word about a version."""
    member = resolved.context.policy.holder(Digest(session.identity.key_id))
    entry = None if member is None else attestation.words(found).get(member.name)
    return None if entry is None else entry.record


def write(session: Session, environment: Environment, record: Attestation, pins: tuple[Pin, ...]) -> Digest:
    """Store the requirements of a test, then what is signed of it; give the attestation's digest.

    Raises:
        ValueError: there is more to attest than an attestation holds.
        Conflict, Refused, Unavailable: it was not stored, or not recorded where that is required.
    """
    model, version = record.model, record.version
    payload = attestation.encode(record)
    attestation.parse(payload, "the attestation")
    identity = session.identity
    signed = envelope.sign(attestation.KIND, payload, [(Digest(identity.key_id), identity.sign)])
    data = envelope.serialise(signed)
    if len(data) > limits.ATTESTATION_BYTES:
        raise ValueError("The environment has too many distributions for an attestation.")
    locked = requirements.encode(pins)
    try:
        objects.create(session.store, layout.requirements(model, version, record.requirements), locked)
    except Conflict as conflict:  # a stranger was faster, and must not keep anybody from testing
        warnings.warn(f"The requirements of the test could not be stored: {conflict.message}", stacklevel=2)
    name = layout.attestation(model, version, envelope.digest(data))
    objects.create(session.store, name, data)
    carrying.follow(session, model, version, [name])
    rule = session.trust().policy.environments[environment]
    logged.change(
        session,
        "test",
        environment,
        signed.digest,
        required=rule.require.log is not None,
        model=model,
        version=version,
        manifest=record.manifest,
    )
    return signed.digest


def locked(session: Session, verified: Verified, found: Iterable[Signed[Attestation]]) -> tuple[Pin, ...]:
    """Give the requirements that the newest test passed with; nothing where none passed.

    Raises:
        DigestMismatch, NotFound: what the tester signed is not there; it is never looked for anew unasked.
        Unavailable.
    """
    passed = attestation.passed(found)
    if passed is None:
        return ()
    record = passed.record
    name = layout.requirements(record.model, record.version, record.requirements)
    hint = "Restore it from a backup, or pin anew what is to be had: --repin."
    try:
        data = session.store.read(name, limit=limits.REQUIREMENTS_BYTES)
        return attestation.lock(data, record.requirements, name)
    except NotFound:
        raise NotFound(
            f"The requirements that {verified.subject} passed a load test with are gone.",
            subject=verified.subject,
            hint=hint,
        ) from None
    except Refused as refusal:
        raise DigestMismatch(
            f"The requirements that {verified.subject} passed a load test with were altered.",
            code=refusal.code,
            subject=verified.subject,
            hint=hint,
        ) from None
