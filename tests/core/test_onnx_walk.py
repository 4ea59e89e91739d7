"""The ONNX walk: agrees with the onnx library on honest models, refuses what reaches outside the file."""

import random
import time
from typing import Any

import numpy as np
import onnx
import onnx.helper as make
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.core import onnx_walk
from vault.core.onnx_fields import MESSAGES, Kind
from vault.errors import FormatRefused

X = make.make_tensor_value_info("x", 1, [None, 2])
Y = make.make_tensor_value_info("y", 1, [None, 2])


def model(*nodes: Any, initializers: Any = (), opsets: Any = None, functions: Any = ()) -> onnx.ModelProto:
    graph = make.make_graph(
        nodes or [make.make_node("Identity", ["x"], ["y"])], "g", [X], [Y], list(initializers)
    )
    extra = {"opset_imports": opsets} if opsets else {}
    return make.make_model(graph, functions=list(functions), producer_name="tests", **extra)


def branch(*nodes: Any) -> onnx.GraphProto:
    return make.make_graph(nodes or [make.make_node("Identity", ["x"], ["z"])], "sub", [], [Y])


def refused(proto: Any, match: str = "") -> None:
    data = proto if isinstance(proto, bytes) else proto.SerializeToString()
    with pytest.raises(FormatRefused, match=match or None) as caught:
        onnx_walk.walk(data)
    assert caught.value.code == "format-content"


def expected(graph: onnx.GraphProto) -> tuple[set[tuple[str, str]], int]:
    found, count = set(), 0
    for node in graph.node:
        found.add((node.domain, node.op_type))
        count += 1
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                deeper, more = expected(inner)
                found |= deeper
                count += more
    return found, count


def sklearn_models() -> list[tuple[str, bytes]]:
    from skl2onnx import to_onnx
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingRegressor,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    data = rng.normal(size=(200, 4)).astype(np.float32)
    label = (data[:, 0] > 0).astype(int)
    found = []
    for estimator in (
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(10),
        GradientBoostingClassifier(n_estimators=10),
        HistGradientBoostingRegressor(max_iter=10),
    ):
        estimator.fit(data, label)
        converted = to_onnx(estimator, data[:1], target_opset={"": 17, "ai.onnx.ml": 3})
        found.append((type(estimator).__name__, converted.SerializeToString()))
    return found


def test_the_summary_is_what_the_onnx_library_sees() -> None:
    models = [("hand-made", model().SerializeToString()), *sklearn_models()]
    loop = make.make_node("If", ["c"], ["y"], then_branch=branch(), else_branch=branch())
    models.append(("branches", model(loop).SerializeToString()))
    for name, data in models:
        proto = onnx.load_from_string(data)
        summary = onnx_walk.walk(data)
        operators, nodes = expected(proto.graph)
        assert summary.operators == operators, name
        assert summary.nodes == nodes, name
        assert summary.ir_version == proto.ir_version
        assert summary.opsets == {entry.domain: entry.version for entry in proto.opset_import}
        assert summary.inputs == tuple(entry.name for entry in proto.graph.input)
        assert summary.outputs == tuple(entry.name for entry in proto.graph.output)
        assert proto.producer_name in summary.producer
        assert summary.initializers >= len(proto.graph.initializer)


def test_the_table_of_fields_is_that_of_the_onnx_library() -> None:
    names = {
        "Model": "ModelProto",
        "Opset": "OperatorSetIdProto",
        "Training": "TrainingInfoProto",
        "Graph": "GraphProto",
        "Node": "NodeProto",
        "Attribute": "AttributeProto",
        "Tensor": "TensorProto",
        "SparseTensor": "SparseTensorProto",
        "Function": "FunctionProto",
        "Value": "ValueInfoProto",
        "Type": "TypeProto",
        "Annotation": "TensorAnnotation",
        "Pair": "StringStringEntryProto",
        "Device": "DeviceConfigurationProto",
        "NodeDevice": "NodeDeviceConfigurationProto",
        "Sharding": "ShardingSpecProto",
        "ShardedDimension": "ShardedDimProto",
        "SimpleSharding": "SimpleShardedDimProto",
        "DeviceGroup": "IntIntListEntryProto",
        "Shape": "TensorShapeProto",
    }
    for ours, theirs in names.items():
        descriptor = getattr(onnx, theirs).DESCRIPTOR
        assert set(MESSAGES[ours]) == {entry.number for entry in descriptor.fields}, ours
        for entry in descriptor.fields:
            assert isinstance(MESSAGES[ours][entry.number], str) == (entry.message_type is not None) or (
                MESSAGES[ours][entry.number] is Kind.EXTERNAL
            ), (ours, entry.name)


def external() -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def plain(name: str = "w") -> onnx.TensorProto:
    return make.make_tensor(name, 1, [2], [1.0, 2.0])


def sparse(values: onnx.TensorProto, indices: onnx.TensorProto | None = None) -> onnx.SparseTensorProto:
    found = onnx.SparseTensorProto(dims=[2])
    found.values.CopyFrom(values)
    found.indices.CopyFrom(indices or make.make_tensor("i", 7, [2], [0, 1]))
    return found


def places(tensor: onnx.TensorProto) -> dict[str, onnx.ModelProto]:
    """Put one tensor into every place of a model where a tensor can be."""
    constant = make.make_node("Constant", [], ["y"], value=tensor)
    inside = make.make_node("If", ["c"], ["y"], then_branch=branch(constant), else_branch=branch())
    deep = make.make_node("If", ["c"], ["y"], then_branch=branch(inside), else_branch=branch())
    many = onnx.AttributeProto(name="ts", type=onnx.AttributeProto.TENSORS)
    many.tensors.append(tensor)
    graphs = onnx.AttributeProto(name="gs", type=onnx.AttributeProto.GRAPHS)
    graphs.graphs.append(branch(constant))
    one_sparse = onnx.AttributeProto(name="s", type=onnx.AttributeProto.SPARSE_TENSOR)
    one_sparse.sparse_tensor.CopyFrom(sparse(tensor))
    more_sparse = onnx.AttributeProto(name="ss", type=onnx.AttributeProto.SPARSE_TENSORS)
    more_sparse.sparse_tensors.append(sparse(plain(), tensor))

    def with_attribute(attribute: onnx.AttributeProto) -> onnx.ModelProto:
        node = make.make_node("Identity", ["x"], ["y"])
        node.attribute.append(attribute)
        return model(node)

    found = {
        "initializer": model(initializers=[tensor]),
        "attribute": model(constant),
        "subgraph": model(inside),
        "nested subgraph": model(deep),
        "tensors attribute": with_attribute(many),
        "graphs attribute": with_attribute(graphs),
        "sparse attribute": with_attribute(one_sparse),
        "sparse attributes": with_attribute(more_sparse),
    }
    for name, entry in (("sparse initializer", sparse(tensor)), ("sparse indices", sparse(plain(), tensor))):
        holder = model()
        holder.graph.sparse_initializer.append(entry)
        found[name] = holder
    function = make.make_function("ai.onnx", "f", ["x"], ["y"], [constant], [make.make_opsetid("", 17)])
    found["function"] = model(functions=[function])
    default = make.make_function("ai.onnx", "f", ["x"], ["y"], [], [make.make_opsetid("", 17)])
    default.attribute_proto.append(many)
    found["function attribute"] = model(functions=[default])
    for part in ("initialization", "algorithm"):
        training = model()
        getattr(training.training_info.add(), part).initializer.append(tensor)
        found["training " + part] = training
    return found


@pytest.mark.parametrize("place", places(external()))
def test_external_data_is_refused_in_every_place(place: str) -> None:
    onnx_walk.walk(places(plain())[place].SerializeToString())
    refused(places(external())[place], "outside the file")


def test_the_location_or_the_entries_alone_are_refused() -> None:
    for value in (onnx.TensorProto.DEFAULT, onnx.TensorProto.EXTERNAL):
        tensor = plain()
        tensor.data_location = value
        refused(model(initializers=[tensor]), "outside the file")
    tensor = plain()
    tensor.external_data.add().key = "location"
    refused(model(initializers=[tensor]), "outside the file")


def test_external_data_does_not_hide_behind_a_later_field() -> None:
    honest = model(initializers=[plain()]).SerializeToString()
    hostile = model(initializers=[external()])
    for first, second in ((honest, hostile.SerializeToString()), (hostile.SerializeToString(), honest)):
        refused(first + second, "outside the file")  # protobuf merges the two graphs


@pytest.mark.parametrize(
    "domain", ["com.microsoft", "evil", "ai.onnx.contrib", "ai.onnx.training", "AI.ONNX"]
)
def test_operators_of_other_domains_are_refused_in_every_place(domain: str) -> None:
    node = make.make_node("Evil", ["x"], ["y"], domain=domain)
    inside = make.make_node("If", ["c"], ["y"], then_branch=branch(node), else_branch=branch())
    function = make.make_function("ai.onnx", "f", ["x"], ["y"], [node], [make.make_opsetid("", 17)])
    named = make.make_function(domain, "f", ["x"], ["y"], [], [make.make_opsetid("", 17)])
    imports = make.make_function("ai.onnx", "f", ["x"], ["y"], [], [make.make_opsetid(domain, 1)])
    opaque = model()
    opaque.graph.value_info.add().type.opaque_type.domain = domain
    for proto in (
        model(node),
        model(inside),
        model(functions=[function]),
        model(functions=[named]),
        model(functions=[imports]),
        model(opsets=[make.make_opsetid("", 17), make.make_opsetid(domain, 1)]),
        opaque,
    ):
        refused(proto, "domain")
        summary = onnx_walk.walk(proto.SerializeToString(), domains=onnx_walk.STANDARD_DOMAINS | {domain})
        assert domain in summary.domains


def test_a_repeated_domain_is_checked_each_time() -> None:
    node = make.make_node("Evil", ["x"], ["y"], domain="evil").SerializeToString() + b"\x3a\x00"
    graph = branch().SerializeToString() + b"\x0a" + bytes([len(node)]) + node
    data = model().SerializeToString() + b"\x3a" + bytes([len(graph)]) + graph
    assert onnx.load_from_string(data).graph.node[-1].domain == ""  # readers keep the last one
    refused(data, "domain")


def test_settings_in_the_model_and_compiled_models_are_refused() -> None:
    proto = model()
    entry = proto.metadata_props.add()
    entry.key, entry.value = "ort_config", "{}"
    refused(proto, "ort_config")
    refused(b"\x18\x00\x00\x00ORTM" + bytes(100), "compiled")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        b"\xff" * 20,
        b"\x3a\xff\xff\xff\xff\x0f",
        b"\x0b\x0c",
        b"\x08\x88\x00",
        b"\x08" + b"\x80" * 10 + b"\x01",
        b"\x00\x01",
        b"\x07\x01",
        b"\xfa\x01\x00",
        b"\x3d\x00\x00\x00\x00",
    ],
)
def test_broken_encodings_are_refused(data: bytes) -> None:
    refused(data)
    if data:
        refused(model().SerializeToString() + data)


def test_nesting_beyond_the_limit_is_refused() -> None:
    node = make.make_node("Identity", ["x"], ["y"])
    for _ in range(25):  # three messages each; protobuf itself stops at 100
        node = make.make_node("If", ["c"], ["y"], then_branch=branch(node))
    refused(model(node), "deeply")
    deep = b""
    for _ in range(2_000):
        deep = (
            b"\x22" + _varint(len(deep) + 2 + len(_varint(len(deep)))) + b"\x0a" + _varint(len(deep)) + deep
        )
    refused(b"\x3a" + _varint(len(deep)) + deep)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def test_a_large_tensor_costs_nothing_and_many_nodes_little() -> None:
    weights = make.make_tensor("w", 1, [25 << 20], bytes(100 << 20), raw=True)
    data = model(initializers=[weights]).SerializeToString()
    began = time.perf_counter()
    onnx_walk.walk(data)
    assert time.perf_counter() - began < 0.1
    data = model(*[make.make_node("Relu", ["x"], ["y"]) for _ in range(20_000)]).SerializeToString()
    began = time.perf_counter()
    assert onnx_walk.walk(data).nodes == 20_000
    assert time.perf_counter() - began < 2


def test_every_truncation_of_a_model_is_refused_or_is_a_smaller_model() -> None:
    data = model(initializers=[plain()]).SerializeToString()
    for length in range(len(data)):
        try:
            onnx_walk.walk(data[:length])
        except FormatRefused:
            continue
        onnx.load_from_string(data[:length])


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_changed_bytes_never_hide_what_the_library_would_see(draw: st.DataObject) -> None:
    evil = make.make_node("Evil", ["x"], ["y"], domain="evil")
    base = bytearray(model(evil, initializers=[external()]).SerializeToString())
    for _ in range(draw.draw(st.integers(1, 4))):
        base[draw.draw(st.integers(0, len(base) - 1))] = draw.draw(st.integers(0, 255))
    data = bytes(base)
    try:
        summary = onnx_walk.walk(data)
    except FormatRefused:
        return
    proto = onnx.load_from_string(data)
    assert expected(proto.graph)[0] <= summary.operators
    assert not any(tensor.external_data or tensor.data_location for tensor in proto.graph.initializer)


def test_random_bytes_are_refused() -> None:
    source = random.Random(0)
    for _ in range(300):
        with pytest.raises(FormatRefused):
            onnx_walk.walk(source.randbytes(source.randrange(200)))
