"""Start moto's server as AWS KMS and IAM for tests: on loopback, in memory, killed at the end.

It refuses what has another encryption context; a disabled key decrypts there all the same. Where it is not
installed the tests are skipped and say why; with `CI=true` in the environment they fail.
"""

import contextlib
import http.client
import json
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.oracles import give_up
from tests.servers.loopback import answers, end, free_port, start

REGION = "eu-central-1"


@dataclass
class MotoKms:
    """A running server; what it holds is gone when it stops."""

    program: Path
    folder: Path
    port: int
    process: Any = None

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str = "kms") -> Any:
        """Give the SDK's own client, beside the vault's."""
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="tester",
            aws_secret_access_key="tester",
        )

    def key(self) -> str:
        """Make a key; give its ARN."""
        return str(self.client().create_key()["KeyMetadata"]["Arn"])

    def environment(self, access_key: str = "tester", secret_key: str = "tester") -> dict[str, str]:
        """Give what a process finds in its environment to be somebody, and to ask this server."""
        return {
            "AWS_ENDPOINT_URL_KMS": self.endpoint,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            **nobody(),
        }

    def user(self, name: str, *statements: dict[str, object]) -> tuple[str, str]:
        """Make a user who may do what the statements allow; give both halves of an access key."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_user_policy(UserName=name, PolicyName="may", PolicyDocument=document)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def authorise(self) -> None:
        """Ask for authorisation by IAM from now on."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            line.request("POST", "/moto-api/reset-auth", b"0")
            assert line.getresponse().status == 200
        finally:
            line.close()

    def start(self) -> None:
        """Start the server, empty."""
        command: list[str | Path] = [self.program, "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = start(command, self.folder / "log", self._is_ready)

    def stop(self) -> None:
        """Kill the server."""
        end(self.process)
        self.process = None

    def _is_ready(self) -> bool:
        return answers(self.port, "/moto-api/")


def nobody() -> dict[str, str]:
    """Give what keeps the SDK from credentials of this user and this machine."""
    return {
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextlib.contextmanager
def running() -> Iterator[MotoKms]:
    """Run a server for as long as the block lasts."""
    pytest.importorskip("boto3")
    program = Path(sysconfig.get_path("scripts")) / "moto_server"
    if not program.exists():
        give_up("there is no moto_server here; pip install 'model-artifact-vault[servers]'")
    with tempfile.TemporaryDirectory(prefix="vault-moto-") as folder:
        server = MotoKms(program, Path(folder), free_port())
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def moto_kms() -> Iterator[MotoKms]:
    """Give one server for all tests of this process."""
    with running() as server:
        yield server
