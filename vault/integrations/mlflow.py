"""Let MLflow load models from a vault: `mlflow.pyfunc.load_model("models:/churn@prod")`.

MLflow fetches a model into a folder and loads it from there. So what it is
given to fetch is no model: an `MLmodel` file that names this module, and the
reference. The model itself is verified and decrypted in memory, when MLflow
asks this module to load it. Nothing decrypted is ever written, not even the
names of columns (docs/decisions/0023).

    mlflow.set_registry_uri("mvault:/srv/models")
    model = mlflow.pyfunc.load_model("models:/churn@prod")
    model = mlflow.pyfunc.load_model("mvault:churn@prod")      # the vault of MVAULT_VAULT
"""

import atexit
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from mlflow.entities import FileInfo
from mlflow.entities.model_registry import ModelVersion, RegisteredModel, RegisteredModelAlias
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.abstract_store import AbstractStore
from mlflow.utils.search_utils import SearchModelUtils
from yaml.representer import SafeRepresenter

import vault
from vault.actions import named_vaults
from vault.core import names
from vault.errors import Malformed, NotFound
from vault.vault import Vault

SCHEME: Final = "mvault:"
MLMODEL: Final = "MLmodel"
REFERENCE: Final = "mvault.json"
_BYTES: Final = 64 * 1024
_FLAVOUR: Final = f"""\
flavors:
  python_function:
    data: {REFERENCE}
    loader_module: {__name__}
    python_version: {platform.python_version()}
"""


class VaultArtifactRepository(ArtifactRepository):
    """The artifacts of a version at `mvault:REF` or `mvault://LOCATION/REF`: two small files that name it.

    LOCATION is percent-encoded, `/` too. Without it the vault is that of the
    settings of whoever loads.
    """

    def __init__(self, artifact_uri: str, *more: Any, **options: Any) -> None:
        """Stand for the artifacts at a URI; releases of MLflow give more or fewer arguments beside it."""
        super().__init__(artifact_uri, *more, **options)
        rest = artifact_uri.removeprefix(SCHEME)
        self._location = ""
        if rest.startswith("//"):
            place, _, rest = rest[2:].partition("/")
            self._location = unquote(place)
        self._below = unquote(rest).strip("/")

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """Give the two files of a reference; nothing for a file."""
        reference, file = self._split(path)
        files = self._files(reference)
        return [] if file else [FileInfo(name, False, len(data)) for name, data in files.items()]

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        """Write the two files, or the one that is asked for, into a folder; give the path of what is there.

        A folder that nobody named is removed when this process ends.

        Raises:
            MlflowException: there is no such artifact.
        """
        reference, file = self._split(artifact_path)
        files = self._files(reference)
        if dst_path is None:
            dst_path = tempfile.mkdtemp(prefix="mvault-mlflow-")
            atexit.register(shutil.rmtree, dst_path, ignore_errors=True)
        for name, data in files.items():
            if file in {"", name}:
                (Path(dst_path) / name).write_bytes(data)
        return os.path.join(dst_path, file)

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        reference, file = self._split(remote_file_path)
        Path(local_path).write_bytes(self._files(reference)[file])

    def _split(self, path: str | None) -> tuple[str, str]:
        """Tell a reference, whose parts MLflow may have cut, from the file that is asked for."""
        whole = "/".join(part for part in (self._below, (path or "").strip("/")) if part)
        head, _, last = whole.rpartition("/")
        return (head, last) if last in {MLMODEL, REFERENCE} else (whole, "")

    def _files(self, reference: str) -> dict[str, bytes]:
        try:
            names.reference(reference)
        except Malformed as error:
            raise MlflowException(
                f"{self.artifact_uri} has nothing called {reference!r}: {error.message} A vault's files are "
                "never fetched through MLflow; to write them decrypted: mvault pull REF DIR.",
                INVALID_PARAMETER_VALUE,
            ) from None
        told = {"reference": reference, "vault": self._location or None}
        return {MLMODEL: _FLAVOUR.encode(), REFERENCE: f"{json.dumps(told)}\n".encode()}

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> None:
        """Refuse: what goes into a vault is signed by `save_model` and `push`."""
        raise _read_only("log_artifact")

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Refuse: what goes into a vault is signed by `save_model` and `push`."""
        raise _read_only("log_artifacts")

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Refuse: what leaves a vault is removed by its retention."""
        raise _read_only("delete_artifacts")


# --- loading ---


class VaultModel:
    """A model that was loaded from a vault, as MLflow's `PyFuncModel` calls it."""

    def __init__(self, model: Any) -> None:
        """Wrap what `load_model` gave."""
        self._model = model

    def predict(self, data: Any) -> Any:
        """Predict, or transform where the model does no more.

        Raises:
            TypeError: it does neither.
            FeatureMismatch: the columns are not those that it was trained on.
        """
        method = getattr(self._model, "predict", None) or getattr(self._model, "transform", None)
        if method is None:
            raise TypeError(f"A {type(self._model).__name__} neither predicts nor transforms.")
        return method(data)

    def get_raw_model(self) -> Any:
        """Give the model itself (`PyFuncModel.get_raw_model`)."""
        return self._model


def _load_pyfunc(path: str) -> VaultModel:
    """Load the model that a file `mvault.json` names; MLflow calls this with the file's path.

    The file may be a stranger's: its vault must be the one of the settings, or
    one that is trusted on this machine, and every check of a load is made.

    Raises:
        Malformed: it is no such file.
        Refused, NotFound, Unavailable, NoUsableKey, MissingLibrary: as `Vault.load_model`.
    """
    with open(path, "rb") as file:
        data = file.read(_BYTES)
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    match told:
        case {"reference": str(reference), "vault": None | str() as location}:
            return VaultModel(_opened(location or "").load_model(names.reference(reference)))
    raise Malformed(f"{path} does not say what to load.", subject=str(path))


def _opened(location: str) -> Vault:
    """Open the vault of the settings, or the one at a location that this user knows."""
    if location:
        named_vaults.check_known(location)
    return vault.open(location or None)


# --- the registry ---


class AliasedVersion(str):
    """A version's number that remembers by which alias it was found.

    MLflow asks for the version of an alias, then where that version lies. Were
    the alias forgotten, `models:/churn@prod` would load outside prod.
    """

    __slots__ = ("alias",)
    alias: str

    def __new__(cls, version: str, alias: str) -> "AliasedVersion":
        """Make the text `version` remember `alias`."""
        made = super().__new__(cls, version)
        made.alias = alias
        return made


# MLflow notes the version that it fetched as YAML, whose writer takes no kind of text but the plain one.
SafeRepresenter.add_representer(
    AliasedVersion, lambda writer, version: writer.represent_str(str.__str__(version))
)


def _refused(name: str) -> Callable[..., Any]:
    def refuse(self: object, *arguments: object, **more: object) -> Any:
        raise _read_only(name)

    refuse.__doc__ = "Refuse: a vault is changed by signed records, which MLflow cannot write."
    return refuse


class VaultRegistryStore(AbstractStore):
    """A vault as MLflow's registry, to be read: aliases are environments, `prod` or `prod%2Fslot`.

    A `/` in a model's name is written `%2F`, since MLflow allows none.
    """

    def __init__(self, store_uri: str, tracking_uri: str | None = None) -> None:
        """Read the vault at `mvault:LOCATION`; `mvault:` alone is that of the settings."""
        super().__init__(store_uri, tracking_uri)  # type: ignore[no-untyped-call]
        rest = store_uri.removeprefix(SCHEME)
        if rest.startswith("//"):
            place, slash, path = rest[2:].partition("/")
            rest = unquote(place) if place else slash + path
        self._location = rest

    def get_registered_model(self, name: str) -> RegisteredModel:
        """Describe a model by its newest version and what environments use."""
        model = unquote(name)
        for row in self._vault().list(model):
            if row.model == model:
                return _registered(row)
        raise NotFound(f"There is no model {model}.", subject=model)

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> "PagedList[RegisteredModel]":
        """List models: all, or with the filter `name = 'churn'` one."""
        wanted = _wanted(filter_string)
        rows = [row for row in self._vault().list() if wanted is None or row.model == wanted]
        return PagedList([_registered(row) for row in rows], None)

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        """Describe a version."""
        return self._version(name, f"{unquote(name)}:{version}", str(version))

    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion:
        """Describe the version that an environment uses."""
        return self._version(name, f"{unquote(name)}@{unquote(alias)}", None, unquote(alias))

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        """Give the artifact URI of a version, under its alias where it was found by one."""
        alias = getattr(version, "alias", None)
        reference = f"{unquote(name)}@{alias}" if alias else f"{unquote(name)}:{version}"
        place = f"//{quote(self._location, safe='')}/" if self._location else ""
        return f"{SCHEME}{place}{quote(reference, safe='/@:')}"

    def get_latest_versions(self, name: str, stages: list[str] | None = None) -> list[ModelVersion]:
        """Give the newest version; a vault has environments in place of stages."""
        if stages:
            raise MlflowException(
                f"A vault has environments in place of stages: models:/{name}@{stages[0].lower()}",
                INVALID_PARAMETER_VALUE,
            )
        newest = self._vault().versions(unquote(name))[0]
        return [_described(name, newest, newest.version)]

    def search_model_versions(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> "PagedList[ModelVersion]":
        """List versions: all, or with the filter `name = 'churn'` those of one model."""
        opened, wanted = self._vault(), _wanted(filter_string)
        models = [row.model for row in opened.list() if wanted is None or row.model == wanted]
        found = [(model, release) for model in models for release in opened.versions(model)]
        return PagedList([_described(_quoted(model), one, one.version) for model, one in found], None)

    def _version(self, name: str, reference: str, version: str | None, alias: str = "") -> ModelVersion:
        found = self._vault().show(reference).release
        number = found.version if version is None else version
        return _described(name, found, AliasedVersion(number, alias) if alias else number)

    def _vault(self) -> Vault:
        return vault.open(self._location or None)

    create_registered_model = _refused("create_registered_model")
    update_registered_model = _refused("update_registered_model")
    rename_registered_model = _refused("rename_registered_model")
    delete_registered_model = _refused("delete_registered_model")
    set_registered_model_tag = _refused("set_registered_model_tag")
    delete_registered_model_tag = _refused("delete_registered_model_tag")
    create_model_version = _refused("create_model_version")
    update_model_version = _refused("update_model_version")
    transition_model_version_stage = _refused("transition_model_version_stage")
    delete_model_version = _refused("delete_model_version")
    set_model_version_tag = _refused("set_model_version_tag")
    delete_model_version_tag = _refused("delete_model_version_tag")
    set_registered_model_alias = _refused("set_registered_model_alias")
    delete_registered_model_alias = _refused("delete_registered_model_alias")


def _wanted(filter_string: str | None) -> str | None:
    """Give the model that a filter names, None for all.

    Raises:
        MlflowException: it asks for something else.
    """
    name = None
    parse: Callable[[str], list[dict[str, Any]]] = SearchModelUtils.parse_search_filter
    for clause in parse(filter_string) if filter_string else []:
        if clause["type"] == "attribute" and (clause["key"], clause["comparator"]) == ("name", "="):
            name = unquote(str(clause["value"]))
        elif (clause["type"], clause["comparator"]) != ("tag", "!="):  # it has none of MLflow's tags
            raise _read_only("another filter than name = '…'")
    return name


def _registered(row: Any) -> RegisteredModel:
    alias: Callable[[str, str], RegisteredModelAlias] = RegisteredModelAlias
    aliases = [alias(_quoted(place), version) for place, version in row.channels.items()]
    return RegisteredModel(_quoted(row.model), aliases=aliases)


def _described(name: str, release: Any, version: str) -> ModelVersion:
    created = names.timestamp(release.created) * 1_000
    aliases = [_quoted(place) for place in release.channels]
    return ModelVersion(name, version, created, source=f"{SCHEME}{release.reference}", aliases=aliases)


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _read_only(what: str) -> MlflowException:
    return MlflowException(
        f"A vault is read through MLflow, and does not take {what}. Use mvault push, promote and tag.",
        INVALID_PARAMETER_VALUE,
    )
