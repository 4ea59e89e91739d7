"""Do one piece of work for each of many models, several at a time, and tell what became of each.

One that fails is no end of the others. What would fail for all of them alike
ends the run: what was begun is ended, and the rest is left as it was.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Generic, TypeVar

from vault.actions.session import Session
from vault.errors import Conflict, VaultError
from vault.ports import Progress, is_far, no_progress

I_ = TypeVar("I_")
R = TypeVar("R")

# A mistake of the caller's about one model, such as predictions that differ, is no end of the others either.
Failure = VaultError | ValueError | TypeError

NEAR: Final = 8  # threads beside a store at hand: they wait for the disk, and for one another
FAR: Final = 16  # beside one that is asked over a network
PATIENCE: Final = 8  # so many in a row may fail for a reason that may be everybody's

# No other model will fare better: there is no room, or no key to do anything with.
_AT_ONCE: Final = frozenset(
    {"storage-full", "no-usable-key", "not-trusted", "memory-damaged", "no-such-vault"}
)
# Another model may, unless it is the rule.
_AS_A_RULE: Final = frozenset(
    {
        *("unavailable", "storage-denied", "access-denied", "key-service-denied", "no-audit-record"),
        *("expired", "heads-expired", "withheld", "missing-library"),
    }
)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[I_, R]):
    """What came of one item: a result, or the error."""

    item: I_
    result: R | None
    error: Failure | None


def run(
    items: Iterable[I_],
    work: Callable[[I_], R],
    *,
    threads: int,
    progress: Progress = no_progress,
    total: int = 0,
    what: str = "models",
) -> Iterator[Outcome[I_, R]]:
    """Work on items by several threads; give what came of each as it is done, in the caller's thread.

    Few items are taken ahead, so that memory does not grow with their number;
    they are taken in the caller's thread too. `progress` is told how many of
    `total` are done, after each. The run ends early, without an exception, when
    an outcome says that no other item would fare better (`is_end`): what was
    begun is ended and given too. So it is with Ctrl-C, which is raised after that.

    Raises:
        KeyboardInterrupt: Ctrl-C; a second one does not wait for what was begun.
        Exception: whatever else `work` raises, which is a defect; what was begun has then ended.
    """
    crew = _Crew(iter(items), work, max(1, threads))
    in_a_row = 0
    for done, outcome in enumerate(crew.outcomes(), start=1):
        progress(done, max(total, done), what)
        yield outcome
        in_a_row = in_a_row + 1 if code_of(outcome.error) in _AS_A_RULE else 0
        if is_end(outcome.error) or in_a_row >= PATIENCE:
            crew.taking = False


def code_of(error: Failure | None) -> str:
    """Give the code of what became of an item; nothing where it succeeded."""
    if error is None:
        return ""
    return error.code if isinstance(error, VaultError) else "usage"


def is_end(error: Failure | None) -> bool:
    """Tell whether no other item would fare better."""
    return code_of(error) in _AT_ONCE


def worker(session: Session, *, unlocked: bool = True) -> Session:
    """Give the session that threads work with: unlocked, with the trust documents read, and silent.

    Everything else is the session's own, which all threads may use: its memory,
    its audit and what it keeps of keys are safe for several, and what they append
    to a log goes there together (`log_groups`). What needs no key need not be `unlocked`.

    Raises:
        NoUsableKey, Refused, NotFound, Unavailable.
    """
    session.trust()
    if unlocked and session.unlock is not None:
        _ = session.identity  # asks for a passphrase, which threads could not
    return replace(session, progress=no_progress)


def threads_for(session: Session, wanted: int | None) -> int:
    """Give the number of threads: the caller's, else by how far away the store is.

    Raises:
        ValueError: no such number.
    """
    if wanted is None:
        return FAR if is_far(session.store) else NEAR
    if not 1 <= wanted <= 64:
        raise ValueError("threads= is 1 to 64.")
    return wanted


def again(work: Callable[[], R]) -> R:
    """Do what changes nothing when it is done already, and once more where somebody else was first.

    Raises:
        Whatever `work` raises the second time.
    """
    with suppress(Conflict):
        return work()
    return work()


class _Crew(Generic[I_, R]):
    """Threads at work; they take nothing new once `taking` is false."""

    def __init__(self, items: Iterator[I_], work: Callable[[I_], R], threads: int) -> None:
        self.taking = True
        self._items = items
        self._work = work
        self._threads = threads
        self._interrupted: KeyboardInterrupt | None = None

    def outcomes(self) -> Iterator[Outcome[I_, R]]:
        with ThreadPoolExecutor(self._threads, thread_name_prefix="bulk") as pool:
            running: set[Future[Outcome[I_, R]]] = set()
            try:
                while True:
                    if self.taking:
                        ahead = islice(self._items, 2 * self._threads - len(running))
                        running |= {pool.submit(_attempt, self._work, item) for item in ahead}
                    else:
                        running = {future for future in running if not future.cancel()}
                    if not running:
                        break
                    ended, running = self._wait(running)
                    for future in ended:
                        yield future.result()
            finally:
                for future in running:
                    future.cancel()
        if self._interrupted is not None:
            raise self._interrupted

    def _wait(
        self, running: set[Future[Outcome[I_, R]]]
    ) -> tuple[set[Future[Outcome[I_, R]]], set[Future[Outcome[I_, R]]]]:
        try:
            ended, left = wait(running, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt as interrupt:
            if self._interrupted is not None:
                raise
            self._interrupted, self.taking = interrupt, False
            return set(), running
        return ended, left


def _attempt(work: Callable[[I_], R], item: I_) -> Outcome[I_, R]:
    try:
        return Outcome(item, work(item), None)
    except (VaultError, ValueError, TypeError) as error:
        return Outcome(item, None, error)
