"""The pure parts of signatures beside files: what is written is read again, what is hostile refused."""

import json
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oms_parts import forged, line, own_key, person, settled, statement
from vault.core import limits, oms_bundle, oms_matching, oms_signers, oms_statement, public_keys
from vault.core.oms_signers import Trusted
from vault.core.oms_statement import Resource, Statement
from vault.errors import Malformed, Refused
from vault.keys import ecdsa

ANNA = person("anna")
BUNDLE = forged(settled(statement()), ANNA)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(Refused) as found:
        work()
    return found.value.code


# --- bundles ---


def test_a_bundle_is_read_as_it_was_written() -> None:
    made = oms_bundle.Bundle(b"payload", (oms_bundle.Signature("id", b"sig"),), hint="hint")
    chained = oms_bundle.Bundle(b"p", (oms_bundle.Signature("", b"s"),), certificates=(b"leaf", b"root"))
    for bundle in (made, chained):
        for strict in (True, False):
            assert oms_bundle.parse(oms_bundle.serialise(bundle), strict=strict, subject="it") == bundle


@given(st.binary(max_size=300))
def test_any_bytes_are_a_bundle_or_refused(data: bytes) -> None:
    for strict in (True, False):
        with pytest.raises(Refused):
            oms_bundle.parse(data, strict=strict, subject="it")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the way to every part of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, entry in inner for found in places(entry, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], entry: Any) -> Any:
    """Copy a JSON value with another part."""
    copied = json.loads(json.dumps(value))
    if not path:
        return entry
    at = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = entry
    return copied


@given(st.sampled_from(places(json.loads(BUNDLE))), ANYTHING)
def test_a_bundle_with_any_part_replaced_is_read_or_refused(path: tuple[Any, ...], entry: Any) -> None:
    data = json.dumps(changed(json.loads(BUNDLE), path, entry)).encode("utf-8", "surrogatepass")
    for strict in (True, False):
        try:
            found = oms_bundle.parse(data, strict=strict, subject="it")
        except Refused:
            continue
        assert found.signatures


@given(st.sampled_from(places(statement())), ANYTHING)
def test_a_statement_with_any_part_replaced_is_read_or_refused(path: tuple[Any, ...], entry: Any) -> None:
    data = json.dumps(changed(statement(), path, entry)).encode("utf-8", "surrogatepass")
    for strict in (True, False):
        try:
            found = oms_statement.parse(data, strict=strict, subject="it")
        except Refused:
            continue
        assert found.resources
        assert found.model


# --- statements ---


def test_a_statement_is_read_as_it_was_written() -> None:
    made = Statement("churn", (Resource("a", bytes(32)), Resource("b/c", b"x" * 32)), annotations={"k": "v"})
    parts = Statement("m", (Resource("a", bytes(64), 0, 5), Resource("a", bytes(64), 5, 7)), "blake2b", 5)
    for one in (made, parts):
        assert oms_statement.parse(oms_statement.encode(one), strict=True, subject="it") == one


def test_resources_stand_in_the_order_of_their_names() -> None:
    made = Statement("m", tuple(Resource(name, bytes(32)) for name in ("a/b", "a.b", "a-b", "B")))
    found = json.loads(oms_statement.encode(made))["predicate"]["resources"]
    assert [entry["name"] for entry in found] == ["B", "a-b", "a.b", "a/b"]


@pytest.mark.parametrize(
    "parts",
    [
        ["a:0:5", "a:6:8"],
        ["a:0:5", "a:4:8"],
        ["a:1:5"],
        ["a:0:6"],
        ["a:0:4", "a:4:8"],
        ["a:0:0"],
        ["a:5:0"],
        ["a:0:5", "a:0:5"],
        ["a:00:5"],
        ["a:0:5", "b:5:8"],
        ["a"],
        ["a:0:x"],
        ["a:0:\u0665"],
        ["../a:0:5"],
    ],
)
def test_parts_that_do_not_make_up_files_are_refused(parts: list[str]) -> None:
    value = statement()
    value["predicate"]["serialization"] |= {"method": "shards", "shard_size": 5}
    entry = value["predicate"]["resources"][0]
    value["predicate"]["resources"] = [dict(entry, name=name) for name in parts]
    data = json.dumps(settled(value)).encode()
    for strict in (True, False):
        assert code_of(lambda s=strict: oms_statement.parse(data, strict=s, subject="it")).startswith(  # type: ignore[misc]
            "malformed"
        )


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/", "./a", "a/..", "..", "a\0b", "\ud800"])
def test_names_that_lead_elsewhere_are_refused_in_both_profiles(name: str) -> None:
    value = statement()
    value["predicate"]["resources"][0]["name"] = name
    data = json.dumps(settled(value)).encode()
    for strict in (True, False):
        with pytest.raises(Malformed):
            oms_statement.parse(data, strict=strict, subject="it")


def test_more_files_than_may_be_are_refused() -> None:
    many = tuple(Resource(f"{number}", bytes(32)) for number in range(limits.OMS_RESOURCES + 1))
    data = oms_statement.encode(Statement("m", many))
    assert code_of(lambda: oms_statement.parse(data, strict=True, subject="it")).startswith("malformed")
    most = oms_statement.encode(Statement("m", many[1:]))
    assert len(oms_statement.parse(most, strict=True, subject="it").resources) == limits.OMS_RESOURCES


def test_the_draft_of_2024_is_refused_by_its_name() -> None:
    value = statement()
    value["predicateType"] = "https://model_signing/Digests/v0.1"
    with pytest.raises(Malformed, match="draft") as found:
        oms_statement.parse(json.dumps(value).encode(), strict=False, subject="it")
    assert found.value.code == "wrong-payload-type"


def test_one_file_may_be_signed_by_its_name() -> None:
    named = Statement("m", (Resource("m.bin", bytes(32)),))
    assert oms_matching.alias(named, {"."}, "m.bin").resources[0].path == "."
    for found, name in (({"."}, "other.bin"), ({"m.bin"}, "m.bin"), ({".", "x"}, "m.bin")):
        assert oms_matching.alias(named, found, name) == named


# --- keys in other people's forms ---


def test_keys_are_read_as_they_were_written() -> None:
    derived = ecdsa.from_secret(bytes(range(48))).public
    for key in (own_key(ANNA), derived):
        assert public_keys.parse_pem(public_keys.pem(key), "it") == key
        kind, text = public_keys.openssh(key).split()
        assert public_keys.parse_openssh(kind, text, "it") == key


BAD_KEYS = {
    "nothing": b"",
    "text": b"hello",
    "an empty block": b"-----BEGIN PUBLIC KEY-----\n\n-----END PUBLIC KEY-----\n",
    "two blocks": public_keys.pem(own_key(ANNA)) * 2,
    "a private key": b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
    "not base64": b"-----BEGIN PUBLIC KEY-----\n****\n-----END PUBLIC KEY-----\n",
    "too long": b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 8_000 + b"\n-----END PUBLIC KEY-----\n",
    "a weak key": b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA"
    + b"A" * 43
    + b"=\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("kind", BAD_KEYS)
def test_bad_keys_are_refused_by_their_code(kind: str) -> None:
    assert code_of(lambda: public_keys.parse_pem(BAD_KEYS[kind], "it")) == "malformed-key"


def test_a_point_beside_its_curve_is_refused() -> None:
    key = public_keys.PublicKey(public_keys.P256, b"\x04" + b"\x01" * 64)
    assert code_of(lambda: ecdsa.check(key, "it")) == "malformed-key"
    assert not ecdsa.verify(key, b"\x30\x00", b"message")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        public_keys.parse_pem(data, "it")
    with pytest.raises(Malformed):
        public_keys.parse_spki(data, "it")


# --- whom to trust ---


def test_lines_are_read_with_their_options() -> None:
    ben_key = public_keys.openssh(own_key(person("ben")))
    text = f"""
# people
{line(ANNA)}
  ben namespaces="git,model",models="churn,nepse/*",valid-after="20260101" {ben_key} a comment
cleo REVOKED {public_keys.openssh(own_key(person("cleo")))}
"""
    anna, ben, cleo = oms_signers.parse(text.encode(), "it")
    assert (anna.person, anna.models, anna.revoked) == ("anna", None, False)
    assert (ben.models, ben.namespaces, ben.after) == (("churn", "nepse/*"), ("git", "model"), 1_767_225_600)
    assert (cleo.person, cleo.revoked) == ("cleo", True)
    assert len(Trusted((anna, ben, cleo)).by_id) == 3


KEY = public_keys.openssh(own_key(ANNA))
BAD_LINES = {
    "no key": "anna",
    "no person": KEY,
    "two people": f"anna,ben {KEY}",
    "a pattern for a person": f"* {KEY}",
    "an option that is not known": f"anna cert-authority {KEY}",
    "an option twice": f'anna models="a",models="b" {KEY}',
    "an option without a value": f"anna models {KEY}",
    "a value where none belongs": f'anna revoked="yes" {KEY}',
    "a pattern that negates": f'anna models="!a" {KEY}',
    "an empty pattern": f'anna models="" {KEY}',
    "no time": f'anna valid-before="tomorrow" {KEY}',
    "a day that is not there": f'anna valid-before="20260231" {KEY}',
    "another kind of key": KEY.replace("ssh-ed25519", "anna ssh-rsa"),
    "a key of another kind": "anna ecdsa-sha2-nistp256 " + KEY.split()[1],
    "a key cut off": f"anna {KEY[:-8]}",
    "a quotation mark alone": f'anna models="a {KEY}',
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_bad_line_is_refused_with_its_number(kind: str) -> None:
    with pytest.raises(Malformed, match=r"[Ll]ine 2") as found:
        oms_signers.parse(f"# first\n{BAD_LINES[kind]}\n".encode(), "signers")
    assert found.value.code in {"malformed-trust", "malformed-key"}


@given(
    st.text(alphabet=string.printable, max_size=200)
    | st.binary(max_size=100).map(lambda b: b.decode("latin-1"))
)
def test_any_text_lists_keys_or_is_refused(text: str) -> None:
    try:
        found = oms_signers.parse(text.encode(), "it")
    except Refused:
        return
    assert found == ()


def test_a_key_belongs_to_one_person_and_a_revocation_wins() -> None:
    both = oms_signers.parse((line(ANNA) + line(ANNA, options="revoked")).encode(), "it")
    for order in (both, both[::-1]):
        assert Trusted(order).by_id[ANNA.key_id].revoked
    shared = oms_signers.parse((line(ANNA) + line("ben", own_key(ANNA))).encode(), "it")
    assert code_of(lambda: Trusted(shared)) == "malformed-trust"


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("churn", "churn", True),
        ("churn", "churn2", False),
        ("nepse/*", "nepse/NABIL", True),
        ("nepse/*", "nepse", False),
        ("*", "", True),
        ("ch?rn:*", "churn:3", True),
        ("a*b*c", "aXbXbc", True),
        ("a*b*c", "aXcXb", False),
        ("*a" * 30, "b" * 200, False),
    ],
)
def test_patterns_mean_what_they_do_in_openssh(pattern: str, name: str, fits: bool) -> None:
    assert oms_signers.matches((pattern,), name) is fits


def test_a_file_of_trusted_keys_has_a_limit() -> None:
    assert code_of(lambda: oms_signers.parse(b"#" * (limits.OMS_TRUSTED_BYTES + 1), "it")) == "too-large"
