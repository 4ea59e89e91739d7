"""Write and restore Keras models: `.keras` archives, ONNX and SavedModel by Keras's own exporters."""

import io
from typing import TYPE_CHECKING, Any, Final

from vault.core import keras_walk, onnx_walk
from vault.errors import FormatRefused, MissingLibrary, Refused

if TYPE_CHECKING:
    from vault.core.admission import Admitted

_OPSET: Final = 17


def is_model(model: object) -> bool:
    """Tell whether something is a Keras model, without importing Keras."""
    return any(
        kind.__name__ == "Model" and kind.__module__.partition(".")[0] == "keras"
        for kind in type(model).__mro__
    )


class Quiet:
    """A Keras model that predicts without a progress bar, from tables too: what parity compares."""

    def __init__(self, model: Any) -> None:
        """Wrap a live Keras model."""
        self._model = model

    def predict(self, table: Any) -> Any:
        """Predict as the model does; a DataFrame goes in as one array."""
        rows = table.to_numpy() if hasattr(table, "to_numpy") else table
        return self._model.predict(rows, verbose=0)


def dump(model: Any) -> tuple[bytes, tuple[str, ...]]:
    """Write a Keras model as a `.keras` archive; return its bytes and the names to pin, sorted.

    Raises:
        ValueError: Keras cannot write it, or wrote something that the static stage refuses.
        MissingLibrary: Keras is not installed.
    """
    saving = _saving()
    held = io.BytesIO()
    try:
        saving.save_model(model, held)
    except Exception as error:  # whatever a layer's own get_config raises
        raise ValueError(f"Keras cannot write {type(model).__name__}: {_first_line(error)}") from error
    data = held.getvalue()
    try:
        return data, keras_walk.walk(data).pins
    except Refused as refusal:
        raise ValueError(
            f"Keras wrote {type(model).__name__} in a form that is not loaded: {refusal}"
        ) from refusal


def load(admitted: "Admitted", *, as_: str | None = None) -> Any:
    """Restore the Keras model of an archive whose static stage has passed; it is not compiled.

    The model is Keras's own, with `as_="native"` too.

    Raises:
        ValueError: `as_` is something else.
        FormatRefused: Keras refuses, or cannot restore it.
        MissingLibrary: Keras is not installed.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    if as_ not in (None, "native"):
        raise ValueError(f"as_ is 'native' or left out, not {as_!r}.")
    return restore(admitted.data, subject=admitted.subject)


def restore(data: bytes | memoryview, *, subject: str = "") -> Any:
    """Restore a Keras model from bytes that were walked, with Keras's safe mode on.

    Nothing is written: Keras reads an archive from memory when it is given one,
    which its public `load_model` does not pass on.

    Raises:
        FormatRefused: Keras refuses, or cannot restore it.
        MissingLibrary: Keras is not installed.
    """
    saving = _saving()
    try:
        return saving.load_model(io.BytesIO(data), compile=False, safe_mode=True)
    except Exception as error:  # what a changed configuration makes a layer raise is not foreseeable
        raise FormatRefused(
            f"{subject or 'The model'} could not be restored: {_first_line(error)}",
            code="format-content",
            subject=subject,
            hint="Load it with the version of Keras that saved it, or publish it again.",
        ) from None


def export_onnx(model: Any) -> bytes:
    """Convert a Keras model to ONNX, with the model's own inputs.

    Raises:
        ValueError: it cannot be converted, or not into a model that would be loaded.
        MissingLibrary: TensorFlow or tf2onnx is not installed.
    """
    try:
        import tensorflow as tf
        import tf2onnx
    except ModuleNotFoundError as error:
        raise MissingLibrary(
            f"Exporting a Keras model to ONNX needs {error.name}.",
            hint="Install it: pip install 'model-artifact-vault[tensorflow]'",
        ) from None
    name = type(model).__name__
    inputs = getattr(model, "inputs", None)
    if not inputs:
        raise ValueError(f"{name} has no inputs yet: call it on a row, or give it an Input layer.")
    signature = [tf.TensorSpec(entry.shape, entry.dtype, name=entry.name) for entry in inputs]
    try:
        function = tf.function(
            lambda *rows: model(list(rows) if len(rows) > 1 else rows[0], training=False),
            input_signature=signature,
        )
        converted, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=_OPSET)
        data: bytes = converted.SerializeToString()
    except Exception as error:  # converters fail with whatever their code runs into
        raise ValueError(f"{name} cannot be exported to ONNX: {_first_line(error)}") from error
    try:
        found = onnx_walk.walk(data, subject=name)
    except Refused as refusal:
        raise ValueError(f"{name} as ONNX would not be loaded: {refusal}") from refusal
    if set(found.inputs) != {entry.name for entry in inputs}:
        raise ValueError(f"{name} as ONNX wants other inputs than the model: {', '.join(found.inputs)[:300]}")
    return data


def _saving() -> Any:
    """Import the part of Keras that reads and writes archives in memory."""
    try:
        from keras.src.saving import saving_lib
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Reading and writing Keras models needs Keras and one of its backends.",
            hint="Install them: pip install 'model-artifact-vault[tensorflow]'",
        ) from None
    return saving_lib


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
