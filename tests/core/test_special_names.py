"""Names of attributes, and parts of a skops file that are permitted in one place only."""

import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.cluster import BisectingKMeans
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (it adds the class)
from sklearn.feature_extraction import FeatureHasher
from sklearn.impute import IterativeImputer
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from vault.core import native_state, skops_loaders, skops_walk
from vault.errors import FormatRefused

TABLE = np.random.default_rng(0).normal(size=(30, 3))


def node(loader: str, name: str, identity: int, **fields: Any) -> dict[str, Any]:
    module, _, kind = name.rpartition(".")
    return {"__class__": kind, "__module__": module, "__loader__": loader, "__id__": identity, **fields}


NOTHING = node("ListNode", "builtins.list", 2, content=[])
NULL = node("JsonNode", "builtins.str", 3, content="null", is_json=True)
ONE = node("JsonNode", "builtins.str", 4, content="1", is_json=True)
RIDGE = "sklearn.linear_model._ridge.Ridge"
BISECTING = "sklearn.cluster._bisect_k_means.BisectingKMeans"
LOOP = "sklearn.cluster._kmeans._kmeans_single_lloyd"
TRIPLET = "sklearn.impute._iterative._ImputerTriplet"


def attributes(identity: int = 5, kind: str = "builtins.dict", **content: Any) -> dict[str, Any]:
    return node("DictNode", kind, identity, key_types=NOTHING, content=content)


def instance(state: Any, name: str = RIDGE, identity: int = 1) -> dict[str, Any]:
    return node("ObjectNode", name, identity, content=state)


def walk(root: dict[str, Any]) -> skops_walk.SkopsSummary:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("schema.json", json.dumps({**root, "protocol": 2, "_skops_version": "0.16"}))
    return skops_walk.walk(packed.getvalue())


@pytest.mark.parametrize(
    ("root", "why"),
    [
        (instance(attributes(__array_interface__=NULL)), "name is special"),
        (instance(attributes(alpha=ONE, __dict__=NULL)), "name is special"),
        (attributes(kind=skops_loaders.BUNCH, __array_struct__=NULL), "name is special"),
        (instance(1), "not a node"),
        (instance(ONE), "Ridge a state that is not attributes"),
        (instance(NOTHING), "not attributes"),
        (instance(attributes(kind="collections.OrderedDict")), "not attributes"),
        (instance(node("TupleNode", "builtins.tuple", 6, content=[])), "not attributes"),
        (instance(node("DictNode", "builtins.dict", 6, key_types=NOTHING, content=[])), "not an object"),
        (instance(node("DictNode", "builtins.dict", 6, key_types=NOTHING, content=[]), BISECTING), "object"),
        (node("FunctionNode", LOOP, 1), "elsewhere than scikit-learn does"),
        (instance(attributes(_kmeans_single=node("FunctionNode", LOOP, 6))), "elsewhere"),
        (instance(attributes(func=node("FunctionNode", LOOP, 6)), BISECTING), "elsewhere"),
        (node("TupleNode", TRIPLET, 1, content=[NULL, NULL]), "number of parts"),
        (node("TupleNode", TRIPLET, 1, content={}), "number of parts"),
        (node("ListNode", TRIPLET, 1, content=[NULL] * 3), "not made for it"),
        (node("TupleNode", "sklearn.a._Other", 1, content=[NULL] * 3), "not made for it"),
    ],
)
def test_what_scikit_learn_does_not_write_is_refused(root: dict[str, Any], why: str) -> None:
    with pytest.raises(FormatRefused, match=why):
        walk(root)


def test_one_node_in_two_places_is_permitted_in_its_own_only() -> None:
    loop = node("FunctionNode", LOOP, 6)
    honest = instance(attributes(_kmeans_single=loop), BISECTING, 7)
    assert walk(honest).functions == {LOOP}
    for state in (attributes(8, func=loop), attributes(8, _kmeans_single=loop)):
        twice = node("ListNode", "builtins.list", 9, content=[honest, instance(state, identity=10)])
        with pytest.raises(FormatRefused, match="elsewhere"):
            walk(twice)


def test_honest_states_pass() -> None:
    assert walk(instance(None)).types >= {RIDGE}
    assert walk(instance(NULL)).types >= {RIDGE}
    assert walk(instance(attributes(alpha=ONE))).types >= {RIDGE}
    assert walk(instance(attributes(__doc__=NULL))).types >= {RIDGE}  # as SciPy's distributions have one
    assert walk(instance(attributes(alpha=ONE), BISECTING)).types >= {BISECTING}
    assert walk(attributes(__array_interface__=NULL)).nodes  # a key of a dict is no attribute
    assert TRIPLET in walk(node("TupleNode", TRIPLET, 1, content=[NULL] * 3)).pins


@pytest.mark.parametrize(
    "model",
    [BisectingKMeans(2), IterativeImputer(max_iter=1), NearestNeighbors(algorithm="kd_tree")],
    ids=lambda model: type(model).__name__,
)
def test_honest_models_with_such_parts_pass(model: Any) -> None:
    assert skops_walk.walk(skops.io.dumps(model.fit(TABLE))).pins


def test_a_bit_generator_is_named_where_skops_reads_it() -> None:
    named = {"content": {"bit_generator": {"content": '"PCG64"'}}}
    assert skops_loaders.names_bit_generator(named)
    others: list[Any] = [{}, {"content": []}, {"content": {"bit_generator": {"content": "1 2"}}}, None]
    for other in others:
        assert not skops_loaders.names_bit_generator(other)
    for text in ('"os.system"', "[]", "{}", "null"):
        assert not skops_loaders.names_bit_generator({"content": {"bit_generator": {"content": text}}})


def test_a_restored_model_has_no_special_attributes() -> None:
    native_state.check([StandardScaler().fit(TABLE), StandardScaler(), Ridge(), Bunch(data=1)])
    inside = StandardScaler()
    vars(inside)["__doc__"] = "a text"
    native_state.check(inside)
    vars(inside)["__array_interface__"] = {}
    for tampered in (inside, [Ridge(), {"a": inside}], Bunch(__array_struct__=1)):
        with pytest.raises(FormatRefused, match="name is special"):
            native_state.check(tampered)


@pytest.mark.parametrize("columns", [0, -1, 2**31, 1.0, "1", None, [1]])
def test_words_are_not_hashed_to_no_columns(columns: Any) -> None:
    model = FeatureHasher(8)
    native_state.check(model)
    model.n_features = np.int32(8)
    native_state.check(model)
    model.n_features = columns
    with pytest.raises(FormatRefused):
        native_state.check(model)
