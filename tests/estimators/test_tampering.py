"""Tampered models never kill the process: what `native_state` passes, compiled code survives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.estimators import corpus, tampering
from vault.core import native_state

ROOT = Path(__file__).resolve().parents[2]
# Those that hand most to compiled code, or did so unchecked once.
SAMPLE = ("FeatureHasher", "IsotonicRegression", "KNeighborsClassifier")


def tamper(*names: str) -> list[object]:
    """Tamper with the cases of those names in a process of their own; what it printed."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.estimators.tampering", *names],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_what_is_tampered_with_does_not_crash() -> None:
    assert tamper(*SAMPLE) == [len(SAMPLE)]


@pytest.mark.slow
def test_whatever_is_tampered_with_does_not_crash() -> None:
    assert tamper() == [len(corpus.names())]


def test_paths_lead_to_every_array_number_and_choice() -> None:
    class Holder:
        def __init__(self) -> None:
            self.values = np.arange(3.0)
            self.parts = [Holder.__new__(Holder), np.array([np.ones(1), None], dtype=object)]
            self.kernel, self.name, self.flag, self.empty = "rbf", "x", True, np.zeros(0)
            self.state = {"count": 3, "share": np.float64(0.5)}

    holder = Holder()
    found = {".".join(str(name) for _, name in path) for path in tampering.paths(holder)}
    assert found == {"values", "parts.1.0", "kernel", "state.count", "state.share"}
    for path in tampering.paths(holder):
        tampering._put(holder, path, 7)
        assert tampering._get(holder, path) == 7


def test_mutants_differ_and_have_types_that_fit() -> None:
    assert list(tampering.mutants("kernel", "rbf")) == ["precomputed", "poly"]
    assert list(tampering.mutants("n", np.int32(3)))[-1] == 2**31 - 1
    assert 2**40 in list(tampering.mutants("n", 3))
    assert all(isinstance(number, np.uint8) for number in tampering.mutants("n", np.uint8(3)))
    assert len(list(tampering.mutants("x", 0.5))) == 4
    shapes = [array.shape for array in tampering.mutants("x", np.ones((4, 3)))]
    assert {(1, 3), (0, 3), (200, 3), (4, 1), (4, 150), (12,)} <= set(shapes)


def test_a_crash_is_told_from_an_exception_and_from_success(monkeypatch: pytest.MonkeyPatch) -> None:
    case = corpus.case("FeatureHasher")
    path = (("attribute", "n_features"),)
    assert tampering.crash(case, path, [32]) == 0
    assert tampering.crash(case, path, [0]) == 0  # refused
    monkeypatch.setattr(native_state, "check", lambda model: None)
    assert tampering.crash(case, path, [32, 0, 16]) == 8
    assert [number for *_, number in tampering.crashes(case)] == [8]
