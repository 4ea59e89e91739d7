"""Wheels for tests, made without a network: small ones by hand, real ones out of what is installed."""

import base64
import hashlib
import os
import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from vault.actions import needed


def build(
    folder: Path, name: str, version: str, files: Mapping[str, str], *, requires: Iterable[str] = ()
) -> Path:
    """Write a wheel of pure Python."""
    needs = "".join(f"Requires-Dist: {entry}\n" for entry in requires)
    about = f"{name}-{version}.dist-info"
    described = {
        **{path: text.encode() for path, text in files.items()},
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    return _write(folder / f"{name}-{version}-py3-none-any.whl", about, described)


def repack(name: str, folder: Path) -> Path:
    """Write the wheel that an installed distribution could have come from: its files, under its tag.

    Raises:
        LookupError: it has no record of its files.
    """
    found = metadata.distribution(name)
    about = next((entry for entry in found.files or () if entry.name == "WHEEL"), None)
    if about is None:
        raise LookupError(f"{name} has no record of its files")
    told = about.read_text().splitlines()
    tag = next(line.partition(":")[2].strip() for line in reversed(told) if line.startswith("Tag:"))
    inside = {
        entry.as_posix(): Path(str(found.locate_file(entry))).read_bytes()
        for entry in found.files or ()
        if ".." not in entry.parts and "__pycache__" not in entry.parts and not entry.is_absolute()
    }
    information = about.parent.as_posix()
    kept = {
        path: data
        for path, data in inside.items()
        if path
        not in {f"{information}/{part}" for part in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")}
    }
    stem = information.removesuffix(".dist-info")
    return _write(folder / f"{stem}-{tag}.whl", information, kept)


def _write(path: Path, about: str, files: Mapping[str, bytes]) -> Path:
    lines = []
    whole = path.with_name(f"{path.name}.{os.getpid()}.part")
    with zipfile.ZipFile(whole, "w") as archive:
        for inner, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(inner), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{inner},sha256={digest},{len(data)}\n")
        archive.writestr(zipfile.ZipInfo(f"{about}/RECORD"), "".join([*lines, f"{about}/RECORD,,\n"]))
    whole.replace(path)
    return path


def folder_of(cache: Path, *names: str) -> Path:
    """Give a folder of wheels of distributions and all that they require, made once for their versions."""
    pins = needed.closure(names)
    told = "\n".join(entry.line for entry in pins)
    folder = cache / hashlib.sha256(told.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.name.partition("-")[0].lower().replace("_", "-") for path in folder.glob("*.whl")}
    for entry in pins:
        if entry.name not in there:
            repack(entry.name, folder)
    return folder
