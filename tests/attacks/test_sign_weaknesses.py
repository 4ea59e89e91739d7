"""Every weakness that was seen in a widely used model signer: refused here, beside what that signer does.

Each attack is one folder and one bundle, which our verification and the reference tool are given alike.
What the tool did is recorded: if a newer release of it does otherwise, a test here says so.
"""

import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.oms_parts import (
    ACCEPTED,
    FILES,
    folder,
    forged,
    person,
    refused,
    settled,
    signed_by,
    statement,
    tool,
    tool_verifies,
    trust,
)
from vault.actions.signing import sign
from vault.actions.verifying import verify
from vault.errors import Refused

ANNA, BEN = person("anna"), person("ben")


@dataclass(frozen=True, slots=True)
class Scene:
    """A model and its signature, as an attacker left them; `asked` is what a careful user asks for."""

    model: Path
    signature: Path
    asked: Mapping[str, Any] = field(default_factory=dict)
    tool: tuple[str, ...] = ()


def scene(at: Path, bundle: bytes, files: Mapping[str, bytes] = FILES, **more: Any) -> Scene:
    """Lay files and a bundle out."""
    model = folder(at / "churn", files)
    signature = at / "churn.sig"
    signature.write_bytes(bundle)
    return Scene(model, signature, **more)


def honest(at: Path, **more: Any) -> Scene:
    """Lay out a model that Anna signed."""
    made = scene(at, b"", **more)
    made.signature.unlink()
    sign(made.model, identity=ANNA, cache=False)
    return made


def added(name: str) -> Callable[[Path], Scene]:
    """Put a file where nobody signed it."""

    def attack(at: Path) -> Scene:
        made = honest(at)
        folder(made.model, {name: b"import os"})
        return made

    return attack


def folder_for_signature(at: Path) -> Scene:
    """Take the signature out of a model, and put a folder of its name there."""
    model = folder(at / "churn")
    inside = model / "model.sig"
    sign(model, identity=ANNA, signature=inside, cache=False)
    outside = at / "taken.sig"
    inside.rename(outside)
    folder(model, {"model.sig/run.py": b"import os"})
    return Scene(model, outside)


def left_out_by_its_signer(at: Path) -> Scene:
    value = statement(ignore_paths=("cache",))
    return scene(at, forged(value, ANNA), {**FILES, "cache/run.py": b"import os"})


def everything_left_out(at: Path) -> Scene:
    value = statement({}, ignore_paths=())
    value["predicate"]["serialization"]["ignore_paths"] = ["."]
    return scene(at, forged(settled(value), ANNA), {"run.py": b"import os"})


def no_file_listed(at: Path) -> Scene:
    return scene(at, forged(settled(statement({})), ANNA), {})


def listed_but_left_out(at: Path) -> Scene:
    """An empty list, and a folder full of what OMS leaves out."""
    return scene(at, forged(settled(statement({})), ANNA), {".git/run.py": b"import os"})


def behind_a_linked_folder(at: Path) -> Scene:
    value = statement(allow_symlinks=True)
    made = scene(at, forged(value, ANNA), tool=("--allow_symlinks",))
    elsewhere = folder(at / "elsewhere", {"run.py": b"import os"})
    (made.model / "code").symlink_to(elsewhere)
    return made


def linked_file(at: Path) -> Scene:
    made = honest(at)
    real = at / "a.bin"
    (made.model / "weights/a.bin").rename(real)
    (made.model / "weights/a.bin").symlink_to(real)
    return made


def linked_and_allowed(at: Path) -> Scene:
    made = scene(at, forged(statement(allow_symlinks=True), ANNA), tool=("--allow_symlinks",))
    real = at / "a.bin"
    (made.model / "weights/a.bin").rename(real)
    (made.model / "weights/a.bin").symlink_to(real)
    return made


def linked_model(at: Path) -> Scene:
    made = honest(at)
    made.model.rename(at / "real")
    made.model.symlink_to(at / "real")
    return made


def listed_twice(at: Path) -> Scene:
    value = statement()
    other = dict(value["predicate"]["resources"][0], digest="0" * 64)
    value["predicate"]["resources"].insert(0, other)
    return scene(at, forged(settled(value), ANNA))


def spelled(change: Callable[[str], str]) -> Callable[[Path], Scene]:
    """Have Anna sign a payload in an odd spelling."""
    return lambda at: scene(at, signed_by(change(json.dumps(statement())).encode(), ANNA))


def with_fields(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Scene]:
    """Have Anna sign a changed statement."""

    def attack(at: Path) -> Scene:
        value = statement()
        change(value)
        return scene(at, forged(value, ANNA))

    return attack


def bundled(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Scene]:
    """Change a bundle around what is signed."""

    def attack(at: Path) -> Scene:
        value = json.loads(forged(statement(), ANNA))
        change(value)
        return scene(at, json.dumps(value).encode())

    return attack


def bundle_text(change: Callable[[bytes], bytes]) -> Callable[[Path], Scene]:
    """Change the bytes of a bundle."""
    return lambda at: scene(at, change(forged(statement(), ANNA)))


def named(name: str) -> Callable[[Path], Scene]:
    """Have Anna sign a file of this name, which is not there under it."""

    def attack(at: Path) -> Scene:
        folder(at, {"evil.bin": b"x"})
        value = statement({**FILES, "x": b"x"})
        value["predicate"]["resources"][-1]["name"] = name
        return scene(at, forged(value, ANNA), tool=("--ignore_unsigned_files",))

    return attack


def colliding(*files: str) -> Callable[[Path], Scene]:
    """Have Anna sign names that other systems take for one."""
    content = {**FILES, **dict.fromkeys(files, b"x")}
    return lambda at: scene(at, forged(statement(content), ANNA), content)


def not_utf8(at: Path) -> Scene:
    made = honest(at)
    Path(os.fsdecode(os.fsencode(made.model) + b"/\xff.bin")).write_bytes(b"x")
    return made


def expired_key(at: Path) -> Scene:
    made = honest(at)
    text = trust(ANNA).decode().replace(" ssh-", ' valid-before="20200101Z" ssh-')
    return Scene(made.model, made.signature, {"trusted": text.encode()})


def revoked_key(at: Path) -> Scene:
    made = honest(at)
    text = trust(ANNA).decode() + trust(ANNA).decode().replace(" ssh-", " revoked ssh-")
    return Scene(made.model, made.signature, {"trusted": text.encode()})


def for_other_models(at: Path) -> Scene:
    made = honest(at)
    text = trust(ANNA).decode().replace(" ssh-", ' models="nepse/*" ssh-')
    return Scene(made.model, made.signature, {"trusted": text.encode()})


def for_other_things(at: Path) -> Scene:
    made = honest(at)
    text = trust(ANNA).decode().replace(" ssh-", ' namespaces="git" ssh-')
    return Scene(made.model, made.signature, {"trusted": text.encode()})


def version_1_served_again(at: Path) -> Scene:
    made = scene(at, b"")
    sign(made.model, identity=ANNA, model="churn:1", replace=True, cache=False)
    return Scene(made.model, made.signature, {"model": "churn:2"})


def other_model(at: Path) -> Scene:
    """Serve fraud, as its own signer signed it, for churn."""
    model = folder(at / "fraud", {"model.bin": b"fraud"})
    sign(model, identity=ANNA, cache=False)
    model.rename(at / "churn")
    (at / "fraud.sig").rename(at / "churn.sig")
    return Scene(at / "churn", at / "churn.sig")


def renamed_files(at: Path) -> Scene:
    """Swap two names: OMS's root digest does not see it if the order of the digests stays."""
    files = {"a": b"1", "b": b"2"}
    expected = sign({"a": b"1", "b": b"2"}, identity=ANNA, model="churn")
    other = {"c": b"1", "d": b"2"}
    made = scene(at, forged(statement(other), ANNA), other)
    roots = [statement(given)["subject"][0]["digest"] for given in (files, other)]
    assert roots[0] == roots[1]
    return Scene(made.model, made.signature, {"digest": f"sha256:{expected.digest}"})


def other_document(at: Path) -> Scene:
    payload = json.dumps(statement()).encode()
    return scene(at, signed_by(payload, ANNA, payload_type="application/vnd.mvault.manifest.v1+json"))


def first_of_two(at: Path) -> Scene:
    """Anna signed; Ben's is a copy of hers under his name."""
    value = json.loads(forged(statement(), ANNA))
    signatures = value["dsseEnvelope"]["signatures"]
    signatures.append(dict(signatures[1], keyid=BEN.key_id))
    made = scene(at, json.dumps(value).encode())
    return Scene(made.model, made.signature, {"trusted": trust(ANNA, BEN), "threshold": 2})


def same_key_twice(at: Path) -> Scene:
    value = json.loads(forged(statement(), ANNA))
    signatures = value["dsseEnvelope"]["signatures"]
    signatures.append(dict(signatures[1], keyid=""))
    made = scene(at, json.dumps(value).encode())
    return Scene(made.model, made.signature, {"trusted": trust(ANNA, BEN), "threshold": 2})


def two_keys_of_one(at: Path) -> Scene:
    from tests.oms_parts import compatibility, line

    made = scene(at, forged(statement(), ANNA))
    text = trust(ANNA, BEN) + line(ANNA, compatibility(ANNA).public).encode()
    return Scene(made.model, made.signature, {"trusted": text, "threshold": 2})


def forged_first(at: Path) -> Scene:
    """Nobody whom anybody trusts signed; Anna's key id is only claimed."""
    value = json.loads(forged(statement(), BEN))
    for entry in value["dsseEnvelope"]["signatures"]:
        entry["keyid"] = ANNA.key_id
    return scene(at, json.dumps(value).encode())


def no_signatures(value: dict[str, Any]) -> None:
    value["dsseEnvelope"]["signatures"] = []


def _set(place: str, entry: Any) -> Callable[[dict[str, Any]], object]:
    def change(value: dict[str, Any]) -> None:
        *path, last = place.split("/")
        for part in path:
            value = value[int(part)] if isinstance(value, list) else value[part]
        value[last] = entry

    return change


DIFFERS = "Signature mismatch"

# Attack → the code of our refusal, and what the reference tool answers (the start of it).
ATTACKS: dict[str, tuple[Callable[[Path], Scene], str, str]] = {
    "a file added in .git": (added(".git/hooks/run"), "digest-mismatch", ACCEPTED),
    "a file added in .github": (added(".github/run.yml"), "digest-mismatch", ACCEPTED),
    "a .gitattributes added": (added(".gitattributes"), "digest-mismatch", ACCEPTED),
    "a file added": (added("run.py"), "digest-mismatch", DIFFERS),
    "an empty file added": (added("__init__.py"), "digest-mismatch", DIFFERS),
    "a folder where the signature was": (folder_for_signature, "digest-mismatch", ACCEPTED),
    "a place left out by its signer": (left_out_by_its_signer, "malformed-document", ACCEPTED),
    "everything left out": (everything_left_out, "malformed-name", ACCEPTED),
    "no file": (no_file_listed, "malformed-document", ACCEPTED),
    "no file but what is left out": (listed_but_left_out, "malformed-document", ACCEPTED),
    "a file behind a linked folder": (behind_a_linked_folder, "malformed-document", ACCEPTED),
    "a linked file": (linked_file, "malformed-document", "Cannot use"),
    "a linked file, allowed by the signer": (linked_and_allowed, "malformed-document", ACCEPTED),
    "a linked model": (linked_model, "malformed-document", "Cannot use"),
    "a file listed twice, with two digests": (listed_twice, "malformed-document", ACCEPTED),
    "a key twice in the statement": (
        spelled(lambda text: text.replace('"_type"', '"_type": "x", "_type"')),
        "malformed-json",
        ACCEPTED,
    ),
    "a key twice in the bundle": (
        bundle_text(lambda data: data.replace(b'"mediaType"', b'"mediaType": "x", "mediaType"', 1)),
        "malformed-json",
        ACCEPTED,
    ),
    "an unknown field in the statement": (with_fields(_set("also", 1)), "malformed-document", ACCEPTED),
    "an unknown field of a file": (
        with_fields(_set("predicate/resources/0/also", 1)),
        "malformed-document",
        ACCEPTED,
    ),
    "an unknown field in the bundle": (bundled(_set("also", 1)), "malformed-envelope", "1 validation error"),
    "a number that is none": (
        spelled(lambda text: text.replace('"_type"', '"x": NaN, "_type"')),
        "malformed-json",
        ACCEPTED,
    ),
    "bytes after the statement": (spelled(lambda text: text + "x"), "malformed-json", "Extra data"),
    "bytes after the bundle": (bundle_text(lambda data: data + b"x"), "malformed-json", "Extra data"),
    "a path that leaves the model": (named("../evil.bin"), "malformed-name", ACCEPTED),
    "an absolute path": (named("/dev/null"), "malformed-name", "Cannot use '/dev/null'"),
    "names that differ only in case": (colliding("Read", "read"), "malformed-document", ACCEPTED),
    "names that differ only in form": (
        colliding("caf\u00e9", "cafe\u0301"),
        "malformed-name",
        ACCEPTED,
    ),
    "a name that is not UTF-8": (not_utf8, "malformed-name", DIFFERS),
    "other names, the same root digest": (renamed_files, "digest-mismatch", ACCEPTED),
    "an expired key": (expired_key, "expired", ACCEPTED),
    "a revoked key": (revoked_key, "untrusted-signer", ACCEPTED),
    "a key for other models": (for_other_models, "untrusted-signer", ACCEPTED),
    "a key for other things": (for_other_things, "untrusted-signer", ACCEPTED),
    "version 1 after version 2": (version_1_served_again, "misplaced", ACCEPTED),
    "another model with its own signature": (other_model, "misplaced", ACCEPTED),
    "another kind of document": (other_document, "wrong-payload-type", "Verification failed with error:"),
    "another predicate": (
        with_fields(_set("predicateType", "https://slsa.dev/provenance/v1")),
        "wrong-payload-type",
        "Predicate type mismatch",
    ),
    "another statement": (
        with_fields(_set("_type", "https://in-toto.io/Statement/v2")),
        "wrong-payload-type",
        "Expected in-toto",
    ),
    "a root digest of something else": (
        with_fields(_set("subject/0/digest/sha256", "0" * 64)),
        "digest-mismatch",
        "Manifest is inconsistent",
    ),
    "only the first of two signatures": (first_of_two, "threshold-not-met", ACCEPTED),
    "the same key twice": (same_key_twice, "threshold-not-met", ACCEPTED),
    "two keys of one person": (two_keys_of_one, "threshold-not-met", ACCEPTED),
    "a claimed key": (forged_first, "bad-signature", "Key mismatch"),
    "no signature": (bundled(no_signatures), "unsigned", "list index out of range"),
    "signatures that are no list": (
        bundled(_set("dsseEnvelope/signatures", {})),
        "malformed-envelope",
        "1 validation error",
    ),
    "no verification material": (
        bundled(_set("verificationMaterial", None)),
        "malformed-envelope",
        "argument of type",
    ),
    "a statement that is a list": (
        lambda at: scene(at, signed_by(b"[]", ANNA)),
        "malformed-document",
        "list indices must be integers",
    ),
    "resources that are a number": (
        with_fields(_set("predicate/resources", 1)),
        "malformed-document",
        "'int' object is not iterable",
    ),
    "a digest that is no digest": (
        with_fields(_set("predicate/resources/0/digest", "zz")),
        "malformed-document",
        "non-hexadecimal number",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_verification_refuses(name: str, tmp_path: Path) -> None:
    attack, code, _ = ATTACKS[name]
    made = attack(tmp_path)
    asked = {"trusted": trust(ANNA), **made.asked}
    assert refused(lambda: verify(made.model, signature=made.signature, **asked)) == code


@pytest.mark.oracle
@pytest.mark.parametrize("name", ATTACKS)
def test_the_reference_tool_answers_as_recorded(name: str, tmp_path: Path) -> None:
    attack, _, answer = ATTACKS[name]
    made = attack(tmp_path)
    assert tool_verifies(made.model, made.signature, ANNA, *made.tool).startswith(answer)


def test_an_honest_model_is_verified_by_the_same_questions(tmp_path: Path) -> None:
    made = honest(tmp_path)
    assert verify(made.model, signature=made.signature, trusted=trust(ANNA)).signers == ("anna",)


# --- bad keys, and any byte ---


def rsa_key() -> bytes:
    private = rsa.generate_private_key(65_537, 2_048)
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def other_curve() -> bytes:
    public = ec.generate_private_key(ec.SECP256K1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def compressed_point() -> bytes:
    """Spell a P-256 key the short way, which the tool takes: two spellings would be two key ids."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    der = head + public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    text = base64.b64encode(der).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n".encode()


# Key → the code of our refusal, and what is in the reference tool's answer.
KEYS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "RSA": (rsa_key, "malformed-key", "has no attribute 'curve'"),
    "another curve": (other_curve, "malformed-key", "Unsupported key for curve"),
    "a compressed point": (compressed_point, "malformed-key", "Key mismatch"),
    "half a block": (lambda: b"-----BEGIN PUBLIC KEY-----\n", "malformed-key", "Unable to load PEM file"),
    "a certificate that is none": (
        lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "malformed-key",
        "",
    ),
    "nothing that is a key": (lambda: b"\xff\xfe", "malformed-trust", "Unable to load PEM file"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_bad_key_is_refused_as_such(kind: str, tmp_path: Path) -> None:
    make, code, _ = KEYS[kind]
    made = honest(tmp_path)
    assert refused(lambda: verify(made.model, trusted=make(), profile="oms")) == code


@pytest.mark.oracle
@pytest.mark.parametrize("kind", KEYS)
def test_the_reference_tool_answers_a_bad_key_as_recorded(kind: str, tmp_path: Path) -> None:
    make, _, answer = KEYS[kind]
    made = honest(tmp_path)
    key = tmp_path / "key.pem"
    key.write_bytes(make())
    found = tool("verify", "key", made.model, "--signature", made.signature, "--public_key", key)
    assert found != ACCEPTED
    assert answer in found


@pytest.mark.parametrize("form", ["key", "certificate"])
def test_a_bundle_with_any_byte_changed_is_refused_or_says_the_same(form: str) -> None:
    made = sign(FILES, identity=ANNA, model="churn", form=form)
    asked: dict[str, Any] = {"trusted": trust(ANNA), "model": "churn"}
    accepted = 0
    for at in range(len(made.bundle)):
        changed = bytearray(made.bundle)
        changed[at] ^= 1 << (at % 8)
        try:
            found = verify(FILES, signature=bytes(changed), **asked)
        except Refused:
            continue
        assert found.digest == made.digest  # a key id, the hint, or the signature of the other key
        accepted += 1
    assert accepted < len(made.bundle) / 2
    for size in range(0, len(made.bundle), 7):
        assert refused(lambda end=size: verify(FILES, signature=made.bundle[:end], **asked))  # type: ignore[misc]
