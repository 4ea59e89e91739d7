"""The digest of training data: the same rows give the same one, however they are held and divided."""

import datetime
import decimal
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracles_data as oracle
from vault.errors import NotFound
from vault.loaders.fingerprint import Fingerprint, fingerprint, tables

NAN = float("nan")


def digest(data: Any) -> str:
    return fingerprint(data).digest


def chunked(data: Any, *sizes: int) -> Iterator[Any]:
    """Divide rows into chunks of these sizes, and the rest."""
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    yield data[start:]


# --- by the document ---


def test_a_table_is_digested_as_the_document_says_whichever_library_holds_it() -> None:
    moments = [1_700_000_000_000_000_000, None, 5]
    columns: list[tuple[str, str, list[Any]]] = [
        ("age", "int64", [1, -2, 3]),
        ("rate", "float64", [0.5, None, -0.0]),
        ("small", "float32", [0.5, 1.5, None]),
        ("name", "text", ["Nābil", None, ""]),
        ("kept", "bool", [True, False, True]),
        ("when", "timestamp[ns]", moments),
        ("seen", "timestamp[ns,utc]", moments),
    ]
    expected = oracle.table(columns)
    frame = pd.DataFrame(
        {
            "age": np.array([1, -2, 3], np.int64),
            "rate": [0.5, NAN, -0.0],
            "small": np.array([0.5, 1.5, NAN], np.float32),
            "name": ["Nābil", None, ""],
            "kept": [True, False, True],
            "when": pd.to_datetime(pd.Series(moments), unit="ns").astype("datetime64[ns]"),
            "seen": pd.to_datetime(pd.Series(moments), unit="ns", utc=True).astype("datetime64[ns, UTC]"),
        }
    )
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    assert fingerprint(frame) == Fingerprint(expected, "table", 3)
    assert digest(arrow) == expected
    assert digest(arrow.to_batches()[0]) == expected
    assert digest(pl.from_arrow(arrow)) == expected
    assert digest(frame.set_index(pd.Index([9, 7, 8]))) == expected
    assert digest(frame.assign(name=frame["name"].astype(object))) == expected
    assert digest(frame.assign(name=frame["name"].astype("category"))) == expected
    assert digest(frame.assign(seen=frame["seen"].dt.tz_convert("Asia/Kathmandu"))) == expected
    assert digest(frame.astype({"age": "Int64", "kept": "boolean"})) == expected
    assert digest(arrow.to_pandas(types_mapper=pd.ArrowDtype)) == expected


def test_an_array_is_digested_as_the_document_says() -> None:
    values = np.array([[1.5, NAN], [0.0, -0.0], [3.0, 4.0]])
    expected = oracle.array("float64", (3, 2), [1.5, None, 0.0, -0.0, 3.0, 4.0])
    assert fingerprint(values) == Fingerprint(expected, "array", 3)
    for same in (
        np.asfortranarray(values),
        values.astype(">f8"),
        np.repeat(values, 2, axis=0)[::2],
        values.tolist(),
        np.ma.masked_invalid(values),
        np.ma.masked_array(np.nan_to_num(values, nan=7.0), np.isnan(values)),
    ):
        assert digest(same) == expected
    assert digest([1, 2, 3]) == oracle.array("int64", (3,), [1, 2, 3])
    assert digest(np.zeros((2, 2, 2), np.uint8)) == oracle.array("uint8", (2, 2, 2), [0] * 8)
    assert (
        digest(["a", "bé"]) == digest(np.array(["a", "bé"], "U9")) == oracle.array("text", (2,), ["a", "bé"])
    )
    assert digest(np.array([b"a", b"bc"])) == oracle.array("binary", (2,), [b"a", b"bc"])


def test_a_sparse_matrix_is_digested_as_the_document_says() -> None:
    rows: list[dict[int, Any]] = [{0: 1.0, 3: 2.0}, {}, {2: 4.0}]
    expected = oracle.sparse("float64", 4, rows)
    made = scipy.sparse.csr_matrix(np.array([[1.0, 0, 0, 2.0], [0, 0, 0, 0], [0, 0, 4.0, 0]]))
    assert fingerprint(made) == Fingerprint(expected, "sparse", 3)
    untidy = scipy.sparse.coo_matrix(
        ([1.5, 0.5, 4.0, -1.0, 1.0, 1.0], ([0, 0, 2, 1, 1, 0], [3, 3, 2, 1, 1, 0])), shape=(3, 4)
    )
    for same in (made.tocsc(), made.tocoo(), scipy.sparse.csr_array(made), untidy):
        assert digest(same) == expected
    assert digest(chunked(made, 1)) == expected
    assert untidy.nnz == 6


def test_a_folder_is_digested_by_paths_and_a_file_as_sha256sum_does(tmp_path: Path) -> None:
    found = {"b.csv": b"x\n1\n", "a/c.csv": b"", "a.csv": b"y" * 3_000_000, "ä.csv": b"z"}
    for name, data in found.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    expected = oracle.folder(found)
    assert fingerprint(tmp_path) == Fingerprint(expected, "folder", None, sum(map(len, found.values())))
    assert digest(str(tmp_path)) == expected
    one = fingerprint(tmp_path / "a.csv")
    assert one == Fingerprint(f"sha256:{hashlib.sha256(found['a.csv']).hexdigest()}", "file", None, 3_000_000)
    (tmp_path / "linked.csv").symlink_to(tmp_path / "b.csv")
    assert digest(tmp_path) == oracle.folder({**found, "linked.csv": found["b.csv"]})
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="lies in"):
        digest(tmp_path)
    with pytest.raises(NotFound):
        digest(tmp_path / "nothing")


# --- chunks ---

CELLS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.one_of(st.none(), st.floats(allow_nan=False)),
    "text": st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=6)),
    "bool": st.booleans(),
}


@st.composite
def frames(draw: st.DrawFn) -> tuple[list[tuple[str, str, list[Any]]], list[int]]:
    rows = draw(st.integers(1, 40))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    columns = [
        (f"c{place}", kind, draw(st.lists(CELLS[kind], min_size=rows, max_size=rows)))
        for place, kind in enumerate(kinds)
    ]
    return columns, draw(st.lists(st.integers(0, 15), max_size=5))


TYPES = {"int64": pa.int64(), "float64": pa.float64(), "text": pa.large_string(), "bool": pa.bool_()}


@settings(deadline=None, max_examples=60)
@given(frames(), st.integers(1, 9))
def test_into_how_many_chunks_rows_are_divided_makes_no_difference(
    drawn: tuple[list[tuple[str, str, list[Any]]], list[int]], block: int
) -> None:
    columns, sizes = drawn
    expected = oracle.table(columns)
    arrow = pa.table({name: pa.array(cells, TYPES[kind]) for name, kind, cells in columns})
    frame = pd.DataFrame(
        {
            name: pd.Series(cells, dtype=object if kind == "text" else {"bool": "bool"}.get(kind, kind))
            for name, kind, cells in columns
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "BLOCK", block)
        patch.setattr(tables, "_SMALL", 0)  # so that threads do it
        assert digest(arrow) == digest(frame) == expected
        assert digest(chunked(frame, *sizes)) == expected
        assert digest([chunk for chunk in chunked(frame, *sizes) if len(chunk)]) == expected
        batches = [
            pa.RecordBatch.from_pandas(chunk, arrow.schema, preserve_index=False)
            for chunk in chunked(frame, *sizes)
        ]
        assert digest(pa.Table.from_batches(batches, arrow.schema)) == expected
        assert digest(pa.RecordBatchReader.from_batches(arrow.schema, batches)) == expected
        assert digest(pl.from_arrow(batch) for batch in batches) == expected
        as_categories = frame.astype({name: "category" for name, kind, _ in columns if kind == "text"})
        assert digest(chunked(as_categories, *sizes)) == expected


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", ">u2", "?", "M8[us]", "m8[s]", "U3", "S3", "O", "c16"])
def test_chunks_of_arrays_of_any_type_come_to_the_same(dtype: str) -> None:
    values = np.arange(60).reshape(20, 3) % 7
    whole = values.astype(dtype) if dtype != "O" else values.astype(str).astype(object)
    expected = digest(whole)
    assert digest(chunked(whole, 0, 1, 7, 2)) == expected
    assert digest(chunked(np.asfortranarray(whole), 3)) == expected
    other = whole.copy()
    other[19, 2] = other[0, 0]
    assert digest(other) != expected


def test_parquet_is_bytes_by_its_path_and_rows_by_its_batches(tmp_path: Path) -> None:
    table = pa.table({"x": list(range(1000)), "y": [f"row {n}" for n in range(1000)]})
    one, other = tmp_path / "one.parquet", tmp_path / "other.parquet"
    pa.parquet.write_table(table, one)
    pa.parquet.write_table(table, other, row_group_size=100, compression="zstd")
    assert digest(one) != digest(other)
    expected = digest(table)
    for path in (one, other):
        assert digest(pa.parquet.ParquetFile(path)) == expected
        assert digest(pa.dataset.dataset(path)) == expected
        assert digest(pd.read_parquet(path)) == expected


# --- what is told apart, and what is not ---

DIFFERENT: dict[str, Any] = {
    "a table": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    "another name": pd.DataFrame({"a": [1, 2], "c": ["x", "y"]}),
    "another order of columns": pd.DataFrame({"b": ["x", "y"], "a": [1, 2]}),
    "another order of rows": pd.DataFrame({"a": [2, 1], "b": ["y", "x"]}),
    "another type": pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
    "a narrower type": pd.DataFrame({"a": np.array([1, 2], np.int32), "b": ["x", "y"]}),
    "another division of texts": pd.DataFrame({"a": [1, 2], "b": ["xy", ""]}),
    "a missing text": pd.DataFrame({"a": [1, 2], "b": ["xy", None]}),
    "numbers that look like texts": pd.DataFrame({"a": [1, 2], "b": ["1", "2"]}),
    "numbers among texts": pd.DataFrame({"a": [1, 2], "b": ["1", 2]}),
    "objects": pd.DataFrame({"a": [1, 2], "b": pd.Series([1, 2], dtype=object)}),
    "fractions among objects": pd.DataFrame({"a": [1, 2], "b": pd.Series([1.0, 2.0], dtype=object)}),
    "truths among objects": pd.DataFrame({"a": [1, 2], "b": pd.Series([True, 2], dtype=object)}),
    "lists": pd.DataFrame({"a": [1, 2], "b": [[1, 2], []]}),
    "lists divided otherwise": pd.DataFrame({"a": [1, 2], "b": [[1], [2]]}),
    "an array": np.array([[1, 2], [3, 4]]),
    "an array of another shape": np.array([1, 2, 3, 4]),
    "a longer array": np.array([[1, 2], [3, 4], [0, 0]]),
    "a sparse one": scipy.sparse.csr_matrix(np.array([[1, 2], [3, 4]])),
    "a wider sparse one": scipy.sparse.csr_matrix(np.array([[1, 2, 0], [3, 4, 0]])),
    "moments": np.array(["2026-01-01"], "M8[s]"),
    "moments in another unit": np.array(["2026-01-01"], "M8[ms]"),
    "no moment": np.array(["NaT"], "M8[s]"),
    "a mapping": {"a": np.zeros(2), "b": np.zeros(2)},
    "another mapping": {"a": np.zeros(2), "c": np.zeros(2)},
    "a structure": np.array([(1, "x")], [("a", "i8"), ("b", "U2")]),
}


def test_what_differs_has_another_digest() -> None:
    digests = {name: digest(data) for name, data in DIFFERENT.items()}
    assert len(set(digests.values())) == len(DIFFERENT) == 26


def test_a_structured_array_is_the_table_of_its_fields() -> None:
    made = np.array([(1, "x"), (2, "yy")], [("a", "i8"), ("b", "U2")])
    assert digest(made) == digest(pd.DataFrame({"a": [1, 2], "b": ["x", "yy"]}))
    assert digest(pd.Series([1, 2], name="a")) == digest(pd.DataFrame({"a": [1, 2]}))


def test_a_nan_of_any_bits_is_the_same_nan() -> None:
    odd = np.array([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000001], np.uint64).view(np.float64)
    assert digest(odd) == digest(np.array([NAN, NAN, NAN])) == digest(np.array([NAN] * 3))


def test_objects_have_one_spelling() -> None:
    moment = datetime.datetime(2026, 11, 23, 5, tzinfo=datetime.UTC)
    values = [
        "t",
        None,
        5,
        2.5,
        True,
        b"x",
        decimal.Decimal("1.50"),
        uuid.UUID(int=5),
        moment,
        1j,
        [1, ["a", None]],
    ]
    column = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    expected = digest(column)
    assert digest(chunked(column, 3, 4)) == expected
    numpy_kinds = [np.str_("t"), NAN, np.int64(5), np.float64(2.5), np.bool_(True), *values[5:]]
    assert digest(pd.DataFrame({"a": pd.Series(numpy_kinds, dtype=object)})) == expected
    tagged: list[Any] = ["t", None, (b"i", b"5"), (b"b", b"\x01"), (b"y", b"x")]
    some = pd.DataFrame({"a": pd.Series(["t", None, 5, True, b"x"], dtype=object)})
    assert digest(some) == oracle.table([("a", "text", tagged)])
    lists = [[1.0, 2.0], [3.0]]
    arrays = pd.DataFrame({"a": [np.array(row) for row in lists]})
    assert digest(arrays) == digest(pd.DataFrame({"a": lists})) == digest(pa.table({"a": lists}))


def test_arrow_types_that_pandas_has_not_are_digested() -> None:
    table = pa.table(
        {
            "date": pa.array([1, None], pa.date32()),
            "time": pa.array([1, None], pa.time64("us")),
            "fixed": pa.array([b"ab", None], pa.binary(2)),
            "view": pa.array(["a", None], pa.string_view()),
            "nothing": pa.nulls(2),
            "span": pa.array([5, None], pa.duration("ms")),
            "kind": pa.array(["x", "y"]).dictionary_encode(),
            "price": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(5, 2)),
        }
    )
    assert digest(table) == oracle.table(
        [
            ("date", "date", [1, None]),
            ("time", "time[us]", [1, None]),
            ("fixed", "binary", [b"ab", None]),
            ("view", "text", ["a", None]),
            ("nothing", "text", [None, None]),
            ("span", "duration[ms]", [5, None]),
            ("kind", "text", ["x", "y"]),
            ("price", "text", [(b"o", b"Decimal\x001.50"), None]),
        ]
    )
    halves = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert digest(halves) == digest(table)
    extended = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16], pa.binary(16)))
    assert digest(pa.table({"id": extended})) == oracle.table([("id", "binary", [b"x" * 16])])


def test_pandas_types_of_its_own_are_digested() -> None:
    sparse = pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.0, 0.0])})
    assert digest(sparse) == digest(pd.DataFrame({"a": [0.0, 1.0, 0.0]}))
    periods = pd.DataFrame({"a": pd.period_range("2026-01", periods=2, freq="M")})
    assert digest(periods) == oracle.table(
        [("a", "text", [(b"o", b"Period\x002026-01"), (b"o", b"Period\x002026-02")])]
    )
    nothing = pd.DataFrame({"a": pd.Categorical([None, None])})
    assert digest(nothing) == oracle.table([("a", "text", [None, None])])
    numbers = pd.DataFrame({"a": pd.Categorical([5, None, 7])})
    assert digest(numbers) == digest(pa.table({"a": pa.array([5, None, 7], pa.int64())}))
    assert digest(pd.DataFrame({("a", 1): [1]})) == oracle.table([("('a', 1)", "int64", [1])])


# --- mistakes ---


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (lambda: 5, TypeError, "a table, an array, a list, a path"),
        (object, TypeError, "not object"),
        (lambda: np.float64(1), TypeError, "One number"),
        (lambda: iter([]), ValueError, "no training data"),
        (lambda: iter([np.zeros(2), pd.DataFrame({"a": [1]})]), ValueError, "later chunk is table"),
        (lambda: iter([np.zeros((2, 2)), np.zeros((2, 3))]), ValueError, "rows of shape"),
        (lambda: iter([np.zeros(2), np.zeros(2, "i8")]), ValueError, "earlier one as float64"),
        (
            lambda: iter([pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [0.5]})]),
            ValueError,
            "has a as float64",
        ),
        (lambda: iter([pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})]), ValueError, "other columns"),
        (lambda: iter([scipy.sparse.eye(2), scipy.sparse.eye(3)]), ValueError, "number of columns"),
        (lambda: pd.DataFrame({"a": [object()]}), TypeError, "no spelling"),
        (lambda: pd.DataFrame({"a": [{1, 2}]}), TypeError, "builtins.set"),
        (lambda: np.zeros(2, "longdouble"), TypeError, "no spelling"),
        (dict, TypeError, "by their names"),
        (lambda: {1: np.zeros(2)}, TypeError, "by their names"),
        (lambda: np.zeros((2, 2), [("a", "i8")]), TypeError, "one dimension"),
        (lambda: np.zeros(2, [("a", "i8", (2,))]), TypeError, "one value"),
    ],
)
def test_what_cannot_be_digested_is_told(make: Callable[[], Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        digest(make())


def test_a_cell_that_is_nested_too_deep_is_refused() -> None:
    cell: list[Any] = []
    for _ in range(100):
        cell = [cell]
    with pytest.raises(TypeError, match="no spelling"):
        digest(pd.DataFrame({"a": pd.Series([cell], dtype=object)}))


def test_a_stream_is_never_held_as_a_whole() -> None:
    alive = 0

    class Chunk(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def chunks() -> Iterator[Any]:
        nonlocal alive
        for _ in range(50):
            alive += 1
            assert alive <= 3
            yield np.zeros((1000, 4)).view(Chunk)

    assert fingerprint(chunks()).rows == 50_000


def test_texts_of_any_characters_have_their_utf_8() -> None:
    texts = ["", "a", "é", "अ", "\U0001f600", "aé\U0001f600", "", "\x00"]
    expected = oracle.table([("a", "text", texts)])
    assert digest(pd.DataFrame({"a": pd.Series(texts, dtype=object)})) == expected
    assert digest(pa.table({"a": texts})) == expected
    mixed: list[Any] = [*texts, None, 7, "é"]
    cells = [*texts, None, (b"i", b"7"), "é"]
    assert digest(pd.DataFrame({"a": pd.Series(mixed, dtype=object)})) == oracle.table([("a", "text", cells)])
    half = pd.DataFrame({"a": pd.Series(["\ud800", "x"], dtype=object)})
    assert digest(half) == digest(chunked(half, 1)) != digest(pd.DataFrame({"a": ["?", "x"]}))


def test_what_is_no_file_in_a_folder_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        digest(tmp_path)
    (tmp_path / "pipe").unlink()
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    with pytest.raises(NotFound):
        digest(tmp_path)
