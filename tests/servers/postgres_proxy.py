"""Stand between a client and a PostgreSQL server, and do harm when a certain statement comes by."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


class Proxy:
    """Listens on `port` and passes everything on, until `watch_for` says otherwise.

    When bytes of a client contain the pattern, `before` runs and then the statement is passed on; with
    `lose_answer` the server's answer is waited for and the connection cut in its place; with `drop` the
    connection is cut without passing it on. Each happens `times` times.
    """

    def __init__(self, target: int) -> None:
        """Stand in front of the server at the port `target` of this machine."""
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.seen = 0
        self._pattern = b""
        self._before: Callable[[], None] = _nothing
        self._lose = self._drop = False
        self._times = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def watch_for(
        self,
        pattern: bytes,
        *,
        before: Callable[[], None] | None = None,
        lose_answer: bool = False,
        drop: bool = False,
        times: int = 1,
    ) -> None:
        """Do harm when the pattern comes by next."""
        self.seen = 0
        self._pattern, self._before = pattern, before or _nothing
        self._lose, self._drop, self._times = lose_answer, drop, times

    def close(self) -> None:
        """Take no more connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            answered = threading.Event()
            losing = threading.Event()
            back = threading.Thread(
                target=self._pass_back, args=(server, client, losing, answered), daemon=True
            )
            back.start()
            with contextlib.suppress(OSError):
                self._pass_on(client, server, losing, answered)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            back.join(5)

    def _pass_on(
        self, client: socket.socket, server: socket.socket, losing: threading.Event, answered: threading.Event
    ) -> None:
        while data := client.recv(1 << 16):
            if self._pattern and self._pattern in data and self.seen < self._times:
                self.seen += 1
                self._before()
                if self._drop:
                    return
                if self._lose:
                    losing.set()
                    server.sendall(data)
                    # A large statement comes in several pieces.
                    client.settimeout(0.2)
                    with contextlib.suppress(TimeoutError):
                        while more := client.recv(1 << 16):
                            server.sendall(more)
                    answered.wait(10)
                    return
            server.sendall(data)

    def _pass_back(
        self, server: socket.socket, client: socket.socket, losing: threading.Event, answered: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if losing.is_set():
                    answered.set()
                else:
                    client.sendall(data)
        answered.set()
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _nothing() -> None:
    pass


@contextlib.contextmanager
def in_front_of(target: int) -> Iterator[Proxy]:
    """Run a proxy for as long as the block lasts."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
