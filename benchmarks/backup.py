"""Time a backup that is up to date, and a first one, against tools that copy and compare files.

    python -m benchmarks.backup [--objects N] [--bytes N] [--runs N] [--dir FOLDER]

A vault of N objects (10,000, of 1 MiB: 10 GiB with the defaults) in a folder is made without a single
real model: payloads of random bytes under the names of the layout, beside a small genuine vault, since
what is compared are names and sizes. `up to date` compares with a copy that is whole; beside it, in turn,
`rsync -a` of the same two folders where there is one, `diff -rq` (which reads) where --read is given, and
`find -size` of both. `halves` is the same with half the objects: the ratio of the two is 2 where time is
linear. Warm caches throughout; numbers are medians, in seconds. `first` copies a tenth of it, beside
`cp -r` followed by `sync`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import vault
from vault.actions import backing_up_plan
from vault.storage.local import LocalStore

MIB = 1 << 20
PER_VERSION = 10


def make(folder: Path, objects: int, size: int, *, sparse: bool = True) -> None:
    """Write payloads under the layout's names; sparse where nobody reads them but `diff`."""
    content = b"" if sparse else os.urandom(size)
    for number in range(objects):
        version, index = divmod(number, PER_VERSION)
        place = folder / "models" / f"model-{version:05d}" / "@" / "1" / "files" / f"{index:032x}"
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            file.write(content)
            file.truncate(size)


def timed(act: Callable[[], object], runs: int) -> float:
    """Give the median of so many runs, in seconds, after one that warms the caches."""
    act()
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def command(*words: str) -> Callable[[], object]:
    """Run a program; its output goes nowhere."""
    return lambda: subprocess.run(words, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def up_to_date(source: Path, target: Path) -> Callable[[], object]:
    """Compare as `mvault backup` does; nothing may be missing."""

    def act() -> None:
        found = backing_up_plan.compare(LocalStore(source), LocalStore(target))
        if found.items:
            raise SystemExit("the copy is not up to date")

    return act


def whole_command(folder: Path) -> float:
    """Time `Vault.backup` of a genuine small vault that is up to date, everything included."""
    os.environ["MVAULT_CONFIG_DIR"], os.environ["MVAULT_STATE_DIR"] = str(folder / "c"), str(folder / "s")
    opened = vault.init(folder / "models", no_passphrase=True)
    (folder / "model.json").write_bytes(b"[1]")
    opened.push("churn", folder / "model.json")
    opened.backup(folder / "copies")
    return timed(lambda: opened.backup(folder / "copies", receipt=False), 5)


def first(folder: Path, objects: int, size: int) -> dict[str, float]:
    """Time a first copy, durable, beside `cp -r` and `sync`."""
    from vault.actions.backing_up_copy import Copier, Item
    from vault.actions.backing_up_run import NEAR_THREADS
    from vault.actions.backing_up_throttle import Throttle

    source = folder / "first"
    make(source, objects, size, sparse=False)
    store, target = LocalStore(source), LocalStore(folder / "first copy")
    items = [Item(name, length) for name, length in store.list_sizes("")]
    began = time.perf_counter()
    copier = Copier(store, target, Throttle(), {})
    with ThreadPoolExecutor(NEAR_THREADS) as pool:
        list(pool.map(copier.one, items))
    ours = time.perf_counter() - began
    began = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(folder / "first cp")], check=True)
    subprocess.run(["sync"], check=True)
    return {"first copy, each object durable, read back": ours, "cp -r; sync": time.perf_counter() - began}


def main() -> None:
    """Print one JSON object of seconds and ratios."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("--objects", type=int, default=10_000)
    asked.add_argument("--bytes", type=int, default=MIB)
    asked.add_argument("--runs", type=int, default=5)
    asked.add_argument("--read", action="store_true")
    asked.add_argument("--dir", type=Path, default=None)
    given = asked.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mvault-benchmark-", dir=given.dir))
    try:
        pairs = {}
        for name, objects in (("all", given.objects), ("halves", given.objects // 2)):
            pairs[name] = (folder / name, folder / f"{name} copy")
            for place in pairs[name]:
                make(place, objects, given.bytes)
        source, target = pairs["all"]
        told = {
            "up to date": timed(up_to_date(source, target), given.runs),
            "up to date, halves": timed(up_to_date(*pairs["halves"]), given.runs),
            "find, both": timed(
                command("sh", "-c", f"find '{source}' '{target}' -type f -size +0 | wc -l"), given.runs
            ),
        }
        if shutil.which("rsync"):
            told["rsync -a --dry-run"] = timed(
                command("rsync", "-an", f"{source}/", f"{target}/"), given.runs
            )
        if given.read:
            told["diff -rq"] = timed(command("diff", "-rq", str(source), str(target)), 1)
        told |= first(folder, given.objects // 10, min(given.bytes, MIB))
        told["the whole command, a small vault"] = whole_command(folder)
        named = [name for name in ("find, both", "rsync -a --dry-run", "diff -rq") if name in told]
        ratios = {f"up to date / {name}": told["up to date"] / told[name] for name in named}
        ratios["up to date / halves"] = told["up to date"] / told["up to date, halves"]
        print(json.dumps({"seconds": told, "ratios": ratios}, indent=2))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
