"""Put signed drafts in force, and tell what is in force and what a draft still lacks."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from vault.actions import (
    access_sync,
    auditing,
    ballots,
    compiling,
    draft_files,
    lapsing,
    log_seals,
    logged,
    objects,
    policy_reading,
)
from vault.actions import init as new_vault
from vault.actions.ballots import Ballot, Missing
from vault.actions.draft_files import Draft
from vault.actions.session import Session, Trust
from vault.core import admission, envelope, layout, limits, policy, policy_document, policy_view, trust
from vault.core.names import Digest, Environment, Principal
from vault.core.policy import Policy
from vault.core.policy_diff import Difference, Lifted, Stop, diff
from vault.core.trust import Root
from vault.errors import Conflict, Refused, UntrustedSigner
from vault.ports import Store


@dataclass(frozen=True, slots=True)
class Applied:
    """What was put in force, and what is left to do.

    `granted` are the wrapped copies of environment keys that were made for new
    readers; `waiting` those that somebody else must make who holds the key.
    `left` are environments and who may read there no longer, key services too.
    `stopped` and `lifted` are what was accepted to stop, and to come back.
    """

    policy: int | None
    root: int | None
    already: bool
    stopped: tuple[Stop, ...]
    lifted: tuple[Lifted, ...]
    granted: tuple[tuple[Environment, str], ...]
    waiting: tuple[tuple[Environment, str], ...]
    left: tuple[tuple[Environment, str], ...]


def apply(
    session: Session,
    drafts: Sequence[Draft],
    *,
    accept_outage: bool = False,
    lift_withdrawals: bool = False,
) -> Applied:
    """Put a signed policy, a root, or both in force; the policy first, so that a kill between harms nothing.

    Doing it again finishes what was begun, and is no error.

    Raises:
        UntrustedSigner: too few root holders have signed (`threshold-not-met`).
        Refused: `outage`: channels would stop that are in use; `withdrawal-lapses`: versions that were
            withdrawn would come back.
        Conflict: somebody else was first, or the draft follows something older.
        DigestMismatch, Rollback, Unavailable, NotFound, ValueError: see `ballots.ballot`.
    """
    with auditing.acting(session, "policy", ", ".join(draft.subject for draft in drafts), None):
        return _apply(session, drafts, accept_outage, lift_withdrawals)


def _apply(session: Session, drafts: Sequence[Draft], accept_outage: bool, lift_withdrawals: bool) -> Applied:
    found = ballots.ballot(session, drafts)
    base = found.base or session.trust()
    new_policy = _new_policy(found, base)
    new_root = found.root if found.root is not None and found.root.digest != base.root.digest else None
    if new_policy is not None or new_root is not None:
        require_signed(found)  # a copy of what is in force need not have everybody's signature
    if new_root is not None and new_policy is None:
        _require_policy_signed(session, base, new_root)
    stopped: tuple[Stop, ...] = ()
    lifted: tuple[Lifted, ...] = ()
    if new_policy is not None:
        if found.policy is not None:
            log_seals.prepare(session, new_policy, found.policy.digest)
        lifted = lapsing.lifted(session, new_policy)
        if lifted and not lift_withdrawals:
            raise lapsing.refusal(lifted)
        stopped = policy_reading.stopped(session, new_policy)
        if stopped and not accept_outage:
            raise outage(stopped)
        put(session, found, found.policy)
    if new_root is not None:
        put(session, found, new_root)
        _check_policy_stands(session, base)
    now = session.trust()
    session.memory.advance(admission.trust_seen(now.root, now.policy_id))
    granted, waiting = grant(session)
    return Applied(
        policy=None if found.policy is None else found.policy.document.version,
        root=None if found.root is None else found.root.document.version,
        already=new_policy is None and new_root is None,
        stopped=stopped,
        lifted=lifted,
        granted=granted,
        waiting=waiting,
        left=() if new_policy is None else _left(base.policy, now.policy),
    )


def _new_policy(found: Ballot, base: Trust) -> Policy | None:
    if found.policy is None or not isinstance(found.policy.document, Policy):
        return None
    return None if found.policy.digest == base.policy_id.digest else found.policy.document


def require_signed(found: Ballot) -> None:
    """Demand every threshold that the drafts of a ballot need.

    Raises:
        UntrustedSigner: `threshold-not-met`, naming who could sign.
    """
    for draft in found.drafts:
        for lack in found.missing(draft):
            more = "one more signature" if lack.more == 1 else f"{lack.more} more signatures"
            raise UntrustedSigner(
                f"{draft.subject} needs {more} of the holders of root {lack.root}. "
                f"Waiting for any of: {', '.join(lack.waiting)}.",
                code="threshold-not-met",
                subject=draft.subject,
                hint="They run: mvault policy sign with the same files",
            )


def _require_policy_signed(session: Session, base: Trust, new_root: Draft) -> None:
    """Refuse a root under which the policy in force would count no longer, as it is stored.

    Raises:
        UntrustedSigner: `threshold-not-met`.
    """
    name = layout.policy(base.policy.version)
    data = objects.read_listed(session.store, name, limit=limits.ENVELOPE_BYTES)
    sealed = envelope.parse(data, kind=policy.KIND, subject=name)
    after = new_root.document
    if isinstance(after, Root) and len(trust.voters(after, sealed)) < after.threshold:
        raise UntrustedSigner(
            f"Under {new_root.subject} the policy in force would not count: too few of the new root's "
            "holders have signed it.",
            code="threshold-not-met",
            subject=new_root.subject,
            hint="Apply the policy that was drafted with it at the same time: name both files. If that was "
            "applied alone, draft both anew: mvault root draft",
        )


def outage(stopped: Sequence[Stop]) -> Refused:
    """Say that a change would stop what is in use."""
    first = ", ".join(str(stop.channel) for stop in stopped[:4]) + (", …" if len(stopped) > 4 else "")
    number = "1 channel" if len(stopped) == 1 else f"{len(stopped):,} channels"
    return Refused(
        f"This would stop {number} in use: {first}. Nothing was changed. {stopped[0].reason}",
        code="outage",
        subject=str(stopped[0].channel),
        hint="Adopt those versions or promote others first (mvault policy status DRAFT lists them all), "
        "or say --accept-outage.",
    )


def put(session: Session, found: Ballot, draft: Draft | None) -> None:
    """Create a numbered trust document of a ballot that follows what was in force, once.

    Of two drafts that follow the same one, the lower number counts. So whoever has
    the higher one, because a stranger's object had the lower name when it was
    drafted, takes that first: then no other can turn up below.

    Raises:
        Conflict: another one was first, or a stranger's object has its name.
    """
    base = found.base
    if draft is None or base is None:
        return
    is_policy = draft.kind == policy.KIND
    name = layout.policy if is_policy else layout.root
    before = base.policy.version if is_policy else base.root.root.version
    data = stored(draft, found.keys)
    number = draft.document.version
    logs = log_seals.heads(session)
    for lower in range(before + 1, number):
        with suppress(Conflict):
            objects.create(session.store, name(lower), data)
    now = session.trust()
    if (now.policy_id.digest if is_policy else now.root.digest) == (
        base.policy_id.digest if is_policy else base.root.digest
    ):
        with suppress(Conflict):
            objects.create(session.store, name(number), data)
        now = session.trust()
    # Whoever applies the same draft with other signatures has done the same.
    if draft.digest in (now.root.digest, now.policy_id.digest):
        logged.change(session, draft.kind, None, draft.digest, seq=number)
        log_seals.seal(session, logs, draft.digest)
        return
    raise Conflict(
        f"{draft.subject} was not applied: another {draft.kind} was first, or something lies at "
        f"{name(number)} that is none.",
        subject=draft.subject,
        hint="See what is in force (mvault policy status) and what is wrong (mvault check), then draft anew.",
    )


def _check_policy_stands(session: Session, base: Trust) -> None:
    """Tell of a policy that was applied at the same time as a root under which it does not count.

    Raises:
        Conflict: there is one; what it changed is not in force.
    """
    now = session.trust()
    void = [number for number in now.listing[1] if number > now.policy.version]
    for number in void:
        data = objects.read_listed(session.store, layout.policy(number), limit=limits.ENVELOPE_BYTES)
        with suppress(Refused):
            policy_document.verify(base.root, number, data)
            raise Conflict(
                f"Root {now.root.root.version} is in force now, and policy {number}, which others applied at "
                "the same moment, is not: too few of the new root's holders have signed it.",
                subject=f"policy {number}",
                hint="Draft that change anew: mvault policy draft",
            )


def stored(draft: Draft, keys: Mapping[Digest, bytes]) -> bytes:
    """Give a draft as it is put in force: signatures by `keys` that do not verify are left out."""
    return envelope.serialise(draft_files.keeping(draft, keys).envelope)


# --- founding ---


def found_vault(store: Store, drafts: Sequence[Draft]) -> Ballot:
    """Put the first policy and then the first root of a vault in force: from then on it is one.

    Raises:
        UntrustedSigner: `threshold-not-met`.
        Conflict: there is a vault already, or something else has these names.
        DigestMismatch, ValueError, Unavailable.
    """
    found = ballots.founding(drafts)
    if found.policy is None or found.root is None:
        raise ValueError("A vault is founded by its first policy and its first root; name both drafts.")
    require_signed(found)
    document = found.policy.document
    if not isinstance(document, Policy):
        raise TypeError("The policy of a ballot is one.")
    about = new_vault.readme(found.root.digest, compiling.kind_of(document)).encode("utf-8")
    try:
        objects.create(store, layout.policy(document.version), stored(found.policy, found.keys))
        told = new_vault.create_readme(store, about)
        objects.create(store, layout.root(1), stored(found.root, found.keys))
    except Conflict:
        raise Conflict(
            f"At {store.location} is another vault already, or what is left of one.",
            subject=store.location,
            hint="Use that one (mvault trust), or choose an empty place and begin again: mvault init",
        ) from None
    if not told:
        new_vault.tidy(store, [], about)
    return found


# --- readers ---

Granted = tuple[tuple[Environment, str], ...]


def grant(session: Session) -> tuple[Granted, Granted]:
    """Wrap environment keys for readers who lack a copy; give what was done, and what others must do.

    Raises:
        Refused, Unavailable.
    """
    if session.unlock is None:
        return (), ()
    synced = access_sync.sync(session)
    wanted = dict.fromkeys((copy.environment, copy.who) for copy in synced.plan.writes)
    written = dict.fromkeys((copy.environment, copy.who) for copy in synced.written)
    return tuple(written), tuple(entry for entry in wanted if entry not in written)


def _left(before: Policy, after: Policy) -> Granted:
    """List who could read somewhere and may no longer: they may have kept what they could read."""
    found = []
    for environment in before.environments:
        now = {} if environment not in after.environments else _readers(after, environment)
        had = _readers(before, environment).items()
        found += [(environment, name) for name, keys in had if name not in now or set(keys) - set(now[name])]
    return tuple(found)


def _readers(document: Policy, environment: Environment) -> dict[str, tuple[object, ...]]:
    services = document.environments[environment].key_services
    people = policy.readers(document, environment)
    return {service.key: () for service in services} | {who.name: who.recipients for who in people}


# --- status ---


@dataclass(frozen=True, slots=True)
class Standing:
    """A policy or root: its number, digest and times, and which root holders have signed it.

    For a draft, `missing` says whose signatures it lacks, and `change` what it would do.
    """

    kind: str
    version: int
    era: int
    digest: str
    created: str
    expires: str | None
    signed: tuple[Principal, ...]
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """What is in force, who votes, and what drafts would do; a founding draft has nothing in force."""

    policy: Standing | None
    root: Standing | None
    holders: tuple[Principal, ...]
    threshold: int
    drafts: tuple[Standing, ...]
    change: Difference | None
    proposed: Draft | None


def status(session: Session, drafts: Sequence[Draft] = ()) -> Status:
    """Tell what is in force, who signed it, and what drafts lack and would do.

    Raises:
        Conflict, DigestMismatch, Rollback, Refused, NotFound, Unavailable: see `ballots.ballot`.
    """
    base = session.trust()
    found = ballots.ballot(session, drafts)
    root = base.root.root
    stored = {
        kind: draft_files.parse(objects.read_listed(session.store, name, limit=limits.ENVELOPE_BYTES), name)
        for kind, name in (
            (policy.KIND, layout.policy(base.policy.version)),
            (trust.KIND, layout.root(root.version)),
        )
    }
    change = None
    if isinstance(found.policy and found.policy.document, Policy) and found.policy is not None:
        proposed = found.policy.document
        if isinstance(proposed, Policy) and found.policy.digest != base.policy_id.digest:
            change = diff(
                policy_view.of_policy(base.policy),
                policy_view.of_policy(proposed),
                policy_reading.stopped(session, proposed),
                lapsing.lifted(session, proposed),
            )
    return Status(
        policy=_standing(stored[policy.KIND], root, ()),
        root=_standing(stored[trust.KIND], root, ()),
        holders=tuple(dict.fromkeys(key.name for key in root.keys)),
        threshold=root.threshold,
        drafts=standings(found),
        change=change,
        proposed=found.policy,
    )


def compared(before: Policy, after: Policy) -> Difference:
    """Compare two compiled policies, without looking at what a vault holds."""
    return diff(policy_view.of_policy(before), policy_view.of_policy(after))


def standings(found: Ballot) -> tuple[Standing, ...]:
    """Describe the drafts of a ballot."""
    return tuple(_standing(draft, None, found.missing(draft), found.signed(draft)) for draft in found.drafts)


def _standing(
    draft: Draft, root: Root | None, missing: tuple[Missing, ...], signed: tuple[Principal, ...] = ()
) -> Standing:
    document = draft.document
    return Standing(
        kind=draft.kind,
        version=document.version,
        era=document.era if isinstance(document, Policy) else 0,
        digest=draft.digest,
        created=document.created,
        expires=document.expires,
        signed=signed if root is None else tuple(sorted(trust.voters(root, draft.envelope))),
        missing=missing,
    )
