"""An attribute that NumPy takes for the address of an array: refused before anything reads it.

`__array_interface__` of an instance, or of a dict with attributes, is a number
from the file that NumPy follows. `IsotonicRegression` asks for it while it is
restored; other models do when they predict. Each is loaded in a child.
"""

import pickle
import struct
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import Bunch

from tests.attacks.deserialization_cell import Cell, assert_refused

CODES = ("format-content", "pickle-refused")
ADDRESS = {"version": 3, "shape": (3,), "typestr": "<f8", "data": (0x10, False)}
SPECIAL = ("__array_interface__", "__array_struct__", "__array__", "__cuda_array_interface__", "__dlpack__")


def scaler(name: str) -> Any:
    found = StandardScaler()
    vars(found)[name] = ADDRESS
    return found


def bunch(name: str) -> Any:
    return Bunch(**{name: ADDRESS})


def regression(part: Any) -> Any:
    model = LinearRegression().fit(np.eye(3), [1, 2, 3.0])
    model.intercept_ = part
    return model


def isotonic(part: Any) -> Any:
    model = IsotonicRegression().fit([1, 2, 3.0], [1, 2, 3.0])
    del model.f_  # a function of SciPy, which is built anew
    model.X_thresholds_ = part
    return model


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("part", [scaler, bunch], ids=["instance", "bunch"])
@pytest.mark.parametrize("model", [regression, isotonic])
def test_a_special_attribute_is_refused(name: str, part: Any, model: Any, cell: Cell) -> None:
    for path, data in (
        ("m.skops", skops.io.dumps(model(part(name)))),
        ("m.pkl", pickle.dumps(model(part(name)), 5)),
    ):
        told = cell.attack(path, data)
        assert_refused(told, *CODES)
        assert "name is special" in told.message


@pytest.mark.parametrize(
    "model", [regression(StandardScaler()), regression(Bunch(data=1)), isotonic(np.arange(3.0))]
)
def test_the_same_without_a_special_attribute_is_loaded(model: Any, cell: Cell) -> None:
    assert cell.attack("m.skops", skops.io.dumps(model)).loaded == "passed"
    assert cell.attack("m.pkl", pickle.dumps(model, 5)).loaded == "passed"


@pytest.mark.parametrize("name", ["_kmeans_single_elkan", "_kmeans_single_lloyd"])
def test_a_compiled_loop_is_no_function_to_transform_with(name: str, cell: Cell) -> None:
    from sklearn.cluster import _kmeans

    transformer = FunctionTransformer(vars(_kmeans)[name], kw_args={"n_threads": 1})
    told = cell.attack("m.skops", skops.io.dumps(transformer))
    assert_refused(told, *CODES)
    assert "elsewhere than scikit-learn does" in told.message


@pytest.mark.parametrize("columns", [0, -7, 2**31, 1.5, "16", None])
@pytest.mark.parametrize("kind", [FeatureHasher, HashingVectorizer])
def test_words_are_hashed_to_a_number_of_columns(kind: Any, columns: Any, cell: Cell) -> None:
    model = kind(n_features=16)
    model.n_features = np.int64(16)
    assert cell.attack("m.skops", skops.io.dumps(model)).loaded == "passed"
    model.n_features = columns
    assert_refused(cell.attack("m.skops", skops.io.dumps(model)), *CODES)
    assert_refused(cell.attack("m.pkl", pickle.dumps(model, 5)), *CODES)


def global_(module: str, name: str) -> bytes:
    return b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"


MAKE_DTYPE = global_("numpy", "dtype") + b"\x8c\x02f8\x89\x88\x87R"
MANY: dict[str, tuple[bytes, bytes]] = {
    "globals": (b"", global_("numpy", "dtype") + b"0"),
    "calls": (global_("numpy", "dtype") + b"\x940\x8c\x02f8\x89\x88\x87\x940", b"h\x00h\x01R0"),
    "copies": (
        MAKE_DTYPE + b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x940"
        b"B" + struct.pack("<I", 1 << 24) + bytes(1 << 24) + b"\x940J" + struct.pack("<i", 1 << 21)
        + b"\x85\x940" + global_("numpy._core.numeric", "_frombuffer")
        + b"\x940(h\x01h\x00h\x02\x8c\x01Ct\x940](",
        b"h\x03h\x04R",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MANY)
def test_a_small_pickle_that_makes_much_work_is_refused_in_time(what: str, cell: Cell) -> None:
    head, body = MANY[what]
    told = cell.attack("m.pkl", b"\x80\x04" + head + body * 600_000 + b"N.")
    assert_refused(told, *CODES)
    assert "too many" in told.message or "again and again" in told.message
