"""Start a real Ceph of one monitor, one OSD in memory and one RADOS gateway: on loopback, in a new folder.

Its gateway ignores `If-None-Match` when a multipart upload is completed, and honours it of a single PUT.
The packages are Debian's `radosgw`, `ceph-mon` and `ceph-osd`, which are large: tests with it are run by
hand (`-m slow`), and skipped where they are not installed.
"""

import contextlib
import json
import secrets
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers.loopback import answers, end, free_port, start

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin")
REGION = "default"
SECONDS = 60

_SETTINGS = """[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0]
public network = 127.0.0.0/8
ms bind ipv4 = true
ms bind msgr1 = false
keyring = {folder}/keyring
run dir = {folder}
admin socket =
log file = {folder}/$name.log
mon data = {folder}/mon
mon allow pool delete = true
mon allow pool size one = true
mon warn on pool no redundancy = false
osd data = {folder}/osd
osd objectstore = memstore
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon max pg per osd = 1000
memstore device bytes = 4294967296
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 64
rgw enable usage log = false
"""


@dataclass
class CephServer:
    """A running gateway, and the keys of its one user."""

    folder: Path
    port: int
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    _buckets: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    @property
    def endpoint(self) -> str:
        """The URL of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, bucket: str, prefix: str = "", *, endpoint: str = "", **options: str) -> str:
        """Give the URL of a vault in a bucket."""
        told = {"endpoint": endpoint or self.endpoint, "region": REGION, **options}
        return f"s3://{bucket}/{prefix}?" + "&".join(f"{name}={value}" for name, value in told.items())

    def environment(self) -> dict[str, str]:
        """Give what a process finds in its environment to be the user, and nobody else."""
        return {
            "AWS_ACCESS_KEY_ID": "vault-tests",
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """Give the SDK's own client, beside the vault's."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="vault-tests",
            aws_secret_access_key=self.secret,
            config=Config(s3={"addressing_style": "path"}),
        )

    def new_bucket(self) -> str:
        """Make an empty bucket, for one test."""
        name = f"test-bucket-{next(self._buckets)}"
        self.client().create_bucket(Bucket=name)
        return name

    def run(self, *command: str) -> str:
        """Run one of Ceph's programs against this cluster; give what it printed."""
        done = subprocess.run(
            [command[0], "-c", str(self.folder / "ceph.conf"), *command[1:]],
            check=False,
            capture_output=True,
            timeout=SECONDS,
            cwd=self.folder,
        )
        assert done.returncode == 0, f"{command[0]}: {done.stderr.decode(errors='replace')[-2_000:]}"
        return done.stdout.decode()

    @contextlib.contextmanager
    def process(self, *command: str, ready: Any) -> Iterator[None]:
        """Run one of Ceph's servers in the foreground for as long as the block lasts."""
        log = self.folder / f"{command[0]}.out"
        settings = [command[0], "-c", str(self.folder / "ceph.conf"), "-f", *command[1:]]
        running = start(settings, log, ready)
        try:
            yield
        finally:
            end(running)


@contextlib.contextmanager
def running() -> Iterator[CephServer]:
    """Run a cluster for as long as the block lasts; then it and its data are gone."""
    pytest.importorskip("boto3")
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"no Ceph here (apt install radosgw ceph-mon ceph-osd): {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="vault-ceph-"))
    server = CephServer(folder, free_port())
    fsid, mon_port = str(uuid.uuid4()), free_port()
    settings = _SETTINGS.format(fsid=fsid, mon_port=mon_port, folder=folder, port=server.port)
    (folder / "ceph.conf").write_text(settings)
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    try:
        everything = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
        (folder / "keyring").touch()
        for name in ("mon.", "client.admin", "osd.0"):
            server.run("ceph-authtool", str(folder / "keyring"), "--gen-key", "-n", name, *everything)
        where = ["--addv", "a", f"[v2:127.0.0.1:{mon_port}/0]", str(folder / "monmap")]
        server.run("monmaptool", "--create", "--fsid", fsid, *where)
        made = ["--mkfs", "-i", "a", "--monmap", str(folder / "monmap"), "--keyring", str(folder / "keyring")]
        server.run("ceph-mon", *made)
        with server.process("ceph-mon", "-i", "a", ready=lambda: _answers(server)):
            server.run("ceph", "auth", "import", "-i", str(folder / "keyring"))
            identity = str(uuid.uuid4())
            server.run("ceph", "osd", "new", identity)
            server.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
            with server.process("ceph-osd", "-i", "0", ready=lambda: _is_up(server)):
                user = ["--uid", "tests", "--display-name", "tests", "--access-key", "vault-tests"]
                server.run("radosgw-admin", "user", "create", *user, "--secret-key", server.secret)
                with server.process(
                    "radosgw", "-n", "client.admin", ready=lambda: answers(server.port, "/swift/healthcheck")
                ):
                    yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(server: CephServer) -> bool:
    """Tell whether the monitor answers."""
    with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
        return bool(server.run("ceph", "--connect-timeout", "2", "osd", "stat"))
    return False


def _is_up(server: CephServer) -> bool:
    """Tell whether the OSD stores what it is given."""
    with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
        told = json.loads(server.run("ceph", "--connect-timeout", "2", "osd", "stat", "-f", "json"))
        return bool(told.get("num_up_osds", 0))
    return False


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephServer]:
    """Run one cluster for this session's tests, who are its user."""
    with running() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server
