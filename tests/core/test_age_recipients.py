"""Recipients: keys as text, wrapping for one kind at a time, and what a header may and may not say."""

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.core import age, bech32, limits
from vault.errors import DigestMismatch, Malformed, NoUsableKey, VaultError
from vault.keys import recipients
from vault.keys.recipients import Identity, Kind, Recipient

KINDS: list[Kind] = ["x25519", "mlkem768x25519"]
FILE_KEY = bytes(range(16))
LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]
AGE_MD_HYBRID = "AGE-SECRET-KEY-PQ-1XX76JRALNLXDMEW0CRK45QMCCH4X06SE84UN3VPM33W6HWDX0H3SK3ZQFR"


def identity_of(kind: Kind) -> Identity:
    return recipients.generate_identity(kind, os.urandom)


def wrapped(*identities: Identity) -> age.Header:
    header = recipients.wrap(FILE_KEY, [identity.recipient() for identity in identities], os.urandom)
    return age.parse_detached_header(header)


@pytest.mark.parametrize("kind", KINDS)
def test_keys_come_back_from_their_text(kind: Kind) -> None:
    identity = identity_of(kind)
    assert recipients.parse_identity(identity.encode()) == identity
    assert recipients.parse_recipient(identity.recipient().encode()) == identity.recipient()


def test_the_keys_of_the_specification_belong_together() -> None:
    line = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
    text = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj"
    assert recipients.parse_identity(line).recipient().encode() == text
    hybrid = recipients.parse_identity(AGE_MD_HYBRID).recipient().encode()
    assert hybrid.startswith("age1pq1x34nzsvr0rxjsgdn8zgyhfe8j7ceq5r9rdelkjuh3y235jzxshfg87pzf5zrqtzdxz95")
    assert hybrid.endswith("qheyty7saeq0d3fzv49zc0k")
    assert len(recipients.parse_recipient(hybrid).public) == 1216


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_case_that_age_programs_write_is_read(kind: Kind) -> None:
    identity = identity_of(kind)
    for parse, text in (
        (recipients.parse_identity, identity.encode().lower()),
        (recipients.parse_recipient, identity.recipient().encode().upper()),
        (recipients.parse_identity, identity.recipient().encode()),
        (recipients.parse_recipient, identity.encode()),
    ):
        with pytest.raises(Malformed) as caught:
            parse(text)
        assert caught.value.code == "malformed-key"


@pytest.mark.parametrize("prefix", ["age", "age1pq", "AGE-SECRET-KEY-", "AGE-SECRET-KEY-PQ-", "age1tag"])
def test_keys_of_another_length_or_kind_are_refused(prefix: str) -> None:
    for length in (0, 31, 33, 1215, 1217):
        text = bech32.encode(prefix, bytes([9]) * length)
        for parse in (recipients.parse_identity, recipients.parse_recipient):
            with pytest.raises(Malformed):
                parse(text)


@pytest.mark.parametrize("point", LOW_ORDER, ids=range(len(LOW_ORDER)))
def test_points_of_low_order_are_refused_as_recipients_and_as_shares(point: bytes) -> None:
    hybrid = identity_of("mlkem768x25519")
    for kind, public in (("x25519", point), ("mlkem768x25519", hybrid.recipient().public[:-32] + point)):
        with pytest.raises(Malformed) as caught:
            Recipient(kind, public)  # type: ignore[arg-type]
        assert caught.value.code == "malformed-key"
    for identity in (identity_of("x25519"), hybrid):
        header = wrapped(identity)
        share = age.decode_base64(header.stanzas[0].arguments[1].encode())[:-32] + point
        arguments = (header.stanzas[0].arguments[0], age.encode_base64(share).decode())
        stanza = replace(header.stanzas[0], arguments=arguments)
        with pytest.raises(Malformed) as caught:
            recipients.unwrap(age.build_header((stanza,), FILE_KEY), [identity])
        assert caught.value.code == "malformed-header"


def test_an_ml_kem_key_out_of_range_is_refused() -> None:
    public = b"\xff" * 1152 + identity_of("mlkem768x25519").recipient().public[1152:]
    with pytest.raises(Malformed) as caught:
        recipients.parse_recipient(bech32.encode("age1pq", public))
    assert caught.value.code == "malformed-key"


@pytest.mark.parametrize("kind", KINDS)
def test_every_recipient_unwraps_and_nobody_else(kind: Kind) -> None:
    one, two, stranger = (identity_of(kind) for _ in range(3))
    header = wrapped(one, two)
    assert len(header.stanzas) == 2
    for identity in (one, two):
        assert recipients.unwrap(header, [stranger, identity]) == FILE_KEY
    for nobody in ([stranger], [identity_of(KINDS[kind == "x25519"])], []):
        with pytest.raises(NoUsableKey):
            recipients.unwrap(header, nobody)


def test_both_kinds_are_never_mixed_in_one_header_and_a_header_has_a_recipient() -> None:
    mixed = [identity_of(kind).recipient() for kind in KINDS]
    many = [identity_of("x25519").recipient()] * (limits.AGE_STANZAS + 1)
    hybrids = [identity_of("mlkem768x25519").recipient()] * 45
    for several in (mixed, [], many, hybrids):
        with pytest.raises(ValueError, match="header"):
            recipients.wrap(FILE_KEY, several, os.urandom)


def test_a_mixed_header_from_elsewhere_opens() -> None:
    classical, hybrid = (identity_of(kind) for kind in KINDS)
    header = age.build_header(wrapped(classical).stanzas + wrapped(hybrid).stanzas, FILE_KEY)
    assert recipients.unwrap(header, [classical]) == recipients.unwrap(header, [hybrid]) == FILE_KEY


@pytest.mark.parametrize("kind", KINDS)
def test_stanzas_of_unknown_types_change_nothing(kind: Kind) -> None:
    identity = identity_of(kind)
    unknown = age.Stanza(("joint-grease", "a", "b"), bytes(70))
    header = age.build_header((unknown, *wrapped(identity).stanzas, unknown), FILE_KEY)
    assert recipients.unwrap(header, [identity]) == FILE_KEY


@pytest.mark.parametrize("kind", KINDS)
def test_a_stanza_added_without_the_file_key_breaks_the_mac(kind: Kind) -> None:
    identity = identity_of(kind)
    header = wrapped(identity)
    more = replace(header, stanzas=(*header.stanzas, age.Stanza(("grease",), b"")))
    with pytest.raises(DigestMismatch) as caught:
        recipients.unwrap(more, [identity])
    assert caught.value.code == "decrypt-failed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_passphrase_stanza_is_refused_anywhere(kind: Kind) -> None:
    identity = identity_of(kind)
    scrypt = age.Stanza(("scrypt", "bHVjaw", "18"), bytes(32))
    for stanzas in ((scrypt,), (*wrapped(identity).stanzas, scrypt)):
        with pytest.raises(Malformed) as caught:
            recipients.unwrap(age.build_header(stanzas, FILE_KEY), [identity])
        assert caught.value.code == "malformed-header"


@pytest.mark.parametrize("kind", KINDS)
def test_a_malformed_stanza_of_ones_own_type_is_refused_even_beside_a_good_one(kind: Kind) -> None:
    identity = identity_of(kind)
    good = wrapped(identity).stanzas[0]
    name, share = good.arguments
    bad = [
        replace(good, arguments=(name,)),
        replace(good, arguments=(name, share, "more")),
        replace(good, arguments=(name, share[:-2])),
        replace(good, arguments=(name, share + "AA")),
        replace(good, arguments=(name, "*" + share[1:])),
        replace(good, body=good.body[:-1]),
        replace(good, body=good.body + b"\x00"),
        replace(good, body=b""),
    ]
    for stanza in bad:
        with pytest.raises(Malformed) as caught:
            recipients.unwrap(age.build_header((good, stanza), FILE_KEY), [identity])
        assert caught.value.code == "malformed-header"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1, 65_536, 1_048_577])
def test_small_files_come_back(kind: Kind, size: int) -> None:
    identity = identity_of(kind)
    plaintext = os.urandom(size)
    file = recipients.encrypt_bytes(plaintext, [identity.recipient()], os.urandom)
    assert recipients.decrypt_bytes(file, [identity], limit=size) == plaintext
    if size:
        with pytest.raises(Malformed) as caught:
            recipients.decrypt_bytes(file, [identity], limit=size - 1)
        assert caught.value.code == "too-large"


def test_every_flipped_bit_and_truncation_of_a_small_file_is_refused() -> None:
    identity = identity_of("x25519")
    file = recipients.encrypt_bytes(b"secret", [identity.recipient()], os.urandom)
    damaged = [file[:length] for length in range(len(file))]
    for bit in range(8 * len(file)):
        flipped = bytearray(file)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        with pytest.raises((Malformed, DigestMismatch, NoUsableKey)):
            recipients.decrypt_bytes(data, [identity], limit=100)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_of_a_hybrid_file_is_refused(data: st.DataObject) -> None:
    file = bytearray(HYBRID_FILE)
    bit = data.draw(st.integers(0, 8 * len(file) - 1))
    file[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Malformed, DigestMismatch, NoUsableKey)):
        recipients.decrypt_bytes(bytes(file), [HYBRID], limit=100)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_typed_refusal(data: bytes) -> None:
    for candidate in (data, HYBRID_FILE[:60] + data):
        with pytest.raises(VaultError):
            recipients.decrypt_bytes(candidate, [HYBRID], limit=100)


@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_does_not_show_its_secret(kind: Kind) -> None:
    identity = identity_of(kind)
    shown = repr(identity) + str(identity)
    assert identity.secret.hex() not in shown
    assert repr(identity.secret) not in shown
    assert identity.encode() not in shown


def test_a_short_source_of_randomness_is_noticed() -> None:
    for call in (
        lambda: recipients.generate_identity("x25519", lambda n: bytes(n - 1)),
        lambda: recipients.encrypt_bytes(b"", [HYBRID.recipient()], lambda n: bytes(n + 1)),
    ):
        with pytest.raises(ValueError, match="randomness"):
            call()
    with pytest.raises(ValueError, match="kind"):
        recipients.generate_identity("rsa", os.urandom)  # type: ignore[arg-type]


HYBRID = identity_of("mlkem768x25519")
HYBRID_FILE = recipients.encrypt_bytes(b"secret", [HYBRID.recipient()], os.urandom)
