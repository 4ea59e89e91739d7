"""ONNX files made to end, to fill or to keep busy the process that loads them: refused in time."""

import time
from collections.abc import Callable

import numpy as np
import onnx
import onnx.helper as make
import pytest

from tests.attacks.deserialization_cell import Cell, assert_refused
from tests.core.test_onnx_walk import branch, model
from tests.core.test_walk_bounds import function, node, part, varint
from tests.core.test_walk_bounds import model as encoded
from vault.core import onnx_walk
from vault.errors import FormatRefused

MIB = 1 << 20
HEAD, OPSET = b"\x08\x08", part(8, b"\x0a\x00\x10\x11")
SIZE = 24 * MIB


def graph(content: bytes) -> bytes:
    return HEAD + part(7, content) + OPSET


# One small thing, as often as it fits: what costs most for each byte.
REPEATED: dict[str, Callable[[int], bytes]] = {
    "empty nodes": lambda count: graph(b"\x0a\x00" * (count // 2)),
    "empty tensors": lambda count: graph(b"\x2a\x00" * (count // 2)),
    "empty attributes": lambda count: graph(part(1, b"\x2a\x00" * (count // 2))),
    "inputs without a name": lambda count: graph(part(1, b"\x0a\x00" * (count // 2))),
    "domains": lambda count: graph(part(1, b"\x3a\x00" * (count // 2))),
    "operators and domains": lambda count: graph(part(1, b"\x22\x00\x3a\x00" * (count // 4))),
    "dimensions": lambda count: graph(part(5, b"\x08\x01" * (count // 2))),
    "numbers and texts by turns": lambda count: graph(part(1, part(5, b"\x40\x01\x4a\x00" * (count // 4)))),
    "opsets": lambda count: graph(b"") + b"\x42\x02\x0a\x00" * (count // 4),
    "opsets of many domains": lambda count: (
        graph(b"") + b"".join(part(8, part(1, b"%x" % n)) for n in range(200_000))
    ),
    "versions": lambda count: b"\x28\x01" * (count // 2),
    "inputs of the graph": lambda count: graph(b"\x5a\x03\x0a\x01a" * (count // 5)),
    "functions": lambda count: graph(b"") + b"\xca\x01\x00" * (count // 3),
    "training": lambda count: graph(b"") + b"\xa2\x01\x00" * (count // 3),
}


# Each refusal of another kind; the others, which reach the same limit of fields: pytest -m slow.
QUICK = {"domains", "operators and domains", "dimensions", "opsets of many domains"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in REPEATED]
)
def test_one_small_thing_as_often_as_it_fits_is_refused_within_seconds(name: str) -> None:
    data = REPEATED[name](SIZE)
    began = time.process_time()
    with pytest.raises(FormatRefused):
        onnx_walk.walk(data)
    assert time.process_time() - began < 5


def test_large_lists_of_small_numbers_are_walked_at_the_speed_of_c() -> None:
    for item in (b"\x40\x01", b"\x40\xff\x7f", b"\x3d\x00\x00\x80\x3f", b"\x4a\x04LEAF"):
        data = graph(part(1, part(5, item * (SIZE // len(item)))))
        began = time.process_time()
        assert onnx_walk.walk(data).nodes == 1
        assert time.process_time() - began < 2  # and ten times that for 256 MiB, at most
    for packed in (bytes(SIZE), b"\xff" * 9 + b"\x01"):
        data = graph(part(5, part(1, packed * (SIZE // len(packed)))))
        began = time.process_time()
        onnx_walk.walk(data)
        assert time.process_time() - began < 1


def test_a_text_for_every_two_bytes_is_refused() -> None:
    with pytest.raises(FormatRefused, match="too many texts"):
        onnx_walk.walk(graph(part(1, part(5, b"\x4a\x00" * (24 * MIB)))))


@pytest.mark.parametrize("operator", ["Sum", "Max", "Min", "Mean", "Einsum"])
def test_inputs_left_out_where_onnx_runtime_follows_a_null_pointer(operator: str, cell: Cell) -> None:
    more = {"equation": "ij,ij->ij"} if operator == "Einsum" else {}
    gap = make.make_node(operator, ["x", ""], ["y"], **more)
    nested = make.make_node("If", ["c"], ["y"], then_branch=branch(gap), else_branch=branch())
    for proto in (model(gap), model(nested)):
        assert_refused(cell.attack("m.onnx", proto.SerializeToString()), "format-content")


def test_functions_that_grow_or_call_themselves(cell: Cell) -> None:
    levels = [function(f"f{level}", f"f{level + 1}", f"f{level + 1}") for level in range(30)]
    bomb = encoded(node("f0", "own"), functions=(*levels, function("f30", "Relu")), domain="own")
    itself = encoded(node("f", "own"), functions=(function("f", "f"),), domain="own")
    for data in (bomb, itself):
        assert_refused(cell.attack("m.onnx", data), "format-content")


def lying(**changed: object) -> onnx.ModelProto:
    """A model of one product whose weights say something else than they hold."""
    weights = make.make_tensor("w", 1, [2, 2], [1.0, 2.0, 3.0, 4.0])
    for name, value in changed.items():
        if isinstance(value, list):
            del getattr(weights, name)[:]
            getattr(weights, name).extend(value)
        else:
            setattr(weights, name, value)
    return model(make.make_node("MatMul", ["x", "w"], ["y"]), initializers=[weights])


@pytest.mark.parametrize(
    "changed",
    [
        {"dims": [2**62, 4]},
        {"dims": [-1, 4]},
        {"dims": [2**31, 2**31, 2**31]},
        {"dims": [1] * 500},
        {"dims": [3, 3]},
        {"data_type": 0},
        {"data_type": 8},
        {"data_type": 99},
        {"raw_data": b"x", "float_data": []},
        {"raw_data": bytes(16)},
        {"raw_data": bytes(1000), "float_data": []},
        {"float_data": []},
        {"float_data": [1.0] * 5},
        {"name": ""},
        {"segment": None},
    ],
)
def test_tensors_that_lie_about_their_shape_end_no_process(changed: dict[str, object], cell: Cell) -> None:
    if changed == {"segment": None}:
        proto = lying()
        proto.graph.initializer[0].segment.begin = -5
        proto.graph.initializer[0].segment.end = 2**40
    else:
        proto = lying(**changed)
    told = cell.attack("m.onnx", proto.SerializeToString())
    assert (told.signal, told.effects, told.silent) == (0, [], [])
    assert told.loaded in ("passed", "format-content")


def test_sparse_initializers_whose_indices_lie_outside(cell: Cell) -> None:
    for indices in ([0, 2**40], [-1, 1], [3, 2], [0, 0]):
        proto = model(make.make_node("MatMul", ["x", "s"], ["y"]))
        values = make.make_tensor("s", 1, [2], [1.0, 2.0])
        places = make.make_tensor("i", 7, [2], indices)
        proto.graph.sparse_initializer.append(make.make_sparse_tensor(values, places, [2, 2]))
        told = cell.attack("m.onnx", proto.SerializeToString())
        assert (told.signal, told.effects, told.silent) == (0, [], [])


def test_graphs_in_graphs_beyond_the_limit(cell: Cell) -> None:
    inner = make.make_node("Identity", ["x"], ["z"])
    for _ in range(30):
        inner = make.make_node("If", ["c"], ["z"], then_branch=branch(inner), else_branch=branch())
    assert_refused(cell.attack("m.onnx", model(inner).SerializeToString()), "format-content")


def test_numbers_in_longer_forms_than_needed_hide_nothing(cell: Cell) -> None:
    honest = model(initializers=[onnx.numpy_helper.from_array(np.eye(2, dtype="float32"), "w")])
    data = honest.SerializeToString()
    for key in (b"\xba\x80\x00", b"\xba\x00", varint(7 << 3 | 2) + b"\x80\x00"):
        assert_refused(cell.attack("m.onnx", data + key + b"\x00"), "format-content", "format-refused")
