"""Make a fresh environment for a load test: an interpreter, and exactly the archives that are pinned.

An installer, uv where it is present and pip otherwise, resolves and installs; it
runs no code of what it installs, since only built archives are taken. It gets no
variable of the vault's, and none of a cloud's.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from vault.actions import needed
from vault.core import limits, requirements
from vault.core.requirements import Pin
from vault.errors import DigestMismatch, Malformed, Unavailable, VaultError

UV: Final = "uv"
PIP: Final = "pip"
AUTO: Final = "auto"
INSTALLERS: Final = (AUTO, UV, PIP)
_OWN_CODE: Final = Path(__file__).resolve().parents[1]  # the folder of this package
OLDEST: Final = (3, 11)  # what this package itself runs on

_KEPT: Final = frozenset(
    {
        *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "NETRC", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
# What tells an installer where archives come from, and nothing that tells it where to put them.
_SOURCES: Final = (
    *("CERT", "CLIENT_CERT", "CONFIG_FILE", "DEFAULT_TIMEOUT", "EXTRA_INDEX_URL", "FIND_LINKS", "INDEX_URL"),
    *("KEYRING_PROVIDER", "NO_INDEX", "PROXY", "RETRIES", "TRUSTED_HOST"),
    *("CACHE_DIR", "DEFAULT_INDEX", "HTTP_TIMEOUT", "INDEX", "INSECURE_HOST", "LINK_MODE", "NATIVE_TLS"),
)
_CONFIGURING: Final = frozenset(f"{tool}_{name}" for tool in ("PIP", "UV") for name in _SOURCES)
_CREDENTIALS: Final = "UV_INDEX_"  # of an index by its name
# A lock names archives and nothing else, whatever uv is configured to write.
_EMITTING: Final = ("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links")
_COMPILING: Final = ("--generate-hashes", *_EMITTING)
_REPORTING: Final = ("--dry-run", "--ignore-installed", "--report", "-")
_OTHER_HASHES: Final = ("DO NOT MATCH THE HASHES", "Hash mismatch", "hash mismatch")
_MESSAGE: Final = 600
_ASK: Final = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
_ASK_SECONDS: Final = 20


@dataclass(frozen=True, slots=True)
class Installing:
    """How to install: `wheels` is a folder that is used in place of an index; `seconds` bound each step."""

    installer: str = AUTO
    wheels: Path | None = None
    seconds: int = 1_800


@dataclass(frozen=True, slots=True)
class Environment:
    """A fresh environment: its interpreter, where its packages lie, and apart from them this package."""

    interpreter: Path
    packages: Path
    code: Path


def impossible(message: str, hint: str = "") -> Unavailable:
    """Build the error of a test that cannot be made here."""
    return Unavailable(message, code="load-test-impossible", hint=hint)


# --- interpreters ---


def interpreter_for(version: str | None) -> Path:
    """Find an interpreter of a version such as `3.13` or `3.13.1`; this one where it is not told.

    Raises:
        Unavailable: `load-test-impossible`: there is none on this machine.
    """
    if version is None or _is(version, ".".join(map(str, sys.version_info[:3]))):
        return Path(sys.executable)
    parts = tuple(int(part) for part in version.split("."))
    if parts[:2] < OLDEST:
        raise impossible(
            f"Python {version} is older than what the vault's loaders run on: {_dotted(OLDEST)}."
        )
    for candidate in _candidates(version):
        if _is(version, version_of(candidate)):
            return candidate
    raise impossible(
        f"There is no Python {version} on this machine.",
        hint=f"Install it, with uv for example: uv python install {version}",
    )


def minor(version: str) -> str:
    """Give the part of a version of Python by which archives are told apart."""
    return ".".join(version.split(".")[:2])


def _dotted(parts: Iterable[int]) -> str:
    return ".".join(map(str, parts))


def _is(wanted: str, version: str) -> bool:
    return version == wanted or version.startswith(f"{wanted}.")


def _candidates(version: str) -> Iterable[Path]:
    found = shutil.which(f"python{minor(version)}")
    if found is not None:
        yield Path(found)
    root = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser() / "versions"
    for folder in sorted(root.glob(f"{version}*"), reverse=True):
        yield folder / "bin" / "python"
    uv = shutil.which(UV)
    if uv is not None:
        with suppress(VaultError):
            told = _run(
                [uv, "python", "find", "--no-python-downloads", version], Installing(seconds=_ASK_SECONDS)
            )
            yield Path(told.strip())


@lru_cache(maxsize=64)
def version_of(interpreter: Path) -> str:
    """Give the version of an interpreter; empty where it does not run."""
    try:
        done = subprocess.run(  # noqa: S603 (an interpreter of the user's own)
            [str(interpreter), "-I", "-S", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("ascii", "replace").strip() if done.returncode == 0 else ""


# --- making one ---


def make(folder: Path, interpreter: Path, installing: Installing) -> Environment:
    """Make an empty environment in a folder that is there and nobody else's.

    Raises:
        Unavailable: `load-test-impossible`.
    """
    place = folder / "environment"
    _run([str(interpreter), "-I", "-m", "venv", "--without-pip", str(place)], installing)
    packages = next(iter(sorted(place.glob("lib*/python3*/site-packages"))), None)
    if packages is None:
        raise impossible(f"{interpreter} made an environment without a folder for packages.")
    code = folder / "code"
    code.mkdir()
    (code / "vault").symlink_to(_OWN_CODE, target_is_directory=True)
    return Environment(place / "bin" / "python", packages.resolve(), code)


class Installer:
    """The program that fills an environment."""

    def __init__(self, environment: Environment, installing: Installing) -> None:
        """Choose the program.

        Raises:
            ValueError: there is no such installer.
            Unavailable: `load-test-impossible`: it is not installed.
        """
        if installing.installer not in INSTALLERS:
            raise ValueError(f"The installer is {', '.join(INSTALLERS)}, not {installing.installer!r}.")
        uv = shutil.which(UV) if installing.installer != PIP else None
        if installing.installer == UV and uv is None:
            raise impossible("uv is not installed.", hint="Use pip: --installer pip")
        self._environment = environment
        self._installing = installing
        self._uv = uv
        self.name = UV if uv is not None else PIP

    def resolve(self, lines: Sequence[str], *, alone: bool) -> tuple[Pin, ...]:
        """Pin what the lines ask for, with the hashes of archives; `alone` leaves out what that requires.

        Raises:
            Unavailable: `load-test-impossible`: it cannot be resolved.
        """
        which = [*self._where(), *(["--no-deps"] if alone else [])]
        with _file(lines) as asked:
            if self._uv is not None:
                told = self._ask("pip", "compile", *_COMPILING, *which, asked)
                found = requirements.parse(told, "What uv resolved")
            else:
                told = self._ask("install", *_REPORTING, *which, "-r", asked)
                found = _reported(told)
        if self._installing.wheels is not None:
            found = needed.from_folder(found, self._installing.wheels)
        lacking = [entry.line for entry in found if not entry.hashes]
        if lacking:
            raise impossible(f"Nothing tells the hash of {', '.join(lacking[:5])}.")
        return found

    def install(self, pins: Iterable[Pin]) -> None:
        """Install exactly these archives; every one must have a hash that is pinned.

        Raises:
            DigestMismatch: an archive is another than was pinned.
            Unavailable: `load-test-impossible`.
        """
        wanted = tuple(pins)
        if not wanted:
            return
        if not requirements.is_hashed(wanted):
            raise ValueError("Only what is pinned by a hash is installed.")
        self._check_folder(wanted)
        with _file([entry.line for entry in wanted]) as lock:
            if self._uv is not None:
                command = ["pip", "install", "--no-deps", "--require-hashes", *self._where(), "-r", lock]
            else:
                command = [
                    "install",
                    "--no-compile",
                    "--no-deps",
                    "--require-hashes",
                    *self._where(),
                    "-r",
                    lock,
                ]
            self._ask(*command)

    def _check_folder(self, wanted: Sequence[Pin]) -> None:
        """Tell by its name what in a folder of wheels is another archive than was pinned."""
        folder = self._installing.wheels
        if folder is None:
            return
        bare = tuple(Pin(entry.name, entry.version) for entry in wanted)
        for pinned, there in zip(wanted, needed.from_folder(bare, folder), strict=True):
            if there.hashes and not set(there.hashes) & set(pinned.hashes):
                raise _mismatch(f"The wheel of {pinned.name} {pinned.version} in {folder}")

    def _where(self) -> list[str]:
        wheels = self._installing.wheels
        # Only built archives: to look into a source archive is to run it.
        shared = [
            "--only-binary",
            ":all:",
            *([] if wheels is None else ["--no-index", "--find-links", str(wheels)]),
        ]
        return shared if self._uv is None else [*shared, "--python", str(self._environment.interpreter)]

    def _ask(self, *arguments: str) -> str:
        offline = self._installing.wheels is not None
        if self._uv is not None:
            settled = ["--quiet", "--no-python-downloads", *(["--no-config", "--offline"] if offline else [])]
            return _run([self._uv, *settled, *arguments], self._installing)
        first, *rest = arguments
        settled = [
            "--no-input",
            "--quiet",
            "--disable-pip-version-check",
            *(["--isolated"] if offline else []),
        ]
        return _run([*self._pip(), *settled, first, *rest], self._installing)

    def _pip(self) -> list[str]:
        """Give the pip of this process's own interpreter, told to work for the new environment."""
        target = str(self._environment.interpreter)
        if find_spec("pip") is not None:
            return [sys.executable, "-I", "-m", "pip", "--python", target]
        _run([target, "-I", "-m", "ensurepip", "--default-pip"], self._installing)
        return [target, "-I", "-m", "pip"]


def _mismatch(what: str) -> DigestMismatch:
    return DigestMismatch(
        f"{what} is another than was pinned. Nothing was run.",
        subject="requirements",
        hint="Get it from where it was first, or pin anew what is there: --repin.",
    )


@contextmanager
def _file(lines: Sequence[str]) -> Iterator[str]:
    """Write a file of requirements for as long as an installer reads it."""
    with tempfile.TemporaryDirectory(prefix="mvault-") as folder:
        path = Path(folder, "requirements.txt")
        path.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
        yield str(path)


def _reported(text: str) -> tuple[Pin, ...]:
    """Read pip's report of what it would install (its "installation report", version 1)."""
    try:
        found: Any = json.loads(text)
        pins = [
            requirements.pin(
                entry["metadata"]["name"],
                entry["metadata"]["version"],
                filter(
                    None, [entry["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")]
                ),
            )
            for entry in found["install"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, Malformed, RecursionError):
        raise impossible("pip's report of what it would install cannot be read.") from None
    return tuple(sorted(pins, key=lambda entry: entry.name))


# --- processes ---


def _variables(environ: Mapping[str, str], *, offline: bool) -> dict[str, str]:
    """Give an installer the variables that configure it, and no key of anything else."""
    kept = {name: text for name, text in environ.items() if name.upper() in _KEPT}
    if not offline:
        kept |= {
            name: text
            for name, text in environ.items()
            if name in _CONFIGURING or name.startswith(_CREDENTIALS)
        }
    return kept


def _run(command: Sequence[str], installing: Installing) -> str:
    """Run a program to its end; give what it printed.

    Raises:
        DigestMismatch: it says that an archive is another than was pinned.
        Unavailable: `load-test-impossible`: it cannot be started, failed, or took too long.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(  # noqa: S603 (an installer or interpreter of the user's own)
                [*command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=_variables(os.environ, offline=installing.wheels is not None),
                start_new_session=True,
            )
        except OSError as error:
            raise impossible(f"{command[0]} cannot be started: {error.strerror}.") from None
        try:
            status = process.wait(installing.seconds)
        except subprocess.TimeoutExpired:
            raise impossible(
                f"{Path(command[0]).name} took longer than {installing.seconds} seconds.",
                hint="Allow more: --timeout SECONDS.",
            ) from None
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status != 0:
            raise _failed(command, _read(err, limits.MIB))
        return _read(out, limits.INSTALLER_BYTES)


def _read(file: Any, most: int) -> str:
    file.seek(0)
    data: bytes = file.read(most + 1)
    if len(data) > most:
        raise impossible("The installer printed more than any installer does.")
    return data.decode("utf-8", "replace")


def _failed(command: Sequence[str], said: str) -> VaultError:
    if any(text in said for text in _OTHER_HASHES):
        return _mismatch("An archive")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("error:")]
    told = (errors[0] if errors else " ".join(lines[-3:]))[:_MESSAGE] or "it said nothing"
    return impossible(
        f"The environment cannot be made: {told.rstrip('.')}.",
        hint="Without an index: --wheels DIR, a folder of wheels. With pip in place of uv: --installer pip.",
    )
