"""Turn a location, as a user gives it, into a store."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vault.ports import Store
from vault.storage.local import LocalStore

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def open_store(location: str) -> Store:
    """Open the store at a folder's path or at a URL; nothing is read or made yet.

    URLs are `file://`, `s3://`, `gs://`, `az://`, `postgresql://` and `sqlite://`; only the library of
    that kind of storage is imported.

    Raises:
        TypeError: the location is not text.
        ValueError: it is empty or malformed, or names a kind of storage that the vault does not know.
        MissingLibrary: the library for this kind of storage is not installed.
    """
    if not isinstance(location, str):
        raise TypeError(f"a location is text, not {type(location).__name__}")
    if not location or "\0" in location:
        raise ValueError("a location is the path of a folder, and neither empty nor with a zero byte")
    scheme = _SCHEME.match(location)
    if scheme is None:
        return LocalStore(Path(location))
    adapter = _ADAPTERS.get(scheme[1].lower())
    if adapter is None:
        known = ", ".join(f"{name}://" for name in _ADAPTERS)
        raise ValueError(
            f"{scheme[1]}:// is not a kind of storage that the vault knows. "
            f"Give the path of a folder, or a URL that begins with one of {known}."
        )
    return adapter(location)


def names_server(location: str) -> bool:
    """Tell whether a location says itself which server is spoken to, and so who is given credentials."""
    from urllib.parse import unquote

    scheme = _SCHEME.match(location)
    # However it is written: a name that no adapter takes for an option is refused there.
    return scheme is not None and (
        scheme[1].lower() == "postgresql" or "endpoint" in unquote(location.partition("?")[2]).lower()
    )


def _local(url: str) -> Store:
    return LocalStore(_path_of(url))


def _s3(url: str) -> Store:
    from vault.storage.s3 import open_s3

    return open_s3(url)


def _gcs(url: str) -> Store:
    from vault.storage.gcs import open_gcs

    return open_gcs(url)


def _azure(url: str) -> Store:
    from vault.storage.azure import open_azure

    return open_azure(url)


def _sql(url: str) -> Store:
    from vault.storage.sql import open_sql

    return open_sql(url)


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


_ADAPTERS: Final[dict[str, Callable[[str], Store]]] = {
    "file": _local,
    "s3": _s3,
    "gs": _gcs,
    "az": _azure,
    "postgresql": _sql,
    "sqlite": _sql,
}
