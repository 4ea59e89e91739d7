"""What is said to be requirements, or an attestation, is that in its one spelling, or is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import attesting_parts
from vault.core import attestation, requirements, strict_json
from vault.errors import Malformed

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}(\+cpu|\.post1|rc1)?", fullmatch=True)
HASHES = st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=3)
PINS = st.dictionaries(NAMES, st.tuples(VERSIONS, HASHES), max_size=5)
LINES = st.text("abz019=.-_#\\ \n\t[]<>;@:/~!*+\x00é", max_size=200)


@given(PINS)
def test_what_is_pinned_is_read_as_it_was_written(told: dict[str, tuple[str, list[str]]]) -> None:
    pins = tuple(requirements.pin(name, *told[name]) for name in sorted(told))
    data = requirements.encode(pins)
    assert requirements.parse(data.decode(), "it") == pins
    if requirements.is_hashed(pins):
        assert requirements.parse_canonical(data, "it") == pins


@given(LINES)
def test_lines_are_pins_or_refused(text: str) -> None:
    try:
        pins = requirements.parse(text, "it")
    except Malformed:
        return
    assert requirements.parse(requirements.encode(pins).decode(), "it") == pins
    for entry in pins:
        assert not entry.line.startswith("-")
        assert "/" not in entry.line
        assert "@" not in entry.line


@given(st.text("here,python=3.129num*y -", max_size=40))
def test_what_to_test_against_is_spelled_in_one_way_or_refused(text: str) -> None:
    try:
        found = requirements.parse_against(text)
    except Malformed:
        return
    assert requirements.parse_against(str(found)) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def value() -> dict[str, Any]:
    built = attesting_parts.tested()
    found = strict_json.parse(attestation.encode(attesting_parts.word(built)), subject="it")
    assert isinstance(found, dict)
    return found


@given(st.data())
def test_an_attestation_with_another_field_is_one_or_refused(
    value: dict[str, Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(value)))
    changed = strict_json.encode({**value, name: data.draw(JSON)})
    try:
        record = attestation.parse(changed, "it")
    except Malformed:
        return
    assert attestation.encode(record) == changed


@given(st.binary(max_size=200))
def test_bytes_are_an_attestation_or_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        attestation.parse(data, "it")
