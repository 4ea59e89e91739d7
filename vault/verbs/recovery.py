"""The verbs of `Vault` about disasters: backups, and bringing back what they hold."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vault.actions.session import Session
from vault.arguments import given, reference_of
from vault.core import names
from vault.core.names import Reference
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.actions.backing_up_run import Backup
    from vault.actions.drilling import Checked
    from vault.actions.restoring_version import Mended

Location = str | os.PathLike[str]


class RecoveryVerbs:
    """Backups and restored versions; `Vault` inherits them. A whole vault is restored by `vault.restore`."""

    _session: Session
    _settings: Settings

    def backup(
        self,
        to: Location,
        *,
        name: str | None = None,
        limit: int | None = None,
        limit_requests: int | None = None,
        threads: int | None = None,
        prune: bool = False,
        dry_run: bool = False,
        receipt: bool = True,
    ) -> "Backup":
        """Bring a backup at another folder or URL up to date, and verify there what is new.

        Ciphertext and documents are copied as they are, so no key is needed. `name` is that of its
        receipts, by default one made from the place. `limit` is in bytes, `limit_requests` in requests
        a second. `prune` removes from the backup what the vault does not have any more. Where this
        identity may, it signs a `receipt`: who may archive or delete every model.

        Raises:
            ValueError: the two places lie in one another, or an argument has no such value.
            Conflict: something else lies there.
            Refused, NotFound: this vault does not verify, or is older than this machine has seen.
            Unavailable, MissingLibrary: a store failed or is full; the next run goes on from there.
        """
        from vault.actions import backing_up, backing_up_places
        from vault.actions.backing_up_run import Options

        options = Options(
            None if name is None else given(names.slot, name),
            limit,
            limit_requests,
            threads,
            prune,
            dry_run,
            receipt,
        )
        return backing_up.backup(self._session, backing_up_places.place(to), options)

    def verify_backup(
        self,
        at: Location,
        *,
        name: str | None = None,
        percent: float = 100.0,
        limit: int | None = None,
        threads: int | None = None,
        receipt: bool = True,
    ) -> "Backup":
        """Read everything that a backup holds, or the payloads of `percent` of its versions, and verify it.

        Raises:
            ValueError: an argument has no such value.
            NotFound: there is no backup of this vault.
            Refused, Conflict, Unavailable, MissingLibrary.
        """
        from vault.actions import backing_up_places, backing_up_verify
        from vault.actions.backing_up_run import Options

        if not 0 < percent <= 100:
            raise ValueError("A sample is more than 0 and at most 100 percent.")
        options = Options(
            None if name is None else given(names.slot, name), limit, threads=threads, receipt=receipt
        )
        return backing_up_verify.verify(self._session, backing_up_places.place(at), options, percent=percent)

    def restore_version(
        self, reference: str | Reference, *, source: Location | None = None, dry_run: bool = False
    ) -> "Mended":
        """Bring back from a backup what one version lost; what is damaged is moved aside, never deleted.

        Without `source` the backups are tried that receipts say hold the version.

        Raises:
            ValueError: the reference is not one version.
            NotFound: no backup is known that holds it.
            Refused: what the backup holds of it does not verify; nothing was replaced.
            Unavailable, MissingLibrary.
        """
        from vault.actions import restoring_version

        place = None if source is None else os.fspath(source)
        return restoring_version.restore(self._session, reference_of(reference), place, dry_run=dry_run)

    def check_drill(self, report: Location) -> "Checked":
        """Check the report of a drill: that somebody whom the policy knows signed it.

        Raises:
            NotFound, Unavailable: it cannot be read.
            Unsigned, UntrustedSigner, BadSignature, Malformed, DigestMismatch: it does not hold.
        """
        from vault.actions import drilling

        return drilling.check(self._session, Path(report))

    def key_backup_reminder(self) -> str:
        """Say what is at stake while nobody has said that the keys are kept elsewhere; once, then nothing."""
        from vault.actions import key_backups

        return key_backups.remind(self._session, self._settings)
