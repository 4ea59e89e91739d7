"""A day with AWS KMS: a vault whose prod is read by a loader that has nothing but rights in KMS."""

import base64
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vault
from tests.cli.typing_user import User
from tests.servers import moto_kms as servers
from tests.servers.moto_kms import MotoKms, nobody
from vault.core import key_services
from vault.core.names import Digest, Environment
from vault.errors import AccessDenied, DigestMismatch, NoUsableKey, Unavailable
from vault.keys import recipients

POLICY = """
roles:
  owner:
    allow:
      - {{actions: [publish, load, pull, withdraw, rotate], env: [dev, prod]}}
      - {{actions: [log], env: [dev, prod]}}
      - {{actions: [promote], from: dev, to: prod}}
  loader: {{allow: [{{actions: [load, pull], env: [prod]}}]}}
environments:
  dev: {{formats: [skops, onnx, json, npz, text, data]}}
  prod:
    formats: [skops, onnx, json, npz]
    key_services:
      - {{kms: "{arn}"}}
principals:
  owner: {{kind: person, roles: [owner]}}
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    """Somebody in an empty project folder, without any rights in AWS."""
    for name in list(os.environ):
        if name.startswith(("MVAULT_", "XDG_", "AWS_")):
            monkeypatch.delenv(name)
    for name, value in nobody().items():
        monkeypatch.setenv(name, value)
    home, folder = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    return User(home, folder)


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoKms]:
    """KMS and IAM, where IAM decides."""
    with servers.running() as server:
        yield server


def become(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def npz(*weights: int) -> bytes:
    file = io.BytesIO()
    np.savez(file, weights=np.array(weights))
    return file.getvalue()


def ran(user: User, *arguments: str) -> str:
    answer = user.run(*arguments)
    assert answer.status == 0, answer.err
    return answer.out


def test_a_loader_that_has_nothing_but_kms(user: User, aws: MotoKms, monkeypatch: pytest.MonkeyPatch) -> None:
    arn = aws.key()
    admin = aws.user("admin", {"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*"})
    pod = aws.user("pod", {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"})
    stranger = aws.user("stranger", {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"})
    aws.authorise()

    # In the morning the vault is founded: nobody but who may encrypt in KMS can do that.
    user.write("policy.yaml", POLICY.format(arn=arn))
    ran(user, "identity", "new", "web", "--output", "web.json", "--no-passphrase", "--no-age-key")
    ran(user, "identity", "export", "web.pub", "--identity", "web.json")
    assert json.loads((user.folder / "web.pub").read_text())["age"] is None
    founding = [
        *("init", "models/", "--name", "anna", "--no-passphrase", "--policy", "policy.yaml"),
        *("--service", "web=web.pub", "--recipient", "x25519"),
    ]
    refused = user.run(*founding)
    assert refused.status == NoUsableKey.exit_status
    assert "no credentials" in refused.err
    assert not list((user.folder / "models").rglob("*.json")), "nothing is left half done"
    become(monkeypatch, aws.environment(*admin))
    ran(user, *founding)
    user.write("model.npz", npz(1, 2, 3))
    ran(user, "push", "churn", "model.npz")
    ran(user, "promote", "churn:1", "--env", "prod")
    shown = json.loads(ran(user, "access", "show", "prod", "--json"))
    readers = {entry["who"]: entry for entry in shown["environments"][0]["readers"]}
    assert shown["complete"] is True
    assert (readers[arn]["kind"], readers[arn]["reads"], readers[arn]["epochs"]) == ("kms", True, [1])
    assert readers["web"]["note"] == f"has no age key; reads through {arn}"
    ran(user, "trust", "export", "web.trust")

    def load() -> list[int]:
        opened = vault.open(
            user.folder / "models", identity=user.folder / "web.json", trust=user.folder / "web.trust"
        )
        return [int(weight) for weight in opened.load_model("churn@prod")["weights"]]

    # The loader has an identity without an age key, and a role in AWS.
    become(monkeypatch, aws.environment(*pod))
    assert load() == [1, 2, 3]
    become(monkeypatch, aws.environment(*stranger))
    with pytest.raises(AccessDenied) as caught:
        load()
    assert caught.value.code == "key-service-denied"

    # In the afternoon the key of prod is rotated, and the loader goes on.
    become(monkeypatch, aws.environment(*admin))
    ran(user, "access", "rotate", "prod", "--yes")
    user.write("model.npz", npz(4))
    ran(user, "push", "churn", "model.npz")
    ran(user, "promote", "churn:2", "--env", "prod")
    become(monkeypatch, aws.environment(*pod))
    assert load() == [4]

    # Emergency: KMS alone gives the environment's key, as an age identity, without any of our code.
    trusted = json.loads((user.folder / "web.trust").read_text())
    found = key_services.context(Digest(trusted["vault"]), Environment("prod"), 2)
    (copy,) = (user.folder / "models" / "keys" / "prod" / "all" / "2" / "@").iterdir()
    told = json.loads(copy.read_text())
    become(monkeypatch, aws.environment(*pod))
    import boto3

    answer = boto3.client("kms", region_name=servers.REGION).decrypt(
        CiphertextBlob=base64.b64decode(told["ciphertext"]), EncryptionContext=dict(found), KeyId=told["key"]
    )
    assert recipients.parse_identity(answer["Plaintext"].decode().removesuffix("\n")).kind == "x25519"

    # An altered copy, then no KMS at all.
    whole = copy.read_bytes()
    raw = bytearray(base64.b64decode(told["ciphertext"]))
    raw[-1] ^= 1
    bad = key_services.encode_wrapped(key_services.identify("kms", arn), bytes(raw))
    from vault.core import envelope, layout

    service = key_services.identify("kms", arn)
    place = (
        user.folder
        / "models"
        / layout.service_key(Environment("prod"), 2, service.digest, envelope.digest(bad))
    )
    copy.unlink()
    place.write_bytes(bad)
    with pytest.raises(DigestMismatch) as altered:
        load()
    assert altered.value.code == "decrypt-failed"
    place.unlink()
    copy.write_bytes(whole)
    assert load() == [4]
    aws.stop()
    with pytest.raises(Unavailable) as down:
        load()
    assert "Try again" in down.value.hint
    answered = user.run(
        "pull", "churn@prod", "out", "--identity", "web.json", "--trust", "web.trust", "--json"
    )
    assert answered.status == Unavailable.exit_status
    assert json.loads(answered.out)["error"]["code"] == "unavailable"
    assert not (user.folder / "out").exists()
