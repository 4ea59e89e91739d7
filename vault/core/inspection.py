"""Say what a file would do if it were loaded, without loading it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from vault.core import (
    formats,
    limits,
    npy,
    onnx_walk,
    pickle_opcodes,
    pickle_trace,
    pins,
    safetensors_header,
    skops_types,
    skops_walk,
    strict_json,
    zip_reader,
)
from vault.core.pickle_globals import KNOWN_LIBRARIES, STAND_INS
from vault.errors import Refused

Verdict = Literal["data", "needs-pins", "refused"]

_ARCHIVE_DEPTH: Final = 2
_ORDER: Final[Mapping[str, int]] = {"data": 0, "needs-pins": 1, "refused": 2}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in one file: its format, a verdict and the reasons for it.

    `data` loads nothing but numbers and text; `needs-pins` names types or
    globals that have to be pinned and allowed; `refused` is never loaded.
    `code` is the refusal's code, empty unless refused.
    """

    path: str
    format: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    globals: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    dangers: tuple[str, ...] = ()
    code: str = ""


@dataclass(slots=True)
class _Findings:
    """What an inspector adds to while it looks, so that a refusal keeps what was met before it."""

    verdict: Verdict = "data"
    reasons: list[str] = field(default_factory=list)
    globals: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    dangers: list[str] = field(default_factory=list)
    code: str = ""

    def worsen(self, verdict: Verdict, reason: str, code: str = "") -> None:
        """Record a reason; the verdict only ever gets worse."""
        self.reasons.append(reason)
        if _ORDER[verdict] > _ORDER[self.verdict]:
            self.verdict = verdict
        self.code = self.code or code


def inspect_bytes(name: str, data: bytes | memoryview) -> Inspection:
    """Inspect the content of a file called `name`; nothing of it is imported, built or run.

    Never raises for what the bytes are: what cannot be read is `refused`.
    """
    return _inspect(name, memoryview(data).toreadonly().cast("B"), 0)


def _inspect(name: str, view: memoryview, depth: int) -> Inspection:
    found = _Findings()
    kind = formats.by_extension(name)
    try:
        kind = formats.detect(view)
        if kind in formats.PICKLE_BASED and kind != formats.TORCH:
            kind = _pickle_kind(name, kind)
        formats.check(name, kind, view)
    except Refused as refusal:
        found.worsen("refused", refusal.message, refusal.code)
    try:
        if kind == formats.ZIP:
            _archive(name, view, found, depth)
        else:
            _INSPECTORS.get(kind, _nothing)(name, view, found)
    except Refused as refusal:
        found.worsen("refused", refusal.message, refusal.code)
    return Inspection(
        path=name,
        format=kind,
        verdict=found.verdict,
        reasons=tuple(dict.fromkeys(found.reasons)),
        globals=tuple(sorted(found.globals)),
        types=tuple(sorted(found.types)),
        versions=MappingProxyType(dict(sorted(found.versions.items()))),
        dangers=tuple(dict.fromkeys(found.dangers)),
        code=found.code if found.verdict == "refused" else "",
    )


def _pickle_kind(name: str, kind: str) -> str:
    """Call a pickle joblib where its extension does; its first bytes cannot tell the two apart."""
    return formats.JOBLIB if formats.by_extension(name) == formats.JOBLIB else kind


def _nothing(name: str, view: memoryview, found: _Findings) -> None:
    """Text and unknown data: nothing here ever loads them."""


def _onnx(name: str, view: memoryview, found: _Findings) -> None:
    summary = onnx_walk.walk(view, subject=name)
    found.versions["ir"] = str(summary.ir_version)
    found.versions.update({f"opset {domain or 'ai.onnx'}": str(v) for domain, v in summary.opsets.items()})
    if summary.producer:
        found.versions["producer"] = summary.producer
    found.types.update(f"{domain or 'ai.onnx'}.{operator}" for domain, operator in summary.operators)


def _skops(name: str, view: memoryview, found: _Findings) -> None:
    zip_reader.open_archive(view).verify()
    summary = skops_walk.walk(view, subject=name)
    found.versions.update({"skops": summary.skops_version, "protocol": str(summary.protocol)})
    found.types.update(summary.pins)
    beyond = sorted(set(summary.pins) - skops_types.DEFAULT_SKOPS_TYPES)
    if beyond:
        found.worsen("needs-pins", f"It names types beyond the default allowance: {', '.join(beyond)}.")


def _pickle(name: str, view: memoryview, found: _Findings, *, joblib: bool = False) -> None:
    tracer = pickle_trace.Tracer(joblib=joblib, subject=name)
    try:
        trace = pickle_trace.trace_with(tracer, view)
        found.versions["protocol"] = str(trace.protocol)
    finally:
        _judge_globals(tracer.globals | pickle_opcodes.text_globals(view), tracer.called, found)
    found.worsen("needs-pins", "It is a pickle, which is a program: load it only with pinned globals.")


def _joblib(name: str, view: memoryview, found: _Findings) -> None:
    _pickle(name, view, found, joblib=True)


def _judge_globals(names: set[str], called: set[str], found: _Findings) -> None:
    """Sort out the globals of a pickle: dangerous ones, unknown ones, those of known libraries."""
    found.globals.update(names)
    for name in sorted(names):
        if pins.is_forbidden(name):
            verb = "call" if name in called else "reach"
            found.dangers.append(f"It would {verb} {name}.")
            found.worsen("refused", f"It names {name}, which is never loaded.", "not-allowed")
        elif name not in STAND_INS and name.partition(".")[0] not in KNOWN_LIBRARIES:
            found.worsen("refused", f"It names {name}, which belongs to no known library.", "not-allowed")


def _torch(name: str, view: memoryview, found: _Findings) -> None:
    archive = zip_reader.open_archive(view)
    for member in archive.entries:
        if member == "data.pkl" or member.endswith("/data.pkl"):
            _pickle(member, archive.read(member, limit=limits.UNPACKED_BYTES), found)


def _npz(name: str, view: memoryview, found: _Findings) -> None:
    archive = zip_reader.open_archive(view)
    archive.verify()
    npy.check_archive(archive, subject=name)


def _npy(name: str, view: memoryview, found: _Findings) -> None:
    npy.parse_header(view[: npy.HEADER_BYTES + 12], size=len(view), subject=name)


def _json(name: str, view: memoryview, found: _Findings) -> None:
    strict_json.parse(view, limit=limits.DATA_JSON_BYTES, floats=True, canonical=False, subject=name)


def _safetensors(name: str, view: memoryview, found: _Findings) -> None:
    safetensors_header.check(view, subject=name)


def _hdf5(name: str, view: memoryview, found: _Findings) -> None:
    found.dangers.append("A Lambda layer in it is Python bytecode that runs when it is loaded.")
    found.worsen("refused", "HDF5 models are never loaded: export to ONNX or SavedModel.", "format-refused")


def _keras(name: str, view: memoryview, found: _Findings) -> None:
    found.dangers.append("Its configuration can name code to import.")
    found.worsen("refused", "Keras archives are not loaded by this release.", "format-refused")


def _savedmodel(name: str, view: memoryview, found: _Findings) -> None:
    found.dangers.append("A graph can read and write files.")
    found.worsen("refused", "TensorFlow graphs are not loaded by this release.", "format-refused")


def _archive(name: str, view: memoryview, found: _Findings, depth: int) -> None:
    """Inspect every member of a plain archive, down to a fixed depth."""
    if depth >= _ARCHIVE_DEPTH:
        found.worsen("refused", "Archives are nested too deeply to be inspected.", "malformed-archive")
        return
    archive = zip_reader.open_archive(view)
    for member, entry in archive.entries.items():
        inner = _inspect(
            member, archive.read(member, limit=min(entry.size, limits.UNPACKED_BYTES)), depth + 1
        )
        found.globals.update(inner.globals)
        found.types.update(inner.types)
        found.dangers.extend(f"{member}: {danger}" for danger in inner.dangers)
        for reason in inner.reasons:
            found.worsen(inner.verdict, f"{member}: {reason}", inner.code)


_INSPECTORS: Final[Mapping[str, Callable[[str, memoryview, _Findings], None]]] = {
    formats.HDF5: _hdf5,
    formats.JOBLIB: _joblib,
    formats.JSON: _json,
    formats.KERAS: _keras,
    formats.NPY: _npy,
    formats.NPZ: _npz,
    formats.ONNX: _onnx,
    formats.PICKLE: _pickle,
    formats.SAFETENSORS: _safetensors,
    formats.SAVEDMODEL: _savedmodel,
    formats.SKOPS: _skops,
    formats.TORCH: _torch,
}
