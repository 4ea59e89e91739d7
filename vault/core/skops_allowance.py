"""List the types that skops files may name by default. Generated: do not edit.

`python -m tests.estimators.derive` fits scikit-learn's own estimators and collects what their
files mention; `tests/estimators/review.py` holds what a person decided about it.

Derived with scikit-learn 1.9, NumPy 2.4, SciPy 1.17, skops 0.16.
"""

from typing import Final

from vault.core.estimator_allowance import ESTIMATOR_NAMES

# Left out, although honest models mention them:
# - scipy.stats._continuous_distns.reciprocal_gen: restoring a distribution compiles source text that stands
#   in its own state.
# - scipy.stats._distn_infrastructure.rv_continuous_frozen: restoring a distribution compiles source text that
#   stands in its own state.
DERIVED_SKOPS_TYPES: Final = ESTIMATOR_NAMES | frozenset(
    [
        # Compiled state, with every index in it checked by `native_state` before a model is handed out.
        "numpy.random._generator.Generator",
        "numpy.random.mtrand.RandomState",
    ]
)
