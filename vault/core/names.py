"""Names and references: one grammar and one parser for each (docs/format.md, "Names").

A value of one of the NewTypes below came through its parser; code that takes
one need not check it again.
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NewType

from vault.core import limits
from vault.errors import Malformed

Model = NewType("Model", str)
Version = NewType("Version", str)
Environment = NewType("Environment", str)
Slot = NewType("Slot", str)
Principal = NewType("Principal", str)
Path = NewType("Path", str)
Digest = NewType("Digest", str)  # lowercase hex SHA-256, without a prefix

MAIN: Final = Slot("main")
DIGEST_PREFIX: Final = "sha256:"

_PART: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?\Z", re.ASCII)
_ENVIRONMENT: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?\Z", re.ASCII)
_INTEGER: Final = re.compile(r"[1-9][0-9]{0,14}\Z", re.ASCII)
_SEMANTIC: Final = re.compile(
    r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(?:-([0-9a-z.-]{1,32}))?\Z", re.ASCII
)
_TIMESTAMP: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z\Z", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z\Z", re.ASCII)
_FORBIDDEN_IN_PATH: Final = frozenset('<>:"|?*\\')

_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

# Names that a device answers to on some systems, whatever their extension.
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"]
)


def _bad(kind: str, text: str, rule: str) -> Malformed:
    shown = text if len(text) <= 80 else f"{text[:77]}…"
    return Malformed(
        f"{shown!r} is not {'an' if kind[0] in 'aeiou' else 'a'} {kind}: {rule}.",
        code="malformed-name",
        subject=shown.encode("unicode_escape").decode(),
    )


def is_device(part: str) -> bool:
    """Tell whether some system would open a device for this name."""
    return part.split(".", 1)[0].rstrip(" ").lower() in _DEVICES


def _parts(kind: str, text: str, most: int) -> list[str]:
    parts = text.split("/")
    if len(parts) > most:
        raise _bad(kind, text, f"it has more than {most} parts")
    for part in parts:
        if len(part) > limits.PART_CHARS or not _PART.match(part):
            raise _bad(
                kind,
                text,
                f"each part has 1 to {limits.PART_CHARS} of A-Z a-z 0-9 . _ - and a letter or digit first",
            )
        if is_device(part):
            raise _bad(kind, text, "a part is the name of a device")
    return parts


def model(text: str) -> Model:
    """Parse a model name such as `churn` or `nepse/NABIL`.

    Raises:
        Malformed: `malformed-name`.
    """
    if len(text) > limits.MODEL_CHARS:
        raise _bad("model name", text, f"it is longer than {limits.MODEL_CHARS} characters")
    _parts("model name", text, limits.MODEL_PARTS)
    return Model(text)


def version(text: str) -> Version:
    """Parse an integer (`3`), a semantic version (`1.4.0-rc.1`) or a timestamp (`20261123T050000Z`).

    Raises:
        Malformed: `malformed-name`.
    """
    version_order(text)
    return Version(text)


def environment(text: str) -> Environment:
    """Parse an environment's name: lowercase letters, digits and inner hyphens, at most 32.

    Raises:
        Malformed: `malformed-name`.
    """
    if not _ENVIRONMENT.match(text):
        raise _bad(
            "environment", text, "lowercase letters, digits and inner hyphens, at most 32, a letter first"
        )
    return Environment(text)


def slot(text: str) -> Slot:
    """Parse a slot's name; the grammar is that of environments.

    Raises:
        Malformed: `malformed-name`.
    """
    if not _ENVIRONMENT.match(text):
        raise _bad("slot", text, "lowercase letters, digits and inner hyphens, at most 32, a letter first")
    return Slot(text)


def principal(text: str) -> Principal:
    """Parse the name of a person, a service or a role.

    Raises:
        Malformed: `malformed-name`.
    """
    _parts("principal", text, 1)
    return Principal(text)


def digest(text: str) -> Digest:
    """Parse 64 lowercase hexadecimal digits.

    Raises:
        Malformed: `malformed-name`.
    """
    if not _DIGEST.match(text):
        raise _bad("SHA-256 digest", text, "64 lowercase hexadecimal digits are one")
    return Digest(text)


def path(text: str) -> Path:
    """Parse the path of a file in a package: relative, `/`, NFC, portable.

    Raises:
        Malformed: `malformed-name`.
    """
    if not text or len(text) > limits.PATH_CHARS:
        raise _bad("path", text, f"it has 1 to {limits.PATH_CHARS} characters")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _bad("path", text, "it holds half a character") from None
    if unicodedata.normalize("NFC", text) != text:
        raise _bad("path", text, "it is not in Unicode normal form C")
    parts = text.split("/")
    if len(parts) > limits.PATH_PARTS:
        raise _bad("path", text, f"it has more than {limits.PATH_PARTS} parts")
    for part in parts:
        if part in {"", ".", ".."}:
            raise _bad("path", text, "it is relative, without empty, '.' or '..' parts")
        if part[-1] in " ." or is_device(part):
            raise _bad("path", text, "a part ends in a space or dot, or names a device")
        if any(character in _FORBIDDEN_IN_PATH or not character.isprintable() for character in part):
            raise _bad("path", text, "it holds a character that some systems do not allow")
        if len(part.encode("utf-8")) > 255:
            raise _bad("path", text, "a part is longer than 255 bytes")
    return Path(text)


def fold(text: str) -> str:
    """Give the form in which two names that some file system confuses are equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())


def timestamp(text: str) -> int:
    """Parse `YYYY-MM-DDThh:mm:ssZ` into seconds since 1970.

    Raises:
        Malformed: `malformed-name`.
    """
    if _TIME.match(text):
        try:
            return int(datetime.fromisoformat(text).timestamp())
        except ValueError:
            pass
    raise _bad("time", text, "times look like 2026-11-23T05:00:00Z")


def time_text(seconds: int) -> str:
    """Write seconds since 1970 as `YYYY-MM-DDThh:mm:ssZ`; `timestamp` reads it back."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day_text(time: str) -> str:
    """Write the day of a time as people say it, such as `3 May 2026`."""
    moment = datetime.fromisoformat(time)
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"


# --- versions: parsed once more, into something that sorts ---


@dataclass(frozen=True, slots=True, order=True)
class VersionOrder:
    """A version's place: `kind` 0 integer, 1 semantic, 2 timestamp; then precedence inside the kind.

    Semantic versions order as on semver.org, section 11: a pre-release comes
    before its release, numeric identifiers before alphanumeric ones.
    """

    kind: int
    numbers: tuple[int, ...]
    released: bool
    prerelease: tuple[tuple[int, int, str], ...]


def version_order(text: str) -> VersionOrder:
    """Parse a version into its sort key.

    Raises:
        Malformed: `malformed-name`.
    """
    if _INTEGER.match(text):
        return VersionOrder(0, (int(text),), True, ())
    if len(text) <= limits.VERSION_CHARS and (found := _SEMANTIC.match(text)):
        numbers = tuple(int(found[part]) for part in (1, 2, 3))
        return VersionOrder(1, numbers, found[4] is None, _prerelease(text, found[4]))
    if _TIMESTAMP.match(text):
        try:
            moment = datetime.strptime(text, "%Y%m%dT%H%M%S%z")
        except ValueError:
            raise _bad("version", text, "there is no such moment") from None
        return VersionOrder(2, (int(moment.timestamp()),), True, ())
    raise _bad("version", text, "versions are like 3, 1.4.0, 1.4.0-rc.1 or 20261123T050000Z")


def _prerelease(text: str, labels: str | None) -> tuple[tuple[int, int, str], ...]:
    if labels is None:
        return ()
    order = []
    for label in labels.split("."):
        if not label or (label.isdecimal() and len(label) > 1 and label[0] == "0"):
            raise _bad("version", text, "pre-release labels are not empty and have no leading zeros")
        order.append((0, int(label), "") if label.isdecimal() else (1, 0, label))
    return tuple(order)


# --- references ---


@dataclass(frozen=True, slots=True)
class Reference:
    """What a person writes to mean one package; see `reference`."""

    model: Model
    version: Version | None = None
    environment: Environment | None = None
    slot: Slot | None = None
    digest: Digest | None = None

    def __str__(self) -> str:
        if self.digest is not None:
            return f"{self.model}@{DIGEST_PREFIX}{self.digest}"
        if self.version is not None:
            return f"{self.model}:{self.version}"
        if self.environment is None:
            return self.model
        if self.slot is None or self.slot == MAIN:
            return f"{self.model}@{self.environment}"
        return f"{self.model}@{self.environment}/{self.slot}"


def reference(text: str) -> Reference:
    """Parse `name`, `name:version`, `name@environment[/slot]` or `name@sha256:…`.

    Raises:
        Malformed: `malformed-name`.
    """
    name, at, where = text.partition("@")
    if at:
        if where.startswith(DIGEST_PREFIX):
            return Reference(model(name), digest=digest(where.removeprefix(DIGEST_PREFIX)))
        into, slash, into_slot = where.partition("/")
        return Reference(model(name), environment=environment(into), slot=slot(into_slot) if slash else None)
    name, colon, number = text.partition(":")
    return Reference(model(name), version=version(number) if colon else None)
