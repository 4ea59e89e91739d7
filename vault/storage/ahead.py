"""A store that is far away, looked at once for one operation: what is sure to be asked is asked ahead.

Whoever knows what will be asked says so with `Look.expect`; threads fetch it,
and the operation that asks later, in its own order and with its own checks,
finds the answer there or waits for it. An answer that nobody asks for, or an
error in fetching it, comes to nothing. Within a look each question is answered
once: the operation sees one state of the store. Outside of one the store is as it is.

With a cache, what was verified in an earlier look is not fetched again. Of
numbered records the newest is, always: a store that was put back to an older
state may have another record under a number that was in force before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from vault.ports import Sink, Source, Stat, Store, is_far
from vault.storage.ahead_answers import FOLDERS, LIST
from vault.storage.ahead_look import Look
from vault.storage.ahead_pool import Pool
from vault.storage.ahead_traces import Traces
from vault.storage.cached import FolderCache

_LOOK: Final[ContextVar[tuple["AheadStore", Look] | None]] = ContextVar("vault_look", default=None)


class AheadStore:
    """Another store, with answers ahead while something looks at it, and a cache if it is given one."""

    def __init__(self, inner: Store, cache: FolderCache | None = None) -> None:
        """Pass on to `inner`; nothing is asked ahead of a store that answers without a round trip."""
        self.inner = inner
        self.cache = cache
        self.traces = Traces(cache)

    def __getattr__(self, name: str) -> Any:
        """Give what else the store behind can do."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def location(self) -> str:
        """The location of the store behind."""
        return self.inner.location

    @contextmanager
    def look(self, key: str) -> Iterator[Look]:
        """Answer ahead for the calls of this thread within the block; looks with one key are alike."""
        look = Look(self.inner, self.cache, self.traces, Pool() if is_far(self.inner) else None, key)
        token = _LOOK.set((self, look))
        try:
            yield look
        finally:
            _LOOK.reset(token)
            look.close()

    @property
    def inside(self) -> Look | None:
        """The look at the store that this thread is in, if any, though it may be over."""
        found = _LOOK.get()
        return None if found is None or found[0] is not self else found[1]

    @property
    def current(self) -> Look | None:
        """The look at the store that answers this thread, if any."""
        found = self.inside
        return None if found is None or found.over else found

    def read(self, name: str, *, limit: int) -> bytes:
        """Return all bytes of `name`, at most `limit`."""
        look = self.current
        return self.inner.read(name, limit=limit) if look is None else look.read(name, limit)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """Yield the names that start with `prefix` and sort after `after`."""
        look = self.current
        return self.inner.list(prefix, after=after) if look is None else look.list(LIST, prefix, after)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Yield the next path part of the names under `prefix`."""
        look = self.current
        return self.inner.list_folders(prefix) if look is None else look.list(FOLDERS, prefix)

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:
        """Open `name` for reading."""
        look = self.current
        opening = self.inner.open(name) if look is None else look.open(name)
        with opening as source:
            yield source

    def stat(self, name: str) -> Stat:
        """Return what is known about `name`."""
        return self.inner.stat(name)

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:
        """Create `name`."""
        try:
            with self.inner.create(name, size=size) as sink:
                yield sink
        finally:
            self._changed(name)

    def delete(self, name: str) -> None:
        """Remove `name`."""
        try:
            self.inner.delete(name)
        finally:
            self._changed(name)

    def _changed(self, name: str) -> None:
        look = self.current
        if look is not None:
            look.forget(name)
