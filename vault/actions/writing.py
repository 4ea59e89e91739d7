"""Write a live object as bytes: one writer per format, and which format an object takes by itself.

A new format is one entry in `WRITERS`, and one in `_TAKES` if objects of its
library are to be saved in it without being asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vault.actions import savedmodel_folder
from vault.core import formats, names, savedmodel_walk
from vault.core.allowance import Allowance
from vault.core.names import Path
from vault.errors import FormatRefused


@dataclass(frozen=True, slots=True)
class Live:
    """An object to be written, and what a writer may need to know beside it.

    `sample` are rows of its input, `features` their names in order, `classes`
    a classifier's labels; each is None where it is not known.
    """

    model: Any
    sample: Any = None
    features: Sequence[str] | None = None
    classes: Sequence[Any] | None = None
    allowance: Allowance = field(default_factory=Allowance)


@dataclass(frozen=True, slots=True)
class Written:
    """What a writer made: the bytes, the names to pin, and the saved form brought back, to be compared.

    `restored` is None where bringing it back is not wanted: a pickle, a model that was ONNX before.
    `beside` are the other files of a SavedModel's folder, by their paths in it.
    """

    data: bytes
    pins: tuple[str, ...] = ()
    restored: Any = None
    beside: Mapping[str, bytes] = field(default_factory=dict)


def write(kind: str, live: Live) -> Written:
    """Write an object in one format.

    Raises:
        ValueError: there is no writer for `kind`, or the object cannot be written in it.
        MissingLibrary: the format's library is not installed.
    """
    writer = WRITERS.get(kind)
    if writer is None:
        raise ValueError(f"format is auto, {', '.join(WRITERS)}, not {kind!r}.")
    return writer(live)


def natural(model: Any) -> str:
    """Name the format of `model` where none is asked for: its library's own, else skops."""
    return next((kind for kind, takes in _TAKES if takes(model)), formats.SKOPS)


def otherwise(model: Any) -> str:
    """Name the format that is left where a model's own cannot hold it; every party must allow it."""
    return formats.SAVEDMODEL if _is_keras(model) else formats.JOBLIB


def path(kind: str) -> Path:
    """Give the path of the model's file in a package."""
    if kind == formats.SAVEDMODEL:
        return names.path(f"{savedmodel_folder.FOLDER}/{savedmodel_walk.GRAPH}")
    return names.path(f"model{formats.FORMATS[kind].extensions[0]}")


def predictor(model: Any) -> Any:
    """Give what predicts for arrays and tables: the model itself, or a wrapper where it takes neither."""
    from vault.loaders import keras, xgboost

    if keras.is_model(model):
        return keras.Quiet(model)
    return xgboost.XgboostModel(model) if xgboost.is_booster(model) else model


def _onnx(live: Live) -> Written:
    from vault.loaders import onnx

    if _is_onnx(live.model):
        return Written(bytes(live.model.SerializeToString()))
    if _is_keras(live.model):
        return _keras_as_onnx(live)
    if live.sample is None:
        raise ValueError("ONNX needs to see what goes in: give sample_input=X[:500].")
    data = onnx.export(live.model, live.sample)
    return Written(data, (), onnx.restore(data, classes=live.classes, feature_names=live.features))


def _skops(live: Live) -> Written:
    from vault.core import skops_types
    from vault.loaders import skops

    data, pins = skops.dump(live.model)
    allowed = skops_types.DEFAULT_SKOPS_TYPES | live.allowance.skops_types
    usable = frozenset(pins)
    # Bringing it back here is no risk: the object is this process's own.
    back = skops.restore(memoryview(data), usable, subject="the model") if usable <= allowed else None
    return Written(data, pins, back)


def _joblib(live: Live) -> Written:
    from vault.loaders import pickle_gate

    data, pins = pickle_gate.dump(live.model)
    return Written(data, pins)


def _lightgbm(live: Live) -> Written:
    from vault.loaders import lightgbm

    data, restored = lightgbm.dump(live.model, live.classes)
    return Written(data, (), restored)


def _xgboost(live: Live) -> Written:
    from vault.loaders import xgboost

    data, restored = xgboost.dump(live.model)
    return Written(data, (), restored)


def _safetensors(live: Live) -> Written:
    from vault.loaders import weights

    return Written(weights.dump(_named_arrays(live.model)))


def _npz(live: Live) -> Written:
    from vault.loaders import arrays

    return Written(arrays.dump_arrays(_named_arrays(live.model)))


def _npy(live: Live) -> Written:
    from vault.loaders import arrays

    if not _is_array(live.model):
        raise ValueError(f"{type(live.model).__name__} is no NumPy array.")
    return Written(arrays.dump_array(live.model))


def _keras_as_onnx(live: Live) -> Written:
    from vault.loaders import keras, onnx

    data = keras.export_onnx(live.model)
    try:
        restored = onnx.restore(data, classes=live.classes, feature_names=live.features)
    except FormatRefused as refusal:  # an operator that the converter left as it was
        raise ValueError(f"{type(live.model).__name__} as ONNX cannot be run: {refusal.message}") from refusal
    return Written(data, (), restored)


def _keras(live: Live) -> Written:
    from vault.loaders import keras

    if not keras.is_model(live.model):
        raise ValueError(f"{type(live.model).__name__} is no Keras model.")
    data, pins = keras.dump(live.model)
    return Written(data, pins, keras.Quiet(keras.restore(data, subject="the model")))


def _savedmodel(live: Live) -> Written:
    from vault.loaders import tensorflow

    files, pins = tensorflow.export(live.model)
    restored = tensorflow.TensorFlowModel(tensorflow.restore(files), feature_names=live.features)
    graph = files.pop(savedmodel_walk.GRAPH)
    return Written(graph, pins, restored, files)


def _named_arrays(model: Any) -> Mapping[str, Any]:
    if not _is_arrays(model):
        raise ValueError(f"{type(model).__name__} is no dict of NumPy arrays with names.")
    named: Mapping[str, Any] = model
    return named


def _is_array(model: Any) -> bool:
    return type(model).__name__ == "ndarray" and type(model).__module__ == "numpy"


def _is_arrays(model: Any) -> bool:
    return (
        isinstance(model, dict)
        and bool(model)
        and all(isinstance(name, str) and _is_array(array) for name, array in model.items())
    )


def _is_weights(model: Any) -> bool:
    from vault.loaders import weights

    return _is_arrays(model) and weights.holds(model)


def _is_lightgbm(model: Any) -> bool:
    from vault.loaders import lightgbm

    return lightgbm.takes(model)


def _is_xgboost(model: Any) -> bool:
    from vault.loaders import xgboost

    return xgboost.takes(model)


def _is_keras(model: Any) -> bool:
    from vault.loaders import keras

    return keras.is_model(model)


def _is_onnx(model: Any) -> bool:
    return type(model).__name__ == "ModelProto" and hasattr(model, "SerializeToString")


WRITERS: Final[Mapping[str, Callable[[Live], Written]]] = {
    formats.SKOPS: _skops,
    formats.ONNX: _onnx,
    formats.LIGHTGBM: _lightgbm,
    formats.XGBOOST: _xgboost,
    formats.SAFETENSORS: _safetensors,
    formats.NPZ: _npz,
    formats.NPY: _npy,
    formats.KERAS: _keras,
    formats.SAVEDMODEL: _savedmodel,
    formats.JOBLIB: _joblib,
}
_TAKES: Final[tuple[tuple[str, Callable[[Any], bool]], ...]] = (
    (formats.ONNX, _is_onnx),
    (formats.ONNX, _is_keras),
    (formats.LIGHTGBM, _is_lightgbm),
    (formats.XGBOOST, _is_xgboost),
    (formats.SAFETENSORS, _is_weights),
    (formats.NPZ, _is_arrays),
    (formats.NPY, _is_array),
)
