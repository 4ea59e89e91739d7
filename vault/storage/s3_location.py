"""Read the URL of a vault in S3: the bucket, the prefix, and options from a closed list."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import limits
from vault.storage import remote_url

KEY_BYTES: Final = 1024  # what S3 allows ("Naming Amazon S3 objects")
_PREFIX_CHARS: Final = KEY_BYTES - limits.STORE_NAME_CHARS - 1
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]\Z")
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}\Z")
_KMS_KEY: Final = re.compile(r"[A-Za-z0-9:/_-]{1,512}\Z")
_EXAMPLE: Final = "s3://BUCKET/PREFIX"
_READ_AT_ONCE: Final = ("STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR")
_ENCRYPTIONS: Final = ("AES256", "aws:kms", "aws:kms:dsse")


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where a vault lies in S3 and how objects are put there; the fields are the URL's options.

    `path_style` None leaves the choice to the SDK, `endpoint` and `region` may be empty likewise.
    """

    bucket: str
    prefix: str  # empty, or ends in "/"
    endpoint: str = ""
    region: str = ""
    path_style: bool | None = None
    sse: str = ""
    kms_key: str = ""
    storage_class: str = ""
    lock_mode: str = ""
    lock_days: int = 0
    listing: str = ""

    @property
    def url(self) -> str:
        """The location again as a URL; it holds no secret, because no option may."""
        options = {name: _written(getattr(self, name)) for name in OPTIONS}
        return remote_url.url("s3", self.bucket, self.prefix, options=options)


def parse(url: str) -> S3Location:
    """Read `s3://BUCKET/PREFIX?OPTION=VALUE&…`.

    Raises:
        ValueError: the bucket, the prefix or an option is malformed, unknown, or given twice.
    """
    if any("%" in option.partition("=")[0] for option in url.partition("?")[2].split("&")):
        raise ValueError(
            "the name of an option is written without '%'"
        )  # so that each can be seen for itself
    parts = remote_url.parse(url, example=_EXAMPLE, options=OPTIONS)
    if _BUCKET.match(parts.authority) is None:
        raise ValueError(f"{url[:200]!r} names no bucket; write {_EXAMPLE}")
    prefix = remote_url.prefix(parts.path)
    if len(prefix) > _PREFIX_CHARS:
        raise ValueError(f"a prefix in S3 has at most {_PREFIX_CHARS - 1} characters, not {len(parts.path)}")
    options = {name: OPTIONS[name](name, value) for name, value in parts.options.items()}
    location = S3Location(parts.authority, prefix, **options)  # type: ignore[arg-type]
    _check_together(location)
    return location


def _check_together(location: S3Location) -> None:
    if location.kms_key and not location.sse.startswith("aws:kms"):
        raise ValueError("kms_key belongs to sse=aws:kms or sse=aws:kms:dsse")
    if bool(location.lock_mode) != bool(location.lock_days):
        raise ValueError("lock_mode and lock_days belong together")


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value else ""


def _one_of(*allowed: str) -> Callable[[str, str], str]:
    def check(name: str, value: str) -> str:
        if value not in allowed:
            raise ValueError(f"{name} is one of {', '.join(allowed)}, not {value[:80]!r}")
        return value

    return check


def _fits(pattern: re.Pattern[str]) -> Callable[[str, str], str]:
    def check(name: str, value: str) -> str:
        if pattern.match(value) is None:
            raise ValueError(f"{value[:80]!r} is no {name}")
        return value

    return check


def _bool(name: str, value: str) -> bool:
    return _one_of("true", "false")(name, value) == "true"


def _days(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:7]) <= limits.DAYS):
        raise ValueError(f"{name} is a number of days from 1 to {limits.DAYS}, not {value[:80]!r}")
    return int(value)


def _endpoint(_: str, value: str) -> str:
    # Requests are signed and what they carry is sealed, so plain http gives no secret away.
    return remote_url.endpoint(value, clear=True).url


OPTIONS: Final[Mapping[str, Callable[[str, str], object]]] = {
    "endpoint": _endpoint,
    "region": _fits(_REGION),
    "path_style": _bool,
    "sse": _one_of(*_ENCRYPTIONS),
    "kms_key": _fits(_KMS_KEY),
    # A vault's documents are read all the time: classes that must be restored first come by lifecycle
    # rules, for payloads.
    "storage_class": _one_of(*_READ_AT_ONCE),
    "lock_mode": _one_of("GOVERNANCE", "COMPLIANCE"),
    "lock_days": _days,
    "listing": _one_of("ordered", "folders"),
}
