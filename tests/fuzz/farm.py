"""Keep one warm process that forks for each batch of mutants."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).parents[2]
SECONDS = 5
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # others would not survive the fork


@dataclass(frozen=True)
class Found:
    """What became of a batch: how many loaded, how many were refused, and which failed, how."""

    loaded: int
    refused: int
    failures: list[tuple[int, str]]


class Farm:
    """Runs batches in forks of one warm process."""

    def __enter__(self) -> Self:
        """Start the process; it imports the libraries of every format."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env={**os.environ, **_ONE_THREAD},
        )
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()
        self._process.wait(timeout=60)

    def run(self, sample: str, seeds: list[int], *, seconds: int = SECONDS) -> Found:
        """Load the mutants of a sample by these seeds; each may compute for so long."""
        asking = _pipe(self._process.stdin)
        asking.write(json.dumps({"sample": sample, "seeds": seeds, "seconds": seconds}) + "\n")
        asking.flush()
        told = json.loads(self._answer())
        failures = [(int(seed), str(what)) for seed, what in told["failures"]]
        return Found(int(told["loaded"]), int(told["refused"]), failures)

    def _answer(self) -> str:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"the process of the mutants ended with {self._process.wait()}")
        return line


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("the process has no pipe")
    return pipe
