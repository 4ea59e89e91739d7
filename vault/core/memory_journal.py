"""Read and write the file of a client's memory: a whole memory, then a line for each advance since.

Whoever advances adds a line, which costs the same however much is remembered;
now and then the file is written anew. A line's checksum covers the one before
it, so that a line that was altered, left out or put elsewhere is told from one
that was still being written when its writer ended (docs/format.md, "Client memory").
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from vault.core import limits, memory_format, strict_json
from vault.core.fields import Fields, malformed
from vault.core.memory_format import Mark, Memory
from vault.core.strict_json import JSONValue
from vault.errors import Refused

_DIGITS: Final = 64  # of a checksum
_LINES_BYTES: Final = (
    64 * limits.KIB
)  # lines take so much, or a quarter of the memory, before it is rewritten

_NOTHING: Final[Mapping[str, JSONValue]] = dict.fromkeys(("policy", "root")) | {
    key: {} for key in ("channels", "heads", "log", "versions")
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a memory file holds: its memory, and where and after which checksum the next line goes.

    `first` and `end` are the sizes in bytes of the memory that it begins with and
    of all that counts. One that is not `open` takes no line: it has the form of
    earlier releases, or ends in a line that was never finished.
    """

    memory: Memory
    first: int
    end: int
    check: str
    open: bool

    @property
    def lines(self) -> bool:
        """Tell whether anything was added since the file was written as a whole."""
        return self.end > self.first


def whole(memory: Memory) -> tuple[bytes, Stored]:
    """Write a memory as a file of its own; give its bytes and what they hold."""
    data = memory_format.encode(memory)
    return data + b"\n", Stored(memory, len(data) + 1, len(data) + 1, _check("", data), open=True)


def line(stored: Stored, seen: Memory, after: Memory) -> tuple[bytes, Stored] | None:
    """Write what `after` has of `seen` and the file has not; None where the file must be written anew.

    `after` is what `seen` was merged into. Where it forgot something, and where
    lines take much of the file, no line will do.
    """
    before = stored.memory
    added = replace(
        after,
        root=after.root if after.root != before.root else None,
        policy=after.policy if after.policy != before.policy else None,
        channels=_changed(before.channels, after.channels, seen.channels),
        versions=_changed(before.versions, after.versions, seen.versions),
        heads=_changed(before.heads, after.heads, seen.heads),
        logs=_changed(before.logs, after.logs, seen.logs),
    )
    forgot = len(after.versions) != len(before.versions) + len(added.versions)
    forgot = forgot or not before.logs.keys() <= after.logs.keys()
    if not stored.open or forgot or _era(before.policy, after.policy) != _era(after.policy, after.policy):
        return None
    data = encode_added(added)
    check = _check(stored.check, data)
    text = b"%b %b\n" % (check.encode("ascii"), data)
    end = stored.end + len(text)
    if end - stored.first > max(_LINES_BYTES, stored.first // 4):
        return None
    return text, Stored(after, stored.first, end, check, open=True)


def parse(data: bytes, vault: str, subject: str) -> Stored:
    """Read a whole file; messages call it `subject`.

    Raises:
        Refused: `memory-damaged`.
    """
    first, separator, rest = data.partition(b"\n")
    memory = memory_format.parse(first, vault, subject)
    size = len(first) + len(separator)
    return extend(Stored(memory, size, size, _check("", first), open=bool(separator)), rest, subject)


def extend(stored: Stored, data: bytes, subject: str) -> Stored:
    """Read the lines that follow what is known of a file.

    What follows the last end of a line was never finished, and nobody was told
    that it is remembered: it is left out. One that lacks nothing but its end counts.

    Raises:
        Refused: `memory-damaged`: a line is not the one that was written there.
    """
    *lines, rest = data.split(b"\n")
    reading = _Reading(stored, subject)
    for entry in lines:
        reading.take(entry)
    end = stored.end + len(data) - len(rest)
    if reading.fits(rest):
        reading.take(rest)
        end += len(rest)
    elif reading.fits(rest[:-1]):
        raise memory_format.damaged(subject, "Its last line has another end than was written.")
    return Stored(reading.memory(), stored.first, end, reading.check, open=stored.open and not rest)


def encode_added(added: Memory) -> bytes:
    """Write what a line adds, without what it does not; `parse_added` reads it back."""
    return strict_json.encode({key: value for key, value in memory_format.values(added).items() if value})


def parse_added(data: bytes, vault: str) -> Memory:
    """Parse what a line adds to a memory of the vault with the id `vault`.

    Raises:
        Malformed: it is no such line.
    """
    value = strict_json.parse(data, limit=limits.MEMORY_BYTES)
    if not isinstance(value, dict) or not value or not all(value.values()):
        raise malformed("A line", "it is an object of what it adds, and of nothing else")
    return memory_format.read_marks(Fields({**_NOTHING, **value}, "A line"), vault)


class _Reading:
    """Takes line after line; the mappings are copied once, not for each line."""

    def __init__(self, stored: Stored, subject: str) -> None:
        self.check = stored.check
        self._before = stored.memory
        self._subject = subject
        self._root, self._policy = stored.memory.root, stored.memory.policy
        self._channels: dict[str, Mark] = {}
        self._versions: dict[str, str] = {}
        self._heads: dict[str, Mark] = {}
        self._logs: dict[str, Mark] = {}

    def fits(self, entry: bytes) -> bool:
        """Tell whether a line is whole."""
        return entry[:_DIGITS] == _check(self.check, entry[_DIGITS + 1 :]).encode("ascii")

    def take(self, entry: bytes) -> None:
        if not self.fits(entry) or entry[_DIGITS : _DIGITS + 1] != b" ":
            raise self._damaged("A line of it is not what was written there.")
        try:
            added = parse_added(entry[_DIGITS + 1 :], self._before.vault)
        except Refused as refusal:
            raise self._damaged(refusal.message) from None
        self.check = entry[:_DIGITS].decode("ascii")
        self._root = self._next(self._root, added.root)
        if added.policy is not None and _era(self._policy, added.policy) != added.policy.era:
            raise self._damaged("A line of it is of another era.")
        self._policy = self._next(self._policy, added.policy)
        for key, mark in added.channels.items():
            self._channels[key] = self._later(self._channels.get(key, self._before.channels.get(key)), mark)
        for key, mark in added.heads.items():
            self._heads[key] = self._later(self._heads.get(key, self._before.heads.get(key)), mark)
        for key, mark in added.logs.items():
            known = self._logs.get(key, self._before.logs.get(key))
            if known is not None and memory_format.log_order(mark) <= memory_format.log_order(known):
                raise self._damaged("A line of it goes back.")
            self._logs[key] = mark
        for key, digest in added.versions.items():
            if key in self._before.versions or key in self._versions:
                raise self._damaged("A line of it repeats another.")
            self._versions[key] = digest

    def memory(self) -> Memory:
        before = self._before
        if (self._root, self._policy) == (before.root, before.policy) and not (
            self._channels or self._versions or self._heads or self._logs
        ):
            return before
        found = Memory(
            before.vault,
            self._root,
            self._policy,
            {**before.channels, **self._channels},
            {**before.versions, **self._versions},
            {**before.heads, **self._heads},
            {**before.logs, **self._logs},
        )
        if len(found.channels) + len(found.versions) > limits.MEMORY_ENTRIES:
            raise self._damaged(f"It holds more than {limits.MEMORY_ENTRIES:,} entries.")
        memory_format.carry_slots(before, found, self._channels)
        return found

    def _next(self, before: Mark | None, mark: Mark | None) -> Mark | None:
        return before if mark is None else self._later(before, mark)

    def _later(self, before: Mark | None, mark: Mark) -> Mark:
        if before is not None and mark.order <= before.order:
            raise self._damaged("A line of it goes back.")
        return mark

    def _damaged(self, reason: str) -> Refused:
        return memory_format.damaged(self._subject, reason)


def _check(before: str, data: bytes) -> str:
    """Give a line's checksum: SHA-256 of the one before it and its text, in lowercase hexadecimal."""
    return hashlib.sha256(before.encode("ascii") + data).hexdigest()


def _era(before: Mark | None, after: Mark | None) -> int | None:
    """Give the era that a memory was of, or else begins with."""
    known = before or after
    return None if known is None else known.era


def _changed(before: Mapping[str, _T], after: Mapping[str, _T], seen: Mapping[str, _T]) -> dict[str, _T]:
    return {key: after[key] for key in seen if key in after and before.get(key) != after[key]}
