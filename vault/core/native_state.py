"""Check state that compiled code trusts, in a model that was restored and not yet used.

Compiled predictors index arrays by numbers that they read from the model. A
tampered index reads or writes memory outside the array. These checks walk a
restored object and compare every such number with the arrays that it points
into. They read attributes and compare; they never call the model.

Source: the loops of scikit-learn 1.9 (`tree/_tree.pyx`,
`ensemble/_hist_gradient_boosting/_predictor.pyx`, `neighbors/_binary_tree.pxi`,
`svm/src/libsvm`) and `scipy.sparse` 1.17.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from vault.errors import FormatRefused

_MT19937_WORDS: Final = 624
_PHILOX_WORDS: Final = 4
_NO_CHILD: Final = -1
_HISTOGRAM: Final = "sklearn.ensemble._hist_gradient_boosting"


def check(root: object, *, subject: str = "") -> None:
    """Check all compiled state that can be reached from `root` through attributes and containers.

    Raises:
        FormatRefused: `format-content`: an index out of range, or compiled state of a kind that
            has no check here.
    """
    pending: list[object] = [root]
    held: dict[int, object] = {}  # keeps every visited object alive, so that an id means one object
    try:
        while pending:
            item = pending.pop()
            if type(item) in _PLAIN or id(item) in held:
                continue
            held[id(item)] = item
            _check_one(item)
            pending.extend(_below(item))
    except _Damaged as damage:
        finding = str(damage)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, MemoryError, RecursionError):
        finding = "its state is not of the shape that the library writes"
    else:
        return
    raise FormatRefused(
        f"{subject or 'The model'} was not loaded: {finding}.",
        code="format-content",
        subject=subject,
        hint="It was altered before it was signed, or is of a kind that cannot be checked: publish it again.",
    )


class _Damaged(Exception):
    """Carries the finding up to `check`, which knows the subject."""


def _require(holds: object, what: str) -> None:
    if not holds:
        raise _Damaged(what)


_PLAIN: Final = frozenset({bool, bytearray, bytes, complex, float, int, slice, range, str, type(None)})
_FUNCTIONS: Final = frozenset(
    {"builtins.builtin_function_or_method", "builtins.ellipsis", "builtins.function"}
)
_INERT_MODULES: Final = (
    "numpy",
    "datetime",
    "zoneinfo",
    "sklearn._loss._loss",
    "sklearn.linear_model._sgd_fast",
)


def _type_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _below(item: object) -> list[object]:
    """Return what an object holds, by containers and attributes."""
    if isinstance(item, type) or _type_name(type(item)) == "builtins.function":
        return []
    found: list[object] = []
    if isinstance(item, dict):
        found.extend(item)
        found.extend(item.values())
    elif isinstance(item, list | tuple | set | frozenset):
        found.extend(item)
    elif _is_array(item):
        array: Any = item
        if array.dtype.hasobject:
            found.extend(array.ravel().tolist())
    attributes = getattr(item, "__dict__", None)
    if isinstance(attributes, dict):
        found.extend(attributes.values())
    return found


def _is_array(item: object) -> bool:
    return any(_type_name(kind) == "numpy.ndarray" for kind in type(item).__mro__)


def _check_one(item: object) -> None:
    known = False
    for kind in type(item).__mro__:
        validator = _VALIDATORS.get(_type_name(kind))
        if validator is not None:
            validator(item)
            known = True
    if known or isinstance(item, type | dict | list | tuple | set | frozenset) or hasattr(item, "__dict__"):
        return
    module = type(item).__module__
    inert = any(module == name or module.startswith(name + ".") for name in _INERT_MODULES)
    _require(inert or _type_name(type(item)) in _FUNCTIONS, f"{module} has state that cannot be checked")


def _tree(tree: Any) -> None:
    """Check `sklearn.tree._tree.Tree`: children lie behind their parent, features and values exist."""
    count = tree.node_count
    _require(0 < count <= tree.capacity, "a tree claims more nodes than it has")
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    split = (left != _NO_CHILD).nonzero()[0]
    for child in (left[split], right[split]):
        _require((child > split).all() and (child < count).all(), "a tree has a child outside it")
    _require((feature[split] >= 0).all(), "a tree splits on a feature that does not exist")
    _require((feature[split] < tree.n_features).all(), "a tree splits on a feature that does not exist")
    _require(tree.n_outputs > 0 and (tree.n_classes > 0).all(), "a tree has no outputs")
    _require(0 <= tree.max_depth <= count, "a tree is deeper than it has nodes")


def _decision_tree(model: Any) -> None:
    tree = getattr(model, "tree_", None)
    if tree is not None:
        _require(_type_name(type(tree)) == "sklearn.tree._tree.Tree", "a tree is of another type")
        _require(tree.n_features == model.n_features_in_, "a tree has other features than its model")


def _gradient_boosting(model: Any) -> None:
    """Check that every stage has as many trees as the scores have columns: the sum is written unchecked."""
    stages = getattr(model, "estimators_", None)
    if stages is None:
        return
    columns = model.n_trees_per_iteration_
    _require(_is_array(stages) and stages.ndim == 2, "its stages are not a table of trees")
    _require(
        type(columns) is int and stages.shape[1] == columns >= 1,
        "its stages have another width than its scores",
    )
    for stage in stages.ravel().tolist():
        _require(
            _type_name(type(stage)) == "sklearn.tree._classes.DecisionTreeRegressor", "a stage is not a tree"
        )
        _require(stage.n_features_in_ == model.n_features_in_, "a stage has other features than its model")
        _require(stage.tree_.n_outputs == 1, "a stage has several outputs")
    if columns > 1 and getattr(model, "init_", "zero") != "zero":
        start = model.init_
        _require(
            _type_name(type(start)) == "sklearn.dummy.DummyClassifier", "its first guess cannot be checked"
        )
        _require(
            start.n_outputs_ == 1 and len(start.class_prior_) == columns, "its first guess has another width"
        )


def _hist_gradient_boosting(model: Any) -> None:
    predictors = getattr(model, "_predictors", None)
    if predictors is None:
        return
    categorical = model._bin_mapper.is_categorical_
    features = model.n_features_in_
    _require(categorical.shape == (features,), "its categories are of other features than the model's")
    width = model.n_trees_per_iteration_
    for stage in predictors:
        _require(isinstance(stage, list) and len(stage) == width, "a stage has another width than its scores")
        for predictor in stage:
            _require(
                _type_name(type(predictor)) == f"{_HISTOGRAM}.predictor.TreePredictor",
                "a stage is not a tree",
            )
            split = predictor.nodes[predictor.nodes["is_leaf"] == 0]
            _require(
                (split["feature_idx"] < features).all(), "a tree splits on a feature that does not exist"
            )
            by_category = split["feature_idx"][split["is_categorical"] != 0]
            _require((categorical[by_category] != 0).all(), "a tree splits a number as a category")


def _tree_predictor(predictor: Any) -> None:
    """Check the nodes of one histogram tree: children behind their parent, category sets that exist."""
    nodes = predictor.nodes
    _require(_is_array(nodes) and nodes.ndim == 1 and len(nodes) > 0, "a tree has no nodes")
    split = (nodes["is_leaf"] == 0).nonzero()[0]
    for side in ("left", "right"):
        child = nodes[side][split].astype("int64")
        _require((child > split).all() and (child < len(nodes)).all(), "a tree has a child outside it")
    _require((nodes["feature_idx"][split] >= 0).all(), "a tree splits on a feature that does not exist")
    for bitsets in (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets):
        by_category = nodes["bitset_idx"][split][nodes["is_categorical"][split] != 0]
        _require(bitsets.ndim == 2 and bitsets.shape[1] == 8, "a tree's category sets have another width")
        _require((by_category < len(bitsets)).all(), "a tree refers to a category set that does not exist")


def _binary_tree(tree: Any) -> None:
    """Check a KD or ball tree: point indices, node ranges and bounds lie within its arrays."""
    state = tree.__getstate__()
    data, indices, nodes, bounds = tree.get_arrays()
    levels, count, metric, weights = state[5], state[6], state[11], state[12]
    points, features = data.shape
    sides = 2 if _type_name(type(tree)).startswith("sklearn.neighbors._kd_tree.") else 1
    _require(
        points > 0 and indices.shape == (points,), "a search tree has another number of points than indices"
    )
    _require(
        (indices >= 0).all() and (indices < points).all(),
        "a search tree refers to a point that does not exist",
    )
    _require(
        count == len(nodes) == 2**levels - 1 >= 1,
        "a search tree has another number of nodes than its levels need",
    )
    _require(bounds.shape == (sides, count, features), "a search tree's bounds are of another shape")
    start, end = nodes["idx_start"], nodes["idx_end"]
    _require(
        ((start >= 0) & (start <= end) & (end <= points)).all(), "a search tree has a node outside its points"
    )
    _require((nodes["is_leaf"][count // 2 :] != 0).all(), "a search tree has a last level that goes on")
    _require(_type_name(type(metric)) in _METRICS, "a search tree has a metric that cannot be checked")
    _require(
        weights is None or weights.shape == (points,),
        "a search tree has another number of weights than points",
    )


_METRICS: Final = frozenset(
    f"sklearn.metrics._dist_metrics.{name}"
    for name in ("ChebyshevDistance64", "EuclideanDistance64", "ManhattanDistance64")
)


def _support_vectors(model: Any) -> None:
    """Check what libsvm is handed: as many vectors, coefficients and intercepts as there are classes."""
    vectors = getattr(model, "support_vectors_", None)
    if vectors is None:
        return
    counts, classes = model.n_support_, len(getattr(model, "classes_", "ab"))
    chosen, total = model.support_, len(model.support_)
    _require(len(model._n_support) == classes >= 2, "it has another number of classes")
    _require((counts >= 0).all() and counts.sum() == total, "it has another number of support vectors")
    _require(
        (chosen >= 0).all() and (chosen < model.shape_fit_[0]).all(), "it has a vector that does not exist"
    )
    rows, pairs = classes - 1, classes * (classes - 1) // 2
    for coefficients in (model.dual_coef_, model._dual_coef_):
        _require(coefficients.shape == (rows, total), "its coefficients are of another shape")
    for intercept in (model.intercept_, model._intercept_):
        _require(intercept.shape == (pairs,), "its intercepts are of another shape")
    expected = (0, 0) if model.kernel == "precomputed" else (total, model.shape_fit_[1])
    _require(vectors.shape == expected, "its support vectors are of another shape")
    for probabilities in (model._probA, model._probB):
        _require(probabilities.shape[0] in (0, pairs), "its probabilities are of another shape")


def _centres(model: Any) -> None:
    centres = getattr(model, "cluster_centers_", None)
    if centres is not None:
        _require(
            centres.ndim == 2 and centres.shape[1] == model.n_features_in_, "its centres have other features"
        )


def _vocabulary(model: Any) -> None:
    """Check that words map to the columns 0 … n-1: they become sparse indices, unchecked."""
    words = getattr(model, "vocabulary_", None)
    if words is not None:
        columns = {int(column) for column in words.values()}
        _require(columns == set(range(len(words))), "its vocabulary refers to a column that does not exist")


def _one_hot(model: Any) -> None:
    """Check that every category has a column: categories become sparse indices, unchecked."""
    if not hasattr(model, "categories_"):
        return
    dropped = model._drop_idx_after_grouping
    _require(
        len(model._n_features_outs) == len(model.categories_),
        "it has another number of features than columns",
    )
    for index, categories in enumerate(model.categories_):
        mapping = model._default_to_infrequent_mappings[index] if model._infrequent_enabled else None
        _require(mapping is None or len(mapping) == len(categories), "a category has no group")
        columns = len(categories) if mapping is None else int(mapping.max()) + 1
        columns -= dropped is not None and dropped[index] is not None
        _require(model._n_features_outs[index] == columns, "a category has no column")


def _sparse(matrix: Any) -> None:
    """Check the indices of a sparse matrix against its shape."""
    rows, columns = matrix.shape if len(matrix.shape) == 2 else (1, matrix.shape[0])
    if matrix.format in ("csr", "csc", "bsr"):
        outer, inner = (columns, rows) if matrix.format == "csc" else (rows, columns)
        if matrix.format == "bsr":
            outer, inner = outer // matrix.blocksize[0], inner // matrix.blocksize[1]
        pointers, indices = matrix.indptr, matrix.indices
        _require(
            pointers.shape == (outer + 1,) and pointers[0] == 0, "a sparse matrix has rows that do not exist"
        )
        _require((pointers[1:] >= pointers[:-1]).all(), "a sparse matrix has rows out of order")
        _require(pointers[-1] <= min(len(indices), len(matrix.data)), "a sparse matrix has too few entries")
        _require((indices >= 0).all() and (indices < inner).all(), "a sparse matrix has an entry outside it")
    elif matrix.format == "coo":
        _require(len(matrix.row) == len(matrix.col) == len(matrix.data), "a sparse matrix has unequal parts")
        for indices, size in ((matrix.row, rows), (matrix.col, columns)):
            _require(
                (indices >= 0).all() and (indices < size).all(), "a sparse matrix has an entry outside it"
            )
    elif matrix.format == "dia":
        _require(
            matrix.data.ndim == 2 and len(matrix.offsets) == len(matrix.data),
            "a sparse matrix has unequal parts",
        )
    else:
        _require(False, "a sparse matrix is of a kind that cannot be checked")


def _random_state(state: Any) -> None:
    kind = type(state)
    inner = state._bit_generator if _type_name(kind).endswith("RandomState") else state.bit_generator
    _bit_generator(inner)


def _bit_generator(generator: Any) -> None:
    """Check the position of a generator in its buffer of random words."""
    state = generator.state
    name = state["bit_generator"]
    if name == "MT19937":
        _require(0 <= state["state"]["pos"] <= _MT19937_WORDS, "a random generator stands outside its state")
        _require(state["state"]["key"].shape == (_MT19937_WORDS,), "a random generator has another state")
    elif name == "Philox":
        _require(0 <= state["buffer_pos"] <= _PHILOX_WORDS, "a random generator stands outside its state")
    else:
        _require(
            name in ("PCG64", "PCG64DXSM", "SFC64"), "a random generator is of a kind that cannot be checked"
        )


_VALIDATORS: Final[Mapping[str, Callable[[Any], None]]] = {
    "numpy.random._generator.Generator": _random_state,
    "numpy.random.bit_generator.BitGenerator": _bit_generator,
    "numpy.random.mtrand.RandomState": _random_state,
    "scipy.sparse._base._spbase": _sparse,
    "sklearn.cluster._kmeans.KMeans": _centres,
    "sklearn.cluster._kmeans.MiniBatchKMeans": _centres,
    "sklearn.ensemble._gb.BaseGradientBoosting": _gradient_boosting,
    f"{_HISTOGRAM}.gradient_boosting.BaseHistGradientBoosting": _hist_gradient_boosting,
    f"{_HISTOGRAM}.predictor.TreePredictor": _tree_predictor,
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": _vocabulary,
    "sklearn.feature_extraction.text.CountVectorizer": _vocabulary,
    "sklearn.neighbors._ball_tree.BallTree": _binary_tree,
    "sklearn.neighbors._kd_tree.KDTree": _binary_tree,
    "sklearn.preprocessing._encoders.OneHotEncoder": _one_hot,
    "sklearn.svm._base.BaseLibSVM": _support_vectors,
    "sklearn.tree._classes.BaseDecisionTree": _decision_tree,
    "sklearn.tree._tree.Tree": _tree,
}
