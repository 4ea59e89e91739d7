"""What a run over many models came to: what was done, what failed and why, and what was not tried."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from vault.actions import bulk
from vault.actions.bulk import Failure, Outcome
from vault.errors import (
    AccessDenied,
    Conflict,
    FormatRefused,
    NotFound,
    NoUsableKey,
    Refused,
    Unavailable,
    VaultError,
)
from vault.ports import Progress, no_progress

I_ = TypeVar("I_")
R = TypeVar("R")

DONE, ALREADY, WOULD = "done", "already", "would"

# From the worst on: the status of a run is that of the worst failure in it (docs/cli.md, "Many models").
_WORST: Final = (
    Refused.exit_status,
    FormatRefused.exit_status,
    AccessDenied.exit_status,
    NoUsableKey.exit_status,
    Conflict.exit_status,
    NotFound.exit_status,
    Unavailable.exit_status,
    2,  # a mistake of the caller's about one model
    1,
)


@dataclass(frozen=True, slots=True)
class Done(Generic[R]):
    """A model with which all went well.

    `state` is `done`, `already` (nothing was to be done) or `would` (a dry run);
    `reference` is what it came to, such as `nepse/NABIL:4`. `result` is None where
    an earlier run did it.
    """

    model: str
    reference: str
    state: str
    result: R | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A model with which it did not go well: what was asked for, and the error."""

    model: str
    asked: str
    error: Failure


@dataclass(frozen=True, slots=True)
class Batch(Generic[R]):
    """What a run came to; each list is in the order in which the models were asked for.

    `left` are those that were not tried, because the run was `stopped`: by an error
    after which no other would fare better, or by Ctrl-C (`Interrupted`). `skipped`
    are those where a stranger's objects lie and nothing else. `began` is when the
    run began that this one went on with, in seconds since 1970; None without one.
    """

    done: tuple[Done[R], ...]
    failed: tuple[Failed, ...]
    left: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    stopped: Failure | None = None
    began: int | None = None

    @property
    def whole(self) -> bool:
        """Whether all of it is done."""
        return not (self.failed or self.left or self.stopped)

    @property
    def exit_status(self) -> int:
        """The status of the worst failure, 0 where there is none."""
        found = {status_of(entry.error) for entry in self.failed}
        if self.stopped is not None:
            found.add(status_of(self.stopped))
        return next((status for status in _WORST if status in found), 0)

    def raise_if_failed(self) -> None:
        """Raise the first error, if there is one.

        Raises:
            VaultError, ValueError, TypeError.
        """
        if self.failed:
            raise self.failed[0].error
        if self.stopped is not None:
            raise self.stopped


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a run was under way: `batch` tells how far it came."""

    def __init__(self, batch: Batch[Any]) -> None:
        """Keep what was done."""
        super().__init__()
        self.batch = batch


def status_of(error: Failure) -> int:
    """Give the exit status that an error has by itself."""
    return error.exit_status if isinstance(error, VaultError) else 2


@dataclass(frozen=True, slots=True)
class Run(Generic[I_]):
    """How to name items, which failures are a stranger's doing, and who is told how far it has come."""

    name: Callable[[I_], tuple[str, str]]  # the model, and what is asked for
    stranger: Callable[[I_, Failure], bool] = lambda item, error: False
    threads: int = bulk.NEAR
    progress: Progress = no_progress
    what: str = "models"


def gather(items: Sequence[I_], work: Callable[[I_], Done[R]], how: Run[I_]) -> Batch[R]:
    """Work on all items, and gather what they came to, in their order.

    Raises:
        Interrupted: Ctrl-C, with what was done until then.
    """
    told: dict[int, Outcome[int, Done[R]]] = {}

    def result(*, interrupted: bool = False) -> Batch[R]:
        return _batch(items, told, how, interrupted=interrupted)

    outcomes = bulk.run(
        range(len(items)),
        lambda place: work(items[place]),
        threads=how.threads,
        progress=how.progress,
        total=len(items),
        what=how.what,
    )
    try:
        for outcome in outcomes:
            told[outcome.item] = outcome
    except KeyboardInterrupt:
        raise Interrupted(result(interrupted=True)) from None
    return result()


def _batch(
    items: Sequence[I_], told: dict[int, Outcome[int, Done[R]]], how: Run[I_], *, interrupted: bool
) -> Batch[R]:
    done: list[Done[R]] = []
    failed: list[Failed] = []
    left: list[str] = []
    skipped: list[str] = []
    for place, item in enumerate(items):
        outcome = told.get(place)
        model, asked = how.name(item)
        if outcome is None:
            left.append(asked)
        elif outcome.result is not None:
            done.append(outcome.result)
        elif outcome.error is not None and how.stranger(item, outcome.error):
            skipped.append(asked)
        elif outcome.error is not None:
            failed.append(Failed(model, asked, outcome.error))
    stopped = None if interrupted or not left else _why(told.values())
    return Batch(tuple(done), tuple(failed), tuple(left), tuple(skipped), stopped)


def _why(outcomes: Iterable[Outcome[int, Done[R]]]) -> Failure | None:
    """Give the error that ended a run: one that is everybody's, else the last."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    return next((error for error in errors if bulk.is_end(error)), errors[-1] if errors else None)
