"""Watch what Python does while hostile bytes are handled: an audit hook, and children that may crash."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WATCHED = (
    "code.__new__",
    "compile",
    "ctypes.",
    "exec",
    "ftplib.",
    "http.",
    "import",
    "marshal.",
    "mmap.",
    "open",
    "os.",
    "pickle.",
    "shutil.",
    "socket.",
    "sqlite3.",
    "subprocess.",
    "tempfile.",
    "urllib.",
    "webbrowser.",
)
_state = threading.local()


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    events: list[str] | None = getattr(_state, "events", None)
    if events is not None and event.startswith(_WATCHED):
        events.append(f"{event} {str(arguments)[:200]}")


sys.addaudithook(_hook)  # once per process; it cannot be removed


@contextmanager
def watched() -> Iterator[list[str]]:
    """Yield the list of imports, opened files, executions and calls into the system of this thread."""
    events: list[str] = []
    _state.events = events
    try:
        yield events
    finally:
        _state.events = None


def in_child(program: str, *arguments: str | Path, timeout: float = 60) -> list[str]:
    """Run a program in a child and return its lines; a crash of the child fails the test."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"the child ended with {done.returncode}: {done.stdout}{done.stderr[-2000:]}"
    return done.stdout.splitlines()
