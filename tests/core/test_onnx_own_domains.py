"""A domain that a model's own functions define: accepted if nothing else of it is called."""

import pytest
from onnx import helper as make

from tests.core.test_onnx_walk import model
from vault.core import onnx_walk
from vault.errors import FormatRefused

STANDARD = make.make_opsetid("", 17)
OWN = make.make_opsetid("own", 1)


def function(domain: str = "own", name: str = "Twice", inner: str = "Add", inner_domain: str = "") -> object:
    inside = make.make_node(inner, ["x", "x"], ["y"], domain=inner_domain)
    return make.make_function(domain, name, ["x"], ["y"], [inside], [STANDARD, OWN])


def call(name: str = "Twice", domain: str = "own") -> object:
    return make.make_node(name, ["x"], ["y"], domain=domain)


def test_calls_of_the_models_own_functions_pass() -> None:
    summary = onnx_walk.walk(
        model(call(), functions=[function()], opsets=[STANDARD, OWN]).SerializeToString()
    )
    assert ("own", "Twice") in summary.operators
    assert "own" not in summary.domains
    nested = [function(), function(name="Four", inner="Twice", inner_domain="own")]
    onnx_walk.walk(model(call("Four"), functions=nested, opsets=[STANDARD, OWN]).SerializeToString())


@pytest.mark.parametrize(
    ("nodes", "functions"),
    [
        ([call(), call("Thrice")], [function()]),
        ([call()], []),
        ([call()], [function(domain="")]),
        ([], [function(inner="Other", inner_domain="own")]),
        ([call()], [function(inner="Other", inner_domain="own")]),
        ([call(), call("Other", "else")], [function()]),
        ([call(domain="com.own")], [function(domain="com.own")]),
        ([call(domain="ai.own")], [function(domain="ai.own")]),
        ([call(domain="org.own")], [function(domain="org.own")]),
        ([call("", "own"), call()], [function()]),
    ],
)
def test_all_else_of_another_domain_is_refused(nodes: list[object], functions: list[object]) -> None:
    data = model(*nodes, functions=functions, opsets=[STANDARD, OWN]).SerializeToString()
    with pytest.raises(FormatRefused, match="of the domain"):
        onnx_walk.walk(data)


def test_a_type_of_another_domain_is_refused_beside_its_functions() -> None:
    proto = model(call(), functions=[function()], opsets=[STANDARD, OWN])
    proto.graph.value_info.add().type.opaque_type.domain = "own"
    with pytest.raises(FormatRefused, match="a type of the domain"):
        onnx_walk.walk(proto.SerializeToString())
