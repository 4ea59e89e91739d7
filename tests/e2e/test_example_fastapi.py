"""examples/fastapi: a service that follows its channel while it answers, and drops no request for it."""

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deployed_parts import ROWS, Deployed, deploy
from tests.house.source_tree import ROOT
from tests.servers.loopback import free_port
from vault.core import layout
from vault.core.names import Model, Version

SECONDS = 60
CLIENTS = 4


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    return deploy(tmp_path / "work")


def start(deployed: Deployed, port: int, log: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT / "examples/fastapi"), "service:app"]
    return subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env={**deployed.settings(), "PATH": "/usr/bin:/bin", "WATCH_SECONDS": "0.1", "PYTHONPATH": str(ROOT)},
        cwd="/",
        stdout=log,
        stderr=subprocess.STDOUT,
    )


@contextmanager
def serving(deployed: Deployed) -> Iterator[str]:
    port = free_port()
    place = deployed.folder / "service.log"
    with place.open("wb") as log:
        process = start(deployed, port, log)
        try:
            url = f"http://127.0.0.1:{port}"
            until(lambda: process.poll() is not None or is_up(url))
            assert process.poll() is None, place.read_text()
            yield url
        finally:
            process.terminate()
            process.wait(timeout=SECONDS)


def is_up(url: str) -> bool:
    try:
        return bool(ask(f"{url}/live")["live"])
    except OSError:
        return False


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def ask(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


@dataclass
class Clients:
    """Ask without a pause, from several threads, and keep every answer."""

    url: str
    answers: list[Any] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def versions(self) -> list[str]:
        return [answer["version"] for answer in list(self.answers)]

    @contextmanager
    def asking(self) -> Iterator["Clients"]:
        done = threading.Event()
        threads = [threading.Thread(target=self._ask, args=[done]) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            done.set()
            for thread in threads:
                thread.join(SECONDS)

    def _ask(self, done: threading.Event) -> None:
        while not done.is_set():
            try:
                self.answers.append(ask(f"{self.url}/predict", {"rows": ROWS}))
            except BaseException as failure:
                self.failures.append(failure)
                return


def test_promotions_and_a_rollback_reach_the_service_and_no_request_is_dropped(deployed: Deployed) -> None:
    expected = dict([deployed.release(0)])
    with serving(deployed) as url, Clients(url).asking() as clients:
        until(lambda: "churn:1" in clients.versions())
        expected |= dict([deployed.release(1)])
        until(lambda: "churn:2" in clients.versions())
        until(lambda: ask(f"{url}/ready")["version"] == "churn:2")
        with deployed.as_owner() as opened:
            opened.rollback("churn", env="prod")
        until(lambda: ask(f"{url}/ready")["version"] == "churn:1")
        until(lambda: clients.versions()[-1] == "churn:1")
    assert clients.failures == []
    assert expected["churn:1"] != expected["churn:2"]
    assert all(answer["predictions"] == expected[answer["version"]] for answer in clients.answers)
    assert len(clients.answers) > 20


def test_a_version_that_was_altered_is_told_and_not_served(deployed: Deployed) -> None:
    deployed.release(0)
    with serving(deployed) as url:
        ref, _ = deployed.release(1, promote=False)
        folder = layout.version(Model("churn"), Version("2"))
        for path in (deployed.vault / folder / "files").iterdir():
            path.write_bytes(path.read_bytes()[:-1] + b"\0")
        with deployed.as_owner() as opened:
            opened.promote(ref, env="prod")
        until(lambda: ask(f"{url}/ready")["error"] is not None)
        told = ask(f"{url}/ready")
        assert (told["version"], told["error"]) == ("churn:1", "decrypt-failed")
        assert ask(f"{url}/predict", {"rows": ROWS})["version"] == "churn:1"
        assert ask(f"{url}/live") == {"live": True}
        deployed.release(2)
        until(lambda: ask(f"{url}/ready")["version"] == "churn:3")
        assert ask(f"{url}/ready")["error"] is None


def test_the_service_does_not_start_without_a_model_that_verifies(deployed: Deployed) -> None:
    deployed.release(0)
    (deployed.vault / "models/churn/@/1/manifest.json").write_text("{}")
    with (deployed.folder / "log").open("wb") as log:
        process = start(deployed, free_port(), log)
        assert process.wait(timeout=SECONDS) != 0
    told = (deployed.folder / "log").read_text()
    assert "churn@prod was not loaded [malformed-" in told


def test_a_wrong_request_is_the_callers(deployed: Deployed) -> None:
    deployed.release(0)
    with serving(deployed) as url:
        wrong: tuple[Any, ...] = ({"rows": []}, {"rows": [[1.0]]}, {"rows": [["x"]]}, {}, {"rows": 1})
        for body in wrong:
            with pytest.raises(urllib.error.HTTPError) as caught:
                ask(f"{url}/predict", body)
            with caught.value:
                assert caught.value.code in (400, 422), body
