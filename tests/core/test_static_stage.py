"""The static stage: what a file mentions, against what was pinned and what the operator allows."""

import io
import json
import zipfile

import pytest

from vault.core import formats, skops_types, static_stage
from vault.core.allowance import Allowance
from vault.errors import FormatRefused, Malformed, PickleRefused

JOBLIB = Allowance(formats=frozenset({"joblib", "pickle"}))
EMPTY_PICKLE = b"\x80\x04N."
GLOBAL_PICKLE = b"\x80\x04\x8c\x06sample\x8c\x05Thing\x93)\x81."


def skops(kind: str = "sklearn.linear_model._base.LinearRegression") -> bytes:
    module, _, name = kind.rpartition(".")
    node = {"__class__": name, "__module__": module, "__loader__": "ObjectNode", "__id__": 1, "content": None}
    schema = {**node, "protocol": 2, "_skops_version": "0.14.0"}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    return packed.getvalue()


def npz(*names: str) -> bytes:
    packed = io.BytesIO()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8)
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, member)
    return packed.getvalue()


def check(path: str, data: bytes, *pins: str, allowance: Allowance | None = None) -> None:
    kind = formats.by_extension(path)
    static_stage.check(path, kind, memoryview(data), frozenset(pins), allowance or Allowance(), "it")


def test_each_format_is_walked_by_its_own_walker() -> None:
    nothing = Allowance()
    assert static_stage.observe("json", b'{"a": 1.5}', nothing, "it") == frozenset()
    assert static_stage.observe("npz", npz("a.npy"), nothing, "it") == frozenset()
    assert static_stage.observe("text", b"anything \xff", nothing, "it") == frozenset()
    assert static_stage.observe("skops", skops(), nothing, "it") == {
        "sklearn.linear_model._base.LinearRegression"
    }
    assert static_stage.observe("pickle", GLOBAL_PICKLE, nothing, "it") == {"sample.Thing"}


def test_each_walker_refuses_in_its_own_way() -> None:
    for kind, data, expected in (
        ("json", b'{"a":1,"a":2}', Malformed),
        ("json", b"{} x", Malformed),
        ("npz", b"PK", Malformed),
        ("skops", b"PK", Malformed),
        ("onnx", b"\xff" * 20, FormatRefused),
        ("pickle", b"\x80\x02N.", PickleRefused),
    ):
        with pytest.raises(expected) as caught:
            static_stage.observe(kind, data, Allowance(), "it")
        assert caught.value.subject


def test_json_may_be_spelled_as_anybody_spells_it() -> None:
    check("a.json", b'{ "b": 1.0,\n "a": [] }')


def test_declared_content_and_extension_agree() -> None:
    with pytest.raises(FormatRefused) as caught:
        check("model.json", EMPTY_PICKLE)
    assert caught.value.code == "format-refused"
    with pytest.raises(FormatRefused):
        static_stage.check("a.onnx", "json", memoryview(b"{}"), frozenset(), Allowance(), "it")
    with pytest.raises(FormatRefused, match="no known format"):
        static_stage.check("a.zzz", "zzz", memoryview(b"{}"), frozenset(), Allowance(), "it")


def test_a_format_that_can_run_code_needs_the_operators_word() -> None:
    with pytest.raises(FormatRefused, match="a pickle, which is a program") as caught:
        check("model.pkl", EMPTY_PICKLE)
    assert "allow={'formats': ['pickle']}" in caught.value.hint
    check("model.pkl", EMPTY_PICKLE, allowance=JOBLIB)
    with pytest.raises(FormatRefused, match="savedmodel, which can run code"):
        static_stage.check_allowed("savedmodel", Allowance(), "it")
    static_stage.check_allowed("onnx", Allowance(), "it")


def test_what_is_seen_equals_what_was_pinned() -> None:
    kind = "sklearn.linear_model._base.LinearRegression"
    check("m.skops", skops(), kind)
    for pins in ((), (kind, "sklearn.svm._classes.SVC"), ("sklearn.svm._classes.SVC",)):
        with pytest.raises(FormatRefused) as caught:
            check("m.skops", skops(), *pins)
        assert caught.value.code == "pins-mismatch"


def test_what_was_pinned_lies_within_the_operators_own_allowance() -> None:
    mine = "mypackage.Transformer"
    with pytest.raises(FormatRefused) as caught:
        check("m.skops", skops(mine), mine)
    assert caught.value.code == "not-allowed"
    check("m.skops", skops(mine), mine, allowance=Allowance(skops_types=frozenset({mine})))
    with pytest.raises(FormatRefused) as caught:
        check("m.pkl", GLOBAL_PICKLE, "sample.Thing", allowance=JOBLIB)
    assert caught.value.code == "not-allowed"


def test_an_allowance_for_one_format_is_none_for_another() -> None:
    mine = "mypackage.Transformer"
    allowance = Allowance(pickle_globals=frozenset({mine}), onnx_domains=frozenset({mine}))
    with pytest.raises(FormatRefused):
        check("m.skops", skops(mine), mine, allowance=allowance)
    assert mine not in skops_types.DEFAULT_SKOPS_TYPES


SAVED = {"scikit-learn": "1.8.0", "numpy": "2.4.6", "onnx": "1.0"}


def test_library_differences_are_told_for_the_libraries_behind_a_format() -> None:
    here = {"scikit-learn": "1.9.1", "numpy": "2.4.6"}
    assert static_stage.library_differences("skops", SAVED, here) == ("scikit-learn 1.8.0, here 1.9.1",)
    assert static_stage.library_differences("onnx", SAVED, here) == ()
    assert static_stage.library_differences("skops", {}, here) == ()
    assert static_stage.library_differences("skops", SAVED, {}) == ("scikit-learn 1.8.0, here none",)


@pytest.mark.parametrize(
    ("kind", "strict", "refused"),
    [
        ("joblib", False, True),
        ("pickle", False, True),
        ("skops", False, False),
        ("skops", True, True),
        ("onnx", True, False),
    ],
)
def test_other_versions_refuse_for_pickles_always_and_for_others_where_it_is_asked_for(
    kind: str, strict: bool, refused: bool
) -> None:
    here = {"scikit-learn": "1.9.1", "numpy": "2.4.6"}
    if not refused:
        static_stage.check_libraries(kind, SAVED, here, strict=strict, subject="it")
        return
    with pytest.raises(FormatRefused, match=r"scikit-learn 1\.8\.0, here 1\.9\.1") as caught:
        static_stage.check_libraries(kind, SAVED, here, strict=strict, subject="it")
    assert caught.value.code == "libraries-differ"


def test_a_global_that_is_never_loaded_is_refused_even_where_it_is_pinned_and_allowed() -> None:
    everything = Allowance(formats=frozenset({"pickle"}), pickle_globals=frozenset({"os.system"}))
    with pytest.raises(FormatRefused, match=r"os\.system, which is never loaded"):
        check("m.pkl", b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system", allowance=everything)


@pytest.mark.parametrize(
    ("path", "declared", "data"),
    [
        ("a.bin", "data", b"anything"),
        ("a.bin", "data", b"PK\x03\x04 damaged"),
        ("a.pkl", "pickle", b"\x80\x04N."),
        ("a.joblib", "joblib", b"\x80\x04N."),
        ("a", "a format of tomorrow", b"{}"),
    ],
)
def test_what_is_pulled_may_be_anything_that_it_says_it_is(path: str, declared: str, data: bytes) -> None:
    static_stage.check_pulled(path, declared, memoryview(data), "churn:1")


@pytest.mark.parametrize("declared", ["data", "text", "json", "onnx", "torch", "a format of tomorrow"])
def test_what_can_run_code_is_not_pulled_as_something_else(declared: str) -> None:
    with pytest.raises(FormatRefused) as caught:
        static_stage.check_pulled("a.bin", declared, memoryview(b"\x80\x04N."), "churn:1")
    assert (caught.value.code, caught.value.subject) == ("format-refused", "churn:1")
    assert caught.value.message.startswith("churn:1: a.bin is declared as")
