"""Let threads that want the same thing done at the same time have it done together, by one of them.

While one is at it, others gather; the first of those does it next, for all of
them. So each append to a log carries what came while the last one was on its
way, and threads of one process never race each other for its next number.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from vault.errors import Unavailable, VaultError

T = TypeVar("T")
R = TypeVar("R")

Answer: TypeAlias = R | VaultError


class Together(Generic[T, R]):
    """One thing that is done by one thread at a time, for every thread that asks for it."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._doing = threading.Lock()
        self._gate = threading.Lock()  # has the group that is being joined
        self._group: _Group[T, R] = _Group()

    def ask(self, item: T, do: Callable[[Sequence[T]], Sequence[Answer[R]]]) -> R:
        """Have an item done, with whatever others ask for meanwhile; give its own answer.

        `do` takes items in the order in which they were asked for and gives as many
        answers; of those who were done together, one thread's is called.

        Raises:
            VaultError: the item's answer is one, or `do` failed for all.
        """
        with self._gate:
            group = self._group
            place, leads = len(group.items), not group.items
            group.items.append(item)
        if leads:
            self._lead(group, do)
        else:
            group.ended.wait()
        if group.error is not None:
            raise _again(group.error)
        answer = group.answers[place]
        if isinstance(answer, VaultError):
            raise _again(answer)
        return answer

    def _lead(self, group: "_Group[T, R]", do: Callable[[Sequence[T]], Sequence[Answer[R]]]) -> None:
        try:
            with self._doing:
                with self._gate:
                    self._group = _Group()
                group.answers = do(group.items)
            group.error = None
        except VaultError as error:
            group.error = error
        finally:
            with self._gate:
                if self._group is group:  # interrupted before it was this one's turn
                    self._group = _Group()
            group.ended.set()


class _Group(Generic[T, R]):
    """Items that are done together."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self.answers: Sequence[Answer[R]] = ()
        self.ended = threading.Event()
        self.error: VaultError | None = Unavailable(
            "Another thread, which did this too, was interrupted.", hint="Try again."
        )


def _again(error: VaultError) -> VaultError:
    """Copy an error, since each thread that raises one adds to its traceback."""
    return type(error)(error.message, code=error.code, subject=error.subject, hint=error.hint)
