"""Read tables of any kind, as onnx models are given them: their columns, their numbers, their texts."""

from collections.abc import Mapping
from typing import Any


def column_names(table: Any) -> list[str] | None:
    """Name the columns of a DataFrame or a mapping; None where a table has no names."""
    if isinstance(table, Mapping):
        return [str(name) for name in table]
    columns = getattr(table, "columns", None)
    return None if columns is None else [str(name) for name in columns]


def is_text(column: Any) -> bool:
    """Tell whether a column holds texts, or objects that may be texts."""
    import numpy as np

    return np.asarray(column).dtype.kind in "OSU"


def has_text(table: Any, columns: list[str]) -> bool:
    """Tell whether any of these columns does."""
    return any(is_text(table[name]) for name in columns)


def matrix(np: Any, table: Any, columns: list[str] | None) -> Any:
    """Give a table as one array of NumPy; `columns` are those of a mapping, in order."""
    if isinstance(table, Mapping):
        return np.column_stack([np.asarray(table[name]) for name in columns or ()])
    if hasattr(table, "to_numpy"):
        return table.to_numpy()
    return table.toarray() if hasattr(table, "toarray") else np.asarray(table)
