"""Reading the fields of a document: each once, each checked, none left over."""

from collections.abc import Callable

import pytest

from vault.core import fields, names
from vault.core.fields import Fields
from vault.core.strict_json import JSONValue
from vault.errors import Malformed


def refused(act: Callable[[], object]) -> Malformed:
    with pytest.raises(Malformed) as caught:
        act()
    assert caught.value.code == "malformed-document"
    return caught.value


@pytest.mark.parametrize("value", [None, 1, "a", [], True])
def test_only_an_object_has_fields(value: JSONValue) -> None:
    assert "an object is expected" in refused(lambda: Fields(value, "it")).message


def test_a_missing_field_and_an_unknown_field_are_named() -> None:
    assert "'a' is missing" in refused(lambda: Fields({}, "it").raw("a")).message
    read = Fields({"z": 1, "y": 2, "a": "b"}, "it")
    read.text("a", str)
    assert "unknown fields (y, z)" in refused(read.done).message


def test_a_field_is_taken_once() -> None:
    read = Fields({"a": 1}, "it")
    read.raw("a")
    refused(lambda: read.raw("a"))
    read.done()


def test_the_value_that_was_given_is_left_as_it_was() -> None:
    value: JSONValue = {"a": 1}
    Fields(value, "it").raw("a")
    assert value == {"a": 1}


@pytest.mark.parametrize("value", [None, 1, True, [], {}, "", -1, 10**16])
@pytest.mark.parametrize(
    "kind", ["text", "integer", "boolean", "items", "texts", "objects", "object", "mapping"]
)
def test_a_field_of_another_type_is_refused(kind: str, value: JSONValue) -> None:
    accepted = {
        "text": value == "",
        "integer": value == 1 and value is not True,
        "boolean": value is True,
        "items": value == [],
        "texts": value == [],
        "objects": value == [],
        "object": value == {},
        "mapping": value == {},
    }
    read: dict[str, Callable[[Fields], object]] = {
        "text": lambda found: found.text("f", str),
        "integer": lambda found: found.integer("f"),
        "boolean": lambda found: found.boolean("f"),
        "items": lambda found: found.items("f", 3),
        "texts": lambda found: found.texts("f", str, 3),
        "objects": lambda found: found.objects("f", lambda _: None, 3),
        "object": lambda found: found.object("f", lambda _: None),
        "mapping": lambda found: found.mapping("f", str, 3),
    }
    if accepted[kind]:
        read[kind](Fields({"f": value}, "it"))
    else:
        refused(lambda: read[kind](Fields({"f": value}, "it")))


def test_integers_have_bounds_and_true_is_none() -> None:
    assert Fields({"n": 5}, "it").integer("n", 5, 5) == 5
    for value in (4, 6, True):
        refused(lambda value=value: Fields({"n": value}, "it").integer("n", 5, 5))  # type: ignore[misc]


def test_null_stands_for_an_absent_value_only_where_it_may() -> None:
    assert Fields({"a": None}, "it").optional("a", str) is None
    assert Fields({"a": "b"}, "it").optional("a", str) == "b"
    assert Fields({"a": None}, "it").optional_object("a", lambda _: 1) is None
    assert Fields({"a": {}}, "it").optional_object("a", lambda _: 1) == 1
    refused(lambda: Fields({}, "it").optional("a", str))
    refused(lambda: Fields({"a": 1}, "it").optional("a", str))


def test_lists_have_a_most_and_texts_do_not_repeat() -> None:
    assert Fields({"a": ["x", "y"]}, "it").texts("a", str.upper, 2) == ("X", "Y")
    refused(lambda: Fields({"a": ["x", "y", "z"]}, "it").texts("a", str, 2))
    refused(lambda: Fields({"a": ["x", "x"]}, "it").texts("a", str, 2))
    refused(lambda: Fields({"a": ["x", 1]}, "it").texts("a", str, 2))
    refused(lambda: Fields({"a": {"x": 1, "y": 2}}, "it").mapping("a", str, 1))


def test_nested_objects_refuse_unknown_fields_too() -> None:
    refused(lambda: Fields({"a": {"b": 1}}, "it").object("a", lambda _: None))
    refused(lambda: Fields({"a": [{"b": 1}]}, "it").objects("a", lambda _: None, 3))
    assert Fields({"a": [{"b": 1}]}, "it").objects("a", lambda inner: inner.integer("b"), 3) == (1,)


def test_keys_of_a_mapping_are_parsed() -> None:
    assert Fields({"a": {"dev": 1}}, "it").mapping("a", names.environment, 3) == {"dev": 1}
    with pytest.raises(Malformed) as caught:
        Fields({"a": {"Dev": 1}}, "it").mapping("a", names.environment, 3)
    assert caught.value.code == "malformed-name"


def test_scalars() -> None:
    assert fields.plain("x" * 4_096)
    refused(lambda: fields.plain("x" * 4_097))
    assert fields.time("2026-11-23T05:00:00Z") == "2026-11-23T05:00:00Z"
    assert fields.one_of("a", "b")("b") == "b"
    refused(lambda: fields.one_of("a", "b")("c"))


def test_hexadecimal_has_one_spelling_and_one_length() -> None:
    parse = fields.hexadecimal(2)
    assert parse("00ff") == b"\x00\xff"
    for bad in ("", "00f", "00FF", "00fff", "00ff00", "0 0f", "zz00", "é", "00 ff", "\u0660\u0660ff"):
        refused(lambda bad=bad: parse(bad))  # type: ignore[misc]


def test_base64_has_one_spelling() -> None:
    assert fields.base64_bytes("AP8=") == b"\x00\xff"
    assert fields.base64_bytes("") == b""
    for bad in ("AP8", "AP9=", "AP8=\n", "AP8==", "A P8=", "AP-_", "é===", "====", "AP8=AP8="):
        refused(lambda bad=bad: fields.base64_bytes(bad))  # type: ignore[misc]
