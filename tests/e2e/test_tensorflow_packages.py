"""SavedModels and Keras archives as packages, on a machine without TensorFlow: pushed, refused, pulled."""

import shutil
import sys
from pathlib import Path

import pytest
from sklearn.linear_model import LogisticRegression

import vault
from tests.core import tensorflow_parts as parts
from vault.errors import FormatRefused, Malformed, MissingLibrary, NotFound
from vault.vault import Vault

POLICY = Path(__file__).parents[2] / "policies" / "solo.yaml"
FOLDER = {
    "model/fingerprint.pb": ("data", "file"),
    "model/saved_model.pb": ("savedmodel", "model"),
    "model/variables/variables.data-00000-of-00001": ("data", "file"),
    "model/variables/variables.index": ("data", "file"),
}


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    """Found a vault whose policy and owner allow both formats."""
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY.read_text().replace("onnx, safetensors", "onnx, savedmodel, keras, safetensors"))
    vault.init(tmp_path / "models", no_passphrase=True, policy=policy)
    return vault.open(tmp_path / "models", allow={"formats": ["savedmodel", "keras"]})


def kinds(owner: Vault, reference: object) -> dict[str, tuple[object, object]]:
    files = owner.load_package(str(reference)).files
    return {path: (facts["format"], facts["role"]) for path, facts in files.items()}


def read(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_folder_is_one_model_and_the_data_beside_it(owner: Vault, tmp_path: Path) -> None:
    reference = owner.push("churn", parts.DATA / "plain")
    assert kinds(owner, reference) == FOLDER
    whole = tmp_path / "whole"
    shutil.copytree(parts.DATA / "plain", whole / "exported")
    (whole / "features.json").write_text('["a","b"]')
    beside = kinds(owner, owner.push("churn", whole))
    assert beside == {
        "features.json": ("json", "features"),
        **{path.replace("model/", "exported/"): facts for path, facts in FOLDER.items()},
    }
    assert read(owner.pull(reference, tmp_path / "out")) == {
        f"model/{path}": data for path, data in parts.folder().items()
    }


def test_an_archive_is_one_model(owner: Vault) -> None:
    assert kinds(owner, owner.push("churn", parts.DATA / "plain.keras")) == {
        "plain.keras": ("keras", "model")
    }
    assert kinds(owner, owner.push("churn", parts.archive())) == {"model.keras": ("keras", "model")}


@pytest.mark.parametrize("change", ["a file more", "a shard less", "an operator that reads a file"])
def test_a_changed_folder_is_not_packaged(owner: Vault, tmp_path: Path, change: str) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(parts.DATA / "plain", folder)
    if change == "a file more":
        (folder / "keras_metadata.pb").write_bytes(b"\x0a\x00")
    elif change == "a shard less":
        (folder / "variables" / "variables.data-00000-of-00001").unlink()
    else:
        graph = parts.graph().replace(b"\x12\x08Identity", b"\x12\x08ReadFile", 1)
        (folder / "saved_model.pb").write_bytes(graph)
    with pytest.raises(FormatRefused) as caught:
        owner.push("changed", folder)
    assert caught.value.code == "format-content"


def test_hostile_archives_are_not_packaged(owner: Vault) -> None:
    for layer in (parts.layer("Lambda"), parts.layer("system", "os")):
        with pytest.raises(FormatRefused) as caught:
            owner.push("evil", parts.archive(parts.sequential(layer)))
        assert caught.value.code == "format-content"
    with pytest.raises(Malformed):
        owner.push("evil", parts.archive(others={"../evil": b""}))


def test_both_formats_are_refused_where_one_party_does_not_name_them(owner: Vault, tmp_path: Path) -> None:
    reference = owner.push("churn", parts.DATA / "plain")
    other = vault.open(tmp_path / "models")
    with pytest.raises(FormatRefused, match="which can run code") as caught:
        other.load_model(reference)
    assert 'formats = ["savedmodel"] under [allow]' in caught.value.hint
    with pytest.raises(FormatRefused):
        other.push("churn", parts.DATA / "plain.keras")


@pytest.mark.parametrize(
    ("source", "library"), [("plain", "tensorflow"), ("plain.keras", "keras.src.saving")]
)
def test_without_the_library_a_load_says_what_to_install(
    owner: Vault, monkeypatch: pytest.MonkeyPatch, source: str, library: str
) -> None:
    reference = owner.push("churn", parts.DATA / source)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibrary) as caught:
        owner.load_model(reference)
    assert "model-artifact-vault[tensorflow]" in caught.value.hint
    with pytest.raises(ValueError, match="'native' or left out"):
        owner.load_model(reference, as_="tensor")


def test_what_is_no_model_of_theirs_is_not_saved_as_one(owner: Vault) -> None:
    estimator = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(ValueError, match="no Keras model"):
        owner.save_model("churn", estimator, format="keras")


def test_tensorflow_serving_gets_its_own_layout(owner: Vault, tmp_path: Path) -> None:
    folder = tmp_path / "source"
    shutil.copytree(parts.DATA / "plain", folder / "exported")
    (folder / "notes.txt").write_text("not for serving")
    reference = owner.push("nepse/churn", folder)
    written = owner.pull(reference, tmp_path / "served", layout="tf-serving")
    assert written == tmp_path / "served" / "nepse" / "churn" / "1"
    assert read(tmp_path / "served") == {
        f"nepse/churn/1/{path}": data for path, data in parts.folder().items()
    }


def test_a_layout_needs_a_savedmodel_a_whole_number_and_a_folder(owner: Vault, tmp_path: Path) -> None:
    archive = owner.push("archive", parts.DATA / "plain.keras")
    with pytest.raises(NotFound, match="no SavedModel"):
        owner.pull(archive, tmp_path / "out", layout="tf-serving")
    named = owner.push("named", parts.DATA / "plain", version="1.2.0")
    with pytest.raises(ValueError, match="whole numbers"):
        owner.pull(named, tmp_path / "out", layout="tf-serving")
    with pytest.raises(ValueError, match="not for a zip file"):
        owner.pull(named, tmp_path / "out", layout="tf-serving", zip=True)
    with pytest.raises(ValueError, match="A layout is tf-serving"):
        owner.pull(named, tmp_path / "out", layout="triton")
    assert not (tmp_path / "out").exists()
