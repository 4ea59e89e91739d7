"""What estimators are made of: the inner estimators of meta-estimators, and variants worth a case."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import loguniform
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import (
    SelectKBest,
    chi2,
    f_classif,
    f_oneway,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
    r_regression,
)
from sklearn.gaussian_process import kernels
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.estimators.toy_data import ROWS, data

Parameters = Mapping[str, Any]


@cache
def _inner() -> Mapping[str, Parameters]:
    logistic, ridge = LogisticRegression(), Ridge()
    grid = {"estimator": logistic, "cv": 2}
    pair: list[Any] = [("logistic", logistic), ("bayes", GaussianNB())]
    numbers: list[Any] = [
        ("linear", LinearRegression()),
        ("tree", DecisionTreeRegressor(max_depth=3, random_state=0)),
    ]
    columns: list[Any] = [
        ("numbers", StandardScaler(), ["age", "income"]),
        ("words", OneHotEncoder(handle_unknown="ignore"), ["city"]),
    ]
    return {
        "CalibratedClassifierCV": {"estimator": logistic},
        "ClassifierChain": {"estimator": logistic},
        "ColumnTransformer": {"transformers": columns},
        "FeatureUnion": {"transformer_list": [("pca", PCA(2)), ("scaler", StandardScaler())]},
        "FixedThresholdClassifier": {"estimator": logistic},
        "FrozenEstimator": {"estimator": _frozen()},
        "GridSearchCV": {**grid, "param_grid": {"C": [0.1, 1.0]}},
        "HalvingGridSearchCV": {**grid, "param_grid": {"C": [0.1, 1.0]}, "min_resources": 30},
        "HalvingRandomSearchCV": {**grid, "param_distributions": {"C": [0.1, 1.0]}, "min_resources": 30},
        "MultiOutputClassifier": {"estimator": logistic},
        "MultiOutputRegressor": {"estimator": ridge},
        "OneVsOneClassifier": {"estimator": logistic},
        "OneVsRestClassifier": {"estimator": logistic},
        "OutputCodeClassifier": {"estimator": logistic},
        "Pipeline": {"steps": [("scaler", StandardScaler()), ("logistic", logistic)]},
        "RFE": {"estimator": ridge, "n_features_to_select": 2},
        "RFECV": {"estimator": ridge, "cv": 2},
        "RandomizedSearchCV": {**grid, "param_distributions": {"C": [0.1, 1.0]}, "n_iter": 2},
        "RegressorChain": {"estimator": ridge},
        "SelectFromModel": {"estimator": ridge},
        "SelfTrainingClassifier": {"estimator": logistic},
        "SequentialFeatureSelector": {"estimator": ridge, "n_features_to_select": 2, "cv": 2},
        "SparseCoder": {"dictionary": _dictionary()},
        "StackingClassifier": {"estimators": pair, "cv": 2},
        "StackingRegressor": {"estimators": numbers, "cv": 2},
        "TransformedTargetRegressor": {"regressor": ridge, "transformer": StandardScaler()},
        "TunedThresholdClassifierCV": {"estimator": logistic},
        "VotingClassifier": {"estimators": pair, "voting": "soft"},
        "VotingRegressor": {"estimators": numbers},
    }


def inner(name: str) -> Parameters:
    """Return the parameters that a meta-estimator cannot do without; none for others."""
    return _inner().get(name, {})


def _frozen() -> Any:
    source = data("classes")
    return LogisticRegression().fit(source.X, source.y)


def _dictionary() -> Any:
    atoms = np.random.default_rng(3).normal(size=(4, 5))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


_TABLE = ColumnTransformer(
    [
        ("numbers", Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())]), ["age", "income"]),
        ("words", OneHotEncoder(handle_unknown="ignore"), ["city"]),
    ]
)
_ALL_KERNELS = (
    kernels.ConstantKernel() * kernels.RBF()
    + kernels.Matern() * kernels.RationalQuadratic()
    + kernels.WhiteKernel()
    + kernels.DotProduct() ** 2
    + kernels.ExpSineSquared()
)
_SEARCH = {"estimator": LogisticRegression(), "param_grid": {"C": [0.1, 1.0]}}
_SPLITTERS: tuple[Any, ...] = (
    GroupKFold(2),
    GroupShuffleSplit(2, random_state=0),
    KFold(2),
    LeaveOneGroupOut(),
    LeaveOneOut(),
    PredefinedSplit([0, 1] * (ROWS // 2)),
    RepeatedKFold(n_splits=2, n_repeats=1, random_state=0),
    RepeatedStratifiedKFold(n_splits=2, n_repeats=1, random_state=0),
    ShuffleSplit(2, random_state=0),
    StratifiedGroupKFold(2),
    StratifiedKFold(2),
    StratifiedShuffleSplit(2, random_state=0),
    TimeSeriesSplit(2),
)
_METRICS: tuple[tuple[str, Any], ...] = (
    *((name, None) for name in ("braycurtis", "canberra", "chebyshev", "dice", "hamming", "jaccard")),
    *((name, None) for name in ("rogerstanimoto", "russellrao", "sokalmichener", "sokalsneath")),
    ("mahalanobis", {"VI": np.eye(5)}),
    ("minkowski", {"w": np.arange(1.0, 6.0), "p": 3}),
    ("seuclidean", {"V": np.arange(1.0, 6.0)}),
)
_CLASSIFIER_SCORERS = [
    "accuracy", "average_precision", "balanced_accuracy", "d2_brier_score", "d2_log_loss_score", "f1",
    "jaccard", "matthews_corrcoef", "neg_brier_score", "neg_log_loss", "precision", "recall", "roc_auc",
    "roc_auc_ovr", "top_k_accuracy",
]  # fmt: skip
_REGRESSOR_SCORERS = [
    "d2_absolute_error_score", "explained_variance", "neg_max_error", "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error", "neg_mean_gamma_deviance", "neg_mean_poisson_deviance",
    "neg_mean_squared_error", "neg_mean_squared_log_error", "neg_median_absolute_error",
    "neg_root_mean_squared_error", "neg_root_mean_squared_log_error", "r2",
]  # fmt: skip
_UFUNCS: tuple[Any, ...] = (
    np.absolute, np.cbrt, np.cos, np.exp, np.expm1, np.log, np.log10, np.log1p, np.log2, np.negative,
    np.reciprocal, np.sin, np.sqrt, np.square, np.tanh,
)  # fmt: skip
_LOSSES = ("log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error", "huber")
_MORE_LOSSES = ("epsilon_insensitive", "squared_epsilon_insensitive")

# (estimator, what is special, kind of data, parameters)
VARIANTS: tuple[tuple[str, str, str, Parameters], ...] = (
    ("AdaBoostClassifier", "of logistic regressions", "binary", {"estimator": LogisticRegression()}),
    ("AgglomerativeClustering", "single linkage", "nothing", {"linkage": "single"}),
    ("BaggingClassifier", "of trees", "classes", {"estimator": DecisionTreeClassifier(max_depth=2)}),
    ("BisectingKMeans", "elkan", "classes", {"algorithm": "elkan", "n_clusters": 3}),
    ("CalibratedClassifierCV", "isotonic", "binary", {"method": "isotonic"}),
    ("CalibratedClassifierCV", "temperature", "classes", {"method": "temperature"}),
    ("ColumnTransformer", "sparse, remainder passed on", "frame", {"remainder": "passthrough",
        "transformers": [("words", OneHotEncoder(), ["city"])]}),
    ("CountVectorizer", "pairs of characters", "texts", {"analyzer": "char_wb", "ngram_range": (2, 2)}),
    ("DecisionTreeClassifier", "pruned", "classes", {"ccp_alpha": 0.02}),
    ("DecisionTreeClassifier", "single precision", "single precision", {}),
    ("DecisionTreeClassifier", "missing values", "holes, classes", {}),
    ("DecisionTreeRegressor", "several targets", "targets", {}),
    ("DummyClassifier", "stratified", "classes", {"strategy": "stratified"}),
    ("ExtraTreesClassifier", "several outputs", "flags", {}),
    *(("FunctionTransformer", f"numpy.{func.__name__}", "amounts", {"func": func}) for func in _UFUNCS),
    ("GaussianProcessClassifier", "two classes, Matern", "binary", {"kernel": kernels.Matern()}),
    ("GaussianProcessRegressor", "sum and product of kernels", "numbers", {"kernel": _ALL_KERNELS,
        "alpha": 50.0, "optimizer": None}),
    ("GradientBoostingClassifier", "exponential loss", "binary", {"loss": "exponential"}),
    ("GradientBoostingClassifier", "two classes", "binary", {}),
    ("GradientBoostingClassifier", "zero start", "classes", {"init": "zero"}),
    ("GradientBoostingRegressor", "absolute error", "numbers", {"loss": "absolute_error"}),
    ("GradientBoostingRegressor", "huber", "numbers", {"loss": "huber"}),
    ("GradientBoostingRegressor", "quantile", "numbers", {"loss": "quantile"}),
    ("GridSearchCV", "named scorer", "binary", {**_SEARCH, "scoring": "roc_auc"}),
    ("GridSearchCV", "all scorers of classifiers", "binary", {**_SEARCH, "cv": 2, "refit": "f1",
        "scoring": _CLASSIFIER_SCORERS}),
    ("GridSearchCV", "all scorers of regressors", "amounts", {"estimator": DummyRegressor(), "cv": 2,
        "param_grid": {"strategy": ["mean", "median"]}, "refit": "r2", "scoring": _REGRESSOR_SCORERS}),
    ("RandomizedSearchCV", "over a distribution", "binary", {"estimator": LogisticRegression(),
        "param_distributions": {"C": loguniform(0.1, 1)}, "n_iter": 2}),
    *(("GridSearchCV", type(cv).__name__, "groups", {"estimator": GaussianNB(), "cv": cv,
        "param_grid": {"var_smoothing": [1e-9, 1e-3]}}) for cv in _SPLITTERS),
    ("HashingVectorizer", "characters", "texts", {"analyzer": "char", "n_features": 16}),
    ("HistGradientBoostingClassifier", "two classes", "binary", {"max_iter": 3}),
    ("HistGradientBoostingClassifier", "categories", "rounded", {"max_iter": 3, "min_samples_leaf": 2,
        "categorical_features": [4]}),
    ("HistGradientBoostingClassifier", "stopped early", "classes", {"max_iter": 3,
        "early_stopping": True}),
    ("HistGradientBoostingClassifier", "mixed columns", "categories", {"max_iter": 3,
        "min_samples_leaf": 2, "categorical_features": "from_dtype"}),
    *(("HistGradientBoostingRegressor", loss, "amounts", {"loss": loss, "max_iter": 3})
      for loss in ("absolute_error", "gamma", "poisson")),
    ("HistGradientBoostingRegressor", "quantile", "amounts", {"loss": "quantile", "quantile": 0.8,
        "max_iter": 3}),
    ("KBinsDiscretizer", "ordinal, uniform", "nothing", {"encode": "ordinal", "strategy": "uniform"}),
    ("KMeans", "elkan", "nothing", {"algorithm": "elkan", "n_clusters": 3}),
    ("KMeans", "sparse", "sparse", {"n_clusters": 3}),
    *(("KNeighborsClassifier", f"{algorithm}, {metric}", "classes", {"algorithm": algorithm,
        "metric": metric})
      for algorithm, metric in (("kd_tree", "euclidean"), ("kd_tree", "manhattan"),
                                ("kd_tree", "chebyshev"), ("ball_tree", "minkowski"),
                                ("brute", "cosine"))),
    ("KNeighborsClassifier", "ball_tree, haversine", "angles", {"algorithm": "ball_tree",
        "metric": "haversine"}),
    ("KNeighborsClassifier", "kd_tree, single precision", "single precision", {"algorithm": "kd_tree"}),
    ("KNeighborsClassifier", "sparse", "sparse", {}),
    ("KNeighborsRegressor", "by distance, minkowski 3", "numbers", {"weights": "distance", "p": 3,
        "algorithm": "ball_tree"}),
    ("KernelDensity", "ball tree", "nothing", {"algorithm": "ball_tree", "kernel": "epanechnikov"}),
    ("KernelRidge", "rbf", "numbers", {"kernel": "rbf"}),
    ("LogisticRegression", "liblinear", "binary", {"solver": "liblinear"}),
    ("LogisticRegression", "named classes", "named classes", {}),
    ("LogisticRegression", "named columns", "named", {}),
    ("LogisticRegression", "sparse", "sparse", {}),
    ("LogisticRegression", "single precision", "single precision", {}),
    ("MLPClassifier", "sgd", "classes", {"solver": "sgd", "max_iter": 3}),
    ("MLPClassifier", "lbfgs", "classes", {"solver": "lbfgs", "max_iter": 3}),
    ("MLPRegressor", "stopped early", "numbers", {"early_stopping": True, "max_iter": 3}),
    ("NearestNeighbors", "kd tree", "nothing", {"algorithm": "kd_tree"}),
    *(("NearestNeighbors", f"ball tree, {metric}", "marks", {"algorithm": "ball_tree", "metric": metric,
        "metric_params": given}) for metric, given in _METRICS),
    ("OneHotEncoder", "rare ones together", "colours", {"min_frequency": 25,
        "handle_unknown": "infrequent_if_exist"}),
    ("Pipeline", "table to forest", "frame", {"steps": [("table", _TABLE),
        ("forest", RandomForestClassifier(4, random_state=0))]}),
    ("Pipeline", "text to linear model", "texts", {"steps": [("words", TfidfVectorizer()),
        ("linear", SGDClassifier(random_state=0))]}),
    ("Pipeline", "selection and calibration", "binary", {"steps": [
        ("best", SelectKBest(f_classif, k=3)),
        ("model", CalibratedClassifierCV(GaussianNB(), cv=2))]}),
    ("QuantileTransformer", "normal", "nothing", {"n_quantiles": 20, "output_distribution": "normal"}),
    ("RandomForestClassifier", "bootstrap scored", "classes", {"oob_score": True, "n_estimators": 12}),
    ("RandomForestClassifier", "named classes", "named classes", {}),
    ("RandomForestRegressor", "several targets", "targets", {}),
    ("RidgeCV", "leave one out", "numbers", {"cv": None}),
    ("RidgeClassifier", "sparse", "sparse", {}),
    *(("SGDClassifier", loss, "classes", {"loss": loss}) for loss in (*_LOSSES, *_MORE_LOSSES)),
    ("SVC", "linear", "classes", {"kernel": "linear"}),
    ("SVC", "precomputed", "kernel", {"kernel": "precomputed"}),
    ("SVC", "sparse", "sparse", {}),
    ("SVC", "sparse array", "sparse array", {}),
    *(("SelectKBest", func.__name__, "counts", {"score_func": func, "k": "all"})
      for func in (chi2, f_oneway, f_regression, mutual_info_classif, mutual_info_regression,
                   r_regression)),
    ("SimpleImputer", "indicator", "holes", {"add_indicator": True, "strategy": "median"}),
    ("SimpleImputer", "most frequent words", "colours", {"strategy": "most_frequent"}),
    ("SplineTransformer", "extrapolating linearly", "nothing", {"extrapolation": "linear"}),
    ("StackingClassifier", "passing on the features", "classes", {"passthrough": True,
        "final_estimator": RandomForestClassifier(3, random_state=0)}),
    ("TfidfVectorizer", "characters, sublinear", "texts", {"analyzer": "char", "sublinear_tf": True}),
    ("TransformedTargetRegressor", "by functions", "amounts", {"transformer": None, "func": np.log1p,
        "inverse_func": np.expm1}),
    ("TweedieRegressor", "identity link", "amounts", {"link": "identity", "power": 1.5}),
    ("VotingClassifier", "by majority", "classes", {"voting": "hard"}),
)  # fmt: skip
