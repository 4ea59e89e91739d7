"""The gate for pickles and joblib files: the only module that names the pickle libraries.

Writing uses them; reading never does. A pickle is run by the machine of
`core/pickle_vm.py`, and this module is the host that decides each effect:
names come from the pinned and allowed list only, arrays and dtypes are built
by code of our own, and compiled state is refused where nothing can check it.
"""

import importlib
import io
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, Literal

from vault.core import joblib_container, native_state, pickle_host, pickle_trace, pickle_vm, pins
from vault.core.pickle_globals import DTYPE, FROM_BUFFER, NDARRAY, RECONSTRUCT, SCALAR, STAND_INS
from vault.core.pins import ARRAY_WRAPPER
from vault.core.skops_types import NUMPY_SCALARS
from vault.errors import MissingLibrary, PickleRefused, Refused

if TYPE_CHECKING:
    from vault.core.admission import Admitted

PROTOCOL: Final = 5

_PLAIN_CALLS: Final = {
    "builtins.bytearray": bytearray,
    "builtins.complex": complex,
    "builtins.frozenset": frozenset,
    "builtins.set": set,
    "builtins.slice": slice,
}
_PLAIN_RESTORER: Final = "sklearn.base.BaseEstimator.__setstate__"  # updates __dict__ and compares versions


def dump(obj: object, *, container: Literal["joblib", "pickle"] = "joblib") -> tuple[bytes, tuple[str, ...]]:
    """Write `obj` as a pickle or joblib file; return its bytes and the globals to pin, sorted.

    Raises:
        ValueError: it cannot be pickled, or its pickle does something that no gate permits.
        MissingLibrary: joblib is not installed.
    """
    buffer = io.BytesIO()
    try:
        if container == "joblib":
            import joblib

            joblib.dump(obj, buffer, protocol=PROTOCOL)
        else:
            import pickle

            pickle.dump(obj, buffer, protocol=PROTOCOL)
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Writing joblib files needs joblib.", hint="Install it: pip install joblib"
        ) from None
    except Exception as error:  # any exception of the object's own __reduce__ and __getstate__
        raise ValueError(
            f"{type(obj).__name__} cannot be pickled: {type(error).__name__}: {error}"
        ) from error
    data = buffer.getvalue()
    try:
        found = pickle_trace.trace(data, joblib=container == "joblib")
    except Refused as refusal:
        raise ValueError(f"{type(obj).__name__} as a pickle would not be loaded: {refusal}") from refusal
    return data, found.pins


def load(admitted: "Admitted", allowance: AbstractSet[str]) -> Any:
    """Run an admitted pickle or joblib file through the gate; return the object.

    `allowance` is the operator's own: a global must be pinned *and* allowed.

    Raises:
        PickleRefused: an effect that is not permitted, or state that cannot be checked.
        FormatRefused: a global outside both lists, or compiled state out of range.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    usable = pins.check_pins(admitted.pins, admitted.pins, allowance, subject=admitted.subject)
    return restore(admitted.data, usable, joblib=admitted.format == "joblib", subject=admitted.subject)


def restore(data: bytes | memoryview, usable: AbstractSet[str], *, joblib: bool, subject: str = "") -> Any:
    """Run a pickle that was traced, with exactly the globals in `usable`.

    Raises:
        PickleRefused: an effect that is not permitted, or state that cannot be checked.
        FormatRefused: compiled state out of range.
    """
    content = joblib_container.unpack(data, subject=subject) if joblib else memoryview(data)
    result = pickle_vm.run(content, _Gate(usable, joblib, subject), subject=subject).result
    native_state.check(result, subject=subject)
    return result


@dataclass(frozen=True, slots=True)
class _StandIn:
    """What `find` returns for a name that the gate builds itself."""

    name: str


@dataclass(slots=True, eq=False)
class _DtypeDraft(pickle_host.Draft):
    code: Any


@dataclass(slots=True, eq=False)
class _ArrayDraft(pickle_host.Draft):
    pass


@dataclass(slots=True, eq=False)
class _WrapperDraft(pickle_host.Draft):
    pass


@dataclass(slots=True)
class _Gate:
    """The enforcing host: decides each effect of a pickle."""

    usable: AbstractSet[str]
    joblib: bool
    subject: str
    _stand_ins: dict[str, _StandIn] = field(default_factory=dict)

    def find(self, module: str, name: str) -> object:
        """Resolve a pinned and allowed global, without dotted names."""
        full = f"{module}.{name}"
        _check_name(full, self.usable, self.subject)
        if not name.isidentifier():
            raise self._refused(f"{full} is not one plain name")
        if full in STAND_INS:
            return self._stand_ins.setdefault(full, _StandIn(full))
        try:
            found = vars(importlib.import_module(module))[name]
        except (ImportError, KeyError):
            raise self._refused(f"{full} does not exist here") from None
        own_name = f"{getattr(found, '__module__', None)}.{getattr(found, '__name__', None)}"
        if not isinstance(found, type | FunctionType) or (own_name != full and full not in NUMPY_SCALARS):
            raise self._refused(f"{full} is neither a class nor a function of that module")
        return found

    def call(self, function: Any, arguments: tuple[Any, ...]) -> object:
        """Build plain values and the parts of arrays; call nothing else."""
        if not isinstance(function, _StandIn):
            raise self._unchecked("calls", function)
        name = function.name
        if name in _PLAIN_CALLS:
            return self._plain(name, arguments)
        if name == DTYPE and len(arguments) == 3 and arguments[1:] == (False, True):
            return _DtypeDraft(arguments[0])
        if name in RECONSTRUCT and arguments[1:] == ((0,), b"b") and _is_ndarray(arguments[0]):
            return _ArrayDraft()
        if name in FROM_BUFFER and len(arguments) == 4:
            content, dtype, shape, order = arguments
            return self._array(content, dtype, shape, order == "F")
        if name in SCALAR and len(arguments) == 2 and type(arguments[1]) is bytes:
            return self._array(arguments[1], arguments[0], (), fortran=False)[()]
        raise self._refused(f"it calls {name} in a way that is not known")

    def new(self, kind: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> object:
        """Make an instance of a class that is plain Python, without its constructor."""
        if isinstance(kind, _StandIn):
            if kind.name == ARRAY_WRAPPER and self.joblib and not arguments and not keywords:
                return _WrapperDraft()
            raise self._refused(f"it makes a {kind.name} in a way that is not known")
        makes_itself = any("__new__" in vars(base) for base in getattr(kind, "__mro__", ())[:-1])
        if not isinstance(kind, type) or makes_itself or arguments or keywords:
            raise self._unchecked("makes", kind)
        return object.__new__(kind)

    def build(self, target: Any, state: Any) -> object:
        """Finish a draft, or set the attributes of an instance."""
        if isinstance(target, _DtypeDraft):
            return self._dtype(target.code, state)
        if isinstance(target, _ArrayDraft):
            return self._from_state(state)
        if isinstance(target, _WrapperDraft):
            return self._wrapped(state)
        kind = type(target)
        own = next(
            (vars(base)["__setstate__"] for base in kind.__mro__ if "__setstate__" in vars(base)), None
        )
        if type(state) is not dict or not hasattr(target, "__dict__"):
            raise self._refused(f"it gives a {kind.__name__} a state that is not attributes")
        if (
            own is not None
            and f"{own.__module__}.{own.__qualname__}" != "sklearn.base.BaseEstimator.__setstate__"
        ):
            raise self._refused(f"{kind.__name__} restores its state by code of its own")
        for key in state:
            if any(isinstance(vars(base).get(key), FunctionType | property) for base in kind.__mro__):
                raise self._refused(f"it replaces {kind.__name__}.{key}")
        vars(target).update(state)
        return target

    def fill(self, target: Any, items: list[Any], how: str) -> None:
        """Fill nothing but exact lists, dicts and sets, which the machine does itself."""
        raise self._refused(f"it fills a {type(target).__name__}")

    def _plain(self, name: str, arguments: tuple[Any, ...]) -> object:
        allowed = {list, tuple, int, float, bytes, type(None)}
        if any(type(argument) not in allowed for argument in arguments):
            raise self._refused(f"it makes a {name} of something else than plain values")
        if name == "builtins.bytearray" and (
            len(arguments) > 1 or any(type(part) is not bytes for part in arguments)
        ):
            raise self._refused("it makes a bytearray of something else than bytes")
        return _PLAIN_CALLS[name](*arguments)

    def _dtype(self, code: Any, state: Any) -> Any:
        """Build a dtype from its description; NumPy's own restoring trusts the flags in the state."""
        import numpy as np

        def inner(part: Any, subject: str) -> int | None:
            if not isinstance(part, np.dtype):
                raise PickleRefused("A dtype has a column that is not one.", subject=subject)
            return None if part.hasobject else int(part.itemsize)

        size = pickle_trace.dtype_size(code, state, self.subject, inner)
        order, names, fields = state[1], state[3], state[4]
        if size is None:
            return np.dtype(object)
        if order not in ("<", ">", "|", "="):
            raise self._refused("it has a dtype of unknown byte order")
        if names is None:
            dtype = np.dtype(("" if order == "|" else order) + code)
            if len(state) == 9 and dtype.kind in "mM":
                unit, count = state[8][1][:2]
                text = unit.decode("ascii") if isinstance(unit, bytes) else unit
                dtype = np.dtype(f"{order if order != '|' else ''}{code}[{int(count)}{text}]")
            return dtype
        return np.dtype(
            {
                "names": list(names),
                "formats": [fields[name][0] for name in names],
                "offsets": [fields[name][1] for name in names],
                "itemsize": size,
            }
        )

    def _from_state(self, state: Any) -> Any:
        """Build an array from (version, shape, dtype, is Fortran, content)."""
        import numpy as np

        if type(state) is not tuple or len(state) != 5 or state[0] != 1 or type(state[3]) is not bool:
            raise self._refused("it has an array whose state NumPy does not write")
        _, shape, dtype, fortran, content = state
        if type(content) is not list:
            return self._array(content, dtype, shape, fortran)
        if dtype != np.dtype(object):
            raise self._refused("it has an array of objects that claims to hold numbers")
        flat = np.empty(len(content), dtype=object)
        for index, item in enumerate(content):
            flat[index] = item
        return _shaped(flat, self._shape(shape), fortran)

    def _array(self, content: Any, dtype: Any, shape: Any, fortran: bool) -> Any:
        """Build an array over a copy of its bytes."""
        import numpy as np

        if not isinstance(dtype, np.dtype) or dtype.hasobject:
            raise self._refused("it has an array without a dtype of numbers or text")
        if type(content) not in (bytes, bytearray, memoryview):
            raise self._refused("it has an array without bytes")
        extents = self._shape(shape)
        count = 1
        for extent in extents:
            count *= extent
        if len(content) != count * dtype.itemsize:
            raise self._refused("it has an array that is not as long as its shape says")
        if not len(content):
            return np.zeros(extents, dtype=dtype)
        return _shaped(np.frombuffer(content, dtype=dtype).copy(), extents, fortran)

    def _shape(self, shape: Any) -> tuple[int, ...]:
        if type(shape) is not tuple or any(type(extent) is not int or extent < 0 for extent in shape):
            raise self._refused("it has an array whose shape is not made of whole numbers")
        return shape

    def _wrapped(self, state: Any) -> pickle_host.RawArray:
        """Read an array that joblib wrote, in place of joblib's own reader."""
        import numpy as np

        def item_size(dtype: Any, subject: str) -> int | None:
            if not isinstance(dtype, np.dtype):
                raise PickleRefused("A joblib array has no dtype.", subject=subject)
            return None if dtype.hasobject else int(dtype.itemsize)

        raw = pickle_trace.raw_array(None, state, item_size, self.subject)
        if not _is_ndarray(state["subclass"]):
            raise self._refused("it has an array of a subclass")

        def finish(content: Any) -> Any:
            if raw.size is not None:
                return self._array(content, state["dtype"], state["shape"], state["order"] == "F")
            if not isinstance(content, np.ndarray) or content.dtype != np.dtype(object):
                raise self._refused("it has an array of objects that is not one")
            return content

        return pickle_host.RawArray(raw.size, raw.aligned, finish)

    def _unchecked(self, verb: str, what: Any) -> PickleRefused:
        return self._refused(f"it {verb} {getattr(what, '__name__', what)}, whose state cannot be checked")

    def _refused(self, what: str) -> PickleRefused:
        return PickleRefused(
            f"{self.subject or 'The pickle'} was not loaded: {what}.",
            subject=self.subject,
            hint="Save the model as skops or ONNX instead.",
        )


def _check_name(name: str, usable: AbstractSet[str], subject: str) -> None:
    if pins.is_forbidden(name) or name not in usable:
        raise PickleRefused(
            f"{subject or 'The pickle'} names {name[:200]}, which is "
            f"{'never loaded' if pins.is_forbidden(name) else 'not both pinned and allowed'}.",
            subject=subject,
            hint="Save the model as skops or ONNX instead.",
        )


def _is_ndarray(value: object) -> bool:
    return isinstance(value, _StandIn) and value.name == NDARRAY


def _shaped(flat: Any, shape: tuple[int, ...], fortran: bool) -> Any:
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)
