"""The walk of a skops file: sees at least what skops sees, and refuses every shape skops does not write."""

import datetime
import io
import json
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from vault.core import skops_walk
from vault.core.skops_types import COMPILED_LOSSES, DEFAULT_SKOPS_TYPES
from vault.errors import FormatRefused, Malformed, Refused

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(120, 4))
LABEL = (DATA[:, 0] + DATA[:, 1] > 0).astype(int)

MODELS = [
    make_pipeline(StandardScaler(), LogisticRegression()),
    RandomForestClassifier(5, random_state=np.random.RandomState(1)),
    GradientBoostingClassifier(n_estimators=5),
    HistGradientBoostingClassifier(max_iter=5),
    IsolationForest(n_estimators=5),
    KNeighborsClassifier(),
    Ridge(),
    SGDClassifier(),
    SVC(),
    GridSearchCV(Ridge(), {"alpha": [0.1, 1]}, cv=3),
]
VALUES = [
    {"a": 1, "b": [1.5, None, "x", True]},
    {1: "one", 2.5: "half"},
    OrderedDict(a=1),
    defaultdict(list, a=[1]),
    {1, 2},
    (1, (2,)),
    b"bytes",
    bytearray(b"more"),
    slice(1, 2),
    np.array(["x", None, {}], dtype=object),
    np.ma.masked_array([1, 2], [True, False]),
    np.dtype("f4"),
    np.random.RandomState(0),
    np.random.default_rng(0),
    scipy.sparse.csr_matrix(np.eye(3)),
    np.float32(1.5),
    datetime.UTC,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_models_pass_and_every_type_skops_distrusts_is_pinned(model: Any) -> None:
    model.fit(DATA, LABEL)
    data = skops.io.dumps(model)
    summary = skops_walk.walk(data)
    assert set(skops.io.get_untrusted_types(data=data)) <= set(summary.pins)
    assert set(summary.pins) <= DEFAULT_SKOPS_TYPES
    assert f"{type(model).__module__}.{type(model).__name__}" in summary.pins
    assert summary.protocol == skops_walk.PROTOCOL


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_plain_values_pass(value: Any) -> None:
    data = skops.io.dumps(value)
    summary = skops_walk.walk(data)
    assert set(skops.io.get_untrusted_types(data=data)) <= set(summary.pins)
    assert set(summary.pins) <= DEFAULT_SKOPS_TYPES


def test_the_losses_are_those_that_skops_trusts() -> None:
    from skops.io import _sklearn

    ours = {name for names in COMPILED_LOSSES.values() for name in names.split()}
    assert {loss.__name__ for loss in _sklearn.ALLOWED_LOSSES} <= ours


def test_functions_are_pinned_by_name() -> None:
    summary = skops_walk.walk(skops.io.dumps(FunctionTransformer(func=np.log1p)))
    assert any(name.endswith("log1p") for name in summary.functions)
    assert summary.functions <= set(summary.pins)


DUMPED = skops.io.dumps(
    {"a": [1], "x": np.arange(3), "e": StandardScaler().fit(DATA), "r": np.random.default_rng(1)}
)


def rebuilt(change: Callable[[dict[str, Any]], object], extra: dict[str, bytes] | None = None) -> bytes:
    """Change the schema of a good file and pack it again."""
    source = zipfile.ZipFile(io.BytesIO(DUMPED))
    schema = json.loads(source.read("schema.json"))
    change(schema)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, json.dumps(schema) if name == "schema.json" else source.read(name))
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return buffer.getvalue()


def refused(data: bytes, match: str | None = None) -> None:
    with pytest.raises(FormatRefused, match=match) as caught:
        skops_walk.walk(data)
    assert caught.value.code == "format-content"


def node(loader: str, name: str = "builtins.str", identity: int = 99, **fields: Any) -> dict[str, Any]:
    module, _, cls = name.rpartition(".")
    return {"__class__": cls, "__module__": module, "__loader__": loader, "__id__": identity, **fields}


def put(value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda schema: schema["content"].update(a=value)


def test_rebuilding_without_a_change_passes() -> None:
    skops_walk.walk(rebuilt(lambda schema: None))


@pytest.mark.parametrize("protocol", [0, 1, 3, -1, True, "2", None, 2.0])
def test_another_protocol_is_refused(protocol: Any) -> None:
    refused(rebuilt(lambda schema: schema.update(protocol=protocol)), "protocol")


STR = node("JsonNode", content='"id"', is_json=True, identity=98)
TUPLE = node("TupleNode", "builtins.tuple", content=[STR], identity=97)
HOSTILE: dict[str, Any] = {
    "method": node("MethodNode", "os.path", content={"func": "system", "obj": STR}),
    "operator": node("OperatorFuncNode", "operator.methodcaller", attrs=TUPLE),
    "cached": node("CachedNode"),
    "quantile forest": node("QuantileForestNode"),
    "unknown": node("EvalNode"),
    "no loader": {"__class__": "str", "__module__": "builtins", "__id__": 5},
    "no identity": {"__class__": "str", "__module__": "builtins", "__loader__": "TypeNode"},
    "partial": node(
        "PartialNode",
        "functools.partial",
        content={
            "func": node("FunctionNode", "numpy.absolute", identity=90),
            "args": TUPLE,
            "kwds": node("JsonNode", content="{}", is_json=True, identity=91),
            "namespace": node("JsonNode", content="null", is_json=True, identity=92),
        },
    ),
    "function": node("FunctionNode", "os.system"),
    "posix function": node("FunctionNode", "posix.system"),
    "dotted function": node("FunctionNode", "numpy.os.system"),
    "numpy.load": node("FunctionNode", "numpy.load"),
    "getattr": node("FunctionNode", "builtins.getattr"),
    "type": node("TypeNode", "subprocess.Popen"),
    "object": node("ObjectNode", "subprocess.Popen"),
    "object of a plain type": node("ObjectNode", "builtins.str"),
    "datasets": node("ObjectNode", "sklearn.datasets._base.load_files"),
    "constructor": node("ConstructorFromReduceNode", "subprocess.Popen", content=TUPLE),
    "constructor of an estimator": node(
        "ConstructorFromReduceNode", "sklearn.linear_model._base.LinearRegression", content=TUPLE
    ),
    "list of another type": node("ListNode", "subprocess.Popen", content=[STR]),
    "dict of another type": node("DictNode", "sklearn.pipeline.Pipeline", content={}, key_types=STR),
    "array of another type": node("NdArrayNode", "os.system", type="numpy", file="x.npy"),
    "tree of another type": node("TreeNode", "os.system", content=STR, __reduce__={"args": TUPLE}),
    "loss of another type": node(
        "LossNode", "sklearn.tree._tree.Tree", content=STR, __reduce__={"args": TUPLE}
    ),
    "generator by name": node(
        "RandomGeneratorNode",
        "numpy.random._generator.Generator",
        content={"bit_generator": STR, "seed_seq": STR},
    ),
    "slice of text": node("SliceNode", "builtins.slice", content={"start": "a", "stop": None, "step": None}),
    "missing member": node("BytesNode", "builtins.bytes", file="gone.bin"),
    "the schema as a member": node("BytesNode", "builtins.bytes", file="schema.json"),
    "surplus field": node("TypeNode", extra=1),
    "broken JSON": node("JsonNode", content="{", is_json=True),
    "deep JSON": node("JsonNode", content="[" * 100_000, is_json=True),
    "text": "x",
    "list": [],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_nodes_are_refused(case: str) -> None:
    refused(rebuilt(put(HOSTILE[case])))


def test_keys_are_never_turned_into_calls() -> None:
    for name in ("os.system", "sklearn.pipeline.Pipeline", "builtins.list"):
        types = node("ListNode", "builtins.list", 80, content=[node("TypeNode", name, 81)])
        refused(
            rebuilt(put(node("DictNode", "builtins.dict", content={"id": STR}, key_types=types))),
            "keys|never",
        )


def test_one_identity_is_one_object() -> None:
    def change(schema: dict[str, Any]) -> None:
        first = schema["content"]["a"]
        schema["content"]["a"] = node("TypeNode", "builtins.str", first["__id__"])
        schema["content"]["x"]["__id__"] = first["__id__"]

    refused(rebuilt(change), "one object")


def test_members_that_nothing_refers_to_are_refused() -> None:
    refused(rebuilt(lambda schema: None, {"payload.pkl": b"\x80\x04."}), "belongs to no part")


def test_arrays_of_objects_are_refused() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    array = node("NdArrayNode", "numpy.ndarray", type="numpy", file="o.npy")
    refused(rebuilt(put(array), {"o.npy": buffer.getvalue()}), "objects")


def test_arrays_of_objects_inside_a_sparse_matrix_are_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, data=np.array([{}], dtype=object))
    matrix = node("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", type="scipy", file="s.npz")
    refused(rebuilt(put(matrix), {"s.npz": buffer.getvalue()}), "objects")
    with pytest.raises(Malformed):
        skops_walk.walk(rebuilt(put(matrix), {"s.npz": b"not a zip"}))


def test_a_generator_of_another_name_is_refused() -> None:
    def change(schema: dict[str, Any]) -> None:
        name = schema["content"]["r"]["content"]["bit_generator"]["content"]["bit_generator"]
        name["content"] = '"seed"'

    refused(rebuilt(change), "bit generator")


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":2}', "[]", "", "{", "NaN", '{"protocol":2,"x":NaN}', "[" * 200_000, "\ufeff{}", '"x"'],
)
def test_a_schema_that_is_not_strict_json_is_refused(text: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("schema.json", text)
    refused(buffer.getvalue())


def test_a_deep_tree_is_refused_without_a_recursion_error() -> None:
    value: Any = STR
    for index in range(400):
        value = node("ListNode", "builtins.list", 1_000 + index, content=[value])
    refused(rebuilt(put(value)), "deeply|strict JSON")


def test_no_schema_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.json", "{}")
    refused(buffer.getvalue(), r"schema\.json")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_changed_schema_never_hides_a_type_from_the_pins(draw: st.DataObject) -> None:
    names = [
        "builtins",
        "os",
        "sklearn.pipeline",
        "numpy",
        "ndarray",
        "system",
        "ObjectNode",
        "TypeNode",
        "dict",
        1,
        None,
    ]

    def change(schema: dict[str, Any]) -> None:
        nodes: list[dict[str, Any]] = []
        pending: list[Any] = [schema]
        while pending:
            item = pending.pop()
            if isinstance(item, dict):
                nodes.append(item)
                pending.extend(item.values())
            elif isinstance(item, list):
                pending.extend(item)
        for _ in range(draw.draw(st.integers(1, 3))):
            chosen = nodes[draw.draw(st.integers(0, len(nodes) - 1))]
            if chosen:
                key = draw.draw(st.sampled_from(sorted(chosen)))
                chosen[key] = draw.draw(st.sampled_from(names))

    data = rebuilt(change)
    try:
        summary = skops_walk.walk(data)
    except Refused:
        return
    assert set(skops.io.get_untrusted_types(data=data)) <= set(summary.pins)
