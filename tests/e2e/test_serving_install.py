"""A serving image: only the ONNX extra, small, without scikit-learn, and it loads what prod names."""

import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

import vault
from vault.actions import founding
from vault.actions.opening import gather

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
LOAD = """
import sys, vault
model = vault.open().load_model("churn@prod")
import numpy as np
print(model.predict(np.linspace(-2, 2, 24).reshape(3, 8)).tolist())
print(sorted({"sklearn", "skops", "joblib", "onnx", "yaml", "click", "rich"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_an_install_with_only_the_onnx_extra_stays_under_200_mib_and_serves_without_scikit_learn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Install into an environment without pip, as an image's last stage has it; needs a package index."""
    place = tmp_path / "serving"
    venv.create(place, with_pip=False)
    python = str(place / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", f"{ROOT}[onnx]"]
    subprocess.run(install, check=True)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < 200 * MIB

    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    identity = tmp_path / "serving.json"
    made = founding.new_identity(gather({}), identity, "serving", "hybrid", protect=False)
    joining = vault.Joining(made.name, made.public, made.recipient)
    v = vault.init(tmp_path / "models", no_passphrase=True, services=[joining])
    X, y = make_classification(600, 8, random_state=0)
    model = LogisticRegression().fit(X, y)
    v.promote(v.save_model("churn", model, sample_input=X[:200], format="onnx"), env="prod")
    trust = tmp_path / "trust.json"
    trust.write_bytes(v.export_trust())

    settings = {
        "MVAULT_VAULT": str(tmp_path / "models"),
        "MVAULT_IDENTITY": str(identity),
        "MVAULT_TRUST": str(trust),
    }
    done = subprocess.run(
        [python, "-c", LOAD], env=settings, cwd="/", capture_output=True, text=True, check=True
    )
    expected = model.predict(np.linspace(-2, 2, 24).reshape(3, 8)).tolist()
    assert done.stdout.splitlines() == [str(expected), "[]"]
