"""Hold copying back to so many bytes and requests a second, over all threads together."""

import threading
import time
from collections.abc import Callable
from typing import Final

_BURST_SECONDS: Final = 0.25  # so much may be ahead of its time before anybody waits


class Throttle:
    """Two rates, each None where nothing holds back."""

    def __init__(
        self,
        bytes_per_second: int | None = None,
        requests_per_second: int | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Begin with nothing owed.

        Raises:
            ValueError: a rate is not positive.
        """
        for rate in (bytes_per_second, requests_per_second):
            if rate is not None and rate < 1:
                raise ValueError("A limit is at least 1 a second.")
        self._rates = (bytes_per_second, requests_per_second)
        self._due = [now(), now()]
        self._now, self._sleep = now, sleep
        self._lock = threading.Lock()

    def take(self, size: int, requests: int = 0) -> None:
        """Wait until `size` bytes and so many requests may be sent."""
        wait = 0.0
        with self._lock:
            now = self._now()
            for index, amount in enumerate((size, requests)):
                rate = self._rates[index]
                if rate is not None and amount:
                    self._due[index] = max(self._due[index], now - _BURST_SECONDS) + amount / rate
                    wait = max(wait, self._due[index] - now)
        if wait > 0:
            self._sleep(wait)
