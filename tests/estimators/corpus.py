"""Fit every scikit-learn estimator on toy data, each once per process and on first use, always alike.

The corpus answers one question: do real models keep loading? It holds each
estimator that scikit-learn lists, and variants that keep other objects inside:
kernels, losses, metrics, splitters, trees of neighbours.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tests.estimators.toy_data import data
from tests.estimators.variants import VARIANTS, inner

# Each scikit-learn estimator that no toy data can fit, with the reason. Of 1.9 there is none.
NOT_FITTED: Mapping[str, str] = {}

_METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "score_samples",
    "transform",
    "mahalanobis",
    "apply",
    "kneighbors",
)
# What an estimator without such a method has found.
_FOUND = ("labels_", "embedding_", "rows_", "columns_")

# Kind of data, and parameters, of each estimator that the rule of `_kind` and the defaults do not suit.
_SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "AdditiveChi2Sampler": ("counts", {}),
    "CategoricalNB": ("counts", {"min_categories": 6}),
    "ClassifierChain": ("flags", {}),
    "ColumnTransformer": ("frame", {}),
    "ComplementNB": ("counts", {}),
    "CountVectorizer": ("texts", {}),
    "CCA": ("targets", {"n_components": 1}),
    "DictVectorizer": ("records", {}),
    "DictionaryLearning": ("nothing", {"n_components": 3, "max_iter": 5}),
    "FeatureHasher": ("records", {"n_features": 16}),
    "FixedThresholdClassifier": ("binary", {}),
    "GammaRegressor": ("amounts", {}),
    "GaussianRandomProjection": ("nothing", {"n_components": 2}),
    "GenericUnivariateSelect": ("classes", {"param": 50}),
    "HashingVectorizer": ("texts", {"n_features": 32}),
    "HistGradientBoostingClassifier": ("classes", {"max_iter": 4, "min_samples_leaf": 5}),
    "HistGradientBoostingRegressor": ("numbers", {"max_iter": 4, "min_samples_leaf": 5}),
    "IsotonicRegression": ("line", {"out_of_bounds": "clip"}),
    "IterativeImputer": ("holes", {"max_iter": 2}),
    "KBinsDiscretizer": ("nothing", {"quantile_method": "averaged_inverted_cdf"}),
    "KNNImputer": ("holes", {}),
    "KernelCenterer": ("kernel", {}),
    "LabelBinarizer": ("labels", {}),
    "LabelEncoder": ("labels", {}),
    "LabelPropagation": ("partly", {}),
    "LabelSpreading": ("partly", {}),
    "LatentDirichletAllocation": ("counts", {"max_iter": 2, "n_components": 3}),
    "LocalOutlierFactor": ("nothing", {"novelty": True}),
    "MDS": ("nothing", {"n_init": 1, "init": "random", "max_iter": 10}),
    "MLPClassifier": ("classes", {"max_iter": 5, "hidden_layer_sizes": (6,)}),
    "MLPRegressor": ("numbers", {"max_iter": 5, "hidden_layer_sizes": (6,)}),
    "MiniBatchDictionaryLearning": ("nothing", {"n_components": 3, "max_iter": 5}),
    "MiniBatchNMF": ("amounts", {"n_components": 2}),
    "MiniBatchSparsePCA": ("nothing", {"n_components": 2, "max_iter": 5}),
    "MissingIndicator": ("holes", {}),
    "MultiLabelBinarizer": ("sets", {}),
    "MultiOutputClassifier": ("flags", {}),
    "MultiOutputRegressor": ("targets", {}),
    "MultiTaskElasticNet": ("targets", {}),
    "MultiTaskElasticNetCV": ("targets", {"cv": 3, "alphas": 5}),
    "MultiTaskLasso": ("targets", {}),
    "MultiTaskLassoCV": ("targets", {"cv": 3, "alphas": 5}),
    "MultinomialNB": ("counts", {}),
    "NMF": ("amounts", {"n_components": 2}),
    "NeighborhoodComponentsAnalysis": ("classes", {"max_iter": 5}),
    "Nystroem": ("nothing", {"n_components": 10}),
    "OneHotEncoder": ("colours", {"handle_unknown": "ignore"}),
    "OrdinalEncoder": ("colours", {}),
    "PLSCanonical": ("targets", {"n_components": 1}),
    "PLSRegression": ("targets", {}),
    "PLSSVD": ("targets", {"n_components": 1}),
    "PatchExtractor": ("pictures", {"patch_size": (3, 3), "max_patches": 2}),
    "PoissonRegressor": ("amounts", {}),
    "QuantileTransformer": ("nothing", {"n_quantiles": 20}),
    "RadiusNeighborsClassifier": ("classes", {"radius": 50.0}),
    "RadiusNeighborsRegressor": ("numbers", {"radius": 50.0}),
    "RANSACRegressor": ("numbers", {"min_samples": 10}),
    "RegressorChain": ("targets", {}),
    "RFE": ("numbers", {}),
    "RFECV": ("numbers", {}),
    "SelectFromModel": ("numbers", {}),
    "SelfTrainingClassifier": ("partly", {}),
    "SequentialFeatureSelector": ("numbers", {}),
    "SimpleImputer": ("holes", {}),
    "SkewedChi2Sampler": ("counts", {}),
    "SparsePCA": ("nothing", {"n_components": 2, "max_iter": 5}),
    "SparseRandomProjection": ("nothing", {"n_components": 2}),
    "SpectralBiclustering": ("amounts", {"n_clusters": 2}),
    "SpectralCoclustering": ("amounts", {"n_clusters": 2}),
    "TSNE": ("nothing", {"perplexity": 5, "max_iter": 250}),
    "TargetEncoder": ("colours", {}),
    "TfidfTransformer": ("counts", {}),
    "TfidfVectorizer": ("texts", {}),
    "TheilSenRegressor": ("numbers", {"max_subpopulation": 50}),
    "TunedThresholdClassifierCV": ("binary", {"cv": 2}),
    "TweedieRegressor": ("amounts", {"power": 1.5}),
}
# How a case is made: the class, the kind of data, and parameters.
_Recipe = tuple[type, str, Mapping[str, Any]]
# Sizes that keep every fit short; set wherever an estimator has the parameter.
_SMALL: Mapping[str, Any] = {"random_state": 0, "n_estimators": 4, "cv": 3}


@dataclass(frozen=True, slots=True)
class Case:
    """One fitted estimator: treat it as read-only, it is shared by all tests of a process.

    `name` is the class, followed for a variant by what is special about it in
    parentheses; `methods` are those that `outputs` runs on `inputs`.
    """

    name: str
    estimator: Any
    inputs: Any
    methods: tuple[str, ...]

    @property
    def estimator_name(self) -> str:
        """Return the name of the class."""
        return self.name.partition(" (")[0]

    @property
    def is_variant(self) -> bool:
        """Tell whether this is a further case of an estimator that is listed already."""
        return "(" in self.name


@cache
def listed() -> Mapping[str, type]:
    """Return every estimator class that scikit-learn lists, with those it calls experimental."""
    from sklearn.experimental import (  # noqa: F401 (importing them is what adds the classes)
        enable_halving_search_cv,
        enable_iterative_imputer,
    )
    from sklearn.impute import IterativeImputer
    from sklearn.model_selection import HalvingGridSearchCV, HalvingRandomSearchCV
    from sklearn.utils import all_estimators

    found = dict(all_estimators())
    for extra in (HalvingGridSearchCV, HalvingRandomSearchCV, IterativeImputer):
        found[extra.__name__] = extra
    return dict(sorted(found.items()))


@cache
def _recipes() -> Mapping[str, _Recipe]:
    found: dict[str, _Recipe] = {}
    for name, kind in listed().items():
        if name not in NOT_FITTED:
            data_kind, given = _SETTINGS.get(name, (_kind(kind), {}))
            found[name] = (kind, data_kind, {**inner(name), **given})
    for name, label, data_kind, given in VARIANTS:
        found[f"{name} ({label})"] = (listed()[name], data_kind, {**inner(name), **given})
    return found


def names() -> tuple[str, ...]:
    """Name every case without fitting any: each listed estimator, in order of names, then the variants."""
    return tuple(_recipes())


@cache
def case(name: str) -> Case:
    """Fit the case of that name, or return what was fitted before.

    Raises:
        KeyError: there is none.
    """
    with _quiet():
        return _fitted(name, *_recipes()[name])


def cases() -> tuple[Case, ...]:
    """Fit them all, in the order of `names`."""
    return tuple(map(case, names()))


def outputs(estimator: Any, inputs: Any) -> dict[str, Any]:
    """Run what the estimator can do on `inputs`: method, or number of its result, → array."""
    results: dict[str, Any] = {}
    with _quiet():
        for method in methods_of(estimator):
            found = getattr(estimator, method)
            value = found(inputs) if callable(found) else found
            parts = value if isinstance(value, list | tuple) else [value]
            for index, part in enumerate(parts):
                dense = part.toarray() if hasattr(part, "toarray") else np.asarray(part)
                results[method if len(parts) == 1 else f"{method}[{index}]"] = dense
    return results


def fingerprint() -> str:
    """Digest all outputs of all cases: equal in two processes if and only if the corpus is."""
    digest = hashlib.sha256()
    for item in cases():
        results = outputs(item.estimator, item.inputs)
        digest.update(repr((item.name, [(name, part.tolist()) for name, part in results.items()])).encode())
    return digest.hexdigest()


def methods_of(estimator: Any) -> tuple[str, ...]:
    """Name what `outputs` runs: methods, or for want of any the attributes that hold the result."""
    has = tuple(method for method in _METHODS if hasattr(estimator, method))
    return has or tuple(name for name in _FOUND if hasattr(estimator, name))


def differences(expected: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Name each output that is not bit for bit the same."""
    return [
        name
        for name in sorted({*expected, *given})
        if name not in expected or name not in given or not _identical(expected[name], given[name])
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Use one thread, so that sums are added in one order; toy data do not converge, and that is fine."""
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        yield


def _identical(one: Any, other: Any) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype.hasobject:
        return bool(one.tolist() == other.tolist())
    return bool(one.tobytes() == other.tobytes())


def _fitted(name: str, kind: type, data_kind: str, given: Mapping[str, Any]) -> Case:
    """Fit one estimator.

    Raises:
        RuntimeError: it cannot be fitted so; list it in `_SETTINGS` or `NOT_FITTED`.
    """
    estimator: Any = kind(**given)
    possible = estimator.get_params(deep=False)
    estimator.set_params(
        **{key: value for key, value in _SMALL.items() if key in possible and key not in given}
    )
    source = data(data_kind)
    try:
        target = () if source.y is None else (source.y,)
        more = {} if source.groups is None else {"groups": source.groups}
        fitted = estimator.fit(source.X, *target, **more)
    except Exception as error:
        raise RuntimeError(f"{name} cannot be fitted on {data_kind}: {error}") from error
    return Case(name, fitted, source.inputs, methods_of(fitted))


def _kind(kind: type) -> str:
    """Choose data by what the class says of itself."""
    from sklearn.base import RegressorMixin

    return "numbers" if issubclass(kind, RegressorMixin) else "classes"
