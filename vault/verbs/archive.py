"""The verbs of `Vault` that move old versions to a cheaper place, and bring them back."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vault.actions.session import Session
from vault.arguments import given, reference_of
from vault.core import archives, policy
from vault.core.names import Reference

if TYPE_CHECKING:
    from vault.actions.archiving import Row, Wanted


class ArchiveVerbs:
    """Archive versions and bring them back; `Vault` inherits them."""

    _session: Session

    def archive(
        self,
        what: str | Reference,
        *,
        to: str | None = None,
        storage_class: str | None = None,
        keep_last: int | None = None,
        older_than: str | None = None,
        dry_run: bool = False,
    ) -> "Sequence[Row]":
        """Move the payloads of versions to another store, or to a cold class of the vault's own.

        `what` is one version (`churn:3`), or a model or pattern of models (`churn`, `nepse/*`) with
        a rule: `keep_last` versions of each stay, and so do those younger than `older_than` (`90d`).
        What a channel names, and the newest version, is never archived. `to` is a folder or URL;
        `storage_class` one of S3's, such as DEEP_ARCHIVE. Each payload is verified at both places
        before it is removed here; `dry_run` only tells what would be moved (docs/archive.md).

        Gives a row for each version that the rule chooses; of a pattern, what failed is a row too.

        Raises:
            AccessDenied: this identity may not `archive`.
            Conflict: the one version that was asked for is in use.
            ValueError, NotFound, Refused, Unavailable, NoUsableKey.
        """
        from vault.actions import archiving, archiving_places

        wanted = _wanted(what, keep_last, older_than)
        place = archiving_places.place(self._session, to, storage_class)
        return archiving.archive(self._session, wanted, place, dry_run=dry_run)

    def unarchive(
        self,
        reference: str | Reference,
        *,
        source: str | None = None,
        wait: bool = False,
        tier: str = archives.TIERS[0],
    ) -> "Row":
        """Bring the payloads of an archived version back, each verified, and sign that they are here.

        `source` is where the archive lies now, if not where it was. What lies in a cold class is
        asked for, by the `tier` (Standard, Bulk or Expedited); without `wait` that raises Unavailable.

        Raises:
            Unavailable: `archived`: it was asked for; the message says how long it takes.
            AccessDenied: this identity may not `archive`.
            DigestMismatch: the archive holds something else; nothing of it was taken.
            ValueError, NotFound, Refused, Conflict, NoUsableKey.
        """
        from vault.actions import retrieving

        patience = retrieving.Patience(wait, tier)
        return retrieving.bring_back(self._session, reference_of(reference), source=source, patience=patience)


def _wanted(what: str | Reference, keep_last: int | None, older_than: str | None) -> "Wanted":
    """Read what is to be archived: one version, or models with a rule.

    Raises:
        ValueError: neither, or both.
    """
    from vault.actions.archiving import Wanted

    rule = keep_last is not None or older_than is not None
    pattern = "" if isinstance(what, Reference) or "*" not in what else given(policy.pattern, what)
    if not pattern:
        reference = reference_of(what)
        if reference.version is not None or reference.digest is not None:
            if rule:
                raise ValueError("A rule is about all versions of a model: leave out the version.")
            return Wanted(version=reference)
        if reference.environment is not None:
            raise ValueError(f"{reference} is in use: name an older version, as {reference.model}:3.")
        pattern = str(reference.model)
    if not rule:
        raise ValueError(
            f"Say which versions of {pattern}: keep_last= (--keep-last), older_than= (--older-than), or both."
        )
    age = None if older_than is None else archives.seconds(older_than)
    return Wanted(pattern, None, keep_last, age)
