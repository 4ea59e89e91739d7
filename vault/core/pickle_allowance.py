"""List the globals that pickles may name by default. Generated: do not edit.

`python -m tests.estimators.derive` fits scikit-learn's own estimators and collects what their
files mention; `tests/estimators/review.py` holds what a person decided about it.

Derived with scikit-learn 1.9, NumPy 2.4, SciPy 1.17, skops 0.16.
"""

from typing import Final

from vault.core.estimator_allowance import ESTIMATOR_NAMES

# Left out, although honest models mention them:
# - functools.partial: calls what it holds, with arguments of the file's choosing.
# - scipy.stats._continuous_distns.reciprocal_gen: restoring a distribution compiles source text that stands
#   in its own state.
# - scipy.stats._distn_infrastructure.rv_continuous_frozen: restoring a distribution compiles source text that
#   stands in its own state.
DEFAULT_PICKLE_GLOBALS: Final = ESTIMATOR_NAMES | frozenset(
    [
        # Classes in Python whose instances are attributes and no more.
        "sklearn.cluster._birch.Birch",
        "sklearn.cluster._birch._CFNode",
        "sklearn.cluster._birch._CFSubcluster",
        # Numbers and text: a type of a value, nothing else.
        "builtins.slice",
        "numpy.float64",
        "numpy.int64",
        "numpy.ndarray",
        # Nothing is imported for these: the gate has code of its own in their place, or refuses the call.
        "joblib.numpy_pickle.NumpyArrayWrapper",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy._core.numeric._frombuffer",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.core.numeric._frombuffer",
        "numpy.ma.core._mareconstruct",
        "numpy.random._pickle.__bit_generator_ctor",
        "numpy.random._pickle.__generator_ctor",
        "numpy.random._pickle.__randomstate_ctor",
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        "sklearn._loss._loss.__pyx_unpickle_CyHalfMultinomialLoss",
        "sklearn.metrics._dist_metrics.newObj",
        "sklearn.neighbors._ball_tree.newObj",
        "sklearn.neighbors._kd_tree.newObj",
        # Compiled state, with every index in it checked by `native_state` before a model is handed out.
        "numpy.random._mt19937.MT19937",
        "numpy.random._pcg64.PCG64",
        "numpy.random.bit_generator.SeedSequence",
    ]
)
