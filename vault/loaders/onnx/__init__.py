"""Run ONNX models from verified bytes; `exporting` makes them of scikit-learn's estimators."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from vault.errors import FeatureMismatch, FormatRefused, MissingLibrary
from vault.loaders.onnx import tables
from vault.loaders.onnx.exporting import export

if TYPE_CHECKING:
    from vault.core.admission import Admitted

# float64 → float32 keeps 24 bits of mantissa; what changes more than this was out of float32's range.
_FLOAT_TOLERANCE: Final = 1e-6
_TELEMETRY: Final = "ORT_DISABLE_TELEMETRY"
_DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}

__all__ = ["OnnxModel", "export", "load", "restore"]


class OnnxModel:
    """A loaded ONNX model with the interface of a scikit-learn estimator.

    Attributes: `session` (the `onnxruntime.InferenceSession`),
    `feature_names_in_` (array of names; only where the model was trained on
    named features), `classes_` (array; only for classifiers).
    """

    def __init__(
        self,
        session: Any,
        *,
        classes: Sequence[Any] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        """Wrap a session; `classes` and `feature_names` come from the package's metadata."""
        import numpy as np

        self.session = session
        self._inputs = session.get_inputs()
        self._outputs = [output.name for output in session.get_outputs()]
        self._features = None if feature_names is None else [str(name) for name in feature_names]
        if feature_names is not None:
            self.feature_names_in_ = np.asarray(self._features, dtype=object)
        if classes is not None:
            self.classes_ = np.asarray(classes)

    def predict(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's own name)
        """Predict a label or a number for each row of `X` (DataFrame, array, or dict of columns).

        Returns an array of shape (rows,), or (rows, targets) for several targets.

        Raises:
            FeatureMismatch: other features, or in another order, than the model was trained on.
            ValueError: a value that the model's number type cannot hold.
        """
        import numpy as np

        result = np.asarray(self.session.run([self._outputs[0]], self._feed(X))[0])
        if result.ndim == 2 and result.shape[1] == 1:
            result = result[:, 0]
        if hasattr(self, "classes_") and result.dtype.kind != self.classes_.dtype.kind:
            result = result.astype(self.classes_.dtype)
        return result

    @property
    def predict_proba(self) -> "Callable[[Any], Any]":
        """Predict each class's probability: a function from rows to (rows, classes), ordered as `classes_`.

        Raises:
            AttributeError: it has no second output that is called so; `hasattr` says so, as in scikit-learn.
            FeatureMismatch, ValueError: when it is called, as `predict`.
        """
        if len(self._outputs) < 2 or "prob" not in self._outputs[1].lower():
            raise AttributeError("This ONNX model has no probabilities.")
        return self._predict_proba

    def _predict_proba(self, X: Any) -> Any:  # noqa: N803 (scikit-learn's own name)
        import numpy as np

        return np.asarray(self.session.run([self._outputs[1]], self._feed(X))[0])

    def run(self, inputs: Mapping[str, Any]) -> list[Any]:
        """Run the session on named inputs as they are; return all outputs."""
        outputs: list[Any] = self.session.run(None, dict(inputs))
        return outputs

    def __repr__(self) -> str:
        """Name the inputs and outputs."""
        return f"OnnxModel(inputs={[entry.name for entry in self._inputs]}, outputs={self._outputs})"

    def _feed(self, table: Any) -> dict[str, Any]:
        """Turn a table into the session's inputs."""
        import numpy as np

        columns = tables.column_names(table)
        if columns is not None and self._features is not None and columns != self._features:
            raise FeatureMismatch(
                _difference(self._features, columns),
                hint="Reorder them explicitly: package.align(df).",
            )
        if len(self._inputs) == 1 and not (isinstance(table, Mapping) and self._inputs[0].name in table):
            matrix = tables.matrix(np, table, columns)
            if matrix.ndim == 1 and self._inputs[0].type == "tensor(string)":
                matrix = matrix.reshape(-1, 1)  # a list of texts, which is what vectorizers take
            self._check_width(matrix)
            return {self._inputs[0].name: _convert(np, matrix, self._inputs[0])}
        if columns is None:
            matrix = tables.matrix(np, table, None)
            if matrix.shape[1] != len(self._inputs):
                raise FeatureMismatch(
                    f"The model takes {len(self._inputs)} features; {matrix.shape[1]} were given."
                )
            parts = [matrix[:, index] for index in range(len(self._inputs))]
        else:
            names = [entry.name for entry in self._inputs]
            missing = [name for name in names if name not in columns]
            if missing:
                raise FeatureMismatch(
                    f"The model needs {missing[0]!r}, which is not among the features given."
                )
            parts = [np.asarray(table[name]) for name in names]
        return {
            entry.name: _convert(np, part if part.ndim == 2 else part.reshape(-1, 1), entry)
            for entry, part in zip(self._inputs, parts, strict=True)
        }

    def _check_width(self, matrix: Any) -> None:
        shape = self._inputs[0].shape
        width = shape[1] if len(shape) == 2 else None
        if isinstance(width, int) and (matrix.ndim != 2 or matrix.shape[1] != width):
            got = matrix.shape[1] if matrix.ndim == 2 else f"an array of {matrix.ndim} dimensions"
            raise FeatureMismatch(f"The model takes {width} features; {got} were given.")


def load(
    admitted: "Admitted",
    *,
    classes: Sequence[Any] | None,
    feature_names: Sequence[str] | None,
    session_options: Any = None,
    providers: Sequence[Any] | None = None,
) -> OnnxModel:
    """Start a session on the bytes of an ONNX file whose static stage has passed.

    Raises:
        FormatRefused: ONNX Runtime cannot run the model.
        MissingLibrary: ONNX Runtime is not installed.
        TypeError: `admitted` does not come from the admission.
    """
    from vault.core.admission import Admitted

    if type(admitted) is not Admitted:
        raise TypeError("A loader takes an Admitted value only.")
    return restore(
        admitted.data,
        classes=classes,
        feature_names=feature_names,
        session_options=session_options,
        providers=providers,
        subject=admitted.subject,
    )


def restore(
    data: bytes | memoryview,
    *,
    classes: Sequence[Any] | None = None,
    feature_names: Sequence[str] | None = None,
    session_options: Any = None,
    providers: Sequence[Any] | None = None,
    subject: str = "",
) -> OnnxModel:
    """Start a session on bytes that were walked.

    Raises:
        FormatRefused: ONNX Runtime cannot run the model.
        MissingLibrary: ONNX Runtime is not installed.
    """
    onnxruntime = _runtime()
    options = onnxruntime.SessionOptions() if session_options is None else session_options
    if session_options is None:
        # The walk has read the bytes as ONNX: they must not be taken for anything else.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            _as_bytes(data), sess_options=options, providers=list(providers or ["CPUExecutionProvider"])
        )
    except Exception as error:  # ONNX Runtime raises a class of its own for each of its status codes
        first = (str(error).strip().splitlines() or [""])[0]
        raise FormatRefused(
            f"{subject or 'The model'} cannot be run by ONNX Runtime: {first[:200]}",
            code="format-content",
            subject=subject,
            hint="Export it again, for operator sets that this ONNX Runtime knows.",
        ) from None
    return OnnxModel(session, classes=classes, feature_names=feature_names)


def _runtime() -> Any:
    """Import ONNX Runtime with its telemetry off.

    Since 1.29 it sends names of graphs and hashes of weights to its maker
    unless this variable says otherwise before the import; one that the
    operator has set is left alone.
    """
    wanted = os.environ.setdefault(_TELEMETRY, "1") == "0"
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Running ONNX models needs ONNX Runtime.",
            hint="Install it: pip install 'model-artifact-vault[onnx]'",
        ) from None
    if not wanted:
        onnxruntime.disable_telemetry_events()  # for a process that had imported it before
    return onnxruntime


def _convert(np: Any, values: Any, entry: Any) -> Any:
    """Convert to the session's number type, refusing what it cannot hold.

    Raises:
        ValueError: a value out of range, or text where numbers are needed.
    """
    wanted = _DTYPES.get(entry.type)
    if wanted is None:
        return values
    if wanted == "object":
        return values.astype(str).astype(object) if values.dtype.kind != "O" else values
    if values.dtype == wanted:
        return values
    exact = values.astype("float64") if values.dtype.kind == "O" else values
    if exact.dtype.kind not in "biuf":
        raise ValueError(f"Input {entry.name!r} takes numbers; {values.dtype} was given.")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        converted = exact.astype(wanted)
        back = converted.astype("float64")
        reference = exact.astype("float64")
        close = np.isclose(back, reference, rtol=_FLOAT_TOLERANCE, atol=0, equal_nan=True)
    if not close.all():
        row = int(np.argwhere(~close)[0][0])
        raise ValueError(
            f"Input {entry.name!r} is {wanted}; row {row} has a value that it cannot hold within "
            f"{_FLOAT_TOLERANCE:g}. Scale the feature, or load the model in its other format."
        )
    return converted


def _difference(expected: list[str], given: list[str]) -> str:
    if set(expected) == set(given) and len(expected) == len(given):
        return "The features are those the model was trained on, in another order."
    missing = [name for name in expected if name not in given]
    surplus = [name for name in given if name not in expected]
    parts = [
        f"{label} {', '.join(names[:5])}"
        for label, names in (("missing:", missing), ("unknown:", surplus))
        if names
    ]
    return f"The features are not those the model was trained on ({'; '.join(parts)})."


def _as_bytes(data: bytes | memoryview) -> bytes:
    """Return the bytes behind a view, without a copy where it covers a whole bytes object."""
    if isinstance(data, bytes):
        return data
    whole = data.obj
    return whole if isinstance(whole, bytes) and data.nbytes == len(whole) else bytes(data)
