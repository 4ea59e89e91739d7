"""The scheduled jobs of examples/recovery.sh: they do what they say, and fail when something is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vault
from tests.house.source_tree import ROOT

SCRIPT = ROOT / "examples" / "recovery.sh"
WORKFLOW = ROOT / "examples" / "recovery-drill.yml"


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    known = {
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "MVAULT_CONFIG_DIR": str(folder / "config"),
        "MVAULT_STATE_DIR": str(folder / "state"),
    }
    return subprocess.run(
        [str(SCRIPT), *arguments],
        cwd=folder,
        env={**known, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_jobs_run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    opened = vault.init(tmp_path / "models", no_passphrase=True, recovery=tmp_path / "recovery.txt")
    (tmp_path / "model.json").write_bytes(b"[1]")
    opened.push("churn", tmp_path / "model.json")
    places = {"BACKUP": str(tmp_path / "nas"), "MVAULT_VAULT": str(tmp_path / "models")}
    for job in ("backup", "verify"):
        done = run(tmp_path, job, **places)
        assert done.returncode == 0, done.stderr
    drill = {
        "BACKUP": places["BACKUP"],
        "RECOVERY": str(tmp_path / "recovery.txt"),
        "INTO": str(tmp_path),
        "MVAULT_IDENTITY": str(tmp_path / "config" / "identity.json"),
        "MVAULT_CONFIG_DIR": str(tmp_path / "nothing"),
    }
    done = run(tmp_path, "drill", **drill)
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("drill-*.json")
    assert opened.check_drill(report).report.outcome == "passed"
    report.unlink()
    next((tmp_path / "nas" / "models").rglob("files/*")).write_bytes(b"damaged")
    done = run(tmp_path, "drill", **drill)
    assert done.returncode == 3
    (report,) = tmp_path.glob("drill-*.json")
    assert opened.check_drill(report).report.outcome == "failed"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert run(tmp_path, "backup").returncode not in (0, 3)
    assert run(tmp_path, "nothing", BACKUP="x").returncode == 2
    assert "recovery identity" in run(tmp_path, "drill", BACKUP="x").stderr


def test_the_workflow_calls_the_script_with_what_it_asks_for() -> None:
    text = WORKFLOW.read_text()
    assert re.search(r"- run: examples/recovery\.sh drill$", text, re.MULTILINE)
    for name in ("BACKUP", "RECOVERY", "REPORTS", "INTO"):
        assert f"{name}:" in text
        assert name in SCRIPT.read_text()
    assert os.access(SCRIPT, os.X_OK)
