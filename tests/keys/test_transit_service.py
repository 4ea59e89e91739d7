"""Keys wrapped by a transit engine: against OpenBao, and against servers that answer what they should not."""

import base64
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.keys.hostile_service import Hostile, listening
from tests.servers import openbao as servers
from tests.servers.openbao import ROOT_TOKEN, VARIABLES, OpenBao, openbao
from vault.actions import key_services as timed
from vault.core import key_services, limits
from vault.core.key_services import TRANSIT, KeyServiceId
from vault.core.names import Digest, Environment
from vault.errors import AccessDenied, DigestMismatch, MissingLibrary, NoUsableKey, Unavailable, VaultError
from vault.keys import transit
from vault.keys.transit import TransitService

__all__ = ["openbao"]
LINE = b"AGE-SECRET-KEY-1TEST\n"
CONTEXT = key_services.context(Digest("a" * 64), Environment("prod"), 1)


@pytest.fixture(autouse=True)
def asker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Somebody with nothing set that says whom to ask, or who asks."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


@pytest.fixture
def bao(openbao: OpenBao, asker: pytest.MonkeyPatch) -> OpenBao:
    """The server, of which this process has the root token."""
    asker.setenv("BAO_ADDR", openbao.address)
    asker.setenv("BAO_TOKEN", ROOT_TOKEN)
    return openbao


@pytest.fixture
def hostile(asker: pytest.MonkeyPatch) -> Iterator[Hostile]:
    """A server that answers what a test says."""
    with listening() as found:
        asker.setenv("BAO_ADDR", found.address)
        asker.setenv("BAO_TOKEN", "a-token")
        yield found


def service(url: str) -> TransitService:
    return transit.open_service(KeyServiceId(TRANSIT, url))


@pytest.mark.parametrize("options", [{}, {"derived": True}], ids=["plain", "derived"])
@pytest.mark.parametrize("kind", ["aes256-gcm96", "chacha20-poly1305"])
def test_what_is_wrapped_is_unwrapped_and_says_nothing(
    bao: OpenBao, kind: str, options: dict[str, bool]
) -> None:
    key = service(bao.key(kind, **options))
    wrapped = key.wrap(LINE, CONTEXT)
    assert key.unwrap(wrapped, CONTEXT) == LINE
    assert LINE.strip() not in wrapped


@pytest.mark.parametrize("name", ["vault", "environment", "epoch", "compartment", "purpose"])
def test_another_context_does_not_unwrap(bao: OpenBao, name: str) -> None:
    key = service(bao.key())
    wrapped = key.wrap(LINE, CONTEXT)
    with pytest.raises(DigestMismatch) as caught:
        key.unwrap(wrapped, {**CONTEXT, name: "2"})
    assert caught.value.code == "decrypt-failed"


def test_what_was_altered_or_is_another_keys_does_not_unwrap(bao: OpenBao) -> None:
    key, other = service(bao.key()), service(bao.key())
    wrapped = key.wrap(LINE, CONTEXT)
    raw = bytearray(base64.b64decode(wrapped.split(b":")[2]))
    raw[-1] ^= 1
    for bad in (b"vault:v1:" + base64.b64encode(raw), wrapped.replace(b":v1:", b":v9:")):
        with pytest.raises(DigestMismatch):
            key.unwrap(bad, CONTEXT)
    with pytest.raises(DigestMismatch):
        other.unwrap(wrapped, CONTEXT)


def test_a_key_that_was_rotated_unwraps_until_its_old_version_is_given_up(bao: OpenBao) -> None:
    url = bao.key()
    key, name = service(url), url.rpartition("/")[2]
    old = key.wrap(LINE, CONTEXT)
    bao.client.secrets.transit.rotate_key(name)
    new = key.wrap(LINE, CONTEXT)
    assert new.startswith(b"vault:v2:")
    assert key.unwrap(old, CONTEXT) == key.unwrap(new, CONTEXT) == LINE
    bao.client.secrets.transit.update_key_configuration(name, min_decryption_version=2)
    with pytest.raises(DigestMismatch):
        key.unwrap(old, CONTEXT)
    assert key.unwrap(new, CONTEXT) == LINE


def test_the_engines_own_rewrap_does_not_move_what_is_bound_to_a_place(bao: OpenBao) -> None:
    """It takes no associated data; a copy under the newest version is written by whoever holds the key."""
    import hvac

    url = bao.key()
    name = url.rpartition("/")[2]
    old = service(url).wrap(LINE, CONTEXT)
    bao.client.secrets.transit.rotate_key(name)
    with pytest.raises(hvac.exceptions.InvalidRequest):
        bao.client.secrets.transit.rewrap_data(name, old.decode())


def test_a_policy_of_the_service_decides_who_wraps_and_who_unwraps(
    bao: OpenBao, asker: pytest.MonkeyPatch
) -> None:
    url = bao.key()
    asker.setenv("BAO_TOKEN", bao.token(url, "encrypt"))
    wrapped = service(url).wrap(LINE, CONTEXT)
    with pytest.raises(AccessDenied) as caught:
        service(url).unwrap(wrapped, CONTEXT)
    assert caught.value.code == "key-service-denied"
    assert caught.value.hint
    asker.setenv("BAO_TOKEN", bao.token(url, "decrypt"))
    assert service(url).unwrap(wrapped, CONTEXT) == LINE
    with pytest.raises(AccessDenied):
        service(url).wrap(LINE, CONTEXT)


@pytest.mark.parametrize("kind", ["rsa-2048", "ed25519"])
def test_a_key_that_cannot_bind_what_it_wraps_is_not_used(bao: OpenBao, kind: str) -> None:
    with pytest.raises(AccessDenied):
        service(bao.key(kind)).wrap(LINE, CONTEXT)


def test_a_key_that_is_not_there_is_a_denial(bao: OpenBao, asker: pytest.MonkeyPatch) -> None:
    url = bao.key()
    absent = f"{bao.address}/nowhere/key"
    with pytest.raises(AccessDenied):
        service(absent).wrap(LINE, CONTEXT)
    asker.setenv("BAO_TOKEN", bao.token(url, "encrypt"))
    with pytest.raises(AccessDenied):
        service(url + "-other").wrap(LINE, CONTEXT)


@pytest.mark.parametrize("how", ["BAO_TOKEN", "VAULT_TOKEN", "MVAULT_TRANSIT_TOKEN_FILE", "home"])
def test_the_token_comes_from_the_usual_places(
    bao: OpenBao, asker: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    asker.delenv("BAO_TOKEN")
    url = bao.key()
    with pytest.raises(NoUsableKey):
        service(url).wrap(LINE, CONTEXT)
    if how == "home":
        (tmp_path / ".vault-token").write_text(ROOT_TOKEN)
    elif how.endswith("FILE"):
        (tmp_path / "token").write_text(ROOT_TOKEN + "\n")
        asker.setenv(how, str(tmp_path / "token"))
    else:
        asker.setenv(how, ROOT_TOKEN)
    assert service(url).unwrap(service(url).wrap(LINE, CONTEXT), CONTEXT) == LINE


@pytest.mark.parametrize(
    "content", [b"", b"a b", b"\xff\xfe", b"x" * (limits.TOKEN_BYTES + 1), b"a\nX-Evil: 1"]
)
def test_a_file_that_holds_no_token_is_no_credential(
    bao: OpenBao, asker: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "token").write_bytes(content)
    asker.setenv("MVAULT_TRANSIT_TOKEN_FILE", str(tmp_path / "token"))
    asker.delenv("BAO_TOKEN")
    with pytest.raises(NoUsableKey):
        service(f"{bao.address}/transit/k").wrap(LINE, CONTEXT)


def test_a_token_goes_only_where_its_holder_said(hostile: Hostile, asker: pytest.MonkeyPatch) -> None:
    """A policy names a service; that somebody trusts a vault does not hand their token to it."""
    asker.delenv("BAO_ADDR")
    with pytest.raises(NoUsableKey, match="may be sent"):
        service(f"{hostile.address}/transit/k").unwrap(b"vault:v1:AAAA", CONTEXT)
    asker.setenv("BAO_ADDR", "https://bao.example.com")
    with pytest.raises(NoUsableKey):
        service(f"{hostile.address}/transit/k").wrap(LINE, CONTEXT)
    asker.setenv("BAO_ADDR", "http://bao.example.com")
    with pytest.raises(NoUsableKey, match="in the clear"):
        service(f"{hostile.address}/transit/k").unwrap(b"vault:v1:AAAA", CONTEXT)
    assert hostile.asked == []


def test_what_is_unwrapped_may_be_reached_by_another_name_of_the_service(bao: OpenBao) -> None:
    url = bao.key()
    wrapped = service(url).wrap(LINE, CONTEXT)
    elsewhere = service(url.replace("127.0.0.1", "localhost"))
    assert elsewhere.unwrap(wrapped, CONTEXT) == LINE
    with pytest.raises(NoUsableKey, match="another service"):
        elsewhere.wrap(LINE, CONTEXT)


def test_a_server_that_was_stopped_is_unavailable_and_says_what_to_do(asker: pytest.MonkeyPatch) -> None:
    with servers.running() as server:
        asker.setenv("BAO_ADDR", server.address)
        asker.setenv("BAO_TOKEN", ROOT_TOKEN)
        url = server.key()
        wrapped = service(url).wrap(LINE, CONTEXT)
        server.client.sys.seal()
        with pytest.raises(Unavailable):
            service(url).unwrap(wrapped, CONTEXT)
        server.stop()
        with pytest.raises(Unavailable) as caught:
            service(url).unwrap(wrapped, CONTEXT)
    assert caught.value.code == "unavailable"
    assert "Try again" in caught.value.hint
    assert ROOT_TOKEN not in str(caught.value)


def test_without_its_library_it_says_what_to_install(asker: pytest.MonkeyPatch) -> None:
    import sys

    asker.setitem(sys.modules, "hvac", None)
    transit._libraries.cache_clear()
    asker.setenv("BAO_ADDR", "https://bao")
    asker.setenv("BAO_TOKEN", "x")
    with pytest.raises(MissingLibrary, match=r"model-artifact-vault\[transit\]"):
        service("https://bao/transit/k").wrap(LINE, CONTEXT)


# --- answers that are none ---

DEEP = b'{"data":' + b"[" * 60_000
ODD: list[tuple[bytes, int]] = [
    (b"", 200),
    (b"<html>", 200),
    (b"\xff\xfe", 200),
    (DEEP, 200),
    (b'{"data":null}', 200),
    (b"[]", 200),
    (b"1e999", 200),
    (b'{"data":{"plaintext":1,"ciphertext":1}}', 200),
    (b'{"data":{"plaintext":"no base64!","ciphertext":"no"}}', 200),
    (b'{"data":{"plaintext":["QQ=="],"ciphertext":{}}}', 200),
    (b'{"data":{"plaintext":"QQ==","plaintext":"QQ=="}}', 200),
    (b'{"data":{"ciphertext":"vault:v1:"}}', 200),
    (b'{"data":{"ciphertext":"vault:v01:AAAA"}}', 200),
    (b'{"data":{}}', 200),
    (b"", 204),
    (b'{"errors":["x"]}', 418),
    (b'{"errors":[' + b'"x",' * 9_000 + b'"x"]}', 500),
    (b'{"errors":17}', 502),
    (b"", 307),
    (b" " * (limits.KEY_SERVICE_BYTES + 1), 200),
    (b'{"data":{"plaintext":"' + b"QUFB" * 65_536 + b'"}}', 200),
]


@pytest.mark.parametrize(("body", "status"), ODD)
@pytest.mark.parametrize("verb", ["wrap", "unwrap"])
def test_an_odd_answer_is_unavailable_and_nothing_else(
    hostile: Hostile, body: bytes, status: int, verb: str
) -> None:
    hostile.says(body, status, Location="/elsewhere")
    key = service(f"{hostile.address}/transit/k")
    with pytest.raises(Unavailable):
        key.wrap(LINE, CONTEXT) if verb == "wrap" else key.unwrap(b"vault:v1:AAAA", CONTEXT)


@pytest.mark.parametrize("plaintext", [b"", b"x" * (limits.RECIPIENT_CHARS + 1)])
def test_a_plaintext_that_can_be_no_key_is_refused(hostile: Hostile, plaintext: bytes) -> None:
    told = {"data": {"plaintext": base64.b64encode(plaintext).decode()}}
    hostile.says(json.dumps(told).encode())
    with pytest.raises(DigestMismatch):
        service(f"{hostile.address}/transit/k").unwrap(b"vault:v1:AAAA", CONTEXT)


@pytest.mark.parametrize("errors", [[], [1], ["\x1b[2J" * 100], "x", None, [["a"]]])
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_denial_is_one_however_it_is_worded(hostile: Hostile, errors: object, status: int) -> None:
    hostile.says(json.dumps({"errors": errors}).encode(), status)
    with pytest.raises(AccessDenied) as caught:
        service(f"{hostile.address}/transit/k").wrap(LINE, CONTEXT)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1_000


def test_a_redirect_does_not_take_the_token_along(hostile: Hostile) -> None:
    with listening() as thief:
        hostile.says(b"", 307, Location=f"{thief.address}/v1/transit/encrypt/k")
        with pytest.raises(Unavailable):
            service(f"{hostile.address}/transit/k").wrap(LINE, CONTEXT)
        assert thief.asked == []


def test_a_proxy_from_the_environment_does_not_see_what_is_asked_of_this_machine(
    hostile: Hostile, asker: pytest.MonkeyPatch
) -> None:
    with listening() as proxy:
        asker.setenv("http_proxy", proxy.address)
        hostile.says(b'{"data":{"ciphertext":"vault:v1:AAAA"}}')
        assert service(f"{hostile.address}/transit/k").wrap(LINE, CONTEXT) == b"vault:v1:AAAA"
        assert proxy.asked == []


@pytest.mark.parametrize(
    "wrapped",
    [b"", b"vault:v1:", b"vault:v0:AAAA", b"vault:v1:AA AA", b"vault:v1:AAAA\n", b"x" * 99, b"vault:v1:\xff"],
)
def test_what_is_no_ciphertext_is_refused_without_asking(hostile: Hostile, wrapped: bytes) -> None:
    with pytest.raises(DigestMismatch):
        service(f"{hostile.address}/transit/k").unwrap(wrapped, CONTEXT)
    assert hostile.asked == []


def test_a_server_that_hangs_up_is_unavailable(hostile: Hostile) -> None:
    hostile.act = lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Unavailable):
        service(f"{hostile.address}/transit/k").wrap(LINE, CONTEXT)


def test_a_server_that_sends_a_byte_now_and_then_is_given_up(
    hostile: Hostile, asker: pytest.MonkeyPatch
) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
            for _ in range(200):
                handler.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            return

    hostile.act = drip
    asker.setattr(timed.within, "__defaults__", (0.5,))
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"within 0\.5 seconds"):
        timed.open_service(KeyServiceId(TRANSIT, f"{hostile.address}/transit/k")).wrap(LINE, CONTEXT)
    assert time.monotonic() - began < 5


def test_no_error_of_a_library_comes_through(hostile: Hostile) -> None:
    """Whatever happens is one of the vault's own errors."""
    key = service(f"{hostile.address}/transit/k")
    for status in range(200, 600, 7):
        hostile.says(b'{"errors":["x"],"data":{"plaintext":"QQ=="}}', status)
        try:
            key.unwrap(b"vault:v1:AAAA", CONTEXT)
        except VaultError:
            continue
        assert status == 200
    assert replace(key.service).kind == TRANSIT
