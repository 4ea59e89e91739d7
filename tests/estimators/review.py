"""What a person has decided about the names that scikit-learn's own models mention.

`derive.py` accepts by itself only classes that are plain attributes: written
in Python, in scikit-learn, with nothing of their own that runs when they are
restored, called or looked into. Each other name stands here, under the reason
why it may be in the shipped allowance, or why it may not. A name is judged as if an
attacker could hold it anywhere and choose every argument but the first: that
is what `FunctionTransformer(func, kw_args=…)`, `analyzer=` and `score_func=` amount to.
"""

from collections.abc import Mapping
from typing import Final

_HARMLESS: Final[Mapping[str, str]] = {
    "Numbers and text: a type of a value, nothing else.": """
        builtins.slice numpy.float64 numpy.int64 numpy.ndarray numpy.dtype
        """,
    "Nothing is imported for these: the gate has code of its own in their place, or refuses the call.": """
        joblib.numpy_pickle.NumpyArrayWrapper
        numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar numpy._core.numeric._frombuffer
        numpy.ma.core._mareconstruct
        numpy.random._pickle.__bit_generator_ctor numpy.random._pickle.__generator_ctor
        numpy.random._pickle.__randomstate_ctor numpy.random.bit_generator.__pyx_unpickle_SeedSequence
        sklearn._loss._loss.__pyx_unpickle_CyHalfMultinomialLoss
        sklearn.metrics._dist_metrics.newObj sklearn.neighbors._ball_tree.newObj
        sklearn.neighbors._kd_tree.newObj
        """,
    "Compiled state, with every index in it checked by `native_state` before a model is handed out.": """
        numpy.random._generator.Generator numpy.random.mtrand.RandomState
        numpy.random._mt19937.MT19937 numpy.random._pcg64.PCG64 numpy.random.bit_generator.SeedSequence
        scipy.interpolate._bsplines.BSpline scipy.sparse._csr.csr_matrix
        sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor
        sklearn.neighbors._ball_tree.BallTree sklearn.neighbors._kd_tree.KDTree
        sklearn.metrics._dist_metrics.BrayCurtisDistance64
        sklearn.metrics._dist_metrics.CanberraDistance64
        sklearn.metrics._dist_metrics.ChebyshevDistance64 sklearn.metrics._dist_metrics.DiceDistance64
        sklearn.metrics._dist_metrics.EuclideanDistance64 sklearn.metrics._dist_metrics.HammingDistance64
        sklearn.metrics._dist_metrics.HaversineDistance64 sklearn.metrics._dist_metrics.JaccardDistance64
        sklearn.metrics._dist_metrics.MahalanobisDistance64
        sklearn.metrics._dist_metrics.ManhattanDistance64
        sklearn.metrics._dist_metrics.MinkowskiDistance64
        sklearn.metrics._dist_metrics.RogersTanimotoDistance64
        sklearn.metrics._dist_metrics.RussellRaoDistance64
        sklearn.metrics._dist_metrics.SEuclideanDistance64
        sklearn.metrics._dist_metrics.SokalMichenerDistance64
        sklearn.metrics._dist_metrics.SokalSneathDistance64
        sklearn.tree._tree.Tree
        """,
    "Compiled, and made of at most two numbers that nothing indexes with.": """
        sklearn._loss._loss.CyAbsoluteError sklearn._loss._loss.CyExponentialLoss
        sklearn._loss._loss.CyHalfBinomialLoss sklearn._loss._loss.CyHalfGammaLoss
        sklearn._loss._loss.CyHalfMultinomialLoss sklearn._loss._loss.CyHalfPoissonLoss
        sklearn._loss._loss.CyHalfSquaredError sklearn._loss._loss.CyHalfTweedieLoss
        sklearn._loss._loss.CyHalfTweedieLossIdentity sklearn._loss._loss.CyHuberLoss
        sklearn._loss._loss.CyPinballLoss
        sklearn.linear_model._sgd_fast.EpsilonInsensitive sklearn.linear_model._sgd_fast.Hinge
        sklearn.linear_model._sgd_fast.ModifiedHuber sklearn.linear_model._sgd_fast.SquaredEpsilonInsensitive
        sklearn.linear_model._sgd_fast.SquaredHinge
        """,
    "Losses and their links, in Python: called with arrays, they hold only numbers and the above.": """
        sklearn._loss.loss.AbsoluteError sklearn._loss.loss.ExponentialLoss
        sklearn._loss.loss.HalfBinomialLoss sklearn._loss.loss.HalfGammaLoss
        sklearn._loss.loss.HalfMultinomialLoss sklearn._loss.loss.HalfPoissonLoss
        sklearn._loss.loss.HalfSquaredError sklearn._loss.loss.HalfTweedieLoss
        sklearn._loss.loss.HalfTweedieLossIdentity sklearn._loss.loss.HuberLoss
        sklearn._loss.loss.PinballLoss
        sklearn._loss.link.Interval
        """,
    "Kernels, in Python: called with arrays, they hold only numbers and other kernels.": """
        sklearn.gaussian_process.kernels.ConstantKernel sklearn.gaussian_process.kernels.DotProduct
        sklearn.gaussian_process.kernels.ExpSineSquared sklearn.gaussian_process.kernels.Exponentiation
        sklearn.gaussian_process.kernels.Matern sklearn.gaussian_process.kernels.Product
        sklearn.gaussian_process.kernels.RBF sklearn.gaussian_process.kernels.RationalQuadratic
        sklearn.gaussian_process.kernels.Sum sklearn.gaussian_process.kernels.WhiteKernel
        """,
    "Functions of arrays that return arrays or a number, whatever their other arguments are.": """
        numpy.absolute numpy.cbrt numpy.cos numpy.exp numpy.expm1 numpy.log numpy.log10 numpy.log1p
        numpy.log2 numpy.mean numpy.negative numpy.reciprocal numpy.sin numpy.sqrt numpy.square numpy.tanh
        scipy._lib.array_api_compat.numpy._aliases.asarray
        sklearn.feature_selection._mutual_info.mutual_info_classif
        sklearn.feature_selection._mutual_info.mutual_info_regression
        sklearn.feature_selection._univariate_selection.chi2
        sklearn.feature_selection._univariate_selection.f_classif
        sklearn.feature_selection._univariate_selection.f_oneway
        sklearn.feature_selection._univariate_selection.f_regression
        sklearn.feature_selection._univariate_selection.r_regression
        sklearn.metrics._classification.accuracy_score
        sklearn.metrics._classification.balanced_accuracy_score
        sklearn.metrics._classification.brier_score_loss sklearn.metrics._classification.d2_brier_score
        sklearn.metrics._classification.d2_log_loss_score sklearn.metrics._classification.f1_score
        sklearn.metrics._classification.jaccard_score sklearn.metrics._classification.log_loss
        sklearn.metrics._classification.matthews_corrcoef sklearn.metrics._classification.precision_score
        sklearn.metrics._classification.recall_score
        sklearn.metrics._ranking.average_precision_score sklearn.metrics._ranking.roc_auc_score
        sklearn.metrics._ranking.top_k_accuracy_score
        sklearn.metrics._regression.d2_absolute_error_score
        sklearn.metrics._regression.explained_variance_score sklearn.metrics._regression.max_error
        sklearn.metrics._regression.mean_absolute_error
        sklearn.metrics._regression.mean_absolute_percentage_error
        sklearn.metrics._regression.mean_gamma_deviance sklearn.metrics._regression.mean_poisson_deviance
        sklearn.metrics._regression.mean_squared_error sklearn.metrics._regression.mean_squared_log_error
        sklearn.metrics._regression.median_absolute_error sklearn.metrics._regression.r2_score
        sklearn.metrics._regression.root_mean_squared_error
        sklearn.metrics._regression.root_mean_squared_log_error
        sklearn.utils.validation.check_array
        """,
    "Loops of compiled code: both readers accept them only where BisectingKMeans keeps one, to fit with.": """
        sklearn.cluster._kmeans._kmeans_single_elkan sklearn.cluster._kmeans._kmeans_single_lloyd
        """,
    "Scorers call a function when somebody asks for a score: one that is pinned and allowed too.": """
        sklearn.metrics._scorer._CurveScorer sklearn.metrics._scorer._PassthroughScorer
        sklearn.metrics._scorer._Scorer
        """,
    "Containers: a dict with attributes, an array with a mask, named tuples, what was requested of whom.": """
        numpy.ma.MaskedArray sklearn.impute._iterative._ImputerTriplet
        sklearn.utils._bunch.Bunch sklearn.utils._metadata_requests.MetadataRequest
        sklearn.utils._metadata_requests.MethodMetadataRequest
        """,
    "Restores itself by code of its own, which was read: an interpolation of two of its arrays.": """
        sklearn.isotonic.IsotonicRegression
        """,
    "Makes itself by code of its own, which was read: a warning that it is deprecated.": """
        sklearn.linear_model._passive_aggressive.PassiveAggressiveClassifier
        sklearn.linear_model._passive_aggressive.PassiveAggressiveRegressor
        """,
    "Passes every question on to the estimator that it holds.": """
        sklearn.frozen._frozen.FrozenEstimator
        """,
}

REVIEWED: Final[Mapping[str, str]] = {
    name: reason for reason, names in _HARMLESS.items() for name in names.split()
}

_DISTRIBUTION: Final = "restoring a distribution compiles source text that stands in its own state"

# Names that honest models mention and that are left out all the same, by kind of file.
EXCLUDED: Final[Mapping[str, Mapping[str, str]]] = {
    "pickle": {
        "functools.partial": "calls what it holds, with arguments of the file's choosing",
        "scipy.stats._continuous_distns.reciprocal_gen": _DISTRIBUTION,
        "scipy.stats._distn_infrastructure.rv_continuous_frozen": _DISTRIBUTION,
    },
    "skops": {
        "scipy.stats._continuous_distns.reciprocal_gen": _DISTRIBUTION,
        "scipy.stats._distn_infrastructure.rv_continuous_frozen": _DISTRIBUTION,
    },
}
