"""Start a real PostgreSQL server for tests: on loopback, in a temporary folder, stopped at the end.

The server refuses to run as root, so root starts it as an ordinary user. Where it is not installed the
tests are skipped and say why; with `CI=true` in the environment they fail.
"""

import contextlib
import ctypes
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.oracles import INSTALL_SECONDS, give_up

OWNER = "vault_owner"  # a superuser of the test's own server
PASSWORD = secrets.token_hex(16)  # of every server that this process starts
START_SECONDS = 60
_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/local/pgsql/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
)
_USERS = ("postgres", "nobody", "daemon")


@dataclass
class PostgresServer:
    """A running server: `password` is that of `OWNER`, the only user at first."""

    folder: Path
    binaries: Path
    port: int
    password: str
    settings: tuple[str, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    _changing: threading.Lock = field(default_factory=threading.Lock)  # one thread may stop, another start it
    _schemas: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    def url(self, schema: str, *, user: str = OWNER, port: int | None = None) -> str:
        """Give the URL of a vault in a schema; the password is not in it."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/postgres?schema={schema}"

    def connect(self, *, user: str = OWNER, password: str | None = None) -> Any:
        """Open a connection beside the vault's own, where each statement is a transaction."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, password=password or self.password,
            dbname="postgres", autocommit=True, connect_timeout=5,
        )  # fmt: skip

    def run(self, *statements: str) -> list[Any]:
        """Run statements as the owner; give the rows of the last one."""
        with contextlib.closing(self.connect()) as connection:
            for statement in statements:
                done = connection.execute(statement)
            return [*done.fetchall()] if done.description is not None else []

    def new_schema(self) -> str:
        """Make an empty schema, for one test."""
        name = f"test_{os.getpid()}_{next(self._schemas)}"
        self.run(f"CREATE SCHEMA {name}")
        return name

    def start(self, *, wait: bool = True) -> None:
        """Start the server in its folder, again if it was stopped."""
        command = [
            str(self.binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "max_connections=120", "-c", "shared_buffers=64MB", "-c", "max_wal_size=512MB",
        ]  # fmt: skip
        for setting in self.settings:
            command += ["-c", setting]
        with self._changing, (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_end_with_the_tests if sys.platform == "linux" else None,  # noqa: PLW1509
                **_ordinary_user(),
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until the server takes connections."""
        import psycopg

        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError as error:
                stopped = self.process is None or self.process.poll() is not None
                if stopped or time.monotonic() > end:
                    log = (self.folder / "log").read_text(errors="replace")[-2_000:]
                    raise AssertionError(f"PostgreSQL did not start: {error}\n{log}") from error
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server at once: SIGQUIT is PostgreSQL's immediate shutdown, as good as a crash."""
        with self._changing:
            if self.process is not None:
                if how is signal.SIGKILL:
                    self._kill_children()
                self.process.send_signal(how)
                self.process.wait(timeout=START_SECONDS)
                self.process = None
                (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def _kill_children(self) -> None:
        """Kill every backend with the server, as a power cut would."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        if children.exists():
            os.kill(self.process.pid, signal.SIGSTOP)  # nobody is to notice one death before the other
            for child in children.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)


@contextlib.contextmanager
def running(settings: Sequence[str] = ("fsync=off",)) -> Iterator[PostgresServer]:
    """Make a cluster and run its server for as long as the block lasts; its password is where libpq looks.

    Where durability is what a test is about, `settings` are none: then the server syncs.
    """
    pytest.importorskip("psycopg")
    binaries = _binaries()
    folder = Path(tempfile.mkdtemp(prefix="vault-postgres-"))
    try:
        secret = folder / "password"
        secret.write_text(PASSWORD)
        user = _ordinary_user()
        if user:
            for path in (folder, secret):
                shutil.chown(path, user["user"], user["group"])
        made = subprocess.run(
            [binaries / "initdb", "-D", folder / "data", "-U", OWNER, "--pwfile", secret, "-E", "UTF8",
             "--auth=scram-sha-256", "--locale=C", "--no-sync", "--no-instructions"],
            capture_output=True, check=False, cwd=folder, timeout=START_SECONDS, **user,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode(errors="replace")
        server = PostgresServer(folder, binaries, _free_port(), PASSWORD, tuple(settings))
        try:
            server.start()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PGPASSWORD", PASSWORD)
                yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_shared: list[PostgresServer] = []


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Run one server for this session's, or this xdist worker's, tests."""
    if _shared:  # a fixture that several modules import is another one in each
        yield _shared[0]
        return
    with running() as server:
        _shared.append(server)
        yield server
        _shared.clear()


def _binaries() -> Path:
    """Find the server's programs, installing Debian's package if this user may."""
    found = _installed()
    if found is None and os.environ.get("CI") == "true" and shutil.which("apt-get") and os.geteuid() == 0:
        command = ("apt-get", "install", "-y", "--no-install-recommends", "postgresql")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                command, env=environment, capture_output=True, check=False, timeout=INSTALL_SECONDS
            )
        found = _installed()
    if found is None:
        give_up("there is no PostgreSQL server here; on Debian: apt-get install postgresql")
    if os.geteuid() == 0 and not _ordinary_user():
        give_up(f"PostgreSQL does not run as root, and there is none of the users {', '.join(_USERS)}")
    return found


def _installed() -> Path | None:
    named = shutil.which("initdb")
    if named is not None:
        place = Path(named).resolve().parent  # a link leads to the folder with the server beside it
        if (place / "postgres").exists():
            return place
    for pattern in _PLACES:
        for place in sorted(Path("/").glob(pattern.removeprefix("/")), reverse=True):
            if (place / "initdb").exists() and (place / "postgres").exists():
                return place
    return None


def _ordinary_user() -> dict[str, Any]:
    """Give what `subprocess` needs to start a program as somebody who is not root, if this is root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return {}
    for name in _USERS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    return {}


def _end_with_the_tests() -> None:
    """Let the server shut down at once when whoever started it was killed (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
