"""Stand between a store and its server, and let answers go wrong as a plan says.

The proxy forwards requests to a server on this machine. Before it does, and before it hands an answer
back, it asks its `plan`, which a test sets: to answer by itself, to lose the answer, to cut it short, or
to put something else in its place.
"""

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Exchange:
    """One request and, once it was forwarded, its answer; a plan may change the answer."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answer: list[tuple[str, str]] = field(default_factory=list)
    data: bytes = b""

    def header(self, name: str) -> str:
        """Give a header of the request, or nothing."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), "")

    def say(self, status: int, data: bytes = b"", *, kind: str = "text/plain", **headers: str) -> None:
        """Answer so."""
        self.status, self.data = status, data
        told = {"Content-Type": kind, "Content-Length": str(len(data)), **headers}
        self.answer = list(told.items())


Plan = Callable[[Exchange], str | None]


def forward(_: Exchange) -> str | None:
    """Plan nothing: every request is forwarded and every answer handed back."""
    return None


class FaultyProxy:
    """A proxy to one server. Its plans return a word, or None to go on.

    `before` sees a request that was not forwarded yet: "drop" closes the connection, "answer" hands back
    what the plan put into the exchange. `after` sees the answer: "drop" loses it, "cut" sends half of its
    body and closes the connection. `requests` are those that came, in order.
    """

    def __init__(self, target: str) -> None:
        """Forward to the server at the URL `target`."""
        self.target = urlsplit(target).netloc
        self.before: Plan = forward
        self.after: Plan = forward
        self.requests: list[Exchange] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def netloc(self) -> str:
        """Where it listens, as `host:port`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65_537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                with contextlib.suppress(ConnectionError, http.client.HTTPException, TimeoutError):
                    if proxy._exchange(self):
                        return
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

        return Handler

    def _exchange(self, handler: BaseHTTPRequestHandler) -> bool:
        """Serve one request; tell whether the connection may serve another."""
        exchange = Exchange(handler.command, handler.path, dict(handler.headers), _body(handler))
        self.requests.append(exchange)
        word = self.before(exchange)
        if word is None:
            self._forward(exchange)
            word = self.after(exchange)
        if word == "drop":
            return False
        data = exchange.data[: len(exchange.data) // 2] if word == "cut" else exchange.data
        lines = [f"HTTP/1.1 {exchange.status} Answer", *(f"{k}: {v}" for k, v in exchange.answer)]
        handler.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        handler.wfile.write(data)
        handler.wfile.flush()
        return word != "cut"

    def _forward(self, exchange: Exchange) -> None:
        line = http.client.HTTPConnection(self.target, timeout=30)
        with contextlib.closing(line):
            kept = {k: v for k, v in exchange.headers.items() if k.lower() not in _HOP}
            line.request(exchange.method, exchange.path, exchange.body, kept)
            answer = line.getresponse()
            exchange.data = answer.read()
            exchange.status = answer.status
            exchange.answer = [
                (name, value.replace(self.target, self.netloc))
                for name, value in answer.getheaders()
                if name.lower() not in _HOP - ({"content-length"} if exchange.method == "HEAD" else set())
            ]
            if exchange.method != "HEAD":
                exchange.answer.append(("Content-Length", str(len(exchange.data))))


_HOP = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    pieces = []
    while size := int(handler.rfile.readline().split(b";")[0] or b"0", 16):
        pieces.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(pieces)


@contextlib.contextmanager
def proxied(target: str) -> Iterator[FaultyProxy]:
    """Run a proxy to the server at a URL for as long as the block lasts."""
    proxy = FaultyProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()


def listens(port: int) -> bool:
    """Tell whether somebody accepts connections at a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
