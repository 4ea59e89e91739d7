"""Export scikit-learn estimators to ONNX, of operators that the loader would take."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final

from vault.core import onnx_walk
from vault.errors import MissingLibrary, Refused
from vault.loaders.onnx import tables

_OPSETS: Final = {"": 17, "ai.onnx.ml": 3}
_LATER: Final = {"": 18}


def export(estimator: Any, sample: Any, *, domains: AbstractSet[str] = onnx_walk.STANDARD_DOMAINS) -> bytes:
    """Convert a fitted scikit-learn estimator to ONNX, for the inputs that `sample` shows.

    A DataFrame with text columns, or an estimator that picks columns by name,
    gets one input per column; everything else one input of 32-bit floats.
    `domains` are those that operators may come from: text needs `com.microsoft` added.

    Raises:
        ValueError: the estimator cannot be converted, or not into a model that would be loaded.
        MissingLibrary: skl2onnx is not installed.
    """
    try:
        import skl2onnx
        from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Exporting to ONNX needs skl2onnx.",
            hint="Install it: pip install 'model-artifact-vault[onnx-export]'",
        ) from None
    name = type(estimator).__name__
    columns = tables.column_names(sample)
    if columns is not None and (tables.has_text(sample, columns) or _picks_columns(estimator)):
        inputs = [
            (column, (StringTensorType if tables.is_text(sample[column]) else FloatTensorType)([None, 1]))
            for column in columns
        ]
    else:
        import numpy as np

        matrix = tables.matrix(np, sample, columns)
        text = matrix.dtype.kind in "OSU"
        width = 1 if matrix.ndim == 1 else matrix.shape[1]
        inputs = [("X", (StringTensorType if text else FloatTensorType)([None, width]))]
    try:
        data = _converted(skl2onnx.convert_sklearn, estimator, inputs)
    except Exception as error:  # converters fail with whatever their code runs into
        first = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(
            f"{name} cannot be exported to ONNX: {type(error).__name__}: {first[:300]}"
        ) from error
    try:
        onnx_walk.walk(data, domains=domains, subject=name)
    except Refused as refusal:
        raise ValueError(f"{name} as ONNX would not be loaded: {refusal}") from refusal
    return data


def _converted(convert: Callable[..., Any], estimator: Any, inputs: Any) -> bytes:
    """Convert; what a converter says it cannot work with is left out the second time."""
    opsets, options = dict(_OPSETS), _options(estimator)
    only_labels = id(estimator) in options and not hasattr(estimator, "predict_proba")
    try:
        model = convert(estimator, initial_types=inputs, target_opset=opsets, options=options)
    except NameError:  # LinearSVC, wherever it stands last: it has no probabilities to lay out
        options = {key: given for key, given in options.items() if "zipmap" not in given}
        model = convert(estimator, initial_types=inputs, target_opset=opsets, options=options)
    except AssertionError:  # KNNImputer: it needs an operator of a later set
        model = convert(estimator, initial_types=inputs, target_opset=opsets | _LATER, options=options)
    if only_labels:
        del model.graph.output[1:]  # scores, which converters call probabilities
    return bytes(model.SerializeToString())


def _options(estimator: Any) -> dict[Any, dict[str, Any]]:
    """Probabilities as one tensor; text lowered by rules that exist on every machine."""
    from sklearn.base import is_classifier
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.svm import LinearSVC

    options: dict[Any, dict[str, Any]] = {}
    if is_classifier(estimator):
        options[id(estimator)] = {"zipmap": False}
    pending = [estimator]
    while pending:
        item = pending.pop()
        if isinstance(item, CountVectorizer):
            options[id(item)] = {"locale": "C"}
        elif isinstance(item, LinearSVC):
            options[id(item)] = {"raw_scores": True}
        for holds in ("steps", "transformers_", "transformer_list"):
            pending += [step for _, step, *_ in getattr(item, holds, ())]
    return options


def _picks_columns(estimator: Any) -> bool:
    from sklearn.compose import ColumnTransformer

    steps = [step for _, step in getattr(estimator, "steps", ())]
    return isinstance(estimator, ColumnTransformer) or any(_picks_columns(step) for step in steps)
