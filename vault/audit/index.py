"""Keep an index over verified log entries, to answer questions in milliseconds.

The index is no evidence: it is made from entries that were verified, can be
thrown away and made again, and each of its rows says where its evidence is
(log, commit, position). Texts are kept once, in `words`, and rows hold their
numbers, which keeps a million rows near 340 MB, indexes included, and lets any question be answered
by walking one narrow index in the order of time.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from vault.audit import index_schema, private_files
from vault.audit.index_schema import FILES, FIRSTS, HOUR, INDEXES, NAME, TALLIED, WORDS
from vault.core import audit_record, names
from vault.core.audit_record import AuditRecord
from vault.errors import Refused

UNREADABLE: Final = "malformed-document"  # the code of an entry that is no record
_CHUNK: Final = 4_096
_CACHED_WORDS: Final = 200_000
_TALLIED: Final = frozenset(index_schema.TALLIED)
_INSERT: Final = (
    f"INSERT INTO entries(log, top, position, time, id, of, seq, {', '.join(WORDS)})"  # noqa: S608
    f" VALUES ({', '.join('?' * (7 + len(WORDS)))})"
)
_FIRST: Final = (
    "INSERT INTO firsts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET time = min(time, excluded.time)"
)
_ACTOR: Final = WORDS.index("actor")
_FIRST_PLACES: Final = tuple((field, WORDS.index(field)) for field in FIRSTS)
_TALLY: Final = (
    "INSERT INTO tallies VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a log was indexed: its size and root there, and the number of the commit."""

    size: int
    root: bytes
    commit: int


class AuditIndex:
    """One connection to the index; for one thread of one process."""

    def __init__(self, folder: Path | None) -> None:
        """Open, or make, the index in `folder`; in memory without one. A damaged index is made anew, empty.

        Raises:
            Unavailable: it cannot be made, read or written.
        """
        self._folder = folder
        self._words: dict[str, int] = {}
        self._spelled: dict[int, str] = {}
        self._connection = self._opened()

    def marks(self) -> Mapping[str, Mark]:
        """Give how far each log was indexed.

        Raises:
            Unavailable: the index cannot be read now.
            Refused: `memory-damaged`.
        """
        rows = self.rows("SELECT name, size, root, top FROM logs ORDER BY name")
        return {str(name): Mark(size, root, top) for name, size, root, top in rows}

    def extend(self, log: str, start: int, entries: Iterable[tuple[int, bytes]], mark: Mark) -> int:
        """Add verified entries of a log: pairs of their commit's number and their bytes.

        `start` is the position of the first, at most where the index ends, and `mark`
        where the last one ends. Entries that the index has already are passed over.
        All are added or none; give how many. Bytes that are no record have a row all
        the same, without fields, with the code `malformed-document`.

        Raises:
            ValueError: the entries do not begin or end where they should.
            Unavailable: the index cannot be written now.
            Refused: `memory-damaged`.
        """
        with self._changing():
            number, size = self._log(log)
            if start > size:
                raise ValueError(f"The index of {log} ends at {size}, before {start}")
            position = start
            added = 0
            tallies: Counter[tuple[str, int]] = Counter()
            firsts: dict[tuple[int, str, int], int] = {}
            source = iter(entries)
            before = self._last_time(number)
            while chunk := list(islice(source, _CHUNK)):
                fresh = list(enumerate(chunk, position))[max(0, size - position) :]
                rows = []
                for place, (top, data) in fresh:
                    row = self._row(data, before, tallies)
                    before = row[0]
                    _note_firsts(row, firsts)
                    rows.append((number, top, place, *row))
                self._connection.executemany(_INSERT, rows)
                added += len(rows)
                position += len(chunk)
            if position != mark.size:
                raise ValueError(f"{log} ends at {mark.size}, not at {position}")
            if added:
                counted = [(field, word, count) for (field, word), count in tallies.items()]
                self._connection.executemany(_TALLY, counted)
                noted = [(*key, moment) for key, moment in firsts.items()]
                self._connection.executemany(_FIRST, noted)
                values = (mark.size, mark.root, mark.commit, number)
                self._connection.execute(
                    "UPDATE logs SET size = ?, root = ?, top = ? WHERE number = ?", values
                )
            return added

    def forget(self, log: str) -> None:
        """Remove one log: it is not the one that was indexed any more.

        Raises:
            Unavailable: the index cannot be written now.
            Refused: `memory-damaged`.
        """
        with self._changing():
            run = self._connection.execute
            run("DELETE FROM entries WHERE log = (SELECT number FROM logs WHERE name = ?)", (log,))
            run("DELETE FROM logs WHERE name = ?", (log,))
            run("DELETE FROM tallies")
            for field in TALLIED:
                run(
                    f"INSERT INTO tallies SELECT '{field}', {field}, count(*) FROM entries"  # noqa: S608
                    f" WHERE {field} IS NOT NULL GROUP BY {field}"
                )
            run("DELETE FROM firsts")
            for field, value in (*((field, field) for field in FIRSTS), (HOUR, "time / 3600 % 24")):
                run(
                    f"INSERT INTO firsts SELECT actor, '{field}', {value}, min(time) FROM entries"  # noqa: S608
                    f" WHERE actor IS NOT NULL AND {value} IS NOT NULL GROUP BY actor, {value}"
                )

    def clear(self) -> None:
        """Make the index anew, empty.

        Raises:
            Unavailable: it cannot be made.
        """
        self._connection.close()
        self._words.clear()
        self._spelled.clear()
        if self._folder is not None:
            index_schema.remove(self._folder)
        self._connection = self._opened()

    def ready(self) -> None:
        """Make what questions need, once entries are in: cheaper than keeping it up while many come.

        Raises:
            Unavailable: the index cannot be written now.
            Refused: `memory-damaged`.
        """
        known = {name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'index'")}
        if missing := INDEXES.keys() - known:
            with self._changing():
                for name in sorted(missing):
                    self._connection.execute(f"CREATE INDEX {name} ON {INDEXES[name]}")

    def rows(self, query: str, values: Iterable[object] = ()) -> list[tuple[Any, ...]]:
        """Ask the database; for this package.

        Raises:
            Unavailable: the index cannot be read now.
            Refused: `memory-damaged`.
        """
        with self._guarded():
            return self._connection.execute(query, tuple(values)).fetchall()

    def texts(self, numbers: Collection[int]) -> dict[int, str]:
        """Give the texts of words, by their numbers.

        Raises:
            Unavailable: the index cannot be read now.
            Refused: `memory-damaged`: there is no such word.
        """
        known = {number: self._spelled[number] for number in numbers if number in self._spelled}
        asked = [number for number in numbers if number not in known]
        for start in range(0, len(asked), 500):
            some = asked[start : start + 500]
            marks = ", ".join("?" * len(some))
            found = dict(self.rows(f"SELECT number, name FROM words WHERE number IN ({marks})", some))  # noqa: S608
            if len(found) != len(some):
                raise index_schema.damaged("a word of it is missing", self._folder)
            known |= found
            if len(self._spelled) + len(found) > _CACHED_WORDS:
                self._spelled.clear()
            self._spelled |= found
        return known

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._folder is None:
            return index_schema.laid_out(sqlite3.connect(":memory:", isolation_level=None))
        try:
            private_files.make_folder(self._folder)
            for _ in range(2):
                private_files.make_file(self._folder, FILES)
                connection = sqlite3.connect(self._folder / NAME, timeout=60, isolation_level=None)
                try:
                    return index_schema.laid_out(connection)
                except (sqlite3.DatabaseError, index_schema.AnotherError) as error:
                    connection.close()
                    if isinstance(error, sqlite3.OperationalError) and not index_schema.is_damage(error):
                        raise
                index_schema.remove(self._folder)
        except (OSError, sqlite3.Error) as error:
            raise index_schema.translated(error, self._folder) from None
        raise index_schema.damaged("a new one is damaged as well", self._folder)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._guarded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._words.clear()  # whose numbers are given to other words
                self._spelled.clear()
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise index_schema.translated(error, self._folder) from None

    def _log(self, name: str) -> tuple[int, int]:
        query = "INSERT OR IGNORE INTO logs(name, size, root, top) VALUES (?, 0, x'', 0)"
        self._connection.execute(query, (name,))
        query = "SELECT number, size FROM logs WHERE name = ?"
        number, size = self._connection.execute(query, (name,)).fetchone()
        return number, size

    def _last_time(self, log: int) -> int:
        query = "SELECT time FROM entries WHERE log = ? ORDER BY row DESC LIMIT 1"
        found = self._connection.execute(query, (log,)).fetchone()
        return int(found[0]) if found else 0

    def _row(self, data: bytes, before: int, tallies: Counter[tuple[str, int]]) -> tuple[Any, ...]:
        """Give time, id, of, seq and words of one entry, and count the words."""
        texts: Mapping[str, str | None]
        try:
            record = audit_record.parse(data)
        except Refused:
            head: tuple[int, bytes | None, bytes | None, int | None] = (before, None, None, None)
            texts = {"code": UNREADABLE}
        else:
            head = (names.timestamp(record.time), record.record_id, record.of, record.seq)
            texts = texts_of(record)
        numbers = []
        for field in WORDS:
            text = texts.get(field)
            number = None if text is None else self._words.get(text) or self._word(text)
            if number is not None and field in _TALLIED:
                tallies[field, number] += 1
            numbers.append(number)
        return *head, *numbers

    def _word(self, text: str) -> int:
        run = self._connection.execute
        run("INSERT OR IGNORE INTO words(name) VALUES (?)", (text,))
        number = int(run("SELECT number FROM words WHERE name = ?", (text,)).fetchone()[0])
        if len(self._words) >= _CACHED_WORDS:
            self._words.clear()
        self._words[text] = number
        return number


def _note_firsts(row: tuple[Any, ...], firsts: dict[tuple[int, str, int], int]) -> None:
    """Note when an actor did something with this key, from this host, … and at this hour."""
    time, words = row[0], row[4:]
    actor = words[_ACTOR]
    if actor is None:
        return
    for field, place in _FIRST_PLACES:
        if words[place] is not None:
            key = (actor, field, words[place])
            if time < firsts.get(key, time + 1):
                firsts[key] = time
    key = (actor, HOUR, time // 3_600 % 24)
    if time < firsts.get(key, time + 1):
        firsts[key] = time


def texts_of(record: AuditRecord) -> Mapping[str, str | None]:
    """Give the texts of a record by the names of the index's columns."""
    policy = record.policy
    return {
        "action": record.action,
        "decision": record.decision,
        "outcome": record.outcome,
        "code": record.code,
        "actor": record.actor,
        "key": record.key,
        "known": record.known,
        "environment": record.environment,
        "slot": record.slot,
        "model": record.model,
        "version": record.version,
        "manifest": record.manifest,
        "policy": None if policy is None else f"{policy.era}.{policy.version}.{policy.digest}",
        "evidence": record.evidence,
        "subject": record.subject,
        "host": record.host,
    }
