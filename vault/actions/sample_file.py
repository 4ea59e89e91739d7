"""Read the rows that a user gives in a file: .npz, .npy or .csv."""

import csv
import io
import math
import zipfile
from pathlib import Path
from typing import Any, Final

from vault.actions import local_files
from vault.core import limits
from vault.errors import Malformed

ENDINGS: Final = (".npz", ".npy", ".csv")
_BYTES: Final = 256 * limits.MIB
_CELL: Final = 64 * limits.KIB


def read(path: Path) -> Any:
    """Read rows: an array, or a table (a DataFrame where pandas is installed).

    A `.csv` file begins with the names of its columns; a column is numbers if
    every cell is one or empty. An `.npz` file is one that `save_model` writes,
    or holds one array, or one that is called `X`.

    Raises:
        ValueError: it is neither of these, or holds no rows.
        NotFound, Unavailable: it is not there, or cannot be read.
        FormatRefused, Malformed: it is damaged, too large, or holds objects.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path.name} cannot be read as rows: give a {', '.join(ENDINGS)} file.")
    with local_files.view(path) as whole:
        if len(whole) > _BYTES:
            raise Malformed(
                f"{path} has {len(whole):,} bytes; a sample has at most {_BYTES:,}.",
                code="too-large",
                subject=str(path),
                hint="A thousand rows are plenty.",
            )
        data = bytes(whole)
    if ending == ".npy":
        data = _packed(data)
    rows = _table(path, data) if ending == ".csv" else _arrays(path, data)
    if getattr(rows, "ndim", 2) == 0 or len(rows) == 0:
        raise ValueError(f"{path.name} holds no rows.")
    return rows


def _packed(data: bytes) -> bytes:
    """Put a lone array into an archive, which the one reader of arrays reads."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("values.npy", data)
    return buffer.getvalue()


def _arrays(path: Path, data: bytes) -> Any:
    from vault.loaders import arrays

    found = arrays.restore_arrays(data, subject=str(path))
    if "names" in found or set(found) == {"values"}:
        return arrays.restore_sample(data, subject=str(path))
    if len(found) == 1:
        return next(iter(found.values()))
    if "X" in found:
        return found["X"]
    raise ValueError(f"{path.name} holds {', '.join(sorted(found)) or 'nothing'}: call the rows X.")


def _table(path: Path, data: bytes) -> Any:
    try:
        lines = [line for line in csv.reader(io.StringIO(data.decode("utf-8-sig")), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} is no CSV file in UTF-8: {error}.") from None
    if any(len(cell) > _CELL for line in lines for cell in line):
        raise ValueError(f"{path.name} has a cell of more than {_CELL:,} characters.")
    if not lines or len(set(lines[0])) != len(lines[0]):
        raise ValueError(f"{path.name} must begin with the names of its columns, each once.")
    if any(len(line) != len(lines[0]) for line in lines):
        raise ValueError(f"{path.name} has lines with more or fewer cells than its first.")
    import numpy as np

    columns = {
        name: np.asarray(_column([line[index] for line in lines[1:]])) for index, name in enumerate(lines[0])
    }
    try:
        import pandas as pd
    except ModuleNotFoundError:
        if any(column.dtype.kind != "f" for column in columns.values()):
            raise ValueError("A table with text needs pandas: pip install pandas.") from None
        return np.column_stack([*columns.values()])
    return pd.DataFrame(columns)


def _column(cells: list[str]) -> list[float] | list[str]:
    try:
        return [float(cell) if cell.strip() else math.nan for cell in cells]
    except ValueError:
        return cells
