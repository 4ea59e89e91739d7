"""Pull a version's files: each into an unnamed file, linked in place only after the last check of all."""

import errno
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from vault.actions import auditing, fetching, local_files, resolving
from vault.actions.fetching import Fetching
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import admission, formats, static_stage
from vault.core.manifest import DESERIALIZED, METADATA, FileEntry, Manifest
from vault.core.names import Reference
from vault.core.policy import EnvironmentRule
from vault.core.stages import Verified
from vault.errors import Conflict, FormatRefused, NotFound, Refused, Unavailable
from vault.ports import Buffer, Sink
from vault.storage.folder import Folder
from vault.storage.local_draft import Draft

TF_SERVING: Final = "tf-serving"
_COPY: Final = 1 << 20
_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # archives of the same version are the same bytes
_ZIP64_FROM: Final = 1 << 31


def pull(
    session: Session, reference: Reference, destination: Path, *, zipped: bool, layout: str | None = None
) -> Path:
    """Write the verified files of a version into a folder, or into one zip file; nothing is overwritten.

    With `layout="tf-serving"` the files of its SavedModel alone are written, into
    MODEL/VERSION below `destination`. Gives the folder or file that was written.

    Raises:
        ValueError: there is no such layout, or not for this version.
        Conflict: a file of that name is there; nothing was written.
        Refused, NotFound, NoUsableKey: nothing was written.
        Unavailable: the store or the disk failed; what could not be completed is not there.
    """
    placed: list[Path] = []
    environment = resolving.environment_of(session, reference)
    try:
        with (
            fetching.looking(session, reference, environment, "pull", _everything) as look,
            auditing.acting(session, "pull", reference, environment) as act,
        ):

            def write() -> Path:
                found = resolving.find(session, reference, "pull", act).verified
                return _Pull(session, found, look, destination).write(zipped, layout, placed)

            return look.attempt(write)
    except Unavailable as error:
        if error.code == auditing.NO_RECORD:  # the files are there, and nobody could say so
            _take_back(placed)
        raise
    except Refused:
        _take_back(placed)  # some, if what was found wrong with a cache was found at the end
        raise


def _take_back(placed: list[Path]) -> None:
    for path in placed:
        with suppress(OSError):
            path.unlink()


def _everything(_: EnvironmentRule, found: Manifest) -> Collection[FileEntry]:
    return found.files


class _Pull:
    """One version on its way to a place on this machine."""

    def __init__(self, session: Session, found: Verified, look: Fetching, destination: Path) -> None:
        """Open the package."""
        _check_formats(found)
        self._found = found
        self._look = look
        self._destination = destination
        self._package = Package(session, found)

    def write(self, zipped: bool, layout: str | None, placed: list[Path]) -> Path:
        """Write the files; give where they are, and put what was written into `placed`."""
        entries = [entry for entry in self._found.manifest.files if entry.path != METADATA]
        within, destination = "", self._destination
        if layout is not None:
            within = _serving(self._found, layout, zipped=zipped)
            entries = [entry for entry in entries if entry.path.startswith(within)]
            destination = destination / self._found.manifest.model / self._found.manifest.version
        self._package.unlock(entries)
        coming = self._look.each(self._package.opened.sealed, entries)
        try:
            with _more_open_files(len(entries)):
                if zipped:
                    _into_zip(self._package, coming, destination)
                    placed.append(destination)
                else:
                    names = _into_folder(self._package, coming, destination, within)
                    placed += [destination / name for name in names]
        except Conflict as conflict:
            there = destination if zipped else destination / conflict.subject
            raise Conflict(
                f"{there} exists and was left as it is.",
                subject=str(there),
                hint="Pull into another place, or move that file away first.",
            ) from None
        return destination


def _check_formats(found: Verified) -> None:
    """Refuse what the environment does not allow: a pulled model is as good as a loaded one."""
    rule = found.authorised.resolved.rule
    for entry in found.manifest.files:
        admission.check_stored(rule, entry.path, entry.format, found.subject)
        if entry.role in DESERIALIZED and entry.format not in rule.formats:
            raise FormatRefused(
                f"{found.subject} {entry.path} is {entry.format}; {rule.name} allows "
                f"{', '.join(rule.formats) or 'nothing'}.",
                subject=found.subject,
                hint="Publish it in an allowed format, or have the policy changed.",
            )


def _serving(found: Verified, layout: str, *, zipped: bool) -> str:
    """Give the folder of the SavedModel in a package, with its slash, for TensorFlow Serving.

    Raises:
        ValueError: another layout, a zip file, a version that is no whole number.
        NotFound: the package has no SavedModel.
    """
    if layout != TF_SERVING or zipped:
        raise ValueError(f"A layout is {TF_SERVING}, for a folder and not for a zip file.")
    if not found.manifest.version.isdecimal():
        raise ValueError(f"TensorFlow Serving wants whole numbers as versions, not {found.manifest.version}.")
    graphs = [entry.path for entry in found.manifest.files if entry.format == formats.SAVEDMODEL]
    if not graphs:
        raise NotFound(
            f"{found.subject} has no SavedModel.",
            subject=found.subject,
            hint="Save it with format='savedmodel'.",
        )
    return graphs[0].rpartition("/")[0] + "/"


def _into_folder(package: Package, entries: Iterable[FileEntry], destination: Path, within: str) -> list[str]:
    """Write files; give what they are called in the folder."""
    folder = Folder(destination)
    placed: list[str] = []
    try:
        # Leaving the stack commits every file; an exception inside discards them all.
        with ExitStack() as files:
            for entry in entries:
                draft = files.enter_context(_placing(folder, entry, placed, within))
                _write(package, entry, draft)
                with draft.view() as content:
                    _check_content(package, entry, content)
    except BaseException:
        for path in placed:  # one could not be put in place after others were
            with suppress(Unavailable):
                folder.delete(path)
        raise
    return placed


@contextmanager
def _placing(folder: Folder, entry: FileEntry, placed: list[str], within: str) -> Iterator[Draft]:
    place = entry.path.removeprefix(within)
    with folder.create(place, size=entry.size) as draft:
        yield draft
    placed.append(place)


def _into_zip(package: Package, entries: Iterable[FileEntry], destination: Path) -> None:
    """Build the archive in a file without a name, which can be sought in, then put it in place whole."""
    folder = Folder(destination.parent)
    with folder.create(destination.name) as sink:
        try:
            with tempfile.TemporaryFile(dir=destination.parent) as draft:
                _archive(package, entries, draft)
                draft.seek(0)
                while block := draft.read(_COPY):
                    sink.write(block)
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise Unavailable(
                f"{destination} cannot be written: {error.strerror}.",
                code="storage-full" if full else "unavailable",
                subject=str(destination),
                hint="Make room there, or pull into another place.",
            ) from error


def _archive(package: Package, entries: Iterable[FileEntry], draft: IO[bytes]) -> None:
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for entry in entries:
            information = zipfile.ZipInfo(entry.path, _ZIP_EPOCH)
            with archive.open(information, "w", force_zip64=entry.size > _ZIP64_FROM) as member:
                start = draft.tell()
                _write(package, entry, _Member(member))
            draft.flush()
            with local_files.mapped(draft.fileno(), start + entry.size) as whole:
                _check_content(package, entry, whole[start:])


def _check_content(package: Package, entry: FileEntry, content: memoryview) -> None:
    subject = package.opened.sealed.verified.subject
    static_stage.check_pulled(entry.path, entry.format, content, subject)


def _write(package: Package, entry: FileEntry, sink: Sink) -> None:
    sha256 = package.write(entry, sink)
    admission.check_plaintext(package.opened, entry, entry.size, sha256)


class _Member:
    """An open member of an archive as a sink."""

    def __init__(self, member: IO[bytes]) -> None:
        self._member = member

    def write(self, data: Buffer) -> None:
        """Append."""
        self._member.write(data)


@contextmanager
def _more_open_files(wanted: int) -> Iterator[None]:
    """Let this process hold a whole package open, as far as the system permits.

    Raises:
        Unavailable: it does not.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + 256
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard not in (resource.RLIM_INFINITY,) and hard < needed:
            raise Unavailable(
                f"This package has {wanted:,} files, and this system lets a process open {hard:,}.",
                hint="Raise the limit (ulimit -n), or pull with --zip.",
            )
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
