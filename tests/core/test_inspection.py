"""Inspection: says what a file would do, never raises for its content, never loads it."""

import gzip
import io
import json
import pickle
import zipfile
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from tests.core import boosting_files, tensorflow_parts
from tests.core.test_formats import CONTENTS
from vault.core import inspection
from vault.errors import CODES


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("id",)


class Homemade:
    """A class of no known library."""


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


MODEL = LinearRegression().fit(np.eye(3), [1, 2, 3])


@pytest.mark.parametrize("name", ["onnx", "npz", "npy", "json", "safetensors", "text", "data"])
def test_data_is_data(name: str) -> None:
    ending = {"text": ".txt", "data": ".bin"}.get(name, "." + name)
    found = inspection.inspect_bytes("file" + ending, CONTENTS[name])
    assert (found.format, found.verdict, found.reasons, found.code) == (name, "data", (), "")


def test_a_model_of_default_types_is_data_and_of_others_needs_pins() -> None:
    found = inspection.inspect_bytes("m.skops", skops.io.dumps(MODEL))
    assert found.verdict == "data"
    assert "sklearn.linear_model._base.LinearRegression" in found.types
    assert found.versions["skops"]
    found = inspection.inspect_bytes("m.skops", skops.io.dumps(Homemade()))
    assert found.verdict == "needs-pins"
    assert any("Homemade" in reason for reason in found.reasons)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pickle_of_known_libraries_needs_pins(protocol: int) -> None:
    found = inspection.inspect_bytes("m.pkl", pickle.dumps(MODEL, protocol))
    assert found.verdict == "needs-pins"
    assert "sklearn.linear_model._base.LinearRegression" in found.globals
    assert found.versions["protocol"] == str(protocol)
    buffer = io.BytesIO()
    joblib.dump(MODEL, buffer, compress=3)
    found = inspection.inspect_bytes("m.joblib", buffer.getvalue())
    assert (found.format, found.verdict) == ("joblib", "needs-pins")


@pytest.mark.parametrize("protocol", range(6))
def test_a_dangerous_pickle_is_refused_and_its_globals_are_told(protocol: int) -> None:
    for name in ("m.pkl", "m.joblib", "m.bin", "m.onnx", "m"):
        found = inspection.inspect_bytes(name, pickle.dumps(Evil(), protocol))
        assert found.verdict == "refused"
        assert found.code in CODES
        assert "posix.system" in found.globals
        assert any("posix.system" in danger for danger in found.dangers)


def test_a_pickle_of_unknown_code_is_refused() -> None:
    found = inspection.inspect_bytes("m.pkl", pickle.dumps(Homemade(), 4))
    assert found.verdict == "refused"
    assert any("no known library" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.h5", CONTENTS["hdf5"]),
        ("m.keras", CONTENTS["keras"]),
        ("saved_model.pb", CONTENTS["savedmodel"]),
        ("m.pt", zipped(data__pkl=pickle.dumps(Evil()))),
        ("m.pkl", pickle.dumps(MODEL) + b"trailing"),
        ("m.pkl", gzip.compress(gzip.compress(pickle.dumps(MODEL)))),
        ("m.skops", skops.io.dumps(MODEL)[:-1]),
        ("m.npz", CONTENTS["skops"]),
        ("m.json", b'{"a": 1, "a": 2}'),
        ("m.json", b'{"a": NaN}'),
        ("m.safetensors", CONTENTS["safetensors"] + b"x"),
        ("m.onnx", CONTENTS["npz"]),
        ("a.zip", zipped(x__pkl=pickle.dumps(Evil()))),
        ("a.zip", zipped(b__zip=zipped(c__zip=zipped(d__zip=zipped(e__zip=zipped(z__txt=b"x")))))),
    ],
)
def test_what_is_never_loaded_is_refused_with_a_reason(name: str, content: bytes) -> None:
    found = inspection.inspect_bytes(name, content)
    assert found.verdict == "refused"
    assert found.reasons
    assert found.code in CODES


def test_members_of_an_archive_are_inspected() -> None:
    found = inspection.inspect_bytes("a.zip", zipped(a__csv=b"x,y\n", b__json=b"[1]"))
    assert found.verdict == "data"
    found = inspection.inspect_bytes("a.zip", zipped(m__pkl=pickle.dumps(MODEL)))
    assert found.verdict == "needs-pins"
    assert "sklearn.linear_model._base.LinearRegression" in found.globals


def test_boosters_whose_trees_hold_are_data() -> None:
    for name, content, library in (
        ("m.lgb", boosting_files.lightgbm(), "lightgbm"),
        ("m.ubj", boosting_files.xgboost(), "xgboost"),
    ):
        found = inspection.inspect_bytes(name, content)
        assert (found.format, found.verdict) == (library, "data")
        assert found.versions[library]
        assert inspection.inspect_bytes(name, content[:-9]).verdict == "refused"


def test_graphs_that_only_compute_need_pins() -> None:
    found = inspection.inspect_bytes("saved_model.pb", tensorflow_parts.graph())
    assert (found.format, found.verdict) == ("savedmodel", "needs-pins")
    assert "MatMul" in found.types
    assert any("checkpoint" in danger for danger in found.dangers)
    found = inspection.inspect_bytes("m.keras", tensorflow_parts.archive())
    assert (found.format, found.verdict) == ("keras", "needs-pins")
    assert found.types
    assert found.versions["keras"]


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {
            "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
        {"a": {"dtype": "OBJ", "shape": [1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}},
        {"a": {"dtype": "F32", "shape": [1]}},
        {"a": 1},
        [],
    ],
)
def test_safetensors_with_holes_overlaps_or_lies_are_refused(tensors: Any) -> None:
    head = json.dumps(tensors).encode()
    content = len(head).to_bytes(8, "little") + head + bytes(8)
    assert inspection.inspect_bytes("m.safetensors", content).verdict == "refused"


def test_headers_of_too_many_items_are_refused_before_they_are_parsed() -> None:
    head = b'{"a": [' + b"1," * 200_001 + b"1]}"
    found = inspection.inspect_bytes("m.safetensors", len(head).to_bytes(8, "little") + head)
    assert (found.verdict, found.code) == ("refused", "too-large")
    for members in ({"config__json": head, "metadata__json": b"{}"}, {"metadata__json": b"{}"}):
        found = inspection.inspect_bytes("m.keras", zipped(**members, model__weights__h5=b"x"))
        assert found.verdict == "refused"


def test_safetensors_that_name_a_tensor_twice_are_refused() -> None:
    one = '"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    head = ("{" + one + ", " + one + "}").encode()
    content = len(head).to_bytes(8, "little") + head + bytes(4)
    found = inspection.inspect_bytes("m.safetensors", content)
    assert (found.verdict, found.code) == ("refused", "malformed-json")


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=300),
    st.sampled_from(sorted(CONTENTS)),
    st.sampled_from(["m.pkl", "m.skops", "m.onnx", "m"]),
)
def test_inspection_never_raises(junk: bytes, name: str, path: str) -> None:
    for data in (junk, CONTENTS[name][: len(junk)] + junk, CONTENTS[name][:-1] + junk):
        found = inspection.inspect_bytes(path, data)
        assert (found.verdict == "refused") == bool(found.code)
