"""The verbs of `Vault` about what a version is called and where it comes from: tags, notes, lineage."""

from typing import TYPE_CHECKING

from vault.actions.session import Session
from vault.arguments import given, reference_of
from vault.core import labels
from vault.core.names import Reference

if TYPE_CHECKING:
    from vault.actions.labelling import Labelled
    from vault.actions.lineage import Lineage
    from vault.core.labels import Labels


class LabelVerbs:
    """Tags, notes and lineage; `Vault` inherits them."""

    _session: Session

    def tag(self, reference: str | Reference, *tags: str) -> "Labelled":
        """Give a version tags, signed; everybody who can read the storage can read them.

        Raises:
            ValueError: a tag is none, none are given, or the version has too many labels.
            AccessDenied, NotFound, Refused, Unavailable, NoUsableKey.
        """
        from vault.actions import labelling

        return labelling.tag(self._session, reference_of(reference), _tags(tags))

    def untag(self, reference: str | Reference, *tags: str) -> "Labelled":
        """Take tags back from a version, whoever gave them; one it does not have is no error.

        Raises:
            As `tag`.
        """
        from vault.actions import labelling

        return labelling.untag(self._session, reference_of(reference), _tags(tags))

    def note(self, reference: str | Reference, text: str) -> "Labelled":
        """Note something about a version, signed; everybody who can read the storage can read it.

        Raises:
            ValueError: the text is empty or longer than 4,096 characters.
            AccessDenied, NotFound, Refused, Unavailable, NoUsableKey.
        """
        from vault.actions import labelling

        return labelling.note(self._session, reference_of(reference), given(labels.note, text))

    def labels(self, reference: str | Reference) -> "Labels":
        """Give the tags and notes of a version that somebody signed who may tag it: `.tags`, `.notes`.

        Raises:
            NotFound, Refused, Unavailable.
        """
        from vault.actions import labelling

        return labelling.look(self._session, reference_of(reference)).labels

    def lineage(self, reference: str | Reference, *, children: bool = True, depth: int = 32) -> "Lineage":
        """Give the graph of the versions that one comes from, and with `children` of what came of it.

        At most `depth` generations each way, all verified; which data, runs and commits
        were behind them, where this identity may read it.

        Raises:
            ValueError, NotFound, Refused, Unavailable.
        """
        from vault.actions import lineage

        return lineage.lineage(self._session, reference_of(reference), children=children, depth=depth)


def _tags(tags: tuple[str, ...]) -> frozenset[str]:
    return frozenset(given(labels.tag, text) for text in tags)
