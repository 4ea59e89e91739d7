"""Turn a location, as a user gives it, into a store."""

import re
from pathlib import Path
from typing import Final

from vault.ports import Store
from vault.storage.local import LocalStore

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PLANNED: Final = ("s3", "gs", "az", "postgresql", "sqlite")


def open_store(location: str) -> Store:
    """Open the store at a folder's path or `file://` URL; nothing is read or made yet.

    Raises:
        TypeError: the location is not text.
        ValueError: it is empty or malformed, or names a kind of storage that this release does not have.
    """
    if not isinstance(location, str):
        raise TypeError(f"a location is text, not {type(location).__name__}")
    if not location or "\0" in location:
        raise ValueError("a location is the path of a folder, and neither empty nor with a zero byte")
    scheme = _SCHEME.match(location)
    if scheme is None:
        return LocalStore(Path(location))
    if scheme[1].lower() == "file":
        return LocalStore(_path_of(location))
    if scheme[1].lower() in _PLANNED:
        raise ValueError(
            f"This release stores in folders only; {scheme[1]}:// will come with a later release. "
            "Give the path of a folder, which may be a mounted network drive."
        )
    raise ValueError(
        f"{scheme[1]}:// is not a kind of storage that the vault knows. Give the path of a folder."
    )


def _path_of(url: str) -> Path:
    """Give the path of a `file://` URL (RFC 8089)."""
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"}:
        raise ValueError(f"{url!r} names another machine; a folder's URL has three slashes: file:///path")
    if parts.query or parts.fragment:
        raise ValueError(f"{url!r} has a '?' or '#'; write them as %3F and %23 in a folder's URL")
    path = unquote(parts.path, errors="strict")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{url!r} names no folder: write file:///path")
    return Path(path)
