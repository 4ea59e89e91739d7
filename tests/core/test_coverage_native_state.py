"""The last branches of the checks of compiled state: models that were not fitted, and rarer kinds."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.interpolate import BSpline
from sklearn.cluster import HDBSCAN, BisectingKMeans, KMeans
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.metrics._dist_metrics import (
    EuclideanDistance64,
    HaversineDistance64,
    MinkowskiDistance64,
    PyFuncDistance64,
)
from sklearn.neighbors import (
    BallTree,
    KDTree,
    KNeighborsClassifier,
    KNeighborsRegressor,
    NearestNeighbors,
)
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from vault.core import native_arrays, native_checks, native_state
from vault.errors import FormatRefused


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(),
        HistGradientBoostingClassifier(),
        SVC(),
        KMeans(),
        DictVectorizer(),
        OneHotEncoder(),
        DecisionTreeClassifier(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_model_that_was_not_fitted_has_nothing_to_check(model: Any) -> None:
    native_state.check(model)


ROWS = np.random.default_rng(0).normal(size=(60, 2))
SIGN = ROWS[:, 0] > 0
COLOURS = np.array([["red"], ["green"], ["blue"], ["red"]])


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=2).fit(ROWS, SIGN),
        GradientBoostingClassifier(n_estimators=2).fit(ROWS, SIGN + 2 * (ROWS[:, 1] > 0)),
        OneHotEncoder().fit(COLOURS),
        OneHotEncoder(drop="first").fit(COLOURS),
        OneHotEncoder(max_categories=2).fit(COLOURS),
        SVC().fit(ROWS, SIGN),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_fitted_model_passes(model: Any) -> None:
    native_state.check(model)


def test_a_sparse_matrix_of_a_kind_without_a_check_is_refused() -> None:
    for matrix in (sparse.csr_matrix(np.eye(3)), sparse.coo_matrix(np.eye(3)), sparse.dia_matrix(np.eye(3))):
        native_state.check(matrix)
    for matrix in (sparse.lil_matrix(np.eye(3)), sparse.dok_matrix(np.eye(3))):
        with pytest.raises(FormatRefused, match="cannot be checked"):
            native_state.check(matrix)


def test_a_generator_with_a_buffer_stands_inside_it() -> None:
    native_state.check(np.random.Generator(np.random.Philox(1)))
    # Newer releases of NumPy let nobody make a generator that stands behind its buffer.
    for position, holds in ((0, True), (4, True), (5, False), (-1, False)):
        beyond = SimpleNamespace(state={"bit_generator": "Philox", "buffer_pos": position})
        if holds:
            native_arrays.check_bit_generator(beyond)
            continue
        with pytest.raises(native_checks.Damaged, match="outside its state"):
            native_arrays.check_bit_generator(beyond)


TABLE = np.random.default_rng(1).normal(size=(40, 2))
LABELS = (TABLE[:, 0] > 0).astype(int)


def changed(model: Any, **attributes: Any) -> Any:
    vars(model).update(attributes)
    return model


def neighbours(**attributes: Any) -> Any:
    return changed(KNeighborsClassifier(algorithm="brute").fit(TABLE, LABELS), **attributes)


def clusters(**attributes: Any) -> Any:
    return changed(BisectingKMeans(3).fit(TABLE), **attributes)


def in_circles() -> Any:
    model = clusters()
    model._bisecting_tree.left.left = model._bisecting_tree
    return model


def spline(**attributes: Any) -> Any:
    return changed(BSpline(np.arange(8.0), np.ones(4), 3), **attributes)


def joined(side: str, value: int) -> Any:
    model = HDBSCAN(min_cluster_size=3, copy=True).fit(TABLE)
    model._single_linkage_tree_[side][0] = value
    return model


@pytest.mark.parametrize(
    "honest",
    [
        neighbours(),
        NearestNeighbors().fit(TABLE),
        NearestNeighbors(),
        KNeighborsClassifier().fit(TABLE, np.c_[LABELS, LABELS]),
        KNeighborsRegressor(metric="minkowski", p=3, metric_params={"w": np.ones(2)}).fit(TABLE, LABELS),
        clusters(),
        BisectingKMeans(),
        KMeans(2).fit(TABLE),
        spline(),
        HDBSCAN(min_cluster_size=3, copy=True).fit(TABLE),
        HDBSCAN(),
        EuclideanDistance64(),
        KDTree(TABLE, metric="minkowski", p=3),
        KDTree(TABLE, sample_weight=np.ones(40)),
        BallTree(TABLE, metric="haversine"),
        BallTree(TABLE, metric="mahalanobis", VI=np.eye(2)),
        BallTree(TABLE, metric="seuclidean", V=np.ones(2)),
        np.mean,
        np.log1p,
    ],
    ids=lambda model: type(model).__name__,
)
def test_honest_state_passes(honest: Any) -> None:
    native_state.check([honest])


@pytest.mark.parametrize(
    ("tampered", "why"),
    [
        (lambda: neighbours(_fit_X=TABLE[:, :1]), "other features"),
        (lambda: neighbours(_fit_X=TABLE[0]), "other features"),
        (lambda: neighbours(_y=LABELS[:3]), "no label"),
        (lambda: neighbours(_y=[0] * 40), "no label"),
        (lambda: neighbours(_y=LABELS + 5), "does not exist"),
        (lambda: neighbours(_y=LABELS - 1), "does not exist"),
        (lambda: neighbours(metric_params={"X_norm_squared": 1}), "norms"),
        (lambda: neighbours(effective_metric_params_={"Y_norm_squared": 1}), "norms"),
        (lambda: clusters(_n_threads=0), "threads"),
        (lambda: clusters(_n_threads=1.0), "threads"),
        (lambda: clusters(_n_threads=10**7), "threads"),
        (lambda: clusters(n_features_in_=3), "other features"),
        (in_circles, "circles"),
        (lambda: spline(k=-1), "degree"),
        (lambda: spline(k=65), "degree"),
        (lambda: spline(_c=[1.0]), "arrays"),
        (lambda: spline(_c=np.array(1.0)), "arrays"),
        (lambda: spline(_t=np.ones((2, 4))), "arrays"),
        (lambda: spline(_t=np.arange(8)), "numbers"),
        (lambda: spline(_c=np.ones(4, dtype="c16")), "numbers"),
        (lambda: spline(_c=np.ones(3)), "too few"),
        (lambda: spline(k=4), "too few"),
        (lambda: spline(_t=np.arange(8.0)[::-1]), "out of order"),
        (lambda: joined("left_node", 1 << 40), "does not exist"),
        (lambda: joined("right_node", -1), "does not exist"),
        (lambda: MinkowskiDistance64(3, w=np.ones(2)), "weights"),
        (lambda: PyFuncDistance64(max), "cannot be checked|weights"),
        (lambda: with_metric(BallTree(TABLE), HaversineDistance64(), TABLE.repeat(2, 1)), "other features"),
        (lambda: with_metric(KDTree(TABLE), MinkowskiDistance64(3, w=np.ones(3))), "other features"),
        (lambda: with_metric(KDTree(TABLE), PyFuncDistance64(max)), "cannot be checked"),
    ],
)
def test_altered_state_is_refused(tampered: Any, why: str) -> None:
    with pytest.raises(FormatRefused, match=why):
        native_state.check([tampered()])


def with_metric(tree: Any, metric: Any, points: Any = None) -> Any:
    state = list((type(tree)(points) if points is not None else tree).__getstate__())
    state[11] = metric
    tree.__setstate__(tuple(state))
    return tree


def test_a_tree_of_one_leaf_and_no_numbers_have_nothing_to_lead_outside() -> None:
    native_state.check(DecisionTreeClassifier(max_depth=1).fit(ROWS, np.zeros(len(ROWS))))
    assert native_checks.all_within(np.zeros(0, dtype=int), 5, 5)
    assert not native_checks.all_within(np.array([5]), 5, 5)
    assert native_checks.is_array(np.zeros(2).view(np.recarray))
    assert not native_checks.is_array([1])
