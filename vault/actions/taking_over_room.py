"""How many pickles are converted at once: as memory allows."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vault.core import limits

# The libraries of a process, and what it holds of a model: the pickle, the object, the new file, predictions.
_BASE: Final = 512 * limits.MIB
_PER_BYTE: Final = 6


class Room:
    """A share of this machine's memory, from which conversions take what they are thought to need."""

    def __init__(self, size: int | None = None) -> None:
        """Share out `size` bytes; unless given, half of what is free now."""
        self._left = max(_BASE, _free() // 2 if size is None else size)
        self._whole = self._left
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold what converting a pickle of `size` bytes needs; one that needs more than all goes alone."""
        needed = min(self._whole, _BASE + _PER_BYTE * size)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= needed)
            self._left -= needed
        try:
            yield
        finally:
            with self._changed:
                self._left += needed
                self._changed.notify_all()


def _free() -> int:
    """Give the bytes of memory that are free."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0
