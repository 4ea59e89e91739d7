"""Find or install the independent programs that tests compare the vault with.

Where one cannot be had the test is skipped and says why; with `CI=true` in the environment it fails.
"""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

INSTALL_SECONDS = 300


def give_up(reason: str) -> NoReturn:
    """Skip the test, or fail it where a run without oracles proves nothing."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def program(name: str, debian_package: str) -> str:
    """Return the path of a program, installing its Debian package if this user may."""
    found = shutil.which(name)
    if found is None and sys.platform == "linux" and shutil.which("apt-get") and os.geteuid() == 0:
        _install("apt-get", "install", "-y", "--no-install-recommends", debian_package)
        found = shutil.which(name)
    if found is None:
        give_up(f"there is no {name} here; on Debian: apt-get install {debian_package}")
    return found


def debian_folder(path: Path, debian_package: str) -> Path:
    """Return a folder of a Debian package, installing that if this user may."""
    if not path.is_dir() and sys.platform == "linux" and shutil.which("apt-get") and os.geteuid() == 0:
        _install("apt-get", "install", "-y", "--no-install-recommends", debian_package)
    if not path.is_dir():
        give_up(f"there is no {path} here; on Debian: apt-get install {debian_package}")
    return path


def module(name: str) -> ModuleType:
    """Return an independent Python implementation, which the extra `test` installs."""
    try:
        return importlib.import_module(name)
    except ImportError:
        give_up(f"there is no {name} here; pip install 'model-artifact-vault[test]'")


def npm_folder(package: str, cache: Path) -> Path:
    """Return a folder with `package` under its `node_modules`, installing it once into `cache`."""
    npm = program("npm", "npm")
    folder = cache / package
    if not folder.is_dir():
        # Several test processes may come here at once: each prepares its own, one is put in place.
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            prepared = Path(scratch) / "prepared"
            prepared.mkdir()
            options = ("--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1")
            _install(npm, "install", "--prefix", str(prepared), *options, package)
            if not (prepared / "node_modules" / package).is_dir():
                give_up(f"npm could not install {package}")
            with suppress(OSError):
                prepared.rename(folder)
    return folder


def run(*command: str | Path, given: bytes = b"") -> bytes:
    """Run a program to its end; return what it wrote, or fail with what it complained of."""
    ended = subprocess.run(command, input=given, capture_output=True, check=False, timeout=120)
    if ended.returncode:
        pytest.fail(f"{command[0]} ended with {ended.returncode}: {ended.stderr.decode(errors='replace')}")
    return ended.stdout


def _install(*command: str) -> None:
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(command, capture_output=True, check=False, timeout=INSTALL_SECONDS)
