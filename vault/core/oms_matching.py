"""Compare what was signed with what is there: first names, then digests (docs/format.md, "OMS bundle")."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from vault.core.fields import malformed
from vault.core.oms_statement import ALONE, PRESCRIBED, Resource, Statement
from vault.errors import DigestMismatch, Malformed

_SHOWN: Final = 5
_SIGNATURE: Final = ".sig"


def require_strict(statement: Statement, signature: str | None, subject: str) -> None:
    """Refuse a statement that leaves room: for links, or for places that nobody looked at.

    What OMS leaves out may be named, and the signature itself: `signature` is its path in the model,
    and another tool may have had it at the top under another name. None of them is skipped for it.

    Raises:
        Malformed: `malformed-document`.
    """
    if statement.allow_symlinks:
        raise malformed(subject, "it lets symbolic links stand for files")
    odd = [entry for entry in statement.ignore_paths if not _may_be_left_out(entry, signature)]
    if odd:
        raise malformed(subject, f"its signer left places out: {_some(odd)}")


def _may_be_left_out(path: str, signature: str | None) -> bool:
    return path in PRESCRIBED or path == signature or ("/" not in path and path.endswith(_SIGNATURE))


def alias(statement: Statement, found: Collection[str], name: str) -> Statement:
    """Call the one file of a model `.`, as the reference tool does, where it was signed by its name.

    `name` is what the file is called here, empty where nothing tells.
    """
    if set(found) != {ALONE} or len(statement.by_path()) != 1:
        return statement
    path = statement.resources[0].path
    if path == ALONE or (path != name if name else "/" in path):
        return statement
    renamed = tuple(Resource(ALONE, entry.digest, entry.start, entry.end) for entry in statement.resources)
    return Statement(
        statement.model,
        renamed,
        statement.hash_type,
        statement.shard_size,
        statement.allow_symlinks,
        statement.ignore_paths,
        statement.annotations,
    )


def require_names(
    statement: Statement, found: Mapping[str, int | None], *, strict: bool, subject: str
) -> None:
    """Refuse files that were not signed, and signed files that are not there, before anything is read.

    `found` is the size of each file, None where it is not known. OMS's parts say nothing of an empty
    file; only `strict` minds one.

    Raises:
        DigestMismatch.
    """
    signed = statement.by_path().keys()
    extra = [path for path in found if path not in signed]
    if statement.shard_size is not None and not strict:
        extra = [path for path in extra if found[path] != 0]
    if extra:
        hint = "Remove what was added, or get the model again from where it comes from."
        if strict and all(path.split("/")[0] in PRESCRIBED for path in extra):
            hint = "OMS leaves these out of signatures. Verify a copy without them, or use --ignore-git."
        raise DigestMismatch(
            f"{subject} does not cover what is there: {_some(extra)}.", subject=_shown(extra[0]), hint=hint
        )
    missing = [path for path in signed if path not in found]
    if missing:
        raise DigestMismatch(
            f"{subject} covers what is not there: {_some(missing)}.",
            subject=_shown(missing[0]),
            hint="Get the model again from where it comes from.",
        )


def require_digests(statement: Statement, found: Iterable[Resource], subject: str) -> None:
    """Refuse files that differ from what was signed.

    Raises:
        DigestMismatch: of every file that differs, the message names some.
    """
    there: dict[str, list[Resource]] = {}
    for entry in found:
        there.setdefault(entry.path, []).append(entry)
    differing = [path for path, parts in statement.by_path().items() if there.get(path) != parts]
    if differing:
        raise DigestMismatch(
            f"{_some(differing)} differs from what was signed in {subject}.",
            subject=_shown(differing[0]),
            hint="Get the model again from where it comes from.",
        )


def no_files(subject: str) -> Malformed:
    """Build the refusal of a model without files."""
    return malformed(subject, "it holds no file")


def _some(paths: Collection[str]) -> str:
    shown = ", ".join(_shown(path) for path in sorted(paths)[:_SHOWN])
    more = len(paths) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def _shown(path: str) -> str:
    return path.encode("unicode_escape", "surrogateescape").decode("ascii", "replace")[:200]
