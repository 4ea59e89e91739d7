"""Promote, approve, withdraw, check and load many models: what is done already is recognised and left."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from vault.actions import (
    approving,
    bulk,
    bulk_references,
    bulk_results,
    checking,
    loading,
    promote,
    recording,
    withdrawing,
)
from vault.actions.approving import Approved
from vault.actions.bulk import Failure
from vault.actions.bulk_references import Asked, Item
from vault.actions.bulk_results import ALREADY, DONE, WOULD, Batch, Done, Run
from vault.actions.check_report import Report
from vault.actions.promote import Promotion
from vault.actions.session import Session
from vault.actions.withdrawing import Withdrawal
from vault.core.in_force import Channel
from vault.core.names import Environment, Reference, Slot
from vault.errors import NotFound

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Many:
    """Which models, by how many threads, and whether to tell only what would be done."""

    asked: tuple[Asked, ...]
    threads: int | None = None
    dry_run: bool = False


def over(
    session: Session,
    many: Many,
    work: Callable[[Session, Item], Done[R]],
    *,
    once: bool = True,
    unlocked: bool = True,
    what: str = "models",
) -> Batch[R]:
    """Work on every model that is asked for, with a session for threads.

    What a pattern found and nobody has seen, because a stranger made a folder there, is skipped.

    Raises:
        ValueError, NotFound: see `bulk_references.expand`.
        NoUsableKey, Refused, Unavailable: nothing can be done at all.
        bulk_results.Interrupted.
    """
    threads = bulk.threads_for(session, many.threads)
    ready = bulk.worker(session, unlocked=unlocked)
    expected = bulk_references.expected(session)
    items = bulk_references.expand(session, many.asked, once=once)

    def stranger(item: Item, error: Failure) -> bool:
        unknown = bulk_references.place_of(item.reference) not in expected
        return item.found and isinstance(error, NotFound) and unknown

    how = Run(lambda item: (item.model, str(item)), stranger, threads, session.progress, what)
    return bulk_results.gather(items, partial(work, ready), how)


def promote_all(session: Session, many: Many, environment: Environment, slot: Slot) -> Batch[Promotion]:
    """Promote each model to a slot of an environment.

    Raises:
        As `over`.
    """

    def work(ready: Session, item: Item) -> Done[Promotion]:
        if many.dry_run:
            return _would_enter(ready, item.reference, Channel(environment, slot, item.model))
        done = bulk.again(lambda: promote.promote(ready, item.reference, environment, slot))
        return Done(item.model, f"{item.model}:{done.version}", ALREADY if done.already else DONE, done)

    return over(session, many, work, what=f"models to {environment}")


def _would_enter(session: Session, reference: Reference, where: Channel) -> Done[Promotion]:
    """Judge a promotion by all that it needs, and write nothing."""
    authorised = promote.authorise(session, reference.model, where.environment)
    source = promote.admit(session, authorised, reference)
    there = recording.look(session, authorised, where).found
    already = there.head is not None and there.manifest == source.digest
    return Done(reference.model, source.subject, ALREADY if already else WOULD, None)


def approve_all(session: Session, many: Many, environment: Environment) -> Batch[Approved]:
    """Approve each model for an environment.

    Raises:
        As `over`.
    """

    def work(ready: Session, item: Item) -> Done[Approved]:
        done = approving.approve(ready, item.reference, environment, dry_run=many.dry_run)
        state = ALREADY if done.already else WOULD if many.dry_run else DONE
        return Done(item.model, str(done.reference), state, done)

    return over(session, many, work, once=False, what=f"models for {environment}")


def withdraw_all(session: Session, many: Many, environment: Environment) -> Batch[Withdrawal]:
    """Withdraw each model's version from an environment, in every slot.

    Raises:
        As `over`.
    """

    def work(ready: Session, item: Item) -> Done[Withdrawal]:
        if many.dry_run:
            already = withdrawing.is_withdrawn(ready, item.reference, environment)
            return Done(item.model, str(item), ALREADY if already else WOULD, None)
        done = bulk.again(lambda: withdrawing.withdraw(ready, item.reference, environment))
        return Done(item.model, str(item), ALREADY if done.already else DONE, done)

    return over(session, many, work, once=False, what=f"models out of {environment}")


def check_all(session: Session, many: Many, *, data: bool) -> Batch[Report]:
    """Check each model: a name or pattern means all its versions and channels, a reference one version.

    Raises:
        As `over`.
    """

    def work(ready: Session, item: Item) -> Done[Report]:
        return Done(item.model, str(item), DONE, checking.of_reference(ready, item.reference, data=data))

    return over(session, many, work, once=False, unlocked=data)


def load_all(session: Session, many: Many, options: dict[str, Any], *, package: bool) -> Batch[Any]:
    """Load each model, or package.

    Raises:
        As `over`.
    """
    load: Callable[[Session, Reference, dict[str, Any]], Any]
    load = loading.load_package if package else loading.load_model

    def work(ready: Session, item: Item) -> Done[Any]:
        return Done(item.model, str(item), DONE, load(ready, item.reference, options))

    return over(session, many, work, once=True)
