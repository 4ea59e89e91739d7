"""Build instances of plain Python classes: attributes only, never a method, a slot or a constructor.

What a class does in a `__setstate__` of its own is done here, for the classes
whose code was reviewed; all others with one are refused.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from vault.core.native_checks import type_name
from vault.core.pickle_globals import KEPT_FUNCTIONS
from vault.loaders.pickle_gate.native import check_array
from vault.loaders.pickle_gate.parts import Unfit, named, require

_ESTIMATOR: Final = "sklearn.base.BaseEstimator.__setstate__"
_OLD: Final = "sklearn.utils.deprecation.deprecated._decorate_class.<locals>.wrapped"


class Instances:
    """Makes instances and sets their attributes; remembers what it found out about each class."""

    __slots__ = ("_bound", "_restorers")

    def __init__(self) -> None:
        self._bound: dict[type, frozenset[str]] = {}
        self._restorers: dict[type, Callable[[Any, dict[str, Any]], None]] = {}

    def make(self, kind: Any) -> object:
        """Make an instance of a class that is plain Python, without its constructor."""
        if kind not in self._bound:
            self._look_at(kind)
        return object.__new__(kind)

    def make_tuple(self, kind: Any, parts: tuple[Any, ...]) -> object:
        """Make a named tuple, without code of its class."""
        if not isinstance(kind, type) or kind.__bases__ != (tuple,) or "_fields" not in vars(kind):
            raise Unfit(f"it makes {getattr(kind, '__name__', kind)}, whose state cannot be checked")
        require(len(parts) == len(vars(kind)["_fields"]), f"it makes a {kind.__name__} of other parts")
        return tuple.__new__(kind, parts)

    def set_attributes(self, target: Any, state: Any) -> None:
        """Set the attributes of an instance that was made here."""
        kind = type(target)
        require(type(state) is dict, f"it gives a {kind.__name__} a state that is not attributes")
        bound = self._bound.get(kind)
        if bound is None:
            raise Unfit(f"it gives a {kind.__name__} a state that is not attributes")
        if not bound.isdisjoint(state):
            raise Unfit(f"it replaces {kind.__name__}.{min(bound & state.keys())}")
        self._restorers[kind](target, state)

    def _look_at(self, kind: Any) -> None:
        bases = getattr(kind, "__mro__", ())[:-1]
        is_more = any(
            _makes_itself(base) or vars(base).get("__slots__") or "__del__" in vars(base) for base in bases
        )
        if not isinstance(kind, type) or is_more or not kind.__dictoffset__:
            raise Unfit(f"it makes {getattr(kind, '__name__', kind)}, whose state cannot be checked")
        own = next((vars(base)["__setstate__"] for base in bases if "__setstate__" in vars(base)), None)
        name = "" if own is None else f"{own.__module__}.{own.__qualname__}"
        if type_name(kind) in _RESTORERS and name == _ESTIMATOR:
            name = type_name(kind)
        if name not in _RESTORERS:
            raise Unfit(f"{kind.__name__} restores its state by code of its own")
        self._restorers[kind] = _RESTORERS[name]
        self._bound[kind] = frozenset(
            attribute
            for base in bases
            for attribute, value in vars(base).items()
            if _is_behaviour(attribute, value)
        )


def _is_behaviour(attribute: str, value: object) -> bool:
    """Tell whether an attribute of a class is more than a default: a method, or the rules for parameters."""
    return hasattr(type(value), "__get__") or callable(value) or attribute == "_parameter_constraints"


def _makes_itself(base: type) -> bool:
    """Tell whether a class has a `__new__` of its own, but for the one that only warns of its age."""
    own = vars(base).get("__new__")
    return own is not None and f"{own.__module__}.{own.__qualname__}" != _OLD


def _plainly(target: Any, state: dict[str, Any]) -> None:
    vars(target).update(state)


def _estimator(target: Any, state: dict[str, Any]) -> None:
    """Do as `sklearn.base.BaseEstimator`: the version is no attribute."""
    state.pop("_sklearn_version", None)
    vars(target).update(state)


def _histogram_tree(target: Any, state: dict[str, Any]) -> None:
    """Do as `TreePredictor`, which would convert nodes of another dtype."""
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    check_array(state.get("nodes"), PREDICTOR_RECORD_DTYPE, 1, "a tree's nodes")
    vars(target).update(state)


def _isotonic(target: Any, state: dict[str, Any]) -> None:
    """Do as `IsotonicRegression`, which builds its interpolation anew."""
    import numpy as np

    _estimator(target, state)
    if "X_thresholds_" not in state or "y_thresholds_" not in state:
        return
    steps, values = state["X_thresholds_"], state["y_thresholds_"]
    for part in (steps, values):
        require(
            type(part) is np.ndarray and part.dtype.kind == "f" and part.ndim == 1 and len(part) > 0,
            "its thresholds are no numbers",
        )
    require(len(steps) == len(values), "its thresholds are of unequal number")
    target._build_f(steps, values)


def _bisecting(target: Any, state: dict[str, Any]) -> None:
    """Do as an estimator, and put the loop back that `BisectingKMeans` keeps in an attribute."""
    from sklearn.cluster import _kmeans

    kept = named(state.get("_kmeans_single"))
    if kept in KEPT_FUNCTIONS:
        state["_kmeans_single"] = vars(_kmeans)[kept.rpartition(".")[2]]
    _estimator(target, state)


_RESTORERS: Final[Mapping[str, Callable[[Any, dict[str, Any]], None]]] = {
    "": _plainly,
    _ESTIMATOR: _estimator,
    "sklearn.cluster._bisect_k_means.BisectingKMeans": _bisecting,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor.__setstate__": _histogram_tree,
    "sklearn.isotonic.IsotonicRegression.__setstate__": _isotonic,
}


def is_known_function(value: object) -> bool:
    """Tell whether a value is a function that only Python, NumPy or SciPy defined as one."""
    return type_name(type(value)) in ("builtins.function", "numpy._ArrayFunctionDispatcher", "numpy.ufunc")
