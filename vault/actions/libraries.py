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
    "xgboost-cpu",
)
# Other builds of a library, under the name of which they are recorded.
_BUILDS: Final = {"tensorflow-cpu": "tensorflow", "xgboost-cpu": "xgboost"}


@lru_cache(maxsize=1)
def installed() -> dict[str, str]:
    """Give the installed versions of `KNOWN`, by distribution name."""
    found = {}
    for name in KNOWN:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    for name, same in _BUILDS.items():
        if name in found:
            found.setdefault(same, found.pop(name))
    return found
