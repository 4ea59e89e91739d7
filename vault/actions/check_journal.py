"""Keep what a check of a whole vault has looked at, so that it goes on where it was stopped.

A file of this user alone, a line for each version or channel. What was stopped
in the middle of a line is looked at again; so is everything once the policy has
changed, since another one may judge otherwise.
"""

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from vault.core.names import Digest
from vault.errors import Unavailable

_FORMAT: Final = "mvault-check-v1"
_DIGITS: Final = 32  # of the vault's id, in the name of the file
_LINE_CHARS: Final = 1 << 22
_LINES: Final = 10_000_000

Found = Mapping[str, Any]


class CheckJournal:
    """What was looked at by a check: `done` from an earlier one that was stopped, then whatever is added.

    `began` is when that one began, in seconds since 1970, None without one.
    """

    def __init__(self, path: Path | None, what: Mapping[str, Any], *, resume: bool, now: int) -> None:
        """Take up the file at `path`, which is of a check of `what`, or begin it anew; None keeps nothing.

        Raises:
            Unavailable: the file cannot be written.
        """
        self.done: dict[str, Found] = {}
        self.began: int | None = None
        self._path = path
        self._file: TextIO | None = None
        if path is None:
            return
        head = {"format": _FORMAT, **what}
        try:
            if resume:
                self._take_up(path, head)
            self._begin(path, head, now)
        except OSError as error:
            raise Unavailable(
                f"What was checked cannot be kept in {path}: {error.strerror}.",
                subject=str(path),
                hint="Check one model after another, or set MVAULT_STATE_DIR to a folder of yours.",
            ) from None

    def _take_up(self, path: Path, head: Mapping[str, Any]) -> None:
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

    def _begin(self, path: Path, head: Mapping[str, Any], now: int) -> None:
        """Write the file anew, with what is done already, so that it ends in a whole line."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._write({**head, "began": now if self.began is None else self.began})
        for item, found in self.done.items():
            self._write({"item": item, "found": found})
        self._file.flush()
        new.replace(path)

    def add(self, item: str, found: Found) -> None:
        """Note that an item was looked at.

        Raises:
            Unavailable: the file cannot be written.
        """
        if self._file is None:
            return
        try:
            self._write({"item": item, "found": found})
            self._file.flush()
        except OSError as error:
            raise Unavailable(
                f"What was checked cannot be kept in {self._path}: {error.strerror}.", subject=str(self._path)
            ) from None

    def end(self, *, whole: bool) -> None:
        """Let go of the file; a check that came to its end leaves none behind."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            if whole and self._path is not None:
                self._path.unlink(missing_ok=True)
            self._file = None

    def _write(self, value: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(value) + "\n")


def place(state: Path | None, vault: Digest) -> Path | None:
    """Give the file for a vault in a state folder; None without one."""
    return None if state is None else state / "check" / f"{vault[:_DIGITS]}.jsonl"


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
