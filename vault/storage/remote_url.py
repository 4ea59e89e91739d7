"""Read the URL of a remote store, and check where its requests would go.

A URL comes from settings that somebody else may have written, so nothing
secret may stand in one, and what it can ask for is a closed list.
"""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from vault.storage import naming

_URL_CHARS: Final = 4_096
_OPTIONS: Final = 32
_PRINTABLE: Final = re.compile(r"[!-~]*\Z")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """A URL in its parts: `scheme://authority/path?options`; `path` has no `/` at either end."""

    authority: str
    path: str
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a service listens: `url` without a `/` at its end; `host` without port; `secure` is https."""

    url: str
    host: str
    secure: bool

    @property
    def loopback(self) -> bool:
        """Whether requests never leave this machine."""
        return is_loopback(self.host)


def parse(url: str, *, example: str, options: Collection[str]) -> RemoteUrl:
    """Split a URL; `options` are the names of those that may stand behind its `?`.

    Raises:
        ValueError: it is not such a URL, names a user or a password, or has an option that is not known
            or stands there twice.
    """
    if len(url) > _URL_CHARS or _PRINTABLE.match(url) is None:
        raise ValueError(f"{url[:80]!r} is not a URL of printable characters; write {example}")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(f"a user or a password may not stand in a URL; write {example}")
    if parts.fragment:
        raise ValueError(f"{url!r} has a '#', which no name may have here; write {example}")
    found: dict[str, str] = {}
    known = ", ".join(f"{name}=" for name in sorted(options))
    try:
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), max_num_fields=_OPTIONS
        )
    except ValueError:
        raise ValueError(f"what stands behind '?' is not name=value; the options are {known}") from None
    for name, value in pairs:
        if name not in options:
            raise ValueError(f"{name!r} is not an option of this kind of storage; the options are {known}")
        if name in found:
            raise ValueError(f"the option {name}= stands there twice")
        found[name] = value
    return RemoteUrl(parts.netloc, unquote(parts.path).strip("/"), found)


def prefix(path: str) -> str:
    """Give what all names of a store begin with, from the path in its URL: empty, or ending in `/`.

    Raises:
        ValueError: a part of the path breaks the grammar of names.
    """
    if not path:
        return ""
    naming.check_name(path)
    return path + "/"


def url(scheme: str, *parts: str, options: dict[str, str]) -> str:
    """Write the URL that `parse` reads; options that are empty are left out."""
    told = "&".join(f"{name}={quote(value, safe=':/')}" for name, value in options.items() if value)
    path = "/".join(part.strip("/") for part in parts if part)
    return f"{scheme}://{quote(path, safe=_SAFE)}" + (f"?{told}" if told else "")


_SAFE: Final = "/!$&'()*+,;=:@~-._"


def endpoint(text: str, *, name: str = "endpoint=", clear: bool = False) -> Endpoint:
    """Check the address of a service, which the setting `name` gave.

    Plain http goes no further than this machine, since tokens travel with requests; `clear` allows it
    where none will.

    Raises:
        ValueError: it is not an http or https URL of a host, names a user, or is plain http elsewhere.
    """
    if len(text) > _URL_CHARS or _PRINTABLE.match(text) is None:
        raise ValueError(f"{name} is not a URL of printable characters")
    parts = urlsplit(text)
    host = parts.hostname or ""
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"{name} has a port that is not a number") from None
    if "@" in parts.netloc:
        raise ValueError(f"{name} may not name a user or a password")
    if parts.scheme not in {"http", "https"} or not _is_host(host):
        raise ValueError(f"{name} is not a URL such as https://storage.example.com")
    if parts.query or parts.fragment:
        raise ValueError(f"{name} may not have a '?' or a '#'")
    secure = parts.scheme == "https"
    if not (secure or clear or is_loopback(host)):
        raise ValueError(
            f"{name} is plain http to another machine ({host}): tokens and models would travel in clear. "
            "Use https://, or an address of this machine."
        )
    shown = f"[{host}]" if ":" in host else host
    told = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
    return Endpoint(told + parts.path.rstrip("/"), host, secure)


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its address or as `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.match(host) is not None
    return True


def is_within(host: str, domains: Collection[str]) -> bool:
    """Tell whether a host is one of these domains or lies below one."""
    name = host.lower()
    return any(name == domain or name.endswith("." + domain) for domain in domains)
