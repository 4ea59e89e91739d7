"""Bech32 text is decoded in its one form, or refused as `malformed-key`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.core import bech32, limits
from vault.errors import Malformed

VALID = {
    "A12UEL5L": ("A", b""),
    "a12uel5l": ("a", b""),
    "?1ezyfcl": ("?", b""),
    "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs": (
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio",
        b"",
    ),
    "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw": (
        "abcdef",
        bytes.fromhex("00443214c74254b635cf84653a56d7c675be77df"),
    ),
    "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj": (
        "age",
        bytes.fromhex("132c442be010fbd57e72603328aa76e71fccc1503aae219327d14d9c9993f472"),
    ),
    "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX": (
        "AGE-SECRET-KEY-",
        b"\x42" * 32,
    ),
}
INVALID = {
    "\x201nwldj5": "a prefix with a space",
    "\x7f1axkwrx": "a prefix with a control character",
    "\x801eym55h": "a character outside ASCII",
    "x" * 84 + "1569pvx": "a long prefix",
    "pzry9x0s0muk": "no separator",
    "1pzry9x0s0muk": "an empty prefix",
    "x1b4n0q5v": "a character that is not in the alphabet",
    "li1dgmt3": "a short checksum",
    "de1lg7wt\xff": "a checksum with a character outside ASCII",
    "A1G7SGD8": "a checksum over the upper-case prefix",
    "10a06t8": "an empty prefix",
    "1qzzfhee": "an empty prefix",
    "A12uEL5L": "mixed case",
    "": "nothing",
    "a12uel5l ": "a trailing space",
    "a12uel5l\n": "a trailing line feed",
}
PREFIXES = st.sampled_from(["age", "age1pq", "AGE-SECRET-KEY-", "AGE-SECRET-KEY-PQ-"])


@pytest.mark.parametrize("text", VALID)
def test_text_that_bip_173_and_age_call_valid_is_decoded_and_encodes_again(text: str) -> None:
    assert bech32.decode(text) == VALID[text]
    assert bech32.encode(*VALID[text]) == text


@pytest.mark.parametrize("text", INVALID, ids=INVALID.values())
def test_text_that_bip_173_calls_invalid_is_refused(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        bech32.decode(text)
    assert caught.value.code == "malformed-key"


@given(PREFIXES, st.binary(max_size=1300))
def test_every_key_comes_back(prefix: str, data: bytes) -> None:
    assert bech32.decode(bech32.encode(prefix, data)) == (prefix, data)


@given(PREFIXES, st.binary(min_size=1, max_size=40), st.data())
def test_one_changed_character_is_refused(prefix: str, data: bytes, draw: st.DataObject) -> None:
    text = bech32.encode(prefix, data)
    at = draw.draw(st.integers(0, len(text) - 1))
    other = draw.draw(st.characters(max_codepoint=0x17F).filter(lambda character: character != text[at]))
    with pytest.raises(Malformed):
        bech32.decode(text[:at] + other + text[at + 1 :])


@given(st.text(max_size=200))
def test_any_text_decodes_or_is_refused(text: str) -> None:
    try:
        prefix, data = bech32.decode(text)
    except Malformed:
        return
    assert bech32.encode(prefix, data) == text


@pytest.mark.parametrize("values", [[1], [0, 1], [0] * 3, [0, 0, 0, 1]])
def test_bits_left_over_are_refused(values: list[int]) -> None:
    text = "age1" + "".join("qpzry9x8gf2tvdw0s3jn54khce6mua7l"[value] for value in values)
    with pytest.raises(Malformed):
        bech32.decode(text + _checksum("age", values))


def test_text_over_the_limit_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(Malformed):
        bech32.decode("a1" + "q" * limits.RECIPIENT_CHARS)
    with pytest.raises(ValueError, match="too many"):
        bech32.encode("age", bytes(limits.RECIPIENT_CHARS))


@pytest.mark.parametrize("prefix", ["", "Age", "a b", "é", "x" * 84])
def test_a_prefix_that_cannot_be_written_is_the_callers_mistake(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        bech32.encode(prefix, b"")


def test_a_refusal_does_not_repeat_the_secret() -> None:
    secret = bech32.encode("AGE-SECRET-KEY-", bytes(range(32)))
    with pytest.raises(Malformed) as caught:
        bech32.decode(secret[:-1] + ("Q" if secret[-1] != "Q" else "P"))
    assert secret[20:40] not in str(caught.value)


def _checksum(prefix: str, values: list[int]) -> str:
    """Compute a checksum as BIP 173 does, apart from the code under test."""
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    codes = [ord(character) for character in prefix]
    residue = 1
    for value in [code >> 5 for code in codes] + [0] + [code & 31 for code in codes] + values + [0] * 6:
        top, residue = residue >> 25, (residue & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            residue ^= generator if top >> bit & 1 else 0
    return "".join(alphabet[(residue ^ 1) >> 5 * (5 - index) & 31] for index in range(6))
