"""What runs inside the confined process: load the legacy pickle and write it anew, or try out the result.

Two jobs, each in a process of its own. `convert` loads the old file, which may
do anything that the confinement leaves it; `verify` gets the new file alone,
restores it with the loader that everybody uses, and says what it predicts.
"""

import math
import os
import sys
import warnings
from importlib.util import find_spec
from typing import Any, Final

from vault.actions import convert_messages
from vault.actions.convert_messages import Message
from vault.confinement import confine, kernel
from vault.core import formats, limits, onnx_walk
from vault.core.strict_json import JSONValue

CONVERT: Final = "convert"
VERIFY: Final = "verify"
NO_SANDBOX: Final = 97  # the exit status of a process that cannot be confined as it was told to be

_ROWS: Final = 1_000
_SEED: Final = 20_261_123
_WARNINGS: Final = 5
_TEXT: Final = 500


class _Failed(Exception):
    """A step went wrong in a way that the user should read about."""

    def __init__(self, stage: str, error: BaseException) -> None:
        super().__init__(stage)
        self.stage = stage
        self.reason = _first_line(error)
        self.missing = _missing_package(error)


def main() -> None:
    """Confine this process, do the job that standard input holds, and write the answer.

    Arguments: the parent's process id, bytes of memory, seconds, whether the
    confinement must be whole (1) or may be what the kernel has (0), and the
    descriptor of the file to convert (-1: none).
    """
    parent, memory, seconds, whole, descriptor = map(int, sys.argv[1:6])
    answer = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no part of the answer
    try:
        kernel.die_with_parent(parent)
        level = confine.apply(confine.Bounds(memory, seconds), confine.library_folders())
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 (the parent shows it)
        sys.exit(NO_SANDBOX)
    if whole and not level.whole:
        sys.exit(NO_SANDBOX)
    _send(answer, convert_messages.ready(level.landlock, level.seccomp))
    job = convert_messages.unpack(memoryview(sys.stdin.buffer.read()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            head, parts = _JOBS[job.text("job")](job, descriptor)
        except _Failed as failure:
            parts = {}
            head = {"failed": failure.stage, "reason": failure.reason, "missing": failure.missing}
    _send(answer, convert_messages.pack({**head, **_told(caught)}, parts))
    os._exit(0)  # nothing that the pickle left behind is run at the end


def _told(caught: list[warnings.WarningMessage]) -> dict[str, JSONValue]:
    """Give what libraries warned of, and apart from that the version of scikit-learn that wrote the file."""
    versions = [getattr(entry.message, "original_sklearn_version", "") for entry in caught]
    lines = dict.fromkeys(
        str(entry.message).strip().partition("\n")[0][:_TEXT]
        for entry, version in zip(caught, versions, strict=True)
        if not version
    )
    told: list[JSONValue] = [*lines]
    return {"warnings": told[:_WARNINGS], "saved_with": str(next(filter(None, versions), ""))[:_TEXT]}


def _send(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


Answer = tuple[dict[str, JSONValue], dict[str, bytes]]


def _convert(job: Message, descriptor: int) -> Answer:
    from vault.loaders import pickle_confined

    try:
        model = pickle_confined.load(descriptor)
        pickle_confined.complete(model)
    except BaseException as error:  # SystemExit too: the pickle chooses
        raise _Failed("load", error) from None
    parts: dict[str, bytes] = {}
    if "rows" in job.parts:
        rows = _given(job)
    else:
        rows = _invented(model)
        if rows is not None:
            parts["rows"] = _dump(rows)
    try:
        parts["model"] = _written(model, job.text("to"), rows, frozenset(job.texts("domains")))
    except BaseException as error:
        raise _Failed("write", error) from None
    parts.update(_predicted(model, rows))
    kind = type(model)
    return {
        "estimator": f"{kind.__module__}.{kind.__qualname__}"[:_TEXT],
        "classes": _labels(model),
        "features": _names(model),
        "transforms": hasattr(model, "transform") and not hasattr(model, "predict"),
        "predicts": any(hasattr(model, method) for method in ("predict", "transform")),
    }, parts


def _verify(job: Message, descriptor: int) -> Answer:
    rows = _given(job)
    data = job.parts["model"]
    try:
        if job.text("to") == formats.ONNX:
            from vault.loaders import onnx

            classes = job.head.get("classes")
            features = job.texts("features") or None
            model: Any = onnx.restore(
                data,
                classes=classes if isinstance(classes, list) else None,
                feature_names=features,
            )
        else:
            from vault.loaders import skops

            model = skops.restore(data, frozenset(job.texts("types")), subject="the new file")
    except BaseException as error:
        raise _Failed("restore", error) from None
    parts = _predicted(model, rows)
    if job.head.get("transforms") is True and job.text("to") == formats.ONNX and "out.predict" in parts:
        parts = {"out.transform": parts["out.predict"]}  # an ONNX model has one name for what it does
    return {}, parts


_JOBS: Final = {CONVERT: _convert, VERIFY: _verify}


def _written(model: Any, to: str, rows: Any, domains: frozenset[str]) -> bytes:
    if to == formats.ONNX:
        from vault.loaders import onnx

        if rows is None:
            raise ValueError("ONNX needs to see what goes in, and no rows can be made up for this model")
        return onnx.export(model, rows, domains=onnx_walk.STANDARD_DOMAINS | domains)
    from vault.loaders import skops

    return skops.dump(model)[0]


def _given(job: Message) -> Any:
    from vault.loaders import arrays

    try:
        return arrays.restore_sample(job.parts["rows"], subject="the sample") if "rows" in job.parts else None
    except BaseException as error:
        raise _Failed("rows", error) from None


def _invented(model: Any) -> Any:
    """Make up rows for a model that says how many features it takes: half around 0, half up to 100."""
    import numpy as np

    width = getattr(model, "n_features_in_", None)
    if not isinstance(width, int | np.integer):
        return None
    generator = np.random.default_rng(_SEED)
    rows = np.concatenate(
        [generator.normal(size=(_ROWS // 2, width)), generator.uniform(0, 100, size=(_ROWS // 2, width))]
    )
    # What 32-bit floats hold exactly, so that a difference is the model's and not the rounding of a row.
    rows = rows.astype("float32").astype("float64")
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        return rows
    try:
        import pandas as pd
    except ModuleNotFoundError:
        return rows
    return pd.DataFrame(rows, columns=[str(name) for name in names])


def _predicted(model: Any, rows: Any) -> dict[str, bytes]:
    from vault.loaders import parity

    if rows is None:
        return {}
    try:
        return {f"out.{method}": _dump(values) for method, values in parity.outputs(model, rows).items()}
    except BaseException as error:
        raise _Failed("predict", error) from None


def _dump(values: Any) -> bytes:
    from vault.loaders import arrays

    return arrays.dump_sample(values)


def _names(model: Any) -> JSONValue:
    found = getattr(model, "feature_names_in_", None)
    return None if found is None else [str(name) for name in found]


def _labels(model: Any) -> JSONValue:
    """Give a classifier's labels, where JSON holds them all."""
    found = getattr(model, "classes_", None)
    labels = found.tolist() if found is not None and hasattr(found, "tolist") else None
    return labels if isinstance(labels, list) and all(map(_is_plain, labels)) else None


def _is_plain(label: object) -> bool:
    if isinstance(label, int):
        return abs(label) < 10**limits.JSON_INT_DIGITS
    return isinstance(label, str) or (isinstance(label, float) and math.isfinite(label))


def _missing_package(error: BaseException) -> str:
    """Name the package that is not installed; an installed one without some module is another version."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return name if name and find_spec(name) is None else ""


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0][:_TEXT]
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return told.encode("utf-8", "replace").decode("utf-8")
