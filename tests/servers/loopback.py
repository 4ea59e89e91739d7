"""What the fixtures for servers share: free ports, and processes that are waited for and always ended."""

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

START_SECONDS = 60


def free_port() -> int:
    """Give a port of this machine's loopback that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def start(command: Sequence[str | Path], log: Path, ready: Callable[[], bool]) -> "subprocess.Popen[bytes]":
    """Start a server and wait until it is `ready`; fails with the end of its `log` if it never is.

    It finds no credentials of the tests in its environment: some servers would take them for their own.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command], env=kept, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    end = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            process.wait()
            raise AssertionError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2_000:]}")
        time.sleep(0.05)
    return process


def end(process: "subprocess.Popen[bytes] | None") -> None:
    """Kill a server, as a power cut would, and wait until it is gone; None is one that does not run."""
    if process is not None:
        process.kill()
        process.wait()


def answers(port: int, path: str) -> bool:
    """Tell whether a server on loopback answers a GET of `path` with 200."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        line.request("GET", path)
        return line.getresponse().status == 200
    except OSError:
        return False
    finally:
        line.close()


@contextlib.contextmanager
def started(
    command: Sequence[str | Path], log: Path, ready: Callable[[], bool]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server for as long as the block lasts; then it is killed."""
    process = start(command, log, ready)
    try:
        yield process
    finally:
        end(process)
