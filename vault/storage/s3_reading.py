"""Read objects of S3: small ones in one request, large ones by ranges, and nothing that was not asked for."""

import contextlib
import re
import time
from typing import Any, Final

from vault.core import limits
from vault.errors import VaultError
from vault.storage import answers
from vault.storage.part_reader import PartReader
from vault.storage.s3_client import ATTEMPTS, Client
from vault.storage.s3_errors import Failed, distrusted, failed, unavailable

OPENING: Final = 256 * limits.KIB  # comes with the answer that tells the size: small objects need no second
_PIECE: Final = 1 * limits.MIB
_WAIT: Final = 0.2  # seconds before a range is asked for again, doubled each time
_RANGE: Final = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16})\Z")


class S3Source(PartReader):
    """An open object of S3; several threads may read from it at once.

    Every range is asked of the very object that was opened: what replaced it is not read.
    """

    def __init__(self, client: Client, name: str, key: str) -> None:
        """Ask for the beginning of the object, which tells its size.

        Raises:
            NotFound: there is no such object.
            Unavailable: the store failed or refused, or its answer cannot be used.
        """
        self._client = client
        self._name = name
        self._key = key
        self._etag = ""
        self._head = b""
        super().__init__(self._fill, self._begin())

    def _begin(self) -> int:
        """Read the first bytes; return the object's size."""
        attempt = 0
        while True:
            try:
                answer = self._client.send("get_object", Key=self._key, Range=f"bytes=0-{OPENING - 1}")
            except Failed as failure:
                if failure.code == "InvalidRange":  # an empty object has no first byte
                    return self._empty()
                raise read_failed(failure, self._name, self._client) from failure
            with contextlib.closing(answer["Body"]) as body:
                size = self._size_told(answer)
                self._etag = str(answer.get("ETag", ""))
                head = bytearray(min(size, OPENING))
                try:
                    _read_exactly(body, memoryview(head))
                except Failed as failure:
                    _wait_or_raise(attempt, unavailable(failure, "read", self._name, self._client.bucket))
                    attempt += 1
                    continue
                self._head = bytes(head)
                return size

    def _empty(self) -> int:
        if size_of(self._client, self._name, self._key):
            raise distrusted(self._name, self._client.bucket, "it refuses the range of the first bytes")
        return 0

    def _size_told(self, answer: dict[str, Any]) -> int:
        length = answer.get("ContentLength")
        if answer["ResponseMetadata"].get("HTTPStatusCode") == 200 and "ContentRange" not in answer:
            if isinstance(length, int) and length >= 0:  # a server that knows no ranges sends everything
                return length
        else:
            told = _RANGE.match(str(answer.get("ContentRange")))
            if told and int(told[1]) == 0 and length == min(OPENING, int(told[3])) == int(told[2]) + 1:
                return int(told[3])
        raise distrusted(self._name, self._client.bucket, "it does not say which bytes it holds")

    def _fill(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`, in as many attempts as any request has.

        Raises:
            Unavailable: the store failed, or the object was deleted or replaced.
        """
        held = self._head[offset : offset + len(buffer)]
        buffer[: len(held)] = held
        done = len(held)
        attempt = 0
        while done < len(buffer):
            try:
                answer = self._ask(offset + done, offset + len(buffer))
                with contextlib.closing(answer["Body"]) as body:
                    done += _read_some(body, buffer[done:])
            except Failed as failure:
                raise unavailable(failure, "read", self._name, self._client.bucket) from failure
            if done < len(buffer):
                cut = Failed("Truncated", message="the answer ended early")
                _wait_or_raise(attempt, unavailable(cut, "read", self._name, self._client.bucket))
                attempt += 1

    def _ask(self, begin: int, end: int) -> dict[str, Any]:
        matching = {"IfMatch": self._etag} if self._etag else {}
        try:
            answer = self._client.send(
                "get_object", Key=self._key, Range=f"bytes={begin}-{end - 1}", **matching
            )
        except Failed as failure:
            if failure.is_missing or failure.is_taken:
                reason = "the object was deleted or replaced while it was read"
                raise distrusted(self._name, self._client.bucket, reason) from failure
            raise
        told = str(answer.get("ContentRange"))
        if told != f"bytes {begin}-{end - 1}/{self.size}" or answer.get("ContentLength") != end - begin:
            answer["Body"].close()
            raise distrusted(self._name, self._client.bucket, "it holds other bytes than were asked for")
        return answer


def read_whole(client: Client, name: str, key: str, limit: int) -> bytes:
    """Return all bytes of an object, of which there may be at most `limit`.

    The SDK compares them with the SHA-256 (or other checksum) of the whole, where the store gives one.

    Raises:
        NotFound: there is no such object.
        Malformed: it is larger than `limit` (`too-large`); its content was not read.
        Unavailable: the store failed or refused, or its answer cannot be used.
    """
    attempt = 0
    while True:
        try:
            answer = client.send("get_object", Key=key, ChecksumMode="ENABLED")
        except Failed as failure:
            raise read_failed(failure, name, client) from failure
        with contextlib.closing(answer["Body"]) as body:
            size = answer.get("ContentLength")
            if not isinstance(size, int) or size < 0:
                raise distrusted(name, client.bucket, "it does not say how long it is")
            if size > limit:
                raise answers.too_large(name, size, limit)
            try:
                return _read_pieces(body, size)
            except Failed as failure:
                _wait_or_raise(attempt, unavailable(failure, "read", name, client.bucket))
        attempt += 1


def size_of(client: Client, name: str, key: str) -> int:
    """Return an object's size in bytes.

    Raises:
        NotFound: there is no such object.
        Unavailable: the store failed or refused.
    """
    size = look_at(client, name, key).get("ContentLength")
    if not isinstance(size, int) or size < 0:
        raise distrusted(name, client.bucket, "it does not say how long the object is")
    return size


def look_at(client: Client, name: str, key: str) -> dict[str, Any]:
    """Return what the store says about an object without its content.

    Raises:
        NotFound: there is no such object.
        Unavailable: the store failed or refused.
    """
    try:
        return client.send("head_object", Key=key)
    except Failed as failure:
        raise read_failed(failure, name, client, doing="look at") from failure


def read_failed(failure: Failed, name: str, client: Client, doing: str = "read") -> VaultError:
    """Say why an object was not read."""
    if failure.is_missing:
        return answers.not_found(name)
    return unavailable(failure, doing, name, client.bucket)


def _read_pieces(body: Any, size: int) -> bytes:
    """Read a body that has `size` bytes, and see that it ends there."""
    pieces = []
    done = 0
    try:
        while done <= size and (piece := body.read(min(_PIECE, size + 1 - done))):
            pieces.append(piece)
            done += len(piece)
    except Exception as error:  # whatever the SDK and the library below it raise
        raise failed(error) from error
    if done != size:
        raise Failed("Truncated", message=f"the answer has not the {size} bytes that it announced")
    return b"".join(pieces)


def _read_exactly(body: Any, buffer: memoryview) -> None:
    if _read_some(body, buffer) != len(buffer):
        raise Failed("Truncated", message="the answer ended early")


def _read_some(body: Any, buffer: memoryview) -> int:
    """Fill `buffer` as far as the body goes; return how far that was."""
    done = 0
    with contextlib.suppress(Exception):  # a cut connection: the rest is asked for again
        while done < len(buffer) and (got := body.readinto(buffer[done : done + _PIECE])):
            done += got
    return done


def _wait_or_raise(attempt: int, error: VaultError) -> None:
    """Wait before the next attempt; after the last one raise `error`."""
    if attempt + 1 >= ATTEMPTS:
        raise error
    time.sleep(_WAIT * 2**attempt)
