"""Fuzz for a while, by hand: `python -m tests.fuzz --minutes 10 [--only skops] [--seed 0]`."""

import argparse
import random
import time
from collections import Counter

from tests.fuzz.farm import Farm
from tests.fuzz.samples import MAKERS


def main() -> None:
    """Run, print each failure as it is found, then a table; end with 1 if there was any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", default="", help="samples whose name starts so, such as skops or onnx/hand")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--one", type=int, default=None, help="load the mutant of this seed alone")
    arguments = parser.parse_args()
    names = [name for name in MAKERS if name.startswith(arguments.only)]
    source = random.Random(arguments.seed)
    end = time.monotonic() + arguments.minutes * 60
    totals: dict[str, Counter[str]] = {name: Counter() for name in names}
    with Farm() as farm:
        while time.monotonic() < end:
            name = source.choice(names)
            seeds = [source.randrange(1 << 32) for _ in range(50)]
            if arguments.one is not None:
                name, seeds, end = names[0], [arguments.one], 0.0
            found = farm.run(name, seeds)
            totals[name].update(loaded=found.loaded, refused=found.refused, failed=len(found.failures))
            for seed, what in found.failures:
                print(f"{name} --one {seed}: {what}", flush=True)
    for name, counts in totals.items():
        print(f"{name:20}{counts['loaded']:8} loaded{counts['refused']:8} refused{counts['failed']:6} failed")
    raise SystemExit(any(counts["failed"] for counts in totals.values()))


if __name__ == "__main__":
    main()
