"""Write the rules by which a bucket moves archived payloads to its coldest class, as files to apply.

The rules are for the place that `archive --to` moves payloads to, where nothing else
lies. A rule over the vault itself would not know which version is in use.
"""

import json
from typing import Final

from vault.core import limits

S3: Final = "s3"
GCS: Final = "gcs"
AZURE: Final = "azure"
KINDS: Final = (S3, GCS, AZURE)
PAYLOADS: Final = "models/"  # where payloads lie below the archive's prefix
_S3_CLASSES: Final = ("GLACIER", "DEEP_ARCHIVE", "GLACIER_IR", "STANDARD_IA")
_UPLOAD_DAYS: Final = 7  # until what is left of an upload that was killed is removed
_NAME: Final = "mvault-archive"


def rules(kind: str, prefix: str, *, days: int = 1, storage_class: str = "DEEP_ARCHIVE") -> str:
    """Write the rules for one kind of storage; `prefix` is the archive's in its bucket or container.

    S3: `aws s3api put-bucket-lifecycle-configuration --lifecycle-configuration file://…`.
    GCS: `gcloud storage buckets update gs://… --lifecycle-file=…`.
    Azure: `az storage account management-policy create --policy @…`; there the prefix begins with the
    container's name.

    Raises:
        ValueError: there is no such kind or class, or the number of days is none.
    """
    if kind not in KINDS:
        raise ValueError(f"There are rules for {', '.join(KINDS)}, not for {kind!r}.")
    if not 0 <= days <= limits.DAYS:
        raise ValueError(f"Rules act after 0 to {limits.DAYS:,} days.")
    if storage_class not in _S3_CLASSES:
        raise ValueError(f"{storage_class!r} is no cold class; there are {', '.join(_S3_CLASSES)}.")
    folder = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
    written = {S3: _s3, GCS: _gcs, AZURE: _azure}[kind](folder, days, storage_class)
    return json.dumps(written, indent=2) + "\n"


def _s3(folder: str, days: int, storage_class: str) -> dict[str, object]:
    return {
        "Rules": [
            {
                "ID": _NAME,
                "Status": "Enabled",
                "Filter": {"Prefix": folder + PAYLOADS},
                "Transitions": [{"Days": days, "StorageClass": storage_class}],
            },
            {
                "ID": "parts-of-uploads-that-were-killed",
                "Status": "Enabled",
                "Filter": {"Prefix": folder},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _UPLOAD_DAYS},
            },
        ]
    }


def _gcs(folder: str, days: int, _: str) -> dict[str, object]:
    return {
        "rule": [
            {
                "action": {"type": "SetStorageClass", "storageClass": "ARCHIVE"},
                "condition": {"age": days, "matchesPrefix": [folder + PAYLOADS]},
            },
            {
                "action": {"type": "AbortIncompleteMultipartUpload"},
                "condition": {"age": _UPLOAD_DAYS, "matchesPrefix": [folder]}
                if folder
                else {"age": _UPLOAD_DAYS},
            },
        ]
    }


def _azure(folder: str, days: int, _: str) -> dict[str, object]:
    return {
        "rules": [
            {
                "enabled": True,
                "name": _NAME,
                "type": "Lifecycle",
                "definition": {
                    "actions": {"baseBlob": {"tierToArchive": {"daysAfterModificationGreaterThan": days}}},
                    "filters": {"blobTypes": ["blockBlob"], "prefixMatch": [folder + PAYLOADS]},
                },
            }
        ]
    }
