"""Move objects to a colder class and back; ask about those in an archive class, and ask for them back."""

import contextlib
import re
from dataclasses import dataclass
from typing import Any, Final

from vault.core import limits
from vault.storage.s3_client import Client
from vault.storage.s3_errors import Failed, unavailable
from vault.storage.s3_reading import look_at, read_failed

_ARCHIVES: Final = {"GLACIER", "DEEP_ARCHIVE"}
_WARM: Final = "STANDARD"
_LARGEST_COPY: Final = 5 * limits.GIB  # of one request: "CopyObject"; larger objects are copied by parts
_PART: Final = 1 * limits.GIB
_TIERED: Final = {"ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"}  # of the class INTELLIGENT_TIERING
_TIERS: Final = ("Bulk", "Standard", "Expedited")
_EXPIRY: Final = re.compile(r'expiry-date="([^"]{1,64})"')


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """Whether an object can be read now, and if not, whether it is on its way back.

    Attributes: `archived` (its class is one from which it must be restored), `restoring` (that was
    asked for and takes time), `readable`, `readable_until` (as the store words it; empty for an
    object that stays readable), and `storage_class`.
    """

    archived: bool
    restoring: bool
    readable: bool
    readable_until: str = ""
    storage_class: str = _WARM


def archive_state(client: Client, name: str, key: str) -> ArchiveState:
    """Ask what the object's class and the state of its restoring are.

    Raises:
        NotFound: there is no such object.
        Unavailable: the store failed or refused.
    """
    found = look_at(client, name, key)
    archived = found.get("StorageClass") in _ARCHIVES or found.get("ArchiveStatus") in _TIERED
    restore = str(found.get("Restore", ""))
    restoring = 'ongoing-request="true"' in restore
    until = _EXPIRY.search(restore) if 'ongoing-request="false"' in restore else None
    kept = str(found.get("StorageClass") or _WARM)
    return ArchiveState(
        archived, restoring, not archived or until is not None, until[1] if until else "", kept
    )


def request_restore(client: Client, name: str, key: str, *, days: int, tier: str) -> ArchiveState:
    """Ask for an archived object back for some days; asking again, or without need, is no error.

    Raises:
        NotFound: there is no such object.
        Unavailable: the store failed or refused.
        ValueError: `days` or `tier` is not one that S3 knows.
    """
    if not 1 <= days <= limits.DAYS:
        raise ValueError(f"an object is restored for 1 to {limits.DAYS} days, not {days}")
    if tier not in _TIERS:
        raise ValueError(f"the tier is one of {', '.join(_TIERS)}, not {tier!r}")
    state = archive_state(client, name, key)
    if not state.archived or state.restoring:
        return state
    wanted = {"Days": days, "GlacierJobParameters": {"Tier": tier}}
    try:
        client.send("restore_object", Key=key, RestoreRequest=wanted)
    except Failed as failure:
        if failure.code not in {"RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError"}:
            raise read_failed(failure, name, client, doing="restore") from failure
    return archive_state(client, name, key)


def set_class(client: Client, name: str, key: str, *, storage_class: str) -> bool:
    """Copy an object onto itself in another storage class, if it is still the one that was seen.

    Tells whether it was in another class.

    Raises:
        NotFound: there is no such object.
        Unavailable: the store failed or refused; or the object must be restored first (`storage-archived`).
    """
    found = look_at(client, name, key)
    if str(found.get("StorageClass") or _WARM) == storage_class:
        return False
    source = {"Bucket": client.bucket, "Key": key}
    try:
        if int(found["ContentLength"]) > _LARGEST_COPY:
            _copy_parts(client, key, source, found, storage_class)
            return True
        client.send(
            "copy_object",
            Key=key,
            CopySource=source,
            CopySourceIfMatch=found["ETag"],
            StorageClass=storage_class,
            MetadataDirective="COPY",
            **_encryption(client),
        )
    except Failed as failure:
        raise unavailable(failure, "store", name, client.bucket) from failure
    return True


def _encryption(client: Client) -> dict[str, object]:
    """Give what the location asks for with every new object, of which a copy is one."""
    where = client.location
    wanted = {"ServerSideEncryption": where.sse, "SSEKMSKeyId": where.kms_key}
    return {name: value for name, value in wanted.items() if value}


def _copy_parts(
    client: Client, key: str, source: dict[str, str], found: dict[str, Any], storage_class: str
) -> None:
    begun = client.send(
        "create_multipart_upload",
        Key=key,
        StorageClass=storage_class,
        Metadata=found.get("Metadata", {}),
        **_encryption(client),
    )
    upload, size = begun["UploadId"], int(found["ContentLength"])
    try:
        parts = []
        for number, start in enumerate(range(0, size, _PART), start=1):
            copied = client.send(
                "upload_part_copy",
                Key=key,
                CopySource=source,
                CopySourceIfMatch=found["ETag"],
                CopySourceRange=f"bytes={start}-{min(start + _PART, size) - 1}",
                PartNumber=number,
                UploadId=upload,
            )
            parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
        client.send("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    except BaseException:
        with contextlib.suppress(Failed):
            client.send("abort_multipart_upload", Key=key, UploadId=upload)
        raise
