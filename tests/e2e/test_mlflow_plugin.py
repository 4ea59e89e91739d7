"""MLflow loads models of a vault by its own calls, and nothing decrypted is ever on a disk."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vault
from tests.e2e.adopting_parts import logistic, rows
from tests.variables import variables
from vault.errors import Malformed, NotFound, Refused
from vault.vault import Vault

pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'model-artifact-vault[test]'")
REPOSITORY = Path(__file__).parents[2]

# A process that loads as a service does; every file that is opened for writing is noted, by whom it may be.
CHILD = """
import json, os, sys, tempfile
from pathlib import Path

written = []
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if (arguments[1] or "").strip("rbt") or flags & (os.O_WRONLY | os.O_RDWR):
            written.append(os.fsdecode(arguments[0]))
    if event in ("os.rename", "os.link", "shutil.copyfile"):
        written.append(str(arguments[1]))

import mlflow, mlflow.pyfunc
import numpy as np

mlflow.set_tracking_uri(f"file://{os.getcwd()}/none")
uris, registry, rows = json.loads(sys.argv[1]), sys.argv[2], np.array(json.loads(sys.argv[3]))
if registry:
    mlflow.set_registry_uri(registry)
sys.addaudithook(note)
told = []
for uri in uris:
    model = mlflow.pyfunc.load_model(uri)
    told.append(model.predict(rows).tolist())
contents = {path: Path(path).read_text("latin1") for path in set(written) if os.path.isfile(path)}
print(json.dumps({"told": told, "raw": type(model.get_raw_model()).__name__, "contents": contents}))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, and a vault with models in prod."""
    top = tmp_path_factory.mktemp("plugin")
    (top / "home").mkdir()
    with variables({"HOME": str(top / "home")}):
        made = vault.init(top / "models", no_passphrase=True, recipient="x25519")
        made.promote(made.save_model("churn", logistic(1.0), sample_input=rows()), env="prod")
        made.promote(made.save_model("nepse/NABIL", logistic(3.0), sample_input=rows()), env="prod")
        made.save_model("churn", logistic(9.0), sample_input=rows())
    return top


def opened(place: Path) -> Vault:
    return vault.open(place / "models")


def loaded(place: Path, *uris: str, registry: str = "", **more: str) -> dict[str, Any]:
    """Load in a process of its own; give what its models said, and what it has written."""
    temporary = place / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "HOME": str(place / "home"),
        "PYTHONPATH": str(REPOSITORY),
        "TMPDIR": str(temporary),
        "MLFLOW_ALLOW_FILE_STORE": "true",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(uris), registry, json.dumps(rows(5).tolist())],
        env=environment,
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(temporary.rglob("*")) == [], "files were left behind"
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_mlflow_loads_what_an_environment_uses_and_predicts_the_same(place: Path) -> None:
    found = loaded(
        place,
        *("models:/churn@prod", "models:/nepse%2FNABIL@prod", "models:/churn/2", "models:/churn/latest"),
        *("mvault:churn@prod", f"mvault://{str(place / 'models').replace('/', '%2F')}/nepse/NABIL@prod"),
        registry=f"mvault:{place / 'models'}",
        MVAULT_VAULT=str(place / "models"),
    )
    one, two, three = (logistic(strength).predict(rows(5)).tolist() for strength in (1.0, 9.0, 3.0))
    assert found["told"] == [one, three, two, two, one, three]
    assert found["raw"] == "LogisticRegression"


def test_nothing_decrypted_is_written_anywhere(place: Path) -> None:
    found = loaded(place, "models:/churn@prod", registry=f"mvault:{place / 'models'}")
    ours = {path: text for path, text in found["contents"].items() if str(place / "home") not in path}
    assert {Path(path).name for path in ours} == {"MLmodel", "mvault.json", "registered_model_meta"}
    for path, text in found["contents"].items():
        assert not any(
            word in text for word in ("LogisticRegression", "coef_", "PK\x03\x04", "schema.json")
        ), path


@pytest.fixture
def mlflow_here(place: Path) -> Any:
    """The plugin's module in this process, as a user of the vault."""
    with variables({"HOME": str(place / "home"), "MVAULT_VAULT": str(place / "models")}):
        from vault.integrations import mlflow

        yield mlflow


def test_the_registry_lists_models_versions_and_aliases(place: Path, mlflow_here: Any) -> None:
    store = mlflow_here.VaultRegistryStore(f"mvault:{place / 'models'}")
    found = {model.name: dict(model.aliases) for model in store.search_registered_models()}
    assert found == {"churn": {"prod": "1"}, "nepse%2FNABIL": {"prod": "1"}}
    assert store.get_registered_model("nepse%2FNABIL").name == "nepse%2FNABIL"
    assert [one.version for one in store.search_model_versions("name = 'churn'")] == ["2", "1"]
    assert len(store.search_model_versions("tag.`x` != 'true'")) == 3
    assert store.get_model_version("churn", "2").aliases == []
    assert store.get_model_version_by_alias("churn", "prod").version == "1"
    assert [one.version for one in store.get_latest_versions("churn")] == ["2"]
    with pytest.raises(NotFound):
        store.get_registered_model("nobody")


def test_an_alias_is_kept_until_the_model_is_loaded(place: Path, mlflow_here: Any) -> None:
    store = mlflow_here.VaultRegistryStore("mvault:")
    version = store.get_model_version_by_alias("churn", "prod").version
    assert store.get_model_version_download_uri("churn", version) == "mvault:churn@prod"
    assert store.get_model_version_download_uri("churn", "1") == "mvault:churn:1"
    other = mlflow_here.VaultRegistryStore("mvault://s3%3A%2F%2Fbucket%2Fx")
    assert other.get_model_version_download_uri("a%2Fb", "1") == "mvault://s3%3A%2F%2Fbucket%2Fx/a/b:1"
    assert mlflow_here.VaultRegistryStore("mvault:///srv/models")._location == "/srv/models"


def test_a_vault_is_not_changed_and_its_files_are_not_given_out(mlflow_here: Any, tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException

    store = mlflow_here.VaultRegistryStore("mvault:")
    repository = mlflow_here.VaultArtifactRepository("mvault:churn@prod")
    for refused in (
        lambda: store.create_registered_model("x"),
        lambda: store.set_registered_model_alias("churn", "prod", "2"),
        lambda: store.delete_model_version("churn", "1"),
        lambda: store.search_registered_models("name LIKE 'c%'"),
        lambda: store.get_latest_versions("churn", ["Production"]),
        lambda: repository.log_artifact("x"),
        lambda: repository.log_artifacts("x"),
        repository.delete_artifacts,
        lambda: repository.download_artifacts("model.skops", str(tmp_path)),
        lambda: repository.download_artifacts("../../etc", str(tmp_path)),
    ):
        with pytest.raises(MlflowException):
            refused()
    assert list(tmp_path.iterdir()) == []
    assert [file.path for file in repository.list_artifacts()] == ["MLmodel", "mvault.json"]
    assert repository.list_artifacts("MLmodel") == []
    assert Path(repository.download_artifacts("MLmodel", str(tmp_path))).read_text().startswith("flavors:")


def test_a_file_that_names_a_strangers_vault_leads_nowhere(
    place: Path, mlflow_here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(url: str) -> Any:
        raise AssertionError(f"{url} was asked")

    monkeypatch.setattr("vault.storage.s3_client._connect", asked)
    file = tmp_path / "mvault.json"
    for location in ("s3://evil/x?endpoint=http://127.0.0.1:9", str(tmp_path / "other")):
        file.write_text(json.dumps({"reference": "churn@prod", "vault": location}))
        with pytest.raises(Refused, match="nothing was sent to it") as caught:
            mlflow_here._load_pyfunc(str(file))
        assert caught.value.code == "not-trusted"
    file.write_text(json.dumps({"reference": "churn@prod", "vault": str(place / "models")}))
    model = mlflow_here._load_pyfunc(str(file))
    assert np.array_equal(model.predict(rows(5)), logistic(1.0).predict(rows(5)))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"reference": 1, "vault": null}', '{"reference": "churn"}', "[" * 100_000]
)
def test_a_file_that_says_nothing_is_malformed(text: str, mlflow_here: Any, tmp_path: Path) -> None:
    (tmp_path / "mvault.json").write_text(text)
    with pytest.raises(Malformed):
        mlflow_here._load_pyfunc(str(tmp_path / "mvault.json"))


def test_a_model_that_only_transforms_does_that(mlflow_here: Any) -> None:
    class Scaler:
        def transform(self, data: Any) -> str:
            return f"scaled {data}"

    assert mlflow_here.VaultModel(Scaler()).predict(3) == "scaled 3"
    with pytest.raises(TypeError, match="neither predicts"):
        mlflow_here.VaultModel(object()).predict(3)
