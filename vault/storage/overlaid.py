"""A store whose missing objects are read from another one: a vault and its archive, for one pull."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from vault.errors import NotFound, Unavailable
from vault.ports import Source, Store


class Overlaid:
    """Another store; `open` looks into a second one for what is not there, or cannot be read there now."""

    def __init__(self, inner: Store, behind: Store) -> None:
        """Ask `inner` for everything, and `behind` for what cannot be opened in it."""
        self.inner = inner
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        """Give the other verbs of the store in front."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @contextmanager
    def open(self, name: str) -> Iterator[Source]:
        """Open `name` for reading, in the first of the two stores that can.

        Raises:
            NotFound, Unavailable: neither can; this is what the second one says.
        """
        with ExitStack() as stack:
            try:
                source = stack.enter_context(self.inner.open(name))
            except (NotFound, Unavailable) as error:
                if isinstance(error, Unavailable) and error.code != "storage-archived":
                    raise
                source = stack.enter_context(self._behind.open(name))
            yield source
