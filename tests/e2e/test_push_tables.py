"""Tables of what to push: what they may say, and that whatever is wrong is told with its line."""

import csv
import io
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vault
from vault.actions import bulk_files, push_tables, sample_file
from vault.core import limits

CSV = '''model,path,version,metric.auc,param.depth,features,sample,tags,note,public
nepse/NABIL,files/NABIL,1.4.0,0.91,3,columns.json,rows.npz,"nightly, banks","a, ""b""",yes
nepse/NICA,files/NICA,,,,,,,,
'''


def parse(text: str | bytes, **options: Any) -> tuple[push_tables.Row, ...]:
    data = text.encode() if isinstance(text, str) else text
    return push_tables.parse(data, "t", **options)


def test_a_row_says_what_a_push_takes() -> None:
    first, second = parse(CSV, base="/desk")
    assert (first.line, first.model, first.version) == (2, "nepse/NABIL", "1.4.0")
    assert first.paths == ("/desk/files/NABIL",)
    assert first.metrics == {"auc": 0.91}
    assert first.params == {"depth": "3"}
    assert (first.features, first.sample) == ("/desk/columns.json", "/desk/rows.npz")
    assert first.tags == ("nightly", "banks")
    assert first.note == 'a, "b"'
    assert first.public
    assert second == push_tables.Row(3, second.model, ("/desk/files/NICA",))


def test_tabs_and_json_lines_say_the_same() -> None:
    tabs = io.StringIO()
    csv.writer(tabs, delimiter="\t", lineterminator="\r\n").writerows(csv.reader(io.StringIO(CSV)))
    lines = (
        '{"model": "nepse/NABIL", "path": "files/NABIL", "version": "1.4.0", "metrics": {"auc": 0.91}, '
        '"params": {"depth": 3}, "features": "columns.json", "sample": "rows.npz", '
        '"tags": ["nightly", "banks"], "note": "a, \\"b\\"", "public": true}\n\n'
        '{"model": "nepse/NICA", "path": ["files/NICA"]}\n'
    )
    assert parse(tabs.getvalue()) == parse(CSV)
    found = parse(lines)
    assert [(row.line, row.model) for row in found] == [(1, "nepse/NABIL"), (3, "nepse/NICA")]
    assert found[0] == parse(CSV)[0].__class__(1, *_fields(parse(CSV)[0]))


def _fields(row: push_tables.Row) -> list[Any]:
    return [getattr(row, name) for name in row.__slots__ if name != "line"]


def test_a_mark_at_the_beginning_and_lines_that_end_as_windows_ends_them_are_read() -> None:
    assert parse(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode()) == parse(CSV)


def test_names_may_stand_in_json_where_a_file_may() -> None:
    (row,) = parse('{"model": "a", "path": "x", "features": ["age", "income"], "version": 3}')
    assert row.features == ("age", "income")
    assert row.version == "3"


def test_what_looks_like_a_formula_or_a_shell_is_text() -> None:
    (row,) = parse("model,path,note,tags\na,$(id),=cmd|' /C calc'!A0,\"+1, @x\"\n")
    assert row.note == "=cmd|' /C calc'!A0"
    assert row.paths == ("$(id)",)
    assert row.tags == ("+1", "@x")


WRONG: Mapping[str, tuple[str | bytes, str]] = {
    "empty": ("", "names no model"),
    "only a heading": ("model,path\n", "names no model"),
    "no column path": ("model,note\na,b\n", "line 1: there is no column path"),
    "unknown column": ("model,path,auc\na,b,1\n", "line 1: there is no column 'auc'; there are"),
    "column twice": ("model,path,path\na,b,c\n", "line 1: the column 'path' stands there twice"),
    "metric without a name": ("model,path,metric.\na,b,1\n", "line 1: there is no column 'metric.'"),
    "too few cells": ("model,path\na,b\na\n", "line 3: it has 1 cells, and the heading has 2"),
    "too many cells": ("model,path\na,b,c\n", "line 2: it has 3 cells"),
    "no model": ("model,path\n,b\n", "line 2: the column model is empty"),
    "no path": ("model,path\na,\n", "line 2: the column path is empty"),
    "bad model": ("model,path\na,b\n../x,b\n", "line 3: '../x' is not a model name"),
    "formula as a model": ("model,path\n=1+1,b\n", "line 2: '=1+1' is not a model name"),
    "bad version": ("model,path,version\na,b,one\n", "line 2: 'one' is not a version"),
    "model twice": ("model,path\na,b\nc,d\na,e\n", "line 4: a stands in line 2 already"),
    "version twice": ("model,path,version\na,b,2\na,c,2\n", "line 3: a:2 stands in line 2 already"),
    "metric is text": ("model,path,metric.auc\na,b,high\n", "line 2: metric.auc is not a number"),
    "metric is nan": ("model,path,metric.auc\na,b,nan\n", "line 2: metric.auc is not a number"),
    "metric is huge": ("model,path,metric.auc\na,b,1e999\n", "line 2: metric.auc is not a number"),
    "metric is long": (f"model,path,metric.auc\na,b,{'1' * 99}\n", "line 2: metric.auc is not a number"),
    "public is text": ("model,path,public\na,b,maybe\n", "line 2: public is true or false"),
    "NUL": ("model,path\na,b\0c\n", "line 2: it holds a NUL"),
    "not UTF-8": (b"model,path\na,\xff\n", "line 2: it is not UTF-8"),
    "open quote": ('model,path\na,"b\n', "line 2: unexpected end of data"),
    "quote inside": ('model,path\n"a"x,b\n', "line 2: ',' expected after"),
    "giant cell": (f"model,path,note\na,b,{'x' * 70_000}\n", "line 2: the column note has more than"),
    "gigantic cell": (f"model,path,note\na,b,{'x' * 200_000}\n", "line 2: field larger than"),
    "giant line": (f"model,path\na,{'x' * (limits.TABLE_LINE_CHARS + 1)}\n", "line 2: it has more than"),
    "many columns": (",".join(f"metric.m{n}" for n in range(2_000)) + "\n", "line 1: a table has at most"),
    "json: no object": ("[1]\n", "line 1: there is no column"),
    "json: half": ('{"model": "a",\n', "line 1: it is no JSON object"),
    "json: key twice": ('{"model": "a", "model": "b", "path": "c"}\n', "line 1: it is no JSON object"),
    "json: NaN": ('{"model": "a", "path": "c", "metrics": {"auc": NaN}}\n', "line 1: it is no JSON object"),
    "json: deep": ('{"model": ' + "[" * 100_000 + "\n", "line 1: it is no JSON object"),
    "json: long number": ('{"model": "a", "path": ' + "1" * 9_999 + "}\n", "line 1: it is no JSON object"),
    "json: number": ('{"model": "a", "path": 3}\n', "line 1: the column path is a text"),
    "json: half a character": ('{"model": "a", "path": "\\ud800"}\n', "line 1: the column path holds"),
    "json: NUL": ('{"model": "a", "path": "\\u0000"}\n', "line 1: the column path holds"),
    "json: unknown": ('{"model": "a", "path": "b", "x": 1}\n', "line 1: there is no column 'x'"),
    "json: metrics": ('{"model": "a", "path": "b", "metrics": 1}\n', "line 1: metrics is an object"),
    "json: metric": ('{"model": "a", "path": "b", "metrics": {"x": [1]}}\n', "line 1: metric.x is not"),
    "json: boolean": ('{"model": "a", "path": "b", "metrics": {"x": true}}\n', "line 1: metric.x is not"),
    "json: twice": ('{"model": "a", "path": "b", "metrics": {"x": 1}, "metric.x": 2}\n', "line 1: metric.x"),
    "json: features": ('{"model": "a", "path": "b", "features": [1]}\n', "line 1: the column features"),
}


@pytest.mark.parametrize("name", WRONG)
def test_whatever_is_wrong_is_told_with_its_line(name: str) -> None:
    text, message = WRONG[name]
    with pytest.raises(ValueError) as refusal:
        parse(text)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_every_case_is_there() -> None:
    assert len(WRONG) == 43


ANYTHING = st.one_of(st.text(), st.binary().map(lambda data: data.decode("latin-1")))
LINE = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1)


@given(ANYTHING, st.sampled_from(["", ",", "\t"]))
def test_any_text_is_a_table_or_a_mistake(text: str, kind: str) -> None:
    for data in (text, f"model,path,metric.a\n{text}", f'{{"model": "a", "path": {json.dumps(text)}}}'):
        with suppress(ValueError):
            assert parse(data.encode("utf-8", "surrogatepass"), kind=kind)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "model": st.from_regex(r"[a-z]{1,8}/[A-Z]{1,8}", fullmatch=True),
                "path": LINE.filter(str.strip),
                "note": st.text(st.characters(codec="utf-8", exclude_characters="\0\r")),
                "metric.x": st.floats(allow_nan=False, allow_infinity=False),
            }
        ),
        min_size=1,
        unique_by=lambda row: row["model"],
    )
)
def test_what_pythons_csv_writes_is_read_as_it_was(rows: list[dict[str, Any]]) -> None:
    file = io.StringIO()
    writer = csv.DictWriter(file, [*rows[0]])
    writer.writeheader()
    writer.writerows(rows)
    found = parse(file.getvalue(), kind=",")
    assert [(row.model, row.paths, row.note or "", row.metrics["x"]) for row in found] == [
        (row["model"], (row["path"],), row["note"], row["metric.x"]) for row in rows
    ]


# --- files ---


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    with pytest.raises(vault.NotFound):
        push_tables.read(str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match="is no file"):
        push_tables.read(str(tmp_path))
    with pytest.raises(ValueError, match="is no file"):
        push_tables.read("/dev/zero")


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    with path.open("wb") as file:
        file.truncate(limits.TABLE_BYTES + 1)
    with pytest.raises(ValueError, match="has more than"):
        push_tables.read(str(path))


def test_paths_are_relative_to_the_table(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("model,path\na,b/c\nd,/e\n")
    assert [row.paths for row in push_tables.read(str(table))] == [(f"{tmp_path}/b/c",), ("/e",)]


def test_a_pipe_that_somebody_writes_to_is_a_table(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"model,path\na,b\n")
    os.close(writing)
    try:
        assert len(push_tables.read(f"/dev/fd/{reading}")) == 1
    finally:
        os.close(reading)


def test_a_list_has_remarks_and_lines_to_speak_of(tmp_path: Path) -> None:
    path = tmp_path / "refs"
    path.write_text("# these\n\n  nepse/NABIL:3  \r\nnepse/*@staging\n")
    assert bulk_files.lines(str(path)) == [(3, "nepse/NABIL:3"), (4, "nepse/*@staging")]


@pytest.mark.parametrize(("text", "names"), [('["a", "b"]', ["a", "b"]), ("a\n\nb\n", ["a", "b"]), ("", [])])
def test_names_are_a_json_list_or_lines(tmp_path: Path, text: str, names: list[str]) -> None:
    path = tmp_path / "names"
    path.write_text(text)
    assert bulk_files.names_in(str(path)) == names


@pytest.mark.parametrize("text", ["[1]", "[", '["a", {}]', "[" * 100_000])
def test_what_is_neither_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names"
    path.write_text(text)
    with pytest.raises(ValueError, match="neither a JSON list"):
        bulk_files.names_in(str(path))


def test_samples_are_read_without_a_limit_for_the_whole_process(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "rows.csv").write_text(f"a,b\n1,{'2' * 70_000}\n")
    with pytest.raises(ValueError, match="more than 65,536 characters"):
        sample_file._table(tmp_path / "rows.csv", (tmp_path / "rows.csv").read_bytes())
    assert csv.field_size_limit() == before
