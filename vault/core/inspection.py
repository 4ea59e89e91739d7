"""Say what a file would do if it were loaded, without loading it.

One function inspects one format; the table `INSPECTORS` names it. Containers
hand what they hold back to here, on one budget for the whole file.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from vault.core import (
    formats,
    inspectors_archive,
    inspectors_data,
    inspectors_pickle,
    limits,
    zip_reader,
)
from vault.core.findings import Budget, Finding, Findings, Inspection, Level, Verdict
from vault.errors import Malformed, Refused

__all__ = [
    "INSPECTORS",
    "Finding",
    "Inspection",
    "Level",
    "Verdict",
    "inspect_bytes",
    "inspect_folder",
    "set_aside",
]

Inspector = Callable[[str, memoryview, Findings], None]

FOLDER: Final = "folder"
_PLAIN: Final = re.compile(r"[\w./][\w./@%+=:,-]*", re.ASCII)
_CONVERTIBLE: Final = frozenset({formats.JOBLIB, formats.PICKLE})


def inspect_bytes(name: str, data: bytes | memoryview) -> Inspection:
    """Inspect the content of a file called `name`; nothing of it is imported, built or run.

    Never raises for what the bytes are: what cannot be read is `refused`.
    """
    view = memoryview(data).toreadonly().cast("B")
    budget = Budget(unpacked=limits.INSPECT_UNPACKED_BYTES + 2 * len(view))
    return _inspect(name, view, budget, 0)


def set_aside(path: str, format: str, rule: str, message: str, code: str, *, hint: str = "") -> Inspection:
    """Refuse something that is not looked into: a link, a pipe, a file that cannot be read."""
    found = Findings(Budget(), 0, _nowhere)
    found.refuse(message, code, rule=rule, hint=hint)
    return found.judged(path, format, 0)


def inspect_folder(path: str, members: Sequence[Inspection]) -> Inspection:
    """Put together the inspections of everything below a folder; the worst verdict is the folder's.

    The paths of `members` begin with `path`.
    """
    found = Findings(Budget(), 0, _nowhere)
    names = [member.path.removeprefix(path.rstrip("/") + "/") for member in members]
    for name, member in zip(names, members, strict=True):
        found.take_in(member, name)
    return found.judged(path, folder_kind(names), sum(member.size for member in members))


def folder_kind(paths: Sequence[str]) -> str:
    """Name the kind of folder that holds `paths`: a SavedModel, a Hugging Face or MLflow model, or any."""
    top = {path for path in paths if "/" not in path}
    if top & {"saved_model.pb", "saved_model.pbtxt"}:
        return "savedmodel folder"
    if "MLmodel" in top:
        return "mlflow folder"
    weights = (".safetensors", ".bin", ".h5", ".msgpack", ".onnx")
    if "config.json" in top and any(path.endswith(weights) for path in top):
        return "hugging-face folder"
    return FOLDER


def _typed(path: str) -> str:
    """Write a path as it can be typed in a shell, whatever its name is."""
    if not path.isprintable():
        return "FILE"
    if _PLAIN.fullmatch(path):
        return path
    quoted = path.replace("'", "'\\''")
    return f"'./{quoted}'" if path.startswith("-") else f"'{quoted}'"


def _nowhere(name: str, view: memoryview) -> Inspection:
    raise LookupError(f"{name} lies in nothing that is inspected by layers")


def _inspect(name: str, view: memoryview, budget: Budget, layer: int) -> Inspection:
    found = Findings(budget, layer, lambda member, content: _inspect(member, content, budget, layer + 1))
    kind, inspector = _recognise(name, view, found)
    try:
        if kind in formats.FORMATS:
            inspectors_archive.check_single(kind, view, found)
        if kind in (formats.DATA, formats.TEXT):
            inspectors_pickle.hidden(name, view, found)
        inspector(name, view, found)
    except Refused as refusal:
        found.refused(refusal)
    if kind in _CONVERTIBLE and found.verdict == "needs-pins" and not found.hint:
        found.hint = f"Convert it: mvault convert {_typed(name)} --to skops."
    return found.judged(name, kind, len(view))


def _recognise(name: str, view: memoryview, found: Findings) -> tuple[str, Inspector]:
    """Name the format by content, hold it against the name, and give who inspects it."""
    kind = formats.by_extension(name)
    try:
        kind = _detect(kind, view)
        if kind in formats.PICKLE_BASED and kind != formats.TORCH:
            kind = _pickle_kind(name, kind)
        formats.check(name, kind, view)
    except Refused as refusal:
        found.refused(refusal)
    container = inspectors_archive.container_of(kind, name, view)
    if container:
        return container, _CONTAINERS.get(container, inspectors_archive.unread)
    return kind, INSPECTORS.get(kind, inspectors_data.data)


def _detect(named: str, view: memoryview) -> str:
    """Name the format by content; what `zip -r` packs is a zip archive, although no load would take it."""
    try:
        return formats.detect(view)
    except Malformed:
        if named != formats.ZIP or not _is_everyday_zip(view):
            raise
        return formats.ZIP


def _is_everyday_zip(view: memoryview) -> bool:
    try:
        archive = zip_reader.open_archive(view, everyday=True)
    except Malformed:
        return False
    return formats.of_members(archive.entries.keys()) == formats.ZIP


def _pickle_kind(name: str, kind: str) -> str:
    """Call a pickle joblib where its extension does; its first bytes cannot tell the two apart."""
    return formats.JOBLIB if formats.by_extension(name) == formats.JOBLIB else kind


INSPECTORS: Final[Mapping[str, Inspector]] = {
    formats.HDF5: inspectors_data.hdf5,
    formats.JOBLIB: inspectors_pickle.joblib,
    formats.JSON: inspectors_data.json,
    formats.KERAS: inspectors_data.keras,
    formats.LIGHTGBM: inspectors_data.lightgbm,
    formats.NPY: inspectors_pickle.array,
    formats.NPZ: inspectors_pickle.npz,
    formats.ONNX: inspectors_data.onnx,
    formats.PICKLE: inspectors_pickle.pickle,
    formats.SAFETENSORS: inspectors_data.safetensors,
    formats.SAVEDMODEL: inspectors_data.savedmodel,
    formats.SKOPS: inspectors_data.skops,
    formats.TEXT: inspectors_data.text,
    formats.TORCH: inspectors_pickle.torch,
    formats.XGBOOST: inspectors_data.xgboost,
    formats.ZIP: inspectors_archive.zip_archive,
}
_CONTAINERS: Final[Mapping[str, Inspector]] = {
    inspectors_archive.TAR: inspectors_archive.tar_archive,
    **dict.fromkeys(("gzip", "bzip2", "xz", "lzma", "zlib"), inspectors_archive.compressed),
}
