"""Read what an `MLmodel` file says: the file that holds the model, and what goes in and out.

The file is a stranger's. Nothing that it names is imported: neither its
`loader_module`, nor the types that it asks to be trusted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vault.core import limits, names, strict_json
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, Malformed, Refused

FILE: Final = "MLmodel"
Tree = str | Sequence["Tree"] | Mapping[str, "Tree"]

# Flavours whose model is one file or folder, under the key that names it; the first that is there counts.
_FLAVOURS: Final[tuple[tuple[str, str], ...]] = (
    ("onnx", "data"),
    ("sklearn", "pickled_model"),
    ("lightgbm", "data"),
    ("xgboost", "data"),
    ("tensorflow", "data"),
    ("keras", "data"),
)
_CODE: Final = "python_function"
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class MlflowModel:
    """What an MLmodel file says: the flavour, the path of its model, features by name if all have one.

    `signature` has the columns that go in and come out, as MLflow wrote them.
    """

    flavour: str
    path: str
    features: tuple[str, ...] | None
    signature: Mapping[str, JSONValue]
    run_id: str
    mlflow_version: str
    created: str


def read(value: Tree, *, subject: str) -> MlflowModel:
    """Read a parsed MLmodel file, whose scalars are all texts.

    Raises:
        FormatRefused: no flavour of it holds a model that can be adopted.
        Malformed: it is no such file.
    """
    top = _mapping(value, subject)
    flavours = _mapping(top.get("flavors", {}), subject)
    for flavour, key in _FLAVOURS:
        if flavour in flavours:
            path = _mapping(flavours[flavour], subject).get(key)
            if not isinstance(path, str):
                raise _malformed(f"its flavour {flavour} names no file", subject)
            signature = _signature(top.get("signature"), subject)
            return MlflowModel(
                flavour=flavour,
                path=names.path(path.removesuffix("/")),
                features=_features(signature.get("inputs")),
                signature=signature,
                run_id=_text(top.get("run_id")),
                mlflow_version=_text(top.get("mlflow_version")),
                created=_text(top.get("utc_time_created")),
            )
    others = ", ".join(sorted(flavours))[:_SHOWN] or "none"
    why = (
        "which is Python code"
        if _CODE in flavours and len(flavours) == 1
        else "none of which is a model alone"
    )
    raise FormatRefused(
        f"{subject} has the flavour {others}, {why}.",
        subject=subject,
        hint="Save the model itself as scikit-learn, ONNX, LightGBM, XGBoost or TensorFlow.",
    )


def _mapping(value: object, subject: str) -> Mapping[str, "Tree"]:
    if not isinstance(value, Mapping):
        raise _malformed("it is no mapping of names", subject)
    return value


def _text(value: object) -> str:
    return value[:_SHOWN] if isinstance(value, str) and value != "null" else ""


def _signature(value: object, subject: str) -> dict[str, JSONValue]:
    """Read the columns, which are JSON in a text; what is none is left out, since nothing rests on it."""
    found: dict[str, JSONValue] = {}
    if not isinstance(value, Mapping):
        return found
    for name in ("inputs", "outputs"):
        text = value.get(name)
        if isinstance(text, str) and len(text) <= limits.MLMODEL_BYTES:
            try:
                found[name] = strict_json.parse(
                    text.encode(), limit=limits.MLMODEL_BYTES, floats=True, canonical=False, subject=subject
                )
            except (Refused, UnicodeEncodeError):
                continue
    return found


def _features(inputs: JSONValue) -> tuple[str, ...] | None:
    """Give the names of the columns, if there are any and each has one of its own."""
    if not isinstance(inputs, list) or not inputs:
        return None
    found = [entry.get("name") for entry in inputs if isinstance(entry, dict)]
    texts = [name for name in found if isinstance(name, str)]
    return tuple(texts) if len(texts) == len(inputs) == len(set(texts)) else None


def _malformed(reason: str, subject: str) -> Malformed:
    return Malformed(f"{subject} is no MLmodel file: {reason}.", subject=subject)
