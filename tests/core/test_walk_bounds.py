"""What a hostile file may cost the walks: limits on parts, repeats, comparisons and calls, each refused."""

import io
import json
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.tree import DecisionTreeRegressor

from vault.core import limits, npy, onnx_steps, onnx_walk, skops_schema, skops_trees, skops_walk
from vault.errors import FormatRefused

# --- ONNX ---


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def part(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(
    operator: str = "Relu", domain: str = "", *, inputs: tuple[str, ...] = ("x",), more: bytes = b""
) -> bytes:
    named = part(7, domain.encode()) if domain else b""
    return b"".join(part(1, name.encode()) for name in inputs) + part(4, operator.encode()) + named + more


def model(*nodes: bytes, functions: tuple[bytes, ...] = (), domain: str = "") -> bytes:
    graph = b"".join(part(1, item) for item in nodes) + part(2, b"g")
    opset = part(8, b"\x0a\x00\x10\x11") + (
        part(8, part(1, domain.encode()) + b"\x10\x01") if domain else b""
    )
    return b"\x08\x08" + part(7, graph) + opset + b"".join(part(25, item) for item in functions)


def function(name: str, *calls: str, domain: str = "own") -> bytes:
    inner = b"".join(part(7, node(call, "" if call == "Relu" else domain)) for call in calls)
    return part(1, name.encode()) + inner + part(10, domain.encode())


def told(data: bytes, *domains: str) -> str:
    with pytest.raises(FormatRefused) as caught:
        onnx_walk.walk(data, domains=onnx_walk.STANDARD_DOMAINS | set(domains))
    assert caught.value.code == "format-content"
    return caught.value.message


def attribute(*fields: bytes) -> bytes:
    return node(more=part(5, part(1, b"a") + b"".join(fields)))


def test_an_input_without_a_name_is_refused_where_onnx_runtime_would_end_the_process() -> None:
    for operator in ("Sum", "Max", "Min", "Mean", "Einsum", "Concat"):
        assert "leaves out an input" in told(model(node(operator, inputs=("x", ""))))
        assert onnx_walk.walk(model(node(operator, inputs=("x", "x")))).nodes == 1
    assert onnx_walk.walk(model(node("Clip", inputs=("x", "", "x")))).nodes == 1  # left out on purpose


def test_functions_that_double_at_each_call_are_refused() -> None:
    calls = [function(f"f{level}", f"f{level + 1}", f"f{level + 1}") for level in range(40)]
    bomb = model(node("f0", "own"), functions=(*calls, function("f40", "Relu")), domain="own")
    assert "as its functions are inlined" in told(bomb, "own")
    few = model(node("f30", "own"), functions=(*calls, function("f40", "Relu")), domain="own")
    assert onnx_walk.walk(few, domains={"", "own"}).nodes == 1 + 40 * 2 + 1
    many = [node("f", "own")] * (limits.ONNX_INLINED + 1)
    assert "inlined" in told(model(*many, functions=(function("f", "Relu"),), domain="own"), "own")


def test_functions_that_call_themselves_are_counted_and_end() -> None:
    once = {("own", "g"): 1}
    assert onnx_steps.inlined({("own", "f"): 3}, {("own", "f"): {("own", "f"): 2, ("", "Relu"): 1}}) > 0
    assert onnx_steps.inlined(once, {("own", "g"): {("own", "h"): 1}, ("own", "h"): once}) > 0
    assert onnx_steps.inlined({("", "Relu"): 9}, {}) == 0
    assert onnx_steps.inlined({("own", "f"): 2}, {("own", "f"): {("", "Relu"): 3}}) == 6


def test_overloads_of_a_function_count_together() -> None:
    twice = (function("f", *["Relu"] * 3), function("f", *["Relu"] * 4))
    summary = onnx_walk.walk(model(node("f", "own"), functions=twice, domain="own"), domains={"", "own"})
    assert summary.operators == {("own", "f"), ("", "Relu")}


def test_a_name_given_twice_is_refused() -> None:
    assert "twice" in told(model(node(more=part(4, b"Relu"))))
    assert "twice" in told(model(node("Relu", more=part(7, b"") + part(7, b""))))


def test_a_name_that_is_too_long_or_no_text_is_refused() -> None:
    assert "too long" in told(model(node("x" * 5_000)))
    assert "UTF-8" in told(model(part(4, b"\xff")))


def test_runs_of_any_length_are_stepped_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 63, 64, 65, 4_095, 4_096, 4_097, 10_000):
        fields = (b"\x3d\x00\x00\x80\x3f" * count, b"\x40\x05" * count, b"\x4a\x04LEAF" * count)
        for field in fields:
            assert onnx_walk.walk(model(attribute(field))).nodes == 1
            assert onnx_walk.walk(model(attribute(field, b"\x18\x01"))).nodes == 1
        assert onnx_walk.walk(model(attribute(*fields, *fields))).nodes == 1
    assert "in the middle of a number" in told(model(attribute(b"\x3d\x00\x00\x80\x3f" * 70_000 + b"\x3d")))
    monkeypatch.setattr(limits, "PROTOBUF_TEXTS", 4_000)
    assert "too many texts" in told(model(attribute(b"\x4a\x00" * 5_000)))


def test_blocks_of_short_numbers_are_read_as_their_single_numbers_are() -> None:
    one, two, three = b"\x40\x05", b"\x40\x85\x01", b"\x40\x85\x81\x01"
    for first in (one, two, three):
        for second in (one, two, three):
            for count in (4_095, 4_096, 12_288):
                field = first * count + second * count + first
                assert onnx_walk.walk(model(attribute(field, b"\x18\x01"))).nodes == 1
                stray = first * count + second[:-1]
                assert told(model(attribute(stray)))
    hidden = b"\x40\x40" * 4_095 + b"\x40\x85" * 2  # a key that is not one, if the blocks went wrong
    assert told(model(attribute(hidden)))


def test_packed_lists_end_where_their_last_number_ends() -> None:
    tensor = part(1, b"\x02\x03")
    graph = part(5, tensor + part(7, bytes(200_000))) + part(1, node())
    data = b"\x08\x08" + part(7, graph) + part(8, b"\x0a\x00\x10\x11")
    assert onnx_walk.walk(data).initializers == 1
    for wrong in (b"\x01\x80", b"\x80" * 11 + b"\x00", bytes(65_530) + b"\xff" * 11 + b"\x01"):
        assert "packed list" in told(data.replace(tensor, part(1, wrong))) or wrong
        graph = part(5, part(1, wrong)) + part(1, node())
        assert "packed list" in told(b"\x08\x08" + part(7, graph) + part(8, b"\x0a\x00\x10\x11"))
    graph = part(5, part(1, b"")) + part(1, node())
    assert onnx_walk.walk(b"\x08\x08" + part(7, graph) + part(8, b"\x0a\x00\x10\x11")).nodes == 1


def test_bytes_that_end_in_a_number_are_no_model() -> None:
    assert not onnx_walk.is_model(b"\x08\x80")
    assert not onnx_walk.is_model(b"\x08\x08\x0b")


def test_functions_of_the_model_itself_need_no_allowance() -> None:
    own = model(node("f", "own"), functions=(function("f", "Relu"),), domain="own")
    assert onnx_walk.walk(own).domains == {""}
    assert "domain 'own'" in told(model(node("g", "own"), functions=(function("f", "Relu"),), domain="own"))
    assert "domain 'own'" in told(model(node(), functions=(function("f", "Relu"),), domain="own"))


def test_many_domains_are_checked_in_one_go() -> None:
    names = [f"d{number}" for number in range(9_000)]
    functions = tuple(function("f", "Relu", domain=name) for name in names)
    data = model(*(node("f", name) for name in names), functions=functions)
    assert onnx_walk.walk(data).nodes == 18_000


def test_a_node_without_an_operator_and_other_metadata_are_walked() -> None:
    assert onnx_walk.walk(model(part(1, b"x"))).operators == frozenset()
    assert onnx_walk.walk(model(node()) + part(14, part(1, b"author") + part(2, b"x"))).nodes == 1


# --- skops ---


def skops_file(model: object) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def test_a_tree_of_an_array_without_dimensions_is_refused() -> None:
    """scikit-learn's own constructor would read behind the shape, and end the process."""
    members = skops_file(DecisionTreeRegressor(max_depth=2).fit(np.eye(4), np.arange(4)))
    skops_walk.walk(zipped(members))
    (target,) = [name for name, content in members.items() if b"left_child" in content[:400]]
    scalar = io.BytesIO()
    np.save(scalar, np.int64(7))
    with pytest.raises(FormatRefused, match="do not fit together"):
        skops_walk.walk(zipped({**members, target: scalar.getvalue()}))


def test_a_deep_tree_is_refused_however_deep_the_caller_stands() -> None:
    inner: dict[str, Any] = {"__loader__": "JsonNode", "content": "1", "is_json": True, "__id__": 1}
    inner.update({"__class__": "str", "__module__": "builtins"})
    for level in range(200):
        inner = {"__loader__": "ListNode", "content": [inner], "__id__": level + 2, "__class__": "list"}
        inner["__module__"] = "builtins"
    data = zipped({"schema.json": json.dumps({**inner, "protocol": 2, "_skops_version": "0"}).encode()})

    def call(depth: int) -> None:
        if depth:
            call(depth - 1)
        else:
            skops_walk.walk(data)

    with pytest.raises(FormatRefused, match="nested too deeply"):
        call(450)


def test_a_schema_of_too_many_parts_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCHEMA_PARTS", 3)
    assert skops_schema.parse(memoryview(b'{"a": [1, 2]}'), "") == {"a": [1, 2]}
    for text in (b'{"a": [[], []]}', b"{" + b",".join(b'"%d": 1' % number for number in range(30)) + b"}"):
        with pytest.raises(FormatRefused, match="too many parts"):
            skops_schema.parse(memoryview(text), "")


def test_comparisons_are_bounded_altogether(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCHEMA_COMPARISONS", 10)
    comparison = skops_schema.Comparison()
    assert comparison.same([1, 2, 3], [1, 2, 3])
    assert not comparison.same(list(range(10)), list(range(10)))
    assert not comparison.same(1, 1)


def test_arrays_of_one_identity_lie_in_one_member() -> None:
    first = {"__loader__": "NdArrayNode", "file": "1.npy"}
    comparison = skops_schema.Comparison()
    assert comparison.agree(first, {"__loader__": "NdArrayNode", "file": "1.npy"})
    assert not comparison.agree(first, {"__loader__": "NdArrayNode", "file": "2.npy"})
    assert not comparison.agree(first, {"__loader__": "NdArrayNode", "file": "1.npy", "extra": 1})
    blob = {"__loader__": "BytesNode", "file": "1.bin"}
    assert comparison.agree(blob, {"__loader__": "BytesNode", "file": "2.bin"})  # a name drawn anew


def header(descr: Any, *shape: int, fortran: bool = False) -> npy.Header:
    return npy.Header(descr, fortran, shape, 0, 8)


NODES = [("left_child", "<i8")]
HEADERS = {
    "classes.npy": header("<i8", 2),
    "nodes.npy": header(NODES, 5),
    "values.npy": header("<f8", 5, 2, 3),
    "flat.npy": header(NODES),
    "text.npy": header("<U3", 5),
    "folded.npy": header(NODES, 5, fortran=True),
    "deep.npy": header("<f8", 5, 2, 0),
    "long.npy": header("<f8", 6, 2, 3),
    "single.npy": header("<f4", 5, 2, 3),
}


def number(value: object) -> dict[str, Any]:
    return {"__loader__": "JsonNode", "__class__": "str", "content": json.dumps(value)}


def array(file: str, kind: str = "ndarray") -> dict[str, Any]:
    return {"__loader__": "NdArrayNode", "__class__": kind, "file": file}


def tree(**changed: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = {
        "features": number(4),
        "classes": array("classes.npy"),
        "outputs": number(2),
        "max_depth": number(3),
        "node_count": number(5),
        "nodes": array("nodes.npy"),
        "values": array("values.npy"),
        **changed,
    }
    arguments = [parts.pop(name) for name in ("features", "classes", "outputs")]
    return (
        {"__loader__": "TupleNode", "content": arguments},
        {"__loader__": "DictNode", "content": parts},
    )


def test_the_parts_of_a_tree_fit_together() -> None:
    assert skops_trees.fits(*tree(), HEADERS)


@pytest.mark.parametrize(
    "changed",
    [
        {"features": number(-1)},
        {"features": number(1.5)},
        {"features": {"__loader__": "JsonNode", "content": 4}},
        {"features": array("classes.npy")},
        {"features": [4]},
        {"outputs": number(3)},
        {"outputs": number(0)},
        {"classes": array("nodes.npy")},
        {"classes": array("gone.npy")},
        {"classes": number(2)},
        {"classes": array("classes.npy", "int64")},
        {"nodes": array("flat.npy")},
        {"nodes": array("text.npy")},
        {"nodes": array("folded.npy")},
        {"nodes": {"__loader__": "NdArrayNode", "__class__": "ndarray", "type": "json"}},
        {"node_count": number(6)},
        {"node_count": number(None)},
        {"values": array("long.npy")},
        {"values": array("deep.npy")},
        {"values": array("single.npy")},
        {"values": array("nodes.npy")},
    ],
)
def test_a_tree_whose_parts_do_not_fit_is_refused(changed: dict[str, Any]) -> None:
    assert not skops_trees.fits(*tree(**changed), HEADERS)


def test_a_tree_of_another_make_is_refused() -> None:
    arguments, state = tree()
    assert not skops_trees.fits(arguments, {"__loader__": "DictNode", "content": {}}, HEADERS)
    assert not skops_trees.fits(arguments, {"__loader__": "ListNode", "content": []}, HEADERS)
    assert not skops_trees.fits({"__loader__": "TupleNode", "content": []}, state, HEADERS)
    assert not skops_trees.fits(None, state, HEADERS)


# --- arrays ---


def npy_file(text: bytes, data: bytes) -> bytes:
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    "text",
    [
        b"{'descr': [('a', '<f8') 1], 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': [('a', '<f8'], 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': [('a', '<f8'), ('b], 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': [(], 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,2), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (1), }",
        b"{'descr': '<f8', 'fortran_order': 0, 'shape': (1,), }",
    ],
)
def test_headers_almost_like_those_that_numpy_writes_are_refused(text: bytes) -> None:
    data = npy_file(text, bytes(8))
    with pytest.raises(FormatRefused):
        npy.parse_header(data, size=len(data))


def test_the_usual_and_the_unusual_spelling_of_a_header_mean_the_same() -> None:
    usual = b"{'descr': [('a', '<f8'), ('b', '<i4', (2,))], 'fortran_order': False, 'shape': (1, 2), }"
    other = b'{"shape": (1,2), "fortran_order": False, "descr": [("a", "<f8"), ("b", "<i4", (2,))]}'
    found = [npy.parse_header(file := npy_file(text, bytes(32)), size=len(file)) for text in (usual, other)]
    assert found[0].descr == [("a", "<f8"), ("b", "<i4", (2,))]
    assert (found[0].shape, found[0].itemsize) == ((1, 2), 16)
    assert found[0].descr == found[1].descr
    assert found[0].nbytes == found[1].nbytes == 32
