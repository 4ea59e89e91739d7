"""Remember on this machine what was taken over, so that a run that was stopped goes on where it was.

One line for each version, in a file of this user's alone in the state folder.
It saves reading what was read; what counts is what lies in the vault.
"""

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault.core import limits
from vault.core.names import Digest
from vault.errors import Unavailable

_FORMAT: Final = 1
_DIGITS: Final = 32
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Entry:
    """An origin that was taken over: its files' stamp and SHA-256 then, and the version that it became."""

    stamp: str
    sha256: str
    reference: str


class Journal:
    """What was taken over from one place into one vault."""

    def __init__(self, state: Path | None, vault: Digest, location: str) -> None:
        """Read the journal of a place; without a state folder there is none.

        Raises:
            Unavailable: the file cannot be written.
        """
        self._entries: dict[str, Entry] = {}
        self._path: Path | None = None
        if state is None:
            return
        place = hashlib.sha256(location.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
        self._path = state / "adopt" / f"{vault[:_DIGITS]}-{place}.jsonl"
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._read()
        except OSError as error:
            raise self._unwritable(error) from None

    def find(self, origin: str) -> Entry | None:
        """Give what is known of an origin."""
        return self._entries.get(origin)

    def add(self, origin: str, entry: Entry) -> None:
        """Note that an origin became a version.

        Raises:
            Unavailable: the file cannot be written.
        """
        self._entries[origin] = entry
        if self._path is None:
            return
        line = {
            "format": _FORMAT,
            "origin": origin,
            "stamp": entry.stamp,
            "sha256": entry.sha256,
            "reference": entry.reference,
        }
        try:
            descriptor = os.open(self._path, _FLAGS, 0o600)
            try:
                # A line before it that was cut off by a kill ends here.
                os.write(descriptor, f"\n{json.dumps(line)}\n".encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unwritable(error) from None

    def _read(self) -> None:
        if self._path is None:
            return
        descriptor = os.open(self._path, _FLAGS, 0o600)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise PermissionError(1, "it is no file of this user's")
            file.seek(0)
            for line in file.read(limits.ADOPT_JOURNAL_BYTES).splitlines():
                self._take(line)

    def _take(self, line: bytes) -> None:
        """Take a line; one that was cut off, or is none of ours, says nothing."""
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        match found:
            case {
                "format": 1,
                "origin": str(origin),
                "stamp": str(stamp),
                "sha256": str(sha256),
                "reference": str(reference),
            }:
                self._entries[origin] = Entry(stamp, sha256, reference)

    def _unwritable(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"What was adopted cannot be noted in {self._path}: {error.strerror}.",
            code="storage-denied",
            subject=str(self._path),
            hint="Set MVAULT_STATE_DIR to a folder of yours.",
        )
