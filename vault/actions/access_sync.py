"""Write the wrapped copies of environment keys that readers and recovery recipients lack."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vault.actions import access_plan, auditing, key_services, keyring, logged
from vault.actions.access_plan import MISSING, PRESENT, Copy, Holder
from vault.actions.session import Session
from vault.core.names import Environment, Principal
from vault.core.policy import Policy
from vault.core.trust import Skipped
from vault.errors import MissingLibrary, NotFound, NoUsableKey, Refused, Unavailable


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a sync is to write: `writes`, and `present`, how many copies are there already."""

    writes: tuple[Copy, ...]
    present: int


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync wrote, what it could not write for want of the environment's key, and what failed."""

    plan: SyncPlan
    written: tuple[Copy, ...]
    locked: tuple[Copy, ...]
    problems: tuple[Skipped, ...]

    @property
    def complete(self) -> bool:
        """Tell whether nothing that was planned is missing now."""
        return len(self.written) == len(self.plan.writes)


def plan(session: Session, environment: Environment | None = None, *, again: Iterable[str] = ()) -> SyncPlan:
    """List the copies that are missing, in every epoch of the policy: who reads now reads old models too.

    The principals, and keys of services, in `again` get new copies even where some
    are, which may be a stranger's: only they can tell that theirs do not open.

    Raises:
        NotFound: there is no such environment.
        ValueError: somebody in `again` reads nowhere.
        NoUsableKey, Refused, Unavailable.
    """
    policy = session.trust().policy
    anew = frozenset(again)
    known: set[str] = {
        holder.name for name in policy.environments for holder in access_plan.holders(policy, name)
    }
    known |= {service.key for rule in policy.environments.values() for service in rule.key_services}
    if anew - known:
        raise ValueError(f"{', '.join(sorted(anew - known))}: no reader is called that.")
    found = [
        copy
        for name in access_plan.environments(policy, environment)
        for copy in access_plan.copies(session, policy, name, own=session.identity)
        if copy.state in (PRESENT, MISSING)
    ]
    writes = tuple(copy for copy in found if copy.state == MISSING or copy.who in anew)
    return SyncPlan(writes, len(found) - len(writes))


def sync(
    session: Session,
    environment: Environment | None = None,
    *,
    again: Iterable[str] = (),
    dry_run: bool = False,
    planned: Callable[[SyncPlan], None] | None = None,
) -> Synced:
    """Write the copies that are missing; `planned` is told the plan before anything is done.

    This identity must hold the environment's key: what it does not hold is
    reported as locked. What was written stays, so that a sync that was ended goes on.

    Raises:
        NotFound: there is no such environment.
        NoUsableKey: there is no identity.
        Refused, Unavailable.
    """
    with auditing.acting(session, "access", "keys of readers", environment):
        todo = plan(session, environment, again=again)
        if planned is not None:
            planned(todo)
        if dry_run:
            return Synced(todo, (), (), ())
        return write(session, todo)


def write(session: Session, todo: SyncPlan) -> Synced:
    """Write what a plan lists; a copy that cannot be written does not stop the others.

    Raises:
        Unavailable: the store failed.
    """
    policy = session.trust().policy
    written: list[Copy] = []
    locked: list[Copy] = []
    problems: list[Skipped] = []
    for done, copy in enumerate(todo.writes):
        session.progress(done, len(todo.writes), "copies of environment keys")
        try:
            private = keyring.environment_key(session, copy.environment, copy.epoch)
        except NoUsableKey:
            locked.append(copy)
            continue
        except Refused as refusal:
            problems.append(Skipped(f"{copy.environment} epoch {copy.epoch}", refusal.message, refusal.code))
            continue
        if copy.service is not None:
            try:
                data = key_services.wrap(
                    session, copy.service, copy.environment, copy.epoch, private.encode()
                )
            except (Refused, NoUsableKey, Unavailable, MissingLibrary) as error:  # it stops no other copy
                problems.append(Skipped(copy.who, str(error), error.code))
                continue
            key_services.store_copy(session.store, copy.service, copy.environment, copy.epoch, data)
            written.append(copy)
            continue
        try:
            to = access_plan.recipient_of(session, _holder(policy, copy))
        except (NotFound, Refused) as error:
            problems.append(Skipped(copy.who, error.message, error.code))
            continue
        keyring.wrap_environment_key(
            session.store, private, copy.environment, copy.epoch, Principal(copy.who), to, session.random
        )
        written.append(copy)
    if written:
        whom = ", ".join(dict.fromkeys(f"{copy.environment} for {copy.who}" for copy in written))
        logged.change(session, "access", None, session.trust().policy_id.digest, subject=f"keys of {whom}")
    return Synced(todo, tuple(written), tuple(locked), tuple(problems))


def _holder(policy: Policy, copy: Copy) -> Holder:
    return next(
        holder
        for holder in access_plan.holders(policy, copy.environment)
        if holder.name == copy.who and holder.recipient.digest.startswith(copy.recipient)
    )
