"""A whole day with a vault in a bucket: made, pushed to, promoted, loaded elsewhere, checked, attacked."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import vault
from vault.errors import DigestMismatch, NotFound
from vault.storage.opening import open_store

ROWS = 200
LARGE = 11_000_000  # more than one part of any adapter
ELSEWHERE = """
import json, sys
import numpy as np
import vault

model = vault.open(sys.argv[1]).load_model("churn@prod")
print(json.dumps(model.predict(np.array(json.loads(sys.argv[2]))).tolist()))
"""


def check_a_day(url: str, tmp_path: Path, overwrite: Callable[[str, bytes], None]) -> None:
    """Go through the day at `url`; `overwrite` puts other bytes under a name, as the bucket's owner may."""
    opened = vault.init(url, name="owner", no_passphrase=True, recipient="x25519")
    random = np.random.default_rng(1)
    rows = random.normal(size=(ROWS, 4))
    model = LogisticRegression().fit(rows, rows @ [1, -2, 3, 0] > 0)
    assert str(opened.save_model("churn", model, sample_input=rows)) == "churn:1"
    opened.promote("churn:1", env="prod")
    large = tmp_path / "large.bin"
    large.write_bytes(random.bytes(LARGE))
    opened.push("weights", large)

    _loads_elsewhere(url, model, rows)
    again = vault.open(url)
    assert {row.model: row.newest for row in again.list()} == {"churn": "1", "weights": "1"}
    assert again.check(data=True).whole
    pulled = again.pull("weights:1", tmp_path / "out")
    assert (Path(pulled) / "large.bin").read_bytes() == large.read_bytes()
    with pytest.raises(NotFound):
        again.load_model("churn:2")

    _refuses_other_bytes(url, tmp_path, overwrite)
    assert vault.open(url).check("churn:1").whole


def _loads_elsewhere(url: str, model: Any, rows: Any) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    shown = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, url, json.dumps(rows[:20].tolist())],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout) == model.predict(rows[:20]).tolist()


def _refuses_other_bytes(url: str, tmp_path: Path, overwrite: Callable[[str, bytes], None]) -> None:
    store = open_store(url)
    (name,) = [
        name for name in store.list("models/weights/") if "/files/" in name and store.stat(name).size > LARGE
    ]
    stored = bytearray(store.read(name, limit=2 * LARGE))
    stored[9_000_000] ^= 1
    overwrite(name, bytes(stored))
    with pytest.raises(DigestMismatch):
        vault.open(url).pull("weights:1", tmp_path / "altered")
    report = vault.open(url).check("weights:1", data=True)
    assert {finding.code for finding in report.findings if finding.level == "bad"} <= {
        "digest-mismatch",
        "decrypt-failed",
    }
    assert not report.whole
    overwrite(name, bytes(stored[:-1]))
    report = vault.open(url).check("weights:1")
    assert {finding.code for finding in report.findings if finding.level == "bad"} == {"size-mismatch"}
