"""Requests go to one server alone, no more comes back than was asked for, and waiting ends."""

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import requests

from vault.core import limits
from vault.storage import capped_http
from vault.storage.capped_http import BadAnswerError, CappedAdapter

Talk = Callable[[socket.socket], None]


class Server:
    """Says what it is told to, to whoever connects."""

    def __init__(self) -> None:
        self.talk: Talk = lambda _: None
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                line, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=[line], daemon=True).start()

    def answer(self, line: socket.socket) -> None:
        with line:
            try:
                self.talk(line)
            except OSError:
                return


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.listening.close()


@pytest.fixture
def session(server: Server) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, CappedAdapter(server.url))
        yield session


def head(line: socket.socket) -> bytes:
    """Read a request up to its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(1)
    return data


def saying(*parts: bytes) -> Talk:
    def talk(line: socket.socket) -> None:
        head(line)
        for part in parts:
            line.sendall(part)

    return talk


def endless(beginning: bytes, unit: bytes) -> Talk:
    def talk(line: socket.socket) -> None:
        head(line)
        line.sendall(beginning)
        while True:
            line.sendall(unit)

    return talk


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "https://127.0.0.1/", "http://localhost/", "http://evil.example/"]
)
def test_nothing_is_sent_elsewhere(session: requests.Session, url: str) -> None:
    with pytest.raises(BadAnswerError, match="elsewhere"):
        session.get(url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(session: requests.Session, server: Server, status: int) -> None:
    server.talk = saying(b"HTTP/1.1 %d x\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n" % status)
    if status == 308:  # how a resumable upload is told to go on
        assert session.get(server.url).status_code == 308
        return
    with pytest.raises(BadAnswerError, match="elsewhere"):
        session.get(server.url)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"100000\r\n" + bytes(limits.MIB) + b"\r\n"
UNMARKED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(("beginning", "unit"), [(CHUNKED, CHUNK), (UNMARKED, bytes(limits.MIB))])
@pytest.mark.parametrize("asked", [None, "bytes=0-999"])
def test_endless_bodies_end(
    session: requests.Session, server: Server, beginning: bytes, unit: bytes, asked: str | None
) -> None:
    server.talk = endless(beginning, unit)
    tracemalloc.start()
    try:
        with pytest.raises(requests.RequestException, match="more than was asked for"):
            session.get(server.url, headers={"Range": asked} if asked else {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (3 * capped_http.DOCUMENT_BYTES if asked is None else 4 * limits.MIB)


@pytest.mark.parametrize("told", [b"99999999999", b"-1", b"abc", b"1e3", b"33554433"])
def test_an_announced_length_beyond_what_may_come_is_refused_unread(
    session: requests.Session, server: Server, told: bytes
) -> None:
    server.talk = saying(b"HTTP/1.1 200 OK\r\nContent-Length: " + told + b"\r\n\r\n")
    with pytest.raises(requests.RequestException):
        session.get(server.url)


def test_an_error_is_read_up_to_its_own_limit(session: requests.Session, server: Server) -> None:
    server.talk = saying(b"HTTP/1.1 403 no\r\nContent-Length: 2000000\r\n\r\n", bytes(2_000_000))
    with pytest.raises(BadAnswerError):
        session.get(server.url)


def test_a_packed_document_is_refused_and_packed_bytes_of_an_object_are_left_packed(
    session: requests.Session, server: Server
) -> None:
    packed = gzip.compress(bytes(limits.MIB))
    told = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    server.talk = saying(told, packed)
    with pytest.raises(BadAnswerError, match="packed"):
        session.get(server.url)
    answer = session.get(server.url, headers={"Range": f"bytes=0-{len(packed) - 1}"})
    assert answer.content == packed


def test_a_body_that_drips_is_given_up(
    session: requests.Session, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capped_http, "READ_SECONDS", 1)

    def drip(line: socket.socket) -> None:
        head(line)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            line.sendall(b"x")
            time.sleep(0.02)

    server.talk = drip
    began = time.monotonic()
    with pytest.raises(requests.Timeout, match="too slowly"):
        session.get(server.url)
    assert time.monotonic() - began < 10


def test_a_server_that_says_nothing_is_given_up(
    session: requests.Session, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capped_http, "READ_SECONDS", 0.3)
    server.talk = lambda line: time.sleep(5)
    with pytest.raises(requests.Timeout):
        session.get(server.url)


def test_a_slow_line_uploads_a_large_body_although_it_takes_longer_than_one_step_may(
    session: requests.Session, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capped_http, "CONNECT_SECONDS", 0.5)
    body = bytes(range(256)) * (64 * limits.KIB)
    came = bytearray()

    def slowly(line: socket.socket) -> None:
        head(line)
        while len(came) < len(body):
            came.extend(line.recv(256 * limits.KIB))
            time.sleep(0.02)
        line.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    server.talk = slowly
    began = time.monotonic()
    for data in (body, memoryview(body)):
        came.clear()
        assert session.put(server.url, data=data).status_code == 200
        assert came == body
    assert time.monotonic() - began > 1


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("a\nb\tc", "a b c"),
        ("\x1b[31mred", " [31mred"),
        ("x" * 999, "x" * 200),
        ("", ""),
        ("\u202eevil", " evil"),
    ],
)
def test_what_a_server_says_is_one_printable_line(said: str, line: str) -> None:
    assert capped_http.one_line(said) == line
