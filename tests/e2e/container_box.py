"""Run a command as in a container: its own read-only root, another user, and only the variables it is given.

This is what a container engine does, by hand: a new mount namespace, a root file system in memory that holds
what an image would hold, every part of it mounted read-only, `chroot`, and a user id that owns nothing. It
needs root and a kernel that lets it; elsewhere the tests that use it are skipped and say so.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from tests.house.source_tree import ROOT

UID = 54321
SECONDS = 180

_SCRIPT = """
set -e
root=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
shift
while [ "$1" != -- ]; do
    kind=$1 from=$2 to=$root$3
    shift 3
    if [ "$kind" = memory ]; then
        mkdir -p "$to"
        mount -t tmpfs -o mode=1777 tmpfs "$to"
        continue
    fi
    if [ -L "$from" ]; then
        mkdir -p "$(dirname "$to")"
        cp -P "$from" "$to"
        continue
    fi
    if [ -d "$from" ]; then mkdir -p "$to"; else mkdir -p "$(dirname "$to")"; : > "$to"; fi
    mount --rbind "$from" "$to"
    if [ "$kind" = ro ]; then mount -o remount,bind,ro "$to"; fi
done
shift
mount -o remount,ro "$root"
exec chroot --userspec="$ID:$ID" --groups= "$root" env -i "$@"
"""


@dataclass(frozen=True)
class Box:
    """What the container sees besides a Python with the vault: paths here → paths there, all read-only.

    `memory` are paths there of volumes in memory, which it may write to.
    """

    mounts: Mapping[Path, str] = field(default_factory=dict)
    memory: Sequence[str] = ()

    def command(self, root: Path, command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        """Give the command that runs `command` inside; `root` is an empty folder."""
        parts: list[str] = []
        for path in _image():
            parts += ["ro", str(path), str(path)]
        parts += [
            "rw",
            "/proc",
            "/proc",
            "rw",
            "/dev/null",
            "/dev/null",
            "rw",
            "/dev/urandom",
            "/dev/urandom",
        ]
        for here, there in self.mounts.items():
            parts += ["ro", str(here), there]
        for there in self.memory:
            parts += ["memory", "-", there]
        given = [f"{name}={value}" for name, value in variables.items()]
        inside = ["sh", "-c", _SCRIPT, "sh", str(root), *parts, "--", *given, *command]
        return ["unshare", "--mount", "env", f"ID={UID}", *inside]

    def run(
        self, root: Path, command: Sequence[str], variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        return subprocess.run(
            self.command(root, command, variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )


def path() -> str:
    """Give what an image's PATH would be."""
    return f"{Path(sys.executable).parent}:/usr/bin:/bin"


def own(file: Path) -> Path:
    """Give a file to the user inside, and to nobody else, as a secret is mounted."""
    os.chown(file, UID, UID)
    file.chmod(0o400)
    return file


@cache
def why_not() -> str:
    """Say why commands cannot be run so here; nothing if they can."""
    if os.geteuid() != 0:
        return "it takes root to become another user in a file system of its own"
    if not (shutil.which("unshare") and shutil.which("chroot")):
        return "there is no unshare or chroot here"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"this kernel does not let root mount: {tried.stderr.strip()}"


def needed() -> None:
    """Skip a test where commands cannot be run so."""
    if why_not():
        pytest.skip(why_not())


@cache
def _image() -> tuple[Path, ...]:
    """Name what the image holds: the system, this Python, its libraries, and the vault."""
    system = [Path(name) for name in ("/usr", "/bin", "/lib", "/lib64", "/etc")]
    python = [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT]
    return tuple(place for place in dict.fromkeys([*system, *python]) if place.exists())
