"""Digest training data that lie in files: the bytes of one, or every file of a folder by its path."""

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vault.errors import NotFound, Unavailable


@dataclass(frozen=True, slots=True)
class Hashed:
    """One file: its path below the folder with `/`, its size in bytes, its SHA-256."""

    path: str
    size: int
    sha256: bytes


def of_file(path: Path) -> Hashed:
    """Hash one file.

    Raises:
        NotFound, Unavailable: it is not there, or cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            return Hashed(path.name, os.fstat(file.fileno()).st_size, digest)
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None


def of_folder(folder: Path) -> list[Hashed]:
    """Hash every file below a folder, in the order of their paths; links are followed, but in no circle.

    Raises:
        ValueError: something there is neither a file nor a folder.
        NotFound, Unavailable: something is not there, or cannot be read.
    """
    found = sorted(_files(folder, "", ()))
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        hashed = pool.map(lambda name: of_file(folder / name), found)
        return [Hashed(name, entry.size, entry.sha256) for name, entry in zip(found, hashed, strict=True)]


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder.

    Raises:
        NotFound, Unavailable: it is not there, or cannot be looked at.
    """
    return stat.S_ISDIR(_stat(path).st_mode)


def _files(folder: Path, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    here = _stat(folder)
    place = (here.st_dev, here.st_ino)
    if place in above:
        raise ValueError(f"{folder} is a link to a folder that it lies in.")
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise Unavailable(f"{folder} cannot be read: {error.strerror}.", subject=str(folder)) from None
    for name in entries:
        path = folder / name
        mode = _stat(path).st_mode
        if stat.S_ISDIR(mode):
            yield from _files(path, f"{below}{name}/", (*above, place))
        elif stat.S_ISREG(mode):
            yield f"{below}{name}"
        else:
            raise ValueError(f"{path} is neither a file nor a folder.")


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise NotFound(f"There is no {path}.", subject=str(path)) from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be looked at: {error.strerror}.", subject=str(path)) from None
