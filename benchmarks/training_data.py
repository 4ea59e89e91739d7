"""Time the digest of training data beside what else could be asked of the same data in the same run.

    python benchmarks/training_data.py --rows 2000000

A table of numbers, one of texts and one of categories, each as pandas and as Arrow, whole and in chunks; an
array; a file. Beside them `pandas.util.hash_pandas_object`, which gives a 64-bit number for each row and is
no digest, and SHA-256 of as many bytes by one thread, which is the least that a digest of one column takes.
Each is timed `--repeat` times and the fastest is shown, with the data's size in memory.
"""

import argparse
import hashlib
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from vault.loaders.fingerprint import Fingerprint, fingerprint

MIB = 1 << 20


def fastest(work: Callable[[], object], repeat: int) -> float:
    """Give the seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def show(name: str, size: int, seconds: float) -> None:
    """Print one line."""
    print(f"{name:44} {size / MIB:9.0f} MiB {seconds:8.3f} s {size / MIB / seconds:8.0f} MiB/s")


def tables(rows: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Make tables of numbers, texts, and categories."""
    random = np.random.default_rng(1)
    yield "numbers, 20 columns from a C array", pd.DataFrame(random.standard_normal((rows, 20)))
    separate = {f"c{n}": random.standard_normal(rows) for n in range(20)}
    yield "numbers, 20 columns of their own", pd.DataFrame(separate)
    words = np.array([f"customer {n} of Kāṭhmāḍauṁ" if n % 7 == 0 else f"customer {n}" for n in range(1000)])
    texts = {f"t{n}": words[random.integers(0, 1000, rows)].astype(object) for n in range(3)}
    yield "texts as objects, 3 columns", pd.DataFrame(texts, dtype=object)
    yield "categories of texts, 3 columns", pd.DataFrame(texts, dtype="category")


def table(name: str, frame: pd.DataFrame, repeat: int) -> None:
    """Time one table in all its forms."""
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    size = arrow.nbytes
    chunk = max(1, len(frame) // 20)
    chunks = [frame.iloc[start : start + chunk] for start in range(0, len(frame), chunk)]
    digests: dict[str, Callable[[], Fingerprint]] = {
        f"{name}: pandas": lambda: fingerprint(frame),
        f"{name}: 20 chunks": lambda: fingerprint(iter(chunks)),
        f"{name}: Arrow": lambda: fingerprint(arrow),
    }
    for what, work in digests.items():
        show(what, size, fastest(work, repeat))
    assert len({work().digest for work in digests.values()}) == 1
    show("    hash_pandas_object", size, fastest(lambda: pd.util.hash_pandas_object(frame), repeat))
    data = np.random.default_rng(2).bytes(min(size, 256 * MIB))
    show(
        "    SHA-256 of bytes, one thread", len(data), fastest(lambda: hashlib.sha256(data).digest(), repeat)
    )


def others(rows: int, repeat: int) -> None:
    """Time an array, a file, and what a stream of chunks takes in memory."""
    values = np.random.default_rng(3).standard_normal((rows, 20))
    show("an array, C order", values.nbytes, fastest(lambda: fingerprint(values), repeat))
    turned = np.asfortranarray(values)
    show("an array, Fortran order", values.nbytes, fastest(lambda: fingerprint(turned), repeat))
    with tempfile.NamedTemporaryFile() as file:
        values.tofile(file)
        file.flush()
        show("a file", values.nbytes, fastest(lambda: fingerprint(Path(file.name)), repeat))

    def stream() -> Iterator[Any]:
        for start in range(0, rows, 100_000):
            yield np.full((min(100_000, rows - start), 20), float(start))

    tracemalloc.start()
    fingerprint(stream())
    print(f"a stream of chunks of 15 MiB: at most {tracemalloc.get_traced_memory()[1] / MIB:.0f} MiB at once")
    tracemalloc.stop()


def main() -> None:
    """Read the arguments and time everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    for name, frame in tables(given.rows):
        table(name, frame, given.repeat)
    others(given.rows, given.repeat)


if __name__ == "__main__":
    main()
