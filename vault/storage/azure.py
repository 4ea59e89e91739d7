"""Keep objects as block blobs in a container of Azure Blob Storage.

A name is created under the condition that no blob has it (`If-None-Match: *`), which the service checks
when it stores a small blob, and when it commits the blocks of a large one; reading and listing are
strongly consistent. What the adapter counts on, and what it was tested against, is in
docs/storage/azure.md.
"""

import os

from vault.errors import MissingLibrary
from vault.storage import azure_address
from vault.storage.object_store import ObjectStore


def open_azure(url: str) -> ObjectStore:
    """Open the store at `az://ACCOUNT/CONTAINER/PREFIX?endpoint=…&anonymous=…`.

    Nothing is sent yet. Credentials come from the environment: `AZURE_STORAGE_CONNECTION_STRING`,
    `AZURE_STORAGE_KEY`, `AZURE_STORAGE_SAS_TOKEN`, or what `DefaultAzureCredential` finds.

    Raises:
        ValueError: it is not such a URL, or would send tokens in clear.
        MissingLibrary: `azure-storage-blob` or `azure-identity` is not installed.
    """
    address = azure_address.parse(url, os.environ)
    try:
        if address.kind == "token":
            import azure.identity  # noqa: F401 - used with the first request, and missed here
        from vault.storage.azure_service import AzureService
    except ModuleNotFoundError:
        raise MissingLibrary(
            "Storage at az:// needs azure-storage-blob and azure-identity.",
            hint="Install them: pip install 'model-artifact-vault[azure]'",
        ) from None
    return ObjectStore(address.location, address.prefix, AzureService(address))
