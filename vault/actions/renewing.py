"""Renew what is due: heads, which takes no key that authorises anything, and root and policy."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vault.actions import auditing, log_seals, logged, objects, renewing_documents, resolving
from vault.actions.freshness import read
from vault.actions.renewing_documents import DueDocument
from vault.actions.session import Session, mark_of
from vault.core import envelope, heads, layout, limits, names
from vault.core.heads import DAY, Heads
from vault.core.in_force import Channel, Signed
from vault.core.memory_format import Mark
from vault.core.names import Digest, Environment, Principal
from vault.core.stages import Resolved
from vault.core.trust import Skipped
from vault.errors import AccessDenied, Conflict, Expired, NotFound, Refused, Unavailable, VaultError

VALID_DAYS = 7
WITHIN_DAYS = 30
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Renewed:
    """New heads of one environment.

    `kept` are the channels whose newest state did not hold when it was looked
    at; of these the heads repeat what was known before, if anything was.
    `remembered` is false where there were heads and this client remembered none:
    then an older state of the store would have been attested like the newest.
    """

    environment: Environment
    number: int
    expires: str
    channels: int
    kept: tuple[Skipped, ...]
    remembered: bool


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a renewal wrote: heads, and root or policy that were due.

    On a dry run `planned` are the environments whose heads would be signed.
    `problem` is what kept a document that was due from being renewed, or heads
    under a policy that has expired; the rest was done all the same.
    """

    heads: tuple[Renewed, ...]
    due: tuple[DueDocument, ...]
    planned: tuple[Environment, ...] = ()
    problem: VaultError | None = None


def renew(
    session: Session,
    environments: Sequence[Environment] = (),
    *,
    valid_days: int = VALID_DAYS,
    within_days: int = WITHIN_DAYS,
    folder: Path | None = None,
    dry_run: bool = False,
) -> Renewal:
    """Renew what is due, and sign new heads for `environments`, by default for all that it may attest.

    A root or policy that expires within `within_days` is drafted anew with only
    the dates changed: put in force at once where this identity's signature is
    enough, else left as a draft in `folder`, by default the current one. A vault
    none of whose environments asks for heads needs none.

    Raises:
        ValueError: heads cannot be valid for so long, or there is no such number of days.
        AccessDenied: this identity may not attest an environment.
        Rollback: the store offers an older state of root, policy or heads than was seen before.
        Conflict: others keep writing heads.
        NotFound, NoUsableKey, Refused, Unavailable.
    """
    if not 1 <= valid_days <= limits.HEADS_DAYS:
        raise ValueError(f"Heads are valid for 1 to {limits.HEADS_DAYS} days, not {valid_days}.")
    if not 0 <= within_days <= limits.DAYS:
        raise ValueError(f"--within is a number of days up to {limits.DAYS:,}.")
    due: tuple[DueDocument, ...] = ()
    problem: VaultError | None = None
    try:
        due = renewing_documents.renew(session, within_days, folder=folder or Path(), dry_run=dry_run)
    except (Conflict, Refused, Unavailable) as error:
        problem = error  # heads are renewed all the same: loads depend on them
    try:
        with auditing.acting(session, "attest", "heads", None):
            chosen = _chosen(session, environments)
    except AccessDenied:
        if environments or not due:
            raise
        chosen = ()  # a root holder who renewed root or policy, and attests nothing
    if dry_run:
        return Renewal((), due, chosen, problem)
    written: list[Renewed] = []
    try:
        for environment in chosen:
            with auditing.acting(session, "attest", f"heads of {environment}", environment):
                written.append(_renew(session, environment, valid_days))
    except Expired as error:
        if not due and problem is None:
            raise
        problem = problem or error
    return Renewal(tuple(written), due, problem=problem)


def _chosen(session: Session, environments: Sequence[Environment]) -> tuple[Environment, ...]:
    current = session.trust().policy
    asking = [name for name, rule in current.environments.items() if rule.require.fresh is not None]
    if not environments and not asking:
        return ()
    key_id = Digest(session.identity.key_id)
    member = current.holder(key_id) if key_id in current.counting_keys() else None
    who = None if member is None else member.name
    allowed = [] if who is None else [name for name in current.environments if _may(session, who, name)]
    refused = [name for name in environments if name not in allowed and name in current.environments]
    if refused or (not environments and not allowed):
        places = ", ".join(refused or asking)
        raise AccessDenied(
            f"{who or 'This identity'} may not attest {places}, so it cannot renew the heads there.",
            subject=places,
            hint="Use the identity of the service that has `attest`: --identity FILE, MVAULT_IDENTITY.",
        )
    return tuple(dict.fromkeys(environments or allowed))


def _may(session: Session, who: Principal, environment: Environment) -> bool:
    return heads.may_attest(session.trust().policy, who, environment)


def _renew(session: Session, environment: Environment, valid_days: int) -> Renewed:
    """Look at every channel and write what was found; whoever was first meanwhile is looked at too."""
    tried: set[int] = set()  # a listing does not tell of everything that has a name, such as a folder
    for _ in range(_ATTEMPTS):
        resolved = session.resolve(environment)
        found = session.trust()
        before = read(session.store, resolved.context, found.root, environment, None)
        channels, kept = _look(session, resolved, before.heads)
        if session.trust() is not found:
            continue  # a policy was signed meanwhile, and channels may have been judged by it
        top = 0 if before.heads is None else before.heads.record.number
        seen = resolved.remembered.heads.get(environment)
        if seen is not None and seen.era == resolved.context.policy_id.era:
            top = max(top, seen.number)  # their signer may not attest any more; clients remember them
        number = objects.lowest_free({*before.listing, *tried}, top, f"the heads of {environment}")
        now = session.clock()
        statement = Heads(
            vault=resolved.context.vault,
            environment=environment,
            number=number,
            root=(found.root.root.version, found.root.digest),
            policy=resolved.context.policy_id,
            channels=channels,
            created=names.time_text(now),
            expires=names.time_text(now + valid_days * DAY),
            log=log_seals.head_of(session, environment),
        )
        try:
            objects.create(
                session.store, layout.heads(environment) + layout.numbered(number), _sign(session, statement)
            )
        except Conflict:
            tried.add(number)
            continue
        session.resolve(environment)  # remembers them, as any reader does
        logged.change(session, "attest", environment, envelope.digest(heads.encode(statement)), seq=number)
        known = seen is not None or before.heads is None
        return Renewed(environment, number, statement.expires, len(channels), kept, known)
    raise Conflict(f"Others keep writing heads of {environment}.", subject=environment, hint="Try again.")


def _sign(session: Session, statement: Heads) -> bytes:
    signer = [(Digest(session.identity.key_id), session.identity.sign)]
    return envelope.serialise(envelope.sign(heads.KIND, heads.encode(statement), signer))


def _look(
    session: Session, resolved: Resolved, before: Signed[Heads] | None
) -> tuple[dict[str, Mark], tuple[Skipped, ...]]:
    """Give what each channel comes to; of one that does not hold, what was known of it before.

    One channel that somebody tampered with must not keep all others from being
    attested, nor may the heads follow it back.

    Raises:
        Unavailable: the store failed.
    """
    environment = resolved.rule.name
    attested = {} if before is None else before.record.channels
    remembered = {
        key.partition("/")[2]: mark
        for key, mark in resolved.remembered.channels.items()
        if key.startswith(f"{environment}/")
    }
    found: dict[str, Mark] = {}
    kept = []
    places = _places(session, environment, [*attested, *remembered])
    for done, key in enumerate(places):
        session.progress(done, len(places), f"channels of {environment}")
        slot, _, model = key.partition("/")
        where = Channel(environment, names.slot(slot), names.model(model))
        try:
            head = resolving.channel(session, resolving.anybody(resolved, where.model), where).head
            session.remember(resolved, (where, head))
        except (Refused, NotFound) as error:
            kept.append(Skipped(str(where), error.message, error.code))
            known = [mark for mark in (attested.get(key), remembered.get(key)) if mark is not None]
            if known:
                found[key] = max(known, key=lambda mark: mark.order)
            continue
        if head is not None:
            found[key] = mark_of(resolved.context, head)
    return found, tuple(kept)


def _places(session: Session, environment: Environment, known: Collection[str]) -> list[str]:
    """List the environment's channels that the store has records of, and those known before."""
    return sorted({*_listed(session, environment), *known})


def _listed(session: Session, environment: Environment) -> Iterator[str]:
    folder = layout.slots(environment)
    for name in session.store.list(folder):
        key, mark, leaf = name.removeprefix(folder).rpartition(f"/{layout.MARK}/")
        slot, _, model = key.partition("/")
        if not mark or layout.parse_number(leaf) is None:
            continue
        try:
            yield heads.channel_key(names.slot(slot), names.model(model))
        except Refused:
            continue  # a stranger's object
