"""What is imported when: nothing heavy with the package, and no library that a format does not need."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source_tree import ROOT

HEAVY = (
    "pickle", "joblib", "numpy", "scipy", "sklearn", "skops", "onnx", "onnxruntime", "boto3", "cryptography",
    "click", "yaml", "rich", "pandas", "tensorflow", "sqlalchemy",
)  # fmt: skip


def imported(code: str, *arguments: str) -> set[str]:
    """Run a program in a fresh interpreter; give the modules that it has imported at its end."""
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found: list[str] = json.loads(ended.stderr.splitlines()[-1])
    return set(found)


def heavy(found: set[str]) -> set[str]:
    return found & set(HEAVY)


def test_importing_the_package_imports_nothing_heavy() -> None:
    bare = imported("")
    found = imported("import vault")
    assert heavy(found) <= heavy(bare)
    assert {name for name in found if name.startswith("vault")} == {"vault"}


def test_every_public_name_resolves() -> None:
    code = "import vault\nfor name in dir(vault): getattr(vault, name)\nassert len(dir(vault)) > 20"
    found = imported(code)
    assert not heavy(found) & {"pickle", "joblib", "numpy", "sklearn", "onnx", "onnxruntime", "yaml", "click"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    import vault

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vault.nothing  # noqa: B018


def test_the_help_of_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['mvault', '--help']\n"
        "from vault.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert heavy(imported(code)) <= {"click"}


SAVE = """
import sys, numpy as np, vault
from sklearn.linear_model import LogisticRegression
rows = np.random.default_rng(0).normal(size=(120, 3))
model = LogisticRegression().fit(rows, rows[:, 0] > 0)
made = vault.init(sys.argv[1], no_passphrase=True)
for kind in ("onnx", "skops"):
    made.promote(made.save_model(kind, model, sample_input=rows, format=kind), env="prod")
"""
LOAD = """
import sys, vault
model = vault.open(sys.argv[1]).load_model(f"{sys.argv[2]}@prod")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a user who has a vault in models/, with a model of each format."""
    home = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        imported(SAVE, str(home / "models"))
    return home


@pytest.mark.parametrize(
    ("kind", "absent"),
    [
        ("onnx", {"sklearn", "skops", "scipy", "pandas", "onnx", "joblib", "skl2onnx", "yaml", "click"}),
        ("skops", {"onnx", "onnxruntime", "skl2onnx", "yaml", "click"}),
    ],
)
def test_loading_imports_only_what_the_format_needs(
    kind: str, absent: set[str], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(saved))
    assert imported(LOAD, str(saved / "models"), kind) & absent == set()
