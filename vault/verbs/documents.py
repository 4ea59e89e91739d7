"""The verbs of `Vault` for documents that travel: model cards and bills of materials."""

import os
from pathlib import Path

from vault.actions.session import Session
from vault.arguments import reference_of
from vault.core.model_facts import BOM, CARD
from vault.core.names import Reference
from vault.settings import Settings


class DocumentVerbs:
    """Write documents about a version from what is signed of it; `Vault` inherits them."""

    _session: Session
    _settings: Settings

    def card(self, reference: str | Reference) -> str:
        """Give the model card of a version, in Markdown: the package's own, or one from its metadata.

        Raises:
            AccessDenied: this identity may not load it.
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        return self._document(reference, CARD).decode("utf-8", "backslashreplace")

    def bom(self, reference: str | Reference) -> str:
        """Give the bill of materials of a version, CycloneDX as JSON; as `card`.

        Raises:
            As `card`.
        """
        return self._document(reference, BOM).decode("utf-8", "backslashreplace")

    def export_document(
        self,
        reference: str | Reference,
        name: str,
        destination: str | os.PathLike[str],
        *,
        with_signature: bool = False,
    ) -> Path:
        """Write `MODEL_CARD.md` or `mlbom.cdx.json` of a version into a new file.

        `with_signature` signs the file with this identity, as `vault.sign` does.

        Raises:
            Conflict: a file is there.
            ValueError: there is no such document.
            As `card`.
        """
        from vault.actions import documents

        found = documents.document(self._session, reference_of(reference), name)
        return documents.export(
            self._session, self._settings, found, Path(destination), signed=with_signature
        )

    def _document(self, reference: str | Reference, name: str) -> bytes:
        from vault.actions import documents

        return documents.document(self._session, reference_of(reference), name).data
