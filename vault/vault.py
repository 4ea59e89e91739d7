"""The vault as people use it: one method a verb. What each does is in `vault/actions/`."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vault.actions.session import Session
from vault.arguments import action_of, given, reference_of, version_of
from vault.core import names
from vault.core.names import Reference
from vault.ports import Progress, no_progress
from vault.settings import Settings
from vault.verbs.adoption import AdoptionVerbs
from vault.verbs.archive import ArchiveVerbs
from vault.verbs.bulk import BulkVerbs
from vault.verbs.channels import ChannelVerbs
from vault.verbs.documents import DocumentVerbs
from vault.verbs.following import FollowingVerbs
from vault.verbs.labels import LabelVerbs
from vault.verbs.loading import LoadingVerbs
from vault.verbs.recovery import RecoveryVerbs
from vault.verbs.registry import RegistryVerbs
from vault.verbs.retention import RetentionVerbs
from vault.verbs.testing import TestingVerbs

if TYPE_CHECKING:
    from vault.actions.access import Access
    from vault.actions.access_rotate import Rotated
    from vault.actions.access_sync import Synced
    from vault.actions.changing import Changes
    from vault.actions.check_report import Report
    from vault.actions.doctor import Diagnosis
    from vault.actions.listing import Details, Event, ModelRow, Release
    from vault.actions.packing import Packable
    from vault.actions.parentage import Parents
    from vault.actions.policy_reading import PolicyInForce
    from vault.actions.promote import Promotion
    from vault.actions.renewing import Renewal
    from vault.actions.reviewing import Audit
    from vault.core.policy_analysis import Explanation, Holder

Location = str | os.PathLike[str]


class Vault(
    LoadingVerbs,
    FollowingVerbs,
    ArchiveVerbs,
    DocumentVerbs,
    BulkVerbs,
    ChannelVerbs,
    LabelVerbs,
    RecoveryVerbs,
    AdoptionVerbs,
    RegistryVerbs,
    RetentionVerbs,
    TestingVerbs,
):
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
        parents: "Parents" = (),
        bump: str | None = None,
        requirements: Location | None = None,
        documents: bool = False,
    ) -> Reference:
        """Save a live model: choose a safe format, prove parity, record metadata, sign, seal, publish.

        `sample_input` has shape (rows, features); up to 5,000 rows are kept with
        the predictions on them. `artifacts` are objects, lists and dicts that
        travel along. `also` names a second format. `tolerance` is the fraction
        of rows that the saved form may predict otherwise. Of `training_data` a digest is kept: a table,
        an array, a path, or an iterator of chunks, which is read to its end. `parents` are versions that
        this one comes from, as in `["base@prod", ("churn:3", "same-data")]`; one without a relation was
        fine-tuned from. `bump` chooses the next version: major, minor, patch, prerelease or timestamp.
        `requirements` tells the hashes of what loading needs: a lock file, or a folder of wheels.
        With `documents` a model card and a bill of materials are in the package (docs/documents.md).

        Raises:
            ValueError: the model cannot be saved so, or the saved form predicts otherwise.
            FormatRefused: only a pickle would hold it, and not every party allows that.
            AccessDenied, Conflict, Unavailable, NoUsableKey.
        """
        from vault.actions import parentage, saving

        described = saving.Description(
            sample_input,
            training_data,
            metrics,
            params,
            artifacts,
            notes,
            tuple(tags),
            parentage.named(parents),
            bump,
            requirements,
            documents,
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
        signed_by: Any = None,
        training_data: Any = None,
        parents: "Parents" = (),
        bump: str | None = None,
        documents: bool = False,
    ) -> Reference:
        """Package files that exist and publish them: paths, folders, zip archives, bytes, streams.

        `public` publishes every file's SHA-256, which lets anybody who reads the store confirm a guess
        at a small file. `signed_by` is as `trusted` of `vault.verify`: the one path must be signed by them.
        `training_data`, `parents`, `bump` and `documents` are as in `save_model`.

        Raises:
            NotFound, FormatRefused, Malformed: a file is not there, or not what it says.
            AccessDenied, Conflict, Unavailable, NoUsableKey, ValueError.
        """
        from vault.actions import packing, parentage, signed_exchange

        sources: list[Any] = [*source] if isinstance(source, list | tuple) else [source]
        come = parentage.named(parents)
        labels = packing.Labels(
            metrics or {}, params or {}, features, notes, tuple(tags), training_data, come, bump, documents
        )
        pushing = signed_exchange.Pushing(sources, sample, public, signed_by)
        place = given(names.model, name), version_of(version)
        return signed_exchange.push(self._session, self._settings, *place, labels, pushing)

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

    # --- looking ---

    def check(
        self, reference: str | Reference | None = None, *, data: bool = False, resume: bool = False
    ) -> "Report":
        """Check signatures, places and ciphertext, which needs no key; with `data` plaintext as well.

        `resume` goes on where an earlier check of everything was stopped on this machine.

        Raises:
            Refused, NotFound, Unavailable: the trust documents themselves do not verify.
        """
        from vault.actions import checking

        wanted = None if reference is None else reference_of(reference)
        state = self._settings.state_dir
        return checking.check(self._session, wanted, data=data, resume=resume, state=state)

    def list(self, below: str = "") -> "Sequence[ModelRow]":
        """List models, one row each; `below` narrows to one, or to those under a folder such as `nepse`.

        Raises:
            Refused, Unavailable.
        """
        from vault.actions import listing

        return listing.overview(self._session, given(names.model, below) if below else "")

    def versions(self, name: str) -> "Sequence[Release]":
        """List a model's verified versions, newest first, with their tags.

        Raises:
            NotFound, Refused, Unavailable.
        """
        from vault.actions import listing

        return listing.releases(self._session, given(names.model, name), labelled=True)[0]

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

    @property
    def audit(self) -> "Audit":
        """The audit logs, for whoever reviews them: `.log(…)`, `.verify()`, `.prove(…)` and more."""
        from vault.actions.reviewing import Audit

        return Audit(self._session, self._settings)

    # --- asking who may ---

    @property
    def policy(self) -> "PolicyInForce":
        """The policy in force, to be asked: `.view`, `.check()`, `.explain(…)`, `.change(…)` and more."""
        from vault.actions import policy_reading

        return policy_reading.PolicyInForce(self._session)

    @property
    def changes(self) -> "Changes":
        """Change who may do what: `.draft(…)`, `.draft_root(…)`, `.sign(…)`, `.apply(…)`, `.status(…)`."""
        from vault.actions.changing import Changes

        return Changes(self._session)

    def can(self, action: str, model: str, env: str, who: str | None = None) -> bool:
        """Tell whether `who`, or this identity, may do an action: advice, judged again when it is done.

        Raises:
            ValueError: there is no such action, or a name breaks the grammar.
            AccessDenied, NoUsableKey, Refused, NotFound, Unavailable.
        """
        return self.explain(action, model, env, who).decision.allowed

    def who_can(self, action: str, model: str, env: str) -> "Sequence[Holder]":
        """List who may do an action with a model in an environment, and by which rule.

        Raises:
            As `can`.
        """
        asked = action_of(action), given(names.model, model), given(names.environment, env)
        return self.policy.who_can(*asked)

    def explain(self, action: str, model: str, env: str, who: str | None = None) -> "Explanation":
        """Say whether `who`, or this identity, may do an action, by which rule, and what enforces it.

        Raises:
            As `can`.
        """
        asked = action_of(action), given(names.model, model), given(names.environment, env)
        return self.policy.explain(*asked, who=None if who is None else given(names.principal, who))

    # --- who can read ---

    def access(self, env: str | None = None) -> "Access":
        """Tell who can read which environment, by which epochs of its key, and what copies are missing.

        Raises:
            NotFound, Refused, Unavailable.
        """
        from vault.actions import access

        return access.show(self._session, None if env is None else given(names.environment, env))

    def sync_access(self, env: str | None = None, **options: Any) -> "Synced":
        """Write the wrapped keys that readers and recovery lack; `options` are those of `access_sync.sync`.

        Raises:
            NotFound, Refused, Unavailable, NoUsableKey.
        """
        from vault.actions import access_sync

        place = None if env is None else given(names.environment, env)
        return access_sync.sync(self._session, place, **options)

    def rotate_access(self, env: str, *, deep: bool = False, **options: Any) -> "Rotated":
        """Give an environment a new key and wrap everything to it; `options`: see `access_rotate.rotate`.

        With `deep` payloads are encrypted anew too. Whoever could read a model may have kept it.

        Raises:
            NotFound, Refused, Unavailable, NoUsableKey, Conflict, ValueError.
        """
        from vault.actions import access_rotate

        return access_rotate.rotate(self._session, given(names.environment, env), deep=deep, **options)

    def renew(
        self, *environments: str, valid_days: int = 7, within_days: int = 30, **options: Any
    ) -> "Renewal":
        """Attest what the channels of these, or all, environments came to; renew root and policy if due.

        `options`: `folder` for drafts that others must sign, `dry_run`; see `renewing.renew`.

        Raises:
            AccessDenied: this identity may not `attest` there.
            ValueError, Conflict, NotFound, NoUsableKey, Refused, Unavailable.
        """
        from vault.actions import renewing

        places = [given(names.environment, name) for name in environments]
        return renewing.renew(
            self._session, places, valid_days=valid_days, within_days=within_days, **options
        )

    def doctor(
        self, *, as_loader: str | Reference | None = None, write: bool | None = None, large: bool = False
    ) -> "Diagnosis":
        """Look whether everything is as a load needs it; see `vault.doctor`."""
        from vault.actions import doctor

        reference = None if as_loader is None else reference_of(as_loader)
        return doctor.examine(self._session, self._settings, doctor.Wanted(reference, write, large))

    def export_trust(self) -> bytes:
        """Write a trust file for a container: this vault's pin, floors, and the allowance in force.

        Raises:
            Refused, NotFound, Unavailable.
        """
        from vault.actions import trusting

        return trusting.export_trust(self._session)
