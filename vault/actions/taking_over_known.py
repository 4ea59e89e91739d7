"""What the vault holds already of what is to be adopted, as its signed records and metadata tell it."""

import threading

from vault.actions import auditing, listing, resolving
from vault.actions.session import Session
from vault.actions.taking_over_journal import Entry
from vault.core import admission, layout, names
from vault.core.adoption_plan import Candidate
from vault.core.names import Digest, Model, Reference, Version
from vault.core.stages import Resolved
from vault.errors import AccessDenied, Conflict, Malformed, NotFound, Refused


class Known:
    """The versions of models that are there; several threads may ask."""

    def __init__(self, session: Session, resolved: Resolved) -> None:
        """Look into the vault of a session, by the policy that it resolved."""
        self._session = session
        self._resolved = resolved
        self._lock = threading.Lock()
        self._versions: dict[Model, frozenset[Version]] = {}
        self._origins: dict[Model, dict[str, Version]] = {}

    def authorise(self, model: Model) -> None:
        """See that this identity may publish a model, before any work is done for it.

        Raises:
            AccessDenied.
        """
        try:
            admission.authorise(self._resolved, Digest(self._session.identity.key_id), "publish", model)
        except AccessDenied:
            with auditing.acting(self._session, "publish", Reference(model), self._session.environment):
                raise

    def still(self, candidate: Candidate, reference: str) -> str:
        """Give the version that a file was noted to have become, if it is there; empty if not, or another."""
        try:
            found = names.reference(reference)
        except Malformed:  # somebody has written in the journal
            return ""
        if found.model != candidate.model or candidate.version not in {None, found.version}:
            return ""
        return reference if self._is_there(found.model, found.version) else ""

    def published(self, candidate: Candidate, sha256: str, noted: Entry | None) -> str:
        """Give the version that bytes with this SHA-256 became; empty where there is none.

        Raises:
            Conflict: the version that they should become is another's.
        """
        if candidate.version is None:
            version = self._by_origin(candidate.model).get(sha256)
            return "" if version is None else f"{candidate.model}:{version}"
        if not self._is_there(candidate.model, candidate.version):
            return ""
        reference = candidate.reference
        if noted is not None and (noted.reference, noted.sha256) == (reference, sha256):
            return reference
        origin, unread = self._origin(candidate.model, candidate.version)
        if origin == sha256:
            return reference
        reason = "from other bytes than these" if origin else unread or "and was not adopted"
        raise Conflict(
            f"{reference} is there already, {reason}.",
            subject=reference,
            hint=f"Look at it: mvault show {reference}. To keep both: --rename.",
        )

    def _listed(self, model: Model) -> frozenset[Version]:
        with self._lock:
            if model not in self._versions:
                self._versions[model] = frozenset(resolving.version_names(self._session, model))
            return self._versions[model]

    def _is_there(self, model: Model, version: Version | None) -> bool:
        """Tell whether a version has its manifest: a push that was killed leaves a folder without one."""
        if version is None or version not in self._listed(model):
            return False
        try:
            self._session.store.stat(layout.manifest(model, version))
        except NotFound:
            return False
        return True

    def _by_origin(self, model: Model) -> dict[str, Version]:
        """Give the versions of a model by the SHA-256 of what they were adopted from."""
        with self._lock:
            known = self._origins.get(model)
        if known is None:
            known = {self._origin(model, version)[0]: version for version in sorted(self._listed(model))}
            known.pop("", None)
            with self._lock:
                self._origins[model] = known
        return known

    def _origin(self, model: Model, version: Version) -> tuple[str, str]:
        """Give the SHA-256 of what a version was adopted from, or why that cannot be told."""
        try:
            found = listing.show(self._session, Reference(model, version=version))
        except (Refused, NotFound) as error:
            return "", f"and it cannot be told from what: {error.message.rstrip('.')}"
        if found.metadata is None:
            return "", f"and it cannot be told from what: {found.unread.rstrip('.')}"
        adopted = found.metadata.get("adopted")
        sha256 = adopted.get("sha256") if isinstance(adopted, dict) else None
        return (sha256 if isinstance(sha256, str) else ""), ""
