"""Names of logs, their origins, and where their objects lie (docs/format.md, "Audit log").

A log is `trust`, `env/ENVIRONMENT` or `access/PRINCIPAL/INSTANCE`. Commits carry
authority and are written once; tiles, bundles and `checkpoint` are derived from
them and may be written again.
"""

import re
from dataclasses import dataclass
from typing import Final

from vault.core import limits, names
from vault.core.names import Digest, Environment, Principal
from vault.errors import Malformed

LOGS: Final = "log/"
TRUST: Final = "trust"
ENVIRONMENT: Final = "env"
ACCESS: Final = "access"
TILE_WIDTH: Final = 256

_ORIGIN: Final = "mvault/v1/"
_INSTANCE: Final = re.compile(r"[0-9a-f]{16}\Z", re.ASCII)
_NUMBER: Final = re.compile(r"([0-9]{6}|[1-9][0-9]{6,15})\Z", re.ASCII)
_COSIGNATURE: Final = re.compile(r"(.+)-([0-9a-f]{32})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Log:
    """Which log: its kind, and the environment, or the principal and instance, that it belongs to."""

    kind: str  # TRUST, ENVIRONMENT or ACCESS
    environment: Environment | None = None
    principal: Principal | None = None
    instance: str | None = None

    def __str__(self) -> str:
        parts = (self.kind, self.environment, self.principal, self.instance)
        return "/".join(part for part in parts if part is not None)

    @property
    def folder(self) -> str:
        """The folder of everything of this log."""
        return f"{LOGS}{self}/"

    @property
    def commits(self) -> str:
        """The folder of its commits."""
        return f"{self.folder}commit/"

    @property
    def tiles(self) -> str:
        """The folder of its tiles and entry bundles."""
        return f"{self.folder}tile/"

    @property
    def checkpoint(self) -> str:
        """The name of its newest checkpoint, a copy for other programs."""
        return f"{self.folder}checkpoint"

    def commit(self, number: int) -> str:
        """Name one commit: six digits at least."""
        return f"{self.commits}{number:06d}"

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> str:
        """Name a tile of `width` hashes (C2SP tlog-tiles)."""
        return f"{self.tiles}{level}/{_path(index, width)}"

    def bundle(self, index: int, width: int = TILE_WIDTH) -> str:
        """Name the bundle of the entries under a tile of level 0."""
        return f"{self.tiles}entries/{_path(index, width)}"

    def cosigned(self, size: int) -> str:
        """Name the folder of the cosignatures of the checkpoint of one size."""
        return f"{self.folder}cosigned/{size:012d}/"

    def cosignature(self, size: int, witness: Principal, content: Digest) -> str:
        """Name one witness's cosignature; `content` is the SHA-256 of the object."""
        return f"{self.cosigned(size)}{witness}-{content[:32]}"


TRUST_LOG: Final = Log(TRUST)


def environment_log(environment: Environment) -> Log:
    """Name the log of an environment."""
    return Log(ENVIRONMENT, environment=environment)


def access_log(principal: Principal, instance: str) -> Log:
    """Name the access log of one instance of a principal, 16 hexadecimal digits.

    Raises:
        Malformed: `malformed-name`.
    """
    if not _INSTANCE.match(instance):
        raise _bad(instance, "an instance is 16 lowercase hexadecimal digits")
    return Log(ACCESS, principal=principal, instance=instance)


def parse(text: str) -> Log:
    """Parse the name of a log.

    Raises:
        Malformed: `malformed-name`.
    """
    match text.split("/"):
        case ["trust"]:
            return TRUST_LOG
        case ["env", environment]:
            return environment_log(names.environment(environment))
        case ["access", principal, instance]:
            return access_log(names.principal(principal), instance)
    raise _bad(text, "logs are trust, env/ENVIRONMENT and access/PRINCIPAL/INSTANCE")


def origin(vault: Digest, log: Log) -> str:
    """Give the origin of a log, which is the name of its key too."""
    return f"{_ORIGIN}{vault}/{log}"


def parse_origin(text: str) -> tuple[Digest, Log]:
    """Parse an origin into the vault and the log.

    Raises:
        Malformed: `malformed-name`.
    """
    vault, slash, log = text.removeprefix(_ORIGIN).partition("/")
    if not text.startswith(_ORIGIN) or not slash:
        raise _bad(text, f"an origin is {_ORIGIN}VAULT/LOG")
    return names.digest(vault), parse(log)


def witness_name(vault: Digest, witness: Principal) -> str:
    """Give the name that a witness signs under."""
    return f"{_ORIGIN}{vault}/witness/{witness}"


def parse_witness(vault: Digest, name: str) -> Principal | None:
    """Give the witness of this vault who signs under a name; None when it is no such name."""
    prefix = witness_name(vault, Principal(""))
    if not name.startswith(prefix):
        return None
    try:
        return names.principal(name.removeprefix(prefix))
    except Malformed:
        return None


def parse_commit(leaf: str) -> int | None:
    """Give the number that a name in the folder of commits stands for, or None when it is no such name."""
    found = _NUMBER.match(leaf)
    number = int(found[1]) if found else 0
    return number if 0 < number <= limits.NUMBER_MAX else None


def parse_cosignature(leaf: str) -> tuple[Principal, str] | None:
    """Give the witness, and the content, that a name in a folder of cosignatures tells; else None."""
    found = _COSIGNATURE.match(leaf)
    if found is None:
        return None
    try:
        return names.principal(found[1]), found[2]
    except Malformed:
        return None


def _path(index: int, width: int) -> str:
    """Write a tile's index in groups of three digits, all but the last after an `x`; then its width."""
    groups: list[str] = []
    rest = index
    while True:
        rest, group = divmod(rest, 1_000)
        groups.append(f"x{group:03d}" if groups else f"{group:03d}")
        if not rest:
            break
    path = "/".join(reversed(groups))
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def _bad(text: str, rule: str) -> Malformed:
    shown = text[:120].encode("unicode_escape").decode()
    return Malformed(f"{shown!r} is not the name of a log: {rule}.", code="malformed-name", subject=shown)
