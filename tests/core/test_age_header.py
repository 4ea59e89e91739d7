"""An age header has one text: what is accepted serialises to the same bytes, all else is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.core import age, limits
from vault.errors import DigestMismatch, Malformed, Refused

FILE_KEY = bytes(range(16))
ARGUMENTS = st.lists(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12),
    min_size=1,
    max_size=4,
)
STANZAS = st.lists(
    st.builds(age.Stanza, ARGUMENTS.map(tuple), st.binary(max_size=150)), min_size=1, max_size=4
).map(tuple)
JUNK = st.sampled_from([b"\n", b"\r", b" ", b"=", b"A", b"-> ", b"---", b"\x00", b"\xff", b"/", b""])


def text_of(*stanzas: bytes, mac: bytes = bytes(32), version: bytes = b"v1") -> bytes:
    end = b"--- " + base64.b64encode(mac).rstrip(b"=") + b"\n"
    return b"age-encryption.org/" + version + b"\n" + b"".join(stanzas) + end


def refused(data: bytes) -> Malformed:
    with pytest.raises(Malformed) as caught:
        age.parse_header(data)
    assert caught.value.code == "malformed-header"
    return caught.value


@given(STANZAS, st.binary(max_size=40))
def test_what_was_built_parses_to_itself_whatever_follows(
    stanzas: tuple[age.Stanza, ...], payload: bytes
) -> None:
    header = age.build_header(stanzas, FILE_KEY)
    text = age.serialise_header(header)
    assert age.parse_header(text + payload) == (header, len(text))
    assert age.parse_detached_header(text) == header
    age.check_mac(header, FILE_KEY)


@given(STANZAS, st.data())
def test_mutated_headers_serialise_to_the_same_bytes_or_are_refused(
    stanzas: tuple[age.Stanza, ...], draw: st.DataObject
) -> None:
    text = age.serialise_header(age.build_header(stanzas, FILE_KEY))
    for _ in range(draw.draw(st.integers(1, 3))):
        start = draw.draw(st.integers(0, len(text)))
        end = draw.draw(st.integers(start, min(len(text), start + 3)))
        text = text[:start] + draw.draw(JUNK | st.binary(max_size=3)) + text[end:]
    try:
        header, consumed = age.parse_header(text)
    except Malformed:
        return
    assert age.serialise_header(header) == text[:consumed]


@given(st.binary(max_size=300))
def test_any_bytes_parse_to_themselves_or_are_refused(data: bytes) -> None:
    for candidate in (data, b"age-encryption.org/v1\n" + data, b"age-encryption.org/v1\n-> X\n" + data):
        try:
            header, consumed = age.parse_header(candidate)
        except Malformed:
            continue
        assert age.serialise_header(header) == candidate[:consumed]


def test_every_truncation_is_refused() -> None:
    text = age.serialise_header(age.build_header((age.Stanza(("X25519", "a"), bytes(50)),), FILE_KEY))
    for length in range(len(text)):
        refused(text[:length])


def test_every_flipped_bit_is_refused_or_breaks_the_mac() -> None:
    text = age.serialise_header(age.build_header((age.Stanza(("X25519", "a"), bytes(50)),), FILE_KEY))
    for bit in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refused):
            age.check_mac(age.parse_detached_header(bytes(flipped)), FILE_KEY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"age-encryption.org/v1",
        b"age-encryption.org/v1\r\n",
        text_of(),
        text_of(b"-> X\n\n", version=b"v2"),
        text_of(b"-> X\n\n", mac=bytes(31)),
        text_of(b"-> X\n\n", mac=bytes(33)),
        text_of(b"-> \n\n"),
        text_of(b"->X\n\n"),
        text_of(b"-> X \n\n"),
        text_of(b"-> X  Y\n\n"),
        text_of(b"->  X\n\n"),
        text_of(b"-> X\tY\n\n"),
        text_of(b"-> \xc3\xa9\n\n"),
        text_of(b"-> X\nQQ==\n"),
        text_of(b"-> X\nQR\n"),
        text_of(b"-> X\nQ\n"),
        text_of(b"-> X\n" + b"A" * 64 + b"\n"),
        text_of(b"-> X\n" + b"A" * 65 + b"\n"),
        text_of(b"-> X\nQQ\nQQ\n"),
        text_of(b"-> X\nQ-\n"),
        text_of(b"-> X\n\n")[:-1] + b" \n",
        text_of(b"-> X\n\n").replace(b"--- ", b"---"),
        text_of(b"-> X\n\n").replace(b"--- ", b"---  "),
    ],
)
def test_text_outside_the_grammar_is_refused(data: bytes) -> None:
    refused(data)


def test_a_header_by_itself_ends_where_it_ends() -> None:
    text = text_of(b"-> X\n\n")
    assert age.parse_detached_header(text).stanzas == (age.Stanza(("X",), b""),)
    with pytest.raises(Malformed):
        age.parse_detached_header(text + b"\n")


def test_limits_hold_at_their_edges() -> None:
    many = text_of(*[b"-> X\n\n"] * limits.AGE_STANZAS)
    assert len(age.parse_detached_header(many).stanzas) == limits.AGE_STANZAS
    assert "stanzas" in refused(text_of(*[b"-> X\n\n"] * (limits.AGE_STANZAS + 1))).message
    wide = text_of(b"-> " + b" ".join([b"X"] * limits.AGE_ARGUMENTS) + b"\n\n")
    assert len(age.parse_detached_header(wide).stanzas[0].arguments) == limits.AGE_ARGUMENTS
    assert "arguments" in refused(wide.replace(b"-> X", b"-> X X")).message
    empty = len(text_of(b"-> \n\n"))
    longest = text_of(b"-> " + b"X" * (limits.AGE_HEADER_BYTES - empty) + b"\n\n")
    assert len(longest) == limits.AGE_HEADER_BYTES
    assert age.parse_header(longest + b"more")[1] == len(longest)
    refused(longest.replace(b"-> X", b"-> XX"))


def test_a_header_that_nobody_could_read_cannot_be_built() -> None:
    for stanzas in ((), (age.Stanza(("a b",), b""),), (age.Stanza((), b""),), (age.Stanza(("é",), b""),)):
        with pytest.raises(ValueError, match="no age header"):
            age.build_header(stanzas, FILE_KEY)


def test_another_file_key_does_not_fit_the_mac() -> None:
    header = age.build_header((age.Stanza(("X",), b""),), FILE_KEY)
    with pytest.raises(DigestMismatch) as caught:
        age.check_mac(header, bytes(16))
    assert caught.value.code == "decrypt-failed"
