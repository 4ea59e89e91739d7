"""The walks agree with TensorFlow's and h5py's own readers, and the lists with the installed libraries."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.core import tensorflow_parts as parts
from tests.tensorflow import derive_names
from vault.core import hdf5_walk, keras_names, keras_walk, savedmodel_ops, savedmodel_walk
from vault.loaders import keras as keras_loader
from vault.loaders import onnx, parity
from vault.loaders import tensorflow as tensorflow_loader

pytestmark = pytest.mark.tensorflow


def test_the_lists_hold_nothing_that_the_derivation_leaves_out() -> None:
    """A newer release may have more; what is there must still be in a family that is let through."""
    assert savedmodel_ops.OPERATORS - derive_names.operators() == set()
    assert keras_names.CLASSES - derive_names.classes() == set()
    assert keras_names.FUNCTIONS - derive_names.functions() == set()


def operators(data: bytes) -> set[str]:
    from tensorflow.core.protobuf import saved_model_pb2

    parsed = saved_model_pb2.SavedModel.FromString(data)
    graph = parsed.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return {node.op for node in nodes}


def various() -> dict[str, Any]:
    """Build models of other kinds than the fixtures: convolutional, recurrent, normalizing."""
    from keras import Input, Sequential, layers

    image = [
        Input((8, 8, 1)), layers.Conv2D(3, 3), layers.BatchNormalization(), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(2, activation="softmax"),
    ]  # fmt: skip
    series = [Input((6, 2)), layers.Bidirectional(layers.LSTM(3)), layers.Dense(1, activation="tanh")]
    normal = layers.Normalization()
    normal.adapt(np.random.default_rng(0).normal(size=(50, 3)))
    table = [Input((3,)), normal, layers.Dense(2, dtype="float16"), layers.LeakyReLU()]
    return {"image": Sequential(image), "series": Sequential(series), "table": Sequential(table)}


def test_models_of_many_kinds_pass_the_walks_and_predict_the_same_in_every_form() -> None:
    rng = np.random.default_rng(3)
    became_onnx = set()
    for name, model in various().items():
        rows = rng.normal(size=(9, *model.input_shape[1:])).astype("float32")
        wanted = keras_loader.Quiet(model).predict(rows)
        files, pins = tensorflow_loader.export(model)
        assert set(pins) == operators(files["saved_model.pb"])
        native = tensorflow_loader.restore(files)
        found = tensorflow_loader.TensorFlowModel(native).predict(rows)
        assert np.allclose(found, wanted, rtol=1e-3, atol=1e-6), name
        data, classes = keras_loader.dump(model)
        assert keras_walk.walk(data).pins == classes
        restored = keras_loader.restore(data)
        assert np.allclose(keras_loader.Quiet(restored).predict(rows), wanted, rtol=1e-3, atol=1e-6), name
        try:
            converted = onnx.restore(keras_loader.export_onnx(model))
        except ValueError:
            continue
        answer = converted.run({converted.session.get_inputs()[0].name: rows})[0]
        assert parity.compare({"predict": wanted}, {"predict": answer}).differing == 0, name
        became_onnx.add(name)
    assert became_onnx >= {"image", "series"}


@pytest.mark.parametrize("name", ["plain", "both", "text"])
def test_the_walk_of_weights_agrees_with_h5py(name: str) -> None:
    import h5py

    found: dict[str, int] = {}

    def visit(path: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            found["/" + path] = entry.size * entry.dtype.itemsize

    with h5py.File(io.BytesIO(parts.weights(name))) as file:
        file.visititems(visit)
    assert hdf5_walk.walk(parts.weights(name)).datasets == found


@pytest.mark.parametrize("name", ["plain", "both", "text"])
def test_the_walk_of_graphs_agrees_with_tensorflow(name: str) -> None:
    assert savedmodel_walk.walk(parts.graph(name)).operators == operators(parts.graph(name))


def test_a_deep_and_wide_model_passes_quickly(tmp_path: Path) -> None:
    from keras import Input, Sequential, layers

    model = Sequential([Input((4,)), *(layers.Dense(4) for _ in range(150))])
    data, _ = keras_loader.dump(model)
    assert keras_walk.walk(data).datasets == 300
    with zipfile.ZipFile(io.BytesIO(data)) as held:
        assert len(hdf5_walk.walk(held.read("model.weights.h5")).datasets) == 300
