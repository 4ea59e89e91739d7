"""Keep what this client remembers: its memory of each vault, and the locations that it trusts.

Both files are changed under a lock on a side file. A file that was put back to
an older state as a whole cannot be told from a client that has seen less.
"""

import threading
from collections.abc import Mapping
from pathlib import Path

from vault.core import limits, memory_format, memory_journal, names, trusted_locations
from vault.core.memory_format import Memory
from vault.core.memory_journal import Stored
from vault.core.trusted_locations import Pin
from vault.errors import Conflict, Refused, Unavailable
from vault.locked_file import READ_ONLY, LockedFile, Stamp, unwritable


class ClientMemory:
    """This client's memory of one vault; safe to share between threads.

    Without a state folder, or with one that cannot be written, the checks are
    the same and what is learned lasts as long as this object.
    """

    def __init__(self, vault: str, state_dir: Path | None, *, floor: Memory | None = None) -> None:
        """Remember the vault with the id `vault` below `state_dir`, and nothing older than `floor`.

        `floor` is what a trust file brings along. Nothing is read yet.

        Raises:
            Malformed: `malformed-name`: `vault` is not a digest.
            ValueError: `floor` is of another vault.
        """
        if floor is not None and floor.vault != vault:
            raise ValueError("The floor is of another vault")
        self._vault = names.digest(vault)
        self._file = None if state_dir is None else LockedFile(state_dir / "memory" / f"{vault}.json")
        self._stamp: Stamp | None = None
        self._stored: Stored | None = None  # what the file holds; None if there is none
        self._known = floor or Memory(vault)  # that, the floor, and what this process has seen
        self._synced = True  # whether all of it that the file holds is known to be on the disk
        self._lock = threading.Lock()
        self._durable = self._file is not None

    @property
    def durable(self) -> bool:
        """Whether the last attempt to write was not refused by a read-only file system or its permissions."""
        return self._durable

    def load(self) -> Memory:
        """Return all that is known.

        An operation takes this *before* it reads the store, and compares with it
        what it finds (`memory_format.check`): another process may go ahead
        meanwhile, which is no rollback. Costs one `stat` if nothing is new.

        Raises:
            Refused: `memory-damaged`.
            Rollback: the file and this process saw different content under one number.
            Unavailable: the file cannot be read now.
        """
        with self._lock:
            self._refresh()
            return self._known

    def advance(self, seen: Memory) -> None:
        """Remember what was seen in force, durably before this returns; the later of each number stays.

        Nothing is written if nothing is new.

        Raises:
            Rollback: something was seen with other content under the same number.
            Refused: `memory-damaged`.
            Unavailable: the file cannot be locked or written for another reason than that it may not be.
        """
        with self._lock:
            self._refresh()
            known = self._known
            after = memory_format.merge(known, seen)
            try:
                if self._file is not None and self._durable:
                    self._keep(self._file, seen, after)
            finally:
                if self._known is known:
                    self._known = after  # whatever became of the file

    def _refresh(self) -> None:
        """Take in what other processes wrote."""
        if self._file is None or self._file.stamp() == self._stamp:
            return
        found = self._read_added(self._file)
        if found is None:
            data, stamp = self._file.read(limits.MEMORY_BYTES)
            stored = None if data is None else memory_journal.parse(data, self._vault, str(self._file.path))
        else:
            stored, stamp = found
        if stored is not None:
            only_more = found is not None and self._holds(self._known)
            self._known = stored.memory if only_more else memory_format.merge(stored.memory, self._known)
        self._stored, self._stamp = stored, stamp  # only now: what is refused once is refused again
        self._synced = stored is None or not stored.lines

    def _read_added(self, file: LockedFile) -> tuple[Stored, Stamp] | None:
        """Read the lines that were added to the file as it is known; None if it is not that any more."""
        if self._stored is None or self._stamp is None or not self._stored.open:
            return None
        data, stamp = file.read(limits.MEMORY_BYTES, start=self._stored.end)
        if not data or stamp is None or stamp[:2] != self._stamp[:2]:
            return None
        try:
            stored = memory_journal.extend(self._stored, data, str(file.path))
        except Refused:
            return None
        return (stored, stamp) if stored.open else None

    def _holds(self, memory: Memory) -> bool:
        """Tell whether the file holds a memory, and nothing else."""
        return self._stored is not None and memory is self._stored.memory

    def _keep(self, file: LockedFile, seen: Memory, after: Memory) -> None:
        """See that what was seen is in the file and on the disk; `after` is what was known, and that."""
        try:
            if self._holds(after):
                self._sync(file)
            else:
                with file.locked():
                    self._write(file, seen, after)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise unwritable(file.path, error) from None
            self._durable = False

    def _write(self, file: LockedFile, seen: Memory, after: Memory) -> None:
        """Add a line to the file, or write all that is known where a line will not do."""
        before = self._known
        self._refresh()
        if self._known is not before:
            before = self._known
            after = memory_format.merge(before, seen)
        self._known = after
        if self._holds(self._known):
            self._sync(file)
            return
        added = None
        if self._stored is not None and self._holds(before):
            added = memory_journal.line(self._stored, seen, self._known)
        stamp = None if added is None or self._stamp is None else file.append(added[0], self._stamp)
        if added is None or stamp is None:
            added = memory_journal.whole(self._known)
            stamp = file.replace(added[0])
        self._stored, self._stamp, self._synced = added[1], stamp, True

    def _sync(self, file: LockedFile) -> None:
        """See that what was read is on the disk: another process added it, and may not have come to that."""
        if not self._synced:
            file.sync()
            self._synced = True


class Pins:
    """The locations that this user trusts, each with the digest of its root, version 1."""

    def __init__(self, config_dir: Path | None) -> None:
        """Keep them below `config_dir`; without one there are none."""
        self._file = None if config_dir is None else LockedFile(config_dir / "trusted.json")

    def all(self) -> Mapping[str, Pin]:
        """Return every trusted location and its pin.

        Raises:
            Refused: `memory-damaged`.
            Unavailable: the file cannot be read now.
        """
        data = None if self._file is None else self._file.read(limits.PINS_BYTES)[0]
        return {} if data is None or self._file is None else _parse_pins(data, self._file)

    def get(self, location: str) -> Pin | None:
        """Return the pin of a location (as `Store.location` spells it), or None.

        Raises:
            Refused: `memory-damaged`.
            Unavailable: the file cannot be read now.
        """
        return self.all().get(location)

    def check_free(self, location: str) -> None:
        """Refuse a location for a new vault where another is trusted, although it is not there.

        Raises:
            Conflict: there is a pin for it.
            Refused: `memory-damaged`.
            Unavailable: the file cannot be read now.
        """
        found = self.get(location)
        if found is not None and self._file is not None:
            raise Conflict(
                f"{location} is trusted on this machine as the vault sha256:{found.root}, since "
                f"{found.added}, and that vault is not there.",
                subject=location,
                hint=f"Restore it from a backup. Only if it may be gone, take it out of {self._file.path}.",
            )

    def add(self, location: str, root: str, *, now: int, replace: bool = False) -> Pin:
        """Trust `location` with the root digest `root` from now (seconds) on; doing it twice is no error.

        With `replace` it takes the place of another root. What was seen under that
        one stays in the state folder, under its own id.

        Raises:
            Conflict: another root is trusted there.
            Refused: `memory-damaged`.
            Unavailable: there is no configuration folder, or it cannot be written.
            ValueError: the location is empty or too long.
        """
        if not 0 < len(location) <= limits.LOCATION_CHARS:
            raise ValueError(f"A location has 1 to {limits.LOCATION_CHARS:,} characters")
        wanted = Pin(names.digest(root), names.time_text(now))
        if self._file is None:
            raise _no_place("There is no home folder to remember it in")
        try:
            with self._file.locked():
                data, _ = self._file.read(limits.PINS_BYTES)
                pins = {} if data is None else _parse_pins(data, self._file)
                found = pins.get(location)
                if found is not None and found.root != wanted.root and not replace:
                    raise _other_root(location, found, self._file.path)
                if found is not None and found.root == wanted.root:
                    return found
                if found is None and len(pins) >= limits.PINS:
                    raise _no_place(f"{self._file.path} has {limits.PINS:,} entries already")
                self._file.replace(trusted_locations.encode_pins({**pins, location: wanted}))
        except OSError as error:
            raise unwritable(self._file.path, error) from None
        return wanted


def _parse_pins(data: bytes, file: LockedFile) -> dict[str, Pin]:
    return trusted_locations.parse_pins(data, str(file.path))


def _other_root(location: str, found: Pin, path: Path) -> Conflict:
    return Conflict(
        f"{location} is trusted on this machine with another root, sha256:{found.root}, since {found.added}.",
        subject=location,
        hint="Ask its owner which one is right, by another way than the storage. Only if it is the new one: "
        f"mvault trust LOCATION --root sha256:… --replace. The old one stands in {path}.",
    )


def _no_place(reason: str) -> Unavailable:
    return Unavailable(
        f"{reason}.",
        code="storage-denied",
        hint="Set MVAULT_CONFIG_DIR to a folder that you may write to, or MVAULT_TRUST to a trust file.",
    )
