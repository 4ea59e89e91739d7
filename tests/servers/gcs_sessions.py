"""Resumable uploads as Google Cloud Storage does them, in front of fake-gcs-server.

The emulator that the tests install takes resumable uploads without the condition that they were begun
with. This plan for a proxy keeps the parts itself, and stores them with one request under the condition,
which the emulator does keep
(https://cloud.google.com/storage/docs/performing-resumable-uploads).
"""

import json
import re
import uuid
from dataclasses import dataclass, field

from tests.servers.http_proxy import Exchange, FaultyProxy

STEP = 256 * 1024
_RANGE = re.compile(r"bytes (?:\*|(\d+)-(\d+))/(\*|\d+)")


@dataclass
class Session:
    """One upload: what it will be, and the bytes that the service has."""

    path: str
    resource: bytes
    data: bytearray = field(default_factory=bytearray)
    result: tuple[int, bytes] | None = None


class Sessions:
    """The plan `before` of a proxy; give `partly` to keep only so many bytes of each next part.

    `asked` counts the questions how far the service came.
    """

    def __init__(self, proxy: FaultyProxy) -> None:
        """Serve resumable uploads at `proxy`."""
        self._proxy = proxy
        self.sessions: dict[str, Session] = {}
        self.partly: list[int] = []
        self.asked = 0
        self.cancelled = 0

    def __call__(self, exchange: Exchange) -> str | None:
        """Answer what is about resumable uploads."""
        if "uploadType=resumable" not in exchange.path:
            return None
        if exchange.method == "POST":
            key = uuid.uuid4().hex
            self.sessions[key] = Session(exchange.path, exchange.body)
            there = f"http://{self._proxy.netloc}{exchange.path}&upload_id={key}"
            exchange.say(200, Location=there)
            return "answer"
        session = self.sessions.get(exchange.path.partition("upload_id=")[2])
        if session is None:
            exchange.say(404, b"no such session")
        elif exchange.method == "DELETE":
            self.cancelled += 1
            exchange.say(499)
        else:
            self._put(session, exchange)
        return "answer"

    def _put(self, session: Session, exchange: Exchange) -> None:
        found = _RANGE.fullmatch(exchange.header("Content-Range"))
        if found is None:
            exchange.say(400, b"bad range")
            return
        if session.result is None:
            if found[1] is None:
                self.asked += 1
            elif int(found[1]) > len(session.data):
                exchange.say(400, b"a hole")
                return
            else:
                new = exchange.body[len(session.data) - int(found[1]) :]
                session.data += new[: self.partly.pop(0)] if self.partly else new
            if found[3] != str(len(session.data)):
                exchange.say(308)
                if session.data:
                    exchange.answer.append(("Range", f"bytes=0-{len(session.data) - 1}"))
                return
            session.result = self._store(session)
        status, data = session.result
        exchange.say(status, data, kind="application/json")

    def _store(self, session: Session) -> tuple[int, bytes]:
        resource = json.loads(session.resource or b"{}")
        boundary = uuid.uuid4().hex.encode()
        body = b"--%b\r\nContent-Type: application/json\r\n\r\n%b\r\n--%b\r\n\r\n%b\r\n--%b--" % (
            *(boundary, json.dumps(resource).encode(), boundary, bytes(session.data), boundary),
        )
        path = session.path.replace("uploadType=resumable", "uploadType=multipart")
        kind = f"multipart/related; boundary={boundary.decode()}"
        stored = Exchange("POST", path, {"Content-Type": kind}, body)
        self._proxy._forward(stored)
        return stored.status, stored.data
