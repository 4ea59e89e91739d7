"""Step 11: hand admitted bytes to the one loader of their format.

A new format is one entry in `LOADERS`, and one in `LADDER` if it may hold the
model of a package.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vault.core import formats, skops_types
from vault.core.admission import Admitted
from vault.core.allowance import Allowance
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import FormatRefused


@dataclass(frozen=True, slots=True)
class Saved:
    """What is known of a file beside its bytes.

    `classes` and `features` were recorded for the model and are None for every
    other file; `options` are the caller's, for the loader; `role` is what the
    file is in its package. `beside` reads the verified files of the folder
    around a SavedModel's graph.
    """

    allowance: Allowance
    classes: Sequence[Any] | None = None
    features: Sequence[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    role: str = "model"
    beside: Callable[[], Mapping[str, bytes]] = dict


def deserialize(admitted: Admitted, saved: Saved) -> Any:
    """Restore what a file holds; what comes back depends on its format (docs/loading.md).

    Raises:
        FormatRefused: this release has no loader for the format, or the format's library refuses.
        PickleRefused, Malformed, MissingLibrary.
    """
    loader = LOADERS.get(admitted.format)
    if loader is None:
        raise FormatRefused(
            f"{admitted.subject}: {admitted.path} is {admitted.format}, which this release does not "
            "deserialize.",
            subject=admitted.subject,
            hint="Read its bytes with load_package(…).read(path), or mvault pull.",
        )
    return loader(admitted, saved)


def _skops(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import skops

    return skops.load(admitted, skops_types.DEFAULT_SKOPS_TYPES | saved.allowance.skops_types)


def _onnx(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import onnx

    return onnx.load(admitted, classes=saved.classes, feature_names=saved.features, **saved.options)


def _npz(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import arrays

    return arrays.load_arrays(admitted) if saved.role == "model" else arrays.load_sample(admitted)


def _npy(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import arrays

    return arrays.load_array(admitted)


def _safetensors(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import weights

    return weights.load(admitted)


def _lightgbm(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import lightgbm

    return lightgbm.load(admitted, classes=saved.classes)


def _xgboost(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import xgboost

    return xgboost.load(admitted)


def _json(admitted: Admitted, saved: Saved) -> Any:
    return json.loads(bytes(admitted.data))  # parsed strictly by the static stage a moment ago


def _pickle(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import pickle_gate

    return pickle_gate.load(admitted, DEFAULT_PICKLE_GLOBALS | saved.allowance.pickle_globals)


def _keras(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import keras

    return keras.load(admitted, **saved.options)


def _savedmodel(admitted: Admitted, saved: Saved) -> Any:
    from vault.loaders import tensorflow

    return tensorflow.load(
        admitted, saved.beside(), classes=saved.classes, feature_names=saved.features, **saved.options
    )


LOADERS: Final[Mapping[str, Callable[[Admitted, Saved], Any]]] = {
    formats.JOBLIB: _pickle,
    formats.JSON: _json,
    formats.KERAS: _keras,
    formats.LIGHTGBM: _lightgbm,
    formats.NPY: _npy,
    formats.NPZ: _npz,
    formats.ONNX: _onnx,
    formats.PICKLE: _pickle,
    formats.SAFETENSORS: _safetensors,
    formats.SAVEDMODEL: _savedmodel,
    formats.SKOPS: _skops,
    formats.TORCH: _pickle,
    formats.XGBOOST: _xgboost,
}
# Where a package holds the model twice, the first of these that the environment allows is loaded.
LADDER: Final = (
    formats.SKOPS,
    formats.ONNX,
    formats.LIGHTGBM,
    formats.XGBOOST,
    formats.SAFETENSORS,
    formats.NPZ,
    formats.NPY,
    formats.KERAS,
    formats.SAVEDMODEL,
    formats.JOBLIB,
    formats.PICKLE,
)
