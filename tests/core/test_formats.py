"""Formats by content, extension and declaration: the three must agree."""

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import pickle
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core import boosting_files
from vault.core import formats
from vault.errors import FormatRefused, Malformed


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("never",)


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.arange(3))
    return buffer.getvalue()


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    return buffer.getvalue()


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
    return buffer.getvalue()


def onnx() -> bytes:
    import onnx.helper as make

    tensor = make.make_tensor_value_info("x", 1, [None, 2])
    graph = make.make_graph([make.make_node("Identity", ["x"], ["y"])], "g", [tensor], [tensor])
    content: bytes = make.make_model(graph).SerializeToString()
    return content


def safetensors() -> bytes:
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(4)


PICKLE = pickle.dumps(Evil())
CONTENTS = {
    "onnx": onnx(),
    "skops": zipped("schema.json"),
    "pickle": PICKLE,
    "joblib": zlib.compress(PICKLE),
    "torch": zipped("archive/data.pkl", "archive/version"),
    "npz": npz(),
    "npy": npy(),
    "json": b'{"a": [1, 2.5]}',
    "safetensors": safetensors(),
    "lightgbm": boosting_files.lightgbm(),
    "xgboost": boosting_files.xgboost(),
    "keras": zipped("config.json", "metadata.json", "model.weights.h5"),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "savedmodel": b"\x08\x01\x12\x80\x01" + bytes(128),
    "zip": zipped("readme.txt"),
    "text": b"hello, world\n",
    "data": b"\x00\x01\x02\xff" * 10,
}


def test_every_format_has_a_sample_here() -> None:
    assert set(CONTENTS) == set(formats.FORMATS)


@pytest.mark.parametrize("name", CONTENTS)
def test_content_tells_the_format(name: str) -> None:
    assert formats.detect(CONTENTS[name]) == name


@pytest.mark.parametrize("name", CONTENTS)
def test_content_extension_and_declaration_that_agree_pass(name: str) -> None:
    for ending in formats.FORMATS[name].extensions or (".bin",):
        formats.check(f"folder/model{ending}", name, CONTENTS[name])
        formats.check(f"MODEL{ending.upper()}", name, memoryview(CONTENTS[name]))


@pytest.mark.parametrize("declared", formats.FORMATS)
@pytest.mark.parametrize("content", ["onnx", "skops", "pickle", "joblib", "torch", "hdf5", "keras", "npz"])
def test_a_renamed_file_is_refused_under_every_other_name(declared: str, content: str) -> None:
    if declared == content or (declared, content) == ("joblib", "pickle"):
        return
    for ending in formats.FORMATS[declared].extensions or (".bin", ""):
        with pytest.raises(FormatRefused) as caught:
            formats.check("model" + ending, declared, CONTENTS[content])
        assert caught.value.code == "format-refused"


def test_an_extension_that_belongs_to_another_format_is_refused() -> None:
    with pytest.raises(FormatRefused, match="extension"):
        formats.check("model.onnx", "pickle", PICKLE)
    with pytest.raises(FormatRefused, match="extension"):
        formats.check("model.xyz", "onnx", CONTENTS["onnx"])
    with pytest.raises(FormatRefused, match="no known format"):
        formats.check("model.onnx", "executable", CONTENTS["onnx"])


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol_are_recognised(protocol: int) -> None:
    assert formats.detect(pickle.dumps(Evil(), protocol)) == "pickle"


@pytest.mark.parametrize(
    "compress",
    [
        zlib.compress,
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    ],
)
def test_compressed_pickles_are_recognised_and_other_compressed_files_are_not(compress: Any) -> None:
    assert formats.detect(compress(PICKLE)) == "joblib"
    assert formats.detect(compress(pickle.dumps(Evil(), 0) + b" " * 50)) in ("joblib", "data")
    assert formats.detect(compress(b"date,price\n2024-01-01,1.0\n")) == "data"
    noise = b"".join(hashlib.sha256(bytes([a, b])).digest() for a in range(128) for b in range(128))
    assert formats.detect(compress(pickle.dumps(noise))) == "joblib"  # larger than what is looked at first
    assert formats.detect(compress(noise)) == "data"


@pytest.mark.parametrize(
    "text", ["The end.", "N.", "(", "cats\ndogs\n", "import os\n", "I sold 3.", "", "p0\n."]
)
def test_prose_made_of_opcode_letters_is_text(text: str) -> None:
    assert formats.detect(text.encode()) == "text"


def test_classify_declares_what_will_pass_the_check() -> None:
    for name, content in CONTENTS.items():
        if name in ("joblib",):
            continue
        for ending in formats.FORMATS[name].extensions or (".bin",):
            declared = formats.classify("model" + ending, content)
            formats.check("model" + ending, declared, content)
    assert formats.classify("LICENSE", b"text") == "text"
    assert formats.classify("table.xlsx", zipped("xl/workbook.xml")) == "data"
    assert formats.classify("latin.csv", "é;ü\n".encode("latin-1")) == "text"
    with pytest.raises(FormatRefused):
        formats.classify("notes.txt", PICKLE)
    with pytest.raises(FormatRefused):
        formats.classify("model", PICKLE)


def test_a_damaged_archive_is_data_only_where_nothing_opens_it() -> None:
    damaged = zipped("a")[:-1]
    formats.check("backup.bin", "data", damaged)
    with pytest.raises(Malformed):
        formats.check("model.skops", "skops", damaged)


def test_pickle_based_formats_are_those_that_run_code() -> None:
    assert {"joblib", "pickle", "torch"} == formats.PICKLE_BASED
    assert not formats.PICKLE_BASED & formats.CODE_FREE


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(sorted(CONTENTS)))
def test_any_bytes_have_a_format_or_are_refused(junk: bytes, name: str) -> None:
    for data in (junk, CONTENTS[name][: len(junk)] + junk, junk[:4] + CONTENTS[name]):
        with contextlib.suppress(Malformed):
            assert formats.detect(data) in formats.FORMATS
