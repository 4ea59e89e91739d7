"""Create objects in a bucket of Google Cloud Storage, under the condition that their name is free.

Three ways, all with `ifGenerationMatch=0`:

- a small object in one request, with its CRC32C, which the service checks before it stores anything;
- a large one in a resumable session: parts one after the other, so that a lost connection costs one
  part; the condition is part of the session, and checked when it ends
  (https://cloud.google.com/storage/docs/performing-resumable-uploads);
- a large one as one request whose body is sent while it is written, for servers that do not keep the
  condition in a session. A lost connection ends it.

Parts uploaded side by side would have to be objects themselves, to be composed and deleted afterwards:
whoever publishes would need the right to delete, and retention rules would keep every part.
"""

import base64
import io
import json
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import google_crc32c
import requests
from google.api_core import exceptions as api

from vault.core import limits
from vault.errors import Unavailable
from vault.storage import capped_http
from vault.storage.gcs_session import ATTEMPTS, TIMEOUT, GcsAnswer, GcsSession, check

PART: Final = 8 * limits.MIB  # also the most that the library sends in one request
MARK: Final = "mvault-upload"  # the metadata that tells whose upload an object is
_STEP: Final = 256 * limits.KIB  # what every part but the last is a multiple of
_TYPE: Final = "application/octet-stream"
_HELD: Final = 2  # parts that wait to be sent
_Checksum: Final[Any] = google_crc32c.Checksum

_T = TypeVar("_T")


class Corrupted(Unavailable):
    """The service holds other bytes than were sent."""


class Resumable:
    """One resumable upload: parts in order, each of which is sent again until the service has it."""

    def __init__(self, session: GcsSession, bucket: str, path: str, name: str, upload: str) -> None:
        """Upload to the object `path` of `bucket`; `name` is what the vault calls it, `upload` the mark."""
        self._session = session
        self._path = path
        self._name = name
        self._upload = upload
        self._url = ""
        self._sent = 0
        self._sum: Any = _Checksum()
        self._asking = False  # an answer was lost
        self._ending = False  # the last part was sent
        self._ended = False

    @property
    def checksum(self) -> str:
        """The CRC32C of what was sent so far, as the service writes it."""
        return encoded(self._sum)

    def send(self, data: memoryview) -> None:
        """Send the next part; one that is no multiple of 256 KiB is the last.

        Raises:
            GcsAnswer: 412 if the name is taken.
            Unavailable: the service failed.
        """
        if not self._url:
            self._begin()
        self._sum.update(bytes(data))
        self._put(data, last=len(data) % _STEP != 0)

    def finish(self) -> None:
        """End the upload; the object is there when this returns.

        Raises:
            GcsAnswer: 412 if the name is taken.
            Unavailable: the service failed, or stored something else.
        """
        if not self._ended:
            self._put(memoryview(b""), last=True)

    def cancel(self) -> None:
        """Tell the service to forget the parts; where that fails it forgets them after a week."""
        if self._url and not self._ending:
            request = lambda: self._session.transport.delete(self._url, timeout=TIMEOUT)  # noqa: E731
            try:
                self._session.call("cancel", self._name, request, attempts=1)
            except Unavailable:
                return

    def _begin(self) -> None:
        def request() -> str:
            blob = self._session.bucket.blob(self._path)
            blob.metadata = {MARK: self._upload}
            return str(
                blob.create_resumable_upload_session(
                    content_type=_TYPE, if_generation_match=0, checksum=None, timeout=TIMEOUT, retry=None
                )
            )

        self._url = _begin(self._session, self._name, request)

    def _put(self, data: memoryview, *, last: bool) -> None:
        """Send `data` from where the service is, until it has it all."""
        start, end = self._sent, self._sent + len(data)
        fruitless = 0
        while fruitless < ATTEMPTS:
            before = self._sent
            if self._session.call(
                "create", self._name, lambda: self._exchange(data[self._sent - start :], end, last=last)
            ):
                return
            fruitless = 0 if self._sent > before else fruitless + 1
        raise Unavailable(
            f"Could not create {self._name}: the service does not take its parts.",
            subject=self._name,
            hint="Try again.",
        )

    def _exchange(self, rest: memoryview, end: int, *, last: bool) -> bool:
        """Send once; after a lost answer only ask how far the service came. Tell whether it has it all."""
        total = str(end) if last else "*"
        if self._asking or not rest:
            rest = rest[:0]
            headers = {"Content-Range": f"bytes */{total}"}
        else:
            headers = {"Content-Range": f"bytes {self._sent}-{end - 1}/{total}"}
        if last:
            self._ending = True
            headers["X-Goog-Hash"] = "crc32c=" + self.checksum
        self._asking = True
        answer = self._session.transport.put(self._url, data=rest, headers=headers, timeout=TIMEOUT)
        check(answer, 200, 201, 308)
        self._asking = False
        if answer.status_code == 308:
            self._sent = _persisted(answer, self._sent, end)
            return self._sent == end and not last
        if not last:
            raise capped_http.BadAnswerError("the service ended an upload that goes on")
        _check_stored(answer.json(), end, self.checksum)
        self._ended = True
        return True


def _persisted(answer: requests.Response, sent: int, end: int) -> int:
    """Read from an answer 308 how many bytes the service has: at least those that it had before."""
    told = answer.headers.get("Range")
    if told is None:
        count = 0
    else:
        first, _, latest = told.removeprefix("bytes=").partition("-")
        if first != "0" or not latest.isascii() or not latest.isdigit() or len(latest) > 16:
            raise capped_http.BadAnswerError("the service does not say which bytes it has")
        count = int(latest) + 1
    if not sent <= count <= end:
        raise capped_http.BadAnswerError("the service lost bytes that it had")
    return count


def put_small(session: GcsSession, path: str, name: str, upload: str, data: memoryview) -> None:
    """Create an object of at most `PART` bytes in one request.

    Raises:
        GcsAnswer: 412 if the name is taken, or was created by a request whose answer was lost.
        Unavailable: the service failed.
    """

    def request() -> None:
        blob = session.bucket.blob(path)
        blob.metadata = {MARK: upload}
        blob.upload_from_file(
            io.BytesIO(data),
            size=len(data),
            content_type=_TYPE,
            if_generation_match=0,
            checksum="crc32c",
            timeout=TIMEOUT,
            retry=None,
        )
        _check_stored({"size": str(blob.size), "crc32c": blob.crc32c}, len(data), checksum(bytes(data)))

    _begin(session, name, request)


class Single:
    """One upload as one request: a thread sends the body while it is written."""

    def __init__(self, session: GcsSession, bucket: str, path: str, name: str, upload: str) -> None:
        """Upload to the object `path` of `bucket`; `name` is what the vault calls it, `upload` the mark."""
        self._session = session
        self._bucket = bucket
        self._path = path
        self._name = name
        self._upload = upload
        self._queue: queue.Queue[bytes | None] = queue.Queue(_HELD)
        self._thread: threading.Thread | None = None
        self._failure: Unavailable | None = None
        self._over = threading.Event()
        self._sum: Any = _Checksum()
        self._size = 0

    @property
    def checksum(self) -> str:
        """The CRC32C of what was sent so far, as the service writes it."""
        return encoded(self._sum)

    def send(self, data: memoryview) -> None:
        """Hand over the next part of the body.

        Raises:
            GcsAnswer: 412 if the name is taken.
            Unavailable: the service failed.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gcs-upload", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                raise Unavailable(
                    "The system lets this process start no more threads.", hint="Try again later."
                ) from error
        piece = bytes(data)
        self._sum.update(piece)
        self._size += len(piece)
        self._put(piece)

    def finish(self) -> None:
        """End the body; the object is there when this returns.

        Raises:
            GcsAnswer: 412 if the name is taken.
            Unavailable: the service failed, or stored something else.
        """
        self._put(None)
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def cancel(self) -> None:
        """Break the request off, so that nothing is stored."""
        if self._thread is not None and self._thread.is_alive():
            self._over.set()
            self._thread.join()

    def _put(self, piece: bytes | None) -> None:
        while True:
            if self._failure is not None:
                raise self._failure
            try:
                self._queue.put(piece, timeout=0.05)
            except queue.Full:
                continue
            return

    def _run(self) -> None:
        try:
            _begin(self._session, self._name, self._post, attempts=1)
        except Unavailable as failure:
            self._failure = failure

    def _post(self) -> None:
        boundary = secrets.token_hex(16)
        resource = json.dumps({"name": self._path, "contentType": _TYPE, "metadata": {MARK: self._upload}})
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{resource}\r\n"
            f"--{boundary}\r\nContent-Type: {_TYPE}\r\n\r\n"
        )

        def body() -> Iterator[bytes]:
            yield head.encode("ascii")
            while (piece := self._next()) is not None:
                yield piece
            yield f"\r\n--{boundary}--".encode("ascii")

        address = self._session.object_url(
            f"/upload/storage/v1/b/{self._bucket}/o", uploadType="multipart", ifGenerationMatch="0"
        )
        kind = {"Content-Type": f"multipart/related; boundary={boundary}"}
        answer = self._session.transport.post(address, data=body(), headers=kind, timeout=TIMEOUT)
        _check_stored(check(answer, 200, 201).json(), self._size, self.checksum)

    def _next(self) -> bytes | None:
        while not self._over.is_set():
            try:
                return self._queue.get(timeout=0.05)
            except queue.Empty:
                continue
        raise requests.ConnectionError("the upload was cancelled")


def _begin(session: GcsSession, name: str, request: Callable[[], _T], *, attempts: int = ATTEMPTS) -> _T:
    """Send a request that names the bucket, which must be there.

    Raises:
        GcsAnswer: 412 if the name is taken.
        Unavailable: the bucket is not there, or the service failed.
    """
    try:
        return session.call("create", name, request, attempts=attempts)
    except GcsAnswer as answer:
        if answer.status == 404:
            raise session.no_bucket(name) from answer
        raise


def checksum(data: bytes) -> str:
    """Give the CRC32C of bytes as the service writes it."""
    return encoded(_Checksum(data))


def encoded(checksum: Any) -> str:
    """Write a CRC32C as the service does: its four bytes in Base64."""
    return base64.b64encode(checksum.digest()).decode("ascii")


def _check_stored(resource: Any, size: int, checksum: str) -> None:
    """Compare what the service says it stored with what was sent.

    Raises:
        Corrupted: they differ.
    """
    if not isinstance(resource, dict):
        raise capped_http.BadAnswerError("the answer is no description of an object")
    if resource.get("size") != str(size) or resource.get("crc32c", checksum) != checksum:
        raise Corrupted("The service stored other bytes than were sent.", hint="Try again.")


def is_taken(failure: Unavailable) -> bool:
    """Tell whether an upload failed because an object has its name."""
    return isinstance(failure, GcsAnswer) and failure.status == int(api.PreconditionFailed.code)
