"""Strict JSON: one spelling for every value, every size bounded, nothing but `Malformed` raised."""

import tracemalloc

import pytest

from vault.core import limits, strict_json
from vault.errors import Malformed


def refused(data: bytes, **options: bool) -> Malformed:
    with pytest.raises(Malformed) as caught:
        strict_json.parse(data, subject="it", **options)
    assert caught.value.subject == "it"
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"true",
        b'""',
        b"0",
        b"-1",
        b"9999999999999999",
        b"[]",
        b"{}",
        b'{"a":[1,{"b":null}],"c":"d"}',
        '{"\u00e9":"\u2028 \U0001f600"}'.encode(),
        b'"\\u0000\\n\\"\\\\"',
        b'"\x7f/"',
    ],
)
def test_canonical_bytes_parse_and_are_written_back_the_same(data: bytes) -> None:
    assert strict_json.encode(strict_json.parse(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\u00e9"',
        b"-0",
        b'"\\u000a"',
    ],
)
def test_another_spelling_of_the_same_value_is_refused(data: bytes) -> None:
    assert "canonical" in refused(data).message
    strict_json.parse(data, canonical=False)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "character 0"),
        (b"{", "character 1"),
        (b'{"a":1}x', "extra data"),
        (b'{"a":1,}', "character"),
        (b"'a'", "character"),
        (b'"\n"', "control character"),
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":{"b":1,"b":2}}', "twice"),
        (b"1.0", "not an integer"),
        (b"1e3", "not an integer"),
        (b"NaN", "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"-Infinity", "-Infinity"),
        (b"10000000000000000", "16 digits"),
        (b"-" + b"9" * 5_000, "16 digits"),
        (b'"\xff"', "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\\ud800"', "UTF-8"),
        (b'{"\\udfff":1}', "UTF-8"),
        (b"\xef\xbb\xbf1", "character"),
        (b"\xff\xfe1\x00", "UTF-8"),
        (b"\x001", "character"),
    ],
)
def test_what_another_reader_could_take_for_something_else_is_refused(data: bytes, reason: str) -> None:
    error = refused(data)
    assert error.code == "malformed-json"
    assert reason.lower() in error.message.lower()
    refused(data, canonical=False)


def test_floats_are_refused_unless_asked_for_and_finite() -> None:
    refused(b"[0.5]")
    assert strict_json.parse(b"[0.5,-0.0,1e+300]", floats=True) == [0.5, -0.0, 1e300]
    assert "out of range" in refused(b"1e400", floats=True).message
    assert "NaN" in refused(b"NaN", floats=True).message


def test_depth_is_bounded_and_hostile_depth_costs_no_stack() -> None:
    deepest = b"[" * (limits.JSON_DEPTH - 1) + b"1" + b"]" * (limits.JSON_DEPTH - 1)
    strict_json.parse(deepest)
    assert "deep" in refused(b"[" + deepest + b"]").message
    for brackets in (10_000, 1_000_000):
        assert "deep" in refused(b"[" * brackets + b"]" * brackets).message
        assert refused(b'{"a":' * brackets + b"1" + b"}" * brackets).code == "malformed-json"


def test_items_are_bounded_over_the_whole_document() -> None:
    half = limits.JSON_ITEMS // 2 - 2
    one = b"[" + b",".join([b"0"] * half) + b"]"
    strict_json.parse(b"[" + one + b"," + one + b"]")
    two = b'{"a":' + one + b',"b":[' + b",".join([b"{}"] * half) + b"]}"
    strict_json.parse(two)
    assert "items" in refused(b"[" + one + b"," + two + b"]").message
    pairs = b",".join(b'"%d":0' % number for number in range(limits.JSON_ITEMS // 2 + 1))
    assert "items" in refused(b"{" + pairs + b"}", canonical=False).message


def test_strings_and_keys_are_bounded() -> None:
    longest = b'"' + b"a" * limits.JSON_STRING_CHARS + b'"'
    room = len(longest) + 16
    strict_json.parse(longest, limit=room)
    for data in (longest[:-1] + b'a"', b"{" + longest[:-1] + b'a":1}'):
        with pytest.raises(Malformed, match="too long"):
            strict_json.parse(data, limit=room)


def test_size_is_checked_before_anything_is_parsed() -> None:
    with pytest.raises(Malformed, match="at most 4 are read") as caught:
        strict_json.parse(b"[[[[[", limit=4)
    assert caught.value.code == "too-large"


def test_a_view_of_bytes_parses_like_the_bytes() -> None:
    assert strict_json.parse(memoryview(b'{"a":1}')) == {"a": 1}
    with pytest.raises(Malformed):
        strict_json.parse(memoryview(b'{"a":1} '))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_encode_raises_for_what_no_reader_would_accept(value: strict_json.JSONValue) -> None:
    with pytest.raises(ValueError):
        strict_json.encode({"a": value})


def test_messages_without_a_subject_speak_of_a_document() -> None:
    with pytest.raises(Malformed, match="A document is not strict JSON"):
        strict_json.parse(b"x")


def test_too_many_items_are_refused_before_any_is_built() -> None:
    text = b'{"a":[' + b"{}," * 8_000_000 + b"{}]}"
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="more than 200,000 items"):
            strict_json.parse(text, limit=len(text), canonical=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(text)


def test_commas_and_brackets_inside_text_are_no_items() -> None:
    text = b'{"a":"' + b'\\"[{,' * (limits.JSON_ITEMS // 2) + b'"}'
    assert strict_json.parse(text) == {"a": '"[{,' * (limits.JSON_ITEMS // 2)}
