"""Compare loading a forest through the pickle gate with `joblib.load`, in one run.

    python benchmarks/gate.py [--trees 500] [--rows 1000 5000] [--runs 7]

Random forests in joblib files. Through the gate is what a load does with a file
that was decrypted: the static stage traces it and compares what it names with
the allowance, then the enforcing machine restores it and checks every tree.
Runs are interleaved. Prints medians in milliseconds, the ratio to `joblib.load`
of the same bytes, and whether both predict the same.
"""

import argparse
import gc
import io
import statistics
import time
from collections.abc import Callable
from typing import Any


def forest(trees: int, rows: int) -> tuple[Any, Any]:
    """Fit a classifier on 20 columns; return it and the rows."""
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    table = rng.normal(size=(rows, 20))
    label = table[:, 0] + rng.normal(size=rows) > 0
    return RandomForestClassifier(trees, random_state=0).fit(table, label), table


def traced(data: bytes) -> frozenset[str]:
    """Run the static stage; return what may be used."""
    from vault.core import pickle_trace, pins
    from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS

    observed = pickle_trace.trace(data, joblib=True).globals
    return pins.check_pins(observed, observed, DEFAULT_PICKLE_GLOBALS)


def through_the_gate(data: bytes) -> Any:
    """Load as the vault does, after the decryption."""
    from vault.loaders import pickle_gate

    return pickle_gate.restore(data, traced(data), joblib=True)


def timed(action: Callable[[], Any]) -> float:
    """Run once on a clean heap; give milliseconds."""
    gc.collect()
    start = time.perf_counter()
    found = action()
    seconds = time.perf_counter() - start
    del found
    return seconds * 1e3


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 5000])
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{'rows':>7}{'MiB':>7}{'joblib':>10}{'trace':>10}{'gate':>10}{'ratio':>8}  same predictions")
    for rows in arguments.rows:
        compare(arguments.trees, rows, arguments.runs)


def compare(trees: int, rows: int, runs: int) -> None:
    """Print one row: interleaved runs, medians."""
    import joblib
    import numpy as np

    model, table = forest(trees, rows)
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    data = buffer.getvalue()
    bare, trace, gate = [], [], []
    for _ in range(runs):
        bare.append(timed(lambda: joblib.load(io.BytesIO(data))))
        trace.append(timed(lambda: traced(data)))
        gate.append(timed(lambda: through_the_gate(data)))
    same = np.array_equal(through_the_gate(data).predict_proba(table), model.predict_proba(table))
    middle = [statistics.median(times) for times in (bare, trace, gate)]
    print(
        f"{rows:7}{len(data) / 2**20:7.1f}{middle[0]:10.1f}{middle[1]:10.1f}{middle[2]:10.1f}"
        f"{middle[2] / middle[0]:8.2f}  {'yes' if same else 'NO'}"
    )


if __name__ == "__main__":
    main()
