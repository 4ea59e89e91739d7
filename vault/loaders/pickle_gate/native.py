"""Build compiled objects of scikit-learn, after every number that their code trusts was checked.

Source: `tree/_tree.pyx`, `neighbors/_binary_tree.pxi.tp`, `metrics/_dist_metrics.pyx.tp`,
`_loss/_loss.pyx.tp` and `linear_model/_sgd_fast.pyx.tp` of scikit-learn 1.9.
"""

from typing import Any, Final

from vault.core import native_trees
from vault.core.native_checks import Damaged, type_name
from vault.core.pickle_globals import LOSS_MAKERS, METRIC_TYPES, SEARCH_TREES
from vault.loaders.pickle_gate.parts import Part, StandIn, Unfit, named, require

_TREE_STATE: Final = frozenset({"max_depth", "node_count", "nodes", "values"})
_COUNT: Final = 1 << 31
_SEARCH_PARTS: Final = 13
_NUMBERS: Final = frozenset({"builtins.float", "builtins.int", "numpy.float64"})
_WITH_PARAMETER: Final = frozenset(
    {
        "CyHalfTweedieLoss",
        "CyHalfTweedieLossIdentity",
        "CyHuberLoss",
        "CyPinballLoss",
        "EpsilonInsensitive",
        "Hinge",
        "Huber",
        "SquaredEpsilonInsensitive",
        "SquaredHinge",
    }
)


class _Tree(Part):
    __slots__ = ("classes", "features", "outputs")

    def __init__(self, features: int, classes: Any, outputs: int) -> None:
        self.features = features
        self.classes = classes
        self.outputs = outputs

    def finish(self, state: Any) -> Any:
        """Check nodes and values, then let the tree copy them."""
        from sklearn.tree import _tree

        require(type(state) is dict and state.keys() == _TREE_STATE, "a tree has a state of another kind")
        nodes, values, count = state["nodes"], state["values"], state["node_count"]
        check_array(nodes, _tree.NODE_DTYPE, 1, "a tree's nodes")
        check_array(values, "float64", 3, "a tree's values")
        require(type(count) is int and 0 < count == len(nodes), "a tree claims more nodes than it has")
        require(
            type(state["max_depth"]) is int and 0 <= state["max_depth"] <= count,
            "a tree is deeper than it has nodes",
        )
        require(
            values.shape == (count, self.outputs, int(self.classes.max())),
            "a tree's values are of another shape",
        )
        _sound(native_trees.check_nodes, nodes, self.features)
        tree = _tree.Tree(self.features, self.classes, self.outputs)
        tree.__setstate__(state)
        return tree


def tree(features: Any, classes: Any, outputs: Any) -> Part:
    """Start a decision tree; its constructor is called once its state was checked."""
    require(type(features) is int and 0 < features < _COUNT, "a tree has an impossible number of features")
    check_array(classes, "int64", 1, "a tree's classes")
    require(type(outputs) is int and outputs == len(classes) > 0, "a tree has another number of outputs")
    require(classes.min() > 0 and classes.max() < _COUNT, "a tree has an impossible number of classes")
    return _Tree(features, classes, outputs)


class _SearchTree(Part):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def finish(self, state: Any) -> Any:
        """Check points, indices, nodes, bounds and metric, then hand them over."""
        from sklearn.neighbors import _ball_tree, _kd_tree

        is_kd = self.name == "sklearn.neighbors._kd_tree.KDTree"
        kind, node_type = (
            (_kd_tree.KDTree, _kd_tree.NodeData) if is_kd else (_ball_tree.BallTree, _ball_tree.NodeData)
        )
        require(
            type(state) is tuple and len(state) == _SEARCH_PARTS, "a search tree has a state of another kind"
        )
        for part, dtype, dimensions in zip(
            state, ("float64", "int64", node_type, "float64"), (2, 1, 1, 3), strict=False
        ):
            check_array(part, dtype, dimensions, "a search tree's array")
        require(
            all(type(number) is int and 0 <= number < _COUNT for number in state[4:11]) and state[4] > 0,
            "a search tree has counts that are none",
        )
        if state[12] is not None:
            check_array(state[12], "float64", 1, "a search tree's weights")
        _sound(native_trees.check_search_tree, state, 2 if is_kd else 1)
        found = kind.__new__(kind)
        found.__setstate__(state)
        return found


def search_tree(kind: Any) -> Part:
    """Start a KD or ball tree."""
    require(named(kind) in SEARCH_TREES, "it makes a search tree of an unknown kind")
    return _SearchTree(named(kind))


class _Metric(Part):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def finish(self, state: Any) -> Any:
        """Check exponent, weights and matrix, then hand them over."""
        from sklearn.metrics import _dist_metrics

        require(
            type(state) is tuple and len(state) == 3 and type(state[0]) is float,
            "a metric has a state of another kind",
        )
        check_array(state[1], "float64", 1, "a metric's weights")
        check_array(state[2], "float64", 2, "a metric's matrix")
        kind = vars(_dist_metrics)[self.name.rpartition(".")[2]]
        found = kind.__new__(kind)
        found.__setstate__(state)
        return found


def metric(kind: Any) -> Part:
    """Start a metric; one that calls a Python function is not among them."""
    require(named(kind) in METRIC_TYPES, "it makes a metric of an unknown kind")
    return _Metric(named(kind))


def loss(function: StandIn, *parameters: Any) -> object:
    """Build a compiled loss from its one parameter, or none."""
    from sklearn._loss import _loss
    from sklearn.linear_model import _sgd_fast

    module, _, name = function.name.rpartition(".")
    require(len(parameters) == (name in _WITH_PARAMETER), "a loss has another number of parameters")
    require(
        all(type_name(type(number)) in _NUMBERS for number in parameters),
        "a loss has a parameter that is no number",
    )
    made: object = vars(_loss if module == "sklearn._loss._loss" else _sgd_fast)[name](*parameters)
    return made


def restored_loss(function: StandIn, kind: Any, checksum: Any, state: Any = None) -> object:
    """Build a compiled loss without a parameter, which Cython restores by a function of its own."""
    require(named(kind) == LOSS_MAKERS[function.name] and state in (None, ()), "a loss has a strange state")
    return loss(kind)


def check_array(value: Any, dtype: Any, dimensions: int, what: str) -> None:
    """Refuse what is not a plain contiguous array of that dtype and number of dimensions.

    Raises:
        Unfit: it is another.
    """
    import numpy as np

    require(
        type(value) is np.ndarray
        and value.dtype == dtype
        and value.ndim == dimensions
        and value.flags.c_contiguous
        and value.flags.aligned,
        f"{what} are not of the kind that the library writes",
    )


def _sound(check: Any, *parts: Any) -> None:
    try:
        check(*parts)
    except Damaged as damage:
        raise Unfit(str(damage)) from None
