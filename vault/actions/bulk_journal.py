"""Keep what a run over many models has done, so that the next one does the rest only.

A line is on the disk before what it tells of becomes visible, so that a kill
at any moment leaves nothing undecided.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vault.actions import journal
from vault.actions.journal import Found, Journal
from vault.core.names import Digest
from vault.errors import Conflict

_FORMAT: Final = "mvault-bulk-v1"
_DIGITS: Final = 32  # of the vault's id, in the name of the folder
_NAME_DIGITS: Final = 32
_HINT: Final = "Set MVAULT_STATE_DIR to a folder of yours."


def folder(state: Path | None, vault: Digest) -> Path | None:
    """Give the folder of a vault's journals in a state folder; None without one."""
    return None if state is None else state / "bulk" / vault[:_DIGITS]


def place(state: Path | None, vault: Digest, verb: str, run: str) -> Path | None:
    """Give the file for one run of a verb; None without a state folder."""
    base = folder(state, vault)
    if base is None:
        return None
    return base / f"{verb}-{hashlib.sha256(run.encode('utf-8', 'replace')).hexdigest()[:_NAME_DIGITS]}.jsonl"


def begin(path: Path | None, what: Found, *, now: int) -> Journal:
    """Take up the file at `path`, which is of the run `what`, or begin it; None keeps nothing.

    Raises:
        Unavailable: it cannot be written.
    """
    return Journal(path, {"format": _FORMAT, **what}, now=now, durable=True, hint=_HINT)


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
        raise journal.unwritable(path, error, _HINT) from None
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
