"""Read a `gs://` URL and the environment beside it: which bucket, where, and with whose rights.

Format of bucket names: https://cloud.google.com/storage/docs/buckets#naming.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import limits
from vault.storage import remote_url
from vault.storage.remote_url import Endpoint

EMULATOR: Final = "STORAGE_EMULATOR_HOST"
EXAMPLE: Final = "gs://BUCKET/FOLDER"
OPTIONS: Final = ("anonymous", "endpoint", "upload", "user_project")
NAME_BYTES: Final = 1_024
SERVICE: Final = "https://storage.googleapis.com"

# Tokens of the machine's own account are good for every bucket that it may use, so they go to Google alone.
_DOMAINS: Final = ("googleapis.com",)
_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{1,220}[a-z0-9])\Z")
_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.:-]{2,61}[a-z0-9]\Z")


@dataclass(frozen=True, slots=True)
class GcsAddress:
    """Where a store lies and how it is reached.

    `prefix` is empty or ends in `/`; `anonymous` sends no token; `resumable` uploads large objects in
    a session that survives a lost connection, which needs a service that keeps preconditions there too.
    """

    bucket: str
    prefix: str
    endpoint: str
    location: str
    user_project: str | None
    anonymous: bool
    resumable: bool


def parse(url: str, environment: Mapping[str, str]) -> GcsAddress:
    """Read a URL `gs://BUCKET/PREFIX?endpoint=…&user_project=…&anonymous=true&upload=…`.

    Raises:
        ValueError: it is not such a URL, or would send tokens in clear.
    """
    found = remote_url.parse(url, example=EXAMPLE, options=OPTIONS)
    if _BUCKET.match(found.authority) is None:
        raise ValueError(f"{found.authority[:80]!r} cannot be the name of a bucket; write {EXAMPLE}")
    prefix = remote_url.prefix(found.path)
    if len(prefix) + limits.STORE_NAME_CHARS > NAME_BYTES:
        raise ValueError(
            f"the folder in {EXAMPLE} may have {NAME_BYTES - limits.STORE_NAME_CHARS - 1} characters, "
            f"since a whole name may have {NAME_BYTES} bytes"
        )
    project = found.options.get("user_project")
    if project is not None and _PROJECT.match(project) is None:
        raise ValueError(f"user_project={project[:80]!r} cannot be the name of a project")
    service, emulator = _service(found.options.get("endpoint"), environment)
    ours = service.secure and remote_url.is_within(service.host, _DOMAINS)
    return GcsAddress(
        bucket=found.authority,
        prefix=prefix,
        endpoint=service.url,
        location=remote_url.url("gs", found.authority, prefix, options=found.options),
        user_project=project,
        anonymous=emulator or not ours or _flag(found.options, "anonymous"),
        resumable=_resumable(found.options.get("upload"), google=ours),
    )


def _service(given: str | None, environment: Mapping[str, str]) -> tuple[Endpoint, bool]:
    """Tell where the service listens, and whether the environment named it an emulator.

    An emulator gets no token, so it may be another machine's, as in a network of containers.
    """
    if given is not None:
        return remote_url.endpoint(given), False
    emulator = environment.get(EMULATOR)
    if not emulator:
        return remote_url.endpoint(SERVICE), False
    if "://" not in emulator:
        emulator = "http://" + emulator
    return remote_url.endpoint(emulator, name=EMULATOR, clear=True), True


def _flag(options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "false")
    if value not in {"true", "false"}:
        raise ValueError(f"{name}= is true or false, not {value[:80]!r}")
    return value == "true"


def _resumable(given: str | None, *, google: bool) -> bool:
    """Google itself keeps the precondition of a resumable upload; of others that is not known."""
    if given not in {None, "resumable", "single"}:
        raise ValueError(f"upload= is resumable or single, not {str(given)[:80]!r}")
    return google if given is None else given == "resumable"
