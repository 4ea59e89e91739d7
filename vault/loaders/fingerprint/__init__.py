"""Digest training data, so that a version can say which data it was trained on without holding them.

The digest is of names, types and values in row order (docs/lineage.md, "Digest
of training data"). Into how many chunks the rows are divided, and which library
holds them, makes no difference; neither does the index of a DataFrame.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from vault.loaders.fingerprint import files, tables
from vault.loaders.fingerprint.cells import Column
from vault.loaders.fingerprint.tables import Part

LABEL: Final = b"mvault/v2/data\x00"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What training data came to.

    `kind` is table, array, sparse, mapping, file or folder; `rows` is None of
    files, `size`, in bytes, None of all others.
    """

    digest: str  # sha256:…
    kind: str
    rows: int | None = None
    size: int | None = None


class _Sink(Protocol):
    rows: int

    def take(self, data: Any) -> None:
        """Take the next rows."""

    def digest(self) -> bytes:
        """Give what all rows came to."""


def fingerprint(data: Any) -> Fingerprint:
    """Digest training data: a table, an array, a sparse matrix, a path, or an iterator of chunks of them.

    A table is one of pandas, Arrow, Polars, or a structured array; a mapping
    gives the several inputs of a model by name. An iterator is read to its end.
    A path is taken as bytes: `sha256sum` gives the digest of a file too.

    Raises:
        TypeError: the data, or something in them, are of another kind.
        ValueError: chunks differ in their columns or types, or there are none.
        MissingLibrary: pyarrow is needed and not installed.
        NotFound, Unavailable: a path is not there, or cannot be read.
    """
    if isinstance(data, str | os.PathLike):
        return _of_path(Path(data))
    if isinstance(data, Mapping):
        return _of_mapping(data)
    kind, sink = "", None
    for chunk in _chunks(data):
        found = _kind(chunk)
        if sink is None:
            kind, sink = found, _SINKS[found]()
        if kind != found:
            raise ValueError(f"The training data begin as {kind}, and a later chunk is {found}.")
        sink.take(chunk)
    if sink is None:
        raise ValueError("There are no training data: an iterator that was read before gives nothing.")
    return Fingerprint(f"sha256:{sink.digest().hex()}", kind, sink.rows)


def _chunks(data: Any) -> Iterator[Any]:
    """Give the chunks of what comes in some, else the data alone; all as libraries that are known here."""
    for chunk in _streamed(data) or [data]:
        found = None
        if not (_is_table(chunk) or hasattr(chunk, "tocsr")):
            from vault.loaders.fingerprint import arrow

            found = arrow.batches(chunk)
        yield from found or [chunk]


def _streamed(data: Any) -> Iterator[Any] | None:
    """Give the chunks of what comes in chunks, None of everything else."""
    batches: Any = None
    if hasattr(data, "iter_batches"):  # a Parquet file
        batches = data.iter_batches()
    elif hasattr(data, "to_batches") and not hasattr(data, "column"):  # a dataset
        batches = data.to_batches()
    elif isinstance(data, list | tuple):
        batches = data if data and _is_table(data[0]) else None
    elif isinstance(data, Iterator) or hasattr(data, "read_next_batch"):
        batches = data
    return None if batches is None else iter(batches)


def _is_table(data: Any) -> bool:
    return _is_pandas(data) or _is_arrow(data)


def _is_pandas(data: Any) -> bool:
    return hasattr(data, "iloc") and hasattr(data, "dtypes")


def _is_arrow(data: Any) -> bool:
    return hasattr(data, "schema") and hasattr(data, "column") and hasattr(data, "num_rows")


def _kind(data: Any) -> str:
    if _is_table(data) or getattr(getattr(data, "dtype", None), "names", None):
        return "table"
    if hasattr(data, "tocsr"):
        return "sparse"
    if hasattr(data, "__array__") or isinstance(data, list | tuple):
        return "array"
    raise TypeError(
        "Training data are a table, an array, a list, a path, or an iterator of such chunks, not "
        f"{type(data).__name__}."
    )


def _part(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def _total(kind: str, *numbers: int) -> Any:
    return hashlib.sha256(
        LABEL + _part(kind.encode("ascii")) + b"".join(number.to_bytes(8, "big") for number in numbers)
    )


class _Table:
    """A table on its way: its columns, as the first chunk names them."""

    def __init__(self) -> None:
        self.rows = 0
        self._columns: list[Column] | None = None

    def take(self, data: Any) -> None:
        parts, rows = self._parts(data)
        names = [part.name for part in parts]
        if self._columns is None:
            self._columns = [Column(name) for name in names]
        elif names != [column.name for column in self._columns]:
            raise ValueError(
                "A chunk of the training data has other columns than the first, or in another order."
            )
        tables.feed(self._columns, parts, rows)
        self.rows += rows

    def _parts(self, data: Any) -> tuple[list[Part], int]:
        if _is_arrow(data):
            from vault.loaders.fingerprint import arrow

            return arrow.parts(data), int(data.num_rows)
        if _is_pandas(data):
            return tables.of_pandas(data), len(data)
        if data.ndim != 1:
            raise TypeError("A structured array has one dimension, or the digest does not take it.")
        return tables.of_structured(data), len(data)

    def digest(self) -> bytes:
        columns = self._columns or []
        total = _total("table", self.rows, len(columns))
        for column in columns:
            total.update(_part(column.name.encode("utf-8", "surrogatepass")) + column.digest())
        return bytes(total.digest())


class _Array:
    """An array on its way, row after row: its values in C order are one column."""

    def __init__(self) -> None:
        self.rows = 0
        self._shape: tuple[int, ...] | None = None
        self._column = Column()

    def take(self, data: Any) -> None:
        values = _as_array(data)
        if not values.ndim:
            raise TypeError("One number is no training data.")
        if self._shape not in (None, values.shape[1:]):
            raise ValueError(
                f"A chunk of the training data has rows of shape {values.shape[1:]}, not {self._shape}."
            )
        self._shape = values.shape[1:]
        each = 1
        for length in self._shape:
            each *= length
        step = max(1, tables.BLOCK * 8 // max(1, each))
        for start in range(0, len(values), step):  # a block of rows: never a copy of everything
            block = values[start : start + step].reshape(-1)
            tables.of_array(block)(self._column, 0, len(block))
        self.rows += len(values)

    def digest(self) -> bytes:
        shape = self._shape or ()
        total = _total("array", self.rows, len(shape), *shape)
        total.update(self._column.digest())
        return bytes(total.digest())


def _as_array(data: Any) -> Any:
    import numpy as np

    if not isinstance(data, list | tuple):
        return data if isinstance(data, np.ma.MaskedArray) else np.asarray(data)
    try:
        found = np.asarray(data)
    except ValueError:  # rows of different lengths
        found = None
    if found is not None and found.dtype.kind not in "USO":
        return found
    objects = np.empty(len(data), object)  # numbers beside texts stay what they are
    objects[:] = data if found is None or found.ndim == 1 else [list(row) for row in data]
    return objects


class _Sparse:
    """A sparse matrix on its way, row after row: what is stored, without zeros, in order of its columns."""

    def __init__(self) -> None:
        self.rows = 0
        self._width: int | None = None
        self._counts, self._places, self._values = Column(), Column(), Column()

    def take(self, data: Any) -> None:
        import numpy as np

        rows = data.tocsr()
        if rows is data:
            rows = data.copy()
        rows.sum_duplicates()
        rows.eliminate_zeros()
        if self._width not in (None, rows.shape[1]):
            raise ValueError("A chunk of the training data has another number of columns than the first.")
        self._width = int(rows.shape[1])
        self._counts.fixed("uint64", np.diff(rows.indptr).astype("<u8"))
        self._places.fixed("uint64", rows.indices.astype("<u8"))
        tables.of_array(rows.data)(self._values, 0, len(rows.data))
        self.rows += int(rows.shape[0])

    def digest(self) -> bytes:
        total = _total("sparse", self.rows, self._width or 0)
        for column in (self._counts, self._places, self._values):
            total.update(column.digest())
        return bytes(total.digest())


_SINKS: Final[Mapping[str, type[_Sink]]] = {"table": _Table, "array": _Array, "sparse": _Sparse}


def _of_mapping(data: Mapping[Any, Any]) -> Fingerprint:
    if not data or not all(isinstance(name, str) for name in data):
        raise TypeError("A mapping gives the inputs of a model by their names.")
    total = _total("mapping", len(data))
    rows = None
    for name in sorted(data):
        found = fingerprint(data[name])
        rows = found.rows if rows is None else rows
        total.update(_part(name.encode("utf-8", "surrogatepass")) + bytes.fromhex(found.digest[7:]))
    return Fingerprint(f"sha256:{total.hexdigest()}", "mapping", rows)


def _of_path(path: Path) -> Fingerprint:
    if not files.is_folder(path):
        found = files.of_file(path)
        return Fingerprint(f"sha256:{found.sha256.hex()}", "file", None, found.size)
    entries = files.of_folder(path)
    total = _total("folder", len(entries))
    for entry in entries:
        name = entry.path.encode("utf-8", "surrogateescape")
        total.update(_part(name) + entry.size.to_bytes(8, "big") + entry.sha256)
    return Fingerprint(f"sha256:{total.hexdigest()}", "folder", None, sum(entry.size for entry in entries))
