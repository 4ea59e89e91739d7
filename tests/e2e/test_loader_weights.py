"""Plain weights: safetensors, npz and npy as models, read by our own code, compared with the library."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from tests.builders import Built, solo
from tests.core.boosting_files import changed
from tests.e2e.loader_parts import admitted, trusted
from vault.actions import loading, packing, saving
from vault.core import names, strict_json
from vault.errors import FormatRefused, Malformed, MissingLibrary
from vault.loaders import arrays, weights
from vault.policyfile import shipped

POLICY = shipped("solo").replace("onnx, ", "")
TYPES = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c8"]
WEIGHTS = {
    "bias": np.arange(5, dtype=np.float32),
    "layers/0/kernel": np.arange(12, dtype=np.float64).reshape(3, 4),
    "scale": np.array(2.5, dtype=np.float16),
    "empty": np.zeros((0, 7), dtype=np.int16),
}


@cache
def vaults() -> Built:
    return solo(seed="weights", policy=POLICY)


def saved(
    model: Any, format: str = "auto", artifacts: Mapping[str, Any] | None = None
) -> loading.LoadedPackage:
    built = vaults().fork()
    described = saving.Description(artifacts=artifacts)
    ref = saving.save(
        built.session(), names.model("m"), model, None, described, format=format, also=None, tolerance=0.0
    )
    return loading.load_package(built.session(), ref, {})


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype.newbyteorder("="), found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


def test_a_dict_of_arrays_is_saved_as_safetensors() -> None:
    package = saved(WEIGHTS)
    assert package.files["model.safetensors"]["format"] == "safetensors"
    same(package.model, WEIGHTS)


@pytest.mark.parametrize("format", ["npz", "npy"])
def test_arrays_may_be_saved_as_npz_and_npy(format: str) -> None:
    model = WEIGHTS if format == "npz" else WEIGHTS["layers/0/kernel"]
    package = saved(model, format)
    assert list(package.files) == [f"model.{format}"]
    found = package.model
    same(found if format == "npz" else {"": found}, model if isinstance(model, dict) else {"": model})
    first = found["bias"] if format == "npz" else found
    first += 1  # a copy, which can be changed


def test_one_array_is_npy_and_text_is_npz_by_themselves() -> None:
    assert list(saved(np.eye(3)).files) == ["model.npy"]
    named = {"labels": np.array(["up", "down"]), "w": np.eye(2)}
    package = saved(named)
    assert list(package.files) == ["model.npz"]
    assert package.model["labels"].tolist() == ["up", "down"]


def test_weights_travel_as_artifacts_too() -> None:
    package = saved(np.eye(3), artifacts={"embedding": WEIGHTS, "mean": np.arange(3.0)})
    same(package.artifacts["embedding"], WEIGHTS)
    np.testing.assert_array_equal(package.artifacts["mean"], np.arange(3.0))
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        saved(np.eye(3), artifacts={"labels": {"x": np.array(["up"])}})


@pytest.mark.parametrize("kind", TYPES)
def test_our_file_and_the_librarys_mean_the_same(kind: str) -> None:
    given = {"x": np.array([[0, 1, 1], [1, 0, 1]]).astype(kind), "a": np.array([1]).astype(kind)}
    data = weights.dump(given)
    same(weights.restore(data, subject="m"), given)
    if kind != "c8":  # the library's NumPy half has no complex numbers
        same(safetensors.numpy.load(data), given)
        same(weights.restore(safetensors.numpy.save(given, {"format": "np"}), subject="m"), given)


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_types_that_numpy_lacks_come_from_ml_dtypes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"x": np.array([1.5, -2, 0.25]).astype(getattr(ml_dtypes, kind))}
    data = weights.dump(given)
    same(weights.restore(data, subject="m"), given)
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(MissingLibrary, match="NumPy alone cannot hold") as caught:
        weights.restore(data, subject="m")
    assert "ml_dtypes" in caught.value.hint


def test_other_byte_orders_and_layouts_are_written_as_values() -> None:
    given = {"x": np.arange(6, dtype=">i4").reshape(2, 3), "y": np.asfortranarray(np.eye(3)[:, ::-1])}
    same(weights.restore(weights.dump(given), subject="m"), {**given, "x": given["x"].astype("i4")})


def test_loaded_arrays_lie_over_the_verified_bytes_and_are_read_only() -> None:
    data = weights.dump(WEIGHTS)
    found = weights.load(admitted("model.safetensors", "safetensors", data))
    whole = np.frombuffer(data, np.uint8)
    for name, array in found.items():
        assert not array.flags.writeable
        assert array.flags.aligned
        assert array.size == 0 or np.shares_memory(array, whole), name
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    found = strict_json.parse(data[8 : 8 + length].rstrip(b" "), limit=1 << 20, canonical=False)
    assert isinstance(found, dict)
    return found


def rewritten(data: bytes, changes: Mapping[str, Any], pad: int = 0) -> bytes:
    length = int.from_bytes(data[:8], "little")
    text = strict_json.encode(changed(changes, header(data))) + b" " * pad
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_arrays_at_odd_addresses_are_copied() -> None:
    data = weights.dump({"w": np.arange(4.0)})
    sizes = {len(rewritten(data, {}, pad)) % 8 for pad in range(8)}
    assert len(sizes) == 8
    for pad in range(8):
        found = weights.restore(rewritten(data, {}, pad), subject="m")["w"]
        assert found.flags.aligned
        assert not found.flags.writeable
        np.testing.assert_array_equal(found, np.arange(4.0))


@pytest.mark.parametrize(
    "changes",
    [
        {"w/data_offsets": [0, 16]},
        {"w/data_offsets": [8, 40]},
        {"w/data_offsets": [0, 1 << 40]},
        {"w/shape": [5]},
        {"w/shape": [1 << 50, 1 << 50]},
        {"w/dtype": "F128"},
        {"w/dtype": "object"},
        {"v": {"dtype": "F64", "shape": [4], "data_offsets": [0, 32]}},
    ],
)
def test_a_changed_header_is_refused(changes: dict[str, Any]) -> None:
    data = rewritten(weights.dump({"w": np.arange(4.0)}), changes)
    with pytest.raises(FormatRefused) as caught:
        admitted("model.safetensors", "safetensors", data)
    assert caught.value.code == "format-content"
    with pytest.raises(FormatRefused):
        weights.load(trusted("model.safetensors", "safetensors", data))


def test_truth_values_are_true_or_false() -> None:
    data = weights.dump({"w": np.array([True, False])})
    with pytest.raises(FormatRefused, match="neither true nor false"):
        weights.restore(data[:-1] + b"\x02", subject="m")


def test_a_name_that_stands_twice_is_refused() -> None:
    tensor = b'"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
    text = b"{" + tensor + b"," + tensor + b"}"
    with pytest.raises(Malformed):
        weights.restore(len(text).to_bytes(8, "little") + text + b"x", subject="m")


def test_what_a_format_cannot_hold_is_no_model() -> None:
    for kind, model in (
        ("safetensors", {"w": np.array(["text"])}),
        ("safetensors", {"__metadata__": np.eye(2)}),
        ("safetensors", [np.eye(2)]),
        ("safetensors", {}),
        ("npz", {"w": np.array([{}], dtype=object)}),
        ("npz", {"file": np.eye(2)}),
        ("npz", np.eye(2)),
        ("npy", {"w": np.eye(2)}),
        ("npy", np.array([{}], dtype=object)),
        ("zip", {"w": np.eye(2)}),
    ):
        with pytest.raises(ValueError, match=r"hold|is no |format is|Object arrays"):
            saved(model, kind)
    with pytest.raises(ValueError, match="not loaded"):
        weights.dump({"w": np.zeros((1,) * 33)})


def test_loaders_take_admitted_files_only() -> None:
    for load in (weights.load, arrays.load_arrays, arrays.load_array):
        with pytest.raises(TypeError, match="Admitted"):
            load(b"")  # type: ignore[arg-type]


def test_pushed_arrays_are_the_model_where_they_are_alone_or_called_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", w=np.eye(3))
    np.save(tmp_path / "model.npy", np.eye(2))
    np.save(tmp_path / "table.npy", np.eye(4))
    built = vaults().fork()

    def push(*files: str) -> loading.LoadedPackage:
        paths = [tmp_path / file for file in files]
        ref = packing.push(
            built.session(), names.model("m"), paths, None, packing.Labels(), sample=None, public=False
        )
        return loading.load_package(built.session(), ref, {})

    same(push("weights.npz").model, {"w": np.eye(3)})
    package = push("model.npy", "table.npy")
    np.testing.assert_array_equal(package.model, np.eye(2))
    assert package.files["table.npy"]["role"] == "file"
