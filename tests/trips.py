"""A store as far away as the user likes: every request takes a while, is written down, and is counted.

    far = FarStore(store, latency=0.02)
    …
    far.depth        # how many requests had to wait for one another
    print(far.told())

A request is a call of the port that a remote store answers with one: `read`, one listing of up to
1,000 names, `stat`, `delete`, `create`, and `open`, which brings the first bytes and the size. What
is read of an open object beyond them is fetched in parts, as the adapters of remote stores do.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vault.core import limits
from vault.ports import Sink, Source, Stat, Store
from vault.storage.part_reader import PartReader

HEAD = 256 * limits.KIB


@dataclass(frozen=True, slots=True)
class Request:
    """One request: when it began and ended, in seconds, and how many bytes or names it brought."""

    verb: str
    name: str
    began: float
    ended: float


class FarStore:
    """Another store behind a network: `latency` seconds for each request; any number at once."""

    round_trip = True

    def __init__(self, inner: Store, latency: float = 0.0) -> None:
        """Pass everything on to `inner`."""
        self.inner = inner
        self.latency = latency
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    @property
    def location(self) -> str:
        """The location of the store behind."""
        return self.inner.location

    @property
    def depth(self) -> int:
        """How many requests had to wait for one another: the most of which none overlaps another."""
        with self._lock:
            return depth_of(self.requests)

    def forget(self) -> None:
        """Count from here on."""
        with self._lock:
            self.requests.clear()
            self.most_at_once = 0

    def names(self, *verbs: str) -> list[str]:
        """Give what was asked for with these verbs, in the order in which it began."""
        with self._lock:
            found = sorted(self.requests, key=lambda request: request.began)
        return [request.name for request in found if not verbs or request.verb in verbs]

    def told(self) -> str:
        """Tell each request on a line, with the trip that it belongs to."""
        with self._lock:
            found = sorted(self.requests, key=lambda request: request.began)
        return "\n".join(
            f"{depth_of([other for other in found if other.ended <= request.began]) + 1:3} "
            f"{request.verb:12} {request.name}"
            for request in found
        )

    @contextmanager
    def _asking(self, verb: str, name: str) -> Iterator[None]:
        began = time.monotonic()
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        try:
            time.sleep(self.latency)
            yield
        finally:
            with self._lock:
                self._running -= 1
                self.requests.append(Request(verb, name, began, time.monotonic()))

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:
        """Create in the store behind; the request is what commits."""
        with self.inner.create(name, size=size) as sink:
            yield sink
            with self._asking("create", name):
                pass

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:
        """Open in the store behind."""
        with self._asking("open", name):
            opening = self.inner.open(name)
            source = opening.__enter__()
        far = _FarSource(self, source, name)
        try:
            yield far
        finally:
            far.close()
            opening.__exit__(None, None, None)

    def read(self, name: str, *, limit: int) -> bytes:
        """Read from the store behind."""
        with self._asking("read", name):
            return self.inner.read(name, limit=limit)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """List the store behind."""
        return self._listing("list", prefix, self.inner.list(prefix, after=after))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List folders of the store behind."""
        return self._listing("list_folders", prefix, self.inner.list_folders(prefix))

    def _listing(self, verb: str, prefix: str, names: Iterator[str]) -> Iterator[str]:
        with self._asking(verb, prefix):
            found = [*names]
        for place, name in enumerate(found):
            if place and place % 1_000 == 0:
                with self._asking(verb, f"{prefix} (more)"):
                    pass
            yield name

    def delete(self, name: str) -> None:
        """Delete in the store behind."""
        with self._asking("delete", name):
            self.inner.delete(name)

    def stat(self, name: str) -> Stat:
        """Ask the store behind."""
        with self._asking("stat", name):
            return self.inner.stat(name)


class _FarSource(PartReader):
    def __init__(self, store: FarStore, inner: Source, name: str) -> None:
        self._store = store
        self._inner = inner
        self._name = name
        super().__init__(self._fetch_part, inner.size)

    def _fetch_part(self, offset: int, buffer: memoryview) -> None:
        if offset + buffer.nbytes <= HEAD:
            self._inner.read_into(offset, buffer)
            return
        with self._store._asking("read_into", self._name):
            self._inner.read_into(offset, buffer)


def depth_of(requests: list[Request]) -> int:
    """Count the longest row of requests of which each began when the one before it had ended."""
    count, free = 0, float("-inf")
    for request in sorted(requests, key=lambda request: request.ended):
        if request.began >= free:
            count, free = count + 1, request.ended
    return count
