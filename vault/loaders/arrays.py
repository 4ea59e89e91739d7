"""Write and read arrays without objects: the recorded sample, npz and npy files."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from vault.core import limits, npy, zip_reader
from vault.errors import FormatRefused, MissingLibrary

if TYPE_CHECKING:
    from vault.core.admission import Admitted

_VALUES: Final = "values"
_NAMES: Final = "names"
_COLUMN: Final = "column_{:05d}"
_MISSING: Final = "missing_{:05d}"
_TEXT_BYTES: Final = 256 * limits.MIB


def dump_sample(sample: Any) -> bytes:
    """Write an array of numbers or text, or a DataFrame, as an `.npz` file.

    A DataFrame becomes one array per column, in order, with its names; text
    columns become arrays of text, with a mask for missing values. The index of
    a DataFrame is not kept.

    Raises:
        ValueError: a column holds objects other than text, or names that are not text.
        MissingLibrary: NumPy is not installed.
    """
    np = _numpy()
    if hasattr(sample, "columns") and hasattr(sample, "iloc"):
        arrays = _columns(np, sample)
    else:
        dense = sample.toarray() if hasattr(sample, "toarray") else sample
        arrays = {_VALUES: _plain(np, np.asarray(dense), "the sample")[0]}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def load_sample(admitted: "Admitted") -> Any:
    """Read what `dump_sample` wrote: an array, or a DataFrame (a dict of arrays where pandas is missing).

    Raises:
        FormatRefused: an array of objects, or members that do not belong together.
        Malformed: a damaged archive.
        TypeError: `admitted` does not come from the admission.
    """
    return restore_sample(_checked(admitted).data, subject=admitted.subject)


def restore_sample(data: bytes | memoryview, *, subject: str) -> Any:
    """Read a sample from verified bytes.

    Raises:
        FormatRefused: an array of objects, or members that do not belong together.
        Malformed: a damaged archive.
    """
    arrays = restore_arrays(data, subject=subject)
    if set(arrays) == {_VALUES}:
        return arrays[_VALUES]
    names = arrays.pop(_NAMES, None)
    if names is None or names.ndim != 1 or names.dtype.kind != "U":
        raise _refused("The sample has no column names.", subject)
    table: dict[str, Any] = {}
    for index, name in enumerate(names.tolist()):
        values = arrays.pop(_COLUMN.format(index), None)
        missing = arrays.pop(_MISSING.format(index), None)
        if values is None or values.ndim != 1 or name in table:
            raise _refused("The sample does not have one column for each name.", subject)
        if missing is not None:
            if missing.shape != values.shape or missing.dtype.kind != "b":
                raise _refused("The sample marks missing values that are not there.", subject)
            values = values.astype(object)
            values[missing] = None
        table[name] = values
    if arrays or len({len(values) for values in table.values()}) > 1:
        raise _refused("The sample has columns of unequal length, or surplus ones.", subject)
    return _frame(table)


def dump_arrays(arrays: Mapping[str, Any]) -> bytes:
    """Write named arrays as an `.npz` file.

    Raises:
        ValueError: an array of objects, or a name that NumPy cannot give a member.
        MissingLibrary: NumPy is not installed.
    """
    np = _numpy()
    for name, array in arrays.items():
        if array.dtype.hasobject or not name or name == "file":
            raise ValueError(f"{name!r} ({array.dtype}) is nothing that an npz file can hold.")
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def dump_array(array: Any) -> bytes:
    """Write one array as a `.npy` file.

    Raises:
        ValueError: an array of objects.
        MissingLibrary: NumPy is not installed.
    """
    buffer = io.BytesIO()
    _numpy().save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def load_arrays(admitted: "Admitted") -> dict[str, Any]:
    """Read an `.npz` file that is a model: its arrays by name, each a copy that can be written to.

    Raises:
        FormatRefused, Malformed: see `restore_arrays`.
        TypeError: `admitted` does not come from the admission.
    """
    return restore_arrays(_checked(admitted).data, subject=admitted.subject)


def load_array(admitted: "Admitted") -> Any:
    """Read a `.npy` file: its array, a copy that can be written to.

    Raises:
        FormatRefused: an array of objects, or one that is not as long as its header says.
        TypeError: `admitted` does not come from the admission.
    """
    return restore_array(_checked(admitted).data, subject=admitted.subject)


def restore_array(data: memoryview, *, subject: str) -> Any:
    """Read a `.npy` file from verified bytes.

    Raises:
        FormatRefused: an array of objects, or one that is not as long as its header says.
    """
    return _array(data, npy.parse_header(data, size=len(data), subject=subject), subject)


def restore_arrays(data: bytes | memoryview, *, subject: str) -> dict[str, Any]:
    """Read all arrays of an `.npz` file, by name, through our own reader.

    Raises:
        FormatRefused: an array of objects, or a member that is not an array.
        Malformed: a damaged archive.
    """
    archive = zip_reader.open_archive(data)
    headers = npy.check_archive(archive, subject=subject)
    return {
        name.removesuffix(".npy"): _array(
            archive.read(name, limit=archive.entries[name].size), header, subject
        )
        for name, header in headers.items()
    }


def _array(content: memoryview, header: npy.Header, subject: str) -> Any:
    """Build one array over a copy of its bytes, so that it can be written to and is aligned."""
    np = _numpy()
    try:
        dtype = np.dtype(header.descr)
        if dtype.hasobject or dtype.itemsize != header.itemsize:
            raise _refused("An array has a dtype that is read in two ways.", subject)
        if dtype.itemsize == 0 or header.nbytes == 0:
            return np.zeros(header.shape, dtype=dtype)
        flat = np.frombuffer(content, dtype=dtype, offset=header.offset).copy()
        if header.fortran:
            return flat.reshape(header.shape[::-1]).transpose()
        return flat.reshape(header.shape)
    except (TypeError, ValueError, MemoryError):
        raise _refused("An array cannot be built from what its header says.", subject) from None


def _checked(admitted: "Admitted") -> "Admitted":
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    return admitted


def _columns(np: Any, frame: Any) -> dict[str, Any]:
    """Return the arrays of a table: names, columns, and masks where text is missing."""
    names = list(frame.columns)
    if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError("A sample's column names must be text, each once.")
    arrays: dict[str, Any] = {_NAMES: np.asarray(names, dtype=np.str_)}
    for index, name in enumerate(names):
        values, missing = _plain(np, frame[name].to_numpy(), f"column {name!r}")
        arrays[_COLUMN.format(index)] = values
        if missing is not None:
            arrays[_MISSING.format(index)] = missing
    return arrays


def _plain(np: Any, values: Any, what: str) -> tuple[Any, Any]:
    """Return an array without objects and, for text with gaps, the mask of the gaps."""
    if values.dtype.kind in "biufcSUmM":
        return np.ascontiguousarray(values), None
    flat = values.ravel().tolist()
    kinds = {type(value) for value in flat if not _is_missing(value)}
    missing = np.array([_is_missing(value) for value in flat], dtype=bool).reshape(values.shape)
    if kinds == {str}:
        longest = max(len(value) for value in flat if isinstance(value, str))
        if longest * 4 * len(flat) > _TEXT_BYTES:
            raise ValueError(f"{what} has texts too long for a sample; give fewer rows.")
        texts = ["" if _is_missing(value) else value for value in flat]
        return np.asarray(texts, dtype=np.str_).reshape(values.shape), missing if missing.any() else None
    if kinds <= {bool, int, float} and kinds:
        numbers = [float("nan") if _is_missing(value) else value for value in flat]
        return np.asarray(numbers).reshape(values.shape), None
    raise ValueError(
        f"{what} holds {', '.join(sorted(kind.__name__ for kind in kinds))}; only numbers and text are kept."
    )


def _is_missing(value: object) -> bool:
    return value is None or value != value or type(value).__name__ in ("NAType", "NaTType")  # noqa: PLR0124


def _frame(table: Mapping[str, Any]) -> Any:
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return dict(table)
    return pd.DataFrame(dict(table))


def _refused(message: str, subject: str) -> FormatRefused:
    return FormatRefused(f"{subject}: {message}", code="format-content", subject=subject)


def _numpy() -> Any:
    try:
        import numpy as np
    except ModuleNotFoundError:
        raise MissingLibrary("Reading arrays needs NumPy.", hint="Install it: pip install numpy") from None
    return np
