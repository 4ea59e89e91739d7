"""Check what estimators hand to compiled code: vectors, centres, columns, neighbours, splines, linkages.

Each function compares an estimator's attributes with each other, as its
methods rely on them without looking.

Source: scikit-learn 1.9 (`svm/src/libsvm`, `cluster`, `neighbors`,
`metrics/_pairwise_distances_reduction`) and `interpolate/_bsplines.py` of SciPy 1.17.
"""

from typing import Any, Final

from vault.core.native_checks import all_within, is_array, require

_THREADS: Final = 1_024
_DEGREE: Final = 64
_COLUMNS: Final = 2**31 - 1
_NORMS: Final = frozenset({"X_norm_squared", "Y_norm_squared"})


def check_names(attributes: Any) -> None:
    """Check that no attribute has a special name: from `__array_interface__` NumPy would take an address.

    SciPy's distributions keep a text in `__doc__`.

    Raises:
        Damaged: one has.
    """
    for name in attributes:
        special = isinstance(name, str) and name.startswith("__") and name != "__doc__"
        require(not special, "it has an attribute whose name is special")


def check_hashed_width(model: Any) -> None:
    """Check the number of columns that words are hashed to: compiled code divides by it.

    Raises:
        Damaged: it is none.
    """
    columns = model.n_features
    whole = type(columns) is int or (type(columns).__module__ == "numpy" and columns.dtype.kind in "iu")
    require(whole and 0 < int(columns) <= _COLUMNS, "it hashes to no columns at all")


def check_support_vectors(model: Any) -> None:
    """Check what libsvm is handed: as many vectors, coefficients and intercepts as there are classes.

    Raises:
        Damaged: parts of unequal sizes.
    """
    vectors = getattr(model, "support_vectors_", None)
    if vectors is None:
        return
    counts, classes = model.n_support_, len(getattr(model, "classes_", "ab"))
    chosen, total = model.support_, len(model.support_)
    require(len(model._n_support) == classes >= 2, "it has another number of classes")
    require((counts >= 0).all() and counts.sum() == total, "it has another number of support vectors")
    require(
        (chosen >= 0).all() and (chosen < model.shape_fit_[0]).all(), "it has a vector that does not exist"
    )
    rows, pairs = classes - 1, classes * (classes - 1) // 2
    for coefficients in (model.dual_coef_, model._dual_coef_):
        require(coefficients.shape == (rows, total), "its coefficients are of another shape")
    for intercept in (model.intercept_, model._intercept_):
        require(intercept.shape == (pairs,), "its intercepts are of another shape")
    expected = (0, 0) if model.kernel == "precomputed" else (total, model.shape_fit_[1])
    require(vectors.shape == expected, "its support vectors are of another shape")
    for probabilities in (model._probA, model._probB):
        require(probabilities.shape[0] in (0, pairs), "its probabilities are of another shape")


def check_centres(model: Any) -> None:
    """Check that centres have the model's features.

    Raises:
        Damaged: they have not.
    """
    check_threads(model)
    centres = getattr(model, "cluster_centers_", None)
    if centres is not None:
        require(
            centres.ndim == 2 and centres.shape[1] == model.n_features_in_, "its centres have other features"
        )


def check_vocabulary(model: Any) -> None:
    """Check that words map to the columns 0 … n-1: they become sparse indices, unchecked.

    Raises:
        Damaged: a word without a column of its own.
    """
    words = getattr(model, "vocabulary_", None)
    if words is not None:
        columns = {int(column) for column in words.values()}
        require(columns == set(range(len(words))), "its vocabulary refers to a column that does not exist")


def check_one_hot(model: Any) -> None:
    """Check that every category has a column: categories become sparse indices, unchecked.

    Raises:
        Damaged: a category without a column.
    """
    if not hasattr(model, "categories_"):
        return
    dropped = model._drop_idx_after_grouping
    require(
        len(model._n_features_outs) == len(model.categories_),
        "it has another number of features than columns",
    )
    for index, categories in enumerate(model.categories_):
        mapping = model._default_to_infrequent_mappings[index] if model._infrequent_enabled else None
        require(mapping is None or len(mapping) == len(categories), "a category has no group")
        columns = len(categories) if mapping is None else int(mapping.max()) + 1
        columns -= dropped is not None and dropped[index] is not None
        require(model._n_features_outs[index] == columns, "a category has no column")


def check_bisecting_tree(model: Any) -> None:
    """Check that every centre of a hierarchy of clusters has the model's features, and that it ends.

    Raises:
        Damaged: a centre of other features, or a node that is met twice.
    """
    check_threads(model)
    pending = [getattr(model, "_bisecting_tree", None)]
    met: set[int] = set()
    while pending:
        node = pending.pop()
        if node is None:
            continue
        require(id(node) not in met, "its clusters go round in circles")
        met.add(id(node))
        require(
            is_array(node.center) and node.center.shape == (model.n_features_in_,),
            "its centres have other features",
        )
        pending += [node.left, node.right]


def check_threads(model: Any) -> None:
    """Check a number of threads that is kept in a model: the runtime ends the process over a large one.

    Raises:
        Damaged: it is none.
    """
    threads = getattr(model, "_n_threads", 1)
    require(type(threads) is int and 0 < threads <= _THREADS, "it asks for another number of threads")


def check_neighbors(model: Any) -> None:
    """Check the points of a nearest-neighbour model: as many features as the model, one label for each.

    Raises:
        Damaged: other features, labels that are no class, or norms that were brought along.
    """
    points = getattr(model, "_fit_X", None)
    if points is None:
        return
    features = getattr(model, "n_features_in_", None)
    require(len(points.shape) == 2 and points.shape[1] == features, "its points have other features")
    for parameters in (model.metric_params, getattr(model, "effective_metric_params_", None)):
        require(not parameters or _NORMS.isdisjoint(parameters), "it brings norms of its points along")
    labels: Any = getattr(model, "_y", None)
    classes: Any = getattr(model, "classes_", None)
    if labels is not None:
        require(is_array(labels) and labels.shape[0] == points.shape[0], "a point has no label")
        if is_array(classes) and labels.ndim == 1:
            require(all_within(labels, 0, len(classes)), "a point has a label that does not exist")


def check_spline(spline: Any) -> None:
    """Check a `scipy.interpolate.BSpline`: knots in order, and a coefficient for each.

    Raises:
        Damaged: fewer coefficients or knots than its degree needs, or knots out of order.
    """
    knots, coefficients, degree = spline._t, spline._c, spline.k
    require(type(degree) is int and 0 <= degree <= _DEGREE, "a spline has an impossible degree")
    require(
        is_array(knots) and is_array(coefficients) and knots.ndim == 1 and coefficients.ndim > 0,
        "a spline is not made of arrays",
    )
    require(knots.dtype == "float64" and coefficients.dtype == "float64", "a spline is not made of numbers")
    needed = len(knots) - degree - 1
    require(needed > degree and len(coefficients) >= needed, "a spline has too few knots or coefficients")
    require((knots[1:] >= knots[:-1]).all(), "a spline has knots out of order")


def check_linkage(model: Any) -> None:
    """Check the linkage that HDBSCAN keeps: every row joins nodes that exist.

    Raises:
        Damaged: one that does not.
    """
    linkage = getattr(model, "_single_linkage_tree_", None)
    if linkage is None:
        return
    for side in ("left_node", "right_node"):
        require(all_within(linkage[side], 0, 2 * len(linkage) + 1), "its linkage joins what does not exist")
