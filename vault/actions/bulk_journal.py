"""Keep what a run over many models has done, so that the next one does the rest only.

A file of this user alone: a line with what the run is of, then one for each
model. It is removed when all is done. A line is on the disk before what it
tells of becomes visible, so that a kill at any moment leaves nothing undecided.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TextIO

from vault.actions import check_journal
from vault.core import limits
from vault.core.names import Digest
from vault.errors import Conflict, Unavailable

_FORMAT: Final = "mvault-bulk-v1"
_DIGITS: Final = 32  # of the vault's id, in the name of the folder
_NAME_DIGITS: Final = 32

Found = Mapping[str, Any]


def folder(state: Path | None, vault: Digest) -> Path | None:
    """Give the folder of a vault's journals in a state folder; None without one."""
    return None if state is None else state / "bulk" / vault[:_DIGITS]


def place(state: Path | None, vault: Digest, verb: str, run: str) -> Path | None:
    """Give the file for one run of a verb; None without a state folder."""
    base = folder(state, vault)
    if base is None:
        return None
    return base / f"{verb}-{hashlib.sha256(run.encode('utf-8', 'replace')).hexdigest()[:_NAME_DIGITS]}.jsonl"


class BulkJournal:
    """What a run has done: `done` from an earlier one that did not come to its end, then what is added.

    Safe for threads. Without a file nothing is kept. `began` is when the earlier
    run began, in seconds since 1970; None without one.
    """

    def __init__(self, path: Path | None, what: Found, *, now: int) -> None:
        """Take up the file at `path`, which is of the run `what`, or begin it.

        Raises:
            Unavailable: it cannot be written.
        """
        self.done: dict[str, Found] = {}
        self.began: int | None = None
        self._path = path
        self._file: TextIO | None = None
        self._lock = threading.Lock()
        if path is None:
            return
        head = {"format": _FORMAT, **what}
        try:
            self._take_up(path, head)
            self._begin(path, head, now)
        except OSError as error:
            raise _unwritable(path, error) from None

    @property
    def kept(self) -> bool:
        """Whether anything is kept at all."""
        return self._path is not None

    def add(self, item: str, found: Found) -> None:
        """Note what became of an item, durably before this returns; the last word on an item counts.

        Raises:
            Unavailable: it cannot be written.
        """
        with self._lock:
            self.done[item] = found
            if self._file is None or self._path is None:
                return
            try:
                self._write({"item": item, "found": found})
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise _unwritable(self._path, error) from None

    def end(self, *, whole: bool) -> None:
        """Let go of the file; a run that came to its end, and did all, leaves none behind."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            if whole and self._path is not None:
                self._path.unlink(missing_ok=True)
            self._file = None

    def _take_up(self, path: Path, head: Found) -> None:
        if path.exists() and path.stat().st_size > limits.BULK_JOURNAL_BYTES:
            return
        found = check_journal.lines(path)
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
        self._file.flush()
        os.fsync(descriptor)
        new.replace(path)

    def _write(self, value: Found) -> None:
        if self._file is not None:
            self._file.write(json.dumps(value) + "\n")


@contextmanager
def alone(path: Path | None, what: str) -> Iterator[None]:
    """Do something that only one process at a time may do for a journal; `what` names it.

    Raises:
        Conflict: another process is at it.
        Unavailable: the lock cannot be made.
    """
    if path is None:
        yield
        return
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path.with_suffix(".lock"), flags, 0o600)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"Another {what} is under way on this machine.",
                subject=what,
                hint="Wait until it has ended; then run the same command again: it does what is left.",
            ) from None
        yield
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        f"What was done cannot be kept in {path}: {error.strerror}.",
        subject=str(path),
        hint="Set MVAULT_STATE_DIR to a folder of yours.",
    )
