"""Compare versions by what the store holds of them, verified; no index is asked."""

from collections.abc import Sequence

from vault.actions import listing
from vault.actions.listing import Details
from vault.actions.session import Session
from vault.core import comparison, limits
from vault.core.comparison import Comparison, Section, Side
from vault.core.names import Reference
from vault.core.strict_json import JSONValue


def compare(session: Session, references: Sequence[Reference]) -> Comparison:
    """Lay versions beside each other; what is confidential only where this identity may read it.

    Raises:
        ValueError: fewer than two versions are named, or more than `limits.COMPARED`.
        Refused, NotFound, Unavailable.
    """
    if not 2 <= len(references) <= limits.COMPARED:
        raise ValueError(f"From two to {limits.COMPARED} versions are compared at once.")
    return comparison.compare([_side(listing.show(session, reference)) for reference in references])


def _side(found: Details) -> Side:
    release, info = found.release, found.metadata
    sections: dict[str, Section] = {
        "version": {
            "channels": list[JSONValue](release.channels),
            "created": release.created,
            "digest": release.digest,
            "formats": list[JSONValue](release.formats),
            "publishers": list[JSONValue](release.publishers),
            "size": release.size,
        },
        "files": {str(file["path"]): _file(file) for file in found.files},
        "approvals": comparison.approvals((vote.action, vote.where, vote.who) for vote in found.votes),
        "parents": {
            f"{parent.model}:{parent.version}": f"{parent.relation} sha256:{parent.manifest}"
            for parent in found.parents
        },
        "labels": {
            **dict.fromkeys(sorted(found.labels.tags), True),
            **{f"note of {note.created}": note.text for note in found.labels.notes},
        },
    }
    if info is not None:
        libraries = info.get("libraries")
        sections |= {
            "metrics": comparison.metrics(info),
            "parameters": comparison.parameters(info),
            "features": comparison.features(info),
            "libraries": libraries if isinstance(libraries, dict) else {},
        }
    return Side(release.reference, sections, found.unread)


def _file(file: dict[str, JSONValue]) -> JSONValue:
    return {name: file[name] for name in ("format", "role", "sha256", "size") if name in file}
