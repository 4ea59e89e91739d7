"""Keep objects in a bucket of Google Cloud Storage.

A name is created under the condition that no object has it (`ifGenerationMatch=0`), which the service
checks at the moment of storing; listing and reading are strongly consistent
(https://cloud.google.com/storage/docs/consistency). What the adapter counts on, and what it was tested
against, is in docs/storage/gcs.md.
"""

import os

from vault.errors import MissingLibrary
from vault.storage import gcs_address
from vault.storage.object_store import ObjectStore


def open_gcs(url: str) -> ObjectStore:
    """Open the store at `gs://BUCKET/PREFIX?endpoint=…&user_project=…&anonymous=…&upload=…`.

    Nothing is sent yet. Without `endpoint=` the variable `STORAGE_EMULATOR_HOST` is obeyed.

    Raises:
        ValueError: it is not such a URL, or would send tokens in clear.
        MissingLibrary: `google-cloud-storage` is not installed.
    """
    address = gcs_address.parse(url, os.environ)
    try:
        from vault.storage.gcs_service import GcsService
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Storage at gs:// needs google-cloud-storage.",
            hint="Install it: pip install 'model-artifact-vault[gcs]'",
        ) from None
    return ObjectStore(address.location, address.prefix, GcsService(address))
