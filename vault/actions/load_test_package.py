"""What a load test takes out of a verified package: files to restore, the recorded rows, what was pinned."""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vault.actions import fetching, libraries, load_test_child, needed, savedmodel_folder
from vault.actions.loading import model_of
from vault.actions.reading import Package
from vault.actions.session import Session
from vault.core import admission, formats, pins, requirements, skops_types
from vault.core.admission import Admitted
from vault.core.manifest import METADATA, FileEntry, Metadata
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.core.requirements import Against, Pin
from vault.core.stages import Verified
from vault.core.strict_json import JSONValue
from vault.errors import FormatRefused, NotFound
from vault.loaders import arrays

REQUIREMENTS: Final = "requirements"  # the role of a lock in a package, and the name of what is recorded
_SAMPLE: Final = "sample.npz"
_METHOD: Final = re.compile(r"sample\.(predict|predict_proba|transform)\.npz\Z", re.ASCII)
_PYTHON: Final = re.compile(r"3\.[0-9]{1,2}(?![0-9])", re.ASCII)
_LOADED: Final = ("artifact", "preprocessor", "features")


@dataclass(frozen=True, slots=True)
class Tested:
    """A verified package on its way into tests.

    `model` is the one of its models that is loaded; `outputs` is what was recorded of the sample, by
    method; `parity` the fraction of rows of which that was known to differ when it was saved;
    `python` the version that it was saved with; `pins` what it needs, with hashes where they were
    recorded.
    """

    verified: Verified
    package: Package
    model: FileEntry
    files: Mapping[str, memoryview]
    digests: Mapping[str, bytes]
    outputs: Mapping[str, Any]
    parity: float
    python: str | None
    pins: tuple[Pin, ...]

    @property
    def metadata(self) -> Metadata:
        """What was recorded at publishing."""
        return self.package.opened.metadata

    @property
    def format(self) -> str:
        """The format of the model."""
        return self.model.format

    @property
    def libraries(self) -> Mapping[str, str]:
        """The versions of libraries at publishing."""
        return self.metadata.libraries

    def recorded(self) -> tuple[Pin, ...]:
        """Give what the version needs, as it was recorded.

        Raises:
            NotFound: `load-test-impossible`: nothing was.
        """
        if self.pins or not self._roots():
            return self.pins
        raise NotFound(
            f"{self.verified.subject} was published without what it needs to be loaded.",
            code="load-test-impossible",
            subject=self.verified.subject,
            hint="Name it: --requirements FILE, with lines NAME==VERSION. Or test with what is installed "
            "here: --against here.",
        )

    def wanted(self, against: Against) -> tuple[list[str], bool]:
        """Give the lines to resolve for a test against other versions, and whether they are all there is.

        Raises:
            NotFound: `load-test-impossible`: nothing was recorded, or nothing is installed here.
        """
        if against.here:
            here = needed.closure(self._roots())
            if not here and self._roots():
                raise NotFound(
                    f"None of the libraries of {self.verified.subject} is installed here.",
                    code="load-test-impossible",
                    subject=self.verified.subject,
                )
            return [entry.line for entry in here], True
        versions = {entry.name: entry.version for entry in self.recorded()}
        if against.wishes:  # what they require may be new too, so that only what is needed first is kept
            first = {requirements.normalised(name) for name in self._roots()}
            versions = {name: version for name, version in versions.items() if name in first}
        versions |= dict(against.wishes)
        return [f"{name}=={version}" for name, version in sorted(versions.items())], False

    def _roots(self) -> tuple[str, ...]:
        """Name the distributions that the formats need first of all; of several builds the pinned one."""
        known = {entry.name for entry in self.pins}
        found: dict[str, None] = {}
        for entry in self.verified.manifest.files:
            if entry.path in self.files:
                for builds in needed.BEHIND.get(entry.format, ()):
                    found[next((name for name in builds if name in known), builds[0])] = None
        recorded = self.metadata.info.get(REQUIREMENTS)
        asked = recorded.get("first") if isinstance(recorded, dict) else None
        names = [name for name in asked if isinstance(name, str)] if isinstance(asked, list) else []
        found.update(dict.fromkeys(name for name in names if requirements.is_name(name)))
        return tuple(found)


def open_package(session: Session, verified: Verified) -> Tested:
    """Decrypt what a test needs of a package, and compare it with what was signed.

    Raises:
        NotFound: it has no model that may be loaded there.
        Refused, Unavailable, NoUsableKey.
    """
    package = Package(session, verified)
    chosen = model_of(verified.authorised.resolved.rule, verified.manifest)
    if not chosen:
        raise NotFound(
            f"{verified.subject} has no model that {verified.authorised.resolved.rule.name} allows, so there "
            "is nothing to test.",
            subject=verified.subject,
        )
    entries = [*chosen, *_beside(verified, chosen[0])]
    entries += [
        entry
        for entry in verified.manifest.files
        if entry.role in (*_LOADED, "sample", REQUIREMENTS) and entry.path != METADATA
    ]
    files: dict[str, memoryview] = {}
    digests: dict[str, bytes] = {}
    with fetching.reading(session, package.opened.sealed, entries):
        package.unlock(entries)
        for entry in entries:
            files[entry.path], digests[entry.path] = package.read(entry)
            admission.check_plaintext(package.opened, entry, len(files[entry.path]), digests[entry.path])
    info = package.opened.metadata.info
    return Tested(
        verified,
        package,
        chosen[0],
        files,
        digests,
        _outputs(verified, files),
        _parity(info, chosen[0].format),
        _python(info),
        _pins(verified, info, files),
    )


def _beside(verified: Verified, model: FileEntry) -> list[FileEntry]:
    if model.format != formats.SAVEDMODEL:
        return []
    paths = savedmodel_folder.beside(model.path, (file.path for file in verified.manifest.files))
    return [file for file in verified.manifest.files if file.path in paths.values()]


def _outputs(verified: Verified, files: Mapping[str, memoryview]) -> dict[str, Any]:
    """Read what was recorded of the sample: an array for each method of the model.

    Raises:
        FormatRefused, Malformed: it is none.
    """
    found = {}
    for path, data in files.items():
        told = _METHOD.match(path)
        if told is not None:
            value = arrays.restore_sample(data, subject=f"{verified.subject} {path}")
            if not hasattr(value, "dtype") or value.ndim == 0:
                raise FormatRefused(
                    f"{verified.subject} {path} is no array of predictions.",
                    code="format-content",
                    subject=verified.subject,
                )
            found[told[1]] = value
    return found if _SAMPLE in files else {}


def _python(info: Mapping[str, JSONValue]) -> str | None:
    """Give the part of the recorded version of Python by which archives are told apart."""
    told = _PYTHON.match(str(info.get("python")))
    return None if told is None else told[0]


def _sample(verified: Verified) -> str | None:
    """Name the file of recorded rows: that of `save_model`, or else the one sample that was pushed."""
    found = [
        entry.path
        for entry in verified.manifest.files
        if entry.role == "sample" and entry.format == formats.NPZ and _METHOD.match(entry.path) is None
    ]
    return _SAMPLE if _SAMPLE in found else found[0] if len(found) == 1 else None


def _parity(info: Mapping[str, JSONValue], kind: str) -> float:
    recorded = info.get("parity")
    of_format = recorded.get(kind) if isinstance(recorded, dict) else None
    value = of_format.get("differing") if isinstance(of_format, dict) else None
    return min(max(float(value), 0.0), 1.0) if isinstance(value, int | float) else 0.0


def _pins(
    verified: Verified, info: Mapping[str, JSONValue], files: Mapping[str, memoryview]
) -> tuple[Pin, ...]:
    """Read what was pinned: a lock among the files, or else what was recorded without being asked.

    Raises:
        Malformed: a line is no pin.
    """
    for entry in verified.manifest.files:
        if entry.role == REQUIREMENTS:
            text = bytes(files[entry.path]).decode("utf-8", "replace")
            return requirements.parse(text, f"{verified.subject} {entry.path}")
    recorded = info.get(REQUIREMENTS)
    lines = recorded.get("pins") if isinstance(recorded, dict) else None
    if not isinstance(lines, list):
        return ()
    return requirements.parse(
        "\n".join(str(line) for line in lines), f"The requirements of {verified.subject}"
    )


# --- the job ---


def job(
    session: Session, tested: Tested, used: Mapping[str, str]
) -> tuple[dict[str, JSONValue], dict[str, bytes]]:
    """Take every file that a load restores through steps 8 to 10, and pack it for the confined process.

    `used` are the versions of libraries that step 9 compares with those of publishing.

    Raises:
        FormatRefused: `libraries-differ`, or as a load is refused.
        Refused.
    """
    parts: dict[str, bytes] = {}
    described: list[JSONValue] = []
    for entry in tested.verified.manifest.files:
        if entry != tested.model and entry.role not in _LOADED:
            continue
        admitted = admission.admit(
            tested.package.opened,
            entry,
            tested.files[entry.path],
            tested.digests[entry.path],
            session.allowance,
            used,
        )
        if entry.format not in load_test_child.RESTORED:
            raise FormatRefused(
                f"{admitted.subject} is {entry.format}, which this release does not deserialize.",
                subject=admitted.subject,
            )
        part = f"file {len(described)}"
        parts[part] = bytes(admitted.data)
        described.append(_described(session, tested, entry, admitted, part, parts))
    rows = _sample(tested.verified)
    if rows is not None:
        parts["sample"] = bytes(tested.files[rows])
    return {"files": described}, parts


def _described(
    session: Session,
    tested: Tested,
    entry: FileEntry,
    admitted: Admitted,
    part: str,
    parts: dict[str, bytes],
) -> JSONValue:
    info = tested.metadata.info
    is_model = entry.role == "model"
    beside: dict[str, JSONValue] = {}
    if is_model and entry.format == formats.SAVEDMODEL:
        paths = savedmodel_folder.beside(entry.path, (file.path for file in tested.verified.manifest.files))
        for inner, path in paths.items():
            beside[inner] = name = f"{part} {len(beside)}"
            parts[name] = bytes(tested.files[path])
    return {
        "path": entry.path,
        "format": entry.format,
        "role": entry.role,
        "part": part,
        "usable": [*_usable(session, admitted)],
        "classes": _listed(info.get("classes")) if is_model else None,
        "features": _listed(info.get("features")) if is_model else None,
        "beside": beside,
    }


def _usable(session: Session, admitted: Admitted) -> list[str]:
    """Give the types or globals that the loader is told to trust: pinned, and allowed by the operator."""
    allowed = {
        formats.SKOPS: skops_types.DEFAULT_SKOPS_TYPES | session.allowance.skops_types,
        **dict.fromkeys(formats.PICKLE_BASED, DEFAULT_PICKLE_GLOBALS | session.allowance.pickle_globals),
    }.get(admitted.format)
    if allowed is None:
        return []
    return sorted(pins.check_pins(admitted.pins, admitted.pins, allowed, subject=admitted.subject))


def _listed(value: JSONValue) -> JSONValue:
    return value if isinstance(value, list) else None


def recorded_as(versions: Mapping[str, str]) -> dict[str, str]:
    """Name libraries as `metadata.json` does: another build of one counts as that one."""
    return libraries.recorded(versions)


def this_platform() -> str:
    """Name the platform as an attestation does."""
    return platform.platform()
