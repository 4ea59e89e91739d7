"""The pickle gate on honest files: plain estimators pass, state that cannot be checked is refused."""

import io
import pickle
from typing import Any, Literal

import joblib
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.e2e.loader_parts import admitted, prices, trusted
from vault.core import pickle_trace
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import FormatRefused, PickleRefused
from vault.loaders import pickle_gate

TABLE, TARGET = prices()
CONTAINERS: tuple[Literal["joblib", "pickle"], ...] = ("joblib", "pickle")
MODELS = [
    LinearRegression(),
    Ridge(),
    make_pipeline(StandardScaler(), LinearRegression()),
    make_pipeline(StandardScaler(), LogisticRegression()),
]


def target(model: Any) -> Any:
    return (
        TARGET > 0
        if isinstance(model[-1] if hasattr(model, "steps") else model, LogisticRegression)
        else TARGET
    )


def both(name: str) -> dict[str, Any]:
    return {"formats": {name}, "pickle_globals": DEFAULT_PICKLE_GLOBALS}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_plain_estimators_pass_when_every_party_says_yes(
    model: Any, container: Literal["joblib", "pickle"]
) -> None:
    model.fit(TABLE, target(model))
    data, pins = pickle_gate.dump(model, container=container)
    path = {"joblib": "model.joblib", "pickle": "model.pkl"}[container]
    restored = pickle_gate.load(
        admitted(path, container, data, pins, **both(container)), DEFAULT_PICKLE_GLOBALS
    )
    np.testing.assert_array_equal(restored.predict(TABLE), model.predict(TABLE))
    assert repr(restored.get_params()) == repr(model.get_params())


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str
)
def test_every_protocol_and_container_gives_the_same_model(protocol: int, compress: Any) -> None:
    model = make_pipeline(StandardScaler(), Ridge()).fit(TABLE, TARGET)
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=compress, protocol=protocol)
    pins = pickle_trace.trace(buffer.getvalue(), joblib=True).pins
    restored = pickle_gate.restore(buffer.getvalue(), frozenset(pins), joblib=True)
    np.testing.assert_array_equal(restored.predict(TABLE), model.predict(TABLE))


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.eye(3)),
        np.array(["a", "bcd"]),
        np.array(["x", None, (1, 2)], dtype=object),
        np.array(["2024-01-01"], dtype="M8[D]"),
        np.zeros(2, dtype=[("a", "<i8"), ("b", "<f4")]),
        np.zeros((0, 2)),
        np.array(3),
        np.float32(1.5),
        np.arange(3, dtype=">i4"),
        {
            "set": {1, 2},
            "frozen": frozenset({1}),
            "complex": 1j,
            "slice": slice(1, 2),
            "bytes": bytearray(b"x"),
        },
    ],
    ids=lambda value: str(getattr(value, "dtype", "plain")),
)
def test_arrays_and_plain_values_are_those_of_cpython(value: Any, protocol: int) -> None:
    for data, is_joblib in ((pickle.dumps(value, protocol), False), (dumped(value, protocol), True)):
        pins = pickle_trace.trace(data, joblib=is_joblib).pins
        found = pickle_gate.restore(data, frozenset(pins), joblib=is_joblib)
        assert type(found) is type(value)
        if isinstance(value, dict):
            assert found == value
        else:
            np.testing.assert_array_equal(found, value)
            assert found.dtype == value.dtype
            assert found.flags.f_contiguous == value.flags.f_contiguous


def dumped(value: Any, protocol: int) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, protocol=protocol)
    return buffer.getvalue()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(2).fit(TABLE, TARGET > 0),
        HistGradientBoostingRegressor(max_iter=2).fit(TABLE, TARGET),
        KNeighborsClassifier(algorithm="kd_tree").fit(TABLE, TARGET > 0),
        np.random.RandomState(0),
        np.random.default_rng(0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_state_that_cannot_be_checked_is_refused(model: Any, container: Literal["joblib", "pickle"]) -> None:
    data, pins = pickle_gate.dump(model, container=container)
    with pytest.raises(PickleRefused) as caught:
        pickle_gate.restore(data, frozenset(pins), joblib=container == "joblib")
    assert caught.value.code == "pickle-refused"
    assert caught.value.hint


def test_a_sparse_matrix_passes_because_its_indices_are_checked() -> None:
    matrix = OneHotEncoder().fit_transform([["a"], ["b"], ["a"]])
    data, pins = pickle_gate.dump(matrix, container="pickle")
    found = pickle_gate.restore(data, frozenset(pins), joblib=False)
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())


def test_no_party_alone_can_say_yes() -> None:
    data, pins = pickle_gate.dump(Ridge().fit(TABLE, TARGET))
    with pytest.raises(FormatRefused) as caught:
        admitted("model.joblib", "joblib", data, pins, pickle_globals=DEFAULT_PICKLE_GLOBALS)
    assert caught.value.code == "format-refused"
    with pytest.raises(FormatRefused) as caught:
        admitted("model.joblib", "joblib", data, (), **both("joblib"))
    assert caught.value.code == "pins-mismatch"
    with pytest.raises(FormatRefused) as caught:
        admitted("model.joblib", "joblib", data, pins, formats={"joblib"})
    assert caught.value.code == "not-allowed"
    with pytest.raises(FormatRefused) as caught:
        pickle_gate.load(trusted("model.joblib", "joblib", data, pins), frozenset())
    assert caught.value.code == "not-allowed"
    with pytest.raises(TypeError, match="Admitted"):
        pickle_gate.load(data, DEFAULT_PICKLE_GLOBALS)  # type: ignore[arg-type]


def test_what_cannot_be_pickled_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="cannot be pickled"):
        pickle_gate.dump(lambda: None)
