"""Send a storage library's requests to one server alone, and take back no more than was asked for.

The libraries for Google Cloud Storage and for Azure both send through
`requests`. What they do not do is done here: no answer is read further than its
request allows, no request follows an address that an answer named, and waiting
ends.
"""

import io
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from vault.core import limits
from vault.ports import Buffer

CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 60
DOCUMENT_BYTES: Final = 32 * limits.MIB  # a page of 5,000 names with all that is told of each
ERROR_BYTES: Final = 1 * limits.MIB
SLOWEST: Final = 64 * limits.KIB  # bytes a second, below which a transfer is given up
_CONNECTIONS: Final = 32
_PIECE: Final = 256 * limits.KIB
_RANGE: Final = re.compile(r"bytes=([0-9]{1,16})-([0-9]{1,16})\Z", re.ASCII)
_LENGTH: Final = re.compile(r"[0-9]{1,16}\Z", re.ASCII)
_REDIRECTS: Final = frozenset({301, 302, 303, 307})


class Filled:
    """A buffer for the bytes of a range; `count` of them came, with an answer that had these `headers`."""

    def __init__(self, buffer: memoryview) -> None:
        """Take bytes into `buffer`."""
        self.buffer = buffer
        self.count = 0
        self.headers: Mapping[str, str] = {}


class BadAnswerError(requests.RequestException):
    """An answer that no honest server gives; asking again would not help."""


class CappedAdapter(HTTPAdapter):
    """The connection to one server.

    Attributes: `date`, which the last answer bore, as the server wrote it.
    """

    def __init__(self, base: str) -> None:
        """Send only to the scheme, host and port of the URL `base`."""
        super().__init__(pool_connections=1, pool_maxsize=_CONNECTIONS, max_retries=0)
        self._origin = _origin(base)
        self._waiting = threading.local()
        self.date: str | None = None

    @contextmanager
    def filling(self, buffer: memoryview) -> Iterator["Filled"]:
        """Let the bytes of a range that this thread asks for in the block come into `buffer`.

        Whoever sent the request sees an answer without a body. That spares the memory, nine times that
        of the body, which Azure's library takes to collect one.
        """
        filled = Filled(buffer)
        self._waiting.filled = filled
        try:
            yield filled
        finally:
            self._waiting.filled = None

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        """Send a request, and check what its answer says of itself before any of its body is read.

        Raises:
            requests.RequestException: the server was not reached, or its answer is longer than was
                asked for or leads elsewhere (`BadAnswerError`).
        """
        if _origin(request.url or "") != self._origin:
            raise BadAnswerError("the server named an address elsewhere", request=request)
        asked = _RANGE.match(str(request.headers.get("x-ms-range") or request.headers.get("Range") or ""))
        if asked is None:
            request.headers["Accept-Encoding"] = "identity"  # a few bytes could unpack to any number
        if isinstance(request.body, bytes | bytearray | memoryview):
            request.body = _Pieces(request.body)
        options["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        options["stream"] = True
        answer = super().send(request, **options)
        self.date = answer.headers.get("Date")
        length = int(asked[2]) - int(asked[1]) + 1 if asked is not None else None
        try:
            self._check(request, answer, length)
        except BaseException:
            answer.close()
            raise
        return answer

    def _check(
        self, request: requests.PreparedRequest, answer: requests.Response, length: int | None
    ) -> None:
        """Refuse an answer that is not for here; what is not a range of an object is read whole."""
        if answer.status_code in _REDIRECTS:
            raise BadAnswerError("the server sent the request elsewhere", request=request, response=answer)
        if answer.status_code not in {200, 201}:
            answer.headers.pop("Location", None)  # 308 says "go on" here; requests would follow it
        if request.method == "HEAD":
            return
        media = length is not None and answer.status_code in {200, 206}
        if media:  # bytes are taken as they are stored, whatever they are said to be encoded with
            for headers in (answer.headers, answer.raw.headers):
                headers.pop("Content-Encoding", None)
        elif answer.headers.get("Content-Encoding", "identity") != "identity":
            raise BadAnswerError(
                "the server packed what it was asked not to", request=request, response=answer
            )
        cap = ERROR_BYTES if answer.status_code >= 400 else DOCUMENT_BYTES
        if media and length is not None:
            cap = length
        told = answer.headers.get("Content-Length")
        if told is not None and (_LENGTH.match(told) is None or int(told) > cap):
            raise BadAnswerError("the server sent more than was asked for", request=request, response=answer)
        if not media:
            _put_body(answer, io.BytesIO(_whole(answer.raw, cap)))
        elif (filled := getattr(self._waiting, "filled", None)) is not None:
            filled.count = fill(answer.raw, filled.buffer, None if told is None else int(told))
            filled.headers = answer.headers
            answer.headers["Content-Length"] = "0"
            _put_body(answer, io.BytesIO())
        elif told is None:
            _put_body(answer, _Capped(answer.raw, cap))


class _Pieces:
    """A body that is sent piece by piece: a socket's patience is for each piece, and not for them all."""

    def __init__(self, data: Buffer) -> None:
        self._rest = memoryview(data).cast("B")

    def read(self, count: int = -1) -> bytes:
        piece = self._rest if count < 0 else self._rest[:count]
        self._rest = self._rest[len(piece) :]
        return bytes(piece)


class _Capped:
    """A body of unknown length, which ends in an error where it is longer than it may be."""

    def __init__(self, raw: Any, cap: int) -> None:
        self._raw = raw
        self._left = cap
        self.closed = False

    def read1(self, count: int) -> bytes:
        piece = bytes(self._raw.read1(min(count, self._left + 1), decode_content=False))
        if len(piece) > self._left:
            raise BadAnswerError("the server sent more than was asked for")
        self._left -= len(piece)
        self.closed = not piece
        return piece

    def read(self, count: int = -1) -> bytes:
        return self.read1(_PIECE if count < 0 else count)

    def close(self) -> None:
        self.closed = True
        self._raw.close()


def _put_body(answer: requests.Response, body: Any) -> None:
    """Let an answer be read from another body than the connection."""
    raw = answer.raw
    answer.raw = urllib3.HTTPResponse(
        body=body,
        headers={name: value for name, value in raw.headers.items() if name.lower() != "content-length"},
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=False,
        request_method=answer.request.method,
    )


def _whole(raw: Any, cap: int) -> bytes:
    """Read a whole body of at most `cap` bytes."""
    data = read_up_to(raw, cap + 1)
    if len(data) > cap:
        raise BadAnswerError("the server sent more than was asked for")
    raw.release_conn()
    return data


def read_up_to(raw: Any, count: int) -> bytes:
    """Read at most `count` bytes of a body as they came, undecoded.

    Raises:
        requests.RequestException: the connection broke, or the body comes too slowly.
    """
    pieces = []
    began, done = time.monotonic(), 0
    try:
        while done < count and (piece := raw.read1(min(_PIECE, count - done), decode_content=False)):
            pieces.append(piece)
            done += len(piece)
            check_pace(began, done)
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    return b"".join(pieces)


def read_into(raw: Any, buffer: memoryview) -> None:
    """Fill a buffer from a body, and see that the body ends there.

    Raises:
        requests.RequestException: the connection broke, the body ended early or comes too slowly, or
            it goes on (`BadAnswerError`).
    """
    fill(raw, buffer, len(buffer))


def fill(raw: Any, buffer: memoryview, told: int | None) -> int:
    """Take a body, of `told` bytes if that was announced, into a buffer; return how many bytes it has.

    Raises:
        requests.RequestException: the connection broke, the body ended early or comes too slowly, or
            it goes on behind the buffer or what was announced (`BadAnswerError`).
    """
    began, done = time.monotonic(), 0
    end = len(buffer) if told is None else told
    try:
        while done < end and (piece := raw.read1(min(_PIECE, end - done), decode_content=False)):
            buffer[done : done + len(piece)] = piece
            done += len(piece)
            check_pace(began, done)
        if told is not None and done < told:
            raise requests.exceptions.ChunkedEncodingError("the body ended early")
        if raw.read1(1, decode_content=False):
            raise BadAnswerError("the server sent more than was asked for")
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    return done


def check_pace(began: float, done: int) -> None:
    """See that a transfer that began then, and has come so far, is not kept waiting on purpose.

    Raises:
        requests.Timeout: it is slower than `SLOWEST` after the first minute.
    """
    if time.monotonic() - began > READ_SECONDS + done / SLOWEST:
        raise requests.exceptions.ReadTimeout("the body comes too slowly")


def one_line(text: str) -> str:
    """Give the first 200 characters of what a server said as one line that cannot steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split())[:200]).rstrip()


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default
