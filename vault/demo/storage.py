"""The storage as the demo's attacker has it: anything may be changed there, and everything is put back."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from vault.core import limits
from vault.errors import NotFound
from vault.ports import Sink, Source, Stat, Store

_READ: Final = 64 * limits.MIB  # no object of the demo is larger


class Storage:
    """A store (`vault.ports.Store`) that keeps what lay under each name before it was first changed here.

    What others write meanwhile, as a service does its records, is left alone.
    """

    def __init__(self, store: Store) -> None:
        """Change `store`, and nothing else."""
        self._store = store
        self._before: dict[str, bytes | None] = {}

    # --- the attacker's own verbs ---

    def get(self, name: str) -> bytes:
        """Read an object.

        Raises:
            NotFound, Unavailable: as `Store.read`.
        """
        return self._store.read(name, limit=_READ)

    def put(self, name: str, data: bytes) -> None:
        """Put bytes under a name, whatever was there."""
        self.delete(name)
        with self.create(name, size=len(data)) as sink:
            sink.write(data)

    def names(self, prefix: str) -> list[str]:
        """Name every object below a prefix."""
        return list(self._store.list(prefix))

    def remove(self, prefix: str) -> None:
        """Remove every object below a prefix."""
        for name in self.names(prefix):
            self.delete(name)

    def copy(self, source: str, target: str) -> None:
        """Put a folder, whose name ends in `/`, in the place of another."""
        self.remove(target)
        for name in self.names(source):
            self.put(target + name.removeprefix(source), self.get(name))

    def changed(self) -> bool:
        """Tell whether anything is other than it was before."""
        return any(self._now(name) != data for name, data in self._before.items())

    def restore(self) -> None:
        """Put every byte back, and remove what was added."""
        for name, data in self._before.items():
            if self._now(name) == data:
                continue
            self._store.delete(name)
            if data is not None:
                with self._store.create(name, size=len(data)) as sink:
                    sink.write(data)
        self._before.clear()

    # --- the port ---

    @property
    def location(self) -> str:
        """The location of the store."""
        return self._store.location

    @contextmanager
    def create(self, name: str, *, size: int | None = None) -> Iterator[Sink]:
        """Create an object, as `Store.create`."""
        self._keep(name)
        with self._store.create(name, size=size) as sink:
            yield sink

    def open(self, name: str) -> AbstractContextManager[Source]:
        """Open an object, as `Store.open`."""
        return self._store.open(name)

    def read(self, name: str, *, limit: int) -> bytes:
        """Read an object, as `Store.read`."""
        return self._store.read(name, limit=limit)

    def list(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """List names, as `Store.list`."""
        return self._store.list(prefix, after=after)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List the next parts of names, as `Store.list_folders`."""
        return self._store.list_folders(prefix)

    def delete(self, name: str) -> None:
        """Remove an object, as `Store.delete`."""
        self._keep(name)
        self._store.delete(name)

    def stat(self, name: str) -> Stat:
        """Look at an object, as `Store.stat`."""
        return self._store.stat(name)

    def _keep(self, name: str) -> None:
        if name not in self._before:
            self._before[name] = self._now(name)

    def _now(self, name: str) -> bytes | None:
        try:
            return self.get(name)
        except NotFound:
            return None
