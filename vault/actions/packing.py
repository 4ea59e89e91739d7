"""Package files that exist: a file, a folder, a zip archive, bytes or a stream."""

import os
import stat
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, BinaryIO

from vault.actions import auditing, local_files, needed, parentage, provenance, savedmodel_folder
from vault.actions.parentage import Named
from vault.actions.publish import BytesSource, Contents, PackageFile, publish
from vault.actions.session import Session
from vault.core import formats, limits, manifest, names, static_stage, zip_reader
from vault.core.names import Model, Path, Reference, Version
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, Malformed, NotFound, Unavailable
from vault.ports import Source
from vault.storage.local_reading import LocalSource

Packable = str | os.PathLike[str] | bytes | BinaryIO
_COPY = 1 << 20
_ROLES = {"features.json": "features", "requirements.txt": "requirements"}


@dataclass(frozen=True, slots=True)
class Labels:
    """What a caller tells of files beside the files themselves; see `Vault.push`."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    features: Sequence[str] | None = None
    notes: str | None = None
    tags: Sequence[str] = ()
    training_data: Any = None
    parents: Sequence[Named] = ()
    bump: str | None = None
    documents: bool = False


def push(
    session: Session,
    model: Model,
    sources: Sequence[Packable],
    version: Version | None,
    labels: Labels,
    *,
    sample: Packable | None,
    public: bool,
    check: Callable[[Mapping[Path, bytes]], None] | None = None,
) -> Reference:
    """Package and publish files as they are; each is looked at by its static stage first.

    `check` is given the SHA-256 of every file before the version is signed, and may refuse them.

    Raises:
        NotFound: a path is not there.
        FormatRefused, PickleRefused, Malformed: a file is not what it says, or may never be loaded.
        ValueError: no files, or two of the same path.
        AccessDenied, Conflict, Unavailable, NoUsableKey.
    """
    with auditing.acting(session, "publish", str(model), session.environment, model=model, version=version):
        parents = parentage.resolve(session, labels.parents)
        contents = _packaged(session, sources, labels, sample, public)
        contents = replace(contents, parents=parents, bump=labels.bump, check=check)
        contents = replace(contents, documents=labels.documents)
        return publish(session, model, version, contents)


def look(
    session: Session, sources: Sequence[Packable], labels: Labels, *, sample: Packable | None, public: bool
) -> Contents:
    """Look at files as `push` does, by formats and static stages, and publish nothing.

    Raises:
        As `push`.
    """
    return _packaged(session, sources, labels, sample, public)


def _packaged(
    session: Session, sources: Sequence[Packable], labels: Labels, sample: Packable | None, public: bool
) -> Contents:
    files = classified([entry for source in sources for entry in _settled(source)], session)
    if sample is not None:
        files += [_one_classified(session, entry, alone=False, role="sample") for entry in _gather(sample)]
    info: dict[str, JSONValue] = {
        **provenance.describe(FilePath.cwd(), session.provenance),
        "classes": None,
        "features": None if labels.features is None else [*labels.features],
        "metrics": {name: float(value) for name, value in labels.metrics.items()},
        "notes": labels.notes,
        "params": {name: str(value) for name, value in labels.params.items()},
        "requirements": needed.record((file.format, file.pins) for file in files),
        "saved": session.now(),
        "tags": [*labels.tags],
        **provenance.training(labels.training_data),
    }
    return Contents(files, info, provenance.libraries(), public)


def classified(found: "Sequence[Found]", session: Session) -> list[PackageFile]:
    """Settle formats and roles of all files of a package; those beside a SavedModel's graph are its data.

    Raises:
        FormatRefused, PickleRefused, Malformed: as `push`.
    """
    folders = savedmodel_folder.folders(entry.path for entry in found)
    files = [
        PackageFile(entry.path, "file", formats.DATA, entry.open)
        if savedmodel_folder.is_beside(entry.path, folders)
        else _one_classified(session, entry, alone=len(found) == 1, role=None)
        for entry in found
    ]
    for entry in found:
        if savedmodel_folder.is_graph(entry.path):
            with entry.view() as whole:
                savedmodel_folder.check(entry.path, whole, [other.path for other in found])
    return files


@dataclass(frozen=True, slots=True)
class Found:
    """A file to be packaged: `open` gives it to the sealing, `view` shows it to the static stage."""

    path: Path
    open: Callable[[], AbstractContextManager[Source]]
    view: Callable[[], AbstractContextManager[memoryview]]


def _settled(source: Packable) -> list["Found"]:
    """Gather the files of one source; a SavedModel at its top gets a folder of its own."""
    found = list(_gather(source))
    folders = savedmodel_folder.folders(entry.path for entry in found)
    return [
        replace(entry, path=_package_path(savedmodel_folder.moved(entry.path, folders))) for entry in found
    ]


def _gather(source: Packable) -> Iterator[Found]:
    """Turn what a caller gave into files; bytes and streams are called `model` after their content."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield _in_memory(_name_for(memoryview(source)), memoryview(source).toreadonly())
    elif isinstance(source, str | os.PathLike):
        yield from _from_path(FilePath(source))
    elif hasattr(source, "read"):
        yield _from_stream(source)
    else:
        raise TypeError(f"A path, bytes or a stream can be packaged, not {type(source).__name__}.")


def _from_path(path: FilePath) -> Iterator[Found]:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
    if stat.S_ISDIR(mode):
        yield from _from_folder(path, path)
    elif stat.S_ISREG(mode) and path.suffix.lower() == ".zip":
        yield from _from_zip(path)
    elif stat.S_ISREG(mode):
        yield _on_disk(_package_path(path.name), path)
    else:
        raise local_files.not_a_file(path)


def _from_folder(top: FilePath, folder: FilePath) -> Iterator[Found]:
    for entry in sorted(os.scandir(folder), key=lambda found: found.name):
        path = FilePath(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _from_folder(top, path)
        elif entry.is_file(follow_symlinks=False):
            yield _on_disk(_package_path(path.relative_to(top).as_posix()), path)
        else:
            raise local_files.not_a_file(path)


def _from_zip(path: FilePath) -> Iterator[Found]:
    with _on_disk(names.path("archive.zip"), path).view() as view:
        archive = zip_reader.open_archive(bytes(view))
        for name in sorted(archive.entries):
            yield _in_memory(_package_path(name), archive.read(name, limit=limits.LOAD_BYTES))


def _from_stream(stream: BinaryIO) -> Found:
    """Copy a stream into a file without a name: it can be read twice, and nothing stays behind."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the callables below)
    size = 0
    while block := stream.read(_COPY):
        file.write(block)
        size += len(block)
    file.flush()

    def source() -> AbstractContextManager[Source]:
        return nullcontext(LocalSource(file.fileno(), size, "stream"))

    def view() -> AbstractContextManager[memoryview]:
        return local_files.mapped(file.fileno(), size)

    weakref.finalize(source, file.close)
    with view() as whole:
        path = _name_for(whole)
    return Found(path, source, view)


def _in_memory(path: Path, data: memoryview) -> Found:
    return Found(path, lambda: nullcontext(BytesSource(data)), lambda: nullcontext(data))


def _on_disk(path: Path, file: FilePath) -> Found:
    return Found(path, lambda: local_files.source(file), lambda: local_files.view(file))


def _one_classified(session: Session, found: Found, *, alone: bool, role: str | None) -> PackageFile:
    """Settle a file's format and role, and take its pins; the static stage must pass."""
    with found.view() as whole:
        kind = formats.classify(found.path, whole)
        static_stage.check_allowed(kind, session.allowance, found.path)
        if role is None:
            role = _role(found.path, kind, alone=alone)
        _check_environment(session, found.path, kind, role)
        pins = static_stage.observe(kind, whole, session.allowance, found.path)
    return PackageFile(found.path, role, kind, found.open, tuple(sorted(pins)))


def _check_environment(session: Session, path: Path, kind: str, role: str) -> None:
    """Refuse early what nobody could load, pull or promote afterwards.

    Raises:
        FormatRefused: the environment does not allow a model of this format.
    """
    allowed = session.trust().policy.environments[session.environment].formats
    if role in manifest.DESERIALIZED and kind not in allowed:
        raise FormatRefused(
            f"{path} is {kind}; {session.environment} allows {', '.join(allowed) or 'nothing'}.",
            subject=path,
            hint="Publish it in an allowed format, or have the policy changed.",
        )


def _role(path: Path, kind: str, *, alone: bool) -> str:
    name = path.rpartition("/")[2]
    if name in _ROLES:
        return _ROLES[name]
    if name.startswith("sample.") and kind in (formats.NPZ, formats.JSON):
        return "sample"
    if kind in formats.ARRAYS:
        return "model" if alone or path.startswith("model.") else "file"
    if kind not in formats.MODELS:
        return "file"
    if kind == formats.SAVEDMODEL:
        return "model"
    return "model" if alone or path.startswith("model.") else "preprocessor"


def _name_for(data: memoryview) -> Path:
    kind = formats.detect(data)
    extensions = formats.FORMATS[kind].extensions
    return names.path(f"model{extensions[0] if extensions else '.bin'}")


def _package_path(text: str) -> Path:
    try:
        return names.path(text)
    except Malformed as error:
        raise ValueError(f"A package cannot hold this name: {error.message}") from None
