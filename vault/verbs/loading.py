"""The verbs of `Vault` that get models out: loads and pulls, also by a lock."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.actions.session import Session
from vault.arguments import reference_of
from vault.core.names import Reference
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.actions.loading import LoadedPackage

Location = str | os.PathLike[str]


class LoadingVerbs:
    """Load models and packages, pull files; `Vault` inherits them."""

    _session: Session
    _settings: Settings

    def load_model(
        self, reference: str | Reference, *, lock: "Location | bytes | None" = None, **options: Any
    ) -> Any:
        """Verify, decide, decrypt in memory, deserialize; what comes back depends on the format.

        skops gives the estimator, ONNX an `OnnxModel`. `options` are the
        loader's own: `session_options=`, `providers=`. With `lock`, the path or bytes of a
        file of `mvault lock`, exactly the version that it names is loaded.

        Raises:
            Refused: a step of the admission failed; nothing was deserialized.
            NotFound, Unavailable, NoUsableKey, MissingLibrary.
        """
        from vault.actions import loading

        session, wanted = self._pinned(reference, lock)
        return loading.load_model(session, wanted, options)

    def load_package(
        self, reference: str | Reference, *, lock: "Location | bytes | None" = None, **options: Any
    ) -> "LoadedPackage":
        """Verify and open a package: `.model`, `.artifacts`, `.features`, `.files`, `.metadata`, `.align`.

        Raises:
            As `load_model`.
        """
        from vault.actions import loading

        session, wanted = self._pinned(reference, lock)
        return loading.load_package(session, wanted, options)

    def pull(
        self,
        reference: str | Reference,
        destination: Location,
        *,
        zip: bool = False,
        layout: str | None = None,
        with_signature: bool = False,
        lock: "Location | bytes | None" = None,
        request: bool = False,
        wait: bool = False,
    ) -> Path:
        """Write a version's verified files into a folder, or one zip file; nothing is overwritten.

        `layout="tf-serving"` writes its SavedModel alone, into MODEL/VERSION below the folder.
        `with_signature` signs the new folder with this identity, as `vault.sign` does. `lock` is
        as in `load_model`. Of an archived version, `wait` fetches what it takes, however long that
        is; `request` asks a cold class for it and does not wait (docs/archive.md).

        Raises:
            ValueError: there is no such layout, or not for this version.
            Conflict: a file is there already; nothing was written.
            Unavailable: `archived`: the version's files were moved away; the message says where.
            Refused, NotFound, Unavailable, NoUsableKey: nothing was written.
        """
        from vault.actions import signed_exchange

        session, wanted = self._pinned(reference, lock)
        if request or wait:
            from vault.actions import retrieving

            session = retrieving.reachable(session, wanted, wait=wait)
        how = signed_exchange.Pulling(zip, layout, with_signature)
        return signed_exchange.pull(session, self._settings, wanted, Path(destination), how)

    def _pinned(
        self, reference: str | Reference, lock: "Location | bytes | None"
    ) -> tuple[Session, Reference]:
        """Give where and what to load: what a lock names, where there is one."""
        wanted = reference_of(reference)
        if lock is None:
            return self._session, wanted
        from vault.actions import locking

        return locking.pinned(self._session, wanted, lock)
