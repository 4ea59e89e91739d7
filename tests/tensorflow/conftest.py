"""Skip these tests where TensorFlow is not installed, and fail them where it was to be."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

# Read before the fixture of all tests forgets this user's settings.
REQUIRED = os.environ.get("MVAULT_CI_TENSORFLOW") == "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
POLICY = Path(__file__).parents[2] / "policies" / "solo.yaml"


@pytest.fixture(autouse=True, scope="session")
def _tensorflow() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        reason = "there is no TensorFlow here; pip install 'model-artifact-vault[tensorflow]'"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def models(_tensorflow: None) -> dict[str, Any]:
    """Build the models of the fixtures, untrained: a weight is a weight."""
    from tests.tensorflow import make_fixtures

    return make_fixtures.models()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a user with settings of their own, in an empty folder; give the folder for vaults."""
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    return tmp_path


def policy(folder: Path, *formats: str) -> Path:
    """Write the starter's policy with more formats in both environments."""
    written = folder / "policy.yaml"
    text = POLICY.read_text(encoding="utf-8")
    written.write_text(
        text.replace("onnx, safetensors", f"onnx, {', '.join(formats)}, safetensors"), encoding="utf-8"
    )
    return written
