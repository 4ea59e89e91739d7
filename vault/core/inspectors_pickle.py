"""Inspect pickles wherever they are: bare, compressed, in PyTorch archives and in object arrays."""

from collections.abc import Iterable, Mapping
from typing import Final

from vault.core import limits, npy, pickle_survey, pickle_trace, pins, zip_reader
from vault.core.findings import Findings, too_large
from vault.core.pickle_globals import KNOWN_LIBRARIES, STAND_INS
from vault.core.pickle_survey import Survey
from vault.core.unpacking import compression_of, unpack
from vault.errors import FormatRefused, Refused

_SHOWN: Final = 200  # characters of a name that are told
_WRITTEN_BYTES: Final = 64 * limits.MIB
_HIDDEN_OPCODES: Final = 100_000
_TORCH: Final = "torch"
_TORCH_HINT: Final = "Save its weights as safetensors (safetensors.torch.save_file), or export it to ONNX."
_BAD_HINT: Final = "Do not load it anywhere. Ask whoever made it what this is for."


def pickle(name: str, view: memoryview, found: Findings) -> None:
    """Inspect a pickle that is not compressed."""
    _pickle(name, view, found, joblib=False)


def joblib(name: str, view: memoryview, found: Findings) -> None:
    """Inspect a joblib file: a pickle with arrays between its opcodes, compressed or not."""
    if compression_of(bytes(view[:16])):
        stream = unpack(view, room=found.budget.room())
        if not stream.whole:
            found.refuse("It is cut short, or has something behind its end.", "pickle-refused")
        found.versions["compression"] = stream.kind
        found.budget.unpack(len(stream.content))
        view = stream.content
    _pickle(name, view, found, joblib=True)


def hidden(name: str, view: memoryview, found: Findings) -> None:
    """Refuse bytes of no format that a pickle reader would take for a pickle.

    Those that begin like one are recognised as such; these have much before their first name.
    """
    met = pickle_survey.survey(view, opcodes=max(0, min(found.budget.surveyed, _HIDDEN_OPCODES)))
    found.budget.surveyed -= met.opcodes
    names = met.globals or (met.cut and pickle_survey.written(view[met.end :], limit=_WRITTEN_BYTES))
    if names and (met.streams or met.cut):
        found.refuse("It can be read as a pickle.", "format-content", rule="ambiguous-content")
        _pickle(name, view, found, joblib=False)


def _pickle(name: str, view: memoryview, found: Findings, *, joblib: bool) -> None:
    """Let the gate's machine trace it; where that refuses, survey it for what it names all the same."""
    budget = found.budget
    tracer = pickle_trace.Tracer(joblib=joblib, subject=name)
    met: Survey | None = None
    try:
        if budget.opcodes <= 0:
            raise too_large("The pickles in it have more operations than an inspection looks at.")
        trace = pickle_trace.trace_with(tracer, view)
        found.versions["protocol"] = str(trace.protocol)
        budget.opcodes -= trace.opcodes
    except Refused as refusal:
        found.refused(refusal)
        met = _survey(view, found, called=tracer.called)
    names: dict[str, int | None] = dict.fromkeys(tracer.globals)
    if met is None and any(not _is_known(global_) for global_ in names):
        met = _survey(view, found, called=tracer.called)
    if met is not None:
        names.update(met.globals)
        if met.cut or met.array or met.end < len(view):
            rest = pickle_survey.written(view[met.end :], limit=_WRITTEN_BYTES)
            names.update(dict.fromkeys(sorted(_dangerous(rest) - set(names))))
    _judge(names, tracer.called, found)
    if met is not None:
        _tell_survey(met, found)
    if version := pickle_survey.sklearn_version(view, limit=_WRITTEN_BYTES):
        found.versions["scikit-learn"] = version
    found.need_pins("It is a pickle, which is a program: load it only with pinned globals.", "pickle")
    if found.hint != _BAD_HINT and any(name.startswith("torch.") for name in names):
        found.hint = _TORCH_HINT


def _survey(view: memoryview, found: Findings, *, called: set[str]) -> Survey:
    met = pickle_survey.survey(view, opcodes=max(0, found.budget.surveyed))
    found.budget.surveyed -= met.opcodes
    called |= met.called
    return met


def _tell_survey(met: Survey, found: Findings) -> None:
    """Tell what else a survey met."""
    if met.streams or met.protocol:
        found.versions["protocol"] = str(met.protocol)
    if met.hidden:
        found.endanger(
            "It works out the name of a global while it is loaded.", "hidden-global", level="error"
        )
    if met.streams > 1:
        found.endanger(f"It holds {met.streams} pickles one behind the other.", "many-pickles")


def _dangerous(names: Iterable[str]) -> set[str]:
    return {name for name in names if pins.is_forbidden(name)}


def _is_known(name: str) -> bool:
    library = name.partition(".")[0]
    known = name in STAND_INS or library in KNOWN_LIBRARIES or library == _TORCH
    return known and not pins.is_forbidden(name)


def _judge(names: Mapping[str, int | None], called: set[str], found: Findings) -> None:
    """Sort out the globals of a pickle: dangerous ones, unknown ones, those of known libraries."""
    for name in sorted(names):
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…"
        found.globals.add(shown)
        if pins.is_forbidden(name):
            verb = "call" if name in called else "reach"
            found.dangers[f"It would {verb} {shown}."] = None
            message = f"It names {shown}, which is never loaded."
            found.hint = _BAD_HINT
            found.refuse(message, "not-allowed", rule="forbidden-global", offset=names[name])
        elif not _is_known(name):
            message = f"It names {shown}, which belongs to no known library."
            found.refuse(message, "not-allowed", rule="unknown-global", offset=names[name])


def torch(name: str, view: memoryview, found: Findings) -> None:
    """Inspect every pickle of a PyTorch archive; tensors beside them are raw numbers."""
    archive = zip_reader.open_archive(view)
    for member, entry in archive.entries.items():
        folder, _, last = member.rpartition("/")
        if last.endswith(".pkl") or not _is_tensor(folder):
            found.budget.member()
            found.budget.unpack(entry.size if entry.deflated else 0)
            content = archive.read(member, limit=entry.size)
            if last.endswith(".pkl"):
                _pickle(member, content, found, joblib=False)
            elif last.endswith(".py"):
                found.endanger("It holds a TorchScript program.", "runs-code")
            elif bytes(content[:1]) == b"\x80":
                found.take_in(found.look(member, content), member)
    found.refuse("PyTorch archives are never loaded: they are pickles.", "format-refused", hint=_TORCH_HINT)


def _is_tensor(folder: str) -> bool:
    return folder.rpartition("/")[2] in ("data", "constants", "tensors", "weights")


def npz(name: str, view: memoryview, found: Findings) -> None:
    """Inspect the arrays of an archive; those of objects are pickles."""
    archive = zip_reader.open_archive(view)
    refusal: FormatRefused | None = None
    for member, entry in archive.entries.items():
        found.budget.member()
        found.budget.unpack(entry.size if entry.deflated else 0)
        content = archive.read(member, limit=entry.size)
        try:
            npy.parse_header(content[: npy.HEADER_BYTES + 12], size=entry.size, subject=member)
        except FormatRefused as error:
            refusal = refusal or error
            _object_array(member, content, found)
    if refusal is not None:
        raise refusal


def array(name: str, view: memoryview, found: Findings) -> None:
    """Inspect one array; one of objects is a pickle."""
    try:
        npy.parse_header(view[: npy.HEADER_BYTES + 12], size=len(view), subject=name)
    except FormatRefused:
        _object_array(name, view, found)
        raise


def _object_array(name: str, view: memoryview, found: Findings) -> None:
    """Look into the pickle that stands behind the header of an array of objects, if one does."""
    width = 2 if bytes(view[6:7]) == b"\x01" else 4
    length = int.from_bytes(view[8 : 8 + width], "little")
    content = view[8 + width + length :]
    if bytes(content[:1]) == b"\x80" and length <= npy.HEADER_BYTES:
        _pickle(name, content, found, joblib=False)
