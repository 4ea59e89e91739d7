"""Remember what a long check sees some hundred at a time: each time costs a sync of the disk."""

from typing import Final

from vault.actions.session import Remembering
from vault.core import memory_format
from vault.core.memory_format import Memory

_TOGETHER: Final = 256


class GatheringMemory:
    """A client's memory (`session.Remembering`) that keeps what was seen until `flush`, or it is much."""

    def __init__(self, inner: Remembering, vault: str) -> None:
        """Remember in `inner`, the memory of the vault with this id."""
        self._inner = inner
        self._vault = vault
        self._seen = Memory(vault)
        self._count = 0

    def load(self) -> Memory:
        """Give what is remembered, and what was seen since."""
        known = self._inner.load()
        return memory_format.merge(known, self._seen) if self._count else known

    def advance(self, seen: Memory) -> None:
        """Keep what was seen.

        Raises:
            Rollback: something was seen with other content under the same number.
            Refused, Unavailable: as `session.Remembering`, when it is much.
        """
        self._seen = memory_format.merge(self._seen, seen)
        self._count += 1
        if self._count >= _TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Remember what was seen.

        Raises:
            Rollback, Refused, Unavailable: as `session.Remembering`.
        """
        if self._count:
            self._inner.advance(self._seen)
            self._seen, self._count = Memory(self._vault), 0
