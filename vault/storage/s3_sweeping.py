"""End multipart uploads in S3 that nobody completed: their parts are kept, and paid for, until then."""

from datetime import UTC, datetime
from typing import Any

from vault.storage.s3_client import Client
from vault.storage.s3_errors import Failed, unavailable


def sweep(client: Client, prefix: str, before: int) -> int:
    """End the uploads below a prefix of keys that began before a moment, in seconds since 1970; count them.

    Raises:
        Unavailable: the store failed or refused.
    """
    moment = datetime.fromtimestamp(before, UTC)
    ended = 0
    marker: dict[str, Any] = {}
    while True:
        page = _send(client, "list_multipart_uploads", Prefix=prefix, **marker)
        for upload in page.get("Uploads") or ():
            began, key, number = upload.get("Initiated"), upload.get("Key"), upload.get("UploadId")
            if not (isinstance(began, datetime) and isinstance(key, str) and isinstance(number, str)):
                continue
            if key.startswith(prefix) and began < moment:
                _send(client, "abort_multipart_upload", Key=key, UploadId=number)
                ended += 1
        following = {"KeyMarker": page.get("NextKeyMarker"), "UploadIdMarker": page.get("NextUploadIdMarker")}
        if not page.get("IsTruncated") or following == marker or not following["KeyMarker"]:
            return ended
        marker = {name: value for name, value in following.items() if value}


def _send(client: Client, operation: str, **parameters: object) -> dict[str, Any]:
    try:
        return client.send(operation, **parameters)
    except Failed as failure:
        if failure.is_missing:  # somebody else ended it
            return {}
        raise unavailable(failure, "sweep", str(parameters.get("Key", "")), client.bucket) from failure
