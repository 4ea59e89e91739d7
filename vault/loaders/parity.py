"""Compare a model with its saved form on a sample, before anybody relies on that form."""

from dataclasses import dataclass
from typing import Any

ROWS = 1_000
WEAK_BELOW = 100
_SEED = 20_240_229
# A float32 form differs from a float64 model by rounding; what is larger is a difference.
RELATIVE = 1e-4
OF_SPREAD = 1e-5


@dataclass(frozen=True, slots=True)
class Parity:
    """How often two forms of a model disagreed, over how many rows.

    `differing` is a fraction of rows from 0 to 1. `weak` says that the sample
    shows too little: fewer than 100 rows to compare.
    """

    rows: int
    differing: float
    weak: bool


def widen(sample: Any) -> Any:
    """Give the sample's own rows and perturbed copies, 1,000 at least where it has numbers to perturb.

    A perturbed row is another row's numbers moved by a tenth of each column's
    spread; text is kept. The same sample always gives the same rows.
    """
    import numpy as np

    generator = np.random.default_rng(_SEED)
    if hasattr(sample, "iloc"):
        return _widen_frame(np, sample, generator)
    rows = np.asarray(sample)
    if rows.dtype.kind not in "fiu" or rows.ndim != 2 or not 0 < len(rows) < ROWS:
        return sample
    picked = rows[generator.integers(0, len(rows), ROWS - len(rows))]
    moved = _move(np, picked, rows, generator)
    return np.concatenate([rows, moved.astype(rows.dtype)])


def _widen_frame(np: Any, frame: Any, generator: Any) -> Any:
    import pandas as pd

    if not 0 < len(frame) < ROWS:
        return frame
    picked = frame.iloc[generator.integers(0, len(frame), ROWS - len(frame))].copy()
    for name in frame.columns:
        column = frame[name]
        if column.dtype.kind == "f":
            moved = _move(np, picked[name].to_numpy(), column.to_numpy(), generator)
            picked[name] = moved.astype(column.to_numpy().dtype)
    return pd.concat([frame, picked], ignore_index=True)


def _move(np: Any, picked: Any, rows: Any, generator: Any) -> Any:
    spread = np.nanstd(rows.astype("float64"), axis=0)
    return picked + generator.normal(0.0, 0.1, picked.shape) * np.nan_to_num(spread)


def outputs(model: Any, rows: Any) -> dict[str, Any]:
    """Give what the model says about each row: predictions, and probabilities where it has them."""
    import numpy as np

    found = {}
    for method in ("predict", "predict_proba", "transform"):
        if method == "transform" and "predict" in found:
            continue
        if not hasattr(model, method):
            continue
        result = getattr(model, method)(rows)
        found[method] = np.asarray(result.toarray() if hasattr(result, "toarray") else result)
    return found


def compare(expected: dict[str, Any], got: dict[str, Any]) -> Parity:
    """Compare two models' outputs row by row: labels exactly, numbers to rounding of 32-bit floats."""
    different = differing(expected, got)
    rows = len(different)
    return Parity(rows, float(different.mean()) if rows else 0.0, rows < WEAK_BELOW)


def differing(
    expected: dict[str, Any], got: dict[str, Any], *, rtol: float = RELATIVE, atol: float | None = None
) -> Any:
    """Give, for each row, whether it came out otherwise: an array of booleans.

    Labels are compared exactly. A number may differ by `rtol` of what is expected and by `atol`, or,
    where that is None, by 1e-5 of the spread of all that is expected.
    """
    import numpy as np

    rows = max((len(values) for values in expected.values()), default=0)
    different = np.zeros(rows, dtype=bool)
    for name, values in expected.items():
        other = got.get(name)
        if other is None or other.shape[:1] != values.shape[:1] or other.size != values.size:
            different[:] = True
            continue
        same = _same(np, values, other.reshape(values.shape), rtol, atol)
        different |= ~same.reshape(rows, -1).all(axis=1)
    return different


def _same(np: Any, expected: Any, got: Any, rtol: float, atol: float | None) -> Any:
    if expected.dtype.kind != "f" or got.dtype.kind not in "fiu":
        return expected.astype(str) == got.astype(str)
    finite = expected[np.isfinite(expected)]
    spread = float(finite.max() - finite.min()) if finite.size else 0.0
    return np.isclose(
        got, expected, rtol=rtol, atol=OF_SPREAD * spread if atol is None else atol, equal_nan=True
    )
