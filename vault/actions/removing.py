"""Read and write the removals of versions: what was removed, and what stays after all."""

from collections.abc import Iterator
from dataclasses import dataclass

from vault.actions import logged, objects
from vault.actions.session import Session
from vault.core import audit_record, envelope, layout, limits, removal
from vault.core.in_force import Context, Signed
from vault.core.names import Digest, Environment, Model, Version
from vault.core.policy import Member
from vault.core.removal import Removal
from vault.core.stages import Resolved, Verified
from vault.core.trust import Skipped
from vault.errors import AccessDenied, Conflict, NotFound, Refused


def records(
    session: Session, context: Context, model: Model, version: Version, manifest: Digest | None = None
) -> Iterator[Signed[Removal] | Skipped]:
    """Read and judge a version's removals, from the highest number down.

    Raises:
        Rollback: `withheld`.
        Unavailable.
    """
    folder = layout.removals(model, version)
    for number in reversed(objects.numbers(session.store, folder)):
        name = folder + layout.numbered(number)
        try:
            data = objects.read_listed(session.store, name, limit=limits.REMOVAL_BYTES)
        except Refused as refusal:  # too large for a removal, so it is none
            yield Skipped(name, refusal.message, refusal.code)
            continue
        yield removal.judge(context, model, version, number, data, manifest)


def latest(
    session: Session,
    context: Context,
    model: Model,
    version: Version,
    manifest: Digest | None = None,
    environment: Environment | None = None,
) -> Signed[Removal] | None:
    """Give the removal of a version in force, whatever it says; with `environment`, what counts there.

    Raises:
        Rollback, Unavailable.
    """
    judged = records(session, context, model, version, manifest)
    return removal.latest(context, judged, environment)


def removed(
    session: Session, resolved: Resolved, model: Model, version: Version, manifest: Digest | None = None
) -> Removal | None:
    """Give the removal of a version that counts in an environment; None where it was not removed.

    Raises:
        Rollback, Unavailable.
    """
    found = latest(session, resolved.context, model, version, manifest, resolved.rule.name)
    return found.record if found is not None and found.record.removes else None


def demand(session: Session, verified: Verified) -> None:
    """Stop where a version was removed.

    Raises:
        NotFound: `removed`.
        Rollback, Unavailable.
    """
    found = removed(
        session,
        verified.authorised.resolved,
        verified.manifest.model,
        verified.manifest.version,
        verified.digest,
    )
    if found is not None:
        raise removal.refuse(found)


def authorise(session: Session, resolved: Resolved, action: str, pattern: str) -> Member:
    """Demand that this identity may do an action with all that a pattern means, in some environment.

    Raises:
        AccessDenied, NoUsableKey.
    """
    key_id = Digest(session.identity.key_id)
    current = resolved.context.policy
    member = current.holder(key_id) if key_id in current.counting_keys() else None
    if member is None:
        raise AccessDenied(
            "This identity is not in the vault's policy, or is no longer.",
            subject=pattern,
            hint="Ask the vault's owner to add it, or choose another: MVAULT_IDENTITY, --identity.",
        )
    if not removal.may_somewhere(current, member.name, action, Model(pattern)):
        raise AccessDenied(
            f"{member.name} may not {action} {pattern}: no role of theirs allows it in any environment.",
            subject=pattern,
            hint="A policy change by the vault's owner can allow it.",
        )
    return member


def told(session: Session, verified: Verified) -> tuple[str, tuple[Skipped, ...]]:
    """Say of a version that its files were deleted on purpose, and which of its removals do not count.

    Raises:
        Rollback, Unavailable.
    """
    context, document = verified.authorised.resolved.context, verified.manifest
    found = [*records(session, context, document.model, document.version, verified.digest)]
    entry = removal.latest(context, found)
    gone = entry is not None and entry.record.state == removal.RECLAIM
    skipped = tuple(one for one in found if isinstance(one, Skipped))
    return removal.refuse(entry.record).message if entry is not None and gone else "", skipped


def demand_payloads(session: Session, verified: Verified) -> None:
    """Stop where the files of a version are being deleted, or are gone, whoever may do that.

    Raises:
        NotFound: `removed`.
        Rollback, Unavailable.
    """
    context = verified.authorised.resolved.context
    model, version = verified.manifest.model, verified.manifest.version
    found = latest(session, context, model, version, verified.digest)
    if found is not None and found.record.state == removal.RECLAIM:
        raise removal.refuse(found.record)


@dataclass(frozen=True, slots=True)
class Step:
    """What the next removal of a version is to say; see `removal.Removal`."""

    state: str
    after: str | None
    backup: str | None
    reason: str


def write(
    session: Session, resolved: Resolved, verified: Verified, before: Signed[Removal] | None, step: Step
) -> Signed[Removal]:
    """Create the next removal of a version, unless somebody else was first; log it, and give it.

    `before` is the one in force, as it was looked at.

    Raises:
        Conflict: somebody else wrote one meanwhile.
        Refused: this identity's removal would not count.
        Unavailable.
    """
    context = resolved.context
    model, version = verified.manifest.model, verified.manifest.version
    folder = layout.removals(model, version)
    taken = set(objects.numbers(session.store, folder))
    current = latest(session, context, model, version, verified.digest)
    if (None if current is None else current.digest) != (None if before is None else before.digest):
        raise _lost(model, version)
    above = 0
    if before is not None and before.record.policy.era == context.policy_id.era:
        above = before.record.number
    while True:
        number = objects.lowest_free(taken, above, f"removals of {model}:{version}", genuine=len(taken))
        data = _sign(session, context, verified, step, number)
        own = removal.judge(context, model, version, number, data, verified.digest)
        if isinstance(own, Skipped):
            raise Refused(own.reason, code=own.code, subject=verified.subject)
        try:
            objects.create(session.store, folder + layout.numbered(number), data)
        except Conflict:
            if _is_genuine(session, context, model, version, number):
                raise _lost(model, version) from None
            taken.add(number)
            continue
        _log(session, resolved, own)
        return own


def _sign(session: Session, context: Context, verified: Verified, step: Step, number: int) -> bytes:
    record = Removal(
        vault=context.vault,
        policy=context.policy_id,
        model=verified.manifest.model,
        version=verified.manifest.version,
        manifest=verified.digest,
        number=number,
        state=step.state,
        after=step.after,
        backup=step.backup,
        reason=step.reason,
        created=session.now(),
    )
    identity = session.identity
    signer = [(Digest(identity.key_id), identity.sign)]
    return envelope.serialise(envelope.sign(removal.KIND, removal.encode(record), signer))


def _is_genuine(session: Session, context: Context, model: Model, version: Version, number: int) -> bool:
    name = layout.removals(model, version) + layout.numbered(number)
    try:
        data = session.store.read(name, limit=limits.REMOVAL_BYTES)
    except (NotFound, Refused):
        return False
    return isinstance(removal.judge(context, model, version, number, data), Signed)


def _lost(model: Model, version: Version) -> Conflict:
    return Conflict(
        f"Somebody else removed {model}:{version}, or took it back, at the same time.",
        subject=f"{model}:{version}",
        hint=f"Look at what became of it (mvault history {model}), then decide.",
    )


def _log(session: Session, resolved: Resolved, made: Signed[Removal]) -> None:
    record = made.record
    told = f"{record.state} {record.model}:{record.version}: {record.reason}"
    logged.change(
        session,
        removal.ACTION,
        resolved.rule.name,
        made.digest,
        required=resolved.rule.require.log is not None,
        subject=audit_record.fitting(told),
        model=record.model,
        version=record.version,
        manifest=record.manifest,
        seq=record.number,
    )
