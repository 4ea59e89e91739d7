"""A server on loopback that answers as it is told to, for tests of what clients make of it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hostile:
    """What the server answers: a status, bytes, headers; and what it was asked."""

    address: str = ""
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    act: Callable[[BaseHTTPRequestHandler], None] | None = None  # in place of an answer
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, and token or authorisation

    def says(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Answer so from now on."""
        self.body, self.status, self.headers, self.act = body, status, headers, None


@contextlib.contextmanager
def listening() -> Iterator[Hostile]:
    """Run a server for as long as the block lasts."""
    hostile = Hostile()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("X-Vault-Token") or self.headers.get("Authorization") or ""
            hostile.asked.append((self.path, token))
            if hostile.act is not None:
                hostile.act(self)
                return
            self.send_response(hostile.status)
            for name, value in hostile.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(hostile.body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(hostile.body)

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 (the names that the base class looks for)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing of clients that hang up."""

    server = Quiet(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hostile.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hostile
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
