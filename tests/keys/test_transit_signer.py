"""Identities whose signing key is in a transit engine: against OpenBao, and against servers that lie."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.keys.hostile_service import Hostile, listening
from tests.servers.openbao import ROOT_TOKEN, VARIABLES, OpenBao, openbao
from vault.core import ed25519, key_services
from vault.core.key_services import SigningKeyId
from vault.errors import AccessDenied, BadSignature, NoUsableKey, Unavailable, VaultError
from vault.keys import identity_file, recipients, transit
from vault.keys.transit import TransitSigner

__all__ = ["openbao"]
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = ed25519.PublicKey.parse(OTHER.public_key().public_bytes_raw())


@pytest.fixture(autouse=True)
def asker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Somebody with nothing set but a token."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BAO_TOKEN", ROOT_TOKEN)
    return monkeypatch


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    """A server that answers what a test says."""
    with listening() as found:
        yield found


def find(url: str, version: int | None = None) -> TransitSigner:
    return transit.find_signer(key_services.transit_key(url), version)


def lying(hostile: Hostile, version: int = 1) -> TransitSigner:
    key = key_services.transit_key(f"{hostile.address}/transit/k")
    return transit.open_signer(SigningKeyId(key, version), PUBLIC)


def test_it_signs_what_anybody_verifies(openbao: OpenBao) -> None:
    signer = find(openbao.key("ed25519"))
    for message in (b"", b"hello", b"x" * 3_000_000):
        assert ed25519.verify(signer.public.raw, signer.sign(message), message)


def test_a_key_that_is_rotated_does_not_change_who_signs(openbao: OpenBao) -> None:
    url = openbao.key("ed25519")
    name = url.rpartition("/")[2]
    signer = find(url)
    engine = openbao.client.secrets.transit
    engine.rotate_key(name)
    assert signer.public.verify(signer.sign(b"hello"), b"hello")
    assert find(url).public.raw != signer.public.raw
    assert find(url, 1).public.raw == signer.public.raw
    engine.update_key_configuration(name, min_encryption_version=2)
    with pytest.raises(AccessDenied, match="version 1"):
        signer.sign(b"hello")
    engine.update_key_configuration(name, min_decryption_version=2)
    with pytest.raises(AccessDenied, match="version 1"):
        signer.sign(b"hello")
    with pytest.raises(ValueError, match="no version 1"):
        find(url, 1)


def test_a_key_that_was_made_anew_under_its_name_is_refused(openbao: OpenBao) -> None:
    url = openbao.key("ed25519")
    name = url.rpartition("/")[2]
    signer = find(url)
    engine = openbao.client.secrets.transit
    engine.update_key_configuration(name, deletion_allowed=True)
    engine.delete_key(name)
    with pytest.raises(AccessDenied):
        signer.sign(b"hello")
    engine.create_key(name, key_type="ed25519")
    with pytest.raises(BadSignature):
        signer.sign(b"hello")


def test_a_policy_of_the_service_decides_who_signs(openbao: OpenBao, asker: pytest.MonkeyPatch) -> None:
    url = openbao.key("ed25519")
    signer = find(url)
    asker.setenv("BAO_TOKEN", openbao.token(url, "sign"))
    assert signer.sign(b"hello")
    with pytest.raises(AccessDenied):
        find(url)  # it may not look at the key
    asker.setenv("BAO_TOKEN", openbao.token(url, "keys"))
    with pytest.raises(AccessDenied):
        signer.sign(b"hello")
    with pytest.raises(AccessDenied):
        find(url)
    asker.delenv("BAO_TOKEN")
    with pytest.raises(NoUsableKey):
        signer.sign(b"hello")


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("aes256-gcm96", {}, "type aes256-gcm96"),
        ("ecdsa-p256", {}, "type ecdsa-p256"),
        ("ed25519", {"derived": True}, "derived"),
        ("ed25519", {"exportable": True}, "exported"),
        ("ed25519", {"allow_plaintext_backup": True}, "backed up"),
    ],
)
def test_a_key_whose_private_half_may_leave_or_that_is_another_kind_becomes_no_identity(
    openbao: OpenBao, kind: str, options: dict[str, bool], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        find(openbao.key(kind, **options))


def test_an_identity_file_names_the_key_and_holds_no_signing_key(openbao: OpenBao, tmp_path: Path) -> None:
    signer = find(openbao.key("ed25519"))
    age = recipients.generate_identity("x25519", lambda size: bytes(range(size)))
    made = identity_file.new(
        "anna",
        random=bytes,
        now=1_700_000_000,
        age_identity=age.encode(),
        age_recipient=age.recipient().encode(),
        remote=(identity_file.Remote(signer.key, signer), signer.public),
    )
    path = tmp_path / "anna.json"
    identity_file.save(made, path, None)
    found = identity_file.unlock(path, lambda _: b"", transit.open_signer)
    assert found.key_id == signer.public.key_id
    assert found.age_identity == age.encode()
    assert signer.public.verify(found.sign(b"hello"), b"hello")
    assert identity_file.read_public(path).signer == signer.key
    assert ROOT_TOKEN.encode() not in path.read_bytes()
    secret = json.loads(base64.b64decode(json.loads(path.read_bytes())["secret"]))
    assert set(secret) == {"age", "created"}


def test_its_keys_for_other_purposes_are_always_the_same_and_all_different(openbao: OpenBao) -> None:
    signer = find(openbao.key("ed25519"))
    made = identity_file.new(
        "anna",
        random=bytes,
        now=0,
        age_identity=None,
        age_recipient=None,
        remote=(identity_file.Remote(signer.key, signer), signer.public),
    )
    first, again, other = made.derive(b"one"), made.derive(b"one"), made.derive(b"two")
    assert first.public == again.public
    assert len({first.public, other.public, made.public}) == 3
    assert ed25519.verify(first.public, first.sign(b"x"), b"x")


def test_a_file_keeps_its_key_under_a_new_passphrase_and_without_the_service(
    hostile: Hostile, tmp_path: Path
) -> None:
    signer = lying(hostile, 3)
    remote = (identity_file.Remote(signer.key, signer), signer.public)
    made = identity_file.new(
        "anna", random=bytes, now=0, age_identity=None, age_recipient=None, remote=remote
    )
    path = tmp_path / "anna.json"
    identity_file.save(made, path, None)
    identity_file.protect(path, lambda _: b"", lambda _: b"secret")
    assert identity_file.read_public(path).protected
    assert identity_file.unlock(path, lambda _: b"secret", transit.open_signer).public == signer.public.raw
    assert identity_file.read_public(path).signer == signer.key
    assert hostile.asked == []


# --- a service that lies ---


def told(signature: str) -> bytes:
    return json.dumps({"data": {"signature": signature}}).encode()


def spelled(signature: bytes, version: int = 1) -> str:
    return f"vault:v{version}:{base64.b64encode(signature).decode()}"


@pytest.mark.parametrize(
    "signature",
    [
        spelled(OTHER.sign(b"another message")),
        spelled(Ed25519PrivateKey.from_private_bytes(bytes(32)).sign(b"hello")),
        spelled(OTHER.sign(b"hello"), 2),
        spelled(OTHER.sign(b"hello") + b"\0"),
        spelled(b""),
        spelled(bytes(64)),
        "vault:v1:no base64!",
        "vault:v1:" + "A" * 4_000,
        "AAAA",
        "",
    ],
)
def test_a_signature_that_is_not_the_pinned_keys_is_refused(hostile: Hostile, signature: str) -> None:
    hostile.says(told(signature))
    with pytest.raises(BadSignature) as caught:
        lying(hostile).sign(b"hello")
    assert caught.value.hint


@pytest.mark.parametrize("data", [{}, {"signature": 1}, {"signature": None}, {"signature": ["x"]}, None, []])
def test_an_answer_without_a_signature_is_unavailable(hostile: Hostile, data: object) -> None:
    hostile.says(json.dumps({"data": data}).encode())
    with pytest.raises(Unavailable):
        lying(hostile).sign(b"hello")


def test_the_right_signature_is_taken(hostile: Hostile) -> None:
    hostile.says(told(spelled(OTHER.sign(b"hello"))))
    assert lying(hostile).sign(b"hello") == OTHER.sign(b"hello")


KEY = {
    "type": "ed25519",
    "derived": False,
    "exportable": False,
    "allow_plaintext_backup": False,
    "latest_version": 1,
    "keys": {"1": {"public_key": base64.b64encode(PUBLIC.raw).decode()}},
}


@pytest.mark.parametrize(
    "change",
    [
        {"type": 1},
        {"derived": "no"},
        {"exportable": None},
        {"latest_version": 0},
        {"latest_version": "1"},
        {"keys": []},
        {"keys": {"1": None}},
        {"keys": {"1": {}}},
        {"keys": {"1": {"public_key": "x"}}},
        {"keys": {"1": {"public_key": base64.b64encode(bytes(32)).decode()}}},  # of small order
        {"keys": {"1": {"public_key": base64.b64encode(bytes(31)).decode()}}},
        {},  # it shows a key, and does not sign with it
    ],
)
def test_a_key_that_is_described_oddly_becomes_no_identity(
    hostile: Hostile, change: dict[str, object]
) -> None:
    hostile.says(json.dumps({"data": {**KEY, **change}}).encode())
    with pytest.raises(VaultError):
        find(f"{hostile.address}/transit/k")
