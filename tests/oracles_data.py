"""The digest of training data once more, slowly: as docs/lineage.md says it, cell by cell.

Written from the document, for tests to compare with; it shares nothing with `vault.loaders.fingerprint`.
"""

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import Any


def u64(number: int) -> bytes:
    """Write a length."""
    return number.to_bytes(8, "big")


def part(data: bytes) -> bytes:
    """Write bytes after their length."""
    return u64(len(data)) + data


def sha256(data: bytes) -> bytes:
    """Hash."""
    return hashlib.sha256(data).digest()


WIDTHS = {"int64": "<q", "int32": "<i", "int8": "<b", "uint64": "<Q", "uint8": "<B", "bool": "<?"}
MOMENTS = ("timestamp", "duration", "time[")


def number(kind: str, cell: Any) -> bytes:
    """Write one cell of fixed width; None is a missing one."""
    if kind in ("float64", "float32"):
        if cell is None or math.isnan(cell):
            return bytes.fromhex("000000000000f87f" if kind == "float64" else "0000c07f")
        return struct.pack("<d" if kind == "float64" else "<f", cell)
    form = "<q" if kind.startswith(MOMENTS) else "<i" if kind == "date" else WIDTHS[kind]
    return struct.pack(form, 0 if cell is None else cell)


def column(kind: str, cells: Sequence[Any]) -> bytes:
    """Digest a column of one kind; cells are numbers, texts, bytes or None."""
    values = lengths = missing = tagged = b""
    for row, cell in enumerate(cells):
        if kind not in ("text", "binary"):
            values += number(kind, cell)
            if cell is None and not kind.startswith("float"):
                missing += row.to_bytes(8, "little")
            continue
        data = b""
        if cell is None:
            missing += row.to_bytes(8, "little")
        elif isinstance(cell, tuple):  # a tag and bytes
            tagged += row.to_bytes(8, "little") + cell[0]
            data = cell[1]
        else:
            data = cell if isinstance(cell, bytes) else cell.encode()
        values += data
        lengths += len(data).to_bytes(8, "little")
    head = b"mvault/v2/data-column\x00" + part(kind.encode()) + u64(len(cells))
    return sha256(head + sha256(values) + sha256(lengths) + sha256(missing) + sha256(tagged))


def table(columns: Sequence[tuple[str, str, Sequence[Any]]]) -> str:
    """Digest a table: name, kind and cells of each column."""
    rows = len(columns[0][2]) if columns else 0
    data = b"mvault/v2/data\x00" + part(b"table") + u64(rows) + u64(len(columns))
    for name, kind, cells in columns:
        data += part(name.encode()) + column(kind, cells)
    return f"sha256:{sha256(data).hex()}"


def array(kind: str, shape: tuple[int, ...], cells: Sequence[Any]) -> str:
    """Digest an array: its cells in C order."""
    data = b"mvault/v2/data\x00" + part(b"array") + u64(shape[0]) + u64(len(shape) - 1)
    return f"sha256:{sha256(data + b''.join(map(u64, shape[1:])) + column(kind, cells)).hex()}"


def sparse(kind: str, width: int, rows: Sequence[dict[int, Any]]) -> str:
    """Digest a sparse matrix: of each row what is not zero, by its column."""
    data = b"mvault/v2/data\x00" + part(b"sparse") + u64(len(rows)) + u64(width)
    ordered = [sorted(row.items()) for row in rows]
    data += column("uint64", [len(row) for row in ordered])
    data += column("uint64", [place for row in ordered for place, _ in row])
    data += column(kind, [value for row in ordered for _, value in row])
    return f"sha256:{sha256(data).hex()}"


def folder(files: dict[str, bytes]) -> str:
    """Digest a folder: path → content."""
    data = b"mvault/v2/data\x00" + part(b"folder") + u64(len(files))
    for path in sorted(files):
        data += part(path.encode()) + u64(len(files[path])) + sha256(files[path])
    return f"sha256:{sha256(data).hex()}"
