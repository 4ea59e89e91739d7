"""Ask the index over the audit log: filters, newest first, page by page, and what is new."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from vault.audit.index import AuditIndex
from vault.audit.index_schema import FILTERED, INDEXES, NAMED, WORDS
from vault.core import audit_record, names
from vault.core.audit_record import AuditRecord
from vault.core.names import Digest, Environment, Model, Principal, Slot, Version
from vault.core.policy import PolicyId

T = TypeVar("T")

Cursor = tuple[int, int]  # time and row: where the next page begins

_COLUMNS: Final = ("row", "log", "top", "position", "time", "id", "of", "seq", *WORDS)
_INLINE: Final = 1_000  # numbers written into a query; more are looked up by it
_TROUBLE: Final = frozenset({audit_record.DENY, audit_record.REFUSE})
_WALK: Final = 0.2  # what a row costs in a walk along a wide index, against one that is looked up
_PREFIX_CHARS: Final = 4
_PAGE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What to ask for: every field that is given must hold one of its texts.

    A `*` in a text stands for anything: `nepse/*`, `access/serving/*`.
    """

    actor: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    decision: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    log: tuple[str, ...] = ()
    since: int | None = None  # seconds since 1970, included
    until: int | None = None  # excluded


EVERYTHING: Final = Filter()


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as the index knows it, and where its evidence is."""

    row: int  # of the index; ascends in the order in which entries were indexed
    log: str
    commit: int
    position: int  # in the log's tree
    time: int  # seconds since 1970; of an unreadable entry, that of the one before it
    record: AuditRecord | None  # None: its bytes are no record


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and where the next page begins; None where there is none."""

    rows: tuple[Row, ...]
    after: Cursor | None


def page(
    index: AuditIndex, asked: Filter = EVERYTHING, *, most: int = 50, after: Cursor | None = None
) -> Page:
    """Give the newest rows that hold, `most` of them, older than `after`.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    index.ready()
    plan = _plan(index, asked)
    if plan is None:
        return Page((), None)
    where, values = plan.where, plan.values
    if after is not None:
        where, values = [*where, "(time, row) < (?, ?)"], [*values, *after]
    query = f"{_select(plan.path, where)} ORDER BY time DESC, row DESC LIMIT ?"
    found = _rows(index, query, [*values, most + 1])
    more = len(found) > most
    kept = found[:most]
    return Page(tuple(kept), (kept[-1].time, kept[-1].row) if more else None)


def pages(index: AuditIndex, asked: Filter = EVERYTHING, *, most: int = 1_000) -> Iterator[Row]:
    """Give all rows that hold, newest first, without holding them all.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    after: Cursor | None = None
    while True:
        found = page(index, asked, most=most, after=after)
        yield from found.rows
        after = found.after
        if after is None:
            return


def holding(index: AuditIndex, fields: Sequence[str], texts: Sequence[str]) -> Iterator[Row]:
    """Give the rows one of whose `fields`, of `index_schema.NAMED`, is one of the texts; newest first.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    index.ready()
    marks = ", ".join("?" * len(texts))
    words = [int(word) for (word,) in index.rows(f"SELECT number FROM words WHERE name IN ({marks})", texts)]  # noqa: S608
    streams = [_holding(index, NAMED[NAMED.index(field)], word) for field in fields for word in words]
    last = None
    for row in heapq.merge(*streams, key=lambda row: (-row.time, -row.row)):
        if row.row != last:  # two of its fields may be the same text
            last = row.row
            yield row


def _holding(index: AuditIndex, field: str, word: int) -> Iterator[Row]:
    after: Cursor = (1 << 62, 0)
    while True:
        where = [f"{field} = ?", "(time, row) < (?, ?)"]
        query = f"{_select(f'INDEXED BY by_{field}', where)} ORDER BY time DESC, row DESC LIMIT ?"
        found = _rows(index, query, [word, *after, _PAGE])
        yield from found
        if len(found) < _PAGE:
            return
        after = (found[-1].time, found[-1].row)


def newest(index: AuditIndex) -> int:
    """Give the last row there is, from which `following` goes on; 0 for none.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    return int(index.rows("SELECT coalesce(max(row), 0) FROM entries")[0][0])


def following(index: AuditIndex, asked: Filter, *, row: int, most: int = 1_000) -> tuple[Row, ...]:
    """Give rows that hold and were indexed after `row`, oldest first, whatever time they tell.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    plan = _plan(index, asked)
    if plan is None:
        return ()
    query = f"{_select('NOT INDEXED', [*plan.where, 'row > ?'])} ORDER BY row LIMIT ?"
    return tuple(_rows(index, query, [*plan.values, row, most]))


def count(index: AuditIndex, asked: Filter = EVERYTHING) -> int:
    """Count the rows that hold.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    index.ready()
    plan = _plan(index, asked)
    if plan is None:
        return 0
    where = f" WHERE {' AND '.join(plan.where)}" if plan.where else ""
    query = f"SELECT count(*) FROM entries {plan.path}{where}"  # noqa: S608  texts are bound
    return int(index.rows(query, plan.values)[0][0])


def find(index: AuditIndex, record_id: str) -> tuple[Row, ...]:
    """Give the records with an id that begins with these hexadecimal digits, and their attempts and outcomes.

    Raises:
        ValueError: these are not 4 to 32 hexadecimal digits.
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    digits = record_id.lower()
    if not _PREFIX_CHARS <= len(digits) <= 32 or not set(digits) <= set("0123456789abcdef"):
        raise ValueError(f"{record_id[:40]!r} is not the id of a record: 4 to 32 hexadecimal digits are one")
    index.ready()
    low, high = (bytes.fromhex(digits.ljust(32, fill)) for fill in "0f")
    where = "row IN (SELECT row FROM entries WHERE id BETWEEN ? AND ? LIMIT 20)"
    found = _rows(index, f"{_select('', [where])} ORDER BY row", [low, high])
    kin: dict[int, Row] = {row.row: row for row in found}
    for row in found:
        if row.record is not None:
            near = "row IN (SELECT row FROM entries WHERE of = ? OR id = ? OR of = ? LIMIT 20)"
            record = row.record
            values = [record.record_id, record.of, record.of]
            kin |= {other.row: other for other in _rows(index, _select("", [near]), values)}
    return tuple(kin[row] for row in sorted(kin))


def given(index: AuditIndex, rows: Sequence[int]) -> tuple[Row, ...]:
    """Give rows by their numbers, in that order; at most 1,000.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    wanted = f"row IN ({', '.join(str(int(row)) for row in rows[:_INLINE])})"
    found = {row.row: row for row in _rows(index, _select("", [wanted]), [])}
    return tuple(found[row] for row in rows if row in found)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A way to answer: the index to walk, conditions, and what is bound to them."""

    path: str
    where: list[str]
    values: list[Any]


def explained(index: AuditIndex, asked: Filter) -> tuple[str, ...]:
    """Tell how SQLite would answer, for whoever measures it.

    Raises:
        Unavailable: the index cannot be read now.
        Refused: `memory-damaged`.
    """
    index.ready()
    plan = _plan(index, asked)
    if plan is None:
        return ("nothing holds",)
    query = f"EXPLAIN QUERY PLAN {_select(plan.path, plan.where)} ORDER BY time DESC, row DESC LIMIT 50"
    return tuple(str(row[3]) for row in index.rows(query, plan.values))


def _plan(index: AuditIndex, asked: Filter) -> _Plan | None:
    """Choose the index whose walk costs least if nothing holds; None where nothing can hold."""
    where: list[str] = []
    values: list[Any] = []
    total = index.rows("SELECT coalesce(sum(size), 0) FROM logs")[0][0]
    costs = {"by_time": _WALK * total}
    for field in FILTERED:
        texts: tuple[str, ...] = getattr(asked, field)
        if not texts:
            continue
        source, condition, bound = _source(field, texts)
        found = index.rows(f"SELECT word, count FROM {source} WHERE {condition}", bound)  # noqa: S608
        if not found:
            return None
        if len(found) <= _INLINE:
            where.append(f"{field} IN ({', '.join(str(int(word)) for word, _ in found)})")
        else:
            where.append(f"{field} IN (SELECT word FROM {source} WHERE {condition})")  # noqa: S608
            values.extend(bound)
        if f"by_{field}" in INDEXES:
            costs[f"by_{field}"] = sum(number for _, number in found)
    if asked.code or (asked.decision and set(asked.decision) <= _TROUBLE):
        where.append("code IS NOT NULL")
        query = "SELECT coalesce(sum(count), 0) FROM tallies WHERE field = 'code'"
        costs["troubled"] = _WALK * index.rows(query)[0][0]
    for sign, moment in ((">=", asked.since), ("<", asked.until)):
        if moment is not None:
            where.append(f"time {sign} ?")
            values.append(moment)
    return _Plan(f"INDEXED BY {min(costs, key=lambda name: costs[name])}", where, values)


def _source(field: str, texts: Sequence[str]) -> tuple[str, str, list[str]]:
    """Give the table, the condition and the values that find the numbers of texts."""
    table = "(SELECT number AS word, name AS text, size AS count FROM logs)"
    bound: list[str] = []
    if field != "log":
        table = "(SELECT word, name AS text, count, field FROM tallies JOIN words ON number = word)"
        bound.append(field)
    tests = []
    for text in texts:
        tests.append("text GLOB ?" if "*" in text else "text = ?")
        bound.append(text.replace("[", "[[]").replace("?", "[?]") if "*" in text else text)
    condition = f"({' OR '.join(tests)})"
    return table, condition if field == "log" else f"field = ? AND {condition}", bound


def _select(path: str, where: Sequence[str]) -> str:
    held = f" WHERE {' AND '.join(where)}" if where else ""
    return f"SELECT {', '.join(_COLUMNS)} FROM entries {path}{held}"  # noqa: S608  texts are bound


def _rows(index: AuditIndex, query: str, values: Sequence[Any]) -> list[Row]:
    found = index.rows(query, values)
    logs = {number: str(name) for number, name in index.rows("SELECT number, name FROM logs")}
    wanted = {number for row in found for number in row[8:] if number is not None}
    texts = index.texts(wanted)
    return [_row(row, logs, texts) for row in found]


def _row(found: tuple[Any, ...], logs: dict[int, str], texts: dict[int, str]) -> Row:
    row, log, commit, position, time, record_id, of, seq = found[:8]
    text = {
        field: None if number is None else texts[number]
        for field, number in zip(WORDS, found[8:], strict=True)
    }
    record = None
    if record_id is not None:
        record = AuditRecord(
            record_id=record_id,
            time=names.time_text(time),
            action=text["action"] or "",
            decision=text["decision"] or "",
            known=text["known"] or "",
            actor=_named(Principal, text["actor"]),
            key=_named(Digest, text["key"]),
            code=text["code"],
            outcome=text["outcome"],
            of=of,
            environment=_named(Environment, text["environment"]),
            slot=_named(Slot, text["slot"]),
            model=_named(Model, text["model"]),
            version=_named(Version, text["version"]),
            seq=seq,
            manifest=_named(Digest, text["manifest"]),
            policy=_policy(text["policy"]),
            evidence=_named(Digest, text["evidence"]),
            subject=text["subject"],
            host=text["host"],
        )
    return Row(row, logs[log], commit, position, time, record)


def _named(kind: Callable[[str], T], text: str | None) -> T | None:
    return None if text is None else kind(text)


def _policy(text: str | None) -> PolicyId | None:
    if text is None:
        return None
    era, version, digest = text.split(".")
    return PolicyId(int(era), int(version), Digest(digest))
