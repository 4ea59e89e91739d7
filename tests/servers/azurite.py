"""Start Azurite, Microsoft's own emulator of Azure Blob Storage, on a free port of this machine.

npm installs it once into pytest's cache. Where that cannot be the tests are skipped and say why; with
`CI=true` in the environment they fail.
"""

import contextlib
import fcntl
import http.client
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests import oracles
from tests.servers import loopback
from tests.servers.http_proxy import listens

ACCOUNT = "devstoreaccount1"
# Azurite's account and its key are the same everywhere and published.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Azurite:
    """A running server: the URL of its one account, and its process."""

    endpoint: str
    process: "subprocess.Popen[bytes]"

    @property
    def environment(self) -> dict[str, str]:
        """What a process finds in its environment to have the account's rights."""
        return {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_KEY": KEY}

    def client(self) -> Any:
        """Give the library's own client of the account, beside the vault's."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient(self.endpoint, credential=KEY, retry_total=0)

    def container(self) -> str:
        """Make a new container."""
        name = f"container-{uuid.uuid4().hex[:12]}"
        with self.client() as client:
            client.create_container(name)
        return name

    def fill(self, container: str, objects: dict[str, bytes]) -> None:
        """Put many small blobs there, without any condition."""
        line = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=30)
        with contextlib.closing(line):
            for name, data in objects.items():
                path = f"{urlsplit(self.endpoint).path}/{container}/{quote(name)}?{self.signature('rwdlac')}"
                line.request("PUT", path, data, {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"})
                answer = line.getresponse()
                if answer.read() and answer.status != 201:
                    raise AssertionError(f"{name}: {answer.status}")

    def signature(self, rights: str) -> str:
        """Give a shared access signature with these rights, such as `rl`, for an hour."""
        from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

        return str(
            generate_account_sas(
                ACCOUNT,
                KEY,
                ResourceTypes(service=True, container=True, object=True),
                AccountSasPermissions.from_string(rights),  # type: ignore[no-untyped-call]
                datetime.now(UTC) + timedelta(hours=1),
            )
        )

    def url(self, container: str, folder: str = "vault", *, endpoint: str = "") -> str:
        """Give the location of a store in a container of this server."""
        return f"az://{ACCOUNT}/{container}/{folder}?endpoint={endpoint or self.endpoint}"


@contextlib.contextmanager
def running(cache: Path) -> Iterator[Azurite]:
    """Start a server that keeps everything in memory, and end it with the block."""
    node = oracles.program("node", "nodejs")
    with (cache / "azurite.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages = oracles.npm_folder("azurite", cache)
    program = packages / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    port = loopback.free_port()
    command = (
        *(node, program, "--blobHost", "127.0.0.1", "--blobPort", str(port)),
        *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"),
    )
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with loopback.started(command, log, lambda: listens(port)) as process:
            yield Azurite(f"http://127.0.0.1:{port}/{ACCOUNT}", process)


@pytest.fixture(scope="session")
def azurite(request: pytest.FixtureRequest) -> Iterator[Azurite]:
    """Give one server for all tests of this process."""
    with running(request.config.cache.mkdir("oracles")) as server:
        yield server
