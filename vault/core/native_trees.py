"""Check trees of compiled code: decision trees, histogram trees, and search trees with their metrics.

Each function reads numbers and compares them with the arrays that they point
into. Some take the parts of a state, before a compiled object is made of them;
some an object that was restored.

Source: the loops of scikit-learn 1.9 (`tree/_tree.pyx`,
`ensemble/_hist_gradient_boosting/_predictor.pyx`, `neighbors/_binary_tree.pxi`,
`metrics/_dist_metrics.pyx`).
"""

from typing import Any, Final

from vault.core.native_checks import all_within, is_array, require, type_name

HISTOGRAM: Final = "sklearn.ensemble._hist_gradient_boosting"
METRICS: Final = "sklearn.metrics._dist_metrics"
# Distances that read nothing but the two points.
PLAIN_METRICS: Final = frozenset(
    f"{METRICS}.{name}Distance64"
    for name in (
        "BrayCurtis", "Canberra", "Chebyshev", "Dice", "Euclidean", "Hamming", "Jaccard", "Kulsinski",
        "Manhattan", "Matching", "RogersTanimoto", "RussellRao", "SokalMichener", "SokalSneath",
    )
)  # fmt: skip
# Distances with weights, a matrix or a fixed number of features, which must be those of the points.
FITTED_METRICS: Final = frozenset(
    f"{METRICS}.{name}Distance64" for name in ("Haversine", "Mahalanobis", "Minkowski", "SEuclidean")
)
_NO_CHILD: Final = -1
_LEVELS: Final = 48


def check_nodes(nodes: Any, features: int) -> None:
    """Check the nodes of a decision tree: children lie behind their parent, features exist.

    Raises:
        Damaged: an index that leads outside.
    """
    left, count = nodes["left_child"], len(nodes)
    split = (left != _NO_CHILD).nonzero()[0]
    if not split.size:
        return
    for child in (left[split], nodes["right_child"][split]):
        require((child > split).all() and int(child.max()) < count, "a tree has a child outside it")
    require(
        all_within(nodes["feature"][split], 0, features), "a tree splits on a feature that does not exist"
    )


def check_tree(tree: Any) -> None:
    """Check a `sklearn.tree._tree.Tree` that was restored.

    Raises:
        Damaged: it claims what it does not have.
    """
    count = tree.node_count
    require(0 < count <= tree.capacity, "a tree claims more nodes than it has")
    check_nodes(tree.__getstate__()["nodes"], tree.n_features)
    require(tree.n_outputs > 0 and (tree.n_classes > 0).all(), "a tree has no outputs")
    require(0 <= tree.max_depth <= count, "a tree is deeper than it has nodes")


def check_decision_tree(model: Any) -> None:
    """Check that an estimator's tree is one, of as many features as the estimator's.

    Raises:
        Damaged: it is not.
    """
    tree = getattr(model, "tree_", None)
    if tree is not None:
        require(type_name(type(tree)) == "sklearn.tree._tree.Tree", "a tree is of another type")
        require(tree.n_features == model.n_features_in_, "a tree has other features than its model")


def check_gradient_boosting(model: Any) -> None:
    """Check that every stage has as many trees as the scores have columns: the sum is written unchecked.

    Raises:
        Damaged: it has not.
    """
    stages = getattr(model, "estimators_", None)
    if stages is None:
        return
    columns = model.n_trees_per_iteration_
    require(is_array(stages) and stages.ndim == 2, "its stages are not a table of trees")
    require(
        type(columns) is int and stages.shape[1] == columns >= 1,
        "its stages have another width than its scores",
    )
    for stage in stages.ravel().tolist():
        require(
            type_name(type(stage)) == "sklearn.tree._classes.DecisionTreeRegressor", "a stage is not a tree"
        )
        require(stage.n_features_in_ == model.n_features_in_, "a stage has other features than its model")
        require(stage.tree_.n_outputs == 1, "a stage has several outputs")
    if columns > 1 and getattr(model, "init_", "zero") != "zero":
        start = model.init_
        require(
            type_name(type(start)) == "sklearn.dummy.DummyClassifier", "its first guess cannot be checked"
        )
        require(
            start.n_outputs_ == 1 and len(start.class_prior_) == columns, "its first guess has another width"
        )


def check_hist_gradient_boosting(model: Any) -> None:
    """Check the stages of histogram trees against the model's features and categories.

    Raises:
        Damaged: a stage of another width, or a tree that looks at other features.
    """
    predictors = getattr(model, "_predictors", None)
    if predictors is None:
        return
    categorical = model._bin_mapper.is_categorical_
    features = model.n_features_in_
    require(categorical.shape == (features,), "its categories are of other features than the model's")
    width = model.n_trees_per_iteration_
    for stage in predictors:
        require(isinstance(stage, list) and len(stage) == width, "a stage has another width than its scores")
        for predictor in stage:
            require(
                type_name(type(predictor)) == f"{HISTOGRAM}.predictor.TreePredictor", "a stage is not a tree"
            )
            split = predictor.nodes[predictor.nodes["is_leaf"] == 0]
            require((split["feature_idx"] < features).all(), "a tree splits on a feature that does not exist")
            by_category = split["feature_idx"][split["is_categorical"] != 0]
            require((categorical[by_category] != 0).all(), "a tree splits a number as a category")


def check_tree_predictor(predictor: Any) -> None:
    """Check the nodes of one histogram tree: children behind their parent, category sets that exist.

    Raises:
        Damaged: an index that leads outside.
    """
    nodes = predictor.nodes
    require(is_array(nodes) and nodes.ndim == 1 and len(nodes) > 0, "a tree has no nodes")
    split = (nodes["is_leaf"] == 0).nonzero()[0]
    for side in ("left", "right"):
        child = nodes[side][split].astype("int64")
        require((child > split).all() and (child < len(nodes)).all(), "a tree has a child outside it")
    require((nodes["feature_idx"][split] >= 0).all(), "a tree splits on a feature that does not exist")
    for bitsets in (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets):
        by_category = nodes["bitset_idx"][split][nodes["is_categorical"][split] != 0]
        require(bitsets.ndim == 2 and bitsets.shape[1] == 8, "a tree's category sets have another width")
        require((by_category < len(bitsets)).all(), "a tree refers to a category set that does not exist")


def check_search_tree(state: tuple[Any, ...], sides: int) -> None:
    """Check the state of a KD tree (two `sides`) or ball tree (one), as `__getstate__` gives it.

    Raises:
        Damaged: point indices, node ranges, bounds, weights or a metric that do not fit its points.
    """
    data, indices, nodes, bounds = state[:4]
    levels, count, metric, weights = state[5], state[6], state[11], state[12]
    points, features = data.shape
    require(
        points > 0 and indices.shape == (points,), "a search tree has another number of points than indices"
    )
    require(all_within(indices, 0, points), "a search tree refers to a point that does not exist")
    require(
        0 < levels < _LEVELS and count == len(nodes) == 2**levels - 1,
        "a search tree has another number of nodes than its levels need",
    )
    require(bounds.shape == (sides, count, features), "a search tree's bounds are of another shape")
    start, end = nodes["idx_start"], nodes["idx_end"]
    require(
        ((start >= 0) & (start <= end) & (end <= points)).all(), "a search tree has a node outside its points"
    )
    require((nodes["is_leaf"][count // 2 :] != 0).all(), "a search tree has a last level that goes on")
    check_metric_of(metric, features)
    require(
        weights is None or weights.shape == (points,),
        "a search tree has another number of weights than points",
    )


def check_metric_of(metric: Any, features: int) -> None:
    """Check that a metric can be used on points of so many features.

    Raises:
        Damaged: its weights or its matrix are of other features, or it is of an unknown kind.
    """
    name = type_name(type(metric))
    if name in PLAIN_METRICS:
        return
    require(name in FITTED_METRICS, "a search tree has a metric that cannot be checked")
    _, weights, matrix = metric.__getstate__()
    kind = name.rpartition(".")[2]
    fits = {
        "HaversineDistance64": features == 2,
        "MahalanobisDistance64": matrix.shape == (features, features),
        "MinkowskiDistance64": weights.shape in ((0,), (features,)),
        "SEuclideanDistance64": weights.shape == (features,),
    }
    require(fits[kind], "a search tree's metric is of other features than its points")


def check_kd_tree(tree: Any) -> None:
    """Check a KD tree that was restored.

    Raises:
        Damaged: see `check_search_tree`.
    """
    check_search_tree(tree.__getstate__(), 2)


def check_ball_tree(tree: Any) -> None:
    """Check a ball tree that was restored.

    Raises:
        Damaged: see `check_search_tree`.
    """
    check_search_tree(tree.__getstate__(), 1)


def check_free_metric(metric: Any) -> None:
    """Check a metric outside a search tree: nobody knows the points that it will be used on.

    Raises:
        Damaged: it has weights, a matrix, or a fixed number of features.
    """
    require(type_name(type(metric)) in PLAIN_METRICS, "a metric has weights that cannot be checked")
