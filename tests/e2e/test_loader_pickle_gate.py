"""The pickle gate on honest files: plain estimators pass, state that cannot be checked is refused."""

import collections
import contextlib
import datetime
import functools
import io
import pickle
import re
import timeit
from typing import Any, Literal

import joblib
import numpy as np
import pytest
import scipy.stats
from scipy.sparse import lil_matrix
from sklearn.cluster import BisectingKMeans
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics._dist_metrics import EuclideanDistance64, MinkowskiDistance64, PyFuncDistance64
from sklearn.model_selection import RandomizedSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.utils import Bunch

from tests.e2e.loader_parts import admitted, prices, trusted
from vault.core import pickle_globals, pickle_trace
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS, STAND_INS
from vault.core.pins import ARRAY_WRAPPER
from vault.errors import FormatRefused
from vault.loaders import pickle_gate
from vault.loaders.pickle_gate import host

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
        RandomForestClassifier(2, random_state=np.random.RandomState(3)).fit(TABLE, TARGET > 0),
        HistGradientBoostingRegressor(max_iter=2, random_state=0).fit(TABLE, TARGET),
        GradientBoostingClassifier(n_estimators=2).fit(TABLE, np.digitize(TARGET, [-1, 1])),
        KNeighborsClassifier(algorithm="kd_tree").fit(TABLE, TARGET > 0),
        KNeighborsClassifier(algorithm="ball_tree", metric="mahalanobis", metric_params={"V": np.eye(6)}).fit(
            TABLE, TARGET > 0
        ),
        SGDClassifier().fit(TABLE, TARGET > 0),
        IsotonicRegression(out_of_bounds="clip").fit(TABLE[:, 0], TARGET),
        BisectingKMeans(3).fit(TABLE),
        SplineTransformer().fit(TABLE),
    ],
    ids=lambda model: type(model).__name__,
)
def test_compiled_state_passes_once_it_was_checked(
    model: Any, container: Literal["joblib", "pickle"]
) -> None:
    data, pins = pickle_gate.dump(model, container=container)
    rows = TABLE[:, 0] if isinstance(model, IsotonicRegression) else TABLE
    restored = pickle_gate.restore(data, frozenset(pins), joblib=container == "joblib")
    ask = "predict" if hasattr(model, "predict") else "transform"
    np.testing.assert_array_equal(getattr(restored, ask)(rows), getattr(model, ask)(rows))
    assert set(vars(restored)) == set(vars(joblib.load(io.BytesIO(data))))
    assert pickle_gate.dump(restored, container=container)[1] == pins


def generators() -> list[Any]:
    legacy = np.random.RandomState(np.random.Philox(3))
    legacy.standard_normal(3)
    seeded = np.random.Generator(np.random.SFC64(np.random.SeedSequence([1, 2], spawn_key=(3,), pool_size=8)))
    seeded.bit_generator.seed_seq.spawn(2)  # type: ignore[attr-defined]
    return [
        np.random.RandomState(0),
        legacy,
        seeded,
        *[np.random.Generator(kind(7)) for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.Philox)],
    ]


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("generator", generators(), ids=lambda found: repr(found).split(" ")[0])
def test_random_generators_go_on_where_they_stood(generator: Any, protocol: int) -> None:
    generator.random(5, dtype=np.float32) if hasattr(generator, "integers") else generator.normal(size=3)
    data = pickle.dumps(generator, protocol)
    found = pickle_gate.restore(data, pickle_trace.trace(data, joblib=False).globals, joblib=False)
    expected = pickle.loads(data)
    np.testing.assert_array_equal(found.normal(size=700), expected.normal(size=700))
    if hasattr(expected, "bit_generator"):
        ours, theirs = found.bit_generator.seed_seq, expected.bit_generator.seed_seq
        assert ours.state == theirs.state
        np.testing.assert_array_equal(ours.spawn(1)[0].pool, theirs.spawn(1)[0].pool)


@pytest.mark.parametrize(
    "value",
    [
        np.ma.MaskedArray([[1.5, 2.0], [3.0, 4.0]], mask=[[False, True], [False, False]], fill_value=9.0),
        np.ma.MaskedArray(["a", {"b": 1}], mask=[False, True], dtype=object, fill_value="?"),
        collections.OrderedDict([("b", 1), ("a", 2)]),
        collections.defaultdict(int, {"x": 3}),
        Bunch(data=[1, 2], target=None),
        datetime.datetime(2024, 2, 29, 23, 59, 58, 999_999, datetime.UTC),
        datetime.date(1, 1, 1),
        datetime.time(3, 4, 5, 6, datetime.timezone(datetime.timedelta(hours=2), "there")),
        datetime.timedelta(-1, 5, 7),
        [np.log1p, np.mean, np.float64],
        np.array(["2024-01-01T00:00"], dtype="M8[15m]")[0],
        {"bytes": [bytearray(b"x" * 300), frozenset([1, (2, "x")]), 1 << 70, "long" * 20_000]},
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_values_that_models_hold_are_those_of_cpython(value: Any, protocol: int) -> None:
    for data, is_joblib in ((pickle.dumps(value, protocol), False), (dumped(value, protocol), True)):
        pins = pickle_trace.trace(data, joblib=is_joblib).pins
        assert {*pins, "builtins.int"} <= DEFAULT_PICKLE_GLOBALS | {
            "builtins.int",
            "numpy.mean",
            "numpy.log1p",
        }
        found = pickle_gate.restore(data, frozenset(pins), joblib=is_joblib)
        assert type(found) is type(value)
        assert repr(found) == repr(value)
        if not is_joblib:
            assert pickle.dumps(found, protocol) == pickle.dumps(pickle.loads(data), protocol)


def test_a_metric_keeps_its_state() -> None:
    for made in (EuclideanDistance64(), MinkowskiDistance64(3, w=np.ones(2))):
        data = pickle.dumps(made)
        weighted = type(made) is MinkowskiDistance64
        with pytest.raises(FormatRefused, match="weights") if weighted else contextlib.nullcontext():
            found = pickle_gate.restore(data, DEFAULT_PICKLE_GLOBALS, joblib=False)
            assert repr(found.__getstate__()) == repr(made.__getstate__())


def test_a_fold_is_kept() -> None:
    when = datetime.datetime(2024, 10, 27, 2, 30, tzinfo=datetime.UTC, fold=1)
    for value in (when, when.time()):
        found = pickle_gate.restore(pickle.dumps(value, 4), DEFAULT_PICKLE_GLOBALS, joblib=False)
        assert found.fold == 1
        assert found == value


def test_recursive_and_shared_parts_of_a_model_keep_their_identity() -> None:
    model = Ridge().fit(TABLE, TARGET)
    loop: list[Any] = [model, model.coef_]
    loop.append((loop, {"again": loop}))
    vars(model)["holder"] = loop
    for protocol in (3, 4, 5):
        data = pickle.dumps(model, protocol)
        found = pickle_gate.restore(data, pickle_trace.trace(data, joblib=False).globals, joblib=False)
        assert found.holder[0] is found
        assert found.holder[1] is found.coef_
        assert found.holder[2][0] is found.holder[2][1]["again"] is found.holder


@pytest.mark.parametrize(
    "model",
    [
        RandomizedSearchCV(Ridge(), {"alpha": scipy.stats.uniform()}),
        FunctionTransformer(functools.partial(np.add, 1)),
        FunctionTransformer(np.add),
        KNeighborsClassifier(metric=PyFuncDistance64(max)),
        re.compile("a"),
        lil_matrix(np.eye(3)),
        np.zeros(2).view(np.recarray),
    ],
    ids=lambda model: repr(model)[:40],
)
def test_what_cannot_be_checked_is_refused_with_a_reason(model: Any) -> None:
    data = pickle.dumps(model, 5)
    with pytest.raises(FormatRefused) as caught:
        pickle_gate.restore(data, DEFAULT_PICKLE_GLOBALS, joblib=False)
    assert caught.value.code in ("pickle-refused", "format-content")
    assert caught.value.hint


def test_every_name_that_the_gate_builds_itself_has_a_builder_or_is_an_argument_of_one() -> None:
    arguments = {
        *pickle_globals.MASKED,
        *pickle_globals.METRIC_TYPES,
        *pickle_globals.SEARCH_TREES,
        *pickle_globals.BIT_GENERATORS,
        *pickle_globals.KEPT_FUNCTIONS,
        pickle_globals.NDARRAY,
        pickle_globals.SEEDS,
        pickle_globals.BUNCH,
        ARRAY_WRAPPER,
    }
    assert arguments | set(host.CALLS) | set(host.NAMED_CALLS) == STAND_INS
    assert not arguments & (set(host.CALLS) | set(host.NAMED_CALLS))


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
    assert admitted("model.joblib", "joblib", data, pins, formats={"joblib"}).pins == frozenset(pins)
    foreign, names = pickle_gate.dump(Ridge(alpha=timeit.default_timer))
    with pytest.raises(FormatRefused) as caught:
        admitted("model.joblib", "joblib", foreign, names, formats={"joblib"})
    assert caught.value.code == "not-allowed"
    with pytest.raises(FormatRefused) as caught:
        pickle_gate.load(trusted("model.joblib", "joblib", data, pins), frozenset())
    assert caught.value.code == "not-allowed"
    with pytest.raises(TypeError, match="Admitted"):
        pickle_gate.load(data, DEFAULT_PICKLE_GLOBALS)  # type: ignore[arg-type]


def test_what_cannot_be_pickled_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="cannot be pickled"):
        pickle_gate.dump(lambda: None)
