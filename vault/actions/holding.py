"""Hold versions, so that nothing removes them, and release them again."""

from collections.abc import Iterator
from dataclasses import dataclass

from vault.actions import auditing, logged, objects, removing, resolving
from vault.actions.session import Session
from vault.core import audit_record, envelope, holds, layout, limits, names, policy, removal
from vault.core.holds import Hold, Holds, Release
from vault.core.in_force import Context, Signed
from vault.core.names import Digest, Model, Principal, Reference, Version
from vault.core.stages import Resolved, Target, Verified
from vault.core.trust import Skipped
from vault.errors import NotFound, Refused, Unavailable


@dataclass(frozen=True, slots=True)
class Held:
    """A hold that stands: what it keeps, who holds it, since when and why. `digest` names it."""

    subject: str
    pattern: str
    version: Version | None
    manifest: Digest | None
    reason: str
    who: tuple[Principal, ...]
    created: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Standing:
    """The holds that stand, oldest first, and what looks like one and does not count, with why."""

    holds: tuple[Held, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """What a release ended; nothing where nothing was held."""

    holds: tuple[Held, ...]


def read(session: Session, context: Context) -> Holds:
    """Read and judge every hold and release; what is not named after its own content is a stranger's.

    Raises:
        Rollback: `withheld`.
        Unavailable: one cannot be read, or there are too many names to know all: nothing may be removed.
    """
    return holds.judge(context, _objects(session))


def _objects(session: Session) -> Iterator[tuple[str, bytes]]:
    for looked_at, name in enumerate(session.store.list(layout.HOLDS)):
        if looked_at == limits.LISTED_NAMES:
            raise Unavailable(
                f"There are more than {limits.LISTED_NAMES:,} objects in {layout.HOLDS}.",
                subject=layout.HOLDS,
                hint="Somebody with write access fills the store. Remove what mvault check reports.",
            )
        if not layout.is_hold(name.removeprefix(layout.HOLDS)):
            continue
        try:
            data = objects.read_listed(session.store, name, limit=limits.REMOVAL_BYTES)
        except Refused:
            continue  # too large for a hold
        if layout.fits_content(name, envelope.digest(data)):
            yield name, data


def is_held(session: Session, context: Context, model: Model, manifest: Digest) -> bool:
    """Tell whether a version is held.

    Raises:
        Rollback, Unavailable.
    """
    return bool(read(session, context).on(context, model, manifest))


def standing(session: Session) -> Standing:
    """List the holds that stand.

    Raises:
        Refused, NotFound, Unavailable.
    """
    context = session.resolve(session.environment).context
    found = read(session, context)
    return Standing(tuple(_held(entry) for entry in found.standing(context)), found.skipped)


def _held(entry: Signed[Hold]) -> Held:
    record = entry.record
    return Held(
        record.subject,
        record.pattern,
        record.version,
        record.manifest,
        record.reason,
        entry.signers,
        record.created,
        entry.digest,
    )


def hold(session: Session, what: str | Reference, reason: str) -> Held:
    """Sign that a version, or every version of what a pattern means, must not be removed.

    `what` is a reference to one version, or a pattern: `*`, `nepse/*`, or a model's name.

    Raises:
        AccessDenied: this identity may not `hold` that.
        NotFound: there is no such version, or it is being deleted already (`removed`).
        ValueError: the reason, or what is to be held, breaks the grammar.
        Refused, Unavailable, NoUsableKey.
    """
    with auditing.acting(session, "hold", str(what), session.environment):
        return _hold(session, what, reason)


def _hold(session: Session, what: str | Reference, reason: str) -> Held:
    text = _reason(reason)
    resolved = session.resolve(session.environment)
    logged.demand(session, resolved.rule)
    pattern, verified = _meant(session, resolved, what)
    subject = pattern if verified is None else verified.subject
    mine = removing.authorise(session, resolved, holds.ACTION, pattern)
    record = Hold(
        vault=resolved.context.vault,
        policy=resolved.context.policy_id,
        pattern=pattern,
        version=None if verified is None else verified.manifest.version,
        manifest=None if verified is None else verified.digest,
        reason=text,
        created=session.now(),
    )
    made = Held(
        record.subject,
        pattern,
        record.version,
        record.manifest,
        text,
        (mine.name,),
        record.created,
        _write(session, resolved, holds.HOLD, holds.encode_hold(record), f"hold {subject}: {text}", verified),
    )
    if verified is not None:
        removing.demand_payloads(session, verified)  # it may have come too late
    return made


def release(session: Session, what: str, reason: str) -> Released:
    """End the holds on exactly this reference or pattern, or the one with this digest.

    Raises:
        AccessDenied: this identity may not `hold` that.
        NotFound: nothing holds it.
        ValueError: the reason breaks the grammar.
        Refused, Unavailable, NoUsableKey.
    """
    with auditing.acting(session, "hold", f"release {what}", session.environment):
        text = _reason(reason)
        resolved = session.resolve(session.environment)
        logged.demand(session, resolved.rule)
        found = read(session, resolved.context).standing(resolved.context)
        ending = [
            entry
            for entry in found
            if what in (entry.record.subject, entry.digest, names.DIGEST_PREFIX + entry.digest)
        ]
        if not ending:
            raise NotFound(f"Nothing holds {what}.", subject=what, hint="See what is held: mvault hold list")
        for entry in ending:
            removing.authorise(session, resolved, holds.ACTION, entry.record.pattern)
        for entry in ending:
            record = Release(
                vault=resolved.context.vault,
                policy=resolved.context.policy_id,
                hold=entry.digest,
                reason=text,
                created=session.now(),
            )
            told = f"release {entry.record.subject}: {text}"
            _write(session, resolved, holds.RELEASE, holds.encode_release(record), told, None)
        return Released(tuple(_held(entry) for entry in ending))


def _reason(text: str) -> str:
    try:
        return removal.reason(text)
    except Refused as refusal:
        raise ValueError(refusal.message) from None


def _meant(session: Session, resolved: Resolved, what: str | Reference) -> tuple[str, Verified | None]:
    """Give what is to be held: a pattern alone, or a model's name and the version that a reference means.

    Raises:
        ValueError: it is neither.
        Refused, NotFound, Unavailable.
    """
    if isinstance(what, str):
        if ":" not in what and "@" not in what:
            try:
                return policy.pattern(what), None
            except Refused as refusal:
                raise ValueError(refusal.message) from None
        try:
            what = names.reference(what)
        except Refused as refusal:
            raise ValueError(refusal.message) from None
    if what.environment is None and what.version is None and what.digest is None:
        return str(what.model), None
    return str(what.model), _verified(session, resolved, what)


def _verified(session: Session, resolved: Resolved, what: Reference) -> Verified:
    authorised = resolving.anybody(resolved, what.model)
    version, digest = what.version, what.digest
    if what.environment is not None:
        found = resolving.identify(session, session.resolve(what.environment), what)
        version, digest = found.manifest.version, found.digest
    if version is None:
        version = resolving.version_of(session, authorised, what)
    target = Target(version, digest, None, open=False)
    return resolving.verify(
        session, authorised, target, resolving.read_manifest(session, what.model, version)
    )


def _write(
    session: Session, resolved: Resolved, kind: str, payload: bytes, told: str, verified: Verified | None
) -> Digest:
    """Sign and store one hold or release, and log it; give its digest."""
    identity = session.identity
    signer = [(Digest(identity.key_id), identity.sign)]
    data = envelope.serialise(envelope.sign(kind, payload, signer))
    objects.create(session.store, layout.hold(envelope.digest(data)), data)
    digest = envelope.digest(payload)
    logged.change(
        session,
        "hold",
        resolved.rule.name,
        digest,
        required=resolved.rule.require.log is not None,
        subject=audit_record.fitting(told),
        model=None if verified is None else verified.manifest.model,
        version=None if verified is None else verified.manifest.version,
        manifest=None if verified is None else verified.digest,
    )
    return digest
