"""The header reader of NumPy arrays: what NumPy writes is read, objects and tricks are refused."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.core import npy
from vault.errors import FormatRefused


def saved(array: Any, *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def header(text: str, data: bytes = b"") -> bytes:
    raw = text.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + data


TREE = np.dtype([("left", "<i8"), ("threshold", "<f8"), ("flag", "u1"), ("pair", "<f4", (2,))])
ARRAYS = [
    np.arange(12).reshape(3, 4),
    np.asfortranarray(np.eye(3)),
    np.array(3.5),
    np.zeros((0, 5), dtype="<f4"),
    np.array(["a", "bcd"]),
    np.array([b"a", b"bcd"]),
    np.array(["2024-01-01"], dtype="M8[ns]"),
    np.array([1 + 2j]),
    np.array([True, False]),
    np.zeros(4, dtype=TREE),
    np.zeros(2, dtype=">i4"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_what_numpy_writes_is_read(array: Any) -> None:
    data = saved(array)
    found = npy.parse_header(data, size=len(data))
    assert found.shape == array.shape
    assert found.itemsize == array.dtype.itemsize
    assert found.nbytes == array.nbytes
    assert np.dtype(found.descr) == array.dtype
    assert found.fortran == (array.flags.f_contiguous and not array.flags.c_contiguous)


def test_arrays_of_objects_are_refused() -> None:
    data = saved(np.array([{}, None], dtype=object), allow_pickle=True)
    with pytest.raises(FormatRefused, match="objects"):
        npy.parse_header(data, size=len(data))
    nested = header(
        "{'descr': [('a', '<f8'), ('b', '|O')], 'fortran_order': False, 'shape': (1,)}", bytes(16)
    )
    with pytest.raises(FormatRefused):
        npy.parse_header(nested, size=len(nested))


def test_a_size_that_is_not_the_shapes_is_refused() -> None:
    data = saved(np.arange(5))
    for size in (len(data) - 1, len(data) + 1):
        with pytest.raises(FormatRefused, match="as long as"):
            npy.parse_header(data, size=size)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "{'descr': '<f8', 'fortran_order': False}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'shape': (2,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'extra': 1}",
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': [1]}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)} + __import__('os')",
        "{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f7', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': 'O', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<U', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': [], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': [('a',)], 'fortran_order': False, 'shape': (1,)}",
        "{'descr': " + "(" * 500 + ")" * 500 + ", 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 40 + ")}",
    ],
)
def test_headers_that_numpy_does_not_write_are_refused(text: str) -> None:
    data = header(text, bytes(8))
    with pytest.raises(FormatRefused) as caught:
        npy.parse_header(data, size=len(data))
    assert caught.value.code == "format-content"


def test_unknown_versions_and_long_headers_are_refused() -> None:
    good = saved(np.arange(3))
    for data in (
        good[:6] + b"\x04\x00" + good[8:],
        good[:8] + b"\xff\xff" + good[10:],
        good[:9],
        b"",
        b"\x93NUMPY",
    ):
        with pytest.raises(FormatRefused):
            npy.parse_header(data, size=len(data))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 127), st.integers(0, 255))
def test_a_changed_byte_is_read_as_numpy_reads_it_or_refused(at: int, value: int) -> None:
    data = bytearray(saved(np.arange(6.0).reshape(2, 3)))
    data[at] = value
    try:
        found = npy.parse_header(bytes(data), size=len(data))
    except FormatRefused:
        return
    loaded = np.load(io.BytesIO(bytes(data)), allow_pickle=False)
    assert (loaded.shape, loaded.dtype) == (found.shape, np.dtype(found.descr))
