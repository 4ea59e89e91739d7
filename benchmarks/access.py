"""Time `access rotate` on the local store: key headers wrapped to a new epoch, durably.

    python benchmarks/access.py --models 1000 10000 --dir /var/tmp --threads 8

For each number of models a vault is made in a folder: each model has one version with two payloads,
metadata and a small file, so two headers. The policy with the new epoch is put in force first; then the
clock runs over what `mvault access rotate ENV --continue` does: list, verify each version's manifest and
sealing record, unwrap and wrap its file keys, and store the new headers, each synced to the disk with its
folder. A second run, which finds nothing to do, is timed as well: it is what resuming costs.

The alternative is the `age` program, which has no command for this: a script decrypts and encrypts each
small file, one process each, syncing what it wrote. It runs on a sample. A bare loop that creates and
syncs as many files of that size, by as many threads, shows what the disk allows. Nothing is asserted.
"""

import argparse
import os
import resource
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import vault
from vault.actions import access_rotate, drafting, publish
from vault.actions.opening import gather, locate, open_session
from vault.actions.publish import BytesSource, Contents, PackageFile
from vault.actions.session import Session
from vault.core import names
from vault.core.allowance import Allowance
from vault.core.names import Environment
from vault.ports import Source

DEV = Environment("dev")
SAMPLE = 100  # files for the age program
BARE = 4_000  # files for the bare loop


@dataclass(frozen=True, slots=True)
class Opened:
    """Bytes that a package takes."""

    data: bytes

    def __enter__(self) -> Source:
        """Open them."""
        return BytesSource(self.data)

    def __exit__(self, *_: object) -> None:
        """Close them."""


def build(folder: Path, models: int, kind: str) -> None:
    """Make a vault with so many models in dev; only here nothing waits for the disk."""
    with mock.patch("os.fsync", return_value=None):
        _build(folder, models, kind)
    os.sync()


def _build(folder: Path, models: int, kind: str) -> None:
    vault.init(folder / "vault", no_passphrase=True, recipient=kind)
    session = opened(folder)
    for number in range(models):
        data = b'{"weights":[%d]}' % number
        file = PackageFile(names.path("model.json"), "model", "json", lambda data=data: Opened(data))  # type: ignore[misc]
        publish.publish(session, names.model(f"m{number:06d}"), names.version("1"), Contents([file], {}))


def opened(folder: Path) -> Session:
    """Open the vault as its owner."""
    settings = gather({"vault": str(folder / "vault")})
    return open_session(settings, locate(settings), allow=Allowance(), environment=DEV)


def rewrap(folder: Path, threads: int) -> tuple[int, float, float]:
    """Go on with a rotation; give headers written, seconds, and processor seconds."""
    session = opened(folder)
    wall, cpu = time.perf_counter(), time.process_time()
    done = access_rotate.rotate(session, DEV, resume=True, threads=threads)
    if not done.complete:
        raise SystemExit(f"not complete: {done.problems[:3]}")
    return done.written, time.perf_counter() - wall, time.process_time() - cpu


def with_age(folder: Path) -> float:
    """Decrypt and encrypt a sample of small files with the age program; give files a second."""
    recipients = []
    for name in ("old", "new"):
        subprocess.run(["age-keygen", "-o", folder / name], check=True, stderr=subprocess.DEVNULL)
        shown = subprocess.run(["age-keygen", "-y", folder / name], check=True, capture_output=True)
        recipients.append(shown.stdout.decode().strip())
    for number in range(SAMPLE):
        command = ["age", "-r", recipients[0], "-o", str(folder / f"{number}.age")]
        subprocess.run(command, input=secrets.token_bytes(16), check=True)
    start = time.perf_counter()
    for number in range(SAMPLE):
        plain = subprocess.run(
            ["age", "-d", "-i", folder / "old", folder / f"{number}.age"], check=True, capture_output=True
        )
        target = folder / f"{number}.new"
        subprocess.run(["age", "-r", recipients[1], "-o", target], input=plain.stdout, check=True)
        _sync(target)
        _sync(folder)
    return SAMPLE / (time.perf_counter() - start)


def bare(folder: Path, threads: int) -> float:
    """Create and sync small files, each with its folder, by several threads; give files a second."""

    def work(index: int) -> None:
        for number in range(BARE // threads):
            path = folder / f"bare-{index}-{number}"
            path.write_bytes(bytes(200))
            _sync(path)
            _sync(folder)

    running = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
    start = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return BARE / (time.perf_counter() - start)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def measure(folder: Path, models: int, kind: str, threads: int) -> None:
    """Build, rotate and print one line."""
    os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
    build(folder, models, kind)
    session = opened(folder)
    base = drafting.base_of(session)
    access_rotate.apply(session, access_rotate.begin(session, base, base.policy.environments[DEV]))
    written, seconds, cpu = rewrap(folder, threads)
    _, again, _ = rewrap(folder, threads)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{models:8,} models {written:8,} headers {seconds:8.2f} s {written / seconds:8,.0f}/s "
        f"{1e6 * cpu / written:6.0f} us processor each; nothing to do: {again:6.2f} s; peak {peak:,.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Measure each number of models, then what the disk and the age program give."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--dir", type=Path, default=None, help="a folder on the disk to be measured")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--recipient", choices=("hybrid", "x25519"), default="x25519")
    options = parser.parse_args()
    for models in options.models:
        with tempfile.TemporaryDirectory(dir=options.dir) as folder:
            measure(Path(folder), models, options.recipient, options.threads)
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        print(
            f"bare create and sync, {options.threads} threads: {bare(Path(folder), options.threads):,.0f}/s"
        )
        if shutil.which("age") and shutil.which("age-keygen"):
            print(f"age -d | age -r, a process each, synced:   {with_age(Path(folder)):,.0f}/s")


if __name__ == "__main__":
    main()
