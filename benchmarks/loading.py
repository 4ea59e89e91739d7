"""Compare `load_model` with the bare loaders on the same bytes, in one run.

    python benchmarks/loading.py [--runs 40] [--cpu]

Linear models of about 1 KiB, 1 MiB and 100 MiB, and a forest of 500 trees, as
skops and ONNX. The vault is open, its trust documents are cached and the
libraries are imported, as in a service that loads its second model. Prints
medians, the difference in milliseconds and the ratio, and the ratio to the bare
loader plus one SHA-256 pass (`+sha`), which is the least that any verifying
loader can cost. `--cpu` counts the process's own time, for busy machines.
"""

import argparse
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WEIGHTS = {"1 KiB": 20, "1 MiB": 60_000, "100 MiB": 6_500_000}
FOREST = "500 trees"


def skops_model(weights: int) -> Any:
    """Make a linear model with that many float64 weights."""
    import numpy as np
    from sklearn.linear_model import Ridge

    model = Ridge().fit(np.eye(4), np.arange(4.0))
    model.coef_ = np.random.default_rng(0).normal(size=weights * 2)
    model.n_features_in_ = weights * 2
    return model


def onnx_model(weights: int) -> Any:
    """Make an ONNX model of one matrix product with that many 32-bit weights, times four."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.random.default_rng(0).normal(size=(weights * 4, 1)).astype("float32")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, weights * 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(matrix, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def forest() -> tuple[Any, Any]:
    """Fit a classifier of 500 trees; give it, and rows of its input."""
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    rows, labels = make_classification(5_000, 20, random_state=0)
    return RandomForestClassifier(500, random_state=0, n_jobs=-1).fit(rows, labels).set_params(n_jobs=1), rows


def bare(kind: str, data: bytes) -> Callable[[], Any]:
    """Give the bare loader of a format over these bytes."""
    if kind == "onnx":
        import onnxruntime

        return lambda: onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    import skops.io

    trusted = skops.io.get_untrusted_types(data=data)
    return lambda: skops.io.loads(data, trusted=trusted)


def timed(action: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Run once; give seconds."""
    start = clock()
    action()
    return clock() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--cpu", action="store_true")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
        import vault

        made = vault.init(Path(folder) / "vault", no_passphrase=True)
        v = vault.open(made.location)
        print(f"{'format':7}{'size':>10}{'vault ms':>10}{'bare ms':>10}{'diff ms':>9}{'ratio':>7}{'+sha':>7}")
        trees, rows = forest()
        for kind in ("skops", "onnx"):
            for label, weights in [*WEIGHTS.items(), (FOREST, 1_000_000)]:
                name = f"{kind}/{label.replace(' ', '')}"
                if label == FOREST:
                    made.save_model(name, trees, format=kind, sample_input=rows[:200], tolerance=0.01)
                else:
                    made.save_model(
                        name, (onnx_model if kind == "onnx" else skops_model)(weights), format=kind
                    )
                made.promote(f"{name}:1", env="prod")
                data = v.load_package(f"{name}@prod").read(f"model.{kind}")
                runs = arguments.runs if weights < 1_000_000 else max(5, arguments.runs // 8)
                compare(v, f"{name}@prod", kind, label, data, runs, clock)


def compare(
    v: Any, reference: str, kind: str, label: str, data: bytes, runs: int, clock: Callable[[], float]
) -> None:
    """Print one row: interleaved runs, medians."""
    plain = bare(kind, data)
    v.load_model(reference)
    plain()
    ours, theirs, hashes = [], [], []
    for _ in range(runs):
        ours.append(timed(lambda: v.load_model(reference), clock))
        theirs.append(timed(plain, clock))
        hashes.append(timed(lambda: hashlib.sha256(data).digest(), clock))
    mine, other, digest = (statistics.median(times) * 1e3 for times in (ours, theirs, hashes))
    print(
        f"{kind:7}{label:>10}{mine:10.2f}{other:10.2f}{mine - other:9.2f}"
        f"{mine / other:7.2f}{mine / (other + digest):7.2f}"
    )


if __name__ == "__main__":
    main()
