"""The requests that a store sends to a bucket of Google Cloud Storage.

The JSON API: https://cloud.google.com/storage/docs/json_api/v1.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import requests

from vault.core import limits
from vault.errors import Conflict, Unavailable
from vault.ports import Sink
from vault.storage import answers, capped_http, gcs_upload
from vault.storage.gcs_address import GcsAddress
from vault.storage.gcs_session import GONE, TIMEOUT, GcsAnswer, GcsSession, check
from vault.storage.object_store import Found
from vault.storage.part_writer import PartWriter

_PAGE: Final = 1_000
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16})\Z", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,20}\Z", re.ASCII)
_CRC32C: Final = re.compile(r"(?:^|,)\s*crc32c=([A-Za-z0-9+/]{6}==)", re.ASCII)


class GcsService:
    """One bucket; what the requests mean is said by `object_store.ObjectService`."""

    part = 8 * limits.MIB

    def __init__(self, address: GcsAddress) -> None:
        """Send requests to the service and the bucket of `address`."""
        self._address = address
        self._session = GcsSession(address)

    @property
    def date(self) -> str | None:
        """The date that the last answer bore."""
        return self._session.adapter.date

    def look(self, name: str, path: str) -> Found | None:
        """Ask for an object's description."""

        def request() -> Found:
            blob = self._session.bucket.blob(path)
            blob.reload(timeout=TIMEOUT, retry=None)
            return _described(blob)

        try:
            return self._session.call("look at", name, request)
        except GcsAnswer as answer:
            self._if_missing(answer, name)
            return None

    def head(self, name: str, path: str, count: int, *, most: int | None = None) -> tuple[Found, bytes]:
        """Ask for an object's first bytes; all of its bytes, if these are all, have their CRC32C checked."""

        def request() -> tuple[Found, bytes] | None:
            with self._media(path, 0, count, None) as answer:
                if answer.status_code == 416:  # there is no first byte of an empty object
                    return None
                found = _announced(answer, count)
                if most is not None and found.size > most:
                    raise answers.too_large(name, found.size, most)
                data = bytearray(min(count, found.size))
                capped_http.read_into(answer.raw, memoryview(data))
            whole = bytes(data)
            if len(whole) == found.size and found.checksum not in {None, gcs_upload.checksum(whole)}:
                raise requests.exceptions.ChunkedEncodingError("the bytes do not have the object's CRC32C")
            return found, whole

        try:
            found = self._session.call("read", name, request)
        except GcsAnswer as answer:
            self._if_missing(answer, name)
            raise answers.not_found(name) from answer
        if found is not None:
            return found
        described = self.look(name, path)
        if described is None:
            raise answers.not_found(name)
        if described.size:
            raise self._bad(name, "says that it has bytes, and does not send the first")
        return described, b""

    def fetch(self, name: str, path: str, version: str, offset: int, buffer: memoryview) -> None:
        """Ask for a range of one generation of an object."""

        def request() -> None:
            with self._media(path, offset, len(buffer), version) as answer:
                check(answer, 206)
                _announced(answer, len(buffer), offset=offset, version=version)
                capped_http.read_into(answer.raw, buffer)

        if not buffer:
            return
        try:
            self._session.call("read", name, request)
        except GcsAnswer as answer:
            if answer.status in GONE:
                raise Unavailable(
                    f"{name} was deleted while it was read.", subject=name, hint="Open it again."
                ) from answer
            raise

    def upload(self, name: str, path: str, mark: str, size: int | None) -> "_Upload":
        """Prepare an upload; nothing is sent for an object that fits one part before it is committed."""
        return _Upload(self._session, self._address, name, path, mark)

    def pages(self, prefix: str, after: str) -> Iterator[list[str]]:
        """List paths, from `after` on."""
        for items, _ in self._listing(prefix, startOffset=max(after, prefix)):
            yield [name for name, _ in items]

    def sized_pages(self, prefix: str) -> Iterator[list[tuple[str, int]]]:
        """List paths with their sizes."""
        for items, _ in self._listing(prefix, fields="name,size"):
            yield [(name, _size(size)) for name, size in items]

    def folder_pages(self, prefix: str) -> Iterator[list[str]]:
        """List what lies directly below a folder."""
        for items, folders in self._listing(prefix, delimiter="/"):
            yield [name for name, _ in items] + folders

    def _listing(
        self, prefix: str, *, fields: str = "name", **options: str
    ) -> Iterator[tuple[list[tuple[str, object]], list[str]]]:
        token = ""

        def request() -> tuple[list[tuple[str, object]], list[str], str]:
            asked = {**options, "prefix": prefix, "pageToken": token, "maxResults": str(_PAGE)}
            address = self._session.object_url(
                f"/storage/v1/b/{self._address.bucket}/o",
                fields=f"kind,items({fields}),prefixes,nextPageToken",
                **{name: value for name, value in asked.items() if value},
            )
            answer = self._session.transport.get(address, timeout=TIMEOUT)
            return _page(check(answer, 200).json())

        while True:
            try:
                items, folders, token = self._session.call("list", prefix, request)
            except GcsAnswer as answer:
                if answer.status == 404:
                    raise self._session.no_bucket(prefix) from answer
                raise
            yield items, folders
            if not token:
                return

    def delete(self, name: str, path: str, version: str = "") -> None:
        """Delete an object, or one generation of it if that is still the newest."""

        def request() -> None:
            blob = self._session.bucket.blob(path)
            condition = {"if_generation_match": int(version)} if version else {}
            blob.delete(timeout=TIMEOUT, retry=None, **condition)

        try:
            self._session.call("delete", name, request)
        except GcsAnswer as answer:
            if answer.status != 412:
                self._if_missing(answer, name)

    def _media(self, path: str, offset: int, count: int, version: str | None) -> requests.Response:
        """Ask for bytes as they are stored: with gzip accepted the service does not unpack them."""
        address = self._session.object_url(
            f"/download/storage/v1/b/{self._address.bucket}/o/{quote(path, safe='')}",
            alt="media",
            **({"generation": version} if version else {}),
        )
        headers = {"Range": f"bytes={offset}-{offset + count - 1}", "Accept-Encoding": "gzip"}
        answer = self._session.transport.get(address, headers=headers, timeout=TIMEOUT, stream=True)
        return check(answer, 200, 206, 416)

    def _if_missing(self, answer: GcsAnswer, name: str) -> None:
        """Return if an answer says that there is no such object.

        Raises:
            Unavailable: it says that the bucket is missing, or something else.
        """
        if answer.status != 404:
            raise answer
        if "bucket does not exist" in answer.message:
            raise self._session.no_bucket(name) from answer

    def _bad(self, name: str, what: str) -> Unavailable:
        return Unavailable(
            f"Could not read {name}: the service {what}.",
            subject=name,
            hint=f"Look at what listens at {self._address.endpoint}.",
        )


class _Upload:
    """One upload: in one request if it fits one, else in a session or as one long request."""

    def __init__(self, session: GcsSession, address: GcsAddress, name: str, path: str, mark: str) -> None:
        self._session = session
        self._name = name
        self._path = path
        self._mark = mark
        kind = gcs_upload.Resumable if address.resumable else gcs_upload.Single
        self._large = kind(session, address.bucket, path, name, mark)
        self._parts: PartWriter[None] = PartWriter(self._send, part=gcs_upload.PART, parallel=1)
        self._small = ""  # the checksum of an object that fits one request

    @property
    def sink(self) -> Sink:
        return self._parts

    @property
    def size(self) -> int:
        return self._parts.size

    @property
    def checksum(self) -> str | None:
        return self._small or self._large.checksum

    def commit(self) -> None:
        try:
            data = self._parts.whole()
            if data is not None:
                self._small = gcs_upload.checksum(bytes(data))
                gcs_upload.put_small(self._session, self._path, self._name, self._mark, data)
                return
            self._parts.finish()
            self._large.finish()
        except Unavailable as failure:
            raise self._conflict_of(failure) from failure

    def close(self) -> None:
        self._parts.close()
        self._large.cancel()

    def _send(self, _: int, data: memoryview) -> None:
        try:
            self._large.send(data)
        except Unavailable as failure:
            raise self._conflict_of(failure) from failure

    def _conflict_of(self, failure: Unavailable) -> Conflict | Unavailable:
        return answers.conflict(self._name) if gcs_upload.is_taken(failure) else failure


def _described(blob: Any) -> Found:
    """Read the description of an object.

    Raises:
        BadAnswerError: it has no size or generation.
    """
    size, generation = blob.size, blob.generation
    if not isinstance(size, int) or not isinstance(generation, int) or not 0 <= size <= limits.FILE_BYTES:
        raise capped_http.BadAnswerError("the answer is no description of an object")
    marks = blob.metadata if isinstance(blob.metadata, dict) else {}
    return Found(size, str(generation), str(marks.get(gcs_upload.MARK, "")), blob.crc32c)


def _announced(
    answer: requests.Response, count: int, *, offset: int = 0, version: str | None = None
) -> Found:
    """Read what an answer with bytes says of them and of their object.

    Raises:
        BadAnswerError: it is not the range that was asked for, or of something else.
    """
    generation = answer.headers.get("X-Goog-Generation", version or "")
    told = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    length = answer.headers.get("Content-Length", "")
    if told is not None:
        first, last, size = (int(part) for part in told.groups())
    elif answer.status_code == 200 and not offset and _NUMBER.match(length):
        first, last, size = 0, int(length) - 1, int(length)
    else:
        raise capped_http.BadAnswerError("the answer does not say which bytes it has")
    wanted = min(offset + count, size) - 1
    if (first, last) != (offset, wanted) or (version is not None and size < offset + count):
        raise capped_http.BadAnswerError("the answer has other bytes than were asked for")
    if not _NUMBER.match(generation) or (version is not None and generation != version):
        raise capped_http.BadAnswerError("the answer is of another object")
    checksum = _CRC32C.search(answer.headers.get("X-Goog-Hash", ""))
    return Found(size, generation, checksum=checksum[1] if checksum is not None else None)


def _page(found: Any) -> tuple[list[tuple[str, object]], list[str], str]:
    """Read a page of a listing: names with what is told of sizes, folders, and the key to the next page.

    Raises:
        BadAnswerError: it is none.
    """
    if not isinstance(found, dict) or found.get("kind") != "storage#objects":
        raise capped_http.BadAnswerError("the answer is no listing")
    items, folders = found.get("items", []), found.get("prefixes", [])
    token = found.get("nextPageToken", "")
    if not (isinstance(items, list) and isinstance(folders, list) and isinstance(token, str)):
        raise capped_http.BadAnswerError("the answer is no listing")
    if not all(isinstance(item, dict) for item in items):
        raise capped_http.BadAnswerError("a listing has something else than names")
    sized = [(_text(item.get("name")), item.get("size")) for item in items]
    return sized, [_text(folder) for folder in folders], token


def _size(value: object) -> int:
    """Read a size, which the JSON interface writes as text.

    Raises:
        BadAnswerError: it is none.
    """
    if not isinstance(value, str) or not re.fullmatch("[0-9]{1,18}", value, re.ASCII):
        raise capped_http.BadAnswerError("a listing has a name without a size")
    return int(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise capped_http.BadAnswerError("a listing has something else than names")
    return value
