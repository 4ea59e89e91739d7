"""Create objects of S3 under a condition: never over another one, whatever answers get lost.

A small object is one conditional PUT, a large one a multipart upload that is
completed under the same condition (`If-None-Match: *`). Each carries a random
upload id in its metadata, which tells after a lost answer whether what lies
there is ours.
"""

import base64
import contextlib
import hashlib
import os
import secrets
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Final, cast

from vault.core import limits
from vault.errors import Unavailable
from vault.ports import Buffer
from vault.storage import answers
from vault.storage.part_writer import PartWriter
from vault.storage.s3_client import ATTEMPTS, Client
from vault.storage.s3_errors import Failed, unavailable
from vault.storage.s3_location import S3Location
from vault.storage.s3_probe import honours_condition_on_completion

PART: Final = 8 * limits.MIB
PARALLEL: Final = 4
LARGEST_PUT: Final = 5 * limits.GIB  # "Amazon S3 multipart upload limits"; parts are at most as large
_MOST_PARTS: Final = 10_000
_DOUBLING: Final = 1_000  # parts, so that ten thousand hold 8 TiB
_ANNOUNCED_PARTS: Final = 8_000
_AT_ONCE: Final = 64 * limits.MIB  # on their way together, as long as one part is smaller
_UPLOAD_ID: Final = "mvault-upload"
_COPIED: Final = 64 * limits.KIB  # so small that one piece with its header is sent faster than two
_WAIT: Final = 0.1


class Upload:
    """One new object on its way: the `Sink` that the store hands out."""

    def __init__(self, client: Client, name: str, key: str, *, size: int | None) -> None:
        """Begin to collect the object; `size` is how many bytes it will get, if that is known."""
        self._client = client
        self._name = name
        self._key = key
        self._mark = secrets.token_hex(16)
        self._part = min(max(PART, -(-(size or 0) // _ANNOUNCED_PARTS)), LARGEST_PUT)
        self._writer: PartWriter[dict[str, object]] = PartWriter(
            self._upload_part,
            part=self._part,
            parallel=max(1, min(PARALLEL, _AT_ONCE // self._part)),
            doubling=_DOUBLING,
        )
        self._lock = threading.Lock()
        self._upload_id = ""
        self._spool: BinaryIO | None = None
        self._done = False

    def write(self, data: Buffer) -> None:
        """Append `data`.

        Raises:
            ValueError: the block of `create` has ended.
            Unavailable: the store failed or refused; the object will not become visible.
        """
        self._writer.write(data)

    def commit(self) -> None:
        """Make the object visible, unless its name is taken.

        Raises:
            Conflict: it is.
            Unavailable: the store failed, refused or is full; nothing is visible.
        """
        whole = self._writer.whole()
        if whole is not None:
            self._put(bytes(whole) if len(whole) <= _COPIED else _Body(whole), hashlib.sha256(whole).digest())
        else:
            parts = self._writer.finish()
            if self._spool is not None:
                self._put_spooled(self._spool)
            else:
                self._complete(parts)
        self._done = True

    def close(self) -> None:
        """Let go of everything; parts of an object that did not become visible are removed.

        What cannot be removed now is invisible, and a lifecycle rule removes it (docs/storage/s3.md).
        """
        self._writer.close()
        if self._spool is not None:
            self._spool.close()
        if self._upload_id and not self._done:
            with contextlib.suppress(Failed):
                self._client.send("abort_multipart_upload", Key=self._key, UploadId=self._upload_id)

    def _upload_part(self, index: int, data: memoryview) -> dict[str, object]:
        spool = self._begin_parts()
        if spool is not None:
            self._spool_part(spool, index * self._part, data)
            return {}
        if index >= _MOST_PARTS:
            raise _too_large(self._name, self._client.bucket)
        digest = _base64(hashlib.sha256(data).digest())
        try:
            answer = self._client.send(
                "upload_part",
                Key=self._key,
                UploadId=self._upload_id,
                PartNumber=index + 1,
                Body=_Body(data),
                ChecksumSHA256=digest,
            )
        except Failed as failure:
            raise unavailable(failure, "store", self._name, self._client.bucket) from failure
        return {"PartNumber": index + 1, "ETag": str(answer.get("ETag", "")), "ChecksumSHA256": digest}

    def _begin_parts(self) -> BinaryIO | None:
        """Begin the multipart upload, or give a file to collect the object in where that is not safe."""
        with self._lock:
            if self._upload_id or self._spool is not None:
                return self._spool
            if not honours_condition_on_completion(self._client):
                self._spool = self._new_spool()
                return self._spool
            try:
                answer = self._client.send(
                    "create_multipart_upload",
                    Key=self._key,
                    ChecksumAlgorithm="SHA256",
                    **self._put_options(),
                )
                self._upload_id = str(answer["UploadId"])
            except Failed as failure:
                raise unavailable(failure, "store", self._name, self._client.bucket) from failure
            return None

    def _new_spool(self) -> BinaryIO:
        try:
            return cast("BinaryIO", tempfile.TemporaryFile())
        except OSError as error:
            raise Unavailable(
                f"{self._name} must be collected in a temporary file first, because this store does not "
                f"publish parts safely, and there is no place for one: {error.strerror}.",
                subject=self._name,
                hint="Set TMPDIR to a folder with enough room, then try again.",
            ) from error

    def _spool_part(self, spool: BinaryIO, offset: int, data: memoryview) -> None:
        if offset + len(data) > LARGEST_PUT:
            raise _too_large(self._name, self._client.bucket)
        try:
            while data:
                written = os.pwrite(spool.fileno(), data, offset)
                offset, data = offset + written, data[written:]
        except OSError as error:
            raise Unavailable(
                f"Could not collect {self._name} in a temporary file: {error.strerror}.",
                code="storage-full",
                subject=self._name,
                hint="Set TMPDIR to a folder with enough room, then try again.",
            ) from error

    def _put_spooled(self, spool: BinaryIO) -> None:
        spool.seek(0)
        digest = _digest(spool)
        spool.seek(0)
        self._put(spool, digest)

    def _put(self, body: "bytes | _Body | BinaryIO", digest: bytes) -> None:
        """Store the whole object at once, unless its name is taken."""
        for attempt in range(ATTEMPTS):
            try:
                answer = self._client.send(
                    "put_object",
                    Key=self._key,
                    Body=body,
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                    ChecksumSHA256=_base64(digest),
                    **self._put_options(),
                )
            except Failed as failure:
                if failure.code == "ConditionalRequestConflict" and attempt + 1 < ATTEMPTS:
                    time.sleep(_WAIT * 2**attempt * (1 + secrets.randbelow(1000) / 1000))
                    continue
                self._settle(failure)
            else:
                self._confirm(answer)
            return

    def _complete(self, parts: list[dict[str, object]]) -> None:
        """Make one object of the parts, unless its name is taken."""
        try:
            answer = self._client.send(
                "complete_multipart_upload",
                Key=self._key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": parts},
                IfNoneMatch="*",
            )
        except Failed as failure:
            self._settle(failure)
        else:
            self._confirm(answer)

    def _confirm(self, answer: dict[str, Any]) -> None:
        """See that it was the store that answered, and not something on the way to it."""
        if not answer.get("ETag"):
            self._settle(Failed("NoETag", message="the answer is not one of a store"))

    def _settle(self, failure: Failed) -> None:
        """Find out what came of a request that seems to have failed; return if the object is there.

        Raises:
            Conflict: somebody else's is there.
            Unavailable: the store failed or refused, or it cannot be found out.
        """
        if failure.is_taken and not failure.repeated:
            raise answers.conflict(self._name) from failure
        if failure.is_certain:
            raise unavailable(failure, "store", self._name, self._client.bucket) from failure
        try:
            found = self._client.send("head_object", Key=self._key)
        except Failed as unknown:
            if failure.is_taken and not unknown.is_missing:
                raise self._unsettled(unknown) from unknown
            raise unavailable(failure, "store", self._name, self._client.bucket) from failure
        if found.get("Metadata", {}).get(_UPLOAD_ID) != self._mark:
            raise answers.conflict(self._name) from failure

    def _unsettled(self, failure: Failed) -> Unavailable:
        return Unavailable(
            f"{self._name} is there, but the answer to an earlier attempt to store it was lost, and whether "
            f"this is what was stored cannot be found out: {failure.code}.",
            code="storage-denied" if failure.status == 403 else "unavailable",
            subject=self._name,
            hint="Look at what is there, then decide.",
        )

    def _put_options(self) -> dict[str, Any]:
        return {"Metadata": {_UPLOAD_ID: self._mark}, **_put_options(self._client.location)}


def _put_options(location: S3Location) -> dict[str, Any]:
    """Give what the location asks of every new object."""
    options: dict[str, Any] = {
        "ServerSideEncryption": location.sse,
        "SSEKMSKeyId": location.kms_key,
        "StorageClass": location.storage_class,
        "ObjectLockMode": location.lock_mode,
    }
    if location.lock_mode:
        options["ObjectLockRetainUntilDate"] = datetime.now(UTC) + timedelta(days=location.lock_days)
    return {name: value for name, value in options.items() if value}


def _digest(file: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while piece := file.read(limits.MIB):
        digest.update(piece)
    return digest.digest()


def _too_large(name: str, bucket: str) -> Unavailable:
    return Unavailable(
        f"{name} is larger than what the bucket {bucket} takes safely.",
        subject=name,
        hint="docs/storage/s3.md has the limits: 5 TiB, or 5 GiB where parts cannot be published safely.",
    )


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")


class _Body:
    """Bytes to be sent without a copy: `read` gives all that is left, whatever was asked for."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._offset = 0

    def __len__(self) -> int:
        return len(self._data)

    def read(self, _: int = -1) -> memoryview:
        begin, self._offset = self._offset, len(self._data)
        return self._data[begin:]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._offset = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._offset}.get(whence, len(self._data))
        return self._offset

    def tell(self) -> int:
        return self._offset
