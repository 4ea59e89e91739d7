"""List the types that skops files may name by default: the derived ones, and plain data.

`skops_allowance.py` is generated from what scikit-learn's own estimators mention in skops files.
What honest models hold beside that, and no toy data shows, is data: numbers, text, dates and
sparse matrices of each format. Everything under `sklearn.datasets` stays out: it reads files and
fetches from the network.
"""

from collections.abc import Mapping
from typing import Final

from vault.core.skops_allowance import DERIVED_SKOPS_TYPES

# Compiled loss functions; skops builds them from their one or no parameter.
COMPILED_LOSSES: Final[Mapping[str, str]] = {
    "_loss._loss": "CyAbsoluteError CyExponentialLoss CyHalfBinomialLoss CyHalfGammaLoss "
    "CyHalfMultinomialLoss CyHalfPoissonLoss CyHalfSquaredError CyHalfTweedieLoss "
    "CyHalfTweedieLossIdentity CyHuberLoss CyPinballLoss",
    "linear_model._sgd_fast": "EpsilonInsensitive Hinge Huber Log ModifiedHuber "
    "SquaredEpsilonInsensitive SquaredHinge SquaredLoss",
}


def _names(package: str, table: Mapping[str, str]) -> frozenset[str]:
    return frozenset(
        f"{package}.{module}.{name}" for module, names in table.items() for name in names.split()
    )


LOSS_TYPES: Final = _names("sklearn", COMPILED_LOSSES)
NUMPY_SCALARS: Final = frozenset(
    "numpy." + name
    for name in [
        "bool",
        "bool_",
        "bytes_",
        "clongdouble",
        "complex128",
        "complex64",
        "datetime64",
        "float16",
        "float32",
        "float64",
        "int16",
        "int32",
        "int64",
        "int8",
        "longdouble",
        "longlong",
        "str_",
        "timedelta64",
        "uint16",
        "uint32",
        "uint64",
        "uint8",
        "ulonglong",
        "void",
    ]
)
PLAIN_TYPES: Final = (
    frozenset(
        "builtins." + name
        for name in [
            "bool",
            "bytearray",
            "bytes",
            "complex",
            "dict",
            "float",
            "frozenset",
            "int",
            "list",
            "set",
            "slice",
            "str",
            "tuple",
        ]
    )
    | NUMPY_SCALARS
    | {"builtins.NoneType", "numpy.ndarray", "numpy.object_", "collections.OrderedDict"}
)
SPARSE_TYPES: Final = frozenset(
    f"scipy.sparse._{kind}.{kind}_{suffix}"
    for kind in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
    for suffix in ("array", "matrix")
)
DEFAULT_SKOPS_TYPES: Final = (
    DERIVED_SKOPS_TYPES
    | SPARSE_TYPES
    | PLAIN_TYPES
    | {"collections.defaultdict", "numpy.dtype", "numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"}
    | {"datetime.timedelta", "datetime.timezone", "zoneinfo.ZoneInfo"}
    | {"sklearn.compose._column_transformer._RemainderColsList"}  # scikit-learn 1.5 to 1.8 wrote it
)
