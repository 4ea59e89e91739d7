"""Load a model or a package: the admission's steps with their reading, then the loader of the format."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from vault.actions import auditing, deserializing, fetching, resolving, savedmodel_folder
from vault.actions.auditing import Act
from vault.actions.fetching_plan import Wanted
from vault.actions.libraries import installed
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import admission, expiry, static_stage
from vault.core.admission import Admitted
from vault.core.manifest import METADATA, FileEntry, FileFacts, Manifest, Metadata
from vault.core.names import Reference
from vault.core.policy import EnvironmentRule
from vault.core.stages import Verified
from vault.core.strict_json import JSONValue
from vault.errors import FeatureMismatch, FormatRefused, NotFound

if TYPE_CHECKING:
    import pandas as pd


class LoadedPackage:
    """A verified package: `.model`, `.artifacts`, `.features`, `.files`, `.metadata`, `.align(df)`.

    Files are decrypted and deserialized when they are asked for, each from
    bytes that passed every step; what was loaded is kept.
    """

    def __init__(
        self, session: Session, verified: Verified, options: Mapping[str, Any], act: Act | None = None
    ) -> None:
        """Open the package's metadata; see `load_package`. What is refused later is told to `act`."""
        self._act = act
        self._session = session
        self._verified = verified
        self._options = options
        self._package = Package(session, verified)
        self._metadata: Metadata = self._package.opened.metadata
        self._model: Any = None
        self._artifacts: dict[str, Any] | None = None

    @property
    def reference(self) -> str:
        """The version that this is, as `name:version`."""
        return self._verified.subject

    @property
    def digest(self) -> str:
        """The manifest's digest, as `sha256:…`."""
        return f"sha256:{self._verified.digest}"

    @property
    def metadata(self) -> Mapping[str, JSONValue]:
        """What was recorded at publishing: metrics, parameters, features, libraries, git and more."""
        return {**self._metadata.info, "libraries": dict(self._metadata.libraries)}

    @property
    def files(self) -> dict[str, dict[str, JSONValue]]:
        """The files by path: format, role, size in bytes, SHA-256."""
        return {
            entry.path: {
                "format": entry.format,
                "role": entry.role,
                "size": entry.size,
                "sha256": _facts(self._metadata, entry).sha256,
            }
            for entry in self._verified.manifest.files
            if entry.path != METADATA
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What does not refuse, and ought to be looked after: other libraries, documents about to expire."""
        here = installed()
        resolved, now = self._verified.authorised.resolved, self._session.clock()
        due = (
            *expiry.documents(resolved.root_expires, resolved.context.policy.expires, now),
            *expiry.heads(resolved.rule.name, resolved.freshness, now),
        )
        return tuple(f"{notice.message} {notice.hint}" for notice in due) + tuple(
            f"saved with {difference}"
            for entry in self._verified.manifest.files
            if entry.role == "model"
            for difference in static_stage.library_differences(entry.format, self._metadata.libraries, here)
        )

    @property
    def features(self) -> list[str] | None:
        """The names of the features in the order of training, if they were recorded."""
        value = self._metadata.info.get("features")
        return [str(name) for name in value] if isinstance(value, list) else None

    @property
    def model(self) -> Any:
        """The model; what comes back depends on its format (docs/loading.md).

        Raises:
            Refused, NotFound, Unavailable, MissingLibrary.
        """
        if self._model is None:
            with self._watched():
                entry = self._model_entry()
                with self._reading([entry]) as reading:
                    self._model = reading.attempt(lambda: self._load(entry, self._options))
        return self._model

    @property
    def artifacts(self) -> Mapping[str, Any]:
        """The objects that travel with the model, by name.

        Raises:
            Refused, NotFound, Unavailable, MissingLibrary.
        """
        if self._artifacts is None:
            entries = self._artifact_entries()
            with self._watched(), self._reading(entries) as reading:
                self._artifacts = reading.attempt(lambda: self._load_all(entries))
        return self._artifacts

    def read(self, path: str) -> bytes:
        """Give the verified bytes of one file, whatever its format.

        Raises:
            NotFound: there is no such file.
            Refused, Unavailable.
        """
        entry = self._verified.manifest.file(path)
        if entry is None or path == METADATA:
            raise NotFound(f"{self.reference} has no file {path}.", subject=self.reference)
        with self._watched(), self._reading([entry]) as reading:
            return reading.attempt(lambda: self._read(entry))

    def _read(self, entry: FileEntry) -> bytes:
        data, sha256 = self._package.read(entry)
        admission.check_plaintext(self._package.opened, entry, len(data), sha256)
        return bytes(data)

    def align(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Give the columns of a DataFrame in the order that the model was trained on.

        Raises:
            FeatureMismatch: a feature is missing, or no features were recorded.
        """
        names = self.features
        if names is None:
            raise FeatureMismatch(f"{self.reference} has no recorded features to align with.")
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise FeatureMismatch(
                f"{self.reference} needs the features {', '.join(missing[:8])}, which are not there.",
                subject=self.reference,
            )
        return frame[names]

    def admit(self, entry: FileEntry) -> Admitted:
        """Decrypt one file and take it through steps 8 to 10.

        Raises:
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        data, sha256 = self._package.read(entry)
        return admission.admit(
            self._package.opened, entry, data, sha256, self._session.allowance, installed()
        )

    def admit_all(self) -> int:
        """Take the model and what travels with it through steps 8 to 10, and every other file through 8.

        Nothing is deserialized. Gives how many files a load would deserialize: none
        where the package has no model and nothing that travels with one.

        Raises:
            Refused, NotFound, Unavailable, NoUsableKey.
        """
        has_model = any(entry.role == "model" for entry in self._verified.manifest.files)
        loaded = [*([self._model_entry()] if has_model else []), *self._artifact_entries()]
        for entry in loaded:
            self.admit(entry)
        for entry in self._verified.manifest.files:
            if entry not in loaded and entry.path != METADATA:
                self.read(entry.path)
        return len(loaded)

    def _artifact_entries(self) -> list[FileEntry]:
        return [
            entry
            for entry in self._verified.manifest.files
            if entry.role in ("artifact", "preprocessor", "features")
        ]

    def _model_entry(self) -> FileEntry:
        chosen = model_of(self._verified.authorised.resolved.rule, self._verified.manifest)
        if chosen:
            return chosen[0]
        models = [entry for entry in self._verified.manifest.files if entry.role == "model"]
        if not models:
            raise NotFound(
                f"{self.reference} has no file that is a model.",
                subject=self.reference,
                hint="Its files can be had with load_package(…).read(path) or mvault pull.",
            )
        found = ", ".join(sorted({entry.format for entry in models}))
        raise FormatRefused(
            f"{self.reference} is {found}, which this release does not deserialize.",
            subject=self.reference,
            hint="Get the file with mvault pull, or publish the model as skops or onnx.",
        )

    def _load_all(self, entries: list[FileEntry]) -> dict[str, Any]:
        self._package.unlock(entries)
        return {_stem(entry): self._load(entry, {}) for entry in entries}

    def _reading(self, entries: list[FileEntry]) -> AbstractContextManager[fetching.Fetching]:
        sealed = self._package.opened.sealed
        return fetching.reading(self._session, sealed, entries)

    def _load(self, entry: FileEntry, options: Mapping[str, Any]) -> Any:
        model = entry.role == "model"  # the labels and names that were recorded are the model's
        saved = deserializing.Saved(
            self._session.allowance,
            _listed(self._metadata, "classes") if model else None,
            _listed(self._metadata, "features") if model else None,
            options,
            entry.role,
            lambda: self._beside(entry),
        )
        with self._watched():
            return deserializing.deserialize(self.admit(entry), saved)

    def _watched(self) -> AbstractContextManager[object]:
        """Have what is refused from here on recorded, if the load itself is over."""
        return nullcontext() if self._act is None else self._act.afterwards()

    def _beside(self, entry: FileEntry) -> dict[str, bytes]:
        """Read the verified files of the folder around a SavedModel's graph, by their paths in it."""
        paths = savedmodel_folder.beside(entry.path, (file.path for file in self._verified.manifest.files))
        entries = [file for file in self._verified.manifest.files if file.path in paths.values()]
        with self._reading(entries):
            return {inner: self.read(path) for inner, path in paths.items()}


def model_of(rule: EnvironmentRule, manifest: Manifest) -> list[FileEntry]:
    """Choose the one model that is loaded of a package; none where the environment allows none."""
    for kind in deserializing.LADDER:
        for entry in manifest.files:
            if entry.role == "model" and entry.format == kind and kind in rule.formats:
                return [entry]
    return []


def _facts(metadata: Metadata, entry: FileEntry) -> FileFacts:
    return metadata.files[entry.path]


def _stem(entry: FileEntry) -> str:
    name = entry.path.rpartition("/")[2]
    return name.rpartition(".")[0] or name


def _listed(metadata: Metadata, name: str) -> list[Any] | None:
    value = metadata.info.get(name)
    return value if isinstance(value, list) else None


def load_package(session: Session, reference: Reference, options: Mapping[str, Any]) -> LoadedPackage:
    """Find, verify and open a package; nothing is deserialized before it is asked for.

    Raises:
        Refused, NotFound, Unavailable, NoUsableKey.
    """
    with _looking(session, reference, "package") as look, _loading(session, reference) as act:
        return look.attempt(lambda: _open(session, reference, options, act))


def load_model(session: Session, reference: Reference, options: Mapping[str, Any]) -> Any:
    """Find, verify, decrypt and deserialize a model; what comes back depends on its format.

    Raises:
        Refused, NotFound, Unavailable, NoUsableKey, MissingLibrary.
    """
    with _looking(session, reference, "model", model_of) as look, _loading(session, reference) as act:
        return look.attempt(lambda: _open(session, reference, options, act).model)


def _looking(
    session: Session, reference: Reference, what: str, wanted: Wanted = fetching.metadata_alone
) -> AbstractContextManager[fetching.Fetching]:
    environment = resolving.environment_of(session, reference)
    return fetching.looking(session, reference, environment, f"load {what}", wanted)


def _loading(session: Session, reference: Reference) -> AbstractContextManager[Act]:
    return auditing.acting(session, "load", reference, resolving.environment_of(session, reference))


def _open(session: Session, reference: Reference, options: Mapping[str, Any], act: Act) -> LoadedPackage:
    found = resolving.find(session, reference, "load", act)
    return LoadedPackage(session, found.verified, options, act)
