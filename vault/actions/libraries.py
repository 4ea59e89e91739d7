"""Versions of the libraries that models depend on, without importing any of them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
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
    return recorded(distribution_versions(KNOWN))


def recorded(versions: Mapping[str, str]) -> dict[str, str]:
    """Give versions under the names by which they are recorded: another build of a library is the same."""
    found = dict(versions)
    for name, same in _BUILDS.items():
        if name in found:
            found.setdefault(same, found.pop(name))
    return found


def distribution_versions(names: Sequence[str]) -> dict[str, str]:
    """Give the installed versions of distributions, those that are not installed left out."""
    found = {}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
