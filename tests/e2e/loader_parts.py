"""What the loader tests share: admitted files without a vault around them, and data to train on."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from vault.core import admission, static_stage
from vault.core.allowance import Allowance


def admitted(
    path: str, format: str, data: bytes, pins: tuple[str, ...] = (), **allowed: Iterable[str]
) -> admission.Admitted:
    """Run the static stage as the admission does, then admit; `allowed` are sets of an `Allowance`."""
    allowance = Allowance(
        formats=frozenset(allowed.get("formats", Allowance().formats)),
        pickle_globals=frozenset(allowed.get("pickle_globals", ())),
        onnx_domains=frozenset(allowed.get("onnx_domains", ())),
    )
    static_stage.check(path, format, memoryview(data), frozenset(pins), allowance, path)
    return trusted(path, format, data, pins)


def trusted(path: str, format: str, data: bytes, pins: tuple[str, ...] = ()) -> admission.Admitted:
    """Admit without any check: for tests of what a loader refuses by itself."""
    view = memoryview(data).toreadonly()
    digest = hashlib.sha256(data).digest()
    return admission.Admitted(path, format, view, digest, frozenset(pins), path, admission._ADMITTED_HERE)


def prices(rows: int = 300, features: int = 6) -> tuple[Any, Any]:
    """Return features and a target that depends on them."""
    rng = np.random.default_rng(7)
    table = rng.normal(size=(rows, features))
    return table, table @ rng.normal(size=features) + rng.normal(scale=0.1, size=rows)
