"""Start moto's server for tests: AWS as far as moto models it, on loopback and in its memory.

It models archive classes and their restoring, object locks and, where that is switched on, IAM policies;
it checks neither signatures nor checksums. Where it is not installed the tests are skipped and say why;
with `CI=true` in the environment they fail.
"""

import contextlib
import importlib.util
import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.oracles import give_up
from tests.servers.loopback import free_port, started

REGION = "us-east-1"


@dataclass
class MotoServer:
    """A running server; everybody may do everything until `enforce` is called."""

    port: int
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    @property
    def endpoint(self) -> str:
        """The URL of every service."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, bucket: str, prefix: str = "", **options: str) -> str:
        """Give the URL of a vault in a bucket."""
        told = {"endpoint": self.endpoint, "region": REGION, **options}
        return f"s3://{bucket}/{prefix}?" + "&".join(f"{name}={value}" for name, value in told.items())

    def client(self, service: str = "s3", **credentials: str) -> Any:
        """Give the SDK's own client, beside the vault's."""
        import boto3

        given = {"aws_access_key_id": "test", "aws_secret_access_key": "test", **credentials}
        return boto3.client(service, endpoint_url=self.endpoint, region_name=REGION, **given)

    def new_bucket(self, **options: object) -> str:
        """Make an empty bucket, for one test."""
        name = f"moto-bucket-{next(self._numbers)}"
        self.client().create_bucket(Bucket=name, **options)
        return name

    def new_user(self, policy: Mapping[str, object]) -> dict[str, str]:
        """Make a user with one policy; give what a process finds in its environment to be that user."""
        iam = self.client("iam")
        name = f"user-{next(self._numbers)}"
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    @contextlib.contextmanager
    def enforcing(self) -> Iterator[None]:
        """Let every request be checked against the policies of its user for as long as the block lasts."""
        self._free_requests("0")
        try:
            yield
        finally:
            self._free_requests("inf")

    def _free_requests(self, count: str) -> None:
        address, kind = f"{self.endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        request = urllib.request.Request(address, data=count.encode(), headers=kind)
        urllib.request.urlopen(request, timeout=10).close()


@contextlib.contextmanager
def running() -> Iterator[MotoServer]:
    """Run a server for as long as the block lasts."""
    if importlib.util.find_spec("moto") is None:
        give_up("there is no moto here; pip install 'model-artifact-vault[servers]'")
    folder = Path(tempfile.mkdtemp(prefix="vault-moto-"))
    server = MotoServer(free_port())
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(server.port)]

    def is_ready() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.endpoint}/moto-api/", timeout=10):
            return True
        return False

    try:
        with started(command, folder / "log", is_ready):
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    """Run one server for this session's, or this xdist worker's, tests."""
    with running() as server:
        yield server


@pytest.fixture
def moto_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be somebody, as the SDK demands; moto does not ask who."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
