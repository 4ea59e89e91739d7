"""Feed Arrow data into columns: from pyarrow, and from whatever speaks Arrow's C interface."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from vault.errors import MissingLibrary
from vault.loaders.fingerprint.cells import BINARY, TEXT, Column
from vault.loaders.fingerprint.tables import Feed, Part, of_masked


def parts(table: Any) -> list[Part]:
    """Give the columns of a Table or RecordBatch."""
    return [Part(name, feed_of(table.column(place))) for place, name in enumerate(table.schema.names)]


def batches(data: Any) -> Iterator[Any] | None:
    """Give the batches of what speaks Arrow's C interface, such as a Polars table; None if it does not.

    Raises:
        MissingLibrary: pyarrow is not installed.
    """
    if not hasattr(data, "__arrow_c_stream__"):
        return None
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingLibrary(
            f"The digest of {type(data).__name__} needs pyarrow.", hint="Install it: pip install pyarrow"
        ) from None
    try:
        reader = pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):  # one column, not a table
        name = str(getattr(data, "name", None) or "")
        return iter([pa.table({name: pa.chunked_array(data)})])
    return chain([reader.schema.empty_table()], reader)  # a table without rows has no batches


def feed_of(values: Any) -> Feed:
    """Feed an Array or ChunkedArray."""

    def feed(column: Column, start: int, stop: int) -> None:
        found = values.slice(start, stop - start)
        for piece in getattr(found, "chunks", [found]):
            _piece(column, piece)

    return feed


def _piece(column: Column, values: Any) -> None:
    import pyarrow as pa

    kind, types = values.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        _piece(column, values.storage)
    elif types.is_dictionary(kind):
        _piece(column, values.dictionary_decode())
    elif types.is_null(kind):
        column.objects([None] * len(values))
    elif types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        _varying(column, TEXT, values.cast(pa.large_string()), "")
    elif any(test(kind) for test in (types.is_binary, types.is_large_binary, types.is_binary_view)):
        _varying(column, BINARY, values.cast(pa.large_binary()), b"")
    elif isinstance(kind, pa.FixedSizeBinaryType) and not types.is_decimal(kind):
        _varying(column, BINARY, values.cast(pa.binary()).cast(pa.large_binary()), b"")
    else:
        _numbers(column, values)


def _numbers(column: Column, values: Any) -> None:
    import pyarrow as pa

    kind, types = values.type, pa.types
    mask = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
    if types.is_boolean(kind):
        column.fixed("bool", _filled(values.cast(pa.uint8())), mask)
    elif types.is_integer(kind) or types.is_floating(kind):
        of_masked(_filled(values), mask)(column, 0, len(values))
    elif types.is_date(kind):
        column.fixed("date", _filled(values.cast(pa.date32()).cast(pa.int32())), mask)
    elif types.is_time(kind):
        width = pa.int32() if types.is_time32(kind) else pa.int64()
        column.fixed(f"time[{kind.unit}]", _filled(values.cast(width)), mask)
    elif types.is_timestamp(kind) or types.is_duration(kind):
        name = "timestamp" if types.is_timestamp(kind) else "duration"
        aware = ",utc" if getattr(kind, "tz", None) else ""
        column.fixed(f"{name}[{kind.unit}{aware}]", _filled(values.cast(pa.int64())), mask)
    else:  # decimals, lists, structures
        column.objects(values.to_pylist())


def _filled(values: Any) -> Any:
    """Give the numbers of an array, with any number where they are missing."""
    return (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False)


def _varying(column: Column, kind: str, values: Any, empty: str | bytes) -> None:
    """Feed texts or bytes by Arrow's own offsets."""
    import numpy as np

    mask = None
    if values.null_count:
        mask = values.is_null().to_numpy(zero_copy_only=False)
        values = values.fill_null(empty)
    if len(values):
        _, offsets, data = values.buffers()
        edges = np.frombuffer(offsets, "<i8")[values.offset : values.offset + len(values) + 1]
        held = b"" if data is None else memoryview(data)[edges[0] : edges[-1]]
        column.varying(kind, held, np.diff(edges).astype("<u8"), mask)
