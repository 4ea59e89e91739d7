"""An object that is kept in the cache while it is read."""

from vault.ports import Source
from vault.storage.cached import CachedDraft


class KeptSource:
    """An object of a store whose bytes go into the cache as they are read: no second pass, no more memory."""

    def __init__(self, inner: Source, draft: CachedDraft) -> None:
        """Read from `inner`, and write to `draft`."""
        self._inner = inner
        self._draft = draft

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return self._inner.size

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return how many bytes were there.

        Raises:
            ValueError: `offset` is negative.
            Unavailable: the store failed.
        """
        found = self._inner.read_into(offset, buffer)
        self._draft.write(offset, buffer.cast("B")[:found])
        return found
