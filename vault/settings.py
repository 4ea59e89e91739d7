"""Gather settings: flag > MVAULT_* > mvault.toml here or above > the user's configuration > default.

What decides who one is, whom one trusts, what may be loaded or which command
runs comes from flags, the environment or the user's own configuration, never
from a project (`vault/core/settings_format.py`).
"""

import errno
import os
import re
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from vault.core import limits, settings_format
from vault.core.allowance import Allowance
from vault.core.names import Environment
from vault.core.settings_format import DisplaySettings, located_stores, number_of_bytes, word
from vault.errors import Malformed, Unavailable

T = TypeVar("T")

PROJECT_FILE: Final = "mvault.toml"
USER_FILE: Final = "config.toml"
IDENTITY_FILE: Final = "identity.json"
DEFAULT: Final = "default"
_FILES: Final = 2  # how many kinds of settings go before those in files
AUDIT_PLACES: Final = ("store", "stdout")

_FLAGS: Final = frozenset(
    [
        *(
            "vault",
            "stores",
            "env",
            "identity",
            "trust",
            "cache",
            "passphrase_file",
            "passphrase_fd",
            "passphrase_command",
        ),
        *("color", "progress", "json"),
    ]
)
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.ASCII)
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})

_Layer = dict[str, tuple[Any, str]]  # setting -> its value, and where that was set


@dataclass(frozen=True, slots=True)
class PassphraseSettings:
    """Where the passphrase comes from: at most one of these; the prompt if none."""

    file: Path | None = None
    descriptor: int | None = None
    command: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Display:
    """How things are shown: colour `auto`, `always` or `never`, progress bars, JSON."""

    color: str = "auto"
    progress: bool = True
    json: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; `source` tells where each came from.

    `vault` is a path or URL; it is as the user gave it, or absolute if a file
    gave it. `stores` are those of environments that are kept apart from it. `audit`
    says where records of what is done go at once: `store`, `stdout`, or a folder on a
    volume that lasts; `cache` is a folder for copies of what is read, `index` the URL of a database for the
    registry index. Paths are absolute. `config_dir` and `state_dir` are None where there is no home.
    `warnings` are sentences for the user.
    """

    vault: str | None = None
    stores: Mapping[Environment, str] = field(default_factory=dict)
    identity: Path | None = None
    trust: Path | None = None
    env: str | None = None
    audit: str | Path | None = None
    cache: Path | None = None
    cache_bytes: int = 10 * limits.GIB
    index: str | None = None
    config_dir: Path | None = None
    state_dir: Path | None = None
    allow: Allowance = field(default_factory=Allowance)
    passphrase: PassphraseSettings = PassphraseSettings()
    display: Display = Display()
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def source(self, name: str) -> str:
        """Tell where the value of `name` came from: a flag, a variable, a file or `default`."""
        return self.sources.get(name, DEFAULT)


def load_settings(*, flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Settings:
    """Gather the settings of a process in the folder `cwd` (absolute), with these variables and flags.

    `flags` has any of: vault, env, identity, trust, passphrase_file, passphrase_fd,
    passphrase_command (a list), color, progress, json; a flag that is None was not given.
    An empty variable counts as unset.

    Raises:
        Malformed: `malformed-document`: a settings file is too large, not TOML, sets
            something unknown, or, in a project, something that a project may not set.
        ValueError: a flag or variable has no such value.
        TypeError: there is no such flag.
    """
    if unknown := flags.keys() - _FLAGS:
        raise TypeError(f"No such setting: {', '.join(sorted(unknown))}")
    warnings: list[str] = []
    home = _home(environ)
    config_dir, config_source = _folder(environ, cwd, home, "CONFIG", ".config")
    state_dir, state_source = _folder(environ, cwd, home, "STATE", ".local/state")
    if environ.get("MVAULT_PASSPHRASE"):
        warnings.append(
            "MVAULT_PASSPHRASE is not read, since other programs can see it. Use MVAULT_PASSPHRASE_FILE."
        )
    layers = [
        _from_flags(flags, cwd),
        _from_environment(environ, cwd),
        _from_project(cwd, home, warnings),
        _from_user(config_dir, home, warnings),
    ]
    sources = {"config_dir": config_source, "state_dir": state_source}
    for layer in reversed(layers):
        sources |= {name: where for name, (_, where) in layer.items()}

    stores, sources["stores"] = _belonging(layers, cwd)

    def chosen(name: str, default: T) -> T:
        found: T = next((layer[name][0] for layer in layers if name in layer), default)
        return found

    return Settings(
        vault=chosen("vault", None),
        stores=stores,
        identity=chosen("identity", None if config_dir is None else config_dir / IDENTITY_FILE),
        trust=chosen("trust", None),
        env=chosen("env", None),
        audit=chosen("audit", None),
        cache=chosen("cache", None),
        cache_bytes=chosen("cache_bytes", 10 * limits.GIB),
        index=chosen("index", None),
        config_dir=config_dir,
        state_dir=state_dir,
        allow=chosen("allow", Allowance()),
        passphrase=chosen("passphrase", PassphraseSettings()),
        display=Display(chosen("color", "auto"), chosen("progress", True), chosen("json", False)),
        sources=sources,
        warnings=tuple(warnings),
    )


def _belonging(layers: Sequence[_Layer], cwd: Path) -> tuple[Mapping[Environment, str], str]:
    """Give the stores that belong to the chosen vault, and where that was said.

    A file's do if the file names that vault itself.
    """
    vault = next((layer["vault"][0] for layer in layers if "vault" in layer), None)
    for place, layer in enumerate(layers):
        if "stores" not in layer:
            continue
        if place < _FILES or (vault is not None and _same(layer.get("vault", ("",))[0], vault, cwd)):
            stores: tuple[Mapping[Environment, str], str] = layer["stores"]
            return stores
    return {}, DEFAULT


def _same(one: str, other: str, cwd: Path) -> bool:
    """Tell whether two locations are written as one place."""
    return one == other or os.path.normpath(cwd / one) == os.path.normpath(cwd / other)


# --- folders ---


def _home(environ: Mapping[str, str]) -> Path | None:
    """Return the home folder if there is one that this user may look into; a container often has none."""
    home = environ.get("HOME", "")
    return Path(home) if os.path.isabs(home) and os.path.isdir(home) and os.access(home, os.X_OK) else None


def _folder(
    environ: Mapping[str, str], cwd: Path, home: Path | None, kind: str, below_home: str
) -> tuple[Path | None, str]:
    """Find the configuration or state folder (XDG Base Directory Specification 0.8)."""
    own, xdg = f"MVAULT_{kind}_DIR", f"XDG_{kind}_HOME"
    if environ.get(own):
        return cwd / word(environ[own], own), own
    if os.path.isabs(environ.get(xdg, "")):
        return Path(word(environ[xdg], xdg)) / "mvault", xdg
    return (None if home is None else home / below_home / "mvault"), DEFAULT


# --- flags and variables: the caller's own words, so a wrong one is a ValueError ---


def _from_flags(flags: Mapping[str, object], cwd: Path) -> _Layer:
    given = {name: value for name, value in flags.items() if value is not None}
    layer: _Layer = {}
    for name in given.keys() & {"vault", "env", "color"}:
        layer[name] = (word(given[name], f"--{name}"), f"--{name}")
    if "stores" in given:
        stores = given["stores"]
        if not isinstance(stores, Mapping):
            raise ValueError("stores is a mapping from environments to locations.")
        layer["stores"] = (located_stores(stores.items(), "stores"), "stores")
    for name in given.keys() & {"identity", "trust", "cache"}:
        layer[name] = (cwd / word(str(given[name]), f"--{name}"), f"--{name}")
    for name in given.keys() & {"progress", "json"}:
        layer[name] = (bool(given[name]), f"--{name}")
    if "color" in layer and layer["color"][0] not in settings_format.COLORS:
        raise ValueError(f"--color is one of {', '.join(settings_format.COLORS)}.")
    layer |= _passphrase(
        {
            "--passphrase-file": given.get("passphrase_file"),
            "--passphrase-fd": given.get("passphrase_fd"),
            "--passphrase-command": given.get("passphrase_command"),
        },
        cwd,
    )
    return layer


def _from_environment(environ: Mapping[str, str], cwd: Path) -> _Layer:
    given = {name: value for name, value in environ.items() if name.startswith("MVAULT_") and value}
    layer: _Layer = {}
    for name, variable in (("vault", "MVAULT_VAULT"), ("env", "MVAULT_ENV"), ("index", "MVAULT_INDEX")):
        if variable in given:
            layer[name] = (word(given[variable], variable), variable)
    for name in ("identity", "trust", "cache"):
        variable = f"MVAULT_{name.upper()}"
        if variable in given:
            layer[name] = (cwd / word(given[variable], variable), variable)
    if "MVAULT_CACHE_BYTES" in given:
        layer["cache_bytes"] = (
            number_of_bytes(given["MVAULT_CACHE_BYTES"], "MVAULT_CACHE_BYTES"),
            "MVAULT_CACHE_BYTES",
        )
    if "MVAULT_STORES" in given:
        pairs = [entry.partition("=")[::2] for entry in given["MVAULT_STORES"].split()]
        layer["stores"] = (located_stores(pairs, "MVAULT_STORES"), "MVAULT_STORES")
    if "MVAULT_AUDIT" in given:
        layer["audit"] = (_audit(cwd, word(given["MVAULT_AUDIT"], "MVAULT_AUDIT"), None), "MVAULT_AUDIT")
    command = given.get("MVAULT_PASSPHRASE_COMMAND")
    layer |= _passphrase(
        {
            "MVAULT_PASSPHRASE_FILE": given.get("MVAULT_PASSPHRASE_FILE"),
            "MVAULT_PASSPHRASE_FD": given.get("MVAULT_PASSPHRASE_FD"),
            "MVAULT_PASSPHRASE_COMMAND": None if command is None else _split(command),
        },
        cwd,
    )
    if environ.get("NO_COLOR"):
        layer["color"] = ("never", "NO_COLOR")
    return layer


def _audit(folder: Path, text: str, home: Path | None) -> str | Path:
    return text if text in AUDIT_PLACES else _below(folder, text, home)


def _passphrase(given: Mapping[str, object], cwd: Path) -> _Layer:
    """Read the three sources, in the order file, descriptor, command."""
    used = [name for name, value in given.items() if value is not None]
    if len(used) > 1:
        raise ValueError(f"The passphrase comes from one place, not from {' and '.join(used)}.")
    if not used:
        return {}
    where = used[0]
    file, descriptor, command = given.values()
    if file is not None:
        found = PassphraseSettings(file=cwd / word(str(file), where))
    elif descriptor is not None:
        if not re.fullmatch(r"[0-9]{1,6}", str(descriptor), re.ASCII):
            raise ValueError(f"{where} is the number of an open descriptor.")
        found = PassphraseSettings(descriptor=int(str(descriptor)))
    else:
        if isinstance(command, str) or not isinstance(command, Sequence) or not command:
            raise ValueError(f"{where} is a command and its arguments.")
        found = PassphraseSettings(command=tuple(word(part, where) for part in command))
    return {"passphrase": (found, where)}


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        raise ValueError("MVAULT_PASSPHRASE_COMMAND has a quotation mark without its pair.") from None


# --- files: anybody's bytes, so a wrong one is refused ---


def _from_project(cwd: Path, home: Path | None, warnings: list[str]) -> _Layer:
    ends = set() if home is None else {home, home.resolve()}
    for folder in (cwd, *cwd.parents):
        path = folder / PROJECT_FILE
        if os.path.lexists(path):
            data = _contents(path, limits.PROJECT_SETTINGS_BYTES, warnings)
            if data is None:
                return {}
            found = settings_format.parse_project(data, str(path))
            return _shared(found.vault, found.stores, found.display, path, home)
        if folder in ends:
            break
    return {}


def _from_user(config_dir: Path | None, home: Path | None, warnings: list[str]) -> _Layer:
    if config_dir is None:
        return {}
    path = config_dir / USER_FILE
    data = _contents(path, limits.SETTINGS_BYTES, warnings)
    if data is None:
        return {}
    found = settings_format.parse_user(data, str(path))
    layer = _shared(found.vault, found.stores, found.display, path, home)
    where = str(path)
    plain = {"env": found.env, "index": found.index, "cache_bytes": found.cache_bytes, "allow": found.allow}
    layer |= {name: (value, where) for name, value in plain.items() if value is not None}
    if found.identity is not None:
        layer["identity"] = (_below(path.parent, found.identity, home), where)
    if found.trust is not None:
        layer["trust"] = (_below(path.parent, found.trust, home), where)
    if found.audit is not None:
        layer["audit"] = (_audit(path.parent, found.audit, home), where)
    if found.cache is not None:
        layer["cache"] = (_below(path.parent, found.cache, home), where)
    if found.passphrase_file is not None:
        file = _below(path.parent, found.passphrase_file, home)
        layer["passphrase"] = (PassphraseSettings(file=file), where)
    if found.passphrase_command is not None:
        layer["passphrase"] = (PassphraseSettings(command=found.passphrase_command), where)
    return layer


def _shared(
    vault: str | None,
    stores: Mapping[Environment, str] | None,
    display: DisplaySettings,
    path: Path,
    home: Path | None,
) -> _Layer:
    """Read what both files may set; a relative path is relative to the file."""

    def located(text: str) -> str:
        return text if _URL.match(text) else str(_below(path.parent, text, home))

    where = str(path)
    layer: _Layer = {}
    if vault is not None:
        layer["vault"] = (located(vault), where)
    if stores is not None:
        layer["stores"] = ({name: located(text) for name, text in stores.items()}, where)
    shown = {"color": display.color, "progress": display.progress, "json": display.json}
    return layer | {name: (value, where) for name, value in shown.items() if value is not None}


def _below(folder: Path, text: str, home: Path | None) -> Path:
    if home is not None and (text == "~" or text.startswith("~/")):
        return home / text[2:]
    return folder / text


def _contents(path: Path, limit: int, warnings: list[str]) -> bytes | None:
    """Read a settings file, a byte past `limit` at most; None if there is none that this user may read."""
    try:
        # O_NONBLOCK: a pipe put where the file belongs must not hang the reader.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Malformed(f"{path} is not a regular file.", subject=str(path), hint="Remove it.")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(limit + 1)
        finally:
            os.close(descriptor)
    except PermissionError:
        warnings.append(f"{path} cannot be read by this user, and was not used.")
        return None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise Unavailable(f"{path} cannot be read: {error.strerror}.", subject=str(path)) from None
