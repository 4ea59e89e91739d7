"""Inspect formats that name types, operators or configuration rather than globals."""

from collections.abc import Mapping
from typing import Final, Protocol

from vault.core import (
    keras_walk,
    lightgbm_text,
    limits,
    onnx_walk,
    safetensors_header,
    savedmodel_walk,
    skops_types,
    skops_walk,
    strict_json,
    xgboost_model,
    zip_reader,
)
from vault.core.findings import Findings, too_large

_SHOWN: Final = 20  # types put into one sentence


def onnx(name: str, view: memoryview, found: Findings) -> None:
    """Inspect an ONNX model: its operators, and that nothing lies outside the file."""
    summary = onnx_walk.walk(view, subject=name)
    found.versions["ir"] = str(summary.ir_version)
    found.versions.update({f"opset {domain or 'ai.onnx'}": str(v) for domain, v in summary.opsets.items()})
    if summary.producer:
        found.versions["producer"] = summary.producer
    found.types.update(f"{domain or 'ai.onnx'}.{operator}" for domain, operator in summary.operators)


def skops(name: str, view: memoryview, found: Findings) -> None:
    """Inspect a skops model: the types that it names."""
    _read_all(view, found)
    summary = skops_walk.walk(view, subject=name)
    found.versions.update({"skops": summary.skops_version, "protocol": str(summary.protocol)})
    found.types.update(summary.pins)
    beyond = sorted(set(summary.pins) - skops_types.DEFAULT_SKOPS_TYPES)
    if beyond:
        named = ", ".join(beyond[:_SHOWN]) + (" …" if len(beyond) > _SHOWN else "")
        found.need_pins(f"It names types beyond the default allowance: {named}.", "unlisted-type")


def _read_all(view: memoryview, found: Findings) -> None:
    """Read every member of an archive once, within the budget, against its checksum."""
    archive = zip_reader.open_archive(view)
    for member, entry in archive.entries.items():
        found.budget.member()
        found.budget.unpack(entry.size if entry.deflated else 0)
        archive.read(member, limit=entry.size)


def _is_large(text: memoryview) -> bool:
    """Tell whether JSON has more items than `strict_json` permits; it would find that out at great cost."""
    return len(text) > limits.SCHEMA_BYTES or bytes(text).count(b",") > limits.JSON_ITEMS


def _check_size(text: memoryview) -> None:
    if _is_large(text):
        raise too_large(f"Its header holds more than {limits.JSON_ITEMS:,} items.")


def json(name: str, view: memoryview, found: Findings) -> None:
    """Inspect JSON: that it has one meaning, and whether it names code to import."""
    if len(view) > limits.INSPECT_JSON_BYTES or _is_large(view):
        found.note("It is too large to be checked; JSON alone runs nothing.", "unchecked")
        return
    value = strict_json.parse(
        view, limit=limits.INSPECT_JSON_BYTES, floats=True, canonical=False, subject=name
    )
    if isinstance(value, dict) and isinstance(value.get("auto_map"), dict):
        found.endanger("Its auto_map names code that is imported where remote code is trusted.", "names-code")


def safetensors(name: str, view: memoryview, found: Findings) -> None:
    """Inspect a safetensors file: its header, and that its tensors cover it."""
    _check_size(view[8 : 8 + int.from_bytes(view[:8], "little")])
    safetensors_header.check(view, subject=name)


def text(name: str, view: memoryview, found: Findings) -> None:
    """Inspect a text, which nothing here loads."""
    last = name.rpartition("/")[2]
    if last.endswith(".py"):
        found.note("It is Python source: a loader that imports it runs it.", "source-code")
    elif last == "MLmodel" and b"loader_module:" in bytes(view[: limits.MIB]):
        found.endanger("Its flavor names a Python module that MLflow imports.", "names-code")


def data(name: str, view: memoryview, found: Findings) -> None:
    """Inspect bytes of no known format, which nothing here ever loads."""


def hdf5(name: str, view: memoryview, found: Findings) -> None:
    """Refuse HDF5."""
    found.endanger("A Lambda layer in it is Python bytecode that runs when it is loaded.", "runs-code")
    found.refuse("HDF5 models are never loaded: export to ONNX or SavedModel.", "format-refused")


def keras(name: str, view: memoryview, found: Findings) -> None:
    """Inspect a Keras archive: its configuration may name only layers of Keras's own."""
    found.endanger("Its configuration names classes that are imported and called.", "names-code")
    _read_all(view, found)
    configuration = zip_reader.open_archive(view).read(keras_walk.CONFIG, limit=limits.INSPECT_JSON_BYTES)
    _check_size(configuration)
    _tensorflow(keras_walk.walk(view, subject=name), "classes", found)


def savedmodel(name: str, view: memoryview, found: Findings) -> None:
    """Inspect a TensorFlow graph: its operators may only compute."""
    found.endanger("A graph is a program, which can read and write files.", "runs-code")
    _tensorflow(savedmodel_walk.walk(view, subject=name), "operators", found)


class _Walked(Protocol):
    """What the walks of Keras archives and SavedModels have in common."""

    @property
    def pins(self) -> tuple[str, ...]:
        """What is recorded at publishing."""

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of what wrote it."""

    @property
    def dangers(self) -> tuple[str, ...]:
        """What it can do beyond computing."""


def _tensorflow(walked: _Walked, what: str, found: Findings) -> None:
    found.types.update(walked.pins)
    found.versions.update(walked.versions)
    for danger in walked.dangers:
        found.endanger(danger, "runs-code")
    found.need_pins(
        f"It is loaded only where policy and operator name the format, with its {what} pinned.", "runs-code"
    )


def lightgbm(name: str, view: memoryview, found: Findings) -> None:
    """Inspect a LightGBM model: its trees, which its own reader does not check."""
    found.versions["lightgbm"] = lightgbm_text.check(view, subject=name).version


def xgboost(name: str, view: memoryview, found: Findings) -> None:
    """Inspect an XGBoost model: its trees, which its own reader does not check."""
    version = xgboost_model.check(view, subject=name).version
    found.versions["xgboost"] = ".".join(map(str, version))
