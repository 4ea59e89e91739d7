"""Feed tables and arrays of any library into columns, block after block."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from vault.loaders.fingerprint.cells import BINARY, Column

BLOCK: Final = 32_768  # rows at a time: what is copied on the way stays in the processor's cache
THREADS: Final = 4
_OBJECTS: Final = frozenset("OUTS")  # kinds of NumPy's types
_SMALL: Final = 1 << 20  # cells for which threads do not pay

Feed = Callable[[Column, int, int], None]  # column, first row, row after the last


@dataclass(frozen=True, slots=True)
class Part:
    """One column of a table as its library holds it: a name, and what feeds rows of it.

    Python objects are looked at one at a time, which threads only hinder.
    """

    name: str
    feed: Feed
    of_objects: bool = False


def feed(columns: Sequence[Column], parts: Sequence[Part], rows: int) -> None:
    """Feed all rows of a table, some columns by each thread, since hashing lets the others run."""
    pairs = list(zip(columns, parts, strict=True))
    plain = [pair for pair in pairs if not pair[1].of_objects]
    threads = min(THREADS, os.cpu_count() or 1, len(plain))
    if threads < 2 or rows * len(plain) < _SMALL:
        _run(pairs, rows)
        return
    edges = [len(plain) * number // threads for number in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        groups = [plain[edges[number] : edges[number + 1]] for number in range(threads)]
        running = [pool.submit(_run, group, rows) for group in groups]
        _run([pair for pair in pairs if pair[1].of_objects], rows)
        for done in running:
            done.result()


def _run(pairs: Sequence[tuple[Column, Part]], rows: int) -> None:
    for start in range(0, rows, BLOCK):
        for column, part in pairs:
            part.feed(column, start, min(rows, start + BLOCK))


# --- NumPy ---


def of_array(values: Any) -> Feed:
    """Feed a NumPy array of shape (rows,) of any type.

    Raises:
        TypeError: its type has no spelling.
    """
    kind = values.dtype.kind
    if kind in "OUT":
        return lambda column, start, stop: column.objects(values[start:stop].tolist())
    if kind == "S":
        return lambda column, start, stop: _binary(column, values[start:stop].tolist())
    mask = getattr(values, "mask", None)  # of a masked array
    plain = values.data if mask is not None and hasattr(values, "filled") else values
    if mask is not None and getattr(mask, "shape", ()) != values.shape:
        mask = None
    return of_masked(plain, mask)


def of_masked(values: Any, mask: Any, suffix: str = "") -> Feed:
    """Feed numbers, truth values or moments, (rows,), some of them missing; `suffix` is for the kind."""
    import numpy as np

    kind = values.dtype.kind
    if kind in "mM":
        unit, times = np.datetime_data(values.dtype)
        spelled = f"{'timestamp' if kind == 'M' else 'duration'}[{times if times != 1 else ''}{unit}{suffix}]"

        def moments(column: Column, start: int, stop: int) -> None:
            block = values[start:stop]
            gone = np.isnat(block) if mask is None else np.isnat(block) | mask[start:stop]
            column.fixed(spelled, block.astype(block.dtype.newbyteorder("<")).view("<i8"), gone)

        return moments
    if kind not in "biufc" or values.dtype.itemsize > (16 if kind == "c" else 8):
        raise TypeError(
            f"Training data of the type {values.dtype} have no spelling that is the same everywhere."
        )
    name = values.dtype.newbyteorder("=").name

    def fixed(column: Column, start: int, stop: int) -> None:
        column.fixed(name, values[start:stop], None if mask is None else mask[start:stop])

    return fixed


def _binary(column: Column, values: list[bytes]) -> None:
    import numpy as np

    column.varying(BINARY, b"".join(values), np.fromiter(map(len, values), "<u8", len(values)))


def of_structured(values: Any) -> list[Part]:
    """Give the fields of a structured array of shape (rows,) as columns.

    Raises:
        TypeError: a field is an array by itself.
    """
    if any(values.dtype[name].shape for name in values.dtype.names):
        raise TypeError("A field of a structured array is one value, or the digest does not take it.")
    return [Part(name, of_array(values[name])) for name in values.dtype.names]


# --- pandas ---


def of_pandas(table: Any) -> list[Part]:
    """Give the columns of a DataFrame, or the one of a Series; its index does not count."""
    if not hasattr(table, "columns"):
        return [_part("" if table.name is None else str(table.name), table)]
    return [_part(str(name), table.iloc[:, place]) for place, name in enumerate(table.columns)]


def _part(name: str, series: Any) -> Part:
    import numpy as np

    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return Part(name, of_array(series.to_numpy()), of_objects=dtype.kind in _OBJECTS)
    numbers = any(hasattr(dtype, sign) for sign in ("numpy_dtype", "tz", "pyarrow_dtype"))
    return Part(
        name, _of_series(series), of_objects=not numbers and getattr(dtype, "storage", "") != "pyarrow"
    )


def _of_series(series: Any) -> Feed:
    import numpy as np

    dtype = series.dtype
    if getattr(dtype, "storage", None) == "pyarrow" or hasattr(dtype, "pyarrow_dtype"):
        from vault.loaders.fingerprint import arrow

        return arrow.feed_of(series.array.__arrow_array__())
    if hasattr(dtype, "numpy_dtype"):  # nullable numbers and truth values
        mask = series.isna().to_numpy()
        zero = np.zeros((), dtype.numpy_dtype)[()]
        return of_masked(series.to_numpy(dtype=dtype.numpy_dtype, na_value=zero), mask)
    if hasattr(dtype, "tz"):
        return of_masked(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), None, ",utc")
    return _of_categories(series) if hasattr(series.array, "codes") else _by_blocks(series)


def _by_blocks(series: Any) -> Feed:
    """Feed what only pandas itself can unpack: sparse columns as what they stand for, others as objects."""
    sparse = hasattr(series.dtype, "fill_value")

    def feed_rows(column: Column, start: int, stop: int) -> None:
        block = series.iloc[start:stop]
        if sparse:
            of_array(block.sparse.to_dense().to_numpy())(column, 0, stop - start)
        else:
            column.objects(block.astype(object).tolist())

    return feed_rows


def _of_categories(series: Any) -> Feed:
    """Feed categories by their values: how they are numbered may differ between chunks."""
    import numpy as np

    codes = series.array.codes
    values = series.array.categories.to_numpy()
    if not len(values):
        values = np.full(1, None, object)

    def feed_rows(column: Column, start: int, stop: int) -> None:
        chosen = codes[start:stop]
        block, gone = values.take(chosen, mode="clip"), chosen < 0
        if block.dtype.kind in "OUT":
            block = block.astype(object)
            block[gone] = None
            column.objects(block.tolist())
        else:
            of_masked(block, gone)(column, 0, stop - start)

    return feed_rows
