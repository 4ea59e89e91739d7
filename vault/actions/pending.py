"""Tell what waits for whom: versions that could enter an environment, and the people whose turn it is."""

from collections.abc import Iterator
from dataclasses import dataclass

from vault.actions import attesting, removing, resolving, voting
from vault.actions.checking import models
from vault.actions.session import Session
from vault.core import admission, names, policy
from vault.core.channels import Slots
from vault.core.in_force import Channel, Signed
from vault.core.names import Digest, Environment, Model, Principal, Reference, Version
from vault.core.policy import Member
from vault.core.stages import Resolved, Target, Verified
from vault.errors import NotFound, Refused, Rollback

TEST = "load-test"
APPROVE = "approve"
PROMOTE = "promote"


@dataclass(frozen=True, slots=True)
class Wait:
    """A version on its way into an environment: the next step, and any of whom it waits for.

    `have` of `need` approvals count; `need` is 0 where none are asked for.
    `replaces` is the version that the environment uses now. `command` is what
    one of `waiting` runs.
    """

    model: Model
    version: Version
    environment: Environment
    digest: str
    step: str
    have: int
    need: int
    waiting: tuple[Principal, ...]
    replaces: Version | None
    command: str


def pending(session: Session, *, mine: bool = False) -> list[Wait]:
    """List what waits, by model and environment; with `mine` only what waits for this identity.

    Of each model's versions that are newer than what an environment uses, the
    newest is listed, and every one that somebody has approved or promoted.

    Raises:
        Refused, NotFound, Unavailable; NoUsableKey with `mine`.
    """
    who: Principal | None = None
    if mine:
        member = session.trust().policy.holder(Digest(session.identity.key_id))
        who = None if member is None else member.name
    found = []
    able: dict[tuple[Digest, Environment], tuple[Member, ...]] = {}
    for model in models(session):
        for environment in session.trust().policy.environments:
            resolved = session.resolve(environment)
            place = (resolved.context.policy_id.digest, environment)
            if place not in able:
                able[place] = _able(resolved)
            found += [
                entry
                for entry in _waiting(session, resolved, model, able[place])
                if not mine or who in entry.waiting
            ]
    return found


def _able(resolved: Resolved) -> tuple[Member, ...]:
    """Give who may promote any model at all to an environment, holding a key that counts."""
    current = resolved.context.policy
    keys = current.counting_keys()
    return tuple(
        member
        for member in current.members.values()
        if any(policy.grants(current, member.name, "promote", resolved.rule.name))
        and any(key.key_id in keys for key in member.keys)
    )


def _waiting(session: Session, resolved: Resolved, model: Model, able: tuple[Member, ...]) -> Iterator[Wait]:
    environment = resolved.rule.name
    promoters = _promoters(resolved, model, able)
    if not promoters:
        return
    anybody = resolving.anybody(resolved, model)
    among = resolving.slots(session, resolved, model)
    current = None
    try:
        found = resolving.channel(session, anybody, Channel(environment, names.MAIN, model), among)
        current = None if found.naming is None or found.manifest is None else found.naming.record.version
    except Rollback:
        raise
    except (Refused, NotFound):
        pass  # what it names was altered, as a load tells; what waits is another matter
    first = True
    for version in resolving.version_names(session, model):
        if current is not None and names.version_order(version) <= names.version_order(current):
            return
        entry = _wait(session, resolved, model, version, among, promoters)
        if entry is None:
            continue
        wait, begun = entry
        released = names.version_order(version).released
        if begun or (first and released):  # a pre-release waits only where somebody wants it
            first = first and not released
            yield _replacing(wait, current)


def _replacing(wait: Wait, current: Version | None) -> Wait:
    return Wait(
        wait.model,
        wait.version,
        wait.environment,
        wait.digest,
        wait.step,
        wait.have,
        wait.need,
        wait.waiting,
        current,
        wait.command,
    )


def _promoters(
    resolved: Resolved, model: Model, able: tuple[Member, ...]
) -> dict[Principal, tuple[Environment, ...]]:
    """Give those of the able who may promote this model to an environment, and from where."""
    current = resolved.context.policy
    found = {}
    for member in able:
        sources = policy.sources(current, member.name, model, resolved.rule.name)
        places = tuple(
            place for place in sources if policy.decide(current, member.name, "load", model, place).allowed
        )
        if places:
            found[member.name] = places
    return found


def _wait(
    session: Session,
    resolved: Resolved,
    model: Model,
    version: Version,
    among: Slots,
    promoters: dict[Principal, tuple[Environment, ...]],
) -> tuple[Wait, bool] | None:
    """Say what a version waits for, and whether anybody began; None where it cannot enter as it is."""
    reference = Reference(model, version=version)
    try:
        verified = _verified(session, resolved, model, version)
        removing.demand(session, verified)
        admission.require(verified, session.clock())
        able = tuple(
            sorted(
                who
                for who, places in promoters.items()
                if any(_is_there(session, place, reference) for place in places)
            )
        )
    except Rollback:
        raise
    except (Refused, NotFound):
        return None
    if not able or _was_barred(among, verified.digest):
        return None
    votes = voting.count(
        session, resolved, model, version, verified.digest, publishers=verified.publishers, among=among
    )
    environment = resolved.rule.name
    recorded = any(
        isinstance(entry, Signed) and entry.record.manifest == verified.digest
        for place in among.places.values()
        for entry in place
    )
    begun = recorded or (votes is not None and bool(votes.counted))
    step, waiting = PROMOTE, able
    if attesting.is_missing(session, verified):
        step, waiting = TEST, attesting.testers(resolved, model)
    elif votes is not None and not votes.enough:
        step, waiting = APPROVE, votes.waiting
    wait = Wait(
        model,
        version,
        environment,
        f"sha256:{verified.digest}",
        step,
        0 if votes is None else len(votes.counted),
        0 if votes is None else votes.rule.threshold,
        waiting,
        None,
        f"mvault {TEST} {reference}" if step == TEST else f"mvault {step} {reference} --env {environment}",
    )
    return wait, begun


def _verified(session: Session, resolved: Resolved, model: Model, version: Version) -> Verified:
    data = resolving.read_manifest(session, model, version)
    target = Target(version, None, None, open=False)
    return resolving.verify(session, resolving.anybody(resolved, model), target, data)


def _is_there(session: Session, place: Environment, reference: Reference) -> bool:
    """Tell whether a version may be used in an environment, so that it can be promoted from there."""
    try:
        resolving.identify(session, session.resolve(place), reference)
    except Rollback:
        raise
    except (Refused, NotFound):
        return False
    return True


def _was_barred(among: Slots, digest: Digest) -> bool:
    """Tell whether a version was withdrawn from the environment; whoever wants it back knows."""
    return among.bar(digest, since=(0, 0)) is not None
