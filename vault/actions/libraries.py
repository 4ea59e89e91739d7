"""Versions of the libraries that models depend on, without importing any of them."""

from functools import lru_cache
from importlib import metadata
from typing import Final

KNOWN: Final = (
    "catboost",
    "joblib",
    "keras",
    "lightgbm",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "scikit-learn",
    "scipy",
    "skl2onnx",
    "skops",
    "tensorflow",
    "tensorflow-cpu",
    "threadpoolctl",
    "torch",
    "xgboost",
)


@lru_cache(maxsize=1)
def installed() -> dict[str, str]:
    """Give the installed versions of `KNOWN`, by distribution name."""
    found = {}
    for name in KNOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
