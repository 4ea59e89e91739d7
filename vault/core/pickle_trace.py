"""Trace a pickle: what it would import, call and build, without doing any of it."""

import math
from dataclasses import dataclass, field
from typing import Any, Final

from vault.core import joblib_container, npy, pickle_host, pickle_vm
from vault.core.pins import ARRAY_WRAPPER
from vault.errors import FormatRefused, PickleRefused

_OBJECTS: Final = "O"


@dataclass(frozen=True, slots=True)
class Trace:
    """What a pickle would do: names as `module.attribute`."""

    protocol: int
    globals: frozenset[str]
    called: frozenset[str]
    opcodes: int
    size: int
    arrays: int
    compressed: bool

    @property
    def pins(self) -> tuple[str, ...]:
        """The globals to pin, sorted."""
        return tuple(sorted(self.globals))


@dataclass(eq=False, slots=True)
class Symbol:
    """Stands for a global: inert, equal only to itself."""

    name: str


@dataclass(eq=False, slots=True)
class Product:
    """Stands for what a global would have made."""

    origin: Symbol
    arguments: tuple[Any, ...]
    state: Any = None
    size: int | None = -1  # of an item, where it stands for a dtype and somebody asked before


@dataclass(slots=True)
class Tracer:
    """The host that records: what it met can be read even after a refusal."""

    joblib: bool = True
    subject: str = ""
    globals: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    arrays: int = 0
    _symbols: dict[str, Symbol] = field(default_factory=dict)

    def find(self, module: str, name: str) -> object:
        """Record a global; one symbol for each."""
        full = f"{module}.{name}"
        self.globals.add(full)
        if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise PickleRefused(
                f"The pickle names {full[:200]!r}, which is not one plain name.", subject=self.subject
            )
        return self._symbols.setdefault(full, Symbol(full))

    def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
        """Record a call."""
        self.called.add(function.name)
        return Product(function, arguments)

    def new(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        """Record an instance."""
        self.called.add(kind.name)
        return Product(kind, (*arguments, keywords) if keywords else arguments)

    def build(self, target: Any, state: Any) -> object:
        """Keep the state; tell the machine when a joblib array follows."""
        if not isinstance(target, Product):
            raise PickleRefused(
                f"{self.subject or 'The pickle'} builds what was not made.", subject=self.subject
            )
        target.state, target.size = state, -1
        if target.origin.name == ARRAY_WRAPPER:
            if not self.joblib:
                raise PickleRefused(
                    f"{self.subject or 'The pickle'} holds a joblib array.", subject=self.subject
                )
            self.arrays += 1
            return raw_array(target, state, _item_size, self.subject)
        return target

    def fill(self, target: Any, items: list[Any], how: str) -> None:
        """Accept items for a container that only stands for one."""
        if not isinstance(target, Product):
            raise PickleRefused("The pickle fills a plain value.", subject=self.subject)


def trace(data: bytes | memoryview, *, joblib: bool = True, subject: str = "") -> Trace:
    """Trace a joblib file, compressed or not, or without `joblib` a plain pickle only.

    Raises:
        PickleRefused: it does something that the gate never permits.
    """
    tracer = Tracer(joblib=joblib, subject=subject)
    return trace_with(tracer, data)


def trace_with(tracer: Tracer, data: bytes | memoryview) -> Trace:
    """Trace with a given tracer, so that what was met before a refusal can be read.

    Raises:
        PickleRefused: it does something that the gate never permits.
    """
    content = joblib_container.unpack(data, subject=tracer.subject) if tracer.joblib else memoryview(data)
    ran = pickle_vm.run(content, tracer, subject=tracer.subject)
    return Trace(
        protocol=ran.protocol,
        globals=frozenset(tracer.globals),
        called=frozenset(tracer.called),
        opcodes=ran.opcodes,
        size=len(content),
        arrays=tracer.arrays,
        compressed=content.obj is not memoryview(data).obj,
    )


def raw_array(target: Any, state: Any, item_size: Any, subject: str) -> pickle_host.RawArray:
    """Work out what follows a joblib array wrapper, from the wrapper's own state.

    `item_size` gives the size in bytes of one item of the wrapper's dtype, or
    None where the items are Python objects.

    Raises:
        PickleRefused: the wrapper is not one that joblib writes.
    """
    known = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}
    if type(state) is not dict or not known - {"numpy_array_alignment_bytes"} <= set(state) <= known:
        raise PickleRefused("A joblib array has a wrapper of another kind.", subject=subject)
    shape, alignment = state["shape"], state.get("numpy_array_alignment_bytes")
    if type(shape) is not tuple or any(type(extent) is not int or extent < 0 for extent in shape):
        raise PickleRefused("A joblib array has a shape that is not made of whole numbers.", subject=subject)
    if alignment not in (None, 16) or state["order"] not in ("C", "F"):
        raise PickleRefused("A joblib array has an unknown order or alignment.", subject=subject)
    size = item_size(state["dtype"], subject)
    return pickle_host.RawArray(
        size=None if size is None else size * math.prod(shape),
        aligned=alignment is not None,
        finish=lambda content: target,
    )


def _item_size(dtype: Any, subject: str) -> int | None:
    """Return the item size of a traced dtype; None for objects."""
    if not isinstance(dtype, Product) or dtype.origin.name != "numpy.dtype" or not dtype.arguments:
        raise PickleRefused("A joblib array has no dtype.", subject=subject)
    if dtype.size == -1:
        dtype.size = dtype_size(dtype.arguments[0], dtype.state, subject, _item_size)
    return dtype.size


def dtype_size(code: Any, state: Any, subject: str, inner: Any) -> int | None:
    """Return the item size that a pickled dtype's code and state stand for; None for objects.

    Source: `arraydescr_reduce` and `arraydescr_setstate` in NumPy's
    `descriptor.c`: code `V<n>` with names and fields for a structured dtype.

    Raises:
        PickleRefused: a dtype that no array of numbers or text has.
    """
    if type(code) is not str or type(state) is not tuple or not 8 <= len(state) <= 9:
        raise PickleRefused("A dtype has a state that NumPy does not write.", subject=subject)
    names, fields = state[3], state[4]
    if code == "O8":
        return None
    if state[2] is not None:
        raise PickleRefused("A dtype is made of sub-arrays, which are not read.", subject=subject)
    try:
        size = npy.scalar_size(code, subject)
    except FormatRefused as refusal:
        raise PickleRefused(refusal.message, subject=subject) from None
    if names is None:
        return size
    if type(names) is not tuple or type(fields) is not dict or set(names) != set(fields) or state[5] != size:
        raise PickleRefused("A dtype's columns are malformed.", subject=subject)
    for name in names:
        field_ = fields[name]
        if type(field_) is not tuple or len(field_) < 2 or type(field_[1]) is not int:
            raise PickleRefused("A dtype's column is malformed.", subject=subject)
        part = inner(field_[0], subject)
        if part is None or not 0 <= field_[1] <= size - part:
            raise PickleRefused("A dtype's column lies outside its item, or holds objects.", subject=subject)
    return size
