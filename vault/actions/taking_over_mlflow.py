"""List the registered models of an MLflow, and read their files; nothing of them is loaded or run.

The registry is asked through MLflow's own client. What a version names as its
source was chosen by whoever registered it: files of this machine are read for
it only where the registry itself lies on this machine.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from vault.actions.taking_over_artifacts import (
    Artifacts,
    FolderArtifacts,
    MlflowPlace,
    RepositoryArtifacts,
    unavailable,
)
from vault.actions.taking_over_places import FolderPlace
from vault.core import adoption_pattern, adoption_plan, labels, limits, mlflow_model
from vault.core.adoption_pattern import Pattern
from vault.core.adoption_plan import Facts, LeftOut, Origin, Plan, Renames
from vault.core.mlflow_model import MlflowModel
from vault.core.names import Environment
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, Malformed, MissingLibrary, NotFound, Unavailable, VaultError
from vault.yaml_subset import Node
from vault.yaml_subset import load as load_yaml

SCHEME: Final = "mlflow:"
PATTERN: Final = "{model}/{version}"
_PAGE: Final = 500
_TEXT: Final = 2_000
_ENTRIES: Final = 200  # of metrics, parameters, tags
_REMOTE: Final = frozenset({"s3", "gs", "abfss", "wasbs", "mlflow-artifacts", "runs", "models", "dbfs"})
_LOCAL_REGISTRIES: Final = frozenset({"", "file", "sqlite"})


@dataclass(frozen=True, slots=True)
class Listed:
    """The versions of a registry, planned."""

    place: MlflowPlace
    plan: Plan


def read(
    source: str,
    pattern: Pattern | None,
    renames: Renames,
    aliases: Mapping[str, Environment],
) -> Listed:
    """List the registered models at `mlflow:TRACKING-URI`; without a URI at MLFLOW_TRACKING_URI.

    Their paths are NAME/VERSION; `pattern` may choose among them.

    Raises:
        MissingLibrary: MLflow is not installed.
        Unavailable: the registry cannot be read.
    """
    registry = _Registry(source.removeprefix(SCHEME))
    place = MlflowPlace(registry.location)
    chosen = pattern or adoption_pattern.parse(PATTERN)
    origins: list[Origin] = []
    facts: dict[str, Facts] = {}
    used: dict[str, list[Environment]] = {}
    unmatched: list[str] = []
    left: list[LeftOut] = []
    for version in registry.versions():
        path = f"{version.name}/{version.number}"
        matched = chosen.match(path)
        if matched is None:
            unmatched.append(path)
            continue
        try:
            artifacts = registry.artifacts(version)
            described = _described(artifacts, path)
            files = _files(artifacts, described, path)
            facts[path] = _facts(version, described, registry.run(version))
        except VaultError as error:
            left.append(LeftOut(path, error.code, error.message, hint=error.hint))
            continue
        except OSError as error:
            left.append(LeftOut(path, "unavailable", f"It cannot be looked at: {error.strerror}."))
            continue
        place.add(path, artifacts)
        inside = {"" if single else name: f"{path}/{file}" for name, (file, single) in files.items()}
        origins.append(Origin(path, inside, matched))
        used[path] = [aliases[alias] for alias in version.aliases if alias in aliases]
    candidates, misnamed = adoption_plan.settle(origins, renames, facts)
    settled = tuple(
        replace(one, environments=tuple(sorted({*one.environments, *used[one.origin.path]})))
        for one in candidates
    )
    return Listed(place, Plan(settled, (*left, *misnamed), tuple(unmatched)))


# --- one version ---


@dataclass(frozen=True, slots=True)
class _Version:
    """A registered version as the registry tells of it."""

    name: str
    number: str
    source: str
    run_id: str
    description: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    stage: str
    created: int | None


@dataclass(frozen=True, slots=True)
class _RunFacts:
    metrics: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def _described(artifacts: Artifacts, subject: str) -> MlflowModel:
    """Read the MLmodel file of a version.

    Raises:
        NotFound, Malformed, FormatRefused, Unavailable.
    """
    subject = f"{subject}/{mlflow_model.FILE}"
    with tempfile.TemporaryFile() as file:
        artifacts.copy(mlflow_model.FILE, file.fileno(), most=limits.MLMODEL_BYTES)
        file.seek(0)
        data = file.read(limits.MLMODEL_BYTES + 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"{subject} is not UTF-8.", subject=subject) from None
    return mlflow_model.read(_tree(load_yaml(text, subject, limits.MLMODEL_BYTES)), subject=subject)


def _tree(node: Node) -> mlflow_model.Tree:
    if isinstance(node.value, str):
        return node.value
    if isinstance(node.value, list):
        return [_tree(entry) for entry in node.value]
    return {key: _tree(entry) for key, entry in node.value.items()}


def _files(artifacts: Artifacts, described: MlflowModel, subject: str) -> dict[str, tuple[str, bool]]:
    """Find the files of the model: path in the package → path of the artifact, and whether it is one file.

    Raises:
        NotFound: it is not there.
    """
    wanted = described.path
    found = sorted(path for path in artifacts.list() if path == wanted or path.startswith(f"{wanted}/"))
    if found == [wanted]:
        return {wanted: (wanted, True)}
    inner = [path for path in found if path.rpartition("/")[2].startswith("model.keras")]
    if len(inner) == 1:
        return {inner[0]: (inner[0], True)}
    graphs = [path for path in found if path.endswith("/saved_model.pb")]
    if len(graphs) == 1:
        folder = graphs[0].removesuffix("saved_model.pb")
        return {path[len(folder) :]: (path, False) for path in found if path.startswith(folder)}
    raise NotFound(
        f"{subject}: the model that its MLmodel names is not among its artifacts.", subject=subject
    )


def _facts(version: _Version, described: MlflowModel, run: _RunFacts) -> Facts:
    """Put together what the registry, the run and the MLmodel file say; all of it is confidential."""
    tags = [version.stage] if version.stage not in {"", "None"} else []
    tags += version.aliases
    tags += [f"{name}:{value}" for name, value in version.tags.items()]
    more: dict[str, JSONValue] = {
        "mlflow": {
            "aliases": [*version.aliases],
            "created": described.created,
            "flavour": described.flavour,
            "mlflow_version": described.mlflow_version,
            "name": version.name[:_TEXT],
            "run_id": (version.run_id or described.run_id)[:_TEXT],
            "run_tags": dict(run.tags),
            "signature": dict(described.signature),
            "source": version.source[:_TEXT],
            "stage": version.stage,
            "tags": dict(version.tags),
            "version": version.number,
        }
    }
    return Facts(
        metrics=run.metrics,
        params=run.params,
        features=described.features,
        notes=version.description[:_TEXT] or None,
        tags=tuple(tag for tag in dict.fromkeys(tags) if _is_tag(tag)),
        more=more,
    )


def _is_tag(text: str) -> bool:
    try:
        labels.tag(text)
    except Malformed:
        return False
    return True


# --- the registry ---


class _Registry:
    """MLflow's client; whatever it raises is told as a store that failed."""

    def __init__(self, uri: str) -> None:
        try:
            import mlflow
        except ModuleNotFoundError:
            raise MissingLibrary(
                "Adopting from MLflow needs MLflow, which is not installed.",
                hint="Install it: pip install 'model-artifact-vault[mlflow]'.",
            ) from None
        self._uri = uri or str(mlflow.get_tracking_uri())
        self._is_local = _scheme(self._uri) in _LOCAL_REGISTRIES
        if self._is_local and not _place_of(self._uri).exists():  # MLflow would make one there
            raise NotFound(f"There is no MLflow at {self._uri}.", subject=self._uri)
        self._client: Any = self._asked(lambda: mlflow.MlflowClient(self._uri, self._uri))
        self._runs: dict[str, _RunFacts] = {}

    @property
    def location(self) -> str:
        """The registry's URI, without a password."""
        from urllib.parse import urlsplit

        parts = urlsplit(self._uri)
        shown = (
            self._uri if "@" not in parts.netloc else self._uri.replace(parts.netloc, parts.hostname or "", 1)
        )
        return f"{SCHEME}{shown}"

    def versions(self) -> Iterator[_Version]:
        """List all versions of registered models, by name and in the order of their numbers."""
        named = {model.name: self._by_version(model) for model in self._pages("search_registered_models")}
        found = [one for one in self._pages("search_model_versions") if one.name in named]
        if len(found) > limits.MLFLOW_VERSIONS:
            raise Unavailable(
                f"{self.location} has more than {limits.MLFLOW_VERSIONS:,} versions.",
                code="unavailable",
                hint="Adopt some of them: --as 'NAME/{version}' has to name models.",
            )
        for one in sorted(
            found, key=lambda one: (one.name, int(one.version) if str(one.version).isdigit() else 0)
        ):
            number = str(one.version)
            yield _Version(
                name=str(one.name),
                number=number,
                source=str(one.source or ""),
                run_id=str(one.run_id or ""),
                description=str(one.description or ""),
                tags=_texts(one.tags),
                aliases=tuple(sorted(named[one.name].get(number, ()))),
                stage=str(one.current_stage or ""),
                created=one.creation_timestamp,
            )

    @staticmethod
    def _by_version(model: Any) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for alias, version in dict(model.aliases or {}).items():
            found.setdefault(str(version), []).append(str(alias))
        return found

    def _pages(self, verb: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while len(found) <= limits.MLFLOW_VERSIONS:
            page = self._asked(
                lambda token=token: getattr(self._client, verb)(max_results=_PAGE, page_token=token)
            )
            found += page
            token = page.token
            if not token:
                break
        return found

    def run(self, version: _Version) -> _RunFacts:
        """Give the metrics, parameters and tags of a version's run; nothing where the run is gone."""
        if not version.run_id:
            return _RunFacts()
        if version.run_id not in self._runs:
            try:
                data = self._client.get_run(version.run_id).data
            except Exception:  # it was deleted, or cannot be read: the model is adopted all the same
                return _RunFacts()
            metrics = {
                str(name)[:_TEXT]: float(value)
                for name, value in [*data.metrics.items()][:_ENTRIES]
                if isinstance(value, int | float) and abs(value) < float("inf")
            }
            own = {name: value for name, value in data.tags.items() if not name.startswith("mlflow.")}
            self._runs[version.run_id] = _RunFacts(metrics, _texts(data.params), _texts(own))
        return self._runs[version.run_id]

    def artifacts(self, version: _Version) -> Artifacts:
        """Open the folder of a version's files.

        Raises:
            FormatRefused: it lies where a stranger's registry may not send us.
            NotFound, Unavailable.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        uri = str(
            self._asked(lambda: self._client.get_model_version_download_uri(version.name, version.number))
        )
        if _scheme(uri) == "models":  # the model of a run, which has a place of its own
            model_id = uri.partition(":")[2].strip("/")
            uri = str(self._asked(lambda: self._client.get_logged_model(model_id).artifact_location))
        scheme = _scheme(uri)
        if scheme in {"", "file"} and self._is_local:
            return FolderArtifacts(FolderPlace(_local(uri)))
        if scheme not in _REMOTE:
            raise FormatRefused(
                f"{version.name}/{version.number} lies at {uri[:200]}, where a registry's word alone leads "
                "nobody.",
                subject=version.name,
                hint="Fetch its files yourself, and adopt the folder.",
            )
        repository = self._asked(
            lambda: get_artifact_repository(uri, tracking_uri=self._uri, registry_uri=self._uri)
        )
        return RepositoryArtifacts(repository)

    def _asked(self, ask: Any) -> Any:
        """Ask the registry.

        Raises:
            Unavailable.
        """
        try:
            return ask()
        except Exception as error:  # whatever MLflow, and the library below it, raise
            raise unavailable(self.location, error) from None


def _texts(found: Mapping[Any, Any] | None) -> dict[str, str]:
    return {str(name)[:_TEXT]: str(value)[:_TEXT] for name, value in [*(found or {}).items()][:_ENTRIES]}


def _place_of(uri: str) -> Path:
    """Give the file or folder of a registry of this machine (`sqlite:///relative`, `sqlite:////absolute`)."""
    if _scheme(uri) != "sqlite":
        return _local(uri)
    return Path(uri.partition("://")[2].partition("?")[0].removeprefix("/"))


def _local(uri: str) -> Path:
    """Give the path of a folder that is named by its path, or by a `file:` URL of this machine."""
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(uri)
    if parts.scheme and parts.netloc not in {"", "localhost"}:
        raise NotFound(f"{uri[:200]} is on another machine.", subject=uri[:200])
    return Path(unquote(parts.path) if parts.scheme else uri)


def _scheme(uri: str) -> str:
    from urllib.parse import urlsplit

    scheme = urlsplit(uri).scheme.lower()
    return scheme.partition("+")[0] if len(scheme) > 1 else ""
