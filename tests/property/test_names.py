"""Names: what a parser accepts it gives back unchanged, and what it refuses it refuses as `Malformed`."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vault.core import layout, names, policy
from vault.errors import Malformed
from vault.storage import naming

# Half of the texts are drawn from characters that names are made of, so that many parse.
TEXTS = st.text(max_size=80) | st.text(st.sampled_from("aAzZ019._-/@:$~% \\é\u0301\x00\ud800"), max_size=24)
PARSERS: dict[str, Callable[[str], object]] = {
    "model": names.model,
    "version": names.version,
    "environment": names.environment,
    "slot": names.slot,
    "principal": names.principal,
    "digest": names.digest,
    "path": names.path,
    "pattern": policy.pattern,
}


@pytest.mark.parametrize("kind", PARSERS)
@given(text=TEXTS)
def test_a_name_comes_back_unchanged_or_is_refused(kind: str, text: str) -> None:
    try:
        found = PARSERS[kind](text)
    except Malformed:
        return
    assert found == text


@given(TEXTS | st.tuples(TEXTS, st.sampled_from("@:"), TEXTS).map("".join))
@example("churn@prod/main")
@example("churn@sha256:" + "0" * 64)
def test_a_reference_comes_back_unchanged_or_is_refused(text: str) -> None:
    try:
        found = names.reference(text)
    except Malformed:
        return
    assert str(found) == text.removesuffix("/main") or "@" not in text
    assert names.reference(str(found)) in (found, names.reference(text.removesuffix("/main")))


@given(st.integers(0, 253_402_300_799))
def test_every_second_has_one_spelling(seconds: int) -> None:
    text = names.time_text(seconds)
    assert names.timestamp(text) == seconds
    assert names.time_text(names.timestamp(text)) == text


@given(st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", fullmatch=True) | TEXTS)
def test_a_time_is_a_moment_or_is_refused(text: str) -> None:
    try:
        names.timestamp(text)
    except Malformed:
        return
    assert len(text) == 20


VERSIONS = (
    st.integers(1, 10**15 - 1).map(str)
    | st.from_regex(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(-[0-9a-z.-]{1,32})?", fullmatch=True)
    | st.from_regex(r"20[0-9]{2}[01][0-9][0-3][0-9]T[0-2][0-9][0-5][0-9][0-5][0-9]Z", fullmatch=True)
)


@given(VERSIONS, VERSIONS)
def test_two_versions_have_an_order_and_only_equal_ones_are_equal(left: str, right: str) -> None:
    try:
        first, second = names.version_order(left), names.version_order(right)
    except Malformed:
        return
    assert (first == second) == (left == right)
    assert (first < second) != (second < first) or left == right


@given(st.integers(1, 10**16 - 1), TEXTS)
def test_a_number_has_one_name(number: int, text: str) -> None:
    assert layout.parse_number(layout.numbered(number)) == number
    found = layout.parse_number(text)
    assert found is None or layout.numbered(found) == text


@given(TEXTS, TEXTS)
def test_names_that_parse_make_names_that_every_store_takes(model: str, version: str) -> None:
    try:
        name = layout.manifest(names.model(model), names.version(version))
    except Malformed:
        return
    naming.check_name(name)


@given(TEXTS)
def test_folding_twice_changes_nothing_for_a_path(text: str) -> None:
    try:
        path = names.path(text)
    except Malformed:
        return
    assert names.fold(names.fold(path)) == names.fold(path)
