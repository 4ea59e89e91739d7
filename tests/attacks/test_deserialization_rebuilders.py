"""State that was altered before it is rebuilt: refused before any compiled code sees it.

Each forged file names nothing but what every operator allows, and would be
restored by CPython into something that crashes, now or when it is used.
"""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.cluster import HDBSCAN, BisectingKMeans, KMeans
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.neighbors import BallTree, KDTree, KNeighborsClassifier, NearestNeighbors
from sklearn.preprocessing import SplineTransformer
from sklearn.tree import DecisionTreeClassifier

from tests.attacks.deserialization_watch import in_child
from vault.core import pickle_trace
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import FormatRefused
from vault.loaders import pickle_gate

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(80, 4))
LABEL = np.digitize(TABLE[:, 0], [-0.5, 0.5])
TREE = DecisionTreeClassifier(max_depth=4).fit(TABLE, LABEL).tree_


class Forged:
    """Pickles as a call with arguments and a state, whatever they are."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], *state: Any) -> None:
        self.reduced = (function, arguments, *state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def again(made: Any, change: Callable[[list[Any]], None]) -> Any:
    """Pickle something as it pickles itself, but for one change of [function, arguments, state]."""
    parts = list(made.__reduce__())
    parts[1] = [part.copy() if hasattr(part, "copy") else part for part in parts[1]]
    change(parts)
    parts[1] = tuple(parts[1])
    return Forged(*parts)


def tree(change: Callable[[dict[str, Any]], None]) -> Any:
    def on_state(parts: list[Any]) -> None:
        parts[2] = {**parts[2], "nodes": parts[2]["nodes"].copy(), "values": parts[2]["values"].copy()}
        change(parts[2])

    return again(TREE, on_state)


def node(field: str, value: int, index: int = 0) -> Any:
    return tree(lambda state: state["nodes"][field].__setitem__(index, value))


def of(**changes: Any) -> Any:
    return tree(lambda state: state.update(changes))


def made_of(*arguments: Any) -> Any:
    def change(parts: list[Any]) -> None:
        parts[1] = list(arguments)

    return again(TREE, change)


NODES = TREE.__getstate__()["nodes"]
VALUES = TREE.__getstate__()["values"]
INNER = int((NODES["left_child"] > 0).nonzero()[0][-1])
CLASSES = np.array([3])
OTHER = np.zeros(len(NODES), dtype=[(name, "<i8") for name in NODES.dtype.names])
WIDER = np.zeros(len(NODES), dtype=[*NODES.dtype.descr, ("more", "<i8")])

TREES: dict[str, Callable[[], Any]] = {
    "left child out of range": lambda: node("left_child", 1 << 40),
    "right child out of range": lambda: node("right_child", len(NODES)),
    "negative child": lambda: node("left_child", -9),
    "no right child": lambda: node("right_child", -1),
    "its own child": lambda: node("left_child", 0),
    "a child before its parent": lambda: node("right_child", 0, INNER),
    "feature out of range": lambda: node("feature", 4),
    "negative feature": lambda: node("feature", -5),
    "more nodes than there are": lambda: of(node_count=len(NODES) + 1),
    "fewer nodes than there are": lambda: of(node_count=1),
    "a negative number of nodes": lambda: of(node_count=-1),
    "no nodes": lambda: of(node_count=0, nodes=NODES[:0], values=VALUES[:0]),
    "a number of nodes that is no number": lambda: of(node_count=True),
    "depth": lambda: of(max_depth=1 << 60),
    "nodes of another dtype": lambda: of(nodes=OTHER),
    "nodes of a wider dtype": lambda: of(nodes=WIDER),
    "nodes in a table": lambda: of(nodes=NODES.reshape(1, -1)),
    "nodes in a list": lambda: of(nodes=NODES.tolist()),
    "values in a list": lambda: of(values=[0.5]),
    "values of fewer nodes": lambda: of(values=VALUES[:-1]),
    "values of fewer classes": lambda: of(values=VALUES[:, :, :2].copy()),
    "values of more outputs": lambda: of(values=np.zeros((len(NODES), 2, 3))),
    "values in the other order": lambda: of(
        values=np.asfortranarray(VALUES.reshape(-1, 3)).reshape(-1, 1, 3)
    ),
    "values of half the size": lambda: of(values=VALUES.astype("f4")),
    "values of the other endianness": lambda: of(values=VALUES.astype(">f8")),
    "values that are objects": lambda: of(values=VALUES.astype(object)),
    "a part too many": lambda: of(capacity=1 << 40),
    "a part too few": lambda: tree(lambda state: state.pop("values")),
    "more classes than values": lambda: made_of(4, np.array([300]), 1),
    "a negative number of classes": lambda: made_of(4, np.array([-3]), 1),
    "no class": lambda: made_of(4, np.array([0]), 1),
    "classes of another width": lambda: made_of(4, np.array([3], dtype="i4"), 1),
    "more outputs than classes": lambda: made_of(4, CLASSES, 1 << 30),
    "no outputs": lambda: made_of(4, CLASSES[:0], 0),
    "no features": lambda: made_of(0, CLASSES, 1),
    "features as text": lambda: made_of("4", CLASSES, 1),
    "arguments too few": lambda: made_of(4, CLASSES),
    "no state": lambda: Forged(*TREE.__reduce__()[:2]),
    "state that is a list": lambda: Forged(*TREE.__reduce__()[:2], [1]),
}

HISTOGRAM = HistGradientBoostingClassifier(max_iter=2).fit(TABLE, LABEL)


def histogram(**changes: Any) -> Any:
    model = pickle.loads(pickle.dumps(HISTOGRAM))
    predictor = model._predictors[0][0]
    for field, value in changes.items():
        predictor.nodes[field][0] = value
    return model


def histogram_nodes(nodes: Any) -> Any:
    model = pickle.loads(pickle.dumps(HISTOGRAM))
    model._predictors[1][0].nodes = nodes
    return model


HIST_NODES = HISTOGRAM._predictors[0][0].nodes
HISTOGRAMS: dict[str, Callable[[], Any]] = {
    "histogram child out of range": lambda: histogram(left=len(HIST_NODES)),
    "histogram child before its parent": lambda: histogram(right=0),
    "histogram feature out of range": lambda: histogram(feature_idx=4),
    "histogram feature below zero": lambda: histogram(feature_idx=-1),
    "histogram category": lambda: histogram(is_categorical=1),
    "histogram nodes of another dtype": lambda: histogram_nodes(np.zeros(3, dtype=[("left", "<u4")])),
    "histogram nodes that are none": lambda: histogram_nodes(HIST_NODES[:0]),
    "histogram nodes in a list": lambda: histogram_nodes([1, 2]),
    "histogram nodes that would be converted": lambda: histogram_nodes(
        HIST_NODES.astype([(name, "<f8") for name in HIST_NODES.dtype.names])
    ),
}

SEARCH: dict[str, tuple[int, Any]] = {
    "points of another width": (0, TABLE.astype("f4")),
    "no points": (0, TABLE[:0]),
    "points in the other order": (0, np.asfortranarray(TABLE)),
    "indices of another width": (1, np.zeros(80, dtype="i4")),
    "an index out of range": (1, np.full(80, 80)),
    "a negative index": (1, np.full(80, -1)),
    "fewer indices": (1, np.arange(79)),
    "nodes of another dtype": (2, np.zeros(7)),
    "fewer nodes": (2, KDTree(TABLE, leaf_size=10).__getstate__()[2][:3].copy()),
    "bounds of another shape": (3, np.zeros((2, 7, 3))),
    "bounds of another kind": (3, np.zeros((2, 7, 4), dtype="i8")),
    "no leaf size": (4, 0),
    "a leaf size that is no number": (4, 3.5),
    "levels": (5, 60),
    "levels below zero": (5, -1),
    "node count": (6, 1 << 20),
    "a count that overflows": (7, 1 << 40),
    "a negative count": (10, -1),
    "a metric that is none": (11, None),
    "a metric that is a model": (11, NearestNeighbors()),
    "fewer weights": (12, np.ones(79)),
    "weights that are text": (12, "weights"),
}


def search(kind: Any, index: int, value: Any) -> Any:
    def change(parts: list[Any]) -> None:
        state = list(parts[2])
        state[index] = value
        parts[2] = tuple(state)

    return again(kind(TABLE, leaf_size=10), change)


def search_nodes(field: str, value: int, index: int) -> Any:
    nodes = KDTree(TABLE, leaf_size=10).__getstate__()[2].copy()
    nodes[field][index] = value
    return search(KDTree, 2, nodes)


def metric(name: str, p: Any, weights: Any, matrix: Any, kind: Any = KDTree) -> Any:
    from sklearn.metrics import _dist_metrics

    forged = Forged(_dist_metrics.newObj, (vars(_dist_metrics)[name],), (p, weights, matrix))
    return search(kind, 11, forged)


ONE, SQUARE = np.zeros(1), np.zeros((1, 1))
SEARCHES: dict[str, Callable[[], Any]] = {
    **{
        f"{kind.__name__}: {name}": lambda kind=kind, change=change: search(kind, *change)  # type: ignore[misc]
        for kind in (KDTree, BallTree)
        for name, change in SEARCH.items()
    },
    "a node that ends outside": lambda: search_nodes("idx_end", 1 << 40, 0),
    "a node that starts before": lambda: search_nodes("idx_start", -1, 3),
    "a last node that goes on": lambda: search_nodes("is_leaf", 0, -1),
    "a metric for two features": lambda: metric("HaversineDistance64", 2.0, ONE, SQUARE, BallTree),
    "a matrix of other features": lambda: metric("MahalanobisDistance64", 2.0, ONE, np.eye(2), BallTree),
    "weights of other features": lambda: metric("SEuclideanDistance64", 2.0, np.ones(3), SQUARE),
    "weights of fewer features": lambda: metric("MinkowskiDistance64", 3.0, np.ones(1), SQUARE),
    "an exponent that is text": lambda: metric("MinkowskiDistance64", "3", np.ones(4), SQUARE),
    "weights in a table": lambda: metric("EuclideanDistance64", 2.0, SQUARE, SQUARE),
    "a metric of 32-bit floats": lambda: metric("EuclideanDistance32", 2.0, ONE, SQUARE),
    "a search tree of a class of its own": lambda: Forged(
        KDTree(TABLE).__reduce__()[0], (DecisionTreeClassifier,), KDTree(TABLE).__getstate__()
    ),
    "a search tree without state": lambda: [Forged(*KDTree(TABLE).__reduce__()[:2])],
}

BITS: Any = np.random.RandomState(0)._bit_generator
WORDS = np.arange(624, dtype="u4")


def legacy(**changes: Any) -> Any:
    made = np.random.RandomState(0)
    state: Any = made.get_state(legacy=False)
    state["state"].update({name: value for name, value in changes.items() if name in ("key", "pos")})
    state.update({name: value for name, value in changes.items() if name not in ("key", "pos")})
    return again(made, lambda parts: parts.__setitem__(2, state))


def bits(name: str, state: Any, seed: Any = None) -> Any:
    made = getattr(np.random, name)(0)
    return again(made, lambda parts: parts.__setitem__(2, (state, seed)))


def philox(**changes: Any) -> Any:
    state = {**np.random.Philox(0).state, **changes}
    return bits("Philox", state)


def seed(*state: Any) -> Any:
    made = np.random.SeedSequence(5)
    return again(made, lambda parts: parts.__setitem__(2, tuple(state)))


POOL = np.random.SeedSequence(5).pool
PCG = np.random.PCG64(0).state
GENERATORS: dict[str, Callable[[], Any]] = {
    "generator beyond its words": lambda: legacy(pos=625),
    "generator before its words": lambda: legacy(pos=-1),
    "generator at no number": lambda: legacy(pos=1.5),
    "fewer words": lambda: legacy(key=WORDS[:10]),
    "words of another width": lambda: legacy(key=WORDS.astype("u8")),
    "words in a list": lambda: legacy(key=WORDS.tolist()),
    "a spare that is no number": lambda: legacy(gauss="x"),
    "a spare flag": lambda: legacy(has_gauss=7),
    "another generator's name": lambda: legacy(bit_generator="PCG64"),
    "an extra part": lambda: legacy(more=1),
    "bits beyond their words": lambda: bits(
        "MT19937", {"bit_generator": "MT19937", "state": {"key": WORDS, "pos": 1 << 30}}
    ),
    "bits without words": lambda: bits("MT19937", {"bit_generator": "MT19937", "state": {"pos": 1}}),
    "bits of another name": lambda: bits("MT19937", PCG),
    "bits that are a list": lambda: bits("PCG64", [PCG]),
    "bits of 129 bits": lambda: bits("PCG64", {**PCG, "state": {"state": 1 << 128, "inc": 1}}),
    "bits that are text": lambda: bits("PCG64", {**PCG, "state": {"state": "1", "inc": 1}}),
    "bits with a strange spare": lambda: bits("PCG64", {**PCG, "uinteger": 1 << 32}),
    "bits with a strange seed": lambda: bits("PCG64", PCG, "seed"),
    "bits without a seed": lambda: again(np.random.PCG64(0), lambda parts: parts.__setitem__(2, (PCG,))),
    "Philox beyond its buffer": lambda: philox(buffer_pos=5),
    "Philox before its buffer": lambda: philox(buffer_pos=-1),
    "Philox of another buffer": lambda: philox(buffer=np.zeros(2, dtype="u8")),
    "Philox of another key": lambda: philox(state={"counter": np.zeros(4, "u8"), "key": np.zeros(4, "u8")}),
    "SFC64 of fewer words": lambda: bits(
        "SFC64", {**np.random.SFC64(0).state, "state": {"state": np.zeros(3, "u8")}}
    ),
    "a seed of another pool": lambda: seed(5, 0, POOL[:3], 4, ()),
    "a seed with other words": lambda: seed(5, 0, POOL + np.uint32(1), 4, ()),
    "a seed with a large pool": lambda: seed(5, 0, POOL, 1 << 40, ()),
    "a seed with a small pool": lambda: seed(5, 0, POOL, 1, ()),
    "a negative seed": lambda: seed(-5, 0, POOL, 4, ()),
    "a seed that is text": lambda: seed("5", 0, POOL, 4, ()),
    "an endless seed": lambda: seed(1 << 40_000, 0, POOL, 4, ()),
    "a seed with strange children": lambda: seed(5, -1, POOL, 4, ()),
    "a seed with a strange key": lambda: seed(5, 0, POOL, 4, ("x",)),
    "a seed of another shape": lambda: seed(5, 0, POOL),
    "a generator over nothing": lambda: Forged(np.random.default_rng(0).__reduce__()[0], ("PCG64",)),
    "a state over nothing": lambda: Forged(np.random.RandomState(0).__reduce__()[0], (5,)),
    "bits of no kind": lambda: Forged(BITS.__reduce__()[0], ("Secrets",), (PCG, None)),
    "bits of a class": lambda: Forged(BITS.__reduce__()[0], (DecisionTreeClassifier,), (PCG, None)),
}


def changed(model: Any, **attributes: Any) -> Any:
    vars(model).update(attributes)
    return model


def neighbours(**attributes: Any) -> Any:
    return changed(KNeighborsClassifier(algorithm="brute").fit(TABLE, LABEL), **attributes)


def spline(**attributes: Any) -> Any:
    model = SplineTransformer().fit(TABLE)
    vars(model.bsplines_[1]).update(attributes)
    return model


def joined(side: str, value: int) -> Any:
    model = HDBSCAN(min_cluster_size=3, copy=True).fit(TABLE)
    model._single_linkage_tree_[side][0] = value
    return model


def circle() -> Any:
    model = BisectingKMeans(3).fit(TABLE)
    model._bisecting_tree.left.left = model._bisecting_tree
    return model


def narrow_cluster() -> Any:
    model = BisectingKMeans(3).fit(TABLE)
    model._bisecting_tree.left.center = np.zeros(1)
    return model


def loss(name: str, *arguments: Any) -> Any:
    from sklearn._loss import _loss

    return Forged(vars(_loss)[name], arguments)


def isotonic(**attributes: Any) -> Any:
    return changed(IsotonicRegression().fit(TABLE[:, 0], TABLE[:, 1]), **attributes)


MODELS: dict[str, Callable[[], Any]] = {
    "neighbours of fewer features": lambda: neighbours(_fit_X=TABLE[:, :1].copy()),
    "neighbours without labels": lambda: neighbours(_y=LABEL[:3]),
    "a label that is no class": lambda: neighbours(_y=LABEL + 1_000_000),
    "norms that are brought along": lambda: neighbours(effective_metric_params_={"Y_norm_squared": ONE}),
    "a spline with few coefficients": lambda: spline(_c=np.zeros((1, 7))),
    "a spline of a high degree": lambda: spline(k=60),
    "a spline of no degree": lambda: spline(k=1 << 70),
    "a spline with knots out of order": lambda: spline(_t=np.arange(11.0)[::-1].copy()),
    "a spline of whole numbers": lambda: spline(_t=np.arange(11)),
    "a spline of nothing": lambda: spline(_t=None),
    "a linkage that leads outside": lambda: joined("left_node", 1 << 40),
    "a linkage that leads before": lambda: joined("right_node", -1),
    "clusters in circles": circle,
    "clusters of fewer features": narrow_cluster,
    "a million threads": lambda: changed(KMeans(2).fit(TABLE), _n_threads=10**6),
    "thresholds of unequal number": lambda: isotonic(X_thresholds_=np.zeros(3)),
    "thresholds in a list": lambda: isotonic(y_thresholds_=[1.0]),
    "a loss of text": lambda: loss("CyHuberLoss", "1"),
    "a loss of two numbers": lambda: loss("CyHuberLoss", 1.0, 2.0),
    "a loss too many": lambda: loss("CyHalfSquaredError", 1.0),
}


TAMPERED = {**TREES, **HISTOGRAMS, **SEARCHES, **GENERATORS, **MODELS}


def written(case: str, container: str) -> bytes:
    """Write a forged file, inside a model that is honest otherwise."""
    holder = RandomForestClassifier().set_params(max_depth=TAMPERED[case]())
    if container == "joblib":
        buffer = io.BytesIO()
        joblib.dump(holder, buffer)
        return buffer.getvalue()
    return pickle.dumps(holder, 4)


@pytest.mark.parametrize("container", ["joblib", "pickle"])
@pytest.mark.parametrize("case", TAMPERED)
def test_altered_state_is_refused_before_it_is_used(case: str, container: str) -> None:
    data = written(case, container)
    with pytest.raises(FormatRefused) as caught:
        pickle_gate.restore(data, DEFAULT_PICKLE_GLOBALS, joblib=container == "joblib", subject="churn:3")
    assert caught.value.code in ("pickle-refused", "format-content")
    assert "churn:3" in caught.value.message
    assert caught.value.hint


PROGRAM = """
import pathlib, sys
from vault.core.pickle_globals import DEFAULT_PICKLE_GLOBALS
from vault.errors import Refused
from vault.loaders import pickle_gate
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    print(path.name, end=" ", flush=True)
    try:
        pickle_gate.restore(path.read_bytes(), DEFAULT_PICKLE_GLOBALS, joblib=True)
    except Refused as refusal:
        print(refusal.code, flush=True)
    else:
        print("restored", flush=True)
"""


def test_altered_files_crash_no_process(tmp_path: Path) -> None:
    for index, case in enumerate(TAMPERED):
        (tmp_path / f"{index:03d}").write_bytes(written(case, "joblib"))
    (tmp_path / "honest").write_bytes(pickle.dumps(HISTOGRAM, 4))
    lines = in_child(PROGRAM, tmp_path)
    assert lines.pop() == "honest restored"
    assert {line.split(" ")[1] for line in lines} == {"pickle-refused", "format-content"}
    assert len(lines) == len(TAMPERED) > 150


def test_the_forged_files_differ_from_honest_ones_in_their_state_only() -> None:
    """What is refused above is refused for what was altered: the same files unaltered are restored."""
    honest = [
        tree(lambda state: None),
        again(KDTree(TABLE), lambda parts: None),
        again(BallTree(TABLE), lambda parts: None),
        metric("MinkowskiDistance64", 3.0, np.ones(4), SQUARE),
        metric("MahalanobisDistance64", 2.0, ONE, np.eye(4), BallTree),
        legacy(),
        bits("PCG64", PCG),
        philox(),
        seed(5, 0, POOL, 4, ()),
        neighbours(),
        spline(),
        isotonic(),
        loss("CyHuberLoss", 1.0),
    ]
    for value in honest:
        data = pickle.dumps([value], 4)
        assert pickle_trace.trace(data, joblib=False).globals <= DEFAULT_PICKLE_GLOBALS
        assert pickle_gate.restore(data, DEFAULT_PICKLE_GLOBALS, joblib=False)
