"""Make a package of an old model: look at its files, convert pickles in a confined process, tell the rest.

No pickle is ever loaded in this process: it is traced by our own reader, and
what a confined process made of it is looked at as a stranger's file.
"""

import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from vault.actions import needed, packing, sample_file, savedmodel_folder
from vault.actions.convert_job import MEMORY, SECONDS, Job, Options, no_sandbox
from vault.actions.convert_messages import Message
from vault.actions.packing import Found
from vault.actions.publish import BytesSource, Contents, PackageFile
from vault.actions.session import Session
from vault.actions.taking_over_places import Place
from vault.actions.taking_over_room import Room
from vault.actions.taking_over_snapshot import Copied, Snapshot
from vault.confinement import confine
from vault.core import formats, limits, names, pickle_dangers, savedmodel_walk
from vault.core.adoption_pattern import Pattern
from vault.core.adoption_plan import Candidate
from vault.core.adoption_report import Comparison
from vault.core.inspection import Inspection, inspect_bytes
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, Malformed, NotFound
from vault.ports import no_progress

_CONVERTED: Final = frozenset({formats.PICKLE, formats.JOBLIB})
_KEPT: Final = frozenset(
    {
        *(formats.ONNX, formats.SKOPS, formats.SAFETENSORS, formats.LIGHTGBM, formats.XGBOOST),
        *(formats.KERAS, formats.SAVEDMODEL, formats.NPZ, formats.NPY),
    }
)
_HINTS: Final[Mapping[str, str]] = {
    formats.TORCH: "Save its weights as safetensors where its code is installed.",
    formats.HDF5: "Save it anew as .keras, or export it as a SavedModel, where Keras is installed.",
    formats.JSON: "XGBoost's own models are taken over as .ubj: save_model('model.ubj').",
    formats.ZIP: "Unpack it, and adopt the folder.",
}
_SAMPLE_ROWS: Final = 5_000
_SHOWN: Final = 100  # globals that are recorded


@dataclass(frozen=True, slots=True)
class How:
    """How old models are made into packages; see `Vault.adopt`."""

    to: str = formats.SKOPS
    sample: Pattern | None = None
    tolerance: float = 0.0
    memory: int = MEMORY
    seconds: int = SECONDS
    tags: tuple[str, ...] = ()
    notes: str | None = None


@dataclass(slots=True)
class Look:
    """What was found out about an origin so far; it is told also where the origin remains."""

    formats: dict[str, str] = field(default_factory=dict)
    globals: frozenset[str] = frozenset()
    dangers: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """The formats of its models in words."""
        known = {kind for kind in self.formats.values() if kind in formats.MODELS | formats.ARRAYS}
        return ", ".join(sorted(known or {*self.formats.values()}))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A package that is ready to be published."""

    contents: Contents
    became: str
    comparison: Comparison | None
    warnings: tuple[str, ...]


def look(snapshot: Snapshot, found: Look) -> None:
    """Look at every file as `inspect` does; fill `found` in.

    Raises:
        FormatRefused: a file may not be loaded, is no model, or no model is among them.
        Malformed: a damaged file.
    """
    alone = len(snapshot.files) == 1
    folders = savedmodel_folder.folders(snapshot.files)
    for inside, file in snapshot.files.items():
        if _is_beside(inside, folders):
            found.formats[inside] = formats.DATA  # variables, of which any bytes may be true
            continue
        with file.view() as whole:
            kind = _kind(file, whole)
            known = inspect_bytes(_name(inside, kind), whole)
        found.formats[inside] = kind
        found.globals |= frozenset(known.globals)
        if kind in _CONVERTED:
            found.dangers += pickle_dangers.among(known.globals)
            _check_pickle(file, found.dangers)
        elif kind not in _KEPT and (alone or kind in (formats.TORCH, formats.HDF5)):
            raise FormatRefused(
                f"{file.path} is no model that can be adopted: its content is {kind}.",
                subject=file.path,
                hint=_HINTS.get(kind, "See: mvault inspect FILE."),
            )
        elif known.verdict == "refused" and kind in _KEPT:
            raise _refused(file, known)
    if not any(kind in _CONVERTED | _KEPT for kind in found.formats.values()):
        raise FormatRefused("There is no model among these files.", hint="See: mvault inspect FOLDER.")


def _kind(file: Copied, whole: memoryview) -> str:
    """Name a file's format by its content; the name tells apart what that cannot."""
    kind = formats.detect(whole) if len(whole) else formats.DATA
    is_joblib = kind == formats.PICKLE and formats.by_extension(file.path) == formats.JOBLIB
    return formats.JOBLIB if is_joblib else kind


def _is_beside(inside: str, folders: frozenset[str]) -> bool:
    return ("" in folders and inside != savedmodel_walk.GRAPH) or savedmodel_folder.is_beside(inside, folders)


def _check_pickle(file: Copied, dangers: tuple[str, ...]) -> None:
    if file.stamp.size > limits.PICKLE_BYTES:
        raise Malformed(
            f"{file.path} has {file.stamp.size:,} bytes; at most {limits.PICKLE_BYTES:,} are converted.",
            code="too-large",
            subject=file.path,
        )
    if dangers:
        raise FormatRefused(
            f"{file.path} names {', '.join(dangers[:5])}, which no model needs. It was not loaded.",
            code="not-allowed",
            subject=file.path,
            hint="Do not trust it. Ask its author what it is for.",
        )


def _refused(file: Copied, known: Inspection) -> FormatRefused:
    reasons = " ".join(known.reasons[:3]) or "It may not be loaded."
    return FormatRefused(f"{file.path}: {reasons}", code=known.code, subject=file.path, hint=known.hint)


def prepare(
    session: Session,
    place: Place,
    candidate: Candidate,
    snapshot: Snapshot,
    found: Look,
    how: How,
    room: Room,
) -> Prepared:
    """Convert what is a pickle, take the rest as it is, and write down where it all comes from.

    Raises:
        FormatRefused, PickleRefused, Malformed, MissingLibrary, Unavailable, ValueError: it remains.
    """
    rows = _sample(place, candidate, how)
    job = _Conversions(session, how, rows, room)
    parts: list[Found] = []
    for inside, file in snapshot.files.items():
        kind = found.formats[inside]
        if kind in _CONVERTED:
            data = job.run(file)
            path = names.path(_with_ending(inside, how.to))
            parts.append(_in_memory(path, data))
        else:
            parts.append(Found(names.path(_name(inside, kind)), file.source, file.view))
    if savedmodel_walk.GRAPH in snapshot.files:
        parts = [replace(part, path=names.path(f"model/{part.path}")) for part in parts]
    files = packing.classified(parts, session)
    models = {file.format for file in files if file.role == "model"} or {file.format for file in files}
    info = _describe(session, place, candidate, snapshot, found, how)
    info.update(job.described())
    info["requirements"] = needed.record((file.format, file.pins) for file in files)  # for load tests
    # The libraries of this process wrote what was converted; of the rest nobody knows.
    libraries = _libraries() if job.made else {}
    contents = Contents([*files, *job.sample_files()], info, libraries)
    return Prepared(contents, ", ".join(sorted(models)), job.comparison, job.warnings)


def _libraries() -> dict[str, str]:
    from vault.actions import provenance

    return provenance.libraries()


class _Conversions:
    """The conversions of one origin's pickles; of them the first one that predicts is described."""

    def __init__(self, session: Session, how: How, rows: Any, room: Room) -> None:
        self._allowance = session.allowance
        self._how = how
        self._rows = rows
        self._room = room
        self.made: Message | None = None
        self.comparison: Comparison | None = None
        self.warnings: tuple[str, ...] = ()

    def run(self, file: Copied) -> memoryview:
        """Have a pickle written anew, tried out and compared; give the new file.

        Raises:
            FormatRefused, Malformed, MissingLibrary, Unavailable.
        """
        level = confine.available()
        if not level.whole:
            raise no_sandbox(level)
        how = self._how
        options = Options(self._rows, how.tolerance, memory=how.memory, seconds=how.seconds)
        job = Job(Path(file.path), how.to, options, self._allowance, no_progress)
        with self._room.taken(file.stamp.size):
            made = job.convert(file.descriptor, file.stamp.size)
            job.admit(made)
            rows, differing, weak = job.compare(made)
        self.warnings += made.texts("warnings")
        if self.made is None or self.made.head.get("predicts") is not True:
            self.made = made
            self.comparison = Comparison(job.origin(made), rows, differing, weak)
        return made.parts["model"]

    def described(self) -> dict[str, JSONValue]:
        """Give what the confined process said of the model; it is told as the file's own word."""
        made, compared = self.made, self.comparison
        if made is None or compared is None:
            return {}
        classes = made.head.get("classes")
        told: dict[str, JSONValue] = {
            "classes": classes if isinstance(classes, list) else None,
            "estimator": made.text("estimator"),
            "parity": {
                self._how.to: {
                    "differing": compared.differing,
                    "rows": compared.rows,
                    "sample": compared.sample,
                    "weak": compared.weak,
                }
            },
        }
        if made.texts("features"):
            told["features"] = [*made.texts("features")]
        if made.text("saved_with"):
            told["saved_with"] = made.text("saved_with")
        return told

    def sample_files(self) -> list[PackageFile]:
        """Give the given rows, and what the old model said of them, as `save_model` keeps both."""
        if self._rows is None or self.made is None:
            return []
        from vault.loaders import arrays

        kept = self._rows[:_SAMPLE_ROWS]
        packed = {"sample.npz": arrays.dump_sample(kept)}
        for name, part in self.made.parts.items():
            if name.startswith("out."):  # of these rows, then of those that were made from them
                said = arrays.restore_sample(part, subject=name)[: len(kept)]
                packed[f"sample.{name.removeprefix('out.')}.npz"] = arrays.dump_sample(said)
        return [_packed(names.path(path), data) for path, data in packed.items()]


def _packed(path: names.Path, data: bytes) -> PackageFile:
    return PackageFile(path, "sample", formats.NPZ, lambda: nullcontext(BytesSource(data)))


def _sample(place: Place, candidate: Candidate, how: How) -> Any:
    """Read the rows that lie beside a model, if there are any.

    Raises:
        FormatRefused, Malformed, Unavailable, ValueError: they cannot be read.
    """
    if how.sample is None:
        return None
    path = how.sample.fill(candidate.origin.named)
    ending = Path(path).suffix.lower()
    if ending not in sample_file.ENDINGS:
        raise ValueError(f"{path} cannot be read as rows: name a {', '.join(sample_file.ENDINGS)} file.")
    with tempfile.TemporaryDirectory(prefix="mvault-adopt-") as folder:
        copy = Path(folder) / f"rows{ending}"
        with copy.open("xb") as file:
            try:
                place.copy(path, file.fileno(), most=limits.DATA_JSON_BYTES)
            except NotFound:
                return None
        return sample_file.read(copy)


def _describe(
    session: Session, place: Place, candidate: Candidate, snapshot: Snapshot, found: Look, how: How
) -> dict[str, JSONValue]:
    """Write down what is known: the origin of every byte, and what its registry said of it."""
    facts = candidate.facts
    origins: list[JSONValue] = [
        {
            "format": found.formats[inside],
            "modified": _time(file.stamp.modified),
            "path": file.path,
            "sha256": file.sha256,
            "size": file.stamp.size,
        }
        for inside, file in snapshot.files.items()
    ]
    named = sorted(found.globals)
    return {
        "adopted": {
            "environments": [*candidate.environments],
            "files": origins,
            "globals": [*named[:_SHOWN]],
            "modified": _time(snapshot.modified),
            "path": candidate.origin.path,
            "sha256": snapshot.sha256,
            "size": snapshot.size,
            "source": place.location,
        },
        "classes": None,
        "features": None if facts.features is None else [*facts.features],
        "metrics": dict(facts.metrics),
        "notes": how.notes or facts.notes,
        "params": dict(facts.params),
        "saved": session.now(),
        "tags": [*dict.fromkeys((*how.tags, *facts.tags))],
        **facts.more,
    }


def _time(seconds: int | None) -> str | None:
    return None if seconds is None or not 0 <= seconds < 1 << 36 else names.time_text(seconds)


def _name(inside: str, kind: str) -> str:
    """Call a lone file `model`, others by their own names, with the ending of what they are."""
    if not inside:
        return _with_ending("model", kind)
    if kind in formats.MODELS and formats.by_extension(inside) in (formats.DATA, formats.TEXT):
        return _with_ending(inside, kind)
    return inside


def _with_ending(inside: str, kind: str) -> str:
    if kind == formats.SAVEDMODEL:
        return inside or savedmodel_walk.GRAPH
    folder, slash, name = (inside or "model").rpartition("/")
    stem = name.rpartition(".")[0] or name
    return f"{folder}{slash}{stem}{next(iter(formats.FORMATS[kind].extensions), '')}"


def _in_memory(path: names.Path, data: memoryview) -> Found:
    return Found(path, lambda: nullcontext(BytesSource(data)), lambda: nullcontext(data))
