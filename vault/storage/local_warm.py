"""Have a process of its own read many small files before the caller does, so that the kernel holds them.

On a disk that has not been read for a while, a file costs the wait for its folders, for its inode and for
its bytes. Threads of the caller would wait for those side by side, but fight for the interpreter after each
of the many calls; threads of another process do not. Nothing that is read here is used.
"""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from vault.core import limits

FEW: Final = 256  # folders; for fewer no process is worth its start

_THREADS: Final = 8
_SMALL: Final = 1 << 16  # of a file; what is longer is none of the small ones
_START: Final = "import sys; sys.path[:] = sys.argv[3:]; from vault.storage.local_warm import main; main()"


@contextmanager
def reading_ahead(
    root: str, folders: Sequence[str], inner: str, entries: Callable[[Sequence[str]], Sequence[str]]
) -> Iterator[None]:
    """Read the small files below `folders` of a store while the block runs; `entries` lists those.

    `inner` is a regular expression for the folders to be looked into, by their paths from `folders`.
    Where no process can be started nothing is read; where the block ends first, it stops.

    Raises:
        Unavailable: as `entries`.
    """
    if len(entries(folders)) < FEW:
        yield
        return
    folder = "/".join([root, *folders])
    process = None
    with suppress(OSError):
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-I", "-B", "-X", "utf8", "-c", _START, folder, inner, *map(str, sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,  # Ctrl-C is the caller's to handle
        )
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.communicate()


def main() -> None:
    """Read what lies below the folder of the first argument; end when standard input does."""
    threading.Thread(target=_until_alone, daemon=True).start()
    warm(sys.argv[1], re.compile(sys.argv[2]))
    os._exit(0)  # the other thread still waits


def _until_alone() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(0)


def warm(folder: str, inner: re.Pattern[str]) -> int:
    """Read by several threads, following no link; give the number of files."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    left = iter(names)
    lock = threading.Lock()
    counts = [0] * _THREADS

    def work(index: int) -> None:
        while True:
            with lock:
                name = next(left, None)
            if name is None:
                return
            todo = [name] if inner.fullmatch(name) else []
            while todo:
                files, below = _read(folder, todo.pop(), inner)
                counts[index] += files
                todo += below

    threads = [threading.Thread(target=work, args=(index,)) for index in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _read(folder: str, path: str, inner: re.Pattern[str]) -> tuple[int, list[str]]:
    """Read the files of one folder; give their number, and the folders in it to go on with."""
    files = 0
    below = []
    with suppress(OSError), os.scandir(f"{folder}/{path}") as entries:
        for count, entry in enumerate(entries):
            if count >= limits.LISTED_NAMES:
                break
            if entry.is_dir(follow_symlinks=False):
                below += [f"{path}/{entry.name}"] if inner.fullmatch(f"{path}/{entry.name}") else []
            elif entry.is_file(follow_symlinks=False):
                files += _read_file(entry.path)
    return files, below


def _read_file(path: str) -> bool:
    with suppress(OSError):
        # Somebody may put a pipe there meanwhile: it must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.read(descriptor, _SMALL)
        finally:
            os.close(descriptor)
        return True
    return False
