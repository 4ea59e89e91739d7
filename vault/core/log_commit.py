"""The bytes of one commit of a log: a certificate, a checkpoint, an edge and new entries.

    "mvault-commit-v1" LF ‖ len ‖ certificate ‖ len ‖ checkpoint ‖ len ‖ edge ‖ entries

`len` is 4 bytes, big endian; each entry has a length of 2 bytes before it, as in an
entry bundle of C2SP tlog-tiles (docs/format.md, "Commits"). Parsing trusts nothing:
whether a commit is in force, `log_chain` tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vault.core import limits, note
from vault.core.merkle import HASH_BYTES, Edge
from vault.core.note import Checkpoint, Note, malformed_log
from vault.errors import Malformed

MAGIC: Final = b"mvault-commit-v1\n"

_LENGTH_BYTES: Final = 4
_ENTRY_LENGTH_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as received: its edge fits its checkpoint, and no signature was verified."""

    certificate: bytes
    note: Note  # the checkpoint with one signature line
    checkpoint: Checkpoint
    edge: Edge
    entries: tuple[bytes, ...]

    @property
    def first(self) -> int:
        """The index of the first new entry: the size of the tree before."""
        return self.checkpoint.size - len(self.entries)


def check_entries(entries: Sequence[bytes]) -> None:
    """Accept what one commit may hold.

    Raises:
        ValueError: there is no entry, or too many, or one is empty or too large.
    """
    if not 0 < len(entries) <= limits.LOG_COMMIT_ENTRIES:
        raise ValueError(f"a commit holds 1 to {limits.LOG_COMMIT_ENTRIES:,} entries, not {len(entries):,}")
    if not all(0 < len(entry) <= limits.LOG_ENTRY_BYTES for entry in entries):
        raise ValueError(f"an entry has 1 to {limits.LOG_ENTRY_BYTES:,} bytes")
    if entries_bytes(entries) > limits.LOG_ENTRIES_BYTES:
        raise ValueError(f"a commit holds at most {limits.LOG_ENTRIES_BYTES:,} bytes of entries")


def entries_bytes(entries: Sequence[bytes]) -> int:
    """Count the bytes that entries take in a commit."""
    return sum(map(len, entries)) + _ENTRY_LENGTH_BYTES * len(entries)


def encode_entries(entries: Sequence[bytes]) -> bytes:
    """Write entries as a bundle: each after its length of 2 bytes."""
    parts: list[bytes] = []
    for entry in entries:
        parts += (len(entry).to_bytes(_ENTRY_LENGTH_BYTES, "big"), entry)
    return b"".join(parts)


def parse_entries(data: bytes, subject: str, *, at: int = 0) -> tuple[bytes, ...]:
    """Split a bundle, from offset `at` to its end.

    Raises:
        Malformed: `malformed-log`: an entry is empty, too large or cut short, or there are too many.
    """
    entries = []
    end = len(data)
    while at < end:
        start = at + _ENTRY_LENGTH_BYTES
        size = int.from_bytes(data[at:start], "big")
        at = start + size
        if not 0 < size <= limits.LOG_ENTRY_BYTES or at > end:
            raise malformed_log(subject, "an entry is empty, too large or cut short")
        entries.append(data[start:at])
    if len(entries) > limits.LOG_COMMIT_ENTRIES:
        raise malformed_log(subject, f"it has more than {limits.LOG_COMMIT_ENTRIES:,} entries")
    return tuple(entries)


def encode(certificate: bytes, checkpoint: Note, edge: Edge, entries: Sequence[bytes]) -> bytes:
    """Write a commit; `parse` reads exactly these bytes.

    Raises:
        ValueError: the entries are not what one commit may hold.
    """
    check_entries(entries)
    parts = [MAGIC]
    for part in (certificate, checkpoint.encode(), b"".join(edge.hashes)):
        parts += (len(part).to_bytes(_LENGTH_BYTES, "big"), part)
    return b"".join((*parts, encode_entries(entries)))


def parse(data: bytes, subject: str) -> Commit:
    """Parse a commit of at most `limits.LOG_COMMIT_BYTES`.

    Raises:
        Malformed: `malformed-log`, `too-large`.
    """
    if len(data) > limits.LOG_COMMIT_BYTES:
        raise Malformed(f"{subject} has {len(data):,} bytes.", code="too-large", subject=subject)
    if not data.startswith(MAGIC):
        raise malformed_log(subject, f"a commit begins with {MAGIC.decode().strip()}")
    certificate, at = _part(data, len(MAGIC), limits.LOG_CERTIFICATE_BYTES, subject)
    signed, at = _part(data, at, limits.LOG_CHECKPOINT_BYTES, subject)
    hashes, at = _part(data, at, HASH_BYTES * limits.LOG_EDGE_HASHES, subject)
    found = note.parse(signed, subject)
    if len(found.lines) != 1:
        raise malformed_log(subject, "its checkpoint has one signature")
    checkpoint = note.parse_checkpoint(found.text, subject)
    entries = parse_entries(data, subject, at=at)
    if not 0 < len(entries) <= checkpoint.size:
        raise malformed_log(subject, "it has no entries, or more than its tree")
    return Commit(certificate, found, checkpoint, _edge(checkpoint, hashes, subject), entries)


def _part(data: bytes, at: int, limit: int, subject: str) -> tuple[bytes, int]:
    start = at + _LENGTH_BYTES
    size = int.from_bytes(data[at:start], "big")
    if start > len(data) or size > limit or start + size > len(data):
        raise malformed_log(subject, "a part of it is too large or cut short")
    return data[start : start + size], start + size


def _edge(checkpoint: Checkpoint, hashes: bytes, subject: str) -> Edge:
    if len(hashes) != HASH_BYTES * checkpoint.size.bit_count():
        raise malformed_log(subject, "its edge has not one hash for each complete subtree")
    parts = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    edge = Edge(checkpoint.size, tuple(parts))
    if edge.root != checkpoint.root:
        raise malformed_log(subject, "its edge does not give the root of its checkpoint")
    return edge
