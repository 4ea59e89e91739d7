"""Try every rung of the loading ladder on a fitted estimator: skops, ONNX, the pickle gate.

Each rung writes the estimator as publishing does, and loads it as `load_model`
does with the shipped allowance; a rung that fails says why, in one line.
"""

import bz2
import gzip
import io
import lzma
import math
import pickle
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from tests.estimators.corpus import Case, differences, outputs
from vault.core import onnx_walk, pickle_globals, pickle_trace, pins, skops_walk
from vault.core.skops_types import DEFAULT_SKOPS_TYPES
from vault.errors import Refused
from vault.loaders import onnx, pickle_gate
from vault.loaders import skops as skops_loader

PROTOCOLS: Final = (3, 4, 5)
COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zlib": zlib.compress,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "xz": lambda data: lzma.compress(data, format=lzma.FORMAT_XZ),
}
# 32-bit floats: labels equal, numbers within this share of their spread.
FLOAT_TOLERANCE: Final = 1e-4
# What differs from run to run, or says what the table says already.
_NOISE: Final = {
    r" \(at byte \d+\)": "",
    r"^\w+ cannot be exported to ONNX: \w+: ": "skl2onnx: ",
    r"\.? You may (raise|use).*": "",
    r"^\w+ (names|uses|sets|as ONNX) ": r"it \1 ",
}
_DOMAINS: Final = onnx_walk.STANDARD_DOMAINS | {"com.microsoft"}


@dataclass(frozen=True, slots=True)
class Rung:
    """How one rung went: `ok`, and either what there is to say about it or the reason."""

    ok: bool
    note: str = ""
    by_library: bool = False  # the format's own library has no way, so that no loader could have one


def skops(case: Case) -> Rung:
    """Write as skops, walk, compare with the allowance, restore, and compare outputs bit for bit."""
    import skops.io

    try:
        data = skops.io.dumps(case.estimator)
        names = skops.io.get_untrusted_types(data=data)
        plain = outputs(skops.io.loads(data, trusted=names), case.inputs)
    except Exception as error:  # whatever skops cannot write or read
        return Rung(ok=False, note=f"skops: {_line(error)}", by_library=True)
    try:
        observed = frozenset(skops_walk.walk(data).pins)
        usable = pins.check_pins(observed, observed, DEFAULT_SKOPS_TYPES, subject=case.estimator_name)
        restored = skops_loader.restore(memoryview(data), usable, subject=case.estimator_name)
    except Refused as refusal:
        return Rung(ok=False, note=_line(refusal))
    changed = differences(plain, outputs(restored, case.inputs))
    return Rung(ok=not changed, note=f"other outputs: {', '.join(changed)}" if changed else "")


def gate(case: Case) -> Rung:
    """Load through the gate in every protocol and compression, and compare outputs bit for bit."""
    expected = outputs(case.estimator, case.inputs)
    for label, container, data in pickles(case.estimator):
        try:
            restored = through_the_gate(data, joblib=container == "joblib", subject=case.estimator_name)
        except Refused as refusal:
            return Rung(ok=False, note=_line(refusal))
        changed = differences(expected, outputs(restored, case.inputs))
        if changed:
            return Rung(ok=False, note=f"other outputs as {label}: {', '.join(changed)}")
    return Rung(ok=True)


def through_the_gate(data: bytes, *, joblib: bool, subject: str) -> Any:
    """Trace, compare with the shipped allowance and run, as a load does.

    Raises:
        Refused: one of the three refuses.
    """
    observed = pickle_trace.trace(data, joblib=joblib, subject=subject).globals
    usable = pins.check_pins(observed, observed, pickle_globals.DEFAULT_PICKLE_GLOBALS, subject=subject)
    return pickle_gate.restore(data, usable, joblib=joblib, subject=subject)


def pickles(estimator: Any) -> Iterator[tuple[str, str, bytes]]:
    """Write an estimator in every way that the gate reads: label, container, bytes."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    yield "joblib", "joblib", buffer.getvalue()
    for protocol in reversed(PROTOCOLS):
        yield f"pickle, protocol {protocol}", "pickle", pickle.dumps(estimator, protocol=protocol)
    for name, compress in COMPRESSIONS.items():
        yield f"joblib, {name}", "joblib", compress(buffer.getvalue())


def to_onnx(case: Case) -> Rung:
    """Export to ONNX, run it in ONNX Runtime from bytes, and compare to 32-bit floats."""
    from sklearn.base import is_classifier

    if not {"predict", "transform", "kneighbors"} & set(case.methods):
        return Rung(ok=False, note="neither predicts nor transforms", by_library=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = onnx.export(case.estimator, case.inputs, domains=_DOMAINS)
        except ValueError as error:
            missing = "MissingShapeCalculator" in str(error)
            note = "skl2onnx has no converter for it" if missing else _line(error)
            return Rung(ok=False, note=note, by_library="would not be loaded" not in str(error))
        try:
            model = onnx.restore(data, subject=case.estimator_name)
            results = _as_outputs(model, case, is_classifier(case.estimator))
        except (Refused, ValueError) as error:
            if _runs_at_all(data):
                return Rung(ok=False, note=_line(error))
            return Rung(ok=False, note="ONNX Runtime cannot run what skl2onnx wrote", by_library=True)
    rung = _compare(case, results)
    needed = ", ".join(sorted(onnx_walk.walk(data, domains=_DOMAINS).domains - onnx_walk.STANDARD_DOMAINS))
    return replace(rung, note=f"{rung.note}, with domain {needed}") if rung.ok and needed else rung


def _runs_at_all(data: bytes) -> bool:
    """Tell whether ONNX Runtime by itself takes the model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception:  # a class of its own for each of its status codes
        return False
    return True


def _as_outputs(model: Any, case: Case, classifier: bool) -> dict[str, Any]:
    """Run an `OnnxModel` for the outputs that the estimator itself has."""
    results = {"predict": model.predict(case.inputs)}
    if classifier and "predict_proba" in case.methods and len(model.session.get_outputs()) > 1:
        results["predict_proba"] = model.predict_proba(case.inputs)
    return results


def _compare(case: Case, results: Mapping[str, Any]) -> Rung:
    """Compare what the ONNX model gives with what the estimator does.

    skl2onnx takes selectors for transformers and stacks lists of arrays; which output of the
    estimator the model's first one stands for, its size tells.
    """
    expected = outputs(case.estimator, case.inputs)
    if "predict_proba[0]" in expected:
        expected["predict_proba"] = np.stack([expected[f"predict_proba[{index}]"] for index in range(2)])
    worst = 0.0
    for name, found in results.items():
        given = np.asarray(found)
        options = [name, "transform", "kneighbors[0]"] if name == "predict" else [name]
        wanted = next((expected[key] for key in options if _size(expected, key) == given.size), None)
        if wanted is None:
            return Rung(ok=False, note=f"skl2onnx: {name} has shape {given.shape}", by_library=True)
        if wanted.dtype.kind not in "fiub" or given.dtype.kind not in "fiub":
            if wanted.astype(str).reshape(-1).tolist() != given.astype(str).reshape(-1).tolist():
                return Rung(ok=False, note=f"skl2onnx: {name} has other labels", by_library=True)
            continue
        worst = max(worst, _apart(wanted.astype(float).reshape(-1), given.astype(float).reshape(-1)))
    if worst > FLOAT_TOLERANCE:
        note = f"skl2onnx: its model differs by {worst:.0e} of the spread; parity refuses to publish it"
        return Rung(ok=False, note=note, by_library=True)
    return Rung(ok=True, note=_power(worst))


def _size(expected: Mapping[str, Any], name: str) -> int:
    return int(expected[name].size) if name in expected else -1


def _apart(wanted: Any, given: Any) -> float:
    """Return the greatest difference as a share of the greatest value, at least 1; NaN equals NaN."""
    both = np.isnan(wanted) & np.isnan(given)
    difference = np.where(both, 0.0, np.abs(wanted - given))
    return float(np.max(np.nan_to_num(difference, nan=np.inf)) / max(1.0, float(np.nanmax(np.abs(wanted)))))


def _power(difference: float) -> str:
    """Round up to a power of ten, which is the same on every machine."""
    return f"1e{math.ceil(math.log10(difference))}" if difference else "0"


def _line(error: Exception) -> str:
    """Reduce an exception to one line that is the same on every machine."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    first = text.strip().splitlines()[0]
    for pattern, instead in _NOISE.items():
        first = re.sub(pattern, instead, first)
    return first if len(first) <= 160 else first[:159] + "…"
