"""Real Keras models through a vault: saved, promoted, loaded elsewhere with no file, refused unless named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vault
from tests.core import tensorflow_parts as parts
from tests.tensorflow.conftest import policy
from vault.actions import founding
from vault.actions.opening import gather
from vault.errors import FormatRefused
from vault.vault import Vault

pytestmark = pytest.mark.tensorflow

ROWS = np.linspace(-2, 2, 40, dtype="float32").reshape(10, 4)
SAMPLE = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")

# What a serving process does; it tells every file that Python opens beyond its libraries.
LOAD = """
import json, os, sys
import numpy as np, tensorflow, keras
import vault

opened = []
source = os.path.dirname(vault.__file__)
libraries = [os.path.realpath(path) for path in (source, sys.prefix, sys.base_prefix, *sys.path) if path]

def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        path, mode, flags = arguments
        if not path.startswith("/") and not flags & (os.O_WRONLY | os.O_RDWR):
            return  # below a folder that was opened before: the vault's own way of reading
        path = os.path.realpath(path)
        if not path.startswith((*libraries, "/proc", "/sys", "/dev", "/etc")):
            opened.append([path, f"{mode} {flags:#x}"])
    elif event in ("os.mkdir", "os.rename", "os.link", "tempfile.mkstemp", "tempfile.mkdtemp"):
        opened.append([str(arguments[0]), event + str(arguments)])

v = vault.open(allow=json.loads(sys.argv[1]))
sys.addaudithook(hook)
try:
    model = v.load_model(sys.argv[2])
    answer = model.predict(np.asarray(json.loads(sys.argv[3]), dtype="float32"))
    told = {"kind": type(model).__name__, "answer": np.asarray(answer).tolist()}
except vault.errors.Refused as refusal:
    told = {"refused": refusal.code, "hint": refusal.hint, "kind": type(refusal).__name__}
print(json.dumps({**told, "opened": opened}))
"""


@pytest.fixture
def owner(place: Path) -> Vault:
    """Found a vault that allows both formats, with a service that may load in prod."""
    identity = place / "serving.json"
    made = founding.new_identity(gather({}), identity, "serving", "hybrid", protect=False)
    joining = vault.Joining(made.name, made.public, made.recipient)
    vault.init(
        place / "models", no_passphrase=True, services=[joining], policy=policy(place, "savedmodel", "keras")
    )
    return vault.open(place / "models", allow={"formats": ["savedmodel", "keras"]})


def serve(place: Path, reference: str, allow: dict[str, list[str]], rows: Any = ROWS) -> dict[str, Any]:
    """Load in another process, as the service, with an empty folder around it and for temporary files."""
    trust = place / "trust.json"
    trust.write_bytes(vault.open(place / "models").export_trust())
    empty = place / "empty"
    empty.mkdir(exist_ok=True)
    surroundings = {
        "MVAULT_VAULT": str(place / "models"),
        "MVAULT_IDENTITY": str(place / "serving.json"),
        "MVAULT_TRUST": str(trust),
        "MVAULT_STATE_DIR": str(place / "serving-state"),
        "HOME": str(empty),
        "TMPDIR": str(empty),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(allow), reference, json.dumps(rows.tolist())],
        env=surroundings, cwd=empty, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    left = sorted(path.name for path in empty.rglob("*"))
    assert left in ([], [".keras", "keras.json"]), "nothing but Keras's own settings"
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def foreign(told: dict[str, Any], place: Path) -> list[list[str]]:
    """Give the files, not folders, that were opened beyond the vault, its state, and Keras's settings."""
    ours = tuple(
        str((place / name).resolve()) for name in ("models", "serving", "serving-state", "trust.json")
    )
    keras = str((place / "empty" / ".keras").resolve())
    files = (entry for entry in told["opened"] if not Path(entry[0]).is_dir())
    return [entry for entry in files if not entry[0].startswith((*ours, keras))]


@pytest.mark.parametrize(("kind", "comes"), [("savedmodel", "TensorFlowModel"), ("keras", "Sequential")])
def test_a_model_is_saved_promoted_and_loaded_in_another_process_without_a_file(
    owner: Vault, place: Path, models: dict[str, Any], kind: str, comes: str
) -> None:
    model = models["plain"]
    reference = owner.save_model("churn", model, sample_input=SAMPLE, format=kind)
    owner.promote(reference, env="prod")
    told = serve(place, "churn@prod", {"formats": [kind]})
    assert told["kind"] == comes
    assert np.allclose(told["answer"], model.predict(ROWS, verbose=0), rtol=1e-5)
    assert foreign(told, place) == []
    assert owner.load_package(reference).metadata["parity"] == {
        kind: {"differing": 0.0, "rows": 1000, "weak": False}
    }


@pytest.mark.parametrize("kind", ["savedmodel", "keras"])
def test_without_the_operators_word_it_is_refused_and_the_refusal_names_the_line_to_add(
    owner: Vault, place: Path, models: dict[str, Any], kind: str
) -> None:
    owner.promote(owner.save_model("churn", models["plain"], format=kind), env="prod")
    told = serve(place, "churn@prod", {})
    assert (told["kind"], told["refused"]) == ("FormatRefused", "format-refused")
    assert f'formats = ["{kind}"] under [allow] in config.toml' in told["hint"]
    assert foreign(told, place) == []


@pytest.mark.parametrize("kind", ["savedmodel", "keras"])
def test_without_the_policys_word_it_is_not_even_packaged(
    place: Path, models: dict[str, Any], kind: str
) -> None:
    vault.init(place / "models", no_passphrase=True)
    allowed = vault.open(place / "models", allow={"formats": ["savedmodel", "keras"]})
    with pytest.raises(FormatRefused, match=f"{kind} was asked for"):
        allowed.save_model("churn", models["plain"], format=kind)
    source = parts.DATA / ("plain.keras" if kind == "keras" else "plain")
    with pytest.raises(FormatRefused, match="dev allows"):
        allowed.push("churn", source)


def test_left_to_itself_a_keras_model_becomes_onnx(owner: Vault, models: dict[str, Any]) -> None:
    reference = owner.save_model("churn", models["plain"], sample_input=SAMPLE)
    loaded = vault.open(owner.location, allow={}).load_model(reference)
    assert type(loaded).__name__ == "OnnxModel"
    assert np.allclose(loaded.predict(ROWS), models["plain"].predict(ROWS, verbose=0), rtol=1e-4, atol=1e-6)


def test_what_onnx_cannot_hold_becomes_a_savedmodel_where_every_party_names_it(
    owner: Vault, place: Path, models: dict[str, Any]
) -> None:
    reference = owner.save_model("words", models["text"])
    assert owner.load_package(reference).files["model/saved_model.pb"]["format"] == "savedmodel"
    loaded = owner.load_model(reference)
    given = np.asarray([["up"], ["/down"], ["never seen"]])
    wanted = models["text"](given).numpy()
    assert np.array_equal(loaded.predict(given), wanted)
    with pytest.raises(FormatRefused, match="would have to be savedmodel"):
        vault.open(place / "models").save_model("words", models["text"])


def test_several_inputs_are_given_by_name(owner: Vault, models: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    sample = {"left": rng.normal(size=(120, 3)), "right": rng.normal(size=(120, 2))}
    for kind in ("onnx", "savedmodel"):
        reference = owner.save_model("both", models["both"], sample_input=sample, format=kind)
        parity = owner.load_package(reference).metadata["parity"]
        assert parity == {kind: {"differing": 0.0, "rows": 120, "weak": False}}
    loaded = owner.load_model(reference)
    inputs = {name: rows[:5] for name, rows in sample.items()}
    wanted = models["both"]([inputs["left"], inputs["right"]]).numpy()
    assert np.allclose(loaded.predict(inputs), wanted, rtol=1e-5)
    with pytest.raises(ValueError, match="takes the inputs left, right"):
        loaded.predict({"left": inputs["left"]})


def test_a_folder_and_an_archive_that_exist_are_pushed_and_come_back(
    owner: Vault, place: Path, tmp_path: Path
) -> None:
    reference = owner.push("pushed", parts.DATA / "plain")
    package = owner.load_package(reference)
    assert {path: facts["format"] for path, facts in package.files.items()} == {
        "model/fingerprint.pb": "data",
        "model/saved_model.pb": "savedmodel",
        "model/variables/variables.data-00000-of-00001": "data",
        "model/variables/variables.index": "data",
    }
    answer = package.model.predict(ROWS)
    assert answer.shape == (10, 3)
    archived = owner.load_model(owner.push("archived", parts.DATA / "plain.keras"))
    assert np.allclose(archived.predict(ROWS, verbose=0), answer, rtol=1e-5)
    native = owner.load_model(reference, as_="native")
    assert list(native.signatures) == ["serve", "serving_default"]
    pulled = owner.pull(reference, tmp_path / "pulled")
    assert parts.folder() == {
        path.relative_to(pulled / "model").as_posix(): path.read_bytes()
        for path in (pulled / "model").rglob("*")
        if path.is_file()
    }
