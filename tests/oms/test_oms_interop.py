"""What we sign others verify, and the other way round: the reference tool, securesystemslib, OMS's schemas.

The tool runs in a process of its own. Its command signs with SHA-256 in files; other hashes and parts of
files its library signs.
"""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests import oracles
from tests.oms import oms_schemas
from tests.oms_parts import (
    ACCEPTED,
    CURVES,
    FILES,
    compatibility,
    folder,
    fresh_tool,
    key_files,
    library,
    line,
    own_key,
    person,
    refused,
    root_certificate,
    tool,
    tool_verifies,
    trust,
)
from vault.actions.signing import Signed, sign
from vault.actions.verifying import verify
from vault.core import public_keys

ANNA, BEN = person("anna"), person("ben")

SHAPES = {
    "a folder": FILES,
    "names whose order by path and by text differ": {"a.txt": b"1", "a/b": b"2", "a-b": b"3", "a0": b""},
    "an empty file": {"__init__.py": b"", "model.bin": b"x"},
    "hidden files": {".env.example": b"x", ".cache/weights.bin": b"y", "sub/.gitignore": b"z"},
    "names beyond ASCII": {"模型.bin": b"x", "caf\u00e9/mod\u00e8le 1.bin": b"y"},
}


def signed(at: Path, **more: Any) -> Signed:
    return sign(at, identity=ANNA, cache=False, **more)


# --- theirs of ours ---


@pytest.mark.oracle
@pytest.mark.parametrize("shape", SHAPES)
def test_the_tool_verifies_what_we_sign_by_key(shape: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "churn", SHAPES[shape])
    made = signed(model)
    assert made.path == tmp_path / "churn.sig"
    assert tool_verifies(model, made.path, ANNA) == ACCEPTED
    (model / next(iter(SHAPES[shape]))).write_bytes(b"changed")
    assert tool_verifies(model, made.path, ANNA).startswith("Signature mismatch")


@pytest.mark.oracle
def test_the_tool_as_a_user_starts_it_answers_as_it_does_in_these_tests(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    made = signed(model)
    key = folder(tmp_path, {"p256.pem": public_keys.pem(compatibility(ANNA).public)}) / "p256.pem"
    asked = ("verify", "key", model, "--signature", made.path, "--public_key", key)
    assert fresh_tool(*asked) == tool(*asked) == ACCEPTED
    (model / "config.json").unlink()
    assert fresh_tool(*asked) == tool(*asked) != ACCEPTED


@pytest.mark.oracle
def test_the_tool_verifies_one_file_that_we_sign(tmp_path: Path) -> None:
    model = folder(tmp_path, {"model.onnx": b"x" * 1_000}) / "model.onnx"
    made = signed(model)
    assert made.path == tmp_path / "model.onnx.sig"
    assert tool_verifies(model, made.path, ANNA) == ACCEPTED


@pytest.mark.oracle
def test_the_tool_verifies_a_signature_inside_the_folder_with_git_beside(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn", {**FILES, ".git/HEAD": b"x", ".gitattributes": b"y"})
    made = signed(model, signature=model / "model.sig", annotations={"mvault.version": "3"})
    assert made.left_out == (".git", ".gitattributes")
    assert made.path is not None
    assert tool_verifies(model, made.path, ANNA) == ACCEPTED


@pytest.mark.oracle
@pytest.mark.parametrize("added", [False, True], ids=["one person", "two people"])
def test_the_tool_verifies_what_we_sign_by_certificate(added: bool, tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    made = signed(model, form="certificate")
    if added:
        sign(model, identity=BEN, add=True, cache=False)
    root = folder(tmp_path, {"root.pem": root_certificate(ANNA)}) / "root.pem"
    other = folder(tmp_path, {"other.pem": root_certificate(BEN)}) / "other.pem"
    asked = ("verify", "certificate", model, "--signature", made.path, "--certificate_chain")
    assert tool(*asked, root) == ACCEPTED
    assert tool(*asked, other) != ACCEPTED


@pytest.mark.oracle
def test_the_tool_verifies_by_the_first_of_several_people(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    made = signed(model)
    sign(model, identity=BEN, add=True, cache=False)
    assert made.path is not None
    assert tool_verifies(model, made.path, ANNA) == ACCEPTED
    assert verify(model, trusted=trust(ANNA, BEN), threshold=2).signers == ("anna", "ben")


# --- ours of theirs ---


@pytest.mark.oracle
@pytest.mark.parametrize("curve", CURVES)
def test_we_verify_what_the_tool_signs_by_key(curve: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "churn", {**FILES, "a.txt": b"1", "a/b": b""})
    secret, public, key = key_files(tmp_path, curve)
    signature = tmp_path / "their.sig"
    assert tool("sign", "key", model, "--signature", signature, "--private_key", secret) == ACCEPTED
    assert verify(model, signature=signature, trusted=public, profile="oms").signers[0].startswith("sha256:")
    listed = line("dora", key).encode()
    assert verify(model, signature=signature, trusted=listed).signers == ("dora",)
    (model / "config.json").write_bytes(b"{}")
    assert refused(lambda: verify(model, signature=signature, trusted=listed)) == "digest-mismatch"


@pytest.mark.oracle
@pytest.mark.parametrize("algorithm", ["sha256", "blake2", "blake3"])
@pytest.mark.parametrize("shard", [None, 50_000], ids=["files", "parts"])
def test_we_verify_what_the_tool_hashes(algorithm: str, shard: int | None, tmp_path: Path) -> None:
    if algorithm == "blake3":
        oracles.module("blake3")
    model = folder(tmp_path / "churn", {**FILES, "exact.bin": b"e" * 100_000})
    secret, public, key = key_files(tmp_path, "P-256")
    signature = tmp_path / "their.sig"
    more: dict[str, object] = (
        {"hash": algorithm} if shard is None else {"hash": algorithm, "shard_size": shard}
    )
    assert library("sign", model, signature, secret, **more) == ACCEPTED
    listed = line("dora", key).encode()
    for asked in ({"trusted": listed}, {"trusted": public, "profile": "oms"}):
        found = verify(model, signature=signature, **asked)
        assert found.hash_type == algorithm.replace("blake2", "blake2b")
        assert len(found.files) == len(FILES) + 1
    (model / "exact.bin").write_bytes(b"e" * 99_999 + b"f")
    assert refused(lambda: verify(model, signature=signature, trusted=listed)) == "digest-mismatch"


@pytest.mark.oracle
def test_we_mind_an_empty_file_that_no_part_speaks_of_and_the_tool_does_not(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    secret, public, key = key_files(tmp_path, "P-256")
    signature = tmp_path / "their.sig"
    assert library("sign", model, signature, secret, shard_size=50_000) == ACCEPTED
    (model / "__init__.py").touch()
    assert library("verify", model, signature, public, shard_size=50_000) == ACCEPTED
    asked = line("dora", key).encode()
    assert refused(lambda: verify(model, signature=signature, trusted=asked)) == "digest-mismatch"
    assert verify(model, signature=signature, trusted=public, profile="oms").files


@pytest.mark.oracle
def test_we_verify_one_file_that_the_tool_signs(tmp_path: Path) -> None:
    model = folder(tmp_path, {"model.onnx": b"x" * 1_000}) / "model.onnx"
    secret, _, key = key_files(tmp_path, "P-384")
    signature = tmp_path / "their.sig"
    assert tool("sign", "key", model, "--signature", signature, "--private_key", secret) == ACCEPTED
    assert verify(model, signature=signature, trusted=line("dora", key).encode()).files == ("model.onnx",)


@pytest.mark.oracle
def test_we_verify_a_signature_that_the_tool_put_into_the_folder(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    secret, _, key = key_files(tmp_path, "P-256")
    asked = ("sign", "key", model, "--signature", model / "model.sig", "--private_key", secret)
    assert tool(*asked) == ACCEPTED
    listed = line("dora", key).encode()
    assert verify(model, trusted=listed).signers == ("dora",)
    (model / "model.sig").rename(tmp_path / "churn.sig")
    assert verify(model, trusted=listed).signers == ("dora",)


@pytest.mark.oracle
def test_the_own_profile_of_oms_leaves_out_what_the_tool_leaves_out(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn", {**FILES, "cache/x": b"x"})
    secret, public, key = key_files(tmp_path, "P-256")
    signature = tmp_path / "their.sig"
    asked = ("sign", "key", model, "--signature", signature, "--private_key", secret)
    assert tool(*asked, "--ignore-paths", model / "cache") == ACCEPTED
    folder(model, {"cache/y": b"y", ".git/z": b"z"})
    found = verify(model, signature=signature, trusted=public, profile="oms")
    assert found.left_out == (".git", "cache")
    listed = line("dora", key).encode()
    assert refused(lambda: verify(model, signature=signature, trusted=listed)) == "malformed-document"


@pytest.mark.oracle
def test_the_own_profile_of_oms_follows_links_to_files_where_the_signer_did(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    outside = folder(tmp_path, {"outside.bin": b"o"}) / "outside.bin"
    (model / "link.bin").symlink_to(outside)
    (model / "inside.bin").symlink_to("config.json")
    secret, public, _ = key_files(tmp_path, "P-256")
    signature = tmp_path / "their.sig"
    asked = ("sign", "key", model, "--signature", signature, "--private_key", secret, "--allow_symlinks")
    assert tool(*asked) == ACCEPTED
    found = verify(model, signature=signature, trusted=public, profile="oms")
    assert found.outside == ("link.bin",)
    assert "inside.bin" in found.files
    outside.write_bytes(b"changed")
    asked_ours = {"signature": signature, "trusted": public, "profile": "oms"}
    assert refused(lambda: verify(model, **asked_ours)) == "digest-mismatch"  # type: ignore[arg-type]


# --- certificates of others ---


class Authority:
    """A certificate authority of somebody else, with one below it that issues leaves."""

    def __init__(self, at: Path, curve: str, days: tuple[int, int] = (-1, 30), **usage: bool) -> None:
        """Make its keys and certificates; the leaf is valid for these days from now."""
        self.at = at
        now = datetime.now(UTC)
        root, middle = ec.generate_private_key(ec.SECP384R1()), ec.generate_private_key(ec.SECP256R1())
        leaf = ec.generate_private_key(CURVES[curve])
        window = (now - timedelta(days=400), now + timedelta(days=400))
        self.root = self._issue("root", root, "root", root, window, ca=True)
        self.middle = self._issue("middle", middle, "root", root, window, ca=True)
        leaf_window = (now + timedelta(days=days[0]), now + timedelta(days=days[1]))
        self.leaf = self._issue("leaf", leaf, "middle", middle, leaf_window, ca=False, **usage)
        self.secret = at / "leaf.key"
        self.secret.write_bytes(leaf.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def _issue(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        signer: ec.EllipticCurvePrivateKey,
        window: tuple[datetime, datetime],
        *,
        ca: bool,
        signs: bool = True,
    ) -> Path:
        usage = dict.fromkeys(("content_commitment", "data_encipherment", "key_agreement", "crl_sign"), False)
        built = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(window[0])
            .not_valid_after(window[1])
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not ca and signs,
                    key_encipherment=not ca and not signs,
                    key_cert_sign=ca,
                    encipher_only=False,
                    decipher_only=False,
                    **usage,
                ),
                critical=True,
            )
            .sign(signer, hashes.SHA256())
        )
        path = self.at / f"{name}.pem"
        path.write_bytes(built.public_bytes(Encoding.PEM))
        return path

    def sign(self, model: Path) -> Path:
        """Have the reference tool sign a model with the leaf."""
        signature = self.at / "their.sig"
        done = tool(
            *("sign", "certificate", model, "--signature", signature, "--private_key", self.secret),
            *("--signing_certificate", self.leaf, "--certificate_chain", self.middle),
        )
        assert done == ACCEPTED
        return signature

    def tool_verifies(self, model: Path, signature: Path) -> str:
        """Have the tool verify by the root."""
        return tool(
            "verify", "certificate", model, "--signature", signature, "--certificate_chain", self.root
        )


@pytest.mark.oracle
@pytest.mark.parametrize("curve", CURVES)
def test_we_verify_what_the_tool_signs_by_certificate(curve: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    theirs = Authority(tmp_path, curve)
    signature = theirs.sign(model)
    assert theirs.tool_verifies(model, signature) == ACCEPTED
    found = verify(model, signature=signature, trusted=theirs.root, profile="oms")
    assert found.signers == ("CN=leaf",)
    other = folder(tmp_path, {"other.pem": root_certificate(ANNA)}) / "other.pem"
    asked = {"signature": signature, "trusted": other, "profile": "oms"}
    assert refused(lambda: verify(model, **asked)) == "untrusted-signer"  # type: ignore[arg-type]


@pytest.mark.oracle
@pytest.mark.parametrize("days", [(-300, -200), (200, 300)], ids=["expired", "not yet valid"])
def test_we_refuse_a_certificate_out_of_its_time_and_the_tool_does_not(
    days: tuple[int, int], tmp_path: Path
) -> None:
    model = folder(tmp_path / "churn")
    theirs = Authority(tmp_path, "P-256", days)
    signature = theirs.sign(model)
    assert theirs.tool_verifies(model, signature) == ACCEPTED
    asked = {"signature": signature, "trusted": theirs.root, "profile": "oms"}
    assert refused(lambda: verify(model, **asked)) == "expired"  # type: ignore[arg-type]


@pytest.mark.oracle
def test_a_certificate_that_may_not_sign_is_refused_by_both(tmp_path: Path) -> None:
    model = folder(tmp_path / "churn")
    theirs = Authority(tmp_path, "P-256", signs=False)
    signature = theirs.sign(model)
    assert "cannot be used for signing" in theirs.tool_verifies(model, signature)
    asked = {"signature": signature, "trusted": theirs.root, "profile": "oms"}
    assert refused(lambda: verify(model, **asked)) == "untrusted-signer"  # type: ignore[arg-type]


# --- others ---


def test_securesystemslib_verifies_our_envelope_with_threshold_2(tmp_path: Path) -> None:
    signer = oracles.module("securesystemslib.signer")
    dsse = oracles.module("securesystemslib.dsse")
    model = folder(tmp_path / "churn")
    signed(model)
    made = sign(model, identity=BEN, add=True, cache=False)
    envelope = dsse.Envelope.from_dict(json.loads(made.bundle)["dsseEnvelope"])

    def key(known: public_keys.PublicKey, kind: str, scheme: str) -> Any:
        text = known.raw.hex() if kind == "ed25519" else public_keys.pem(known).decode()
        return signer.SSlibKey(known.key_id, kind, scheme, {"public": text})

    anna, ben = (key(own_key(who), "ed25519", "ed25519") for who in (ANNA, BEN))
    ecdsa = key(compatibility(ANNA).public, "ecdsa", "ecdsa-sha2-nistp256")
    for keys in ([anna, ben], [ecdsa, anna], [anna, ecdsa, ben]):
        assert len(envelope.verify(keys, 2)) == 2
    stranger = key(own_key(person("mallory")), "ed25519", "ed25519")
    with pytest.raises(Exception, match="do not match threshold"):
        envelope.verify([anna, stranger], 2)


@pytest.mark.parametrize("form", ["key", "certificate"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_schemas_of_oms_accept_our_bundles(form: str, shape: str, tmp_path: Path) -> None:
    model = folder(tmp_path / "churn", SHAPES[shape])
    signed(model, form=form, annotations={"mvault.model": "churn"})
    made = sign(model, identity=BEN, add=True, cache=False)
    assert oms_schemas.faults(made.bundle) == []


def test_the_schemas_refuse_what_is_no_bundle(tmp_path: Path) -> None:
    value = json.loads(signed(folder(tmp_path / "churn")).bundle)
    for part in ("mediaType", "verificationMaterial", "dsseEnvelope"):
        assert oms_schemas.faults(json.dumps({key: value[key] for key in value if key != part}).encode())
    statement = json.loads(base64.b64decode(value["dsseEnvelope"]["payload"]))
    statement["predicate"]["serialization"]["method"] = "lines"
    value["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    assert oms_schemas.faults(json.dumps(value).encode())
