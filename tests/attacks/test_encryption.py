"""Ciphertext, headers and keys: what is altered, moved, cut or added is refused, and nothing is released."""

import os
from collections.abc import Callable
from functools import cache

import pytest

from tests.attacks.vault_mixing import headers, only, outcome, payloads
from tests.builders import Built, age_key, solo, team
from vault import sealing
from vault.actions import keyring
from vault.actions.publish import BytesSource
from vault.core import age, layout, limits, names
from vault.errors import DigestMismatch, Refused
from vault.keys import recipients
from vault.range_reader import RangeReader

CHUNK = limits.AGE_CHUNK + limits.AGE_TAG
NONCE = limits.AGE_NONCE
SMALL = {"model.json": b'{"w":1}'}


@cache
def several_chunks() -> Built:
    """Build a vault whose model has four chunks, the last one short, in one unit."""
    built = solo(seed="chunks")
    built.promote(built.publish({"model.json": model(3 * limits.AGE_CHUNK + 17)}))
    return built


@cache
def several_units() -> Built:
    """Build a vault whose model has three units, the last one short."""
    built = solo(seed="units")
    built.promote(built.publish({"model.json": model(2 * limits.UNIT_PLAIN + 3 * limits.AGE_CHUNK + 17)}))
    return built


def model(size: int) -> bytes:
    """Make a JSON text of a size, in which no two chunks are the same."""
    digits = "".join(f"{number:08d}" for number in range(size // 8 + 1))
    return f'{{"digits":"{digits}'.encode()[: size - 2] + b'"}'


def chunks(payload: bytes) -> tuple[bytes, list[bytes]]:
    """Split a payload into nonce and chunks."""
    body = payload[NONCE:]
    return payload[:NONCE], [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]


def swapped(parts: list[bytes], one: int, two: int) -> list[bytes]:
    found = list(parts)
    found[one], found[two] = found[two], found[one]
    return found


CHANGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "two chunks swapped": lambda parts: swapped(parts, 0, 1),
    "the last chunk first": lambda parts: [parts[-1], *parts[:-1]],
    "chunks reversed": lambda parts: parts[::-1],
    "a chunk repeated": lambda parts: [parts[0], *parts],
    "a chunk in place of another": lambda parts: [parts[0], parts[0], *parts[2:]],
    "the first chunk gone": lambda parts: parts[1:],
    "a chunk in the middle gone": lambda parts: [parts[0], *parts[2:]],
    "the last chunk gone": lambda parts: parts[:-1],
    "the last two chunks gone": lambda parts: parts[:-2],
    "all chunks gone": lambda parts: [],
    "the last chunk twice": lambda parts: [*parts, parts[-1]],
    "an empty chunk after the last": lambda parts: [*parts, bytes(limits.AGE_TAG)],
    "a byte after the last": lambda parts: [*parts, b"\x00"],
    "the last byte gone": lambda parts: [*parts[:-1], parts[-1][:-1]],
    "a tag gone": lambda parts: [*parts[:-1], parts[-1][: -limits.AGE_TAG]],
}


@pytest.mark.parametrize("fault", CHANGES)
@pytest.mark.parametrize("build", [several_chunks, several_units])
def test_chunks_that_were_moved_cut_or_added_are_refused(build: Callable[[], Built], fault: str) -> None:
    built = build().fork(forgetful=True)
    name = payloads(built, "churn", 1)["model.json"]
    nonce, parts = chunks(built.store.objects[name])
    assert len(parts) >= 4
    changed = nonce + b"".join(CHANGES[fault](parts))
    assert changed != built.store.objects[name]
    built.write(name, changed)
    assert outcome(built, "churn@prod") in {"size-mismatch", "decrypt-failed"}


@pytest.mark.parametrize("build", [several_chunks, several_units])
def test_a_flipped_bit_in_any_chunk_tag_or_nonce_is_refused(build: Callable[[], Built]) -> None:
    built = build().fork(forgetful=True)
    name = payloads(built, "churn", 1)["model.json"]
    honest = built.store.objects[name]
    places = {0, NONCE - 1, NONCE, len(honest) - 1, len(honest) - limits.AGE_TAG}
    _, parts = chunks(honest)
    for number in range(len(parts)):
        start = NONCE + number * CHUNK
        places |= {start, start + len(parts[number]) // 2, start + len(parts[number]) - 1}
    for place in sorted(places):
        changed = bytearray(honest)
        changed[place] ^= 0x40
        built.write(name, bytes(changed))
        assert outcome(built, "churn@prod") == "decrypt-failed"
    built.write(name, honest)
    assert isinstance(outcome(built, "churn@prod"), dict)


def test_two_units_cannot_be_swapped() -> None:
    built = several_units().fork(forgetful=True)
    name = payloads(built, "churn", 1)["model.json"]
    honest = built.store.objects[name]
    first, second = age.unit_start(1), age.unit_start(2)
    body = honest[NONCE:first]
    built.write(name, honest[:NONCE] + honest[first:second] + body + honest[second:])
    assert outcome(built, "churn@prod") == "decrypt-failed"


def test_the_unit_digests_are_not_trusted_and_not_needed_to_load() -> None:
    built = several_units().fork(forgetful=True)
    name = layout.units(payloads(built, "churn", 1)["model.json"])
    honest = built.store.objects[name]
    for changed in (b"", honest[:-1], honest[32:] + honest[:32], bytes(len(honest)), honest + honest):
        built.write(name, changed)
        assert isinstance(outcome(built, "churn@prod"), dict)


# --- the reader of ranges ---


def test_a_range_reader_of_a_truncated_payload_says_nothing_about_any_range() -> None:
    key, nonce = bytes(range(16)), bytes(16)
    plain = model(3 * limits.AGE_CHUNK + 17)
    written = bytearray()

    class Sink:
        def write(self, data: bytes | bytearray | memoryview) -> None:
            written.extend(data)

    done = sealing.seal(BytesSource(plain), Sink(), file_key=key, nonce=nonce, size=len(plain))

    def reader(stored: bytes, cipher_size: int) -> RangeReader:
        return RangeReader(BytesSource(stored), None, file_key=key, cipher_size=cipher_size, root=done.root)

    assert reader(bytes(written), done.cipher_size).read(5, 10) == plain[5:15]
    for size in (0, NONCE, NONCE + CHUNK, NONCE + 3 * CHUNK, len(written) - 1):
        for claimed in (size, done.cipher_size):
            with pytest.raises(Refused):
                reader(bytes(written[:size]), claimed)


# --- headers ---


def small() -> Built:
    built = solo(seed="headers")
    built.promote(built.publish(SMALL))
    return built.fork(forgetful=True)


def replaced_headers(built: Built, make: Callable[[bytes], bytes]) -> str | dict[str, bytes]:
    """Put other headers in place of all those for prod; load."""
    for name in headers(built, "churn", 1, "prod-1").values():
        built.write(name, make(built.store.objects[name]))
    return outcome(built, "churn@prod")


def file_key(built: Built, header: bytes) -> bytes:
    """Unwrap a file's key as prod's own key does."""
    return recipients.unwrap(age.parse_detached_header(header), [built.environment_key("prod")])


def test_a_header_for_another_key_is_refused() -> None:
    built = small()
    to = built.environment_key("prod").recipient()
    assert (
        replaced_headers(built, lambda _: recipients.wrap(os.urandom(16), [to], os.urandom)) == "key-mismatch"
    )


def test_a_header_wrapped_for_somebody_else_is_refused() -> None:
    built = small()
    other = recipients.generate_identity("x25519", os.urandom).recipient()
    assert (
        replaced_headers(built, lambda header: recipients.wrap(file_key(built, header), [other], os.urandom))
        == "key-mismatch"
    )


def test_a_new_header_with_the_right_key_changes_nothing_whoever_wrote_it() -> None:
    built = small()
    to = built.environment_key("prod").recipient()
    assert (
        replaced_headers(built, lambda header: recipients.wrap(file_key(built, header), [to], os.urandom))
        == SMALL
    )


def test_a_header_with_a_further_recipient_of_the_same_kind_still_serves() -> None:
    built = small()
    to = built.environment_key("prod").recipient()
    other = recipients.generate_identity("x25519", os.urandom).recipient()
    assert (
        replaced_headers(
            built, lambda header: recipients.wrap(file_key(built, header), [other, to], os.urandom)
        )
        == SMALL
    )


def test_a_stanza_pasted_into_a_header_breaks_its_mac_and_is_refused() -> None:
    grease = b"-> grease-1 a\nAAAA\n"
    built = small()
    assert (
        replaced_headers(built, lambda header: header.replace(b"\n-> ", b"\n" + grease + b"-> ", 1))
        == "key-mismatch"
    )


def test_a_header_without_its_mac_or_with_lines_after_it_is_refused() -> None:
    for make in (
        lambda header: header[: header.rindex(b"--- ")],
        lambda header: header + b"x",
        lambda header: header + header,
        lambda header: header.replace(b"\n", b"\r\n"),
        lambda header: b"",
        lambda header: bytes(limits.AGE_HEADER_BYTES + 1),
    ):
        assert replaced_headers(small(), make) == "key-mismatch"


# --- environment keys ---


def test_a_key_that_does_not_yield_the_public_half_in_the_policy_is_refused() -> None:
    built = small()
    name = only(built, "keys/prod/all/1/owner/")
    for plaintext in (
        f"{recipients.generate_identity('x25519', os.urandom).encode()}\n".encode(),
        b"not a key\n",
        b"",
        f"{built.owner.age_identity}\n".encode(),
    ):
        mine = recipients.parse_recipient(age_key(built.owner))
        built.write(name, recipients.encrypt_bytes(plaintext, [mine], os.urandom))
        code = outcome(built, "churn@prod")
        assert code in {"key-mismatch", "malformed-key"}


def test_a_wrong_copy_before_the_right_one_is_passed_over() -> None:
    built = small()
    name = only(built, "keys/prod/all/1/owner/")
    mine = recipients.parse_recipient(age_key(built.owner))
    wrong = recipients.encrypt_bytes(
        f"{recipients.generate_identity('x25519', os.urandom).encode()}\n".encode(), [mine], os.urandom
    )
    built.write(f"keys/prod/all/1/owner/{'0' * 16}-{'0' * 32}.age", wrong)
    assert name in built.store.objects
    assert outcome(built, "churn@prod") == SMALL


def test_a_recipient_that_was_replaced_is_not_wrapped_to() -> None:
    """Whoever exchanges prod's public key would be given the next model."""
    built = small()
    built.forgetful = False
    prod = built.policy.environments[names.environment("prod")].epochs[-1].recipient
    thief = recipients.generate_identity("x25519", os.urandom).recipient().encode()
    built.write(layout.recipient(prod.digest), thief.encode())
    ref = built.publish({"model.json": b'{"w":2}'})
    with pytest.raises(DigestMismatch):
        built.promote(ref)
    assert not headers(built, "churn", 2, "prod-1")
    dev = built.policy.environments[names.environment("dev")].epochs[-1].recipient
    built.write(layout.recipient(dev.digest), thief.encode())
    with pytest.raises(DigestMismatch):
        built.publish({"model.json": b'{"w":3}'})


# --- a wrapped key is no evidence ---


def test_a_package_wrapped_to_prods_key_by_somebody_who_may_only_publish_to_dev_is_not_in_prod() -> None:
    built = team()
    ref = built.publish(SMALL, who="dora")
    prod = built.policy.environments[names.environment("prod")]
    private = built.environment_key("dev")
    for file, name in headers(built, "churn", 1, "dev-1").items():
        key = recipients.unwrap(age.parse_detached_header(built.store.objects[name]), [private])
        session = built.session("dora")
        keyring.wrap_file_key(session, ref.model, names.version("1"), bytes.fromhex(file), key, prod)
    assert headers(built, "churn", 1, "prod-1")
    built.write_record(built.record(ref, 1), "dora")
    assert outcome(built, "churn@prod", who="server") == "not-found"
    assert outcome(built, "churn:1", who="server", env="prod") == "not-promoted"


def test_who_may_not_load_in_an_environment_is_refused_before_any_key_is_touched() -> None:
    built = team()
    ref = built.publish(SMALL)
    for who in ("ann", "bob"):
        built.approve(ref, who)
    built.promote(ref, who="rex")
    built.grant("dora", "prod")  # somebody gave her the key; the policy did not
    session = built.session("dora", env="prod")
    assert outcome(built, "churn@prod", who="dora") == "access-denied"
    with pytest.raises(Refused) as caught:
        built.read("churn@prod", session=session)
    assert caught.value.code == "access-denied"
    assert not session.environment_keys


def test_a_service_is_refused_models_that_are_not_its_own() -> None:
    built = team()
    ref = built.publish(SMALL, model="fraud")
    for who in ("ann", "bob"):
        built.approve(ref, who)
    built.promote(ref, who="rex")
    assert outcome(built, "fraud@prod", who="server") == "access-denied"


def test_the_keys_of_somebody_elses_folder_do_not_serve() -> None:
    built = team()
    name = only(built, "keys/prod/all/1/ann/")
    ref = built.publish(SMALL)
    for who in ("ann", "bob"):
        built.approve(ref, who)
    built.promote(ref, who="rex")
    built.write(only(built, "keys/prod/all/1/server/"), built.store.objects[name])
    assert outcome(built, "churn@prod", who="server") == "decrypt-failed"  # what is named after its own key
    del built.store.objects[only(built, "keys/prod/all/1/server/")]
    built.write(only(built, "keys/prod/all/1/ann/").replace("/ann/", "/server/"), built.store.objects[name])
    assert outcome(built, "churn@prod", who="server") == "no-usable-key"
