"""Draw object graphs for picklers, and compare two graphs: values, types, arrays and who shares what."""

import struct
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

LEAVES: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.binary(max_size=300),
    st.sampled_from(["", "x" * 256, b"y" * 257, (), frozenset(), 2**31, -(2**31), 255, 256, 65_536]),
)
_KEYS: Final = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.text("abc", max_size=3), st.binary(max_size=3)
)
_DTYPES: Final = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(),
    hnp.unsigned_integer_dtypes(),
    hnp.floating_dtypes(),
    hnp.complex_number_dtypes(),
    st.sampled_from(
        [np.dtype("<U5"), np.dtype(">U3"), np.dtype("S4"), np.dtype("<M8[ns]"), np.dtype("m8[D]")]
    ),
    st.just(np.dtype([("a", "<f8"), ("b", "<i4")])),
)


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """Draw an array of numbers or text, of up to three dimensions, in either order."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    dtype = draw(_DTYPES)
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    found = np.frombuffer(
        draw(st.binary(min_size=size, max_size=size)) if dtype.kind in "iufcmM" else bytes(size), dtype
    )
    found = found.reshape(shape).copy()
    return np.asfortranarray(found) if draw(st.booleans()) else found


@st.composite
def graphs(draw: st.DrawFn) -> Any:
    """Draw a graph: containers of leaves, of arrays and of one another, shared and in cycles."""
    made: list[Any] = [draw(LEAVES)]
    open_ones: list[Any] = []
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(
            st.sampled_from(
                [
                    "leaf",
                    "list",
                    "dict",
                    "tuple",
                    "set",
                    "frozenset",
                    "bytearray",
                    "array",
                    "objects",
                    "scalar",
                ]
            )
        )
        parts = draw(st.lists(st.sampled_from(range(len(made))), max_size=4))
        items = [made[index] for index in parts]
        keys = draw(st.lists(_KEYS, max_size=4, unique_by=lambda key: (type(key), key)))
        if kind == "leaf":
            found: Any = draw(LEAVES)
        elif kind == "list":
            found = items
            open_ones.append(found)
        elif kind == "dict":
            found = dict(zip(keys, items, strict=False))
            open_ones.append(found)
        elif kind == "tuple":
            found = tuple(items)
        elif kind in ("set", "frozenset"):
            found = set(keys) if kind == "set" else frozenset(keys)
        elif kind == "bytearray":
            found = bytearray(draw(st.binary(max_size=40)))
        elif kind == "array":
            found = draw(arrays())
        elif kind == "objects":
            found = np.empty(len(items), dtype=object)
            for index, item in enumerate(items):
                found[index] = item
        else:
            found = draw(
                st.sampled_from(
                    [np.float64(1.5), np.int32(-7), np.bool_(True), np.str_("x"), np.float32("nan")]
                )
            )
        made.append(found)
    for holder in open_ones:  # cycles: what was made early refers to what was made late
        if draw(st.booleans()):
            target = made[draw(st.sampled_from(range(len(made))))]
            if isinstance(holder, list):
                holder.append(target)
            else:
                holder["later"] = target
    return made if draw(st.booleans()) else made[-1]


def array_in_itself(value: Any) -> bool:
    """Tell whether an array of objects holds itself, at any depth."""

    def below(item: Any) -> list[Any]:
        if isinstance(item, np.ndarray):
            return list(item.ravel().tolist()) if item.dtype.hasobject else []
        if isinstance(item, dict):
            return list(item.values())
        return list(item) if isinstance(item, list | tuple) else []

    def reach(start: Any) -> dict[int, Any]:
        found: dict[int, Any] = {}
        pending = below(start)
        while pending:
            item = pending.pop()
            if id(item) not in found:
                found[id(item)] = item
                pending.extend(below(item))
        return found

    every = [value, *reach(value).values()]
    return any(isinstance(item, np.ndarray) and id(item) in reach(item) for item in every)


def different(first: Any, second: Any) -> str:
    """Say where two graphs differ, or nothing: types, bits, and which objects are one object."""
    pairs: dict[int, int] = {}
    back: dict[int, int] = {}
    kept: list[Any] = []  # an id means one object as long as the object lives
    pending = [(first, second, "it")]
    while pending:
        one, other, path = pending.pop()
        if type(one) is not type(other):
            return f"{path}: {type(one)} and {type(other)}"
        if _is_shared(one):
            if id(one) in pairs or id(other) in back:
                if pairs.get(id(one)) != id(other) or back.get(id(other)) != id(one):
                    return f"{path}: shared with something else"
                continue
            pairs[id(one)], back[id(other)] = id(other), id(one)
            kept += [one, other]
        told = _below(one, other, path, pending)
        if told:
            return told
    return ""


def _native(array: Any) -> Any:
    """NumPy turns arrays of the other byte order into those of its own when they come as a state."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _is_shared(value: Any) -> bool:
    return isinstance(value, list | dict | set | bytearray | np.ndarray) or hasattr(value, "__dict__")


def _below(one: Any, other: Any, path: str, pending: list[tuple[Any, Any, str]]) -> str:
    """Compare two values of one type, and add what they hold to what is still to be compared."""
    if isinstance(one, np.ndarray):
        one, other = _native(one), _native(other)
        alike = (
            one.dtype == other.dtype
            and one.shape == other.shape
            and (one.flags.c_contiguous, one.flags.f_contiguous, one.flags.writeable)
            == (other.flags.c_contiguous, other.flags.f_contiguous, other.flags.writeable)
        )
        if not alike:
            return f"{path}: {one.dtype} {one.shape} {one.flags}, {other.dtype} {other.shape} {other.flags}"
        if one.dtype.names:  # between the columns may be padding, which nobody writes
            pending.extend((one[name], other[name], f"{path}.{name}") for name in one.dtype.names)
            return ""
        if not one.dtype.hasobject:
            return "" if one.tobytes() == other.tobytes() else f"{path}: arrays of other bytes"
        one, other = one.ravel().tolist(), other.ravel().tolist()
    if isinstance(one, dict):
        if list(map(repr, one)) != list(map(repr, other)):
            return f"{path}: keys {list(one)[:5]} and {list(other)[:5]}"
        pending.extend((*pair, f"{path}.values") for pair in zip(one.values(), other.values(), strict=True))
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            return f"{path}: {len(one)} and {len(other)} items"
        pending.extend((*pair, f"{path}[]") for pair in zip(one, other, strict=True))
    elif isinstance(one, float | np.floating):
        return (
            "" if np.asarray(one).tobytes() == np.asarray(other).tobytes() else f"{path}: {one} and {other}"
        )
    elif isinstance(one, complex):
        same = struct.pack("dd", one.real, one.imag) == struct.pack("dd", other.real, other.imag)
        return "" if same else f"{path}: {one} and {other}"
    elif isinstance(one, set | frozenset):
        return "" if sorted(map(repr, one)) == sorted(map(repr, other)) else f"{path}: {one} and {other}"
    elif hasattr(one, "__dict__") and not isinstance(one, type):
        pending.append((vars(one), vars(other), f"{path}.{type(one).__name__}"))
    elif hasattr(one, "__getstate__") and type(one).__module__.startswith(("sklearn", "numpy.random")):
        reduced = [thing.__reduce__()[1:3] for thing in (one, other)]
        pending.append((reduced[0], reduced[1], f"{path}.{type(one).__name__}"))
    elif isinstance(one, type) or callable(one):
        return "" if one is other else f"{path}: {one} and {other}"
    elif one != other:
        return f"{path}: {one!r} and {other!r}"
    return ""
