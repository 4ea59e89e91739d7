"""For a desk with hundreds of models: one forecaster for each listed company, from training to prod and back.

usage: python many_models.py FOLDER [SYMBOLS]        FOLDER is made; SYMBOLS is how many, 300 unless said

Each symbol has a scaler, its features and a forecaster of the next day's return, trained on synthetic prices.
All of them go through dev, staging and prod; next night's versions follow; then prod goes one version back,
for all of them, in one command. Times are printed with the load of the machine, since they mean little
without it. docs/many-models.md has the same at the command line.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: threads of a library cost more than they gain

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import vault

FEATURES = ["return_1d", "return_2d", "return_5d", "over_mean_10d", "over_mean_20d", "volatility_10d"]
DAYS, WARM_UP, HELD_BACK = 320, 20, 60

POLICY = """
roles:
  # One person plays all parts here, so that the example asks for no second passphrase. A team shares them
  # out, and has others approve what enters prod: policies/examples/stock-team.yaml.
  desk:
    allow:
      - {actions: [publish], env: [dev]}
      - {actions: [load, pull, withdraw, rotate], env: [dev, staging, prod]}
      - {actions: [promote], from: dev, to: staging}
      - {actions: [promote], from: staging, to: prod}
      - {actions: [audit.read, log]}
environments:
  dev: {formats: [skops, onnx, json, npz]}
  staging: {formats: [skops, onnx, json, npz]}
  prod:
    formats: [skops, onnx, json, npz]
    require: {log: unwitnessed}
principals:
  owner: {kind: person, roles: [desk]}
"""


def prices(symbol: int, night: int) -> np.ndarray[Any, Any]:
    """Make daily closing prices: a random walk whose returns remember a part of the day before."""
    shocks = np.random.default_rng(symbol).normal(0.0004, 0.012, DAYS + night)
    returns = np.zeros(len(shocks))
    for day in range(1, len(shocks)):
        returns[day] = 0.35 * returns[day - 1] + shocks[day]
    return 500.0 * np.exp(np.cumsum(returns))


def table(closing: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Turn prices into what is known at a day's close (`FEATURES`), and the return of the day after."""
    logs = np.log(closing)
    steps = np.diff(logs, prepend=logs[0])
    mean = {days: np.convolve(logs, np.ones(days) / days, "valid") for days in (10, 20)}
    day = np.arange(WARM_UP, len(logs) - 1)
    windows = np.lib.stride_tricks.sliding_window_view(steps, 10)
    columns = [logs[day] - logs[day - back] for back in (1, 2, 5)]
    columns += [logs[day] - mean[days][day - days] for days in (10, 20)]
    columns.append(windows[day - 9].std(axis=1))
    return np.column_stack(columns), logs[day + 1] - logs[day]


def training(symbol: int, night: int) -> Callable[[], dict[str, Any]]:
    """Give what trains one symbol's models when it is called, and says how they are to be saved."""

    def train() -> dict[str, Any]:
        rows, ahead = table(prices(symbol, night))
        seen, unseen = rows[:-HELD_BACK], rows[-HELD_BACK:]
        scaler = StandardScaler().fit(seen)
        forecaster = Ridge(alpha=1.0).fit(scaler.transform(seen), ahead[:-HELD_BACK])
        hits = (forecaster.predict(scaler.transform(unseen)) > 0) == (ahead[-HELD_BACK:] > 0)
        return {
            "model": forecaster,
            "sample_input": scaler.transform(seen),
            "training_data": seen,
            "metrics": {"hit_rate": float(hits.mean())},
            "artifacts": {"scaler": scaler, "features": FEATURES},
            "tags": ("nightly",),
        }

    return train


def name(symbol: int) -> str:
    """Name a symbol's model."""
    return f"nepse/S{symbol:03d}"


@contextmanager
def timed(what: str, count: int) -> Iterator[None]:
    """Print how long something took, and how busy the machine was meanwhile."""
    before = time.perf_counter()
    yield
    took = time.perf_counter() - before
    each, load = 1_000 * took / count, os.getloadavg()[0]
    print(f"{what:<44}{took:7.1f} s  {each:6.1f} ms each  (load {load:.1f})", flush=True)


def main(folder: Path, count: int) -> None:
    """Play two nights and a morning."""
    began = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text(POLICY)
    v = vault.init(folder / "models", policy=folder / "policy.yaml", no_passphrase=True)

    with timed("training alone, to compare with", count):
        for symbol in range(count):
            training(symbol, 0)()

    for night in (1, 2):
        with timed(f"night {night}: train, prove, sign, seal, publish", count):
            models = {name(symbol): training(symbol, night) for symbol in range(count)}
            v.save_all(models, run=f"night-{night}").raise_if_failed()
        with timed(f"night {night}: to staging", count):
            v.promote_all("nepse/*", env="staging").raise_if_failed()
        with timed(f"night {night}: to prod, each in prod's log", count):
            v.promote_all("nepse/*@staging", env="prod").raise_if_failed()

    with timed("load all from prod", count):
        packages = v.load_all("nepse/*@prod", package=True)
        for symbol in range(count):
            package, rows = packages[name(symbol)], table(prices(symbol, 2))[0]
            package.model.predict(package.artifacts["scaler"].transform(rows))
            assert package.reference == f"{name(symbol)}:2", package.reference

    with timed("morning: prod one version back, all of them", count):
        v.rollback_all("nepse/*", env="prod").raise_if_failed()
    with timed("list all", count):
        in_use = {row.channels["prod"] for row in v.list()}
    assert in_use == {"1"}, in_use
    with timed("check every signature and every stored byte", count):
        assert v.check().whole
    told = v.audit.verify()
    assert all(entry.level != "bad" for log in told.logs for entry in log.findings)
    print(f"{count} models, {time.perf_counter() - began:.0f} s in all; prod is at version 1, staging at 2.")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 300)
