"""Every script in examples/ runs as its own text says, for each of the three kinds of user."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 180


def surroundings(home: Path) -> dict[str, str]:
    """Give the variables of a user with an empty home, whose shell finds this Python and its `mvault`."""
    home.mkdir(parents=True, exist_ok=True)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8"}


def run(home: Path, *command: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=surroundings(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )


@dataclass(frozen=True)
class Released:
    """What `release.sh` left: its folder, and what it printed."""

    folder: Path
    told: str
    messages: str

    @property
    def vault(self) -> Path:
        return self.folder / "models"

    @property
    def fingerprint(self) -> str:
        found = re.search(r"sha256:[0-9a-f]{64}", (self.vault / "README.txt").read_text())
        assert found is not None
        return found[0]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    place = tmp_path_factory.mktemp("released")
    done = run(place / "home", EXAMPLES / "release.sh", place / "work")
    assert done.returncode == 0, done.stderr
    return Released(place / "work", done.stdout, done.stderr)


def test_there_is_an_example_for_everybody() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")} == {
        "audited.sh",
        "daily.sh",  # test_example_daily.py
        "many_models.py",  # test_example_many.py
        "recovery.sh",  # test_example_recovery.py
        "release.sh",
        "review.sh",
        "service.py",
        "ten_minutes.py",
        "train.py",
    }


def test_the_release_publishes_two_versions_and_promotes_the_first(released: Released) -> None:
    lines = released.told.splitlines()
    assert "churn:1" in lines
    assert "churn:2" in lines
    assert "churn\t2\t2\tprod=1" in lines
    assert any(line.startswith("metrics\tauc 0.9") for line in lines)
    assert "everything holds" in released.messages


def test_a_reviewer_without_any_key_sees_that_it_verifies(released: Released, tmp_path: Path) -> None:
    done = run(tmp_path / "home", EXAMPLES / "review.sh", released.vault, released.fingerprint)
    assert done.returncode == 0, done.stderr
    assert "This is not the vault that was pinned" in done.stderr
    assert re.search(r"^ok\tchurn:1\tverified", done.stdout, re.MULTILINE)
    assert re.search(r"\tpromote\tchurn:1\tprod\t", done.stdout)
    assert "web: service, loader" in done.stdout
    assert re.search(r"\tpromote\tallow\tdone\t\tchurn\t1\tprod\tmain\t", done.stdout)
    assert re.search(r"^whole\t(yes|not checkable)\t", done.stdout, re.MULTILINE)
    assert "os.system" in done.stdout
    assert list((tmp_path / "home").iterdir()) == []


def test_a_reviewer_sees_that_a_record_was_deleted_from_history(released: Released, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", released.vault, copy], check=True)
    (copy / "models/churn/@/1/manifest.json").unlink()
    done = run(tmp_path / "home", EXAMPLES / "review.sh", copy, released.fingerprint)
    assert done.returncode == 3, done.stdout
    assert "churn@prod" in done.stdout


def deployed(released: Released, vault: Path) -> dict[str, str]:
    """Give exactly the variables that a loader needs, and no HOME."""
    return {
        "PATH": "/usr/bin:/bin",
        "MVAULT_VAULT": str(vault),
        "MVAULT_IDENTITY": str(released.folder / "web.json"),
        "MVAULT_TRUST": str(released.folder / "trust.json"),
    }


@contextmanager
def serving(released: Released) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "service.py"), "0"],
        env=deployed(released, released.vault),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert found is not None
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def test_the_service_loads_what_prod_names_and_answers(released: Released) -> None:
    with serving(released) as url:
        request = urllib.request.Request(url, json.dumps([[0.1, 2.0, -0.3, 1.0, 0.0, 0.5]] * 3).encode())
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            found = json.load(answer)
    assert len(found["predictions"]) == 3
    assert set(found["predictions"]) <= {0, 1}


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [
        ("models/churn/@/1/files/*", "decrypt-failed", 3),
        ("models/churn/@/1/manifest.json", "malformed-json", 3),
        ("channels/prod/main/churn/@/000001.json", "rollback", 3),
    ],
)
def test_the_service_does_not_start_on_altered_bytes(
    released: Released, tmp_path: Path, name: str, code: str, status: int
) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", released.vault, copy], check=True)
    for path in copy.glob(name):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x80
        path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "service.py"), "0"],
        env=deployed(released, copy),
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == status
    assert f"churn@prod was not loaded [{code}]" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_must_leave_records_does_and_an_auditor_reads_them_back(tmp_path: Path) -> None:
    done = run(tmp_path / "home", EXAMPLES / "audited.sh", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert "churn@prod was not loaded [no-audit-record]: prod demands an audit record" in done.stderr
    before, _, told = done.stdout.partition("The auditor reads it back")
    assert "Serving churn@prod" in before
    assert re.search(
        r"^20\S+\tweb\tload\tallow\tdone\t\tchurn\t1\tprod\tmain\tchurn@prod\t", told, re.MULTILINE
    )
    assert re.search(r"^whole\tyes\t", told, re.MULTILINE)


CELLS = """
import sys, re
names = {"__name__": "__main__"}
for cell in re.split(r"^(?=# %%)", open(sys.argv[1]).read(), flags=re.MULTILINE):
    exec(compile(cell, "cell", "exec"), names)
"""


@pytest.mark.parametrize("way", ["script", pytest.param("notebook", marks=pytest.mark.slow)])
def test_the_ten_minutes_run(tmp_path: Path, way: str) -> None:
    script = EXAMPLES / "ten_minutes.py"
    command = [sys.executable, script] if way == "script" else [sys.executable, "-c", CELLS, script]
    done = run(tmp_path / "home", *command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "churn:1 ['tenure', 'calls', 'charges', 'contract', 'discount', 'complaints']" in done.stdout
    assert "decrypt-failed: churn:1 was altered in storage: model.skops differs" in done.stdout


def test_the_scripts_use_no_option_of_an_unsafe_kind() -> None:
    for path in EXAMPLES.iterdir():
        if path.suffix in (".py", ".sh"):
            assert "unsafe" not in path.read_text(), path
            assert os.access(path, os.X_OK) == (path.suffix == ".sh"), path
