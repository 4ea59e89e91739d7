"""Threads that share the units of one payload, and the ordered sections that they pass through."""

import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Final

from vault import errors

MOST_THREADS: Final = 16  # the ordered digest leaves nothing to do for more


class Stopped(Exception):
    """Another thread has failed; this one has nothing more to do."""


class Turns:
    """An ordered section: threads pass it in the order of their units.

    Unit u belongs to thread u mod threads, so one gate per thread is enough, and handing on wakes
    only the thread whose turn it is.
    """

    def __init__(self, threads: int) -> None:
        self._gates: list[SimpleQueue[None]] = [SimpleQueue() for _ in range(threads)]
        self._gates[0].put(None)
        self._stopped = False

    def enter(self, unit: int) -> None:
        """Wait until every earlier unit has left.

        Raises:
            Stopped: a thread of the crew has failed.
        """
        self._gates[unit % len(self._gates)].get()
        if self._stopped:
            raise Stopped

    def leave(self, unit: int) -> None:
        """Let the next unit in."""
        self._gates[(unit + 1) % len(self._gates)].put(None)

    def stop(self) -> None:
        """Wake everybody who waits, and let nobody in any more."""
        self._stopped = True
        for gate in self._gates:
            gate.put(None)


class Crew:
    """Threads that share the units of one payload and all stop when one of them fails."""

    def __init__(self, threads: int | None, units: int | None) -> None:
        wanted = min(_cores(), MOST_THREADS) if threads is None else threads
        if wanted < 1:
            raise ValueError("at least one thread is needed")
        self.threads = wanted if units is None else min(wanted, units)
        self._turns: list[Turns] = []
        self._failures: list[BaseException] = []

    def turns(self) -> Turns:
        """Return a new ordered section of this crew."""
        self._turns.append(Turns(self.threads))
        return self._turns[-1]

    def run(self, work: Callable[[int], None]) -> None:
        """Call `work` with 0 here and with 1, 2, … in other threads; return when all have ended.

        Raises:
            Exception: the first that any of them raised.
        """
        others = [
            Thread(target=self._guard, args=(work, index), name=f"sealing-{index}", daemon=True)
            for index in range(1, self.threads)
        ]
        try:
            for thread in others:
                thread.start()
        except RuntimeError:
            self._fail(errors.Unavailable("The system lets this process start no more threads."))
        except BaseException as failure:  # an interrupt
            self._fail(failure)
        else:
            self._guard(work, 0)
        for thread in others:
            self._join(thread)
        if self._failures:
            raise self._failures[0]

    def _guard(self, work: Callable[[int], None], index: int) -> None:
        try:
            work(index)
        except Stopped:
            pass
        except BaseException as failure:
            self._fail(failure)

    def _join(self, thread: Thread) -> None:
        while thread.is_alive():
            try:
                thread.join()
            except BaseException as failure:  # an interrupt: the others stop first, then it goes on
                self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        self._failures.append(failure)
        for turns in self._turns:
            turns.stop()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
