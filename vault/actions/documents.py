"""Give the documents about a version: from its package, where they were signed with it, or from its metadata.

Either way nothing is told but what was verified: the file by its commitment, the
metadata by the digest that the manifest signs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vault.actions import auditing, resolving, signing
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.actions.signing_places import signature_place
from vault.core import admission, ml_bom, model_card
from vault.core.manifest import METADATA
from vault.core.model_facts import BOM, CARD, DOCUMENTS, FileFact, ModelFacts
from vault.core.names import Reference
from vault.core.stages import Opened, Verified
from vault.errors import Conflict
from vault.settings import Settings
from vault.storage.folder import Folder

RENDERERS: Final[dict[str, Callable[[ModelFacts], bytes]]] = {CARD: model_card.render, BOM: ml_bom.render}


@dataclass(frozen=True, slots=True)
class Document:
    """A document about a version; `packaged` tells that it is a file of the package, signed with it."""

    name: str
    reference: str
    data: bytes
    packaged: bool
    verified: Verified


def document(session: Session, reference: Reference, name: str) -> Document:
    """Give one of `DOCUMENTS` about a version that this identity may load.

    Raises:
        AccessDenied, Refused, NotFound, Unavailable, NoUsableKey.
        ValueError: there is no such document.
    """
    if name not in RENDERERS:
        raise ValueError(f"The documents are {', '.join(DOCUMENTS)}, not {name!r}.")
    environment = resolving.environment_of(session, reference)
    with auditing.acting(session, "load", reference, environment) as act:
        verified = resolving.find(session, reference, "load", act).verified
        package = Package(session, verified)
        entry = verified.manifest.file(name)
        if entry is not None and entry.role == "file":
            data, sha256 = package.read(entry)
            admission.check_plaintext(package.opened, entry, len(data), sha256)
            return Document(name, verified.subject, bytes(data), True, verified)
    rendered = RENDERERS[name](facts(verified, package.opened))
    return Document(name, verified.subject, rendered, False, verified)


def facts(verified: Verified, opened: Opened) -> ModelFacts:
    """Gather what the documents tell from a verified manifest and its metadata."""
    found, metadata = verified.manifest, opened.metadata
    return ModelFacts(
        vault=found.vault,
        model=found.model,
        version=found.version,
        created=found.created,
        publishers=tuple(str(name) for name in verified.publishers),
        parents=found.parents,
        files=tuple(
            FileFact(entry.path, entry.role, entry.format, entry.size, metadata.files[entry.path].sha256)
            for entry in found.files
            if entry.path != METADATA and entry.path not in DOCUMENTS
        ),
        info=metadata.info,
        libraries=metadata.libraries,
        manifest=verified.digest,
    )


def export(session: Session, settings: Settings, found: Document, place: Path, *, signed: bool) -> Path:
    """Write a document into a new file; with `signed`, and this identity's signature beside it.

    Raises:
        Conflict: something is there; it was left as it is.
        Unavailable: the disk failed.
        NoUsableKey: there is no identity to sign with.
    """
    signature = signature_place(place, None) if signed else None
    if signature is not None and signature.exists():
        raise Conflict(f"{signature} exists and was left as it is.", subject=str(signature))
    identity: Any = session.identity if signed else None
    try:
        with Folder(place.parent).create(place.name, size=len(found.data)) as sink:
            sink.write(found.data)
    except Conflict:
        raise Conflict(
            f"{place} exists and was left as it is.", subject=str(place), hint="Name another file."
        ) from None
    if signed:
        remarks = {
            "mvault.vault": f"sha256:{session.pin}",
            "mvault.model": found.verified.manifest.model,
            "mvault.version": found.verified.manifest.version,
            "mvault.manifest": f"sha256:{found.verified.digest}",
        }
        signing.sign(
            place,
            identity=identity,
            annotations=remarks,
            cache=False,
            progress=session.progress,
            settings=settings,
        )
    return place
