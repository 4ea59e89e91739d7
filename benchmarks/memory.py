"""Time what a client's memory costs while one process loads many channels for the first time.

    python benchmarks/memory.py [--channels 10000] [--dir /var/tmp]

Each load takes what is known before it reads the store and advances twice: by
the root and policy, which are known after the first, and by the channel and its
version, which are new, so that a line is added and synced. Then all are loaded
again, which writes nothing, and a new process reads the file. A bare loop that
adds and syncs as many lines shows what the disk allows, and a loop that writes
the whole memory anew each time, as the vault once did, runs on a sample at the
full number of channels. `rest` is the processor's time.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vault.core import memory_format
from vault.core.memory_format import Mark, Memory
from vault.locked_file import LockedFile
from vault.memory import ClientMemory

VAULT = "ab" * 32
SAMPLE = 50


def seen(number: int) -> Memory:
    """Give what the load of one channel sees."""
    return Memory(
        VAULT,
        policy=Mark(0, 1, VAULT),
        channels={f"prod/main/market/company-{number}": Mark(0, 1, f"{number:064x}")},
        versions={f"market/company-{number}:1": f"{number:064x}"},
    )


def load(memory: ClientMemory, number: int) -> None:
    """Do with the memory what a load does."""
    known = memory.load()
    trust = Memory(VAULT, root=Mark(0, 1, VAULT), policy=Mark(0, 1, VAULT))
    memory_format.check(known, trust)
    memory.advance(trust)
    found = seen(number)
    memory_format.check(known, found)
    memory.advance(found)


def timed(label: str, action: Callable[[int], object], count: int) -> None:
    """Run an action so many times and print what it took."""
    times = []
    cpu = time.process_time()
    for number in range(count):
        start = time.perf_counter()
        action(number)
        times.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    ordered = sorted(times)
    print(
        f"{label:28}{count:8,}{1e3 * statistics.median(ordered):10.3f}{1e3 * statistics.fmean(ordered):10.3f}"
        f"{1e3 * ordered[len(ordered) * 99 // 100]:10.3f}{1e3 * ordered[-1]:10.3f}{1e3 * cpu / count:10.3f}",
        flush=True,
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=10_000)
    parser.add_argument("--dir", type=Path, default=None, help="a folder on the disk to be measured")
    options = parser.parse_args()
    print(f"{'milliseconds each':28}{'':8}{'median':>10}{'mean':>10}{'99 %':>10}{'most':>10}{'rest':>10}")
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        memory = ClientMemory(VAULT, Path(folder))
        timed("first load of a channel", lambda number: load(memory, number), options.channels)
        timed("later load of a channel", lambda number: load(memory, number), options.channels)
        timed("a process begins", lambda _: ClientMemory(VAULT, Path(folder)).load(), 10)
        path = Path(folder) / "memory" / f"{VAULT}.json"
        print(f"the file has {path.stat().st_size:,} bytes")
        anew = LockedFile(Path(folder) / "anew.json")
        known = memory.load()
        timed("whole memory written anew", lambda _: anew.replace(memory_format.encode(known)), SAMPLE)
        bare = os.open(Path(folder) / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        def add(_: int) -> None:
            os.write(bare, bytes(280))
            os.fsync(bare)

        timed("bare line added and synced", add, min(options.channels, 2_000))
        os.close(bare)


if __name__ == "__main__":
    main()
