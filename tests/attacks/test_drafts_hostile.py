"""Drafts come from other people's hands: whatever they hold ends in a typed refusal, and signs nothing."""

import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import NOW, Built, solo
from tests.e2e.drafting_parts import SOLO, apply, change, draft, person, rotate, signed
from vault.actions import applying, ballots, draft_files, drafting
from vault.actions.draft_files import Draft
from vault.core import envelope, limits, names, policy, policy_document, trust
from vault.core.envelope import Signature
from vault.core.names import Digest, Principal
from vault.core.policy import Policy
from vault.errors import Conflict, DigestMismatch, Malformed, NotFound, Refused, Rollback, UntrustedSigner

ANN, BEN, EVE = person("ann"), person("ben"), person("eve")


@pytest.fixture
def built() -> Built:
    made = solo(seed="hostile drafts")
    made.promote(made.publish())
    return made


def document(made: Draft) -> Policy:
    assert isinstance(made.document, Policy)
    return made.document


def remade(made: Draft, **fields: object) -> Draft:
    """Change fields of a draft's policy."""
    return draft_files.of_policy(replace(document(made), **fields))  # type: ignore[arg-type]


# --- what a file may hold ---

GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "text": b"hello",
    "a list": b"[]",
    "null": b"null",
    "an object": b"{}",
    "not UTF-8": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a payload type that is a number": b'{"payload":"","payloadType":1,"signatures":[]}',
    "a manifest": b'{"payload":"","payloadType":"application/vnd.mvault.manifest.v1+json","signatures":[]}',
    "an empty policy": b'{"payload":"","payloadType":"%b","signatures":[]}'
    % envelope.payload_type(policy.KIND).encode(),
    "two values": b"{}{}",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused_and_stays_as_it_is(built: Built, tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "draft.json"
    path.write_bytes(data)
    with pytest.raises(Malformed) as caught:
        draft_files.read(path)
    assert caught.value.subject == str(path)
    with pytest.raises(Malformed):
        draft_files.update(path, lambda found: found)
    assert path.read_bytes() == data


def test_a_file_larger_than_any_draft_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "draft.json"
    with path.open("wb") as file:
        file.truncate(limits.ENVELOPE_BYTES * 64)
    with pytest.raises(Malformed) as caught:
        draft_files.read(path)
    assert caught.value.code in {"too-large", "malformed-json"}


def test_what_is_no_regular_file_is_a_mistake_and_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("pipe", "folder", "link"):
        with pytest.raises(ValueError, match="regular file"):
            draft_files.read(tmp_path / name)
    with pytest.raises(NotFound):
        draft_files.read(tmp_path / "nothing")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_a_draft_with_any_byte_changed_is_refused_or_says_the_same(
    built: Built, at: int, byte: int, cut: bool
) -> None:
    data = _signed_once(built)
    place = at % len(data)
    altered = data[:place] if cut else data[:place] + bytes([byte]) + data[place + 1 :]
    try:
        found = draft_files.parse(altered, "a draft")
        applying.require_signed(ballots.ballot(built.session(), [found]))
    except (Refused, Conflict):
        return
    assert found.envelope.payload == draft_files.parse(data, "a draft").envelope.payload


def _signed_once(built: Built) -> bytes:
    made = draft(built, SOLO)
    owner = built.identities["owner"]
    with_it = draft_files.with_signature(made, Digest(owner.key_id), owner.sign)
    return envelope.serialise(with_it.envelope)


# --- what a well-made draft may try ---


def refused_to_sign(built: Built, tmp_path: Path, made: Draft, kind: type[Exception]) -> Exception:
    path = tmp_path / "hostile.json"
    path.unlink(missing_ok=True)
    draft_files.write_new(path, made)
    before = path.read_bytes()
    with pytest.raises(kind) as caught:
        signed(built, tmp_path, [made], "owner")
    with pytest.raises(kind):
        apply(built, made)
    assert path.read_bytes() == before
    return caught.value


def test_a_draft_for_another_vault_is_not_signed(built: Built, tmp_path: Path) -> None:
    other = solo(seed="another vault of the same owner")
    error = refused_to_sign(built, tmp_path, draft(other, SOLO), DigestMismatch)
    assert isinstance(error, DigestMismatch)
    assert error.code == "misplaced"


def test_a_draft_from_an_older_state_is_not_signed(built: Built, tmp_path: Path) -> None:
    stale = draft(built, SOLO)
    (tmp_path / "a").mkdir()
    change(built, tmp_path / "a", SOLO + "  ann: {kind: person, roles: [owner]}\n", ANN)
    refused_to_sign(built, tmp_path, stale, Conflict)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": limits.NUMBER_MAX},
        {"version": limits.GAP + 3},
        {"version": 1},
        {"era": 2, "continues": {}},
        {"era": limits.NUMBER_MAX, "continues": {}},
        {"root_version": 9},
        {"root_digest": Digest("0" * 64)},
    ],
    ids=str,
)
def test_a_draft_with_numbers_that_none_of_ours_has_is_not_signed(
    built: Built, tmp_path: Path, fields: dict[str, object]
) -> None:
    refused_to_sign(built, tmp_path, remade(draft(built, SOLO), **fields), DigestMismatch)


@pytest.mark.parametrize("version", [9_999, limits.NUMBER_MAX])
def test_a_root_far_ahead_is_not_signed(built: Built, tmp_path: Path, version: int) -> None:
    root, _ = drafting.root_draft(built.session(), {Principal("owner"): []}, threshold=1)
    assert isinstance(root.document, trust.Root)
    far = draft_files.of_root(replace(root.document, version=version))
    refused_to_sign(built, tmp_path, far, DigestMismatch)


def test_a_file_that_is_swapped_between_looking_and_signing_is_not_signed(
    built: Built, tmp_path: Path
) -> None:
    path = tmp_path / "draft.json"
    draft_files.write_new(path, draft(built, SOLO))
    session = built.session()
    found = ballots.ballot(session, [draft_files.read(path)])
    path.unlink()
    draft_files.write_new(path, draft(built, SOLO + "  eve: {kind: person, roles: [owner]}\n", EVE))
    before = path.read_bytes()
    with pytest.raises(Conflict, match="changed meanwhile"):
        ballots.sign(found, session.identity, [path])
    assert path.read_bytes() == before


def test_foreign_and_broken_signatures_count_for_nothing_and_do_not_push_ours_out(
    built: Built, tmp_path: Path
) -> None:
    owner = built.identities["owner"]
    noise = [Signature(Digest(f"{number:064x}"), bytes(64)) for number in range(limits.SIGNATURES - 1)]
    broken = Signature(Digest(owner.key_id), b"\x01" * 64)
    made = draft(built, SOLO)
    crowded = replace(made, envelope=replace(made.envelope, signatures=(*noise, broken)))
    with pytest.raises(UntrustedSigner):
        applying.require_signed(ballots.ballot(built.session(), [crowded]))
    (after,) = signed(built, tmp_path, [crowded], "owner")
    assert len(after.envelope.signatures) <= limits.SIGNATURES
    assert apply(built, after).policy == 2


def test_noise_on_copies_does_not_make_a_policy_that_no_reader_takes(built: Built, tmp_path: Path) -> None:
    (good,) = signed(built, tmp_path, [draft(built, SOLO)], "owner")
    copies = []
    for start in (0, 64):
        noise = tuple(Signature(Digest(f"{start + n:064x}"), bytes(64)) for n in range(limits.SIGNATURES - 1))
        entries = (*good.envelope.signatures, *noise)
        copies.append(replace(good, envelope=replace(good.envelope, signatures=entries)))
    assert apply(built, *copies).policy == 2
    stored = envelope.parse(built.store.objects["trust/policy/000002.json"], kind=policy.KIND, subject="it")
    assert len(stored.signatures) <= limits.SIGNATURES
    assert built.owner.key_id in {entry.key_id for entry in stored.signatures}


def test_a_signature_for_one_draft_does_not_count_for_another(built: Built, tmp_path: Path) -> None:
    (good,) = signed(built, tmp_path, [draft(built, SOLO)], "owner")
    evil = draft(built, SOLO + "  eve: {kind: person, roles: [owner]}\n", EVE)
    moved = replace(evil, envelope=replace(evil.envelope, signatures=good.envelope.signatures))
    with pytest.raises(UntrustedSigner) as caught:
        apply(built, moved)
    assert caught.value.code == "threshold-not-met"


def test_a_signature_for_a_root_does_not_count_for_a_policy(built: Built) -> None:
    """Each kind is signed under its own name."""
    made = draft(built, SOLO)
    owner = built.identities["owner"]
    message = envelope.pae(envelope.payload_type(trust.KIND), made.envelope.payload)
    wrong = Signature(Digest(owner.key_id), owner.sign(message))
    with pytest.raises(UntrustedSigner):
        apply(built, replace(made, envelope=replace(made.envelope, signatures=(wrong,))))


def test_the_signature_of_a_holder_who_left_the_root_does_not_count(built: Built, tmp_path: Path) -> None:
    rotate(built, tmp_path, {"owner": [], "ann": [ANN], "ben": [BEN]}, 2, "owner", "ann")
    rotate(built, tmp_path, {"ann": [], "ben": []}, 2, "owner", "ann", "ben")
    made = draft(built, SOLO)
    for name in ("owner", "ann"):
        identity = built.identities[name]
        made = draft_files.with_signature(made, Digest(identity.key_id), identity.sign)
    with pytest.raises(UntrustedSigner, match="Waiting for any of: ben"):
        apply(built, made)


def test_one_signature_twice_is_one(built: Built, tmp_path: Path) -> None:
    rotate(built, tmp_path, {"owner": [], "ann": [ANN]}, 2, "owner", "ann")
    made = draft(built, SOLO)
    owner = built.identities["owner"]
    once = draft_files.with_signature(made, Digest(owner.key_id), owner.sign)
    twice = replace(once, envelope=replace(once.envelope, signatures=once.envelope.signatures * 2))
    with pytest.raises(UntrustedSigner):
        apply(built, twice)


def test_two_policies_at_once_are_a_mistake(built: Built) -> None:
    one, other = draft(built, SOLO), draft(built, SOLO, expires="1y")
    with pytest.raises(ValueError, match="two different drafts"):
        apply(built, one, other)


def test_a_stores_older_policy_is_not_drafted_from_nor_signed(built: Built, tmp_path: Path) -> None:
    """The store withholds the newest policy, so that a draft would undo it."""
    old = dict(built.store.objects)
    change(built, tmp_path, SOLO + "  ann: {kind: person, roles: [owner]}\n", ANN)
    withheld = built.fork()
    withheld.store.objects.clear()
    withheld.store.objects.update(old)
    with pytest.raises(Rollback):
        draft(withheld, SOLO)
    forgetful = withheld.fork(forgetful=True)
    undo = draft(forgetful, SOLO)
    with pytest.raises(Rollback):
        signed(withheld, tmp_path, [undo], "owner")


def test_what_a_stranger_puts_at_the_next_number_is_told_and_stepped_over(
    built: Built, tmp_path: Path
) -> None:
    (made,) = signed(built, tmp_path, [draft(built, SOLO)], "owner")
    built.write("trust/policy/000002.json", b"squatted")
    with pytest.raises(Conflict, match="something lies at trust/policy/000002"):
        apply(built, made)
    (tmp_path / "again").mkdir()
    assert change(built, tmp_path / "again", SOLO).policy == 3


def test_a_draft_is_never_written_over_another_file(built: Built, tmp_path: Path) -> None:
    path = tmp_path / "draft.json"
    draft_files.write_new(path, draft(built, SOLO))
    with pytest.raises(Conflict, match="left as it is"):
        draft_files.write_new(path, draft(built, SOLO))
    assert [entry.name for entry in tmp_path.iterdir()] == ["draft.json"]


# --- the payload ---


def _payload(change_to: Callable[[dict[str, object]], object]) -> Callable[[Draft], bytes]:
    def make(made: Draft) -> bytes:
        value = json.loads(made.envelope.payload)
        change_to(value)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return _sealed(text.encode())

    return make


def _sealed(payload: bytes) -> bytes:
    return json.dumps(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": envelope.payload_type(policy.KIND),
            "signatures": [],
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()


PAYLOADS: dict[str, Callable[[Draft], bytes]] = {
    "an unknown field": _payload(lambda value: value.update(extra=1)),
    "no principals": _payload(lambda value: value.pop("principals")),
    "continues in the first era": _payload(lambda value: value.update(continues={})),
    "continues a list": _payload(lambda value: value.update(era=1, continues=[])),
    "continues no channel": _payload(
        lambda value: value.update(era=1, continues={"prod": {"digest": "0" * 64, "seq": 1}})
    ),
    "continues from number 0": _payload(
        lambda value: value.update(era=1, continues={"prod/main/churn": {"digest": "0" * 64, "seq": 0}})
    ),
    "continues with more": _payload(
        lambda value: value.update(
            era=1, continues={"prod/main/churn": {"digest": "0" * 64, "seq": 1, "x": 1}}
        )
    ),
    "a time that is none": _payload(lambda value: value.update(expires="soon")),
    "an era below 0": _payload(lambda value: value.update(era=-1)),
    "not canonical": lambda made: _sealed(b" " + made.envelope.payload),
}


@pytest.mark.parametrize("make", PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_malformed_policy_is_refused_before_anybody_signs_it(
    built: Built, make: Callable[[Draft], bytes]
) -> None:
    with pytest.raises(Malformed):
        draft_files.parse(make(draft(built, SOLO)), "a draft")


def test_the_times_here_are_those_of_the_builders(built: Built) -> None:
    made = document(draft(built, SOLO))
    assert made.created == names.time_text(NOW)
    assert policy_document.parse(policy_document.encode(made), "it") == made
