"""Check state that compiled code trusts, in a model that was restored and not yet used.

Compiled predictors index arrays by numbers that they read from the model. A
tampered index reads or writes memory outside the array. This walks a restored
object and hands what it meets to the checks of `native_trees`, `native_models`
and `native_arrays`, which compare every such number with the arrays that it
points into. They read attributes and compare; they never call the model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vault.core import native_arrays, native_models, native_trees
from vault.core.native_checks import Damaged, require, type_name
from vault.errors import FormatRefused


def check(root: object, *, subject: str = "") -> None:
    """Check all compiled state that can be reached from `root` through attributes and containers.

    Raises:
        FormatRefused: `format-content`: an index out of range, or compiled state of a kind that
            has no check here.
    """
    try:
        _walk(root)
    except Damaged as damage:
        finding = str(damage)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, MemoryError, RecursionError):
        finding = "its state is not of the shape that the library writes"
    else:
        return
    raise FormatRefused(
        f"{subject or 'The model'} was not loaded: {finding}.",
        code="format-content",
        subject=subject,
        hint="It was altered before it was signed, or is of a kind that cannot be checked: publish it again.",
    )


_PLAIN: Final = frozenset({bool, bytearray, bytes, complex, float, int, slice, range, str, type(None)})
_FUNCTIONS: Final = frozenset(
    {
        "builtins.builtin_function_or_method",
        "builtins.ellipsis",
        "builtins.function",
        "numpy._ArrayFunctionDispatcher",
        "numpy.ufunc",
    }
)
_INERT_MODULES: Final = (
    "numpy",
    "datetime",
    "zoneinfo",
    "sklearn._loss._loss",
    "sklearn.linear_model._sgd_fast",
)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How objects of one type are looked at: by which checks, and what below them."""

    checks: tuple[Callable[[Any], None], ...]
    holds: str
    attributes: bool


def _walk(root: object) -> None:
    plans: dict[type, _Plan] = {}
    held: dict[int, object] = {}  # keeps every visited object alive, so that an id means one object
    names: set[str] = set()  # of attributes, looked at before
    pending: list[object] = [root]
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind in _PLAIN or id(item) in held:
            continue
        held[id(item)] = item
        plan = plans.get(kind)
        if plan is None:
            plan = plans[kind] = _plan(kind)
        for validator in plan.checks:
            validator(item)
        if plan.holds:
            _extend(pending, plan.holds, item)
        if plan.attributes:
            attributes = vars(item)
            if not attributes.keys() <= names:
                native_models.check_names(attributes)
                names.update(attributes)
            pending.extend(attributes.values())


def _plan(kind: type) -> _Plan:
    """Decide how objects of a type are looked at.

    Raises:
        Damaged: it is compiled, and nothing here checks it.
    """
    names = [type_name(base) for base in kind.__mro__]
    checks = tuple(_VALIDATORS[name] for name in names if name in _VALIDATORS)
    if issubclass(kind, type) or names[0] in _FUNCTIONS:
        return _Plan(checks, "", attributes=False)
    holds = "array" if "numpy.ndarray" in names else ""
    if issubclass(kind, dict):
        holds = "dict"
    elif issubclass(kind, list | tuple | set | frozenset):
        holds = "items"
    attributes = kind.__dictoffset__ != 0
    if not checks and not holds and not attributes:
        module = kind.__module__
        inert = any(module == name or module.startswith(name + ".") for name in _INERT_MODULES)
        require(inert, f"{module} has state that cannot be checked")
    return _Plan(checks, holds, attributes)


def _extend(pending: list[object], holds: str, item: Any) -> None:
    """Add what a container holds, unless all of it is plain."""
    if holds == "array":
        if item.dtype.hasobject:
            pending.extend(item.ravel().tolist())
        return
    for part in (item.keys(), item.values()) if holds == "dict" else (item,):
        if not _PLAIN.issuperset(map(type, part)):
            pending.extend(part)


_VALIDATORS: Final[Mapping[str, Callable[[Any], None]]] = {
    "numpy.random._generator.Generator": native_arrays.check_random_state,
    "numpy.random.bit_generator.BitGenerator": native_arrays.check_bit_generator,
    "numpy.random.mtrand.RandomState": native_arrays.check_random_state,
    "scipy.interpolate._bsplines.BSpline": native_models.check_spline,
    "scipy.sparse._base._spbase": native_arrays.check_sparse,
    "sklearn.cluster._bisect_k_means.BisectingKMeans": native_models.check_bisecting_tree,
    "sklearn.cluster._hdbscan.hdbscan.HDBSCAN": native_models.check_linkage,
    "sklearn.cluster._kmeans.KMeans": native_models.check_centres,
    "sklearn.cluster._kmeans.MiniBatchKMeans": native_models.check_centres,
    "sklearn.ensemble._gb.BaseGradientBoosting": native_trees.check_gradient_boosting,
    f"{native_trees.HISTOGRAM}.gradient_boosting.BaseHistGradientBoosting": (
        native_trees.check_hist_gradient_boosting
    ),
    f"{native_trees.HISTOGRAM}.predictor.TreePredictor": native_trees.check_tree_predictor,
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": native_models.check_vocabulary,
    "sklearn.feature_extraction._hash.FeatureHasher": native_models.check_hashed_width,
    "sklearn.feature_extraction.text.CountVectorizer": native_models.check_vocabulary,
    "sklearn.feature_extraction.text.HashingVectorizer": native_models.check_hashed_width,
    "sklearn.metrics._dist_metrics.DistanceMetric": native_trees.check_free_metric,
    "sklearn.neighbors._ball_tree.BallTree": native_trees.check_ball_tree,
    "sklearn.neighbors._base.NeighborsBase": native_models.check_neighbors,
    "sklearn.neighbors._kd_tree.KDTree": native_trees.check_kd_tree,
    "sklearn.preprocessing._encoders.OneHotEncoder": native_models.check_one_hot,
    "sklearn.svm._base.BaseLibSVM": native_models.check_support_vectors,
    "sklearn.tree._classes.BaseDecisionTree": native_trees.check_decision_tree,
    "sklearn.tree._tree.Tree": native_trees.check_tree,
    "sklearn.utils._bunch.Bunch": native_models.check_names,
}
