"""Real estimators through ONNX: exported, walked, run from bytes, with the interface of an estimator."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
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
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from tests.e2e.loader_parts import admitted, prices, trusted
from vault.core import onnx_walk
from vault.errors import FeatureMismatch, FormatRefused
from vault.loaders import onnx

TABLE, TARGET = prices()
LABEL = np.where(TARGET > 0, "up", "down")
FRAME = pd.DataFrame(
    {"price": TABLE[:, 0], "volume": TABLE[:, 1], "sector": np.where(TABLE[:, 2] > 0, "bank", "hydro")}
)


def loaded(model: Any, sample: Any) -> onnx.OnnxModel:
    data = onnx.export(model, sample)
    names = getattr(model, "feature_names_in_", None)
    return onnx.load(
        admitted("model.onnx", "onnx", data),
        classes=None if not hasattr(model, "classes_") else list(model.classes_),
        feature_names=None if names is None else list(names),
    )


CLASSIFIERS = [
    make_pipeline(StandardScaler(), LogisticRegression()),
    RandomForestClassifier(20, random_state=0),
    GradientBoostingClassifier(n_estimators=10),
    HistGradientBoostingClassifier(max_iter=10),
]
REGRESSORS = [
    GradientBoostingRegressor(n_estimators=10),
    HistGradientBoostingRegressor(max_iter=10),
    *[make_pipeline(StandardScaler(), Ridge(alpha=alpha)) for alpha in (0.1, 1.0, 10.0)],
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda model: type(model).__name__)
def test_classifiers_give_the_same_labels_and_probabilities(model: Any) -> None:
    rounded = TABLE.astype(np.float32)
    model.fit(rounded, LABEL)
    run = loaded(model, rounded)
    assert (run.predict(rounded) == model.predict(rounded)).mean() > 0.995
    np.testing.assert_allclose(run.predict_proba(rounded), model.predict_proba(rounded), atol=1e-5)
    assert run.classes_.tolist() == model.classes_.tolist()
    assert run.predict(rounded).dtype.kind == model.classes_.dtype.kind


@pytest.mark.parametrize("model", REGRESSORS, ids=lambda model: type(model).__name__)
def test_regressors_give_the_same_numbers(model: Any) -> None:
    rounded = TABLE.astype(np.float32)
    model.fit(rounded, TARGET)
    found = loaded(model, rounded).predict(rounded)
    assert found.shape == TARGET.shape
    np.testing.assert_allclose(found, model.predict(rounded), rtol=1e-3, atol=1e-4)


def test_an_outlier_detector_converts() -> None:
    rounded = TABLE.astype(np.float32)
    model = IsolationForest(n_estimators=10, random_state=0).fit(rounded)
    assert (loaded(model, rounded).predict(rounded) == model.predict(rounded)).mean() > 0.99


def mixed() -> Any:
    columns = ColumnTransformer(
        [("n", StandardScaler(), ["price", "volume"]), ("c", OneHotEncoder(), ["sector"])]
    )
    return make_pipeline(columns, LogisticRegression()).fit(FRAME, LABEL)


def test_a_mixed_table_has_one_input_per_column() -> None:
    model = mixed()
    run = loaded(model, FRAME)
    assert (run.predict(FRAME) == model.predict(FRAME)).mean() > 0.995
    assert [entry.name for entry in run.session.get_inputs()] == list(FRAME.columns)
    by_name = {name: FRAME[name].to_numpy() for name in FRAME}
    np.testing.assert_array_equal(run.predict(by_name), run.predict(FRAME))
    np.testing.assert_array_equal(run.predict(FRAME.to_numpy(dtype=object)), run.predict(FRAME))


def test_named_features_must_match_in_order() -> None:
    frame = pd.DataFrame(TABLE[:, :3], columns=["a", "b", "c"])
    run = loaded(Ridge().fit(frame, TARGET), frame)
    assert run.feature_names_in_.tolist() == ["a", "b", "c"]
    run.predict(frame)
    for wrong, told in (
        (frame[["c", "b", "a"]], "order"),
        (frame[["a", "b"]], "missing"),
        (frame.assign(d=1), "unknown"),
    ):
        with pytest.raises(FeatureMismatch, match=told) as caught:
            run.predict(wrong)
        assert isinstance(caught.value, ValueError)
    with pytest.raises(FeatureMismatch, match="3 features"):
        run.predict(TABLE)
    with pytest.raises(FeatureMismatch, match="3 features"):
        run.predict(TABLE[0])
    with pytest.raises(FeatureMismatch):
        loaded(mixed(), FRAME).predict(FRAME.to_numpy(dtype=object)[:, :2])


def test_numbers_are_narrowed_silently_only_where_nothing_is_lost() -> None:
    run = loaded(Ridge().fit(TABLE, TARGET), TABLE)
    run.predict(TABLE)
    run.predict(np.where(TABLE > 2, np.nan, np.where(TABLE < -2, np.inf, TABLE)))
    run.predict((TABLE * 100).astype(np.int64))
    run.predict(TABLE > 0)
    for value in (1e300, 1e-300, -1e39):
        wild = TABLE.copy()
        wild[3, 1] = value
        with pytest.raises(ValueError, match="row 3"):
            run.predict(wild)
    with pytest.raises(ValueError, match=r"numbers|convert"):
        run.predict(np.full(TABLE.shape, "x"))


def test_no_probabilities_where_there_are_none() -> None:
    run = loaded(Ridge().fit(TABLE, TARGET), TABLE)
    with pytest.raises(AttributeError, match="no probabilities"):
        run.predict_proba(TABLE)
    assert not hasattr(run, "classes_")
    assert "OnnxModel" in repr(run)
    assert len(run.run({"X": TABLE.astype(np.float32)})) == 1


@pytest.mark.parametrize(
    "model", [LinearSVC(), SVC(), Perceptron(), KMeans(2, n_init=1)], ids=lambda model: type(model).__name__
)
def test_scores_are_not_offered_as_probabilities(model: Any) -> None:
    model.fit(TABLE, TARGET > 0)
    run = loaded(model, TABLE)
    assert not hasattr(model, "predict_proba")
    assert not hasattr(run, "predict_proba")
    assert (run.predict(TABLE) == model.predict(TABLE)).mean() > 0.95


def test_booleans_come_back_as_booleans() -> None:
    run = loaded(LogisticRegression().fit(TABLE, TARGET > 0), TABLE)
    assert run.predict(TABLE).dtype == bool


def test_what_cannot_be_exported_is_a_clear_error() -> None:
    class Custom:
        def predict(self, table: Any) -> Any:
            return table

    with pytest.raises(ValueError, match="Custom cannot be exported"):
        onnx.export(Custom(), TABLE)
    with pytest.raises(ValueError, match="cannot be exported"):
        onnx.export(make_pipeline(FunctionTransformer(np.sin), Ridge()).fit(TABLE, TARGET), TABLE)


def test_text_needs_a_domain_that_the_operator_allows() -> None:
    words = np.array(["good quarter", "bad quarter", "good"] * 10)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(words, [1, 0, 1] * 10)
    with pytest.raises(ValueError, match=r"com\.microsoft"):
        onnx.export(model, words)
    data = onnx.export(model, words, domains=onnx_walk.STANDARD_DOMAINS | {"com.microsoft"})
    with pytest.raises(FormatRefused) as caught:
        admitted("model.onnx", "onnx", data)
    assert caught.value.code == "format-content"
    allowed = admitted("model.onnx", "onnx", data, ("com.microsoft",), onnx_domains={"com.microsoft"})
    run = onnx.load(allowed, classes=[0, 1], feature_names=None)
    assert (run.predict(words.reshape(-1, 1)) == model.predict(words)).all()


def test_a_model_that_the_runtime_cannot_run_is_refused() -> None:
    import onnx.helper as make

    value = make.make_tensor_value_info("x", 1, [None])
    graph = make.make_graph([make.make_node("NoSuchOperator", ["x"], ["y"])], "g", [value], [value])
    data = make.make_model(graph, ir_version=8, opset_imports=[make.make_opsetid("", 17)]).SerializeToString()
    with pytest.raises(FormatRefused) as caught:
        onnx.load(trusted("model.onnx", "onnx", data), classes=None, feature_names=None)
    assert caught.value.code == "format-content"
    with pytest.raises(TypeError, match="Admitted"):
        onnx.load(data, classes=None, feature_names=None)


def test_serving_needs_neither_scikit_learn_nor_onnx_nor_skl2onnx(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.export(Ridge().fit(TABLE, TARGET), TABLE))
    program = (
        "import sys, pathlib, numpy\n"
        "for name in ('sklearn', 'skl2onnx', 'onnx', 'joblib', 'pandas', 'skops'):\n"
        "    sys.modules[name] = None\n"
        "from vault.loaders import onnx\n"
        f"model = onnx.restore(pathlib.Path({str(path)!r}).read_bytes())\n"
        "print(model.predict(numpy.zeros((2, 6))).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2,)"
