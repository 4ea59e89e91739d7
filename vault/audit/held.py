"""Hold audit records in memory, where nothing may be written on this machine; see `vault.audit.intake`."""

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from vault.audit.intake_file import Entry, Waiting
from vault.core import limits
from vault.errors import Unavailable
from vault.ports import Random


class Held:
    """Records of this process, until they are in the store's log; lost with the process otherwise."""

    def __init__(self, random: Random) -> None:
        """Begin empty, as an instance of its own."""
        self._random = random
        self.begin()
        _HELD.add(self)

    def begin(self) -> None:
        """Be another instance, without records: what a forked process copied is its parent's to store."""
        self.instance = self._random(8).hex()
        self._entries: dict[bytes, bytes] = {}
        self._size = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep records, in this order.

        Raises:
            Unavailable: too many wait already (`storage-full`).
        """
        with self._lock:
            size = sum(len(entry.data) for entry in entries)
            if self._size + size > limits.AUDIT_HELD_BYTES:
                raise Unavailable(
                    "Too many audit records wait in memory for the store.",
                    code="storage-full",
                    hint="Let this identity write to the store, or name a folder: MVAULT_AUDIT.",
                )
            self._entries |= {entry.record_id: entry.data for entry in entries}
            self._size += size

    def waiting(self) -> Waiting:
        """Count the records that are not in the log yet."""
        with self._lock:
            return Waiting(len(self._entries), self._size, None)

    @contextmanager
    def integrating(self, *, wait: float = 0.0) -> "Iterator[HeldTurn | None]":
        """Take the turn to move records into the log; None while another thread has it."""
        taken = self._turn.acquire(timeout=wait) if wait > 0 else self._turn.acquire(blocking=False)
        try:
            yield HeldTurn(self) if taken else None
        finally:
            if taken:
                self._turn.release()

    def batch(self, entries: int, size: int) -> tuple[Entry, ...]:
        """Give the oldest records."""
        found: list[Entry] = []
        with self._lock:
            for record_id, data in self._entries.items():
                size -= len(data)
                if len(found) == entries or (size < 0 and found):
                    break
                found.append(Entry(record_id, data))
        return tuple(found)

    def forget(self, record_ids: Iterable[bytes]) -> int:
        """Remove records that are in the log."""
        with self._lock:
            gone = [self._entries.pop(record_id) for record_id in record_ids if record_id in self._entries]
            self._size -= sum(map(len, gone))
        return len(gone)

    def close(self) -> None:
        """Do nothing: there is no file."""


class HeldTurn:
    """The turn of one thread to move records into the log."""

    since: int | None = None  # nothing outlives a crash, so nothing was stored without being forgotten

    def __init__(self, held: Held) -> None:
        """Take from `held`."""
        self._held = held

    def batch(
        self, *, since: int, entries: int = limits.AUDIT_BATCH_ENTRIES, size: int = limits.AUDIT_BATCH_BYTES
    ) -> tuple[Entry, ...]:
        """Give the oldest records; where the log stood does not matter here."""
        return self._held.batch(entries, size)

    def forget(self, record_ids: Iterable[bytes]) -> int:
        """Remove records that are in the log."""
        return self._held.forget(record_ids)


_HELD: Final[weakref.WeakSet[Held]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for held in list(_HELD):
        held.begin()


os.register_at_fork(after_in_child=_after_fork_in_child)
