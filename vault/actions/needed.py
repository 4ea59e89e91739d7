"""Which distributions loading a package needs, in the versions that are installed here.

What is recorded at publishing is the closure of the libraries behind the formats:
names and versions, since an installed distribution does not tell the hash of the
archive that it came from. Hashes come from a lock or a folder of archives
(docs/decisions/0024-hashes-of-test-environments.md).
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Final

from vault.actions import local_files
from vault.core import formats, limits, requirements
from vault.core.requirements import Pin, normalised
from vault.core.strict_json import JSONValue
from vault.errors import Malformed, NotFound, Unavailable

# The libraries behind each format; of builds under several names, whichever is installed.
_ONNX: Final = (("onnxruntime", "onnxruntime-gpu"), ("numpy",))
_SKLEARN: Final = (("scikit-learn",), ("scipy",), ("numpy",))
_TENSORFLOW: Final = (("tensorflow", "tensorflow-cpu"), ("keras",), ("numpy",))
_NUMPY: Final = (("numpy",),)
BEHIND: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        formats.JOBLIB: (("joblib",), *_SKLEARN),
        formats.KERAS: _TENSORFLOW,
        formats.LIGHTGBM: (("lightgbm",), ("numpy",)),
        formats.NPY: _NUMPY,
        formats.NPZ: _NUMPY,
        formats.ONNX: _ONNX,
        formats.PICKLE: _SKLEARN,
        formats.SAFETENSORS: _NUMPY,
        formats.SAVEDMODEL: _TENSORFLOW,
        formats.SKOPS: (("skops",), *_SKLEARN),
        formats.XGBOOST: (("xgboost", "xgboost-cpu"), ("scikit-learn",), ("numpy",)),
    }
)
_PINNED: Final = (*formats.PICKLE_BASED, formats.SKOPS)  # formats whose pins name what is imported
_DISTRIBUTION: Final[Mapping[str, str]] = MappingProxyType({"sklearn": "scikit-learn"})
_REQUIRED: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", re.ASCII)


def record(
    files: Iterable[tuple[str, Iterable[str]]],
    *,
    table: bool = False,
    given: str | os.PathLike[str] | None = None,
) -> dict[str, JSONValue]:
    """Write what `metadata.json` says of what loading needs: `first`, by name, and all of it as `pins`.

    `files` are formats with what files of them name; `table` tells of a sample that is a DataFrame;
    `given` is a lock file, or a folder of wheels, that tells hashes.

    Raises:
        ValueError, Malformed, NotFound, Unavailable: see `hashed`.
    """
    first = roots(files, table=table)
    pins = closure(first)
    if given is not None:
        pins = hashed(pins, given)
    return {"first": [*first], "pins": [entry.line for entry in pins]}


def roots(files: Iterable[tuple[str, Iterable[str]]], *, table: bool = False) -> tuple[str, ...]:
    """Name the distributions that files need first of all, as far as they are installed here."""
    found: dict[str, None] = {}
    imported: dict[str, None] = {}
    for kind, pins in files:
        for builds in BEHIND.get(kind, ()):
            found.update(dict.fromkeys(name for name in builds if _version(name) is not None))
        if kind in _PINNED:
            imported.update(dict.fromkeys(pin.partition(".")[0] for pin in pins))
    for module in imported:
        name = _owner(module.partition(".")[0])
        if name is not None:
            found[name] = None
    if table and _version("pandas") is not None:
        found["pandas"] = None
    return tuple(sorted(normalised(name) for name in found))


def closure(names: Iterable[str]) -> tuple[Pin, ...]:
    """Pin distributions and all that they require, as far as it is installed here, without hashes."""
    found: dict[str, Pin] = {}
    left = [*names]
    while left and len(found) < limits.REQUIREMENTS:
        name = normalised(left.pop())
        version = _version(name)
        if name in found or version is None:
            continue
        with suppress(Malformed):  # a version that no installer wrote
            found[name] = requirements.pin(name, version)
            left += _requires(name)
    return tuple(found[name] for name in sorted(found))


@lru_cache(maxsize=1_024)
def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=1_024)
def _requires(name: str) -> tuple[str, ...]:
    """Name what a distribution requires; what is required for an extra is left out.

    Other conditions are not weighed: what they rule out here is not installed, or does no harm.
    """
    found = []
    for text in metadata.requires(name) or ():
        told = _REQUIRED.match(text)
        if told is not None and "extra" not in text.partition(";")[2]:
            found.append(told[1])
    return tuple(found)


def _owner(module: str) -> str | None:
    """Name the distribution that a module belongs to; None for those of Python itself, or of nobody."""
    if not module or module in sys.stdlib_module_names or module in ("__main__", "builtins"):
        return None
    name = _DISTRIBUTION.get(module, module)
    if _version(name) is not None:
        return name
    return next(iter(_owners().get(module, ())), None)


@lru_cache(maxsize=1)
def _owners() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


# --- hashes ---


def hashed(pins: Iterable[Pin], given: str | os.PathLike[str]) -> tuple[Pin, ...]:
    """Give pins the hashes that a lock file names, or those of the wheels in a folder.

    A lock file is used whole, since it may pin more than was found to be needed here.

    Raises:
        ValueError: the lock names another version of something, or no hashes; or the folder lacks a wheel.
        Malformed: the lock has lines that are no pins.
        NotFound, Unavailable: it is not there, or cannot be read.
    """
    wanted = tuple(pins)
    place = Path(given)
    if place.is_dir():
        done = from_folder(wanted, place)
        if lacking := [entry.line for entry in done if not entry.hashes]:
            raise ValueError(f"{place} has no wheel of {', '.join(lacking[:5])}.")
        return done
    lock = read(place)
    agree(lock, wanted, str(place))
    if not requirements.is_hashed(lock):
        raise ValueError(f"{place} names no hashes. Make it with hashes: pip-compile --generate-hashes.")
    return lock


def agree(given: Iterable[Pin], recorded: Iterable[Pin], place: str) -> None:
    """See that two sets of pins do not contradict each other.

    Raises:
        ValueError: they do.
    """
    versions = {entry.name: entry.version for entry in recorded}
    other = [entry for entry in given if versions.get(entry.name, entry.version) != entry.version]
    if other:
        raise ValueError(
            f"{place} pins {other[0].name} {other[0].version}; the model needs, as far as is known, "
            f"{versions[other[0].name]}."
        )


def read(path: Path) -> tuple[Pin, ...]:
    """Read a file of pinned requirements.

    Raises:
        Malformed: it has other lines, or is too large.
        NotFound, Unavailable: it is not there, or cannot be read.
    """
    with local_files.view(path) as whole:
        if len(whole) > limits.REQUIREMENTS_BYTES:
            raise Malformed(
                f"{path} has more than {limits.REQUIREMENTS_BYTES:,} bytes.",
                code="too-large",
                subject=str(path),
            )
        return requirements.parse(bytes(whole).decode("utf-8", "replace"), str(path))


def from_folder(pins: Iterable[Pin], folder: Path) -> tuple[Pin, ...]:
    """Give pins without hashes those of the wheels of their name and version that a folder holds.

    Raises:
        NotFound, Unavailable: the folder, or a file in it, cannot be read.
    """
    wheels: dict[tuple[str, str], list[str]] = {}
    for name in _files(folder):
        told = requirements.archive_pin(name)
        if told is not None:
            wheels.setdefault(told, []).append(name)

    def found(entry: Pin) -> Iterator[str]:
        return (_sha256(folder / name) for name in wheels.get((entry.name, entry.version), ()))

    return tuple(
        entry if entry.hashes else requirements.pin(entry.name, entry.version, found(entry)) for entry in pins
    )


def _files(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        raise NotFound(f"There is no folder {folder}.", subject=str(folder)) from None
    except OSError as error:
        raise Unavailable(f"{folder} cannot be read: {error.strerror}.", subject=str(folder)) from None


def _sha256(path: Path) -> str:
    with local_files.view(path) as whole:
        return hashlib.sha256(whole).hexdigest()
