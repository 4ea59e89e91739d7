"""List the globals that pickles may name by default, and those that the gate builds itself."""

from typing import Final

from vault.core.pins import ARRAY_WRAPPER
from vault.core.skops_types import DEFAULT_SKOPS_TYPES, NUMPY_SCALARS

DTYPE: Final = "numpy.dtype"
NDARRAY: Final = "numpy.ndarray"
RECONSTRUCT: Final = frozenset({"numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"})
FROM_BUFFER: Final = frozenset({"numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"})
SCALAR: Final = frozenset({"numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"})
PLAIN_CALLS: Final = frozenset(
    {"builtins.bytearray", "builtins.complex", "builtins.frozenset", "builtins.set", "builtins.slice"}
)

# Nothing is imported for these names: the gate has code of its own in their place.
STAND_INS: Final = (
    frozenset({DTYPE, NDARRAY, ARRAY_WRAPPER}) | RECONSTRUCT | FROM_BUFFER | SCALAR | PLAIN_CALLS
)
# An allowed name is not yet a loaded one: the gate refuses compiled state that it cannot check.
DEFAULT_PICKLE_GLOBALS: Final = (
    frozenset(name for name in DEFAULT_SKOPS_TYPES if name.startswith("sklearn.")) | STAND_INS | NUMPY_SCALARS
)
# Who writes pickles that hold models, and nothing else of note: for the verdict of an inspection only.
KNOWN_LIBRARIES: Final = frozenset(
    {"catboost", "collections", "joblib", "lightgbm", "numpy", "pandas", "scipy", "sklearn", "xgboost"}
)
