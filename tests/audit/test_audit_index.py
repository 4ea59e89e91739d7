"""The index: every entry that it was given, in milliseconds, and where the evidence of each is."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.audit.record_parts import ACCESS, LOADED, START, loaded, put
from vault.audit import index_schema, query
from vault.audit.index import AuditIndex, Mark
from vault.audit.query import Filter
from vault.core import audit_record
from vault.core.audit_record import AuditRecord
from vault.errors import Refused, Unavailable

RECORDS = [
    loaded(START),
    loaded(START + 60, model="nepse/NABIL", environment="dev", actor="ann"),
    loaded(START + 120, model="nepse/NICA", code="access-denied"),
    loaded(START + 180, action="pull", code="pickle-refused", actor="ann"),
    loaded(START + 240, code="unavailable", decision="allow", outcome="failed"),
    loaded(START + 300, decision="pending", code=None, version=None, manifest=None, policy=None, seq=None),
]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[AuditIndex]:
    made = AuditIndex(tmp_path / "state" / "index")
    put(made, ACCESS, RECORDS)
    yield made
    made.close()


def found(index: AuditIndex, asked: Filter) -> list[AuditRecord | None]:
    return [row.record for row in query.page(index, asked).rows]


def test_what_went_in_comes_out_newest_first_and_says_where_its_evidence_is(index: AuditIndex) -> None:
    put(index, "trust", [loaded(START + 30, action="policy", model=None, version=None)], commit=9)
    rows = query.page(index).rows
    order = sorted([*RECORDS, loaded(START + 30, action="policy", model=None, version=None)],
                   key=lambda record: record.time, reverse=True)  # fmt: skip
    assert [row.record for row in rows] == order
    places = {(row.log, row.commit, row.position, row.time) for row in rows}
    assert ("trust", 9, 0, START + 30) in places
    assert {(ACCESS, 1, number, START + 60 * number) for number in range(6)} <= places


FILTERS: dict[str, tuple[Filter, list[int]]] = {
    "nothing": (Filter(), [5, 4, 3, 2, 1, 0]),
    "an actor": (Filter(actor=("ann",)), [3, 1]),
    "two actors": (Filter(actor=("ann", "serving")), [5, 4, 3, 2, 1, 0]),
    "nobody known": (Filter(actor=("bob",)), []),
    "one known, one not": (Filter(actor=("bob", "ann")), [3, 1]),
    "an action": (Filter(action=("pull",)), [3]),
    "a model": (Filter(model=("churn",)), [5, 4, 3, 0]),
    "a pattern": (Filter(model=("nepse/*",)), [2, 1]),
    "a pattern of nothing": (Filter(model=("x/*",)), []),
    "a pattern of everything": (Filter(model=("*",)), [5, 4, 3, 2, 1, 0]),
    "a question mark is none": (Filter(model=("nepse/N???L*",)), []),
    "a bracket is none": (Filter(model=("nepse/[NX]*",)), []),
    "an environment": (Filter(environment=("dev",)), [1]),
    "denied": (Filter(decision=("deny",)), [2]),
    "denied or refused": (Filter(decision=("deny", "refuse")), [3, 2]),
    "pending": (Filter(decision=("pending",)), [5]),
    "failed": (Filter(outcome=("failed",)), [4]),
    "a code": (Filter(code=("pickle-refused", "unavailable")), [4, 3]),
    "a code, in one model": (Filter(code=("pickle-refused",), model=("nepse/*",)), []),
    "a log": (Filter(log=(ACCESS,)), [5, 4, 3, 2, 1, 0]),
    "logs": (Filter(log=("access/*",), actor=("ann",)), [3, 1]),
    "another log": (Filter(log=("trust",)), []),
    "since": (Filter(since=START + 180), [5, 4, 3]),
    "until": (Filter(until=START + 60), [0]),
    "between": (Filter(since=START + 60, until=START + 180, actor=("serving",)), [2]),
    "injected": (Filter(actor=("ann' OR '1'='1",), model=("*'; DROP TABLE entries; --",)), []),
}


@pytest.mark.parametrize("what", FILTERS)
def test_a_filter_gives_what_holds_and_nothing_else(what: str, index: AuditIndex) -> None:
    asked, expected = FILTERS[what]
    assert found(index, asked) == [RECORDS[number] for number in expected]
    assert query.count(index, asked) == len(expected)
    assert [row.record for row in query.following(index, asked, row=0)] == [
        RECORDS[number] for number in sorted(expected)
    ]


@pytest.mark.parametrize("most", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("same_time", [False, True])
def test_pages_give_every_row_once_even_at_one_time(most: int, same_time: bool, tmp_path: Path) -> None:
    index = AuditIndex(None)
    records = [loaded(START if same_time else START + number, host=f"h{number}") for number in range(7)]
    put(index, ACCESS, records)
    seen: list[AuditRecord | None] = []
    after = None
    while True:
        page = query.page(index, Filter(actor=("serving",)), most=most, after=after)
        assert len(page.rows) <= most
        seen.extend(row.record for row in page.rows)
        after = page.after
        if after is None:
            break
    assert seen == records[::-1]
    assert [row.record for row in query.pages(index, most=most)] == records[::-1]
    index.close()


def test_rows_that_come_while_somebody_pages_are_not_mixed_in(index: AuditIndex) -> None:
    first = query.page(index, most=3)
    put(index, ACCESS, [loaded(START + 999)])
    second = query.page(index, most=50, after=first.after)
    assert [row.record for row in (*first.rows, *second.rows)] == RECORDS[::-1]


def test_rows_are_found_by_the_whole_of_a_text_in_several_fields_newest_first_and_once(
    tmp_path: Path,
) -> None:
    index = AuditIndex(None)
    records = [loaded(START + number, host=f"web-{number % 3}", subject="web-1") for number in range(1_000)]
    put(index, ACCESS, records)
    newest_first = records[::-1]
    assert [row.record for row in query.holding(index, ("host", "subject"), ("web-1",))] == newest_first
    asked = ("web-0", "web-2", "nowhere")
    some = [row.record for row in query.holding(index, ("host", "subject"), asked)]
    assert some == [record for record in newest_first if record.host != "web-1"]
    assert list(query.holding(index, ("evidence", "manifest"), ("web-1",))) == []
    assert list(query.holding(index, ("host",), ("nowhere",))) == []
    assert len(list(query.holding(index, ("evidence", "manifest"), ("b" * 64,)))) == 1_000
    index.close()


@pytest.mark.parametrize("field", index_schema.NAMED)
def test_what_is_asked_for_by_its_whole_text_is_looked_up_and_not_searched_for(
    field: str, index: AuditIndex
) -> None:
    index.ready()
    question = f"SELECT row FROM entries INDEXED BY by_{field} WHERE {field} = 1 ORDER BY time DESC, row DESC"
    plan = " ".join(str(row[3]) for row in index.rows(f"EXPLAIN QUERY PLAN {question}"))
    assert f"by_{field} ({field}=?)" in plan
    assert "TEMP B-TREE" not in plan, "in the order in which they are asked for"


def test_following_gives_what_was_indexed_since_even_if_it_tells_an_older_time(index: AuditIndex) -> None:
    mark = query.newest(index)
    assert query.following(index, Filter(), row=mark) == ()
    late = loaded(START - 86_400, host="late")
    put(index, "env/prod", [late])
    (row,) = query.following(index, Filter(), row=mark)
    assert row.record == late
    assert query.following(index, Filter(), row=query.newest(index)) == ()
    assert query.newest(AuditIndex(None)) == 0


def test_a_record_is_found_by_the_beginning_of_its_id_with_its_attempt_and_outcome(index: AuditIndex) -> None:
    attempt = RECORDS[5]
    outcome = audit_record.outcome_of(attempt, record_id=b"\xab" * 16, time=attempt.time, error=None)
    put(index, ACCESS, [outcome])
    for asked in ("abab", "AB" * 16, attempt.record_id.hex(), attempt.record_id.hex()[:8]):
        assert [row.record for row in query.find(index, asked)] == [attempt, outcome]
    assert query.find(index, "0000ffff") == ()
    for wrong in ("", "abc", "x" * 8, "a" * 33, "' OR 1"):
        with pytest.raises(ValueError):
            query.find(index, wrong)


# --- going on ---


def test_the_index_goes_on_where_it_ended(index: AuditIndex) -> None:
    assert index.marks() == {ACCESS: Mark(6, b"\x07" * 32, 1)}
    more = [loaded(START + 400 + number) for number in range(3)]
    entries = [(number, audit_record.encode(record)) for number, record in enumerate([*RECORDS, *more], 1)]
    assert index.extend(ACCESS, 4, entries[4:], Mark(9, b"\x08" * 32, 9)) == 3
    assert index.extend(ACCESS, 0, entries, Mark(9, b"\x08" * 32, 9)) == 0, "everything is known"
    assert index.marks() == {ACCESS: Mark(9, b"\x08" * 32, 9)}
    assert [row.record for row in query.pages(index)] == [*RECORDS, *more][::-1]
    assert {row.position: row.commit for row in query.pages(index)}[8] == 9


@pytest.mark.parametrize(("start", "size"), [(7, 8), (6, 8), (6, 6), (0, 1)])
def test_entries_that_do_not_begin_or_end_where_they_should_are_not_added(
    start: int, size: int, index: AuditIndex
) -> None:
    before = found(index, Filter())
    entry = audit_record.encode(loaded(START + 500, actor="nobody-yet"))
    with pytest.raises(ValueError):
        index.extend(ACCESS, start, [(1, entry)] * (1 if start else 2), Mark(size, bytes(32), 1))
    assert found(index, Filter()) == before
    assert index.marks()[ACCESS].size == 6
    put(index, ACCESS, [loaded(START + 500, actor="nobody-yet"), loaded(START + 501, actor="another")])
    assert query.page(index, Filter(actor=("another",))).rows[0].record == loaded(
        START + 501, actor="another"
    )


def test_many_entries_stream_through(tmp_path: Path) -> None:
    index = AuditIndex(None)
    records = [loaded(START + number, model=f"m{number % 1_500}") for number in range(9_000)]
    put(index, ACCESS, records)
    assert query.count(index) == 9_000
    assert query.count(index, Filter(model=("m*",), since=START + 10)) == 8_990
    assert query.count(index, Filter(model=("m7",))) == 6
    index.close()


def test_an_entry_that_is_no_record_is_shown_and_not_hidden(index: AuditIndex) -> None:
    index.extend(ACCESS, 6, [(2, b"\xff junk"), (2, audit_record.encode(LOADED))], Mark(8, bytes(32), 2))
    (row,) = query.page(index, Filter(code=("malformed-document",))).rows
    assert (row.record, row.log, row.position, row.commit) == (None, ACCESS, 6, 2)
    assert row.time == START + 300, "the time of the entry before it"
    assert query.count(index) == 8
    assert query.count(index, Filter(decision=("allow",))) == query.count(
        index, Filter(outcome=("done", "failed"))
    )


def test_a_log_can_be_forgotten_and_made_again_without_touching_others(index: AuditIndex) -> None:
    put(index, "env/prod", [loaded(START, action="promote", actor="rex")])
    index.forget(ACCESS)
    assert set(index.marks()) == {"env/prod"}
    assert query.count(index) == 1
    assert query.page(index, Filter(actor=("ann",))).rows == ()
    assert query.page(index, Filter(actor=("rex",), action=("promote",))).rows[0].position == 0
    put(index, ACCESS, RECORDS)
    assert query.count(index, Filter(actor=("ann",))) == 2


def test_an_index_can_be_thrown_away(index: AuditIndex) -> None:
    query.page(index)
    index.clear()
    assert index.marks() == {}
    put(index, ACCESS, RECORDS)
    assert query.count(index) == 6


def test_two_processes_may_extend_one_index(tmp_path: Path) -> None:
    first, second = AuditIndex(tmp_path / "i"), AuditIndex(tmp_path / "i")
    put(first, ACCESS, RECORDS[:3])
    entries = [(1, audit_record.encode(record)) for record in RECORDS]
    assert second.extend(ACCESS, 0, entries, Mark(6, bytes(32), 1)) == 3
    assert first.extend(ACCESS, 3, entries[3:], Mark(6, bytes(32), 1)) == 0
    assert [row.record for row in query.pages(first)] == RECORDS[::-1]
    first.close()
    second.close()


# --- the file ---


def test_the_index_is_private_and_survives_its_process(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = AuditIndex(tmp_path / "i")
        put(made, ACCESS, RECORDS)
        query.page(made)
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "i").iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "i").stat().st_mode) == 0o700
    made.close()
    again = AuditIndex(tmp_path / "i")
    assert query.count(again) == 6
    again.close()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "junk": lambda path: path.write_bytes(b"junk" * 5_000),
    "a damaged header": lambda path: path.write_bytes(path.read_bytes()[:100] + b"\xff" * 200),
    "another program's": lambda path: changed(path, "PRAGMA application_id=5"),
    "another layout": lambda path: changed(path, "PRAGMA user_version=99"),
    "a table is missing": lambda path: changed(path, "DROP TABLE logs"),
}


def changed(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_index_is_made_anew_since_it_is_no_evidence(what: str, tmp_path: Path) -> None:
    made = AuditIndex(tmp_path / "i")
    put(made, ACCESS, RECORDS)
    made.close()
    DAMAGES[what](tmp_path / "i" / "index.sqlite")
    again = AuditIndex(tmp_path / "i")
    assert again.marks() == {}
    put(again, ACCESS, RECORDS)
    assert query.count(again) == 6
    again.close()


def test_damage_that_is_met_later_is_refused_with_what_to_do(index: AuditIndex) -> None:
    query.page(index)
    for statement in ("DELETE FROM words WHERE number = 1", "DROP TABLE tallies"):
        index.rows(statement)
        index._spelled.clear()
        with pytest.raises(Refused) as caught:
            query.page(index, Filter() if "words" in statement else Filter(actor=("ann",)))
        assert caught.value.code == "memory-damaged"
        assert "remove that folder" in caught.value.hint


def test_an_index_that_cannot_be_kept_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Unavailable):
        AuditIndex(tmp_path / "link")

    def busy(connection: sqlite3.Connection) -> sqlite3.Connection:
        connection.close()
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise error

    monkeypatch.setattr(index_schema, "laid_out", busy)
    with pytest.raises(Unavailable, match="locked"):
        AuditIndex(tmp_path / "i")


def test_what_stays_damaged_is_not_made_anew_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(connection: sqlite3.Connection) -> sqlite3.Connection:
        raise index_schema.AnotherError

    monkeypatch.setattr(index_schema, "laid_out", never)
    with pytest.raises(Refused, match="as well"):
        AuditIndex(tmp_path / "i")


# --- how it answers ---


@pytest.mark.parametrize(
    ("asked", "walks"),
    [
        (Filter(), "by_time"),
        (Filter(actor=("ann",)), "by_time"),
        (Filter(actor=("rare",)), "by_actor"),
        (Filter(actor=("rare",), model=("m1",)), "by_actor"),
        (Filter(decision=("deny",)), "troubled"),
        (Filter(action=("policy",)), "by_action"),
        (Filter(log=("trust",)), "by_log"),
        (Filter(model=("once",), decision=("deny", "allow")), "by_model"),
    ],
)
def test_the_shortest_way_is_taken_and_no_filter_looks_rows_up_by_the_thousand(
    asked: Filter, walks: str, tmp_path: Path
) -> None:
    index = AuditIndex(None)
    records = [loaded(START + number, model=f"m{number % 9}", actor="ann") for number in range(2_000)]
    records += [loaded(START + number, actor="rare", model="once") for number in range(3)]
    records += [loaded(START + number, code="access-denied", actor="ann", model="m1") for number in range(40)]
    put(index, ACCESS, records)
    put(index, "trust", [loaded(START + 5, action="policy", actor="ann", model="m1")])
    plan = query.explained(index, asked)
    assert f"USING INDEX {walks}" in plan[0].replace("COVERING ", "")
    if walks in {"by_time", "troubled"}:
        assert len(plan) == 1, "the order of time needs no sorting"
    assert query.explained(index, Filter(actor=("nobody",))) == ("nothing holds",)
    index.close()


def test_the_view_for_people_reads_like_records(index: AuditIndex) -> None:
    rows = index.rows(
        "SELECT log, position, time, id, actor, model, decision, code FROM records ORDER BY row LIMIT 3"
    )
    assert rows[2] == (
        ACCESS, 2, "2026-11-02T09:02:00Z", RECORDS[2].record_id.hex(),
        "serving", "nepse/NICA", "deny", "access-denied",
    )  # fmt: skip


def test_a_record_without_anything_optional_comes_out_as_it_went_in() -> None:
    index = AuditIndex(None)
    bare = AuditRecord(
        record_id=b"b" * 16,
        time=LOADED.time,
        action="root",
        decision="allow",
        known="claimed",
        outcome="done",
    )
    full = replace(LOADED, of=b"o" * 16, slot="b", evidence="e" * 64, subject="\x00 '\"\u2028", host="")  # type: ignore[arg-type]
    put(index, "trust", [bare, full])
    assert [row.record for row in query.pages(index)] == [full, bare]
    index.close()
