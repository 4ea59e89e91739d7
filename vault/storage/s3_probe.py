"""Find out whether a store honours `If-None-Match: *`, on which everything rests that is written there.

Some stores that speak the protocol of S3 ignore the header when a multipart
upload is completed, so that an object could be overwritten. One small object
at a fixed name that is no name of the vault tells, and is never removed, so
that nobody needs a right to delete.
"""

import base64
import contextlib
import hashlib
import threading
from dataclasses import dataclass
from typing import Final

from vault.errors import Unavailable
from vault.storage.naming import RESERVED
from vault.storage.s3_client import Client
from vault.storage.s3_errors import Failed, unavailable

_NAME: Final = f"{RESERVED}/conditional-writes"
_CONTENT: Final = b"This object tells whether the store overwrites. Leave it here.\n"

_known: dict[tuple[str, str, str], bool] = {}
_lock: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Honoured:
    """What a store does with `If-None-Match: *`: whether a PUT and a completion are refused for it."""

    put: bool
    completion: bool


def honours_condition_on_completion(client: Client) -> bool:
    """Tell whether a multipart upload is not completed over another object; asked once per process.

    Raises:
        Unavailable: the store failed or refused, or does not honour the condition even on a plain PUT.
    """
    location = client.location
    key = (location.endpoint, location.bucket, location.prefix)
    with _lock:
        if key not in _known:
            honoured = probe(client)
            if not honoured.put:
                raise Unavailable(
                    f"The store of the bucket {client.bucket} overwrites objects although it is told not to "
                    "(If-None-Match), so no vault can be kept there.",
                    hint="Use a store with conditional writes: docs/storage/s3.md lists some.",
                )
            _known[key] = honoured.completion
        return _known[key]


def probe(client: Client) -> Honoured:
    """Try both ways to overwrite the one object that is there for it.

    Raises:
        Unavailable: the store failed or refused.
    """
    key = client.location.prefix + _NAME
    try:
        if not _refuses_put(client, key) and not _refuses_put(client, key):
            return Honoured(put=False, completion=False)
        return Honoured(put=True, completion=_refuses_completion(client, key))
    except Failed as failure:
        raise unavailable(failure, "store", _NAME, client.bucket) from failure


def _refuses_put(client: Client, key: str) -> bool:
    """PUT the object; the first time ever that may succeed."""
    try:
        client.send("put_object", Key=key, Body=_CONTENT, IfNoneMatch="*", ChecksumSHA256=_digest())
    except Failed as failure:
        if failure.is_taken or failure.code == "ConditionalRequestConflict":
            return True
        raise
    return False


def _refuses_completion(client: Client, key: str) -> bool:
    upload = client.send("create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256")["UploadId"]
    try:
        part = client.send(
            "upload_part",
            Key=key,
            UploadId=upload,
            PartNumber=1,
            Body=_CONTENT,
            ChecksumSHA256=_digest(),
        )
        described = {"PartNumber": 1, "ETag": part["ETag"], "ChecksumSHA256": _digest()}
        client.send(
            "complete_multipart_upload",
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": [described]},
            IfNoneMatch="*",
        )
    except Failed as failure:
        with contextlib.suppress(Failed):
            client.send("abort_multipart_upload", Key=key, UploadId=upload)
        if failure.is_taken:
            return True
        if failure.status in {400, 404, 501}:  # it knows no multipart uploads, or not this condition
            return False
        raise
    return False


def _digest() -> str:
    return base64.b64encode(hashlib.sha256(_CONTENT).digest()).decode("ascii")
