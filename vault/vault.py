"""The vault as people use it: one method a verb. What each does is in `vault/actions/`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vault.actions.session import Session
from vault.arguments import given, reference_of, version_of
from vault.core import names
from vault.core.names import Reference
from vault.ports import Progress, no_progress
from vault.settings import Settings

if TYPE_CHECKING:
    from vault.actions.checking import Report
    from vault.actions.listing import Details, Event, ModelRow, Release
    from vault.actions.loading import LoadedPackage
    from vault.actions.packing import Packable
    from vault.actions.promote import Promotion

Location = str | os.PathLike[str]


class Vault:
    """An opened vault. Make one with `vault.open` or `vault.init`; several threads may share it for loads.

    Every method may raise `vault.VaultError`: `Refused` when something does not
    hold, `NotFound`, `Unavailable` (worth retrying), `Conflict` (somebody else
    was first), `NoUsableKey`.
    """

    def __init__(self, session: Session, settings: Settings) -> None:
        """Wrap a session; see `vault.open`."""
        self._session = session
        self._settings = settings

    def __repr__(self) -> str:
        """Show where the vault lies and which environment bare references mean."""
        return f"Vault({self.location!r}, env={self.env!r})"

    @property
    def location(self) -> str:
        """Where the vault lies."""
        return self._session.store.location

    @property
    def env(self) -> str:
        """The environment of references that do not name one."""
        return self._session.environment

    @property
    def id(self) -> str:
        """The vault's id, `sha256:…`: the digest of its first root."""
        return f"sha256:{self._session.pin}"

    @property
    def progress(self) -> Progress:
        """What is told how far long work has come."""
        return self._session.progress

    @progress.setter
    def progress(self, report: Progress | None) -> None:
        self._session.progress = report or no_progress

    # --- putting models in ---

    def save_model(
        self,
        name: str,
        model: Any,
        *,
        sample_input: Any = None,
        training_data: Any = None,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        artifacts: Mapping[str, Any] | None = None,
        version: str | int | None = None,
        format: str = "auto",
        also: str | None = None,
        tolerance: float = 0.0,
        notes: str | None = None,
        tags: Sequence[str] = (),
    ) -> Reference:
        """Save a live model: choose a safe format, prove parity, record metadata, sign, seal, publish.

        `sample_input` has shape (rows, features); up to 5,000 rows are kept with
        the predictions on them. `artifacts` are objects, lists and dicts that
        travel along. `also` names a second format. `tolerance` is the fraction
        of rows that the saved form may predict otherwise.

        Raises:
            ValueError: the model cannot be saved so, or the saved form predicts otherwise.
            FormatRefused: only a pickle would hold it, and not every party allows that.
            AccessDenied, Conflict, Unavailable, NoUsableKey.
        """
        from vault.actions import saving

        described = saving.Description(
            sample_input, training_data, metrics, params, artifacts, notes, tuple(tags)
        )
        return saving.save(
            self._session,
            given(names.model, name),
            model,
            version_of(version),
            described,
            format=format,
            also=also,
            tolerance=tolerance,
        )

    def push(
        self,
        name: str,
        source: "Packable | Sequence[Packable]",
        *,
        version: str | int | None = None,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        features: Sequence[str] | None = None,
        sample: "Packable | None" = None,
        notes: str | None = None,
        tags: Sequence[str] = (),
        public: bool = False,
    ) -> Reference:
        """Package files that exist and publish them: paths, folders, zip archives, bytes, streams.

        `public` publishes every file's SHA-256, which lets anybody who reads the
        store confirm a guess at a small file.

        Raises:
            NotFound, FormatRefused, Malformed: a file is not there, or not what it says.
            AccessDenied, Conflict, Unavailable, NoUsableKey, ValueError.
        """
        from vault.actions import packing

        sources: list[Any] = [*source] if isinstance(source, list | tuple) else [source]
        labels = packing.Labels(metrics or {}, params or {}, features, notes, tuple(tags))
        return packing.push(
            self._session,
            given(names.model, name),
            sources,
            version_of(version),
            labels,
            sample=sample,
            public=public,
        )

    def promote(self, reference: str | Reference, *, env: str, slot: str = names.MAIN) -> "Promotion":
        """Make an environment use a version: give it the keys, then write the signed record that counts.

        Raises:
            AccessDenied, Refused: not by this identity, or not this version.
            Conflict: somebody else promoted meanwhile.
            NotFound, Unavailable, NoUsableKey.
        """
        from vault.actions import promote

        return promote.promote(
            self._session, reference_of(reference), given(names.environment, env), given(names.slot, slot)
        )

    # --- getting models out ---

    def load_model(self, reference: str | Reference, **options: Any) -> Any:
        """Verify, decide, decrypt in memory, deserialize; what comes back depends on the format.

        skops gives the estimator, ONNX an `OnnxModel`. `options` are the
        loader's own: `session_options=`, `providers=`.

        Raises:
            Refused: a step of the admission failed; nothing was deserialized.
            NotFound, Unavailable, NoUsableKey, MissingLibrary.
        """
        return self.load_package(reference, **options).model

    def load_package(self, reference: str | Reference, **options: Any) -> "LoadedPackage":
        """Verify and open a package: `.model`, `.artifacts`, `.features`, `.files`, `.metadata`, `.align`.

        Raises:
            As `load_model`.
        """
        from vault.actions import loading

        return loading.load_package(self._session, reference_of(reference), options)

    def pull(self, reference: str | Reference, destination: Location, *, zip: bool = False) -> Path:
        """Write a version's verified files into a folder, or one zip file; nothing is overwritten.

        Raises:
            Conflict: a file is there already; nothing was written.
            Refused, NotFound, Unavailable, NoUsableKey: nothing was written.
        """
        from vault.actions import pulling

        return pulling.pull(self._session, reference_of(reference), Path(destination), zipped=zip)

    # --- looking ---

    def check(self, reference: str | Reference | None = None, *, data: bool = False) -> "Report":
        """Check signatures, places and ciphertext, which needs no key; with `data` plaintext as well.

        Raises:
            Refused, NotFound, Unavailable: the trust documents themselves do not verify.
        """
        from vault.actions import checking

        return checking.check(
            self._session, None if reference is None else reference_of(reference), data=data
        )

    def list(self, below: str = "") -> "Sequence[ModelRow]":
        """List models, one row each; `below` narrows to one, or to those under a folder such as `nepse`.

        Raises:
            Refused, Unavailable.
        """
        from vault.actions import listing

        return listing.overview(self._session, given(names.model, below) if below else "")

    def versions(self, name: str) -> "Sequence[Release]":
        """List a model's verified versions, newest first.

        Raises:
            NotFound, Refused, Unavailable.
        """
        from vault.actions import listing

        return listing.releases(self._session, given(names.model, name))[0]

    def history(self, name: str) -> "Sequence[Event]":
        """Tell what happened to a model, newest first, as the signed records say it.

        Raises:
            NotFound, Refused, Unavailable.
        """
        from vault.actions import listing

        return listing.history(self._session, given(names.model, name))

    def show(self, reference: str | Reference) -> "Details":
        """Describe one version; its confidential half only where this identity may read it.

        Raises:
            NotFound, Refused, Unavailable.
        """
        from vault.actions import listing

        return listing.show(self._session, reference_of(reference))

    def export_trust(self) -> bytes:
        """Write a trust file for a container: this vault's pin, floors, and the allowance in force.

        Raises:
            Refused, NotFound, Unavailable.
        """
        from vault.actions import trusting

        return trusting.export_trust(self._session)
