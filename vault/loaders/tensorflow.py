"""Run TensorFlow SavedModels from verified bytes, and export models as SavedModels, all in memory."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from vault.core import savedmodel_walk
from vault.errors import FeatureMismatch, FormatRefused, MissingLibrary, Refused

if TYPE_CHECKING:
    from vault.core.admission import Admitted

# TensorFlow's file system in memory; its loader takes paths alone.
_MEMORY: Final = "ram://mvault-"
_SIGNATURES: Final = ("serving_default", "serve")


class TensorFlowModel:
    """A loaded SavedModel with the interface of an estimator.

    Attributes: `native` (what TensorFlow restored), `signatures` (its functions
    by name), `feature_names_in_` (array of names; only where the model was
    trained on named features), `classes_` (array; only for classifiers).
    """

    def __init__(
        self,
        native: Any,
        *,
        classes: Sequence[Any] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        """Wrap what TensorFlow restored; `classes` and `feature_names` come from the package's metadata."""
        import numpy as np

        self.native = native
        self.signatures: Mapping[str, Any] = native.signatures
        name = next((name for name in _SIGNATURES if name in self.signatures), None)
        self._function = None if name is None else self.signatures[name]
        self._inputs: dict[str, Any] = (
            {} if self._function is None else dict(self._function.structured_input_signature[1])
        )
        self._features = None if feature_names is None else [str(name) for name in feature_names]
        if feature_names is not None:
            self.feature_names_in_ = np.asarray(self._features, dtype=object)
        if classes is not None:
            self.classes_ = np.asarray(classes)

    def predict(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's own name)
        """Run the serving signature on rows: an array, a DataFrame, or a dict of arrays by input.

        Returns the output as an array with the shape that the model gives it;
        a dict of arrays where there are several.

        Raises:
            FeatureMismatch: other features, or in another order, than the model was trained on.
            ValueError: the model has no serving signature, or cannot take this input.
        """
        outputs = self(**self._feed(X))
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def __call__(self, **inputs: Any) -> dict[str, Any]:
        """Run the serving signature on named inputs as they are; return arrays by output.

        Raises:
            ValueError: the model has no serving signature, or the inputs are not its own.
        """
        import tensorflow as tf

        if self._function is None:
            raise ValueError("This SavedModel has no serving signature: use .native or .signatures.")
        if inputs.keys() != self._inputs.keys():
            raise ValueError(f"The model takes the inputs {', '.join(sorted(self._inputs))}.")
        try:
            given = {name: tf.constant(rows, self._inputs[name].dtype) for name, rows in inputs.items()}
            found = self._function(**given)
        except (TypeError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(f"The model cannot take this input: {_first_line(error)}") from None
        return {name: tensor.numpy() for name, tensor in found.items()}

    def __repr__(self) -> str:
        """Name the signatures and inputs."""
        return f"TensorFlowModel(signatures={sorted(self.signatures)}, inputs={sorted(self._inputs)})"

    def _feed(self, table: Any) -> dict[str, Any]:
        import numpy as np

        columns = getattr(table, "columns", None)
        if columns is not None and self._features is not None and list(columns) != self._features:
            raise FeatureMismatch(
                "The features are not those the model was trained on, or in another order.",
                hint="Reorder them explicitly: package.align(df).",
            )
        if isinstance(table, Mapping):
            return dict(table)
        if len(self._inputs) > 1:
            if columns is None:
                raise ValueError(
                    f"The model takes several inputs: give a dict of {', '.join(sorted(self._inputs))}."
                )
            return {name: np.asarray(table[name]).reshape(-1, 1) for name in self._inputs if name in columns}
        rows = table.to_numpy() if hasattr(table, "to_numpy") else np.asarray(table)
        return dict.fromkeys(self._inputs, rows)


def load(
    admitted: "Admitted",
    beside: Mapping[str, bytes],
    *,
    classes: Sequence[Any] | None = None,
    feature_names: Sequence[str] | None = None,
    as_: str | None = None,
) -> Any:
    """Restore a SavedModel whose static stage has passed; `beside` are the verified files of its folder.

    Gives a `TensorFlowModel`, or with `as_="native"` what TensorFlow restored.

    Raises:
        ValueError: `as_` is something else.
        FormatRefused: a file too many or too few, or TensorFlow cannot restore it.
        MissingLibrary: TensorFlow is not installed.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    if as_ not in (None, "native"):
        raise ValueError(f"as_ is 'native' or left out, not {as_!r}.")
    graph = bytes(admitted.data)
    found = savedmodel_walk.walk(graph, subject=admitted.subject)
    savedmodel_walk.check_folder([savedmodel_walk.GRAPH, *beside], found.assets, subject=admitted.subject)
    native = restore({**beside, savedmodel_walk.GRAPH: graph}, subject=admitted.subject)
    if as_ == "native":
        return native
    return TensorFlowModel(native, classes=classes, feature_names=feature_names)


def restore(files: Mapping[str, bytes], *, subject: str = "") -> Any:
    """Restore a SavedModel from the files of its folder, by their paths in it, which were walked.

    Raises:
        FormatRefused: TensorFlow cannot restore it.
        MissingLibrary: TensorFlow is not installed.
    """
    tf = _tensorflow()
    with _folder(tf) as folder:
        for path, data in files.items():
            where = f"{folder}/{path}"
            tf.io.gfile.makedirs(where.rpartition("/")[0])
            with tf.io.gfile.GFile(where, "wb") as file:
                file.write(data)
        try:
            return tf.saved_model.load(folder)
        except Exception as error:  # what changed bytes make TensorFlow raise is not foreseeable
            raise FormatRefused(
                f"{subject or 'The model'} cannot be restored by TensorFlow: {_first_line(error)}",
                code="format-content",
                subject=subject,
                hint="Export it again, with the TensorFlow that loads it.",
            ) from None


def export(model: Any) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Export a Keras model, or anything else that TensorFlow can save, as the files of a SavedModel.

    Returns the files by their path in the folder, and the names to pin, sorted.

    Raises:
        ValueError: it cannot be exported, or not into a model that would be loaded.
        MissingLibrary: TensorFlow is not installed.
    """
    tf = _tensorflow()
    name = type(model).__name__
    with _folder(tf) as folder:
        try:
            if hasattr(model, "export"):
                model.export(folder, format="tf_saved_model", verbose=False)
            else:
                tf.saved_model.save(model, folder)
        except Exception as error:  # whatever tracing the model's own code runs into
            raise ValueError(f"{name} cannot be exported: {_first_line(error)}") from error
        files: dict[str, bytes] = {}
        for where, _, names in tf.io.gfile.walk(folder):
            for entry in names:
                path = f"{where}/{entry}"
                with tf.io.gfile.GFile(path, "rb") as file:
                    files[path.removeprefix(f"{folder}/")] = file.read()
    try:
        found = savedmodel_walk.walk(files[savedmodel_walk.GRAPH], subject=name)
        savedmodel_walk.check_folder(files, found.assets, subject=name)
    except Refused as refusal:
        raise ValueError(f"{name} as a SavedModel would not be loaded: {refusal}") from refusal
    return files, found.pins


@contextmanager
def _folder(tf: Any) -> Iterator[str]:
    """Give the name of a folder in memory, and empty it afterwards."""
    folder = _MEMORY + secrets.token_hex(16)
    try:
        yield folder
    finally:
        if tf.io.gfile.exists(folder):
            tf.io.gfile.rmtree(folder)


def _tensorflow() -> Any:
    try:
        import tensorflow
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Reading and writing SavedModels needs TensorFlow.",
            hint="Install it: pip install 'model-artifact-vault[tensorflow]'",
        ) from None
    return tensorflow


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
