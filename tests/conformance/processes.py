"""Start, race and kill worker processes that use one store by its location."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

REPOSITORY = Path(__file__).parents[2]
SECONDS = 60


@contextlib.contextmanager
def workers(
    arguments: list[list[str]], extra: Mapping[str, str] = MappingProxyType({})
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start one worker for each list of arguments, all ready and waiting; none outlives the block.

    `extra` is added to their environment.
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **extra}
    started: list[subprocess.Popen[str]] = []
    try:
        for argument in arguments:
            command = [sys.executable, "-m", "tests.conformance.worker", *argument]
            started.append(
                subprocess.Popen(
                    command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def go(process: subprocess.Popen[str]) -> None:
    """Give a waiting worker the signal."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def race(
    location: str, writers: list[str], names: list[str], extra: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Let as many processes as there are `writers` try every name at once; give what each was told."""
    with workers([["race", location, writer, *names] for writer in writers], extra) as processes:
        for process in processes:
            go(process)
        return {
            writer: json.loads(process.communicate(timeout=SECONDS)[0])
            for writer, process in zip(writers, processes, strict=True)
        }
