"""Keys wrapped by AWS KMS: against moto's server, and against servers that answer what they should not."""

import base64
import json
import os
import socket
import sys
from collections.abc import Iterator

import pytest

from tests.keys.hostile_service import Hostile, listening
from tests.servers import moto_kms as servers
from tests.servers.moto_kms import MotoKms, moto_kms, nobody
from vault.core import key_services, limits
from vault.core.key_services import KMS, KeyServiceId
from vault.core.names import Digest, Environment
from vault.errors import AccessDenied, DigestMismatch, MissingLibrary, NoUsableKey, Unavailable
from vault.keys import kms
from vault.keys.kms import KmsService

__all__ = ["moto_kms"]
LINE = b"AGE-SECRET-KEY-1TEST\n"
CONTEXT = key_services.context(Digest("a" * 64), Environment("prod"), 1)
ARN = "arn:aws:kms:eu-central-1:123456789012:key/8bf1e17c-934d-4a8d-84f0-3d380db9a688"


@pytest.fixture(autouse=True)
def asker(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Somebody without any credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in nobody().items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def become(asker: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        asker.setenv(name, value)


@pytest.fixture
def aws(moto_kms: MotoKms, asker: pytest.MonkeyPatch) -> MotoKms:
    """The server, which this process may ask."""
    become(asker, moto_kms.environment())
    return moto_kms


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[Hostile, KmsService]]:
    """A server that answers what a test says, and one client of it, which takes long to make."""
    with listening() as found, pytest.MonkeyPatch.context() as patch:
        told = {"AWS_ENDPOINT_URL_KMS": found.address, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        become(patch, {**told, **nobody()})
        key = service(ARN)
        found.says(refusal("AccessDeniedException"), 400)
        with pytest.raises(AccessDenied):
            key.wrap(LINE, CONTEXT)
        yield found, key


@pytest.fixture
def hostile(asked: tuple[Hostile, KmsService]) -> Hostile:
    """The server."""
    asked[0].asked.clear()
    return asked[0]


@pytest.fixture
def client(asked: tuple[Hostile, KmsService]) -> KmsService:
    """Its client."""
    return asked[1]


def service(arn: str) -> KmsService:
    return kms.open_service(KeyServiceId(KMS, arn))


def test_what_is_wrapped_is_unwrapped_and_says_nothing(aws: MotoKms) -> None:
    key = service(aws.key())
    wrapped = key.wrap(LINE, CONTEXT)
    assert key.unwrap(wrapped, CONTEXT) == LINE
    assert LINE.strip() not in wrapped


@pytest.mark.parametrize("name", ["vault", "environment", "epoch", "compartment", "purpose"])
def test_another_encryption_context_does_not_unwrap(aws: MotoKms, name: str) -> None:
    key = service(aws.key())
    wrapped = key.wrap(LINE, CONTEXT)
    with pytest.raises(DigestMismatch) as caught:
        key.unwrap(wrapped, {**CONTEXT, name: "2"})
    assert caught.value.code == "decrypt-failed"


def test_what_was_altered_or_is_another_keys_does_not_unwrap(aws: MotoKms) -> None:
    key, other = service(aws.key()), service(aws.key())
    wrapped = key.wrap(LINE, CONTEXT)
    for bad in (wrapped[:-1] + bytes([wrapped[-1] ^ 1]), b"nonsense", b"", b"x" * 7_000):
        with pytest.raises(DigestMismatch):
            key.unwrap(bad, CONTEXT)
    with pytest.raises((DigestMismatch, AccessDenied)):  # AWS says the first, moto the second
        other.unwrap(wrapped, CONTEXT)


def test_a_key_that_is_not_there_is_a_denial(aws: MotoKms) -> None:
    with pytest.raises(AccessDenied) as caught:
        service(ARN).wrap(LINE, CONTEXT)
    assert caught.value.code == "key-service-denied"
    assert "NotFoundException" in caught.value.message


def test_without_credentials_there_is_no_usable_key(moto_kms: MotoKms, asker: pytest.MonkeyPatch) -> None:
    asker.setenv("AWS_ENDPOINT_URL_KMS", moto_kms.endpoint)
    with pytest.raises(NoUsableKey, match="no credentials"):
        service(moto_kms.key()).wrap(LINE, CONTEXT)


def test_iam_decides_who_wraps_and_who_unwraps(asker: pytest.MonkeyPatch) -> None:
    with servers.running() as server:
        arn = server.key()
        wrapper = server.user("wrapper", {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*"})
        loader = server.user("loader", {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"})
        server.authorise()
        become(asker, server.environment(*wrapper))
        wrapped = service(arn).wrap(LINE, CONTEXT)
        with pytest.raises(AccessDenied) as caught:
            service(arn).unwrap(wrapped, CONTEXT)
        assert caught.value.code == "key-service-denied"
        become(asker, server.environment(*loader))
        assert service(arn).unwrap(wrapped, CONTEXT) == LINE
        with pytest.raises(AccessDenied):
            service(arn).wrap(LINE, CONTEXT)
        become(asker, server.environment("AKIAUNKNOWN0000000000", "x"))
        with pytest.raises(AccessDenied):
            service(arn).unwrap(wrapped, CONTEXT)


def test_a_server_that_was_stopped_is_unavailable_and_says_what_to_do(asker: pytest.MonkeyPatch) -> None:
    with servers.running() as server:
        become(asker, server.environment())
        key = service(server.key())
        wrapped = key.wrap(LINE, CONTEXT)
        server.stop()
        with pytest.raises(Unavailable) as caught:
            key.unwrap(wrapped, CONTEXT)
    assert caught.value.code == "unavailable"
    assert "Try again" in caught.value.hint


def test_an_endpoint_in_the_clear_is_not_asked(asker: pytest.MonkeyPatch) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    become(asker, {**environment, "AWS_ENDPOINT_URL_KMS": "http://kms.example.com"})
    with pytest.raises(Unavailable, match="in the clear"):
        service(ARN).wrap(LINE, CONTEXT)


def test_without_its_library_it_says_what_to_install(asker: pytest.MonkeyPatch) -> None:
    asker.setitem(sys.modules, "boto3.session", None)
    with pytest.raises(MissingLibrary, match=r"model-artifact-vault\[kms\]"):
        service(ARN).wrap(LINE, CONTEXT)


# --- answers that are none ---


def refusal(code: str) -> bytes:
    return json.dumps({"__type": code, "message": "\x1b[31mno\n"}).encode()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("DisabledException", AccessDenied),
        ("KMSInvalidStateException", AccessDenied),
        ("AccessDeniedException", AccessDenied),
        ("ExpiredTokenException", AccessDenied),
        ("UnrecognizedClientException", AccessDenied),
        ("InvalidCiphertextException", DigestMismatch),
        ("IncorrectKeyException", DigestMismatch),
        ("KMSInternalException", Unavailable),
        ("ThrottlingException", Unavailable),
        ("SomethingNew", Unavailable),
    ],
)
def test_what_kms_refuses_with_decides_what_is_raised(
    hostile: Hostile, client: KmsService, code: str, expected: type[Exception]
) -> None:
    hostile.says(refusal(code), 400)
    with pytest.raises(expected) as caught:
        client.unwrap(b"opaque", CONTEXT)
    assert "\x1b" not in str(caught.value)


def answer(**told: object) -> bytes:
    return json.dumps({"KeyId": ARN, **told}).encode()


QQ = base64.b64encode(b"opaque").decode()
ODD: list[tuple[bytes, int]] = [
    (b"", 200),
    (b"<html>", 200),
    (b"\xff\xfe", 200),
    (b'{"a":' + b"[" * 60_000, 200),
    (b"[]", 200),
    (b"null", 200),
    (answer(), 200),
    (answer(Plaintext=1, CiphertextBlob=1), 200),
    (answer(Plaintext=[QQ], CiphertextBlob={}), 200),
    (answer(Plaintext="abc", CiphertextBlob="abc"), 200),
    (
        answer(Plaintext=QQ, CiphertextBlob=QQ).replace(ARN.encode(), ARN.replace("8bf1", "0000").encode()),
        200,
    ),
    (answer(Plaintext=QQ, CiphertextBlob=QQ).replace(b"KeyId", b"Id"), 200),
    (answer(Plaintext=QQ, CiphertextBlob="A" * 40_000, KeyId=17), 200),
    (answer(CiphertextBlob="A" * 12_000), 200),
    (answer(CiphertextBlob=base64.b64encode(b"x" + LINE).decode()), 200),
    (answer(Plaintext="A" * limits.KEY_SERVICE_BYTES), 200),
    (b" " * (limits.KEY_SERVICE_BYTES + 1), 200),
    (b"", 307),
    (b"{}", 400),
    (b'{"__type":17}', 400),
    (b"<html>", 503),
]


@pytest.mark.parametrize(("body", "status"), ODD)
@pytest.mark.parametrize("verb", ["wrap", "unwrap"])
def test_an_odd_answer_is_unavailable_and_nothing_else(
    hostile: Hostile, client: KmsService, body: bytes, status: int, verb: str
) -> None:
    hostile.says(body, status)
    with pytest.raises(Unavailable):
        client.wrap(LINE, CONTEXT) if verb == "wrap" else client.unwrap(b"opaque", CONTEXT)


@pytest.mark.parametrize("plaintext", [b"", b"x" * (limits.RECIPIENT_CHARS + 1)])
def test_a_plaintext_that_can_be_no_key_is_refused(
    hostile: Hostile, client: KmsService, plaintext: bytes
) -> None:
    hostile.says(answer(Plaintext=base64.b64encode(plaintext).decode()))
    with pytest.raises(DigestMismatch):
        client.unwrap(b"opaque", CONTEXT)


def test_a_server_that_hangs_up_is_unavailable(hostile: Hostile, client: KmsService) -> None:
    hostile.act = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Unavailable):
        client.wrap(LINE, CONTEXT)


def test_a_proxy_from_the_environment_does_not_see_what_is_asked_of_this_machine(
    hostile: Hostile, asker: pytest.MonkeyPatch
) -> None:
    with listening() as proxy:
        become(asker, {"AWS_ENDPOINT_URL_KMS": hostile.address, "http_proxy": proxy.address})
        become(asker, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
        hostile.says(answer(CiphertextBlob=QQ))
        assert service(ARN).wrap(LINE, CONTEXT) == b"opaque"
        assert proxy.asked == []
