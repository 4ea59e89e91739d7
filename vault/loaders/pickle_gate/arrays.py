"""Build arrays, dtypes, scalars and masked arrays from their pickled parts, in NumPy's and joblib's place.

NumPy's own restoring of a dtype trusts flags in the file, and joblib's reader
of object arrays starts an unrestricted unpickler: neither is called.

Source: `arraydescr_reduce` and `array_reduce` of NumPy 2.4, `numpy/ma/core.py`,
`joblib/numpy_pickle.py` of joblib 1.6.
"""

from typing import Any

from vault.core import pickle_host, pickle_trace
from vault.core.pickle_globals import MASKED, NDARRAY
from vault.errors import PickleRefused
from vault.loaders.pickle_gate.parts import Part, named, require

_RESTORED_EMPTY = ((0,), b"b")


class _Dtype(Part):
    __slots__ = ("code",)

    def __init__(self, code: Any) -> None:
        self.code = code

    def finish(self, state: Any) -> Any:
        """Build the dtype from its description."""
        import numpy as np

        size = pickle_trace.dtype_size(self.code, state, "", _column_size)
        order, names, fields = state[1], state[3], state[4]
        if size is None:
            return np.dtype(object)
        require(order in ("<", ">", "|", "="), "it has a dtype of unknown byte order")
        if names is not None:
            return np.dtype(
                {
                    "names": list(names),
                    "formats": [fields[name][0] for name in names],
                    "offsets": [fields[name][1] for name in names],
                    "itemsize": size,
                }
            )
        dtype = np.dtype(("" if order == "|" else order) + self.code)
        if len(state) == 9 and dtype.kind in "mM":
            unit, count = state[8][1][:2]
            text = unit.decode("ascii") if isinstance(unit, bytes) else unit
            dtype = np.dtype(f"{order if order != '|' else ''}{self.code}[{int(count)}{text}]")
        return dtype


def _column_size(part: Any, subject: str) -> int | None:
    import numpy as np

    if not isinstance(part, np.dtype):
        raise PickleRefused("A dtype has a column that is not one.", subject=subject)
    return None if part.hasobject else int(part.itemsize)


class _Array(Part):
    __slots__ = ()

    def finish(self, state: Any) -> Any:
        """Build an array from (version, shape, dtype, is Fortran, content)."""
        require(type(state) is tuple and len(state) == 5 and state[0] == 1, "an array's state is not NumPy's")
        _, shape, dtype, fortran, content = state
        require(type(fortran) is bool, "an array's state is not NumPy's")
        return filled(content, dtype, shape, fortran=fortran)


class _Masked(Part):
    __slots__ = ()

    def finish(self, state: Any) -> Any:
        """Build a masked array from the state of its data, its mask and its fill value."""
        import numpy as np

        require(type(state) is tuple and len(state) == 7 and state[0] == 1, "an array's state is not NumPy's")
        _, shape, dtype, fortran, content, mask, fill = state
        data = filled(content, dtype, shape, fortran=bool(fortran))
        hidden = from_bytes(mask, np.ma.make_mask_descr(data.dtype), shape, fortran=bool(fortran))
        found = np.ma.MaskedArray(data, mask=hidden)
        require(
            fill is None or (isinstance(fill, np.ndarray) and fill.dtype == data.dtype),
            "a masked array is filled with something else",
        )
        found.fill_value = fill
        return found


def dtype(code: Any, *flags: Any) -> Part:
    """Start a dtype, as `numpy.dtype(code, False, True)`."""
    require(flags == (False, True), "it makes a dtype in a way that is not known")
    return _Dtype(code)


def reconstruct(kind: Any, *empty: Any) -> Part:
    """Start an array, as `_reconstruct(ndarray, (0,), b"b")`."""
    require(named(kind) == NDARRAY, "it has an array of a subclass")
    require(empty == _RESTORED_EMPTY, "it makes an array in a way that is not known")
    return _Array()


def masked_reconstruct(kind: Any, base: Any, *empty: Any) -> Part:
    """Start a masked array, as `_mareconstruct(MaskedArray, ndarray, (0,), "b")`."""
    require(named(kind) in MASKED and named(base) == NDARRAY, "it has an array of a subclass")
    require(empty in (((0,), "b"), _RESTORED_EMPTY), "it makes an array in a way that is not known")
    return _Masked()


def from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> Any:
    """Build an array, as `_frombuffer` does."""
    require(order in ("C", "F"), "it has an array of unknown order")
    return from_bytes(content, kind, shape, fortran=order == "F")


def scalar(kind: Any, content: Any) -> Any:
    """Build one number, date or text of NumPy's."""
    require(type(content) is bytes, "it has a number without bytes")
    return from_bytes(content, kind, (), fortran=False)[()]


def filled(content: Any, kind: Any, shape: Any, *, fortran: bool) -> Any:
    """Build an array from its bytes, or one of objects from a list."""
    import numpy as np

    if type(content) is not list:
        return from_bytes(content, kind, shape, fortran=fortran)
    require(
        isinstance(kind, np.dtype) and kind == np.dtype(object),
        "it has an array of objects that claims to hold numbers",
    )
    flat = np.empty(len(content), dtype=object)
    for index, item in enumerate(content):
        flat[index] = item
    return _shaped(flat, _extents(shape), fortran=fortran)


def from_bytes(content: Any, kind: Any, shape: Any, *, fortran: bool) -> Any:
    """Build an array over a copy of its bytes."""
    import numpy as np

    require(
        isinstance(kind, np.dtype) and not kind.hasobject,
        "it has an array without a dtype of numbers or text",
    )
    require(type(content) in (bytes, bytearray, memoryview), "it has an array without bytes")
    extents = _extents(shape)
    count = 1
    for extent in extents:
        count *= extent
    require(len(content) == count * kind.itemsize, "it has an array that is not as long as its shape says")
    if not len(content):
        return np.zeros(extents, dtype=kind)
    return _shaped(np.frombuffer(content, dtype=kind).copy(), extents, fortran=fortran)


def _extents(shape: Any) -> tuple[int, ...]:
    require(
        type(shape) is tuple and all(type(extent) is int and extent >= 0 for extent in shape),
        "it has an array whose shape is not made of whole numbers",
    )
    found: tuple[int, ...] = shape
    return found


def _shaped(flat: Any, shape: tuple[int, ...], *, fortran: bool) -> Any:
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


class Wrapper(Part):
    """Joblib's wrapper of an array whose bytes, or pickled items, follow it in the stream."""

    __slots__ = ()

    def finish(self, state: Any) -> pickle_host.RawArray:
        """Tell what follows, and how it becomes the array."""
        import numpy as np

        raw = pickle_trace.raw_array(None, state, _wrapped_size, "")
        require(named(state["subclass"]) == NDARRAY, "it has an array of a subclass")

        def build(content: Any) -> Any:
            if raw.size is not None:
                return from_bytes(content, state["dtype"], state["shape"], fortran=state["order"] == "F")
            require(
                type(content) is np.ndarray and content.dtype == np.dtype(object),
                "it has an array of objects that is not one",
            )
            return content

        return pickle_host.RawArray(raw.size, raw.aligned, build)


def _wrapped_size(kind: Any, subject: str) -> int | None:
    import numpy as np

    if not isinstance(kind, np.dtype):
        raise PickleRefused("A joblib array has no dtype.", subject=subject)
    return None if kind.hasobject else int(kind.itemsize)
