"""Between a vault and signatures beside files: import a signed folder, export a version as one.

What is published is what was verified, by the digests of the very bytes that were sealed; what is signed
is what the vault says of the version, whatever lay in the folder meanwhile.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault.actions import packing, pulling, resolving, signing
from vault.actions.packing import Labels, Packable
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.actions.signing_places import signature_place
from vault.actions.verifying import verify_digests
from vault.actions.verifying_trust import Trust
from vault.core import names
from vault.core.manifest import METADATA
from vault.core.names import Model, Reference, Version
from vault.errors import Conflict, DigestMismatch
from vault.settings import Settings

Check = Callable[[Mapping[names.Path, bytes]], None]


@dataclass(frozen=True, slots=True)
class Pushing:
    """What is pushed beside its labels; with `signed_by` only what those whom it lists have signed."""

    sources: Sequence[Packable]
    sample: Packable | None = None
    public: bool = False
    signed_by: Trust | Sequence[Trust] | None = None


def push(
    session: Session, settings: Settings, model: Model, version: Version | None, labels: Labels, what: Pushing
) -> Reference:
    """Package and publish files; with `signed_by`, one signed file or folder whose signature holds.

    Raises:
        Refused: the signature does not hold, is about another model, or the files changed meanwhile;
            nothing was published.
        ValueError: it is not about one file or folder.
        As `packing.push`.
    """
    check = None
    if what.signed_by is not None:
        check = _verified(session, settings, model, version, what)
    return packing.push(
        session,
        model,
        what.sources,
        version,
        labels,
        sample=what.sample,
        public=what.public,
        check=check,
    )


def _verified(
    session: Session, settings: Settings, model: Model, version: Version | None, what: Pushing
) -> Check:
    source = what.sources[0]
    if len(what.sources) != 1 or not isinstance(source, str | os.PathLike) or what.signed_by is None:
        raise ValueError("One signed file or folder is imported at a time.")
    path = Path(os.path.abspath(source))
    if path.suffix.lower() == ".zip" and path.is_file():
        raise ValueError("A signature is about the archive or about what is in it: unpack it first.")
    found, digests = verify_digests(path, what.signed_by, settings=settings, progress=session.progress)
    fitting = {path.name, model, model.rpartition("/")[2], f"{model}:{version}"}
    if found.model not in fitting:
        raise DigestMismatch(
            f"{source} is signed as {found.model!r}, and is not imported as {model}.",
            code="misplaced",
            subject=str(source),
            hint=f"Have it signed as {model}: mvault sign {source} --model {model}",
        )
    alone = len(digests) == 1 and "." in digests
    signed = {path.name: digests["."]} if alone else dict(digests)
    return lambda sealed: _compare(signed, sealed, str(source), spare=what.sample is not None)


def _compare(
    signed: Mapping[str, bytes], sealed: Mapping[names.Path, bytes], subject: str, *, spare: bool
) -> None:
    """See that what was sealed is what was verified; a SavedModel lies one folder deeper in a package.

    Raises:
        DigestMismatch.
    """
    left = dict(signed)
    others = 0
    for path, digest in sealed.items():
        name = path if path in left else path.partition("/")[2]
        if left.pop(name, None) != digest:
            others += 1
    if left or others > spare:
        raise DigestMismatch(
            f"{subject} changed after its signature was verified. Nothing was published.",
            subject=subject,
            hint="See who writes there; then try again.",
        )


@dataclass(frozen=True, slots=True)
class Pulling:
    """How a version is pulled: into one zip file, in another layout, with a signature beside it."""

    zipped: bool = False
    layout: str | None = None
    with_signature: bool = False


def pull(session: Session, settings: Settings, reference: Reference, place: Path, how: Pulling) -> Path:
    """Write the verified files of a version; `with_signature` signs them beside the folder.

    Whoever pulls signs, with what the vault says of the version as remarks. The folder must be new or
    empty: what else lay in it would be signed too.

    Raises:
        ValueError: a signature goes with a plain folder only.
        Conflict: the folder holds something, or there is a signature.
        As `pulling.pull`.
    """
    if not how.with_signature:
        return pulling.pull(session, reference, place, zipped=how.zipped, layout=how.layout)
    if how.zipped or how.layout is not None:
        raise ValueError("A signature goes beside a folder with the files as they are in the package.")
    signature = signature_place(place, None)
    for there in (signature, place if place.is_dir() and any(place.iterdir()) else None):
        if there is not None and os.path.lexists(there):
            raise Conflict(
                f"{there} exists and was left as it is.",
                subject=str(there),
                hint="Pull into a new folder: all that is in it will be signed.",
            )
    identity = session.identity
    written = pulling.pull(session, reference, place, zipped=False)
    resolved = session.resolve(resolving.environment_of(session, reference))
    found = resolving.identify(session, resolved, reference)
    facts = Package(session, found).opened.metadata.files
    expected: dict[str, bytes] = {
        path: bytes.fromhex(fact.sha256) for path, fact in facts.items() if path != METADATA
    }
    remarks = {
        "mvault.vault": f"sha256:{session.pin}",
        "mvault.model": found.manifest.model,
        "mvault.version": found.manifest.version,
        "mvault.manifest": f"sha256:{found.digest}",
    }
    held: Any = identity
    signing.sign(
        written,
        identity=held,
        model=f"{found.manifest.model}:{found.manifest.version}",
        annotations=remarks,
        cache=False,
        expected=expected,
        progress=session.progress,
        settings=settings,
    )
    return written
