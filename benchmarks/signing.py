"""Sign and verify beside model-signing, in the same run: one large file, many small ones, one byte.

    python benchmarks/signing.py                      # 2 GiB, 2,000 files of 1 MiB, one byte
    python benchmarks/signing.py --large 64 --many 50 # smaller

Every measurement is a fresh process, as a user starts it; the best of several runs counts, taken in turn so
that neither tool has the quieter machine. Memory is the largest resident set of the process. The target: at
least as fast as model-signing for the first two, three times as fast for one byte, under 100 MiB.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
MEMORY_MIB = 100
START_UP = 3.0
OURS = (sys.executable, "-c", "from vault.cli.main import main; main()")
THEIRS = (sys.executable, "-m", "model_signing")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a process took: seconds, and MiB of memory at most."""

    seconds: float
    mebibytes: float


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of both tools, and where ours has its home."""

    home: Path
    trusted: Path
    secret: Path
    public: Path


def spent(command: Sequence[str | Path], home: Path) -> Spent:
    """Run a command; measure it."""
    began = time.perf_counter()
    child = subprocess.Popen(
        [*map(str, command)], stdout=subprocess.DEVNULL, env={**os.environ, "HOME": str(home)}
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {child.returncode}")
    return Spent(time.perf_counter() - began, usage.ru_maxrss / 1024)


def best(runs: Sequence[Spent]) -> Spent:
    """Take the shortest time and the largest memory."""
    return Spent(min(run.seconds for run in runs), max(run.mebibytes for run in runs))


def prepare(at: Path) -> Keys:
    """Make keys for both tools."""
    home = at / "home"
    home.mkdir()
    spent([*OURS, "identity", "new", "anna", "--no-passphrase", "-q"], home)
    trusted = at / "signers"
    spent([*OURS, "identity", "export", trusted, "--form", "signers", "-q"], home)
    secret, public = at / "key.pem", at / "key.pub"
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = ec.generate_private_key(ec.SECP256R1())
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return Keys(home, trusted, secret, public)


def measure(model: Path, keys: Keys, runs: int) -> dict[str, Spent]:
    """Sign and verify a model with both tools, in turn."""
    ours, theirs = model.with_name("ours.sig"), model.with_name("theirs.sig")
    commands: dict[str, list[str | Path]] = {
        "sign, mvault": [*OURS, "sign", model, "--signature", ours, "--replace", "--no-cache", "-q"],
        "sign, model-signing": [
            *(*THEIRS, "sign", "key", model),
            *("--signature", theirs, "--private_key", keys.secret),
        ],
        "verify, mvault": [
            *(*OURS, "verify", model),
            *("--signature", ours, "--trusted", keys.trusted, "-q"),
        ],
        "verify, model-signing": [
            *(*THEIRS, "verify", "key", model),
            *("--signature", theirs, "--public_key", keys.public),
        ],
    }
    taken: dict[str, list[Spent]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            taken[name].append(spent(command, keys.home))
    return {name: best(found) for name, found in taken.items()}


def show(title: str, found: dict[str, Spent], at_least: float) -> bool:
    """Print one scene; tell whether it meets its target."""
    print(f"\n{title}")
    good = True
    for verb in ("sign", "verify"):
        ours, theirs = found[f"{verb}, mvault"], found[f"{verb}, model-signing"]
        ratio = theirs.seconds / ours.seconds
        met = ratio >= at_least and ours.mebibytes < MEMORY_MIB
        good &= met
        print(
            f"  {verb:<7} mvault {ours.seconds:7.3f} s {ours.mebibytes:5.0f} MiB   "
            f"model-signing {theirs.seconds:7.3f} s {theirs.mebibytes:5.0f} MiB   "
            f"{ratio:5.2f}x  (target {at_least:g}x, under {MEMORY_MIB} MiB) {'met' if met else 'MISSED'}"
        )
    return good


def fill(path: Path, mebibytes: int) -> None:
    """Write so many MiB, which do not compress."""
    block = secrets.token_bytes(MIB)
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(block)


def main() -> int:
    """Measure all three scenes; end with 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--large", type=int, default=2_048, metavar="MIB", help="size of the one file")
    parser.add_argument("--many", type=int, default=2_000, metavar="N", help="how many files of 1 MiB")
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="signing-"))
    try:
        keys = prepare(folder)
        byte, large, many = folder / "byte.bin", folder / "large.bin", folder / "many"
        byte.write_bytes(b"x")
        good = show("one byte", measure(byte, keys, max(asked.runs, 5)), START_UP)
        fill(large, asked.large)
        good &= show(f"one file of {asked.large:,} MiB", measure(large, keys, asked.runs), 1.0)
        large.unlink()
        many.mkdir()
        for number in range(asked.many):
            fill(many / f"{number:05}.bin", 1)
        good &= show(f"{asked.many:,} files of 1 MiB", measure(many, keys, asked.runs), 1.0)
    finally:
        shutil.rmtree(folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
