"""Trees, members and archives of skops files that say one thing to the walk and another to skops: refused."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from tests.attacks.deserialization_cell import Cell, assert_refused
from tests.attacks.test_deserialization_skops import DUMPED, node, packed, rewrite, text
from tests.fuzz.samples import sample
from vault.core import limits, skops_walk
from vault.errors import FormatRefused, Refused

REFUSED = ("format-content", "not-allowed", "malformed-archive", "format-refused")
RIDGE = "sklearn.linear_model._ridge.Ridge"


def schema_of(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(zipfile.ZipFile(io.BytesIO(data)).read("schema.json"))
    return found


def first(schema: Any, loader: str) -> dict[str, Any]:
    pending = [schema]
    while pending:
        item = pending.pop(0)
        if isinstance(item, dict):
            if item.get("__loader__") == loader:
                return item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
    raise LookupError(loader)


def change_first(loader: str, **fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda schema: first(schema, loader).update(fields)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "an identity that is true": change_first("JsonNode", __id__=True),
    "an identity that is a fraction": change_first("JsonNode", __id__=1.0),
    "an identity that is text": change_first("JsonNode", __id__="1"),
    "no identity": lambda schema: first(schema, "JsonNode").pop("__id__"),
    "the identity of the root": lambda schema: first(schema, "NdArrayNode").update(__id__=schema["__id__"]),
    "a loader in other letters": change_first("JsonNode", __loader__="jsonNode"),
    "a loader with a look-alike letter": change_first("JsonNode", __loader__="Js\u043enNode"),
    "a loader with a space": change_first("JsonNode", __loader__="JsonNode "),
    "a loader that is a list": change_first("JsonNode", __loader__=["JsonNode"]),
    "an older loader": change_first("JsonNode", __loader__="JsonNode_v0"),
    "a module with a dot too many": change_first("ObjectNode", __module__="sklearn..linear_model"),
    "a module that is empty": change_first("ObjectNode", __module__=""),
    "a class with a dot": change_first("ObjectNode", __class__="Ridge.fit"),
    "a class that is special": change_first("ObjectNode", __class__="__init__"),
    "a class that is a number": change_first("ObjectNode", __class__=1),
    "an object that is a function": change_first("ObjectNode", __module__="sklearn.base", __class__="clone"),
    "an object that is a module": change_first("ObjectNode", __module__="sklearn", __class__="linear_model"),
    "an object of a plain type": change_first("ObjectNode", __module__="builtins", __class__="dict"),
    "an object of NumPy": change_first("ObjectNode", __module__="numpy", __class__="ndarray"),
    "an object of the gate": change_first("ObjectNode", __module__="vault.vault", __class__="Vault"),
    "a field too many": change_first("JsonNode", extra=1),
    "a field too few": lambda schema: first(schema, "JsonNode").pop("is_json"),
    "a value that is no JSON": change_first("JsonNode", content="nope("),
    "a value that is not text": change_first("JsonNode", content=1),
    "a value that repeats a key": change_first("JsonNode", content='{"a": 1, "a": 2}'),
    "a value that nests too deeply": change_first("JsonNode", content="[" * 100_000 + "]" * 100_000),
    "a value that is a number of 100,000 digits": change_first("JsonNode", content="1" * 100_000),
    "a member that is another kind": change_first("NdArrayNode", file="schema.json"),
    "a member that is not there": change_first("NdArrayNode", file="gone.npy"),
    "a member outside": change_first("NdArrayNode", file="../../etc/passwd.npy"),
    "a member that is a list": change_first("NdArrayNode", file=["a.npy"]),
    "an array of an unknown kind": change_first("NdArrayNode", type="pickle"),
    "an array as a type of its own": change_first("NdArrayNode", __module__="os", __class__="system"),
    "a scalar of another type": change_first("NdArrayNode", __module__="numpy", __class__="memmap"),
    "a dictionary of another type": change_first("DictNode", __module__="os", __class__="_Environ"),
    "a dictionary with keys made by a class": lambda schema: first(schema, "DictNode")["key_types"].update(
        content=[node("TypeNode", "sklearn.linear_model._ridge.Ridge", 991)]
    ),
    "a dictionary with keys made by calls": lambda schema: first(schema, "DictNode")["key_types"].update(
        content=[node("ObjectNode", "builtins.str", 991)]
    ),
    "attributes that replace a method": lambda schema: first(schema, "DictNode")["content"].update(
        predict=node("FunctionNode", "os.system", 992)
    ),
    "a function as an attribute": lambda schema: first(schema, "DictNode")["content"].update(
        alpha=node("FunctionNode", "numpy.load", 993)
    ),
    "a partial of a load": lambda schema: first(schema, "DictNode")["content"].update(
        alpha=node(
            "PartialNode",
            "functools.partial",
            994,
            content={
                "func": node("FunctionNode", "numpy.load", 995),
                "args": node("TupleNode", "builtins.tuple", 996, content=[text("x", 997)]),
                "kwds": text({}, 998),
                "namespace": text(None, 999),
            },
        )
    ),
    "a constructor of a file": lambda schema: first(schema, "DictNode")["content"].update(
        alpha=node(
            "ConstructorFromReduceNode",
            "pathlib.PosixPath",
            994,
            content=node("TupleNode", "builtins.tuple", 996, content=[text("/etc/passwd", 997)]),
        )
    ),
    "a protocol that is true": lambda schema: schema.update(protocol=True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_trees_are_refused(name: str, cell: Cell) -> None:
    told = cell.attack("m.skops", rewrite(CHANGES[name]), names=["os.system", "numpy.load", "os._Environ"])
    if name == "a protocol that is true":  # `packed` puts the right one back
        assert told.loaded == "passed"
        return
    assert_refused(told, *REFUSED)


def raw(schema: bytes) -> bytes:
    return packed(None, ("schema.json", schema))


@pytest.mark.parametrize(
    "schema",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}",
        b'{"protocol": 2}',
        b'{"protocol": 2, "protocol": 1}',
        b'{"protocol": true}',
        b'{"protocol": 2.0}',
        b'{"protocol": "2"}',
        b'{"protocol": 99}',
        b'{"protocol": -1}',
        b"\xef\xbb\xbf{}",
        '{"a": "\u00e9"}'.encode(),
        '{"protocol": 2}'.encode("utf-16"),
        '{"protocol": 2}'.encode("utf-32-le"),
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1' + b"0" * 10_000 + b"}",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"__loader__": "DictNode"}' + b"\x00",
        b"{} {}",
    ],
)
def test_schemas_that_are_no_strict_json_are_refused(schema: bytes, cell: Cell) -> None:
    assert_refused(cell.attack("m.skops", raw(schema)), *REFUSED)


def test_trees_of_any_depth_and_size_end_in_a_refusal(cell: Cell) -> None:
    deep: dict[str, Any] = text(1, 1)
    for level in range(400):
        deep = node("ListNode", "builtins.list", level + 2, content=[deep])
    assert_refused(cell.attack("m.skops", packed(deep)), *REFUSED)
    lists = (
        b'{"protocol": 2, "_skops_version": "0.16.0", "a": [' + b"[]," * (limits.SCHEMA_PARTS + 1) + b"[]]}"
    )
    assert_refused(cell.attack("m.skops", raw(lists)), *REFUSED)


def test_equal_identities_around_large_trees_are_not_compared_for_ever() -> None:
    """Two copies of a chain with a wide end: each level would be compared anew."""
    wide = [text(number, number + 1_000) for number in range(30_000)]
    chain: dict[str, Any] = node("ListNode", "builtins.list", 1, content=wide)
    for level in range(100):
        chain = node("ListNode", "builtins.list", level + 2, content=[chain])
    other = json.loads(json.dumps(chain))
    for number, leaf in enumerate(_wide_end(other)):
        leaf["__id__"] = number + 100_000
    root = node("ListNode", "builtins.list", 500, content=[chain, other])
    with pytest.raises(FormatRefused, match="too many claim to be one"):
        skops_walk.walk(packed(root))


def _wide_end(chain: dict[str, Any]) -> list[dict[str, Any]]:
    while len(chain["content"]) == 1:
        chain = chain["content"][0]
    found: list[dict[str, Any]] = chain["content"]
    return found


def changed(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(mark) + offset
    return data[:at] + value + data[at + len(value) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
HEADERS = {
    "encrypted in the directory": (CENTRAL, 8, b"\x01\x00"),
    "encrypted in the member": (LOCAL, 6, b"\x01\x00"),
    "strong encryption": (CENTRAL, 8, b"\x40\x00"),
    "a data descriptor": (LOCAL, 6, b"\x08\x00"),
    "patched data": (CENTRAL, 8, b"\x20\x00"),
    "masked headers": (CENTRAL, 8, b"\x00\x20"),
    "deflate64": (CENTRAL, 10, b"\x09\x00"),
    "another method in the member": (LOCAL, 8, b"\x08\x00"),
    "another checksum in the member": (LOCAL, 14, b"\xff\xff\xff\xff"),
    "another checksum in the directory": (CENTRAL, 16, b"\xff\xff\xff\xff"),
    "another size in the member": (LOCAL, 22, b"\x01\x00\x00\x00"),
    "another size in the directory": (CENTRAL, 24, b"\x01\x00\x00\x00"),
    "a size that needs zip64": (CENTRAL, 24, b"\xff\xff\xff\xff"),
    "a newer version": (CENTRAL, 6, b"\xff\x00"),
    "another disk": (CENTRAL, 34, b"\x01\x00"),
    "a symbolic link": (CENTRAL, 41, b"\xa1"),
    "a folder": (CENTRAL, 38, b"\x10"),
    "an offset elsewhere": (CENTRAL, 42, b"\x01\x00\x00\x00"),
    "a name of no length": (CENTRAL, 28, b"\x00\x00"),
    "an extra field": (CENTRAL, 30, b"\x04\x00"),
    "a comment": (CENTRAL, 32, b"\x01\x00"),
    "a comment of the archive": (END, 20, b"\x01\x00"),
    "fewer members": (END, 8, b"\x01\x00\x01\x00"),
    "another count on this disk": (END, 8, b"\x01\x00"),
    "a directory elsewhere": (END, 16, b"\x00\x00\x00\x00"),
    "another name in the member": (LOCAL, 30, b"zz"),
    "another name in the directory": (CENTRAL, 46, b"zz"),
    "no mark of the member": (LOCAL, 0, b"XX"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_zip_headers_that_readers_understand_differently_are_refused(name: str, cell: Cell) -> None:
    assert_refused(cell.attack("m.skops", changed(DUMPED, *HEADERS[name])), *REFUSED)


def test_bytes_around_and_between_are_refused(cell: Cell) -> None:
    end = DUMPED.rindex(END)
    whole = zipfile.ZipFile(io.BytesIO(DUMPED)).infolist()
    files = (
        b"#!/bin/sh\n" + DUMPED,
        DUMPED + b"\x00",
        DUMPED + DUMPED,
        DUMPED[:end] + b"x" + DUMPED[end:],
        DUMPED[: whole[1].header_offset] + b"PK" + DUMPED[whole[1].header_offset :],
        DUMPED[:-2] + b"\x05\x00hello",
    )
    for told in cell.attacks("m.skops", files):
        assert_refused(told, *REFUSED)


def test_a_member_that_does_not_match_its_checksum_is_refused(cell: Cell) -> None:
    """In both headers the checksum is that of the honest content."""
    at = DUMPED.index(b"\x93NUMPY") + 128
    told = cell.attack("m.skops", DUMPED[:at] + bytes([DUMPED[at] ^ 1]) + DUMPED[at + 1 :])
    assert_refused(told, *REFUSED)


def deflated(content: bytes, size: int) -> bytes:
    """Write an archive of one deflated member that claims a size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(content) + packer.flush()
    name = b"schema.json"
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, zlib.crc32(content), len(body), size, len(name), 0)
    local = LOCAL + common + name + body
    central = CENTRAL + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + END + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def test_bombs_are_refused_before_they_unfold(cell: Cell) -> None:
    zeros = bytes(64 << 20)
    for data in (deflated(zeros, 100), deflated(zeros, 1 << 31), deflated(zeros, len(zeros))):
        assert_refused(cell.attack("m.skops", data), *REFUSED)


def matrix(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    holder = node("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", 1, type="scipy", file="a.npz")
    return packed(holder, ("a.npz", buffer.getvalue()))


def test_sparse_matrices_with_indices_outside_are_refused(cell: Cell) -> None:
    honest = sp.csr_matrix(np.eye(3))
    parts: dict[str, Any] = {
        "indices": honest.indices,
        "indptr": honest.indptr,
        "format": np.array(b"csr"),
        "shape": np.array([3, 3]),
        "data": honest.data,
    }
    assert cell.attack("m.skops", matrix(**parts)).loaded == "passed"
    for wrong in (
        {"indices": np.array([0, 1, 10**6])},
        {"indices": np.array([0, 1, -5])},
        {"indptr": np.array([0, 1, 2, 10**6])},
        {"indptr": np.array([0, 3, 1, 3])},
        {"indptr": np.array([0, 1])},
        {"shape": np.array([10**6, 10**6])},
        {"shape": np.array([-3, 3])},
        {"data": np.array([1.0])},
        {"format": np.array(b"bsr")},
        {"format": np.array(b"exec")},
        {"data": np.array([print], dtype=object)},
    ):
        assert_refused(cell.attack("m.skops", matrix(**{**parts, **wrong})), *REFUSED)


@pytest.mark.parametrize("name", ["forest", "histogram", "neighbours", "balls", "vectors", "boosting"])
def test_numbers_that_compiled_code_trusts_are_checked(name: str, cell: Cell) -> None:
    """Each array of the model in turn is filled with one number beyond all others."""
    honest = sample(f"skops/{name}")
    source = zipfile.ZipFile(io.BytesIO(honest.data))
    files = []
    for target in source.namelist():
        if not target.endswith(".npy"):
            continue
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for member in source.namelist():
                content = source.read(member)
                if member == target:
                    head = 10 + int.from_bytes(content[8:10], "little")
                    words = len(content[head:]) // 8
                    content = (
                        content[:head] + struct.pack("<q", 1 << 40) * words + content[head + 8 * words :]
                    )
                archive.writestr(zipfile.ZipInfo(member), content)
        files.append(buffer.getvalue())
    outcomes = set()
    for told in cell.attacks("m.skops", files):
        assert not told.signal
        assert told.effects == []
        outcomes.add(told.loaded)
    assert "format-content" in outcomes


def test_a_refused_file_is_not_tried_as_anything_else(cell: Cell) -> None:
    """Each format's honest file, under the name of each other one."""
    files = {
        name: sample(name).data
        for name in (
            "skops/ridge",
            "onnx/ridge",
            "pickle/ridge",
            "joblib/ridge",
            "npz/arrays",
            "npy/matrix",
            "safetensors/two",
        )
    }
    endings = {
        "skops": "skops",
        "onnx": "onnx",
        "pickle": "pkl",
        "npz": "npz",
        "npy": "npy",
        "safetensors": "safetensors",
    }
    for kind, ending in endings.items():
        names = [
            name
            for name in files
            if not name.startswith(kind) and not (name.startswith("joblib") and kind == "pickle")
        ]
        for name, told in zip(
            names, cell.attacks(f"m.{ending}", [files[name] for name in names]), strict=True
        ):
            assert told.static in (*REFUSED, "malformed-json", "pickle-refused"), (name, ending, told)
            assert (told.silent, told.effects) == ([], [])
            assert told.loaded != "passed"


def test_the_cell_is_given_files_that_would_load() -> None:
    assert skops_walk.walk(DUMPED).types
    with pytest.raises(Refused):
        skops_walk.walk(b"PK")
    assert RIDGE in skops_walk.walk(DUMPED).pins
    assert schema_of(DUMPED)["protocol"] == 2
