"""Count the round trips that a load of a small model waits for, one after the other.

    python benchmarks/round_trips.py [--vault s3://bucket/prefix?endpoint=…] [--latency 0.05] [--list]

Makes a vault with a small ONNX model in prod: at `--vault`, or in a temporary
folder behind a simulated distance of `--latency` seconds for each request. Then
loads it as four clients: one that asks for one thing after the other, as a client
of a near folder does; one that starts anew; one that starts anew with a full
cache; and one that loads a second time. Prints for each how many requests were made,
how many of them at once, how many waited for one another, and how long it took.
With a real store the distance is added to each request: on one machine, requests
take so little that computing between them keeps them from overlapping.
`--list` prints the requests, each with the trip that it belongs to.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what the tests count with

GOALS = {"cold": 6, "warm": 2, "again": 2}


def small_model() -> Any:
    """Make an ONNX model of one matrix product."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.ones((8, 1), "float32"), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Client:
    """Somebody who opens the vault anew, behind a store that counts."""

    def __init__(self, location: str, latency: float, *, ahead: bool, cache: Path | None) -> None:
        """Open it."""
        import vault
        from tests.trips import FarStore
        from vault.storage.ahead import AheadStore
        from vault.storage.cached import FolderCache

        self.vault = vault.open(location)
        session = self.vault._session
        inner = session.store.inner if isinstance(session.store, AheadStore) else session.store
        self.far = FarStore(inner, latency)
        self.cache = None if cache is None else FolderCache(cache, session.pin, inner.location)
        session.store = AheadStore(self.far, self.cache) if ahead else self.far

    def load(self, label: str, *, told: bool) -> int:
        """Load, and print a row; give the round trips."""
        self.far.forget()
        began = time.perf_counter()
        self.vault.load_model("round-trips@prod")
        elapsed = time.perf_counter() - began
        if self.cache is not None:
            self.cache.settle()
        depth = self.far.depth
        print(
            f"{label:22}{depth:8}{len(self.far.requests):10}{self.far.most_at_once:10}{elapsed * 1e3:10.0f}"
        )
        if told:
            print(self.far.told())
        return depth


def main() -> None:
    """Run and print; exit with 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vault")
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--list", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(MVAULT_CONFIG_DIR=f"{folder}/config", MVAULT_STATE_DIR=f"{folder}/state")
        import vault

        made = vault.init(arguments.vault or Path(folder) / "vault", no_passphrase=True)
        made.save_model("round-trips", small_model(), format="onnx")
        made.promote("round-trips:1", env="prod")
        made.load_model("round-trips@prod")  # the libraries are imported
        location = arguments.vault or made.location
        cache = Path(folder) / "cache"
        print(f"{'client':22}{'trips':>8}{'requests':>10}{'at once':>10}{'ms':>10}")
        found = {}
        Client(location, arguments.latency, ahead=False, cache=None).load("one by one", told=arguments.list)
        cold = Client(location, arguments.latency, ahead=True, cache=None)
        found["cold"] = cold.load("new", told=arguments.list)
        found["again"] = cold.load("new, a second load", told=arguments.list)
        Client(location, arguments.latency, ahead=True, cache=cache).load("new, empty cache", told=False)
        warm = Client(location, arguments.latency, ahead=True, cache=cache)
        found["warm"] = warm.load("new, full cache", told=arguments.list)
    missed = [name for name, most in GOALS.items() if found[name] > most]
    print(f"goals: {', '.join(f'{name} at most {most}' for name, most in GOALS.items())}")
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
