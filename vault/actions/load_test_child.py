"""What runs inside the confined process of a load test: restore the files, and predict the recorded rows.

It runs in the interpreter of the environment under test, and gets verified
plaintext, never a key and never the predictions that it is compared with.
Nothing of the environment's libraries runs before the process is confined.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vault.actions import convert_messages
from vault.actions.convert_messages import Message
from vault.confinement import confine, kernel
from vault.core import formats
from vault.core.strict_json import JSONValue

NO_SANDBOX: Final = 97  # the exit status of a process that cannot be confined as it was told to be
MODEL: Final = "model"

_WARNINGS: Final = 5
_TEXT: Final = 500


class _Failed(Exception):
    """A step went wrong, in a way that tells about the model or its libraries."""

    def __init__(self, stage: str, error: BaseException) -> None:
        super().__init__(stage)
        self.stage = stage
        self.reason = _first_line(error)


def main() -> None:
    """Confine this process, test what standard input holds, and write the answer.

    Arguments: the parent's process id, bytes of memory, seconds, whether the confinement must be
    whole (1) or may be what the kernel has (0), and the folder of the packages.
    """
    parent, memory, seconds, whole = map(int, sys.argv[1:5])
    packages = Path(sys.argv[5])
    answer = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no part of the answer
    try:
        kernel.die_with_parent(parent)
        level = confine.apply(confine.Bounds(memory, seconds), [*confine.library_folders(), packages])
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)  # noqa: T201 (the parent shows it)
        sys.exit(NO_SANDBOX)
    if whole and not level.whole:
        sys.exit(NO_SANDBOX)
    _send(answer, convert_messages.ready(level.landlock, level.seccomp))
    sys.path.append(str(packages))
    job = convert_messages.unpack(memoryview(sys.stdin.buffer.read()))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            head, parts = _test(job)
        except _Failed as failure:
            parts = {}
            head = {"failed": failure.stage, "reason": failure.reason}
    lines = dict.fromkeys(str(entry.message).strip().partition("\n")[0][:_TEXT] for entry in caught)
    told: list[JSONValue] = [*lines]
    _send(answer, convert_messages.pack({**head, "warnings": told[:_WARNINGS]}, parts))
    os._exit(0)


def _send(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _test(job: Message) -> tuple[dict[str, JSONValue], dict[str, bytes]]:
    started = time.monotonic()
    model: Any = None
    try:
        files = job.head["files"]
        for described in files if isinstance(files, list) else []:
            file = _File(job, described if isinstance(described, dict) else {})
            restored = _RESTORE[file.text("format")](file)
            if file.text("role") == MODEL:
                model = restored
    except BaseException as error:  # what libraries raise on import, SystemExit among it, is theirs
        raise _Failed("load", error) from None
    loaded = time.monotonic()
    parts = _predicted(job, model)
    return {
        "load_ms": round((loaded - started) * 1_000),
        "predict_ms": round((time.monotonic() - loaded) * 1_000),
    }, parts


def _predicted(job: Message, model: Any) -> dict[str, bytes]:
    if "sample" not in job.parts:
        return {}
    from vault.loaders import arrays, parity

    try:
        rows = _rows(job.parts["sample"])
        return {
            f"out.{method}": arrays.dump_sample(values)
            for method, values in parity.outputs(model, rows).items()
        }
    except BaseException as error:
        raise _Failed("predict", error) from None


def _rows(data: memoryview) -> Any:
    """Read the recorded rows: an array, a table, or an array for each input of a model of several."""
    from vault.loaders import arrays

    found = arrays.restore_arrays(data, subject="the sample")
    if "names" in found or set(found) == {"values"}:
        return arrays.restore_sample(data, subject="the sample")
    return found


class _File:
    """One file that is restored: what is known of it, and its bytes."""

    def __init__(self, job: Message, described: Mapping[str, JSONValue]) -> None:
        self._job = job
        self._described = described

    def text(self, name: str) -> str:
        """Give a text that is known of it."""
        return str(self._described.get(name, ""))

    @property
    def data(self) -> memoryview:
        """Its bytes."""
        return self._job.parts[self.text("part")]

    @property
    def beside(self) -> dict[str, bytes]:
        """The files of the folder around a SavedModel's graph, by their paths in it."""
        found = self._described.get("beside")
        parts = found if isinstance(found, dict) else {}
        return {path: bytes(self._job.parts[str(part)]) for path, part in parts.items()}

    def listed(self, name: str) -> list[Any] | None:
        """Give a list that is known of it."""
        found = self._described.get(name)
        return found if isinstance(found, list) else None

    def usable(self) -> frozenset[str]:
        """The types or globals that were admitted."""
        return frozenset(str(entry) for entry in self.listed("usable") or ())


def _onnx(file: _File) -> Any:
    from vault.loaders import onnx

    return onnx.restore(file.data, classes=file.listed("classes"), feature_names=file.listed("features"))


def _skops(file: _File) -> Any:
    from vault.loaders import skops

    return skops.restore(file.data, file.usable(), subject=file.text("path"))


def _lightgbm(file: _File) -> Any:
    from vault.loaders import lightgbm

    return lightgbm.restore(file.data, classes=file.listed("classes"), subject=file.text("path"))


def _xgboost(file: _File) -> Any:
    from vault.loaders import xgboost

    return xgboost.restore(file.data, subject=file.text("path"))


def _safetensors(file: _File) -> Any:
    from vault.loaders import weights

    return weights.restore(file.data, subject=file.text("path"))


def _npz(file: _File) -> Any:
    from vault.loaders import arrays

    read = arrays.restore_arrays if file.text("role") == MODEL else arrays.restore_sample
    return read(file.data, subject=file.text("path"))


def _npy(file: _File) -> Any:
    from vault.loaders import arrays

    return arrays.restore_array(file.data, subject=file.text("path"))


def _json(file: _File) -> Any:
    import json

    return json.loads(bytes(file.data))


def _pickle(file: _File) -> Any:
    from vault.loaders import pickle_gate

    joblib = file.text("format") == formats.JOBLIB
    return pickle_gate.restore(file.data, file.usable(), joblib=joblib, subject=file.text("path"))


def _keras(file: _File) -> Any:
    from vault.loaders import keras

    return keras.restore(file.data, subject=file.text("path"))


def _savedmodel(file: _File) -> Any:
    from vault.core import savedmodel_walk
    from vault.loaders import tensorflow

    files = {**file.beside, savedmodel_walk.GRAPH: bytes(file.data)}
    native = tensorflow.restore(files, subject=file.text("path"))
    return tensorflow.TensorFlowModel(
        native, classes=file.listed("classes"), feature_names=file.listed("features")
    )


_RESTORE: Final[Mapping[str, Callable[[_File], Any]]] = {
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
RESTORED: Final[Sequence[str]] = tuple(_RESTORE)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0][:_TEXT]
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return told.encode("utf-8", "replace").decode("utf-8")
