"""Keep what a long run has done, so that the next one does the rest only.

A file of this user alone: a line with what the run is of, then one for each
item. What was stopped in the middle of a line is done again. It is removed
when all is done.
"""

import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO

from vault.core import limits
from vault.errors import Unavailable

_LINE_CHARS: Final = 1 << 22
_LINES: Final = 10_000_000

Found = Mapping[str, Any]


class Journal:
    """What a run has done: `done` from an earlier one that did not come to its end, then what is added.

    Safe for threads. Without a file nothing is kept. `began` is when the earlier
    run began, in seconds since 1970; None without one.
    """

    def __init__(
        self, path: Path | None, head: Found, *, now: int, durable: bool, hint: str, resume: bool = True
    ) -> None:
        """Take up the file at `path`, which begins with `head`, or begin it.

        `durable` has each line on the disk before `add` returns. `hint` says what to do where the file
        cannot be written.

        Raises:
            Unavailable: it cannot be written.
        """
        self.done: dict[str, Found] = {}
        self.began: int | None = None
        self._path = path
        self._durable = durable
        self._hint = hint
        self._file: TextIO | None = None
        self._lock = threading.Lock()
        if path is None:
            return
        try:
            if resume:
                self._take_up(path, head)
            self._begin(path, head, now)
        except OSError as error:
            raise unwritable(path, error, hint) from None

    @property
    def kept(self) -> bool:
        """Whether anything is kept at all."""
        return self._path is not None

    def add(self, item: str, found: Found) -> None:
        """Note what became of an item; the last word on an item counts.

        Raises:
            Unavailable: it cannot be written.
        """
        with self._lock:
            self.done[item] = found
            if self._file is None or self._path is None:
                return
            try:
                self._write({"item": item, "found": found})
                self._flush(self._file)
            except OSError as error:
                raise unwritable(self._path, error, self._hint) from None

    def end(self, *, whole: bool) -> None:
        """Let go of the file; a run that came to its end, and did all, leaves none behind."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            if whole and self._path is not None:
                self._path.unlink(missing_ok=True)
            self._file = None

    def _take_up(self, path: Path, head: Found) -> None:
        if path.exists() and path.stat().st_size > limits.JOURNAL_BYTES:
            return
        found = lines(path)
        first = next(found, {})
        began = first.pop("began", None)
        if first != head or not isinstance(began, int):
            return
        self.began = began
        for line in found:
            item, told = line.get("item"), line.get("found")
            if not isinstance(item, str) or not isinstance(told, dict):
                break
            self.done[item] = told

    def _begin(self, path: Path, head: Found, now: int) -> None:
        """Write the file anew, with what is done already, so that it ends in a whole line."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._write({**head, "began": now if self.began is None else self.began})
        for item, found in self.done.items():
            self._write({"item": item, "found": found})
        self._flush(self._file)
        new.replace(path)

    def _write(self, value: Found) -> None:
        if self._file is not None:
            self._file.write(json.dumps(value) + "\n")

    def _flush(self, file: TextIO) -> None:
        file.flush()
        if self._durable:
            os.fsync(file.fileno())


def unwritable(path: Path, error: OSError, hint: str) -> Unavailable:
    """Say that a journal, or its lock, cannot be written."""
    return Unavailable(
        f"What was done cannot be kept in {path}: {error.strerror}.", subject=str(path), hint=hint
    )


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read the lines of a file that are whole; nothing where it is no file of this user's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            return
        for _ in range(_LINES):
            text = file.readline(_LINE_CHARS)
            if not text.endswith("\n"):
                return
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                return
            if not isinstance(value, dict):
                return
            yield value
