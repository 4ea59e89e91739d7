"""List the globals that pickles may name by default, and those that the gate builds itself."""

from typing import Final

from vault.core import pickle_allowance
from vault.core.native_trees import FITTED_METRICS, METRICS, PLAIN_METRICS
from vault.core.pins import ARRAY_WRAPPER
from vault.core.skops_types import LOSS_TYPES, NUMPY_SCALARS

DTYPE: Final = "numpy.dtype"
NDARRAY: Final = "numpy.ndarray"
RECONSTRUCT: Final = frozenset({"numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"})
FROM_BUFFER: Final = frozenset({"numpy._core.numeric._frombuffer", "numpy.core.numeric._frombuffer"})
SCALAR: Final = frozenset({"numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"})
MASKED: Final = frozenset({"numpy.ma.MaskedArray", "numpy.ma.core.MaskedArray"})
MASKED_RECONSTRUCT: Final = "numpy.ma.core._mareconstruct"
PLAIN_CALLS: Final = frozenset(
    {"builtins.bytearray", "builtins.complex", "builtins.frozenset", "builtins.set", "builtins.slice"}
)
DATES: Final = frozenset(
    {"datetime.date", "datetime.datetime", "datetime.time", "datetime.timedelta", "datetime.timezone"}
)
ORDERED: Final = "collections.OrderedDict"
DEFAULTING: Final = "collections.defaultdict"
BUNCH: Final = "sklearn.utils._bunch.Bunch"

# Compiled state: each is made of parts that were checked before its own code sees them.
TREE: Final = "sklearn.tree._tree.Tree"
SEARCH_TREES: Final = {
    "sklearn.neighbors._ball_tree.BallTree": "sklearn.neighbors._ball_tree.newObj",
    "sklearn.neighbors._kd_tree.KDTree": "sklearn.neighbors._kd_tree.newObj",
}
METRIC_MAKER: Final = f"{METRICS}.newObj"
METRIC_TYPES: Final = PLAIN_METRICS | FITTED_METRICS
LOSSES: Final = LOSS_TYPES
LOSS_MAKERS: Final = {
    name.replace("._loss.Cy", "._loss.__pyx_unpickle_Cy"): name
    for name in LOSS_TYPES
    if name.startswith("sklearn._loss.")
}
BIT_GENERATORS: Final = {
    "numpy.random._mt19937.MT19937": "MT19937",
    "numpy.random._pcg64.PCG64": "PCG64",
    "numpy.random._pcg64.PCG64DXSM": "PCG64DXSM",
    "numpy.random._philox.Philox": "Philox",
    "numpy.random._sfc64.SFC64": "SFC64",
}
# Compiled loops that trust their arguments: of use in the one attribute that scikit-learn keeps them in.
KEPT_FUNCTIONS: Final = frozenset(
    {"sklearn.cluster._kmeans._kmeans_single_elkan", "sklearn.cluster._kmeans._kmeans_single_lloyd"}
)
SEEDS: Final = "numpy.random.bit_generator.SeedSequence"
SEED_MAKER: Final = "numpy.random.bit_generator.__pyx_unpickle_SeedSequence"
BIT_GENERATOR_MAKER: Final = "numpy.random._pickle.__bit_generator_ctor"
GENERATOR_MAKER: Final = "numpy.random._pickle.__generator_ctor"
RANDOM_STATE_MAKER: Final = "numpy.random._pickle.__randomstate_ctor"

# Nothing is resolved for these names: the gate has code of its own in their place.
STAND_INS: Final = (
    frozenset(
        {
            ARRAY_WRAPPER,
            BIT_GENERATOR_MAKER,
            BUNCH,
            DEFAULTING,
            DTYPE,
            GENERATOR_MAKER,
            MASKED_RECONSTRUCT,
            METRIC_MAKER,
            NDARRAY,
            ORDERED,
            RANDOM_STATE_MAKER,
            SEEDS,
            SEED_MAKER,
            TREE,
        }
    )
    | RECONSTRUCT
    | FROM_BUFFER
    | SCALAR
    | MASKED
    | PLAIN_CALLS
    | DATES
    | METRIC_TYPES
    | LOSSES
    | frozenset(LOSS_MAKERS)
    | KEPT_FUNCTIONS
    | frozenset(BIT_GENERATORS)
    | frozenset(SEARCH_TREES)
    | frozenset(SEARCH_TREES.values())
)
# What every operator allows: what scikit-learn's own estimators need, numbers, and what the gate builds.
# An allowed name is not yet a loaded one: the gate refuses compiled state that it cannot check.
DEFAULT_PICKLE_GLOBALS: Final = pickle_allowance.DEFAULT_PICKLE_GLOBALS | STAND_INS | NUMPY_SCALARS
# Who writes pickles that hold models, and nothing else of note: for the verdict of an inspection only.
KNOWN_LIBRARIES: Final = frozenset(
    {"catboost", "collections", "joblib", "lightgbm", "numpy", "pandas", "scipy", "sklearn", "xgboost"}
)
