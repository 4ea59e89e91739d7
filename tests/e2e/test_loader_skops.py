"""Real estimators through skops files: written, pinned, walked, restored, equal predictions."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import RandomizedSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR

from tests.e2e.loader_parts import admitted, prices, trusted
from vault.core.skops_types import DEFAULT_SKOPS_TYPES
from vault.errors import FormatRefused, MissingLibrary
from vault.loaders import skops

TABLE, TARGET = prices()
LABEL = np.digitize(TARGET, [-1, 1])
FRAME = pd.DataFrame(
    {"price": TABLE[:, 0], "volume": TABLE[:, 1], "sector": np.where(TABLE[:, 2] > 0, "bank", "hydro")}
)
MIXED = ColumnTransformer([("n", StandardScaler(), ["price", "volume"]), ("c", OneHotEncoder(), ["sector"])])
WORDS = ["good quarter", "bad quarter", "good"] * 5

CASES: list[tuple[Any, Any, Any]] = [
    (make_pipeline(StandardScaler(), LogisticRegression()), TABLE, LABEL),
    (make_pipeline(MIXED, RandomForestClassifier(10, random_state=0)), FRAME, LABEL),
    (RandomForestClassifier(20, random_state=0), TABLE, LABEL),
    (GradientBoostingClassifier(n_estimators=10), TABLE, LABEL),
    (GradientBoostingRegressor(n_estimators=10), TABLE, TARGET),
    (HistGradientBoostingClassifier(max_iter=10), TABLE, LABEL),
    (HistGradientBoostingClassifier(max_iter=5), FRAME.astype({"sector": "category"}), LABEL),
    (HistGradientBoostingRegressor(max_iter=10), TABLE, TARGET),
    (IsolationForest(n_estimators=10, random_state=0), TABLE, None),
    (KNeighborsClassifier(), TABLE, LABEL),
    (KNeighborsClassifier(algorithm="ball_tree", metric="manhattan"), TABLE, LABEL),
    (SVC(), TABLE, LABEL),
    (SVC(kernel="precomputed"), TABLE @ TABLE.T, LABEL),
    (SVR(), TABLE, TARGET),
    (SGDClassifier(random_state=0), TABLE, LABEL),
    (make_pipeline(TfidfVectorizer(), LogisticRegression()), WORDS, [1, 0, 1] * 5),
    *[(make_pipeline(StandardScaler(), Ridge(alpha=alpha)), TABLE, TARGET) for alpha in (0.1, 1.0, 10.0)],
]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: type(getattr(case[0], "_final_estimator", case[0])).__name__
)
def test_predictions_are_equal_after_a_round_trip(case: tuple[Any, Any, Any]) -> None:
    model, table, target = case
    model.fit(table, target)
    data, pins = skops.dump(model)
    restored = skops.load(admitted("model.skops", "skops", data, pins), DEFAULT_SKOPS_TYPES)
    assert type(restored) is type(model)
    np.testing.assert_array_equal(restored.predict(table), model.predict(table))
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(restored.predict_proba(table), model.predict_proba(table))


def test_pins_of_a_type_outside_the_allowance_are_refused() -> None:
    search = RandomizedSearchCV(LogisticRegression(), {"C": loguniform(0.1, 1)})
    data, pins = skops.dump(search)
    with pytest.raises(FormatRefused) as caught:
        skops.load(trusted("model.skops", "skops", data, pins), DEFAULT_SKOPS_TYPES)
    assert caught.value.code == "not-allowed"
    assert "scipy.stats" in caught.value.message


def test_the_files_own_list_is_never_what_is_trusted() -> None:
    data, pins = skops.dump(RandomForestClassifier(2).fit(TABLE, LABEL))
    with pytest.raises(FormatRefused) as caught:
        skops.load(trusted("model.skops", "skops", data, pins), frozenset())
    assert caught.value.code == "not-allowed"
    # Pins that leave out what the file holds: skops itself is told to trust no more than the pins.
    with pytest.raises(FormatRefused) as caught:
        skops.load(trusted("model.skops", "skops", data, ()), DEFAULT_SKOPS_TYPES)
    assert caught.value.code == "format-content"


def test_a_function_needs_the_operators_allowance() -> None:
    data, pins = skops.dump(FunctionTransformer(func=np.rint).fit(np.abs(TABLE)))
    (name,) = [pin for pin in pins if pin.endswith("rint")]
    with pytest.raises(FormatRefused):
        skops.load(trusted("model.skops", "skops", data, pins), DEFAULT_SKOPS_TYPES)
    restored = skops.load(trusted("model.skops", "skops", data, pins), DEFAULT_SKOPS_TYPES | {name})
    assert restored.func is np.rint


def test_what_skops_cannot_write_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="FunctionTransformer"):
        skops.dump(FunctionTransformer(func=lambda table: table))


def test_a_loader_takes_nothing_but_an_admitted_value() -> None:
    data, _ = skops.dump(Ridge().fit(TABLE, TARGET))
    for other in (data, memoryview(data), None):
        with pytest.raises(TypeError, match="Admitted"):
            skops.load(other, DEFAULT_SKOPS_TYPES)  # type: ignore[arg-type]


def test_damage_behind_the_schema_is_refused_by_code() -> None:
    data, pins = skops.dump(Ridge().fit(TABLE, TARGET))
    at = data.index(b"\x93NUMPY") + 130
    damaged = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    with pytest.raises(FormatRefused) as caught:
        skops.load(trusted("model.skops", "skops", damaged, pins), DEFAULT_SKOPS_TYPES)
    assert caught.value.code == "format-content"


def test_a_missing_library_is_named() -> None:
    data, _ = skops.dump(Ridge().fit(TABLE, TARGET))
    other = data.replace(b"sklearn.linear_model._ridge", b"sklearn.linear_model._rigde")
    with pytest.raises((FormatRefused, MissingLibrary)):
        skops.restore(memoryview(other), {"sklearn.linear_model._rigde.Ridge"}, subject="m")
