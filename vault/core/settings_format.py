"""Parse the two settings files, a project's and a user's (docs/format.md, "Settings files").

Both are TOML. A project's file may come from a stranger's repository, so it
may say where the vault is and how things are shown, and nothing else.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from vault.core import limits, names
from vault.core.allowance import Allowance
from vault.core.names import Environment
from vault.errors import Malformed

COLORS: Final = ("auto", "always", "never")

_TOML_PLACE: Final = re.compile(r"\(at [^()]{1,40}\)\Z")


@dataclass(frozen=True, slots=True)
class DisplaySettings:
    """How things are shown, as far as a file says so: colour (`COLORS`), progress bars, JSON."""

    color: str | None = None
    progress: bool | None = None
    json: bool | None = None


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """What a project's `mvault.toml` says."""

    vault: str | None
    stores: Mapping[Environment, str] | None
    display: DisplaySettings


@dataclass(frozen=True, slots=True)
class UserFile:
    """What the user's own `config.toml` says; paths are as they were written."""

    vault: str | None
    stores: Mapping[Environment, str] | None
    identity: str | None
    trust: str | None
    env: str | None
    audit: str | None
    cache: str | None
    cache_bytes: int | None
    index: str | None
    allow: Allowance | None
    passphrase_file: str | None
    passphrase_command: tuple[str, ...] | None
    display: DisplaySettings


def parse_project(data: bytes, subject: str) -> ProjectFile:
    """Parse a project's file, which messages call `subject`.

    Raises:
        Malformed: `malformed-document`: it is too large, not TOML, of another shape, or
            sets something that only its user may set.
    """
    table = _parse(data, subject, limits.PROJECT_SETTINGS_BYTES)
    for key in table.left():
        if key not in {"vault", "stores", "display"}:
            raise Malformed(
                f"{subject} sets {key[:80]!r}, which a project may not, since its file can come from a "
                "stranger. Only 'vault', [stores] and [display] may stand there.",
                subject=subject,
                hint="Take it out of that file. If you want it, put it into your own configuration.",
            )
    return ProjectFile(table.text("vault"), _stores(table), _display(table))


def parse_user(data: bytes, subject: str) -> UserFile:
    """Parse the user's own configuration, which messages call `subject`.

    Raises:
        Malformed: `malformed-document`: it is too large, not TOML, or of another shape.
    """
    table = _parse(data, subject, limits.SETTINGS_BYTES)
    allow = None
    if (allowed := table.table("allow")) is not None:
        allow = Allowance(
            formats=frozenset(allowed.texts("formats") or ()),
            skops_types=frozenset(allowed.texts("skops_types") or ()),
            pickle_globals=frozenset(allowed.texts("pickle_globals") or ()),
            onnx_domains=frozenset(allowed.texts("onnx_domains") or ()),
            max_bytes=allowed.integer("max_bytes", 1, limits.FILE_BYTES) or limits.LOAD_BYTES,
        )
        allowed.done()
    passphrase_file, passphrase_command = None, None
    if (passphrase := table.table("passphrase")) is not None:
        passphrase_file, passphrase_command = passphrase.text("file"), passphrase.texts("command")
        passphrase.done()
        if (passphrase_file is None) == (not passphrase_command):
            raise passphrase.wrong("has either 'file' or 'command'")
    found = UserFile(
        vault=table.text("vault"),
        stores=_stores(table),
        identity=table.text("identity"),
        trust=table.text("trust"),
        env=table.text("env"),
        audit=table.text("audit"),
        cache=table.text("cache"),
        cache_bytes=table.integer("cache_bytes", 1, limits.FILE_BYTES),
        index=table.text("index"),
        allow=allow,
        passphrase_file=passphrase_file,
        passphrase_command=passphrase_command,
        display=_display(table),
    )
    table.done()
    return found


def located_stores(pairs: Iterable[tuple[object, object]], where: str) -> dict[Environment, str]:
    """Read which environments have stores of their own, and where, from the caller's own words.

    Raises:
        ValueError: it is no such list, or has two stores for one environment.
    """
    found: dict[Environment, str] = {}
    for name, location in pairs:
        try:
            environment = names.environment(str(name))
        except Malformed as error:
            raise ValueError(
                f"{where} is ENVIRONMENT=LOCATION, separated by spaces: {error.message}"
            ) from None
        if environment in found:
            raise ValueError(f"{where} has two stores for {environment}.")
        found[environment] = word(location, where)
    return found


def number_of_bytes(text: str, where: str) -> int:
    """Read a size from the caller's own words.

    Raises:
        ValueError: it is no whole number above 0.
    """
    if not re.fullmatch(r"[1-9][0-9]{0,15}", text, re.ASCII):
        raise ValueError(f"{where} is a number of bytes.")
    return int(text)


def word(value: object, where: str) -> str:
    """Read a text from the caller's own words.

    Raises:
        ValueError: it is none, or not printable.
    """
    if not isinstance(value, str) or not is_text(value):
        raise ValueError(f"{where} is printable text of 1 to {limits.SETTING_CHARS:,} characters.")
    return value


def is_text(value: object) -> bool:
    """Tell whether a value is what a setting's text may be: printable, 1 to 4,096 characters."""
    return isinstance(value, str) and 0 < len(value) <= limits.SETTING_CHARS and value.isprintable()


def _parse(data: bytes, subject: str, limit: int) -> "_Table":
    if len(data) > limit:
        raise _wrong(subject, f"has more than {limit:,} bytes")
    import tomllib  # most commands find no such file and need no parser

    try:
        content: dict[str, object] = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        # Of the parser's message only the place is shown: the file might be a link to a secret.
        place = _TOML_PLACE.search(str(error))
        raise _wrong(subject, f"is not TOML {place.group() if place else ''}".rstrip()) from None
    return _Table(content, subject, "")


def _wrong(subject: str, reason: str) -> Malformed:
    return Malformed(f"{subject} {reason}.", subject=subject, hint="Correct that file, or remove it.")


def _stores(table: "_Table") -> Mapping[Environment, str] | None:
    """Read where environments have stores of their own: environment → location."""
    stores = table.table("stores")
    if stores is None:
        return None
    found: dict[Environment, str] = {}
    for name in stores.left():
        try:
            environment = names.environment(name)
        except Malformed:
            raise stores.wrong("has a location for each environment, which this is not") from None
        found[environment] = stores.text(name) or ""  # it is there, and no text is empty
    return found


def _display(table: "_Table") -> DisplaySettings:
    display = table.table("display")
    if display is None:
        return DisplaySettings()
    color = display.text("color")
    if color is not None and color not in COLORS:
        raise display.wrong(f"has 'color' as one of {', '.join(COLORS)}")
    found = DisplaySettings(color, display.boolean("progress"), display.boolean("json"))
    display.done()
    return found


class _Table:
    """One TOML table being read; every field is optional, and `done` refuses what nobody asked for."""

    def __init__(self, content: dict[str, object], subject: str, name: str) -> None:
        self._content = dict(content)
        self._subject = subject
        self._name = name

    def wrong(self, rule: str) -> Malformed:
        return _wrong(self._subject, f"is wrong: {f'[{self._name}]' if self._name else 'it'} {rule}")

    def left(self) -> list[str]:
        return list(self._content)

    def text(self, key: str) -> str | None:
        value = self._content.pop(key, None)
        if value is not None and not is_text(value):
            raise self.wrong(f"has {key!r} as printable text of 1 to {limits.SETTING_CHARS:,} characters")
        return value if isinstance(value, str) else None

    def texts(self, key: str) -> tuple[str, ...] | None:
        values = self._content.pop(key, None)
        if values is None:
            return None
        if (
            not isinstance(values, list)
            or len(values) > limits.SETTING_ITEMS
            or not all(map(is_text, values))
        ):
            raise self.wrong(f"has {key!r} as a list of at most {limits.SETTING_ITEMS:,} texts")
        return tuple(values)

    def integer(self, key: str, low: int, high: int) -> int | None:
        value = self._content.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.wrong(f"has {key!r} as an integer from {low} to {high}")
        return value

    def boolean(self, key: str) -> bool | None:
        value = self._content.pop(key, None)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(f"has {key!r} as true or false")
        return value

    def table(self, key: str) -> "_Table | None":
        value = self._content.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(f"has {key!r} as a table, [{key}]")
        return _Table(value, self._subject, key)

    def done(self) -> None:
        for key in self._content:
            raise self.wrong(f"has no setting {key[:80]!r}")
