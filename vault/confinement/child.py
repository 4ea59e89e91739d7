"""Start a process of our own that confines itself, hand it a job, and take back at most so many bytes."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final, cast

from vault.confinement import confine

# All that the process sees of its environment: nothing of the user's, and one thread for every library.
ENVIRONMENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "HOME": "/nonexistent",
        "JOBLIB_MULTIPROCESSING": "0",
        "LANG": "C.UTF-8",
        "LOKY_MAX_CPU_COUNT": "1",
        "MKL_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "TMPDIR": "/nonexistent",
    }
)
_START: Final = (
    "import sys\n"
    "folders = int(sys.argv[1])\n"
    "sys.path += [entry for entry in sys.argv[2 : 2 + folders] if entry not in sys.path]\n"
    "del sys.argv[1 : 2 + folders]\n"
    "from {module} import main\n"
    "main()\n"
)
_MESSAGES: Final = 64 * 1024  # of what it says on standard error; the rest is thrown away
_BLOCK: Final = 1 << 20
_PAUSE: Final = 0.005  # seconds between two looks at a process that has closed its pipes


@dataclass(frozen=True, slots=True)
class Ended:
    """How a confined process ended.

    `output` is what it wrote to standard output, `messages` the beginning of
    what it wrote to standard error, `status` its exit status (negative: the
    signal that ended it). `late` says that it was killed after its time, `large`
    that it was killed for writing more than it may.
    """

    output: memoryview
    messages: str
    status: int
    late: bool = False
    large: bool = False


def run(
    module: str,
    arguments: Sequence[str],
    job: bytes,
    *,
    files: Sequence[int] = (),
    seconds: float,
    most: int,
) -> Ended:
    """Run a module of this package in an interpreter of its own; it confines itself with `confine.apply`.

    `job` is what it reads from standard input, `files` are descriptors that it
    inherits under the same numbers, `most` is how many bytes it may answer.
    Nothing else is inherited: no environment, no descriptor, no terminal, no
    working folder. When this returns, it has ended, and so has whatever it started.

    Raises:
        OSError: no process can be started.
    """
    folders = [entry for entry in sys.path if confine.is_package_folder(Path(entry))]
    folders.append(str(Path(__file__).parents[2]))
    start = [sys.executable, "-I", "-B", "-X", "utf8", "-c", _START.format(module=module)]
    command = [*start, str(len(folders)), *folders, *arguments]
    return _run(command, job, files=files, seconds=seconds, most=most)


def run_apart(
    interpreter: Path,
    code: Path,
    module: str,
    arguments: Sequence[str],
    job: bytes,
    *,
    seconds: float,
    most: int,
) -> Ended:
    """Run a module of this package, in the folder `code`, in another interpreter with its own library only.

    No installed package is on its path, and no file of any is looked at (`-S`),
    before the module puts one there, after it has confined itself. All else is as in `run`.

    Raises:
        OSError: no process can be started.
    """
    start = [str(interpreter), "-I", "-S", "-B", "-X", "utf8", "-c", _START.format(module=module)]
    return _run([*start, "1", str(code), *arguments], job, files=(), seconds=seconds, most=most)


def _run(command: Sequence[str], job: bytes, *, files: Sequence[int], seconds: float, most: int) -> Ended:
    process = subprocess.Popen(  # noqa: S603 (our own module, in an interpreter that the caller chose)
        [*command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(ENVIRONMENT),
        cwd="/",
        close_fds=True,
        pass_fds=tuple(files),
        start_new_session=True,
    )
    with process:
        try:
            return _attend(process, job, time.monotonic() + seconds, most)
        finally:
            _end(process)


def _attend(process: "subprocess.Popen[bytes]", job: bytes, deadline: float, most: int) -> Ended:
    """Feed the job and collect the answer until all pipes are closed, the time is up, or it is too much."""
    output, messages = bytearray(), bytearray()
    late = large = False
    rest = memoryview(job)
    with selectors.DefaultSelector() as waiting:
        for stream, events in (
            (process.stdin, selectors.EVENT_WRITE),
            (process.stdout, selectors.EVENT_READ),
            (process.stderr, selectors.EVENT_READ),
        ):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                waiting.register(stream, events)
        while waiting.get_map() and not late and not large:
            ready = waiting.select(max(0.0, deadline - time.monotonic()))
            late = not ready or time.monotonic() > deadline
            for key, _ in ready:
                stream = cast("IO[bytes]", key.fileobj)
                if stream is process.stdin:
                    rest = rest[_write(key.fd, rest) :]
                    done = not rest
                elif stream is process.stdout:
                    done = not _read(key.fd, output)
                    large = len(output) > most
                else:
                    done = not _read(key.fd, messages)
                    del messages[_MESSAGES:]
                if done:
                    waiting.unregister(stream)
                    with suppress(BrokenPipeError):
                        stream.close()
    while not late and not large and not _has_ended(process):
        late = time.monotonic() > deadline
        time.sleep(_PAUSE)
    _end(process)
    if large:
        output.clear()
    return Ended(
        memoryview(output).toreadonly(), messages.decode("utf-8", "replace"), process.returncode, late, large
    )


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether it has ended; it stays a zombie, so that its group's number is nobody else's yet."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _write(descriptor: int, rest: memoryview) -> int:
    """Write what the pipe takes; all of it counts as written when nobody reads any more."""
    try:
        return os.write(descriptor, rest[:_BLOCK]) if rest else 0
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(rest)


def _read(descriptor: int, into: bytearray) -> bool:
    """Add what the pipe has; tell whether there may be more."""
    try:
        block = os.read(descriptor, _BLOCK)
    except BlockingIOError:
        return True
    into += block
    return bool(block)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process and its group, whatever is left of them, and wait for it."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
