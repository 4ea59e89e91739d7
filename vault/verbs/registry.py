"""The verbs of `Vault` that find and compare versions: by the registry index, and by the store alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vault.actions.session import Session
from vault.arguments import reference_of
from vault.core.names import Reference
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.actions.index_search import Found
    from vault.actions.indexing import Status, Updated
    from vault.core.comparison import Comparison


class RegistryVerbs:
    """Search, comparisons and the index; `Vault` inherits them."""

    _session: Session
    _settings: Settings

    def search(
        self, query: str, *, limit: int = 50, verify: bool = False, update: bool | None = None
    ) -> "Found":
        """Find versions, newest first: `metric.auc>0.9 and env=prod and format=onnx` (docs/registry.md).

        The index is brought up to date first where it is older than a minute; always with `update`, never
        with `update=False`. What it says is a hint: with `verify` each hit is proved by the store.

        Raises:
            ValueError: the query breaks the grammar; it says in which column.
            MissingLibrary: the index needs the extra `registry`.
            Refused, NotFound, Unavailable.
        """
        from vault.actions import index_search

        return index_search.search(
            self._session, self._settings, query, limit=limit, verify=verify, update=update
        )

    def diff(self, one: str | Reference, other: str | Reference) -> "Comparison":
        """Compare two versions as the store has them, verified: `.changes` are what differs.

        Raises:
            ValueError: a reference is none.
            NotFound, Refused, Unavailable.
        """
        return self.compare([one, other])

    def compare(self, references: Sequence[str | Reference]) -> "Comparison":
        """Lay from two to sixteen versions beside each other, as the store has them, verified.

        Raises:
            As `diff`.
        """
        from vault.actions import comparing

        return comparing.compare(self._session, [reference_of(reference) for reference in references])

    @property
    def index(self) -> "RegistryIndex":
        """The registry index: `.status()`, `.update()` and `.rebuild()`."""
        return RegistryIndex(self._session, self._settings)


class RegistryIndex:
    """The index by which a vault is searched; nothing that it says decides anything."""

    def __init__(self, session: Session, settings: Settings) -> None:
        """Wrap a session; nothing is opened yet."""
        self._session = session
        self._settings = settings

    def status(self) -> "Status":
        """Tell where the index lies, what it holds, and when it was compared with the store.

        Raises:
            MissingLibrary, Refused, Unavailable.
        """
        from vault.actions import index_place, indexing

        index = index_place.open_index(self._settings, self._session.pin)
        try:
            return indexing.status(index)
        finally:
            index.close()

    def update(self, *, recorded: bool = False) -> "Updated":
        """Take in what the store has that the index has not.

        With `recorded`, metadata is also read through environments that demand a record of each load.

        Raises:
            MissingLibrary, Refused, NotFound, Unavailable.
        """
        from vault.actions import index_place, indexing

        index = index_place.open_index(self._settings, self._session.pin)
        try:
            return indexing.update(self._session, index, recorded=recorded)
        finally:
            index.close()

    def rebuild(self, *, recorded: bool = False) -> "Updated":
        """Make the index anew from the store, whatever it was.

        Raises:
            As `update`.
        """
        from vault.actions import index_place, indexing

        index_place.remove(self._settings, self._session.pin)
        index = index_place.open_index(self._settings, self._session.pin)
        try:
            return indexing.rebuild(self._session, index, recorded=recorded)
        finally:
            index.close()
