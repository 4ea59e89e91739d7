"""The last branches of the checks of compiled state: models that were not fitted, and rarer kinds."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from vault.core import native_state
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
            native_state._bit_generator(beyond)
            continue
        with pytest.raises(native_state._Damaged, match="outside its state"):
            native_state._bit_generator(beyond)
