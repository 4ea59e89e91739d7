"""Compare `load_model` with the bare loaders on the same bytes, in one run.

    python benchmarks/loading.py [--runs 40]

Models of about 1 KiB, 1 MiB and 100 MiB as skops and ONNX. The vault is open,
its trust documents are cached and the libraries are imported, as in a service
that loads its second model. Prints medians, the difference in milliseconds and
the ratio; for large models also the bare loader plus one SHA-256 pass, which
is the least that any verifying loader can cost.
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

SIZES = {"1 KiB": 20, "1 MiB": 60_000, "100 MiB": 6_500_000}


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


def bare(kind: str, data: bytes) -> Callable[[], Any]:
    """Give the bare loader of a format over these bytes."""
    if kind == "onnx":
        import onnxruntime

        return lambda: onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    import skops.io

    trusted = skops.io.get_untrusted_types(data=data)
    return lambda: skops.io.loads(data, trusted=trusted)


def timed(action: Callable[[], Any]) -> float:
    """Run once; give seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
        import vault

        made = vault.init(Path(folder) / "vault", no_passphrase=True)
        v = vault.open(made.location)
        print(f"{'format':7}{'size':>9}{'vault ms':>10}{'bare ms':>10}{'diff ms':>9}{'ratio':>7}{'+sha':>7}")
        for kind in ("skops", "onnx"):
            for label, weights in SIZES.items():
                model = onnx_model(weights) if kind == "onnx" else skops_model(weights)
                name = f"{kind}/{label.replace(' ', '')}"
                made.save_model(name, model, format=kind)
                made.promote(f"{name}:1", env="prod")
                data = v.load_package(f"{name}@prod").read(f"model.{kind}")
                runs = arguments.runs if weights < 1_000_000 else max(5, arguments.runs // 8)
                compare(v, f"{name}@prod", kind, label, data, runs)


def compare(v: Any, reference: str, kind: str, label: str, data: bytes, runs: int) -> None:
    """Print one row: interleaved runs, medians."""
    plain = bare(kind, data)
    v.load_model(reference)
    plain()
    ours, theirs, hashes = [], [], []
    for _ in range(runs):
        ours.append(timed(lambda: v.load_model(reference)))
        theirs.append(timed(plain))
        hashes.append(timed(lambda: hashlib.sha256(data).digest()))
    mine, other, digest = (statistics.median(times) * 1e3 for times in (ours, theirs, hashes))
    print(
        f"{kind:7}{label:>9}{mine:10.2f}{other:10.2f}{mine - other:9.2f}"
        f"{mine / other:7.2f}{mine / (other + digest):7.2f}"
    )


if __name__ == "__main__":
    main()
