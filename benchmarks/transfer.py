"""Time `push` and `pull` of a large file against one SHA-256 pass and against `age` + `openssl`.

    python benchmarks/transfer.py --size 2147483648 --dir /var/tmp --runs 5

Every case runs in a process of its own, in turns, on warm pages: a file of the same size is written
and deleted before each run, and the file that the case reads is read once. Medians, ratios and peak
memory are printed; nothing is asserted. The vault is open and its libraries are imported before the
clock starts; fsync is included.

    hash     one single-threaded hashlib SHA-256 pass over the file, in reads of 1 MiB
    push     Vault.push: look at the file, seal it, sign and publish a version
    pull     Vault.pull: verify, decrypt and compare that version, into a new file
    age-push age -r … -o …, then openssl dgst -sha256 of the plaintext
    age-pull age -d …, then openssl dgst -sha256 of the plaintext
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import vault

MIB = 1 << 20


def hash_once(folder: Path) -> None:
    """Hash the file in reads of 1 MiB."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(MIB))
    with (folder / "plain.bin").open("rb", buffering=0) as file:
        while got := file.readinto(buffer):
            digest.update(buffer[:got])
    digest.digest()


def push(folder: Path) -> None:
    """Publish the file as a new version."""
    vault.open(folder / "vault").push("big", folder / "plain.bin")


def pull(folder: Path) -> None:
    """Pull the newest version."""
    vault.open(folder / "vault").pull("big", folder / "out")


def age_push(folder: Path) -> None:
    """Encrypt with `age`, then hash with `openssl`."""
    recipient = (folder / "recipient").read_text().strip()
    _run("age", "-r", recipient, "-o", folder / "age", folder / "plain.bin")
    _run("openssl", "dgst", "-sha256", folder / "plain.bin")


def age_pull(folder: Path) -> None:
    """Decrypt with `age`, then hash with `openssl`."""
    _run("age", "-d", "-i", folder / "identity", "-o", folder / "age-out", folder / "age")
    _run("openssl", "dgst", "-sha256", folder / "age-out")


# What runs, the pattern of what it reads, and what an earlier run left.
CASES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "hash": (hash_once, "plain.bin", ""),
    "push": (push, "plain.bin", ""),
    "pull": (pull, "vault/models/big/@/*/files/*", "out/plain.bin"),
    "age-push": (age_push, "plain.bin", "age"),
    "age-pull": (age_pull, "age", "age-out"),
}


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _warm(folder: Path, size: int) -> None:
    path = folder / "warm"
    block = bytes(MIB)
    with path.open("wb", buffering=0) as file:
        for start in range(0, size, MIB):
            file.write(block[: min(MIB, size - start)])
    path.unlink()


def _read(paths: Iterable[Path]) -> None:
    buffer = bytearray(MIB)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def _measure(case: str, folder: Path, size: int) -> tuple[float, int]:
    """Run one case in a child process; return seconds and its peak memory in KiB."""
    _, reads, left = CASES[case]
    (folder / (left or "nothing")).unlink(missing_ok=True)
    _forget_versions(folder)
    _warm(folder, size)
    _read(folder.glob(reads))
    child = subprocess.run(
        [sys.executable, __file__, "--case", case, "--dir", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
    )
    seconds, peak = json.loads(child.stdout)
    return float(seconds), int(peak)


def _warm_up(folder: Path) -> None:
    """Import what a push and a pull need, and see that the vault opens, before the clock starts."""
    opened = vault.open(folder / "vault")
    if not opened.list():
        opened.push("small", b"{}")
    opened.load_package("small").read("model.json")
    opened.pull("small", folder / "small")
    shutil.rmtree(folder / "small")


def _forget_versions(folder: Path) -> None:
    """Keep the disk from filling: only the newest version of the large file is needed."""
    versions = sorted((folder / "vault/models/big/@").glob("*"), key=lambda path: int(path.name))
    for version in versions[:-1]:
        for payload in (version / "files").glob("*"):
            payload.unlink()


def _prepare(folder: Path, size: int) -> None:
    with (folder / "plain.bin").open("wb", buffering=0) as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))
        os.fsync(file.fileno())


def _compare(folder: Path, size: int, runs: int) -> None:
    cases = ["hash", "push", "pull"]
    if shutil.which("age") and shutil.which("age-keygen") and shutil.which("openssl"):
        cases += ["age-push", "age-pull"]
        subprocess.run(["age-keygen", "-o", folder / "identity"], check=True, stderr=subprocess.DEVNULL)
        shown = subprocess.run(["age-keygen", "-y", folder / "identity"], check=True, stdout=subprocess.PIPE)
        (folder / "recipient").write_bytes(shown.stdout)
    _prepare(folder, size)
    seconds: dict[str, list[float]] = {case: [] for case in cases}
    peaks: dict[str, int] = dict.fromkeys(cases, 0)
    for run in range(runs):
        for case in cases:
            took, peak = _measure(case, folder, size)
            seconds[case].append(took)
            peaks[case] = max(peaks[case], peak)
        print(
            f"run {run + 1}: " + "  ".join(f"{case} {seconds[case][-1]:.2f}s" for case in cases), flush=True
        )
    print(f"\n{'case':10} {'median':>8} {'best':>8} {'GB/s':>6} {'x hash':>7} {'x age':>6} {'peak MiB':>9}")
    medians = {case: statistics.median(taken) for case, taken in seconds.items()}
    for case in cases:
        other = medians.get(f"age-{case}")
        print(
            f"{case:10} {medians[case]:7.2f}s {min(seconds[case]):7.2f}s {size / medians[case] / 1e9:6.2f}"
            f" {medians[case] / medians['hash']:7.2f} {f'{medians[case] / other:6.2f}' if other else '':>6}"
            f" {peaks[case] / 1024:9.0f}"
        )
    print("\ntargets: push <= 1.80 x hash, <= 0.75 x age; pull <= 1.30 x hash, <= 0.50 x age; < 200 MiB")


def main() -> None:
    """Run one case in this process, or all of them in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=2 << 30, help="bytes of the file (default: 2 GiB)")
    parser.add_argument("--dir", type=Path, default=None, help="a folder on the disk to be measured")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--case", choices=sorted(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        _warm_up(options.dir)
        start = time.perf_counter()
        CASES[options.case][0](options.dir)
        took = time.perf_counter() - start
        peak = max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        print(json.dumps([took, peak]))
        return
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
        vault.init(Path(folder) / "vault", no_passphrase=True)
        _compare(Path(folder), options.size, options.runs)


if __name__ == "__main__":
    main()
