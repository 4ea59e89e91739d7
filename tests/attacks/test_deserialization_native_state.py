"""State that crashes compiled code when it is used: refused after restoring and before any use.

Each tampered model is restored in a child, so that a crash would be seen as one.
"""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.neighbors import BallTree, KDTree, KNeighborsClassifier
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tests.attacks.deserialization_watch import in_child
from vault.core import native_state
from vault.errors import FormatRefused
from vault.loaders import skops

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(200, 4))
LABEL = np.digitize(TABLE[:, 0], [-0.5, 0.5])


def tree() -> Any:
    return DecisionTreeClassifier(max_depth=4).fit(TABLE, LABEL)


def with_nodes(change: Callable[[Any], None], model: Any = None) -> Any:
    """Restore a tree from a state that was changed on the way."""
    model = model or tree()
    state = model.tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    change(state)
    model.tree_.__setstate__(state)
    return model


def node(field: str, value: int, index: int = 0) -> Callable[[Any], None]:
    def change(state: Any) -> None:
        state["nodes"][field][index] = value

    return change


def histogram(change: Callable[[Any], None]) -> Any:
    model = HistGradientBoostingClassifier(max_iter=2).fit(TABLE, LABEL)
    change(model._predictors[0][0])
    return model


def categorical(change: Callable[[Any], None]) -> Any:
    table = np.c_[TABLE[:, :2], LABEL]
    model = HistGradientBoostingClassifier(max_iter=2, categorical_features=[2]).fit(table, LABEL)
    for stage in model._predictors:
        for predictor in stage:
            change(predictor)
    return model


def search_tree(kind: Any, change: Callable[[list[Any]], None]) -> Any:
    found = kind(TABLE, leaf_size=5)
    state = [np.asarray(part).copy() if hasattr(part, "shape") else part for part in found.__getstate__()]
    change(state)
    found.__setstate__(tuple(state))
    return found


def setting(index: int, value: Any) -> Callable[[list[Any]], None]:
    return lambda state: state.__setitem__(index, value)


def item(index: int, at: Any, value: Any) -> Callable[[list[Any]], None]:
    return lambda state: state[index].__setitem__(at, value)


def attributes(model: Any, **values: Any) -> Any:
    vars(model).update(values)
    return model


def boosted(**values: Any) -> Any:
    return attributes(GradientBoostingClassifier(n_estimators=2).fit(TABLE, LABEL), **values)


def random_state(**state: Any) -> Any:
    found = np.random.RandomState(0)
    inner = found.get_state(legacy=False)
    inner["state"].update(state)
    found.set_state(inner)
    return found


def sparse(kind: str, **parts: Any) -> Any:
    found = scipy.sparse.random(6, 5, 0.5, format=kind, random_state=0)
    for name, value in parts.items():
        getattr(found, name)[:] = value
    return found


def svc(**values: Any) -> Any:
    return attributes(SVC().fit(TABLE, LABEL), **values)


def words(**columns: int) -> Any:
    return attributes(CountVectorizer().fit(["a word"]), vocabulary_=columns)


def wider() -> Any:
    forest = RandomForestClassifier(2).fit(TABLE, LABEL)
    forest.estimators_[0].tree_ = DecisionTreeClassifier().fit(np.c_[TABLE, TABLE], LABEL).tree_
    return forest


def narrow_dummy() -> Any:
    model = boosted()
    model.init_ = DummyClassifier(strategy="prior").fit(TABLE, LABEL > 0)
    return model


def set_left(predictor: Any) -> None:
    predictor.nodes["left"][0] = 60_000


def set_back(predictor: Any) -> None:
    predictor.nodes["right"][0] = 0


def set_feature(predictor: Any) -> None:
    predictor.nodes["feature_idx"][0] = 1 << 40


def set_category(predictor: Any) -> None:
    predictor.nodes["is_categorical"][0] = 1
    predictor.nodes["is_leaf"][0] = 0


def set_bitset(predictor: Any) -> None:
    predictor.nodes["bitset_idx"][:] = 4_000_000


def set_nothing(predictor: Any) -> None:
    predictor.nodes = predictor.nodes[:0]


TAMPERED: dict[str, Callable[[], Any]] = {
    "left child out of range": lambda: with_nodes(node("left_child", 1 << 40)),
    "right child out of range": lambda: with_nodes(node("right_child", 10_000)),
    "negative child": lambda: with_nodes(node("right_child", -7)),
    "a child that is its own parent": lambda: with_nodes(node("left_child", 0)),
    "feature out of range": lambda: with_nodes(node("feature", 1 << 40)),
    "negative feature": lambda: with_nodes(node("feature", -9)),
    "more nodes than there are": lambda: with_nodes(lambda state: state.update(node_count=1 << 30)),
    "no nodes": lambda: with_nodes(lambda state: state.update(node_count=0)),
    "impossible depth": lambda: with_nodes(lambda state: state.update(max_depth=1 << 40)),
    "a tree of other features in a forest": wider,
    "more trees in a stage than scores": lambda: boosted(n_trees_per_iteration_=1),
    "fewer trees in a stage than scores": lambda: boosted(n_trees_per_iteration_=7),
    "a first guess of another width": narrow_dummy,
    "a stage of other features": lambda: boosted(n_features_in_=9),
    "histogram child out of range": lambda: histogram(set_left),
    "histogram child before its parent": lambda: histogram(set_back),
    "histogram feature out of range": lambda: histogram(set_feature),
    "a number split as a category": lambda: histogram(set_category),
    "histogram without nodes": lambda: histogram(set_nothing),
    "category set out of range": lambda: categorical(set_bitset),
    "KD tree point out of range": lambda: search_tree(KDTree, item(1, 0, 1 << 40)),
    "KD tree negative point": lambda: search_tree(KDTree, item(1, 0, -1)),
    "KD tree node outside its points": lambda: search_tree(KDTree, item(2, 0, (0, 1 << 40, 0, 1.0))),
    "KD tree last level that goes on": lambda: search_tree(KDTree, item(2, -1, (0, 1, 0, 1.0))),
    "KD tree with too many nodes": lambda: search_tree(KDTree, setting(6, 1 << 40)),
    "KD tree with too many levels": lambda: search_tree(KDTree, setting(5, 60)),
    "KD tree bounds of other features": lambda: search_tree(KDTree, setting(3, np.zeros((2, 3, 1)))),
    "ball tree point out of range": lambda: search_tree(BallTree, item(1, 0, 1 << 40)),
    "ball tree without points": lambda: search_tree(BallTree, setting(0, np.zeros((0, 4)))),
    "sparse column out of range": lambda: sparse("csr", indices=1 << 30),
    "sparse row out of range": lambda: sparse("csc", indices=1 << 30),
    "sparse rows out of order": lambda: sparse("csr", indptr=[0, 9, 1, 9, 2, 9, 3]),
    "sparse rows beyond the data": lambda: sparse("csr", indptr=[0, 1, 2, 3, 4, 5, 1 << 30]),
    "sparse coordinates out of range": lambda: sparse("coo", row=1 << 30),
    "generator beyond its state": lambda: random_state(pos=1 << 30),
    "generator before its state": lambda: random_state(pos=-5),
    "fewer coefficients than vectors": lambda: svc(_dual_coef_=np.zeros((2, 1))),
    "fewer vectors than coefficients": lambda: svc(support_vectors_=np.zeros((1, 4))),
    "vectors of other features": lambda: svc(support_vectors_=np.zeros((1, 1))),
    "more vectors per class than vectors": lambda: svc(_n_support=np.array([1000, 1, 1], dtype=np.int32)),
    "more classes than coefficients": lambda: svc(_n_support=np.ones(40, dtype=np.int32)),
    "fewer intercepts than pairs": lambda: svc(_intercept_=np.zeros(1)),
    "centres of other features": lambda: attributes(
        KMeans(2, n_init=1).fit(TABLE), cluster_centers_=np.zeros((2, 1))
    ),
    "a word beyond the columns": lambda: attributes(
        CountVectorizer().fit(["a word"]), vocabulary_={"word": 1 << 30}
    ),
    "two words in one column": lambda: attributes(
        CountVectorizer().fit(["a word"]), vocabulary_={"word": 0, "a": 0}
    ),
    "a category beyond the columns": lambda: attributes(
        OneHotEncoder().fit([["a"], ["b"], ["c"]]), _n_features_outs=[1]
    ),
    "attributes of another kind": lambda: attributes(tree(), tree_="x"),
    "attributes that are missing": lambda: attributes(SVC().fit(TABLE, LABEL), _n_support=None),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_state_is_refused_when_checked(case: str) -> None:
    with pytest.raises(FormatRefused) as caught:
        native_state.check(TAMPERED[case](), subject="churn:3")
    assert caught.value.code == "format-content"
    assert caught.value.message.startswith("churn:3 was not loaded")


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_state_is_found_however_deep_it_lies(case: str) -> None:
    holder = KNeighborsClassifier().set_params(n_neighbors=3)
    vars(holder)["deep"] = [{"x": (np.array([TAMPERED[case](), None], dtype=object),)}]
    with pytest.raises(FormatRefused):
        native_state.check(holder)


PROGRAM = """
import pathlib, sys
from vault.core import skops_types
from vault.errors import Refused
from vault.loaders import skops
import numpy
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    print(path.name, end=" ", flush=True)
    try:
        model = skops.restore(memoryview(path.read_bytes()), skops_types.DEFAULT_SKOPS_TYPES, subject="m")
    except Refused as refusal:
        print(refusal.code, flush=True)
    else:
        print("restored", flush=True)
        getattr(model, "predict", str)(numpy.zeros((3, 4)))
"""


def claiming(count: int) -> bytes:
    """A skops file whose tree claims another number of nodes; writing such a tree would crash by itself."""
    source = zipfile.ZipFile(io.BytesIO(skops.dump(tree())[0]))
    schema = json.loads(source.read("schema.json"))
    schema["content"]["content"]["tree_"]["content"]["content"]["node_count"]["content"] = str(count)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, json.dumps(schema) if name == "schema.json" else source.read(name))
    return buffer.getvalue()


def test_tampered_skops_files_are_refused_and_crash_nothing(tmp_path: Path) -> None:
    written = ["claim"]
    (tmp_path / "claim").write_bytes(claiming(-1))
    (tmp_path / "clamped").write_bytes(claiming(1 << 30))  # a fresh Tree lowers the claim to what is there
    for index, case in enumerate(TAMPERED):
        if case == "more nodes than there are":
            continue
        try:
            data, _ = skops.dump(TAMPERED[case]())
        except ValueError:
            continue  # skops does not write every one of them
        (tmp_path / f"{index:02d}").write_bytes(data)
        written.append(f"{index:02d}")
    (tmp_path / "honest").write_bytes(skops.dump(tree())[0])
    lines = in_child(PROGRAM, tmp_path)
    assert sorted(lines) == sorted(
        [*[f"{name} format-content" for name in written], "clamped restored", "honest restored"]
    )
    assert len(written) > 30


def test_compiled_state_without_a_check_is_refused() -> None:
    import re

    for value in (re.compile("a"), memoryview(b"x"), iter([1]), np.random.SeedSequence):
        holder = [value]
        if isinstance(value, type):
            native_state.check(holder)
            continue
        with pytest.raises(FormatRefused):
            native_state.check(holder)


def test_recursive_and_shared_objects_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    native_state.check(loop)
    native_state.check([loop] * 1000)
    deep: Any = None
    for _ in range(100_000):
        deep = (deep,)
    native_state.check([deep])


def test_honest_models_pass_through_a_pickle_of_cpython_too() -> None:
    for model in (
        tree(),
        boosted(),
        histogram(lambda predictor: None),
        categorical(lambda predictor: None),
        svc(),
    ):
        native_state.check(pickle.loads(pickle.dumps(model)))
    for kind in (KDTree, BallTree):
        native_state.check(search_tree(kind, lambda state: None))
    for layout in ("csr", "csc", "coo", "bsr", "dia"):
        native_state.check(sparse(layout))
