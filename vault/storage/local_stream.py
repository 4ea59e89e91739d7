"""Create batches of small objects in a process of its own, while the caller makes the next ones.

The file system takes as long to make a thousand files as a processor to wrap a thousand keys. A second
thread would not help: after each of its many calls it would wait for the interpreter, which the first uses.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import IO, Any, Final

from vault.errors import Unavailable
from vault.storage import local_bulk, naming

_START: Final = "import sys; sys.path[:] = sys.argv[2:]; from vault.storage.local_stream import main; main()"
_PREFIX: Final = 8  # bytes that say how many follow

Objects = Mapping[str, bytes]


def create_stream(
    root: str, batches: Iterable[Objects], create_all: Callable[[Objects], list[str]]
) -> Iterator[list[str]]:
    """Create batch after batch below `root`; give for each, in order, what `create_all` would.

    The first batch is created here: for few objects no process is worth its start. Each of the others
    is with the process while the next is taken from `batches`. If it ends before its time, `create_all`
    does again what it left: what it had created then has its name already.

    Raises:
        Unavailable: the file system failed or is full; some of the objects may be there, each whole.
    """
    writer = None
    left = iter(batches)
    batch = next(left, None)
    if batch is None:
        return
    yield create_all(batch)
    batch = next(left, None)
    try:
        while batch is not None:
            writer = writer or _Writer(root)
            writer.send(batch)
            following = next(left, None)
            answer = writer.answer()
            yield create_all(batch) if answer is None else answer
            batch = following
    finally:
        if writer is not None:
            writer.close()


class _Writer:
    """The process; where none can be started, or it has ended, it answers nothing."""

    def __init__(self, root: str) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
                [sys.executable, "-I", "-B", "-X", "utf8", "-c", _START, root, *map(str, sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,  # Ctrl-C is the caller's to handle
            )

    def send(self, objects: Objects) -> None:
        """Hand over a batch; the process does nothing else meanwhile, so this does not wait for long."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                _write(self._process.stdin, {name: data.hex() for name, data in objects.items()})

    def answer(self) -> list[str] | None:
        """Wait for what became of the batch: the names left, or None where nobody can say.

        Raises:
            Unavailable: the file system failed.
        """
        if self._process is None or self._process.stdout is None:
            return None
        found = _read(self._process.stdout)
        if found is None:
            return None
        if "failure" in found:
            raise Unavailable(**found["failure"])
        return [str(name) for name in found["left"]]

    def close(self) -> None:
        """Let it end its batch, if it has one, and wait for it."""
        if self._process is None:
            return
        with suppress(OSError):
            self._process.communicate()


def main() -> None:
    """Create what standard input gives, batch after batch, and say on standard output what was left."""
    root = sys.argv[1]
    while (batch := _read(sys.stdin.buffer)) is not None:
        objects = {name: bytes.fromhex(data) for name, data in batch.items()}
        try:
            _write(sys.stdout.buffer, {"left": local_bulk.create_all(root, objects, naming.check_name)})
        except Unavailable as error:
            told = {
                "code": error.code,
                "message": error.message,
                "subject": error.subject,
                "hint": error.hint,
            }
            _write(sys.stdout.buffer, {"failure": told})


def _write(stream: IO[bytes], value: Mapping[str, object]) -> None:
    data = json.dumps(value).encode("ascii")
    stream.write(len(data).to_bytes(_PREFIX, "big") + data)
    stream.flush()


def _read(stream: IO[bytes]) -> dict[str, Any] | None:
    """Give the next value, None where there is none or only a part of one."""
    size = stream.read(_PREFIX)
    if len(size) < _PREFIX:
        return None
    data = stream.read(int.from_bytes(size, "big"))
    if len(data) < int.from_bytes(size, "big"):
        return None
    value: dict[str, Any] = json.loads(data)
    return value
