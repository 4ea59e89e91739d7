"""The local store reads many small files ahead in a process of its own, which changes no answer."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.creating_suite import put
from vault.actions import objects
from vault.core import layout, limits
from vault.core.names import Environment
from vault.ports import ReadsAhead
from vault.storage import local_warm
from vault.storage.local import LocalStore
from vault.storage.memory import MemoryStore

Process = subprocess.Popen[bytes]
INNER = layout.inner_folders(Environment("prod"), [1, 2])
WANTED = ("manifest.json", "sealed/000001.json", "keys/prod-1/a", "keys/prod-2/b")
OTHER = ("files/0", "keys/dev-1/a", "keys/prod-10/a", "labels/x.json", "keys/prod-1/deeper/a")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    found = LocalStore(tmp_path / "store")
    for model in ("churn", "team/stock"):
        for number in (1, 2):
            for name in (*WANTED, *OTHER):
                put(found, f"models/{model}/@/{number}/{name}", b"{}")
    return found


@pytest.fixture
def many(store: LocalStore) -> LocalStore:
    for number in range(local_warm.FEW):
        os.makedirs(f"{store.location}/models/m{number}/@/1")
    return store


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    """Note the processes that are started."""
    found: list[Process] = []
    real = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Process:
        found.append(real(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the files that are opened."""
    found: list[str] = []
    real = os.open

    def note(path: str, flags: int, *rest: Any, **options: Any) -> int:
        found.append(str(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", note)
    return found


def test_what_wraps_the_keys_of_one_environment_is_read_and_nothing_else(
    store: LocalStore, opened: list[str]
) -> None:
    folder = f"{store.location}/models"
    assert local_warm.warm(folder, re.compile(INNER)) == 2 * 2 * len(WANTED)
    expected = {
        f"{folder}/{model}/@/{number}/{name}"
        for model in ("churn", "team/stock")
        for number in (1, 2)
        for name in WANTED
    }
    assert sorted(opened) == sorted(expected)


def test_links_and_pipes_are_passed_over_and_no_folder_has_to_be_there(
    store: LocalStore, tmp_path: Path
) -> None:
    folder = Path(store.location) / "models"
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "manifest.json").write_bytes(b"{}")
    (folder / "linked").symlink_to(tmp_path / "outside")
    (folder / "churn" / "inner").symlink_to(tmp_path / "outside")
    (folder / "churn" / "@" / "1" / "linked.json").symlink_to(tmp_path / "outside" / "manifest.json")
    os.mkfifo(folder / "churn" / "@" / "1" / "pipe.json")
    assert local_warm.warm(str(folder), re.compile(INNER)) == 2 * 2 * len(WANTED)


def test_a_flooded_folder_is_left_where_the_vault_would_refuse_it(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LISTED_NAMES", 1)
    assert local_warm.warm(f"{store.location}/models", re.compile(INNER)) < 2 * 2 * len(WANTED)


def test_a_process_reads_while_the_block_runs(many: LocalStore, started: list[Process]) -> None:
    assert isinstance(many, ReadsAhead)
    with objects.reading_ahead(many, layout.MODELS, INNER):
        (process,) = started
        assert process.wait(timeout=60) == 0


def test_it_ends_with_the_block(
    many: LocalStore, started: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_warm, "_START", "import time; time.sleep(600)")
    with pytest.raises(KeyError), objects.reading_ahead(many, layout.MODELS, INNER):
        raise KeyError
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_it_ends_with_the_process_that_started_it(many: LocalStore) -> None:
    script = (
        "import os, sys\n"
        "from vault.storage import local_warm\n"
        "local_warm._START = 'import sys, threading; sys.path[:] = sys.argv[3:]; '"
        " 'from vault.storage import local_warm; local_warm.warm = lambda *_: threading.Event().wait(); '"
        " 'local_warm.main()'\n"
        "import subprocess\n"
        "real = subprocess.Popen\n"
        "def start(*a, **k):\n"
        "    found = real(*a, **k); print(found.pid, flush=True); return found\n"
        "subprocess.Popen = start\n"
        "with local_warm.reading_ahead(sys.argv[1], [], '.*', lambda _: [''] * local_warm.FEW):\n"
        "    os._exit(1)\n"
    )
    told = subprocess.run([sys.executable, "-c", script, many.location], capture_output=True, check=False)
    assert told.returncode == 1, told.stderr
    pid = int(told.stdout)
    deadline = time.monotonic() + 60
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(pid), "the process outlived the one that started it"


def _runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text("ascii")
    except OSError:
        return False


def test_for_few_folders_no_process_is_started(store: LocalStore, started: list[Process]) -> None:
    with objects.reading_ahead(store, layout.MODELS, INNER):
        pass
    assert not started


def test_where_no_process_can_be_started_nothing_is_read_ahead(
    many: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", many.location + "/nothing")
    with objects.reading_ahead(many, layout.MODELS, INNER):
        assert list(many.list("models/churn/@/1/sealed/")) == ["models/churn/@/1/sealed/000001.json"]


def test_other_stores_need_not_be_told(started: list[Process]) -> None:
    with objects.reading_ahead(MemoryStore(), layout.MODELS, INNER):
        assert not started


def test_the_process_gets_nothing_of_the_environment(
    many: LocalStore, started: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVAULT_PASSPHRASE", "test passphrase")
    monkeypatch.setattr(local_warm, "_START", "import time; time.sleep(600)")
    with objects.reading_ahead(many, layout.MODELS, INNER):
        assert b"test passphrase" not in Path(f"/proc/{started[0].pid}/environ").read_bytes()
