"""Approve a version for an environment: one person's signed word about one manifest digest."""

from dataclasses import dataclass

from vault.actions import auditing, logged, objects, recording, removing, resolving, voting
from vault.actions.auditing import Act
from vault.actions.session import Session
from vault.core import admission, channels, envelope, in_force, layout, names, policy, records
from vault.core.channels import Slots
from vault.core.in_force import Channel
from vault.core.names import Digest, Environment, Reference
from vault.core.records import Approval
from vault.core.stages import Authorised, Target, Verified
from vault.errors import AccessDenied


@dataclass(frozen=True, slots=True)
class Approved:
    """What an approval did: how many count now, of how many, and whom the version waits for.

    `need` is 0 where the environment asks for no approvals.
    """

    reference: Reference
    environment: Environment
    digest: Digest
    already: bool
    have: int
    need: int
    waiting: tuple[names.Principal, ...]


def approve(
    session: Session, reference: Reference, environment: Environment, *, dry_run: bool = False
) -> Approved:
    """Sign that a version may enter an environment, unless this person's vote would not count there.

    That last check is a courtesy: it is loaders that count votes. With `dry_run` nothing is signed.

    Raises:
        AccessDenied: this identity may not approve there, or its approval would not count.
        Refused: the version does not verify, or does not meet what the environment requires.
        NotFound, Unavailable, NoUsableKey.
    """
    with auditing.acting(session, "approve", reference, environment) as act:
        return _approve(session, reference, environment, act, dry_run=dry_run)


def _approve(
    session: Session, reference: Reference, environment: Environment, act: Act, *, dry_run: bool
) -> Approved:
    resolved = session.resolve(environment)
    act.learn(resolved)
    key_id = Digest(session.identity.key_id)
    authorised = admission.authorise(resolved, key_id, "approve", reference.model)
    logged.demand(session, resolved.rule)
    verified = verified_for(session, authorised, reference)
    removing.demand(session, verified)
    admission.require(verified, session.clock())
    seen = recording.look(session, authorised, Channel(environment, names.MAIN, reference.model))
    recording.remember(session, resolved, seen, verified)
    before = _count(session, verified, seen.among)
    _check_counts(verified, before)
    already = _has_approved(session, verified, seen.among)
    silent = already or dry_run
    if not silent:
        _write(session, verified, recording.highest(session, authorised, seen.among))
    after = before if silent else _count(session, verified, seen.among)
    return Approved(
        Reference(reference.model, version=verified.manifest.version),
        environment,
        verified.digest,
        already,
        0 if after is None else len(after.counted),
        0 if after is None else after.rule.threshold,
        () if after is None else after.waiting,
    )


def verified_for(session: Session, authorised: Authorised, reference: Reference) -> Verified:
    """Verify what a reference means, for somebody who need not be able to read it; step 5 for an environment.

    A version or digest may be any that its publishers may publish; a channel
    means what is in force there, a bare name the newest version in dev.

    Raises:
        Refused, NotFound, Unavailable.
    """
    model, version, digest = reference.model, reference.version, reference.digest
    if version is None and digest is not None:
        version = resolving.version_of(session, authorised, reference)
    if version is None:
        place = session.resolve(reference.environment or resolving.DEV)
        found = resolving.identify(session, place, reference)
        version, digest = found.manifest.version, found.digest
    target = Target(version, digest, None, open=False)
    return resolving.verify(session, authorised, target, resolving.read_manifest(session, model, version))


def _count(session: Session, verified: Verified, among: Slots) -> voting.Votes | None:
    return voting.count(
        session,
        verified.authorised.resolved,
        verified.authorised.model,
        verified.manifest.version,
        verified.digest,
        publishers=verified.publishers,
        among=among,
    )


def _check_counts(verified: Verified, votes: voting.Votes | None) -> None:
    """Tell early that this person's approval would not count.

    Raises:
        AccessDenied.
    """
    me = verified.authorised.member
    where = verified.authorised.resolved.rule.name
    if me.kind != policy.PERSON:
        reason = "it is a service, and only people approve"
    elif votes is None:
        return
    elif me.name in votes.excluded:
        reason = f"{me.name} published it, or owns the service that did"
    elif votes.rule.role not in me.roles:
        reason = f"{where} asks for approvals by {votes.rule.role}, a role that {me.name} does not have"
    else:
        return
    waiting = "" if votes is None else ", ".join(votes.waiting)
    raise AccessDenied(
        f"{me.name}'s approval of {verified.subject} would not count in {where}: {reason}. "
        f"Nothing was signed.",
        subject=verified.subject,
        hint=f"Waiting for any of: {waiting}." if waiting else "Ask who may: mvault pending",
    )


def _has_approved(session: Session, verified: Verified, among: Slots) -> bool:
    """Tell whether this person's approval is there already, and no withdrawal came after it."""
    authorised = verified.authorised
    where = Channel(authorised.resolved.rule.name, names.MAIN, authorised.model)
    mine = [
        entry
        for entry in resolving.approvals(
            session, authorised.resolved, where, verified.manifest.version, verified.digest
        )
        if authorised.member.name in entry.signers
    ]
    bar = channels.last_bar(among, verified.digest, mine)
    return any(in_force.approval_order(entry) >= bar for entry in mine)


def _write(session: Session, verified: Verified, seq: int) -> None:
    context = verified.authorised.resolved.context
    record = Approval(
        vault=context.vault,
        policy=context.policy_id,
        model=verified.manifest.model,
        version=verified.manifest.version,
        manifest=verified.digest,
        environment=verified.authorised.resolved.rule.name,
        seq=seq,
        created=session.now(),
    )
    identity = session.identity
    signer = [(Digest(identity.key_id), identity.sign)]
    data = envelope.serialise(envelope.sign(records.APPROVAL, records.encode_approval(record), signer))
    name = layout.approval(record.model, record.version, record.environment, envelope.digest(data))
    objects.create(session.store, name, data)
    logged.change(
        session,
        "approve",
        record.environment,
        envelope.digest(records.encode_approval(record)),
        required=verified.authorised.resolved.rule.require.log is not None,
        model=record.model,
        version=record.version,
        manifest=record.manifest,
        seq=record.seq,
    )
