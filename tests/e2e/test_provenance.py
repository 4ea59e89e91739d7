"""What is recorded without being asked: runs of other tools, and digests of training data."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import vault
from tests import builders
from vault.actions import packing, provenance
from vault.core import names
from vault.loaders.fingerprint import fingerprint


def mlflow(run: object) -> Any:
    return SimpleNamespace(active_run=lambda: run)


RUN = SimpleNamespace(info=SimpleNamespace(run_id="8f2c", experiment_id="7"))


def test_without_a_run_nothing_is_recorded() -> None:
    assert provenance.runs({}, {}) is None
    assert provenance.runs({}, {"mlflow": mlflow(None), "wandb": SimpleNamespace(run=None)}) is None
    assert provenance.runs({"WANDB_PROJECT": "churn", "MLFLOW_TRACKING_URI": "http://u:p@h"}, {}) is None


def test_ids_in_the_environment_are_recorded_and_no_address() -> None:
    found = provenance.runs(
        {
            "MLFLOW_RUN_ID": "8f2c",
            "MLFLOW_TRACKING_URI": "http://user:secret@host",
            "WANDB_RUN_ID": "x1",
            "WANDB_ENTITY": "quant",
            "WANDB_API_KEY": "secret",
        },
        {},
    )
    assert found == {
        "mlflow": {"run": "8f2c", "experiment": None},
        "wandb": {"run": "x1", "project": None, "entity": "quant"},
    }


def test_a_run_that_is_active_comes_before_what_a_variable_says() -> None:
    wandb = SimpleNamespace(run=SimpleNamespace(id="w1", project="churn", entity=None))
    found = provenance.runs({"MLFLOW_RUN_ID": "old"}, {"mlflow": mlflow(RUN), "wandb": wandb})
    assert found == {
        "mlflow": {"run": "8f2c", "experiment": "7"},
        "wandb": {"run": "w1", "project": "churn", "entity": None},
    }


def test_another_librarys_mistakes_and_odd_texts_harm_nobody() -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    assert provenance.runs({}, {"mlflow": Broken(), "wandb": Broken()}) is None
    assert provenance.runs({"WANDB_RUN_ID": "x"}, {"wandb": Broken()}) is not None
    odd = {"MLFLOW_RUN_ID": "a\x1b[31m\n\ud800b" + "c" * 10_000}
    found = provenance.runs(odd, {})
    assert found is not None
    told = found["mlflow"]
    assert isinstance(told, dict)
    run = told["run"]
    assert isinstance(run, str)
    assert run.startswith("a[31mb")
    assert len(run) == 200
    numbers = SimpleNamespace(run=SimpleNamespace(id=5, project=None, entity=None))
    assert provenance.runs({}, {"wandb": numbers}) is None


def test_who_has_the_data_can_compare() -> None:
    data = [[1.0, 2.0], [3.0, 4.0]]
    assert provenance.training(data)["training_data"] == vault.data_digest(data).digest
    assert vault.data_digest(data) == fingerprint(np.array(data))


def test_nothing_is_imported_to_find_a_run() -> None:
    program = (
        "import sys; from pathlib import Path; from vault.actions import provenance; "
        "provenance.describe(Path('.')); assert not {'mlflow', 'wandb', 'numpy', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_push_records_the_digest_of_training_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "8f2c")
    built = builders.solo()
    (tmp_path / "train.csv").write_text("x\n1\n")
    data = np.arange(10.0).reshape(5, 2)
    for given, kind, rows in ((data, "array", 5), (tmp_path / "train.csv", "file", None), (None, None, None)):
        labels = packing.Labels(training_data=given)
        session = built.session()
        ref = packing.push(
            session, names.model("churn"), [b'{"w":[1]}'], None, labels, sample=None, public=False
        )
        info = built.open(ref).opened.metadata.info
        assert (info["training_kind"], info["training_rows"]) == (kind, rows)
        assert info["training_data"] == (None if given is None else fingerprint(given).digest)
        assert info["runs"] == {"mlflow": {"run": "8f2c", "experiment": None}}
