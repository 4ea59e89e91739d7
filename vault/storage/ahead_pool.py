"""Threads that fetch what will be asked for; they live as long as one look."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

THREADS: Final = 32  # a look asks for about twenty-five things at once, and mostly waits
EVERYWHERE: Final = 128  # threads of all looks of this process together

_free = threading.Semaphore(EVERYWHERE)


class Pool:
    """Threads that fetch; none is started before there is something to fetch for it."""

    def __init__(self, threads: int = THREADS) -> None:
        """Start nothing yet."""
        self._most = threads
        self._threads = 0
        self._idle = 0
        self._closed = False
        self._tasks: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()

    def submit(self, task: Callable[[], None]) -> bool:
        """Have a task done that raises nothing; tell whether anybody will do it."""
        with self._changed:
            if self._closed:
                return False
            self._tasks.append(task)
            if self._idle >= len(self._tasks):
                self._changed.notify()
                return True
            if self._threads >= self._most or not _free.acquire(blocking=False):
                return self._threads > 0
            self._threads += 1
        try:
            # Nobody waits for these at the end of a process: what they fetch then goes nowhere.
            threading.Thread(target=self._work, name="store-ahead", daemon=True).start()
        except RuntimeError:  # no more threads
            _free.release()
            with self._changed:
                self._threads -= 1
                return self._threads > 0
        return True

    def close(self) -> None:
        """Begin nothing more; what is being fetched ends by itself, and goes nowhere."""
        with self._changed:
            self._closed = True
            self._tasks.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while (task := self._next()) is not None:
                task()
        finally:
            _free.release()

    def _next(self) -> Callable[[], None] | None:
        """Wait for a task; None when there are no more."""
        with self._changed:
            self._idle += 1
            while not self._tasks and not self._closed:
                self._changed.wait()
            self._idle -= 1
            return None if self._closed else self._tasks.popleft()
