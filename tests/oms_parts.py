"""Parts for tests of signatures beside files: people, folders, forged bundles, and the reference tool."""

import atexit
import base64
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests import oracles
from tests.builders import new_identity
from vault.core import oms_bundle, oms_statement, public_keys
from vault.core.public_keys import ED25519, PublicKey
from vault.errors import Refused
from vault.keys import certificates, ecdsa
from vault.keys.ecdsa import CompatibilityKey
from vault.keys.identity_file import Identity

FILES = {"config.json": b'{"w":1}', "weights/a.bin": b"a" * 70_000, "weights/b.bin": b"b"}
CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
ACCEPTED = "accepted"


def person(name: str) -> Identity:
    """Give a person's identity, the same each time."""
    return new_identity(name, seed="signing")


def own_key(who: Identity) -> PublicKey:
    """Give a person's Ed25519 key."""
    return PublicKey(ED25519, who.public)


def compatibility(who: Identity) -> CompatibilityKey:
    """Give a person's P-256 key."""
    return ecdsa.from_secret(who.expand(ecdsa.DERIVATION, ecdsa.DERIVED_BYTES))


def line(who: Identity | str, key: PublicKey | None = None, options: str = "") -> str:
    """Write a line of a file of trusted keys."""
    name = who if isinstance(who, str) else who.name
    if key is None:
        assert not isinstance(who, str)
        key = own_key(who)
    return f"{name} {options} {public_keys.openssh(key)}\n"


def trust(*people: Identity) -> bytes:
    """Write a file of trusted keys that lists people's Ed25519 keys."""
    return "".join(line(who) for who in people).encode()


def folder(at: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """Write files into a folder."""
    for name, data in files.items():
        path = at / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    at.mkdir(parents=True, exist_ok=True)
    return at


def root_certificate(who: Identity) -> bytes:
    """Give a person's root certificate in PEM."""
    return certificates.to_pem(
        certificates.make_root(certificates.Holder(who.name, who.public, who.created, who.sign))
    )


def refused(work: Callable[[], object]) -> str:
    """Do something that must be refused; give the code."""
    with pytest.raises(Refused) as found:
        work()
    assert found.value.message
    return found.value.code


# --- bundles, forged by people who hold keys ---


def payload_of(bundle: bytes) -> bytes:
    """Give what a bundle signs."""
    return base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"])


def signed_by(
    payload: bytes, *people: Identity, payload_type: str = oms_bundle.PAYLOAD_TYPE, certificate: bool = False
) -> bytes:
    """Sign any payload: by the first one's P-256 key, then by everybody's Ed25519 key."""
    message = b"DSSEv1 %d %b %d %b" % (len(payload_type), payload_type.encode(), len(payload), payload)
    first = compatibility(people[0])
    entries = [(first.public.key_id, first.sign(message))]
    entries += [(own_key(who).key_id, who.sign(message)) for who in people]
    found = oms_bundle.Bundle(
        payload,
        tuple(oms_bundle.Signature(key_id, value) for key_id, value in entries),
        hint=first.public.key_id,
    )
    value = json.loads(oms_bundle.serialise(found))
    value["dsseEnvelope"]["payloadType"] = payload_type
    return json.dumps(value).encode()


def statement(files: Mapping[str, bytes] = FILES, **more: Any) -> dict[str, Any]:
    """Give the statement of files as a dictionary, to be changed and then signed by `forged`."""
    resources = tuple(
        oms_statement.Resource(name, hashlib.sha256(data).digest()) for name, data in sorted(files.items())
    )
    given = {"model": "churn", "ignore_paths": oms_statement.PRESCRIBED, **more}
    if not resources:
        resources = (oms_statement.Resource("x", bytes(32)),)
    found: dict[str, Any] = json.loads(
        oms_statement.encode(oms_statement.Statement(resources=resources, **given))
    )
    if not files:
        found["predicate"]["resources"] = []
    return found


def settled(value: dict[str, Any]) -> dict[str, Any]:
    """Make the root digest of a changed statement right again."""
    digests = b"".join(bytes.fromhex(entry["digest"]) for entry in value["predicate"]["resources"])
    value["subject"][0]["digest"]["sha256"] = hashlib.sha256(digests).hexdigest()
    return value


def forged(value: dict[str, Any], *people: Identity) -> bytes:
    """Sign a changed statement."""
    return signed_by(json.dumps(value).encode(), *people)


# --- the reference tool, in a process of its own ---


# Runs the tool's command again and again: most of its time is that of its imports.
_SERVER = """
import contextlib, io, json, os, sys, traceback
from model_signing._cli import main
answers = sys.stdout
for line in sys.stdin:
    folder, arguments = json.loads(line)
    os.chdir(folder)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments, prog_name="model_signing")
        except SystemExit as end:
            status = end.code or 0
        except BaseException:
            status = traceback.print_exc() or 99
    print(json.dumps([status, out.getvalue(), err.getvalue()]), file=answers, flush=True)
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    """Start the reference tool in a process of its own, for as long as the tests run."""
    oracles.module("model_signing")
    command = [sys.executable, "-c", _SERVER]
    started = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def stop() -> None:
        with started:
            started.kill()

    atexit.register(stop)
    return started


def tool(*arguments: object) -> str:
    """Run the command `model_signing`; give `accepted`, or what it said was wrong.

    What ends it otherwise than by its own message is given as a traceback.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    print(json.dumps([os.getcwd(), [*map(str, arguments)]]), file=server.stdin, flush=True)
    status, out, err = json.loads(server.stdout.readline())
    return _answer(status, out, err)


def fresh_tool(*arguments: object) -> str:
    """Do as `tool` in a process that runs this alone, as a user starts it."""
    oracles.module("model_signing")
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return _answer(done.returncode, done.stdout, done.stderr)


def _answer(status: int, out: str, err: str) -> str:
    if status == 0:
        assert "succeeded" in out
        return ACCEPTED
    return (err.strip() or out.strip()).replace("Verification failed with error: ", "")


_DRIVER = """
import sys, json, model_signing
asked = json.loads(sys.argv[1])
hashing = model_signing.hashing.Config()
if "shard_size" in asked:
    hashing.use_shard_serialization(hashing_algorithm=asked["hash"], shard_size=asked["shard_size"])
else:
    hashing.use_file_serialization(hashing_algorithm=asked["hash"])
if asked["do"] == "sign":
    hashing.set_ignored_paths(paths=[])
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=asked["key"])
    config.set_hashing_config(hashing).sign(asked["model"], asked["signature"])
else:
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=asked["key"])
    config.set_hashing_config(hashing)
    config.verify(asked["model"], asked["signature"])
"""


def library(do: str, model: Path, signature: Path, key: Path, **more: object) -> str:
    """Sign or verify through the reference tool's library, whose command cannot choose the hash."""
    oracles.module("model_signing")
    asked = {
        "do": do,
        "model": str(model),
        "signature": str(signature),
        "key": str(key),
        "hash": "sha256",
        **more,
    }
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return ACCEPTED if done.returncode == 0 else done.stderr.strip().rpartition("\n")[2]


def tool_verifies(model: Path, signature: Path, who: Identity, *more: str) -> str:
    """Have the tool verify by a person's P-256 key."""
    key = model.parent / "compatibility.pem"
    key.write_bytes(public_keys.pem(compatibility(who).public))
    return tool("verify", "key", model, "--signature", signature, "--public_key", key, *more)


def key_files(at: Path, curve: str) -> tuple[Path, Path, PublicKey]:
    """Make a key pair of a curve; give the files of both halves in PEM, and the public one."""
    private = ec.generate_private_key(CURVES[curve])
    secret, public = at / f"{curve}.key", at / f"{curve}.pem"
    secret.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return secret, public, public_keys.parse_pem(public.read_bytes(), "it")
