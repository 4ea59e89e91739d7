"""Compare `mvault inspect` with picklescan, modelscan and fickling on files that this script makes.

    python benchmarks/scanners.py                   # those that are installed beside this Python
    python benchmarks/scanners.py --bin VENV/bin    # those of another environment

The malicious files call `os.system` in ways that were published as evasions; nothing is ever loaded.
A scanner finds a file if its exit status says so. What it fails on is counted as found, which flatters
it; what it skips is not.
"""

import argparse
import gzip
import io
import os
import pickle
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Evil:
    """Calls the shell when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


class Quiet:
    """Reaches the same through something that deny-lists tend to forget."""

    def __reduce__(self) -> tuple[Any, ...]:
        import runpy

        return runpy.run_path, ("nothing.py",)


EVIL = pickle.dumps(Evil())
SKIPPED = 3  # the exit status of modelscan for a file that it does not look at


def zipped(*members: tuple[str, bytes]) -> bytes:
    """Pack members into a zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def malicious() -> dict[str, bytes]:
    """Make the malicious files, by name."""
    torch = zipped(("archive/data.pkl", EVIL), ("archive/version", b"3"))
    return {
        **{f"protocol{number}.pkl": pickle.dumps(Evil(), number) for number in range(6)},
        "quiet.pkl": pickle.dumps(Quiet()),
        "renamed.bin": EVIL,
        "renamed.txt": pickle.dumps(Evil(), 0),
        "padded.bin": b"(" + b"I1\n" * 500_000 + b"lcos\nsystem\n(S'true'\ntR.",
        "second.pkl": pickle.dumps(1) + EVIL,
        "trailing.pkl": EVIL[:-1] + b"0\xff.",
        "indirect.pkl": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x04true\x85R.",
        "gzip.joblib": gzip.compress(EVIL),
        "twice.joblib": gzip.compress(gzip.compress(EVIL)),
        "torch.pt": torch,
        "broken_crc.pt": torch.replace(EVIL, EVIL.replace(b"true", b"TRUE")),
        "flags.pt": torch[:6] + b"\x01" + torch[7:],
        "prefix.pt": b"prefix" + torch,
        "nested.zip": zipped(("inner.zip", zipped(("m.pkl", EVIL)))),
    }


def honest() -> dict[str, bytes]:
    """Make the honest files, by name."""
    files = {"plain.pkl": pickle.dumps({"weights": [0.5] * 1_000}), "readme.txt": b"a text\n" * 100}
    try:
        import joblib
        import numpy as np
        from sklearn.ensemble import RandomForestClassifier
    except ImportError:
        return files
    rows = np.random.default_rng(0).normal(size=(500, 8))
    packed = io.BytesIO()
    joblib.dump(RandomForestClassifier(100).fit(rows, rows[:, 0] > 0), packed, compress=3)
    return {**files, "forest.joblib": packed.getvalue()}


def vault_finds(path: Path) -> bool:
    """Ask the vault."""
    import vault

    return vault.inspect(path).verdict == "refused"


def asker(program: Path, *arguments: str) -> Callable[[Path], bool]:
    """Give a function that asks a scanner, in a process of its own."""

    def finds(path: Path) -> bool:
        command: list[str | Path] = [program, *arguments, path]
        status = subprocess.run(command, capture_output=True, check=False, timeout=120).returncode
        return status not in (0, SKIPPED)

    return finds


def scanners(programs: Path) -> dict[str, Callable[[Path], bool]]:
    """Give the scanners that stand in a folder of programs."""
    found: dict[str, Callable[[Path], bool]] = {"mvault inspect": vault_finds}
    for name, option in (("picklescan", "-p"), ("modelscan", "-p"), ("fickling", "--check-safety")):
        if (programs / name).exists():
            found[name] = asker(programs / name, option)
        else:
            print(f"{name} is not in {programs}: pip install {name}, and name the folder with --bin.")
    return found


def main() -> None:
    """Print who finds what, and how long it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--bin", type=Path, default=Path(sys.executable).parent, help="where the scanners are"
    )
    asked = scanners(parser.parse_args().bin)
    bad, good = malicious(), honest()
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**bad, **good}.items():
            Path(folder, name).write_bytes(content)
        for scanner, finds in asked.items():
            began = time.perf_counter()
            found = {name for name in (*bad, *good) if finds(Path(folder, name))}
            seconds = (time.perf_counter() - began) / (len(bad) + len(good))
            missed = sorted(set(bad) - found)
            false = len(found & set(good))
            print(f"{scanner}: {len(bad) - len(missed)} of {len(bad)} malicious files found,", end=" ")
            print(f"{false} of {len(good)} honest ones accused, {seconds * 1000:.0f} ms a file")
            if missed:
                print(f"  missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
