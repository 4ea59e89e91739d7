"""Start the demo's service as a container would be started, and ask it to load models."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 120
# Where Python and its libraries are, which an image would settle; nothing of a user or a vault.
_MACHINE: Final = ("LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT")
# How the libraries of stores other than folders find a server and credentials: a deployment sets them.
_STORES: Final = ("AWS_", "AZURE_", "GOOGLE_", "PG", "STORAGE_EMULATOR_HOST")


@dataclass(frozen=True, slots=True)
class Load:
    """One model to load: its reference, rows to predict, and whether the package's scaler goes first."""

    reference: str
    rows: Any
    scaled: bool = False
    env: str | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """How the service is deployed: the three variables that a loader needs, and a volume for its records."""

    vault: str
    identity: Path
    trust: Path
    records: Path

    def environment(self) -> dict[str, str]:
        """Give the variables of its process: no HOME, no configuration, no PATH; the store's credentials."""
        return {
            **{name: os.environ[name] for name in _MACHINE if name in os.environ},
            **{name: value for name, value in os.environ.items() if name.startswith(_STORES)},
            "MVAULT_VAULT": self.vault,
            "MVAULT_IDENTITY": str(self.identity),
            "MVAULT_TRUST": str(self.trust),
            "MVAULT_AUDIT": str(self.records),
        }

    def ask(self, loads: Sequence[Load]) -> tuple[list[dict[str, Any]], list[str]]:
        """Load in one new process; give an answer for each, and which deserializers it imported.

        Raises:
            RuntimeError: the process ended in a way that is no answer.
        """
        request = {
            "loads": [
                {
                    "reference": load.reference,
                    "rows": load.rows if isinstance(load.rows, list) else load.rows.tolist(),
                    "scaled": load.scaled,
                    "env": load.env,
                }
                for load in loads
            ]
        }
        done = subprocess.run(
            [sys.executable, "-m", "vault.demo.serve"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"The service ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        found = json.loads(done.stdout)
        return found["results"], found["imported"]
