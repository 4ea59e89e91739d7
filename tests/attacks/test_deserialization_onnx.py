"""ONNX models that read files or name foreign code: refused before ONNX Runtime sees a byte."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as make
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.deserialization_watch import watched
from tests.core.test_onnx_walk import branch, model, places, plain, sparse
from vault.core import onnx_walk, static_stage
from vault.core.allowance import Allowance
from vault.errors import FormatRefused, Refused

onnx_walk.walk(model().SerializeToString())


def refused(proto: onnx.ModelProto) -> str:
    data = proto.SerializeToString()
    with watched() as events, pytest.raises(Refused) as caught:
        static_stage.check("m.onnx", "onnx", memoryview(data), frozenset(), Allowance(), "m.onnx")
    assert events == []
    return caught.value.code


def outside(location: str, name: str = "w") -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


@pytest.mark.parametrize(
    "location",
    [
        "weights.bin",
        "/etc/passwd",
        "../../etc/passwd",
        "a/../../b",
        "file:///etc/passwd",
        "",
        "\\\\host\\share",
        "*/_ORT_MEM_ADDR_/*",
    ],
)
@pytest.mark.parametrize("place", places(plain()))
def test_external_data_in_any_place_and_by_any_name(location: str, place: str) -> None:
    assert refused(places(outside(location))[place]) == "format-content"


def test_external_data_that_exists_linked_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(2, dtype=np.float32).tobytes())
    (tmp_path / "soft.bin").symlink_to(secret)
    (tmp_path / "hard.bin").hardlink_to(secret)
    for location in ("secret.bin", "soft.bin", "hard.bin", str(secret)):
        assert refused(model(initializers=[outside(location)])) == "format-content"
        holder = model()
        holder.graph.sparse_initializer.append(sparse(outside(location)))
        assert refused(holder) == "format-content"


def test_custom_domains_and_functions() -> None:
    evil = make.make_node("PyCustomOp", ["x"], ["y"], domain="ai.onnx.contrib")
    nested = make.make_node("If", ["c"], ["y"], then_branch=branch(evil), else_branch=branch())
    scan = make.make_node("Scan", ["x"], ["y"], body=branch(nested), num_scan_inputs=1)
    for proto in (model(evil), model(nested), model(scan)):
        assert refused(proto) == "format-content"


def test_a_domain_that_only_the_artifact_allows() -> None:
    data = model(make.make_node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")).SerializeToString()
    pins = frozenset({"com.microsoft"})
    with pytest.raises(FormatRefused) as caught:
        static_stage.check("m.onnx", "onnx", memoryview(data), pins, Allowance(), "m.onnx")
    assert caught.value.code == "format-content"
    static_stage.check("m.onnx", "onnx", memoryview(data), pins, Allowance(onnx_domains=pins), "m.onnx")


def test_models_nested_in_attributes() -> None:
    """A whole model as a string attribute is data; as a graph it is walked."""
    inner = model(initializers=[outside("/etc/passwd")])
    node = make.make_node("Identity", ["x"], ["y"])
    attribute = onnx.AttributeProto(name="body", type=onnx.AttributeProto.GRAPH)
    attribute.g.CopyFrom(inner.graph)
    node.attribute.append(attribute)
    assert refused(model(node)) == "format-content"


def test_two_models_in_one_file() -> None:
    honest = model(initializers=[plain()]).SerializeToString()
    hostile = model(initializers=[outside("/etc/passwd")]).SerializeToString()
    for data in (honest + hostile, hostile + honest):
        with pytest.raises(FormatRefused):
            onnx_walk.walk(data)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_changed_model_runs_or_is_refused_but_reads_no_file(draw: st.DataObject) -> None:
    """Whatever the walk lets through, the ONNX library finds nothing in it that lies outside."""
    everywhere = places(outside("/etc/passwd"))
    place = draw.draw(st.sampled_from(sorted(everywhere)))
    data = bytearray(everywhere[place].SerializeToString())
    for _ in range(draw.draw(st.integers(1, 6))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        onnx_walk.walk(bytes(data))
    except FormatRefused:
        return
    assert not any(
        found.external_data or found.data_location for found in tensors(onnx.load_from_string(bytes(data)))
    )


def tensors(message: Any) -> list[onnx.TensorProto]:
    """Find every tensor that the library sees, by reflection."""
    found = []
    pending = [message]
    while pending:
        item = pending.pop()
        if isinstance(item, onnx.TensorProto):
            found.append(item)
        for descriptor, value in item.ListFields():
            if descriptor.message_type is not None:
                pending.extend(value if hasattr(value, "__len__") else [value])
    return found


def test_the_search_of_the_last_test_finds_what_is_there() -> None:
    for proto in places(outside("/etc/passwd")).values():
        assert any(tensor.external_data for tensor in tensors(proto))
