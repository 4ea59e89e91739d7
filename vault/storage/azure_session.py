"""Talk to Azure Blob Storage: one client, whose requests are bounded, retried and told in our words.

Imported only where an `az://` store is opened, since it imports Azure's library.
Error codes: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes.
"""

import random
import re
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import requests
from azure.core import exceptions as azure
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import ContainerClient, ExponentialRetry

from vault.core import limits
from vault.errors import Unavailable, VaultError
from vault.storage import capped_http
from vault.storage.azure_address import AzureAddress

RETRIES: Final = 3
FIRST_WAIT: Final = 0.3  # seconds before the second attempt; three times as long before each further one
IN_ONE_REQUEST: Final = 8 * limits.MIB

TAKEN: Final = frozenset({"BlobAlreadyExists", "ConditionNotMet", "UnauthorizedBlobOverwrite"})
MISSING: Final = frozenset({"BlobNotFound", "ResourceNotFound"})
_NO_CONTAINER: Final = frozenset({"ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"})
_ARCHIVED: Final = frozenset({"BlobArchived", "BlobBeingRehydrated"})
_KEPT: Final = frozenset(
    {
        "SnapshotsPresent",
        "BlobImmutableDueToPolicy",
        "BlobImmutableDueToLegalHold",
        "LeaseIdMissing",
        "LeaseIdMismatchWithBlobOperation",
        "BlobUsesCustomerSpecifiedEncryption",
    }
)
_DENIED: Final = frozenset({401, 403})

_T = TypeVar("_T")


class Waiting(ExponentialRetry):
    """The library's retries, with waits that suit somebody who waits for a command."""

    def get_backoff_time(self, settings: dict[str, Any]) -> float:
        """Give the seconds to wait before the next attempt."""
        longest = FIRST_WAIT * 3 ** max(0, int(settings["count"]) - 1)
        return random.uniform(longest / 2, longest)  # noqa: S311 - to spread clients out, no secret


class AzureSession:
    """The connection to one container; several threads may use it at once.

    Attributes: `adapter`, through which all requests go.
    """

    def __init__(self, address: AzureAddress) -> None:
        """Talk to the account and container of `address`; nothing is sent yet."""
        self._address = address
        self._lock = threading.Lock()
        self._container: Any = None
        self.adapter = capped_http.CappedAdapter(address.endpoint)

    @property
    def container(self) -> Any:
        """The library's own `ContainerClient`; what it raises is for `call` to translate."""
        with self._lock:
            if self._container is None:
                session = requests.Session()
                for scheme in ("http://", "https://"):
                    session.mount(scheme, self.adapter)
                self._container = ContainerClient(
                    self._address.endpoint,
                    self._address.container,
                    credential=self._credential(),
                    transport=RequestsTransport(session=session),
                    retry_policy=Waiting(retry_total=RETRIES),
                    max_single_put_size=IN_ONE_REQUEST,
                    max_single_get_size=IN_ONE_REQUEST,
                    max_chunk_get_size=IN_ONE_REQUEST,
                )
            return self._container

    def _credential(self) -> Any:
        if self._address.kind == "key":
            return {"account_name": self._address.account, "account_key": self._address.secret}
        if self._address.kind == "sas":
            from azure.core.credentials import AzureSasCredential

            return AzureSasCredential(self._address.secret)
        if self._address.kind == "token":
            from azure.identity import DefaultAzureCredential

            return DefaultAzureCredential()
        return None

    def call(self, doing: str, name: str, request: Callable[[], _T]) -> _T:
        """Send a request, which the library repeats where that may help, and translate what stays wrong.

        Raises:
            AzureAnswer: the service answered with a code that the caller may know the meaning of.
            Unavailable: it did not answer, or not sensibly.
        """
        try:
            return request()
        except VaultError:
            raise
        except Exception as error:  # whatever the library makes of an answer that it does not understand
            raise self._translated(error, doing, name) from error

    def _translated(self, error: Exception, doing: str, name: str) -> Unavailable:
        status, reason = status_of(error), code_of(error)
        what = f"Could not {doing} {name or 'the container'}"
        code, why = "unavailable", _told(error, reason)
        hint = "Look at the network and at the service's status, then try again."
        if reason in _ARCHIVED:
            code = "storage-archived"
            why = "it is in the archive tier, and must be brought back to an online tier first"
            hint = (
                "Ask for it, which takes hours: az storage blob set-tier --tier Hot "
                f"--account-name {self._address.account} --container-name {self._address.container} "
                f"--name {self._address.prefix}{name}"
            )
        elif reason in _NO_CONTAINER:
            why = f"there is no container {self._address.container} at {self._address.endpoint}"
            hint = "Create it first (the vault makes none), or correct the location."
        elif reason in _KEPT:
            code, hint = "storage-denied", "A lease, a snapshot, a hold or a retention policy protects it."
        elif isinstance(error, azure.ClientAuthenticationError) or status in _DENIED:
            code = "storage-denied"
            hint = f"Ask whoever owns the account {self._address.account} for access; "
            hint += _TRIED[self._address.kind]
        elif status is not None and status < 500 and status not in {408, 429}:
            return AzureAnswer(status, reason, f"{what}: {why}.", subject=name)
        elif status is None and (_is_bad(error) or not isinstance(error, _UNREACHED)):
            hint = f"Azure answers otherwise: look at what listens at {self._address.endpoint}."
        return Unavailable(f"{what}: {why}.", code=code, subject=name, hint=hint)


_TRIED: Final = {
    "anonymous": "no credentials were found for it.",
    "key": "the account's key was used.",
    "sas": "a shared access signature was used.",
    "token": "DefaultAzureCredential was asked who you are (`az login`).",
}
_UNREACHED: Final = (azure.ServiceRequestError, azure.ServiceResponseError, azure.ClientAuthenticationError)


class AzureAnswer(Unavailable):
    """The service refused a request; what its `status` and `reason` mean depends on the request."""

    def __init__(self, status: int, reason: str, message: str, *, subject: str) -> None:
        """Tell of an answer with a status and the service's own code."""
        super().__init__(
            message, subject=subject, hint="Look at the settings of the container, then try again."
        )
        self.status = status
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary as what callers know."""
        return Unavailable(self.message, subject=self.subject, hint=self.hint).__reduce__()


def _is_bad(error: BaseException) -> bool:
    return isinstance(getattr(error, "inner_exception", None), capped_http.BadAnswerError)


def status_of(error: BaseException) -> int | None:
    """Give the HTTP status that an error of the library stands for."""
    status = getattr(error, "status_code", None)
    return status if isinstance(error, azure.HttpResponseError) and isinstance(status, int) else None


def code_of(error: BaseException) -> str:
    """Give the service's own code of an error, or nothing."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def _told(error: BaseException, reason: str) -> str:
    """Say in one short line what went wrong; what the service wrote is shown as text and nothing else."""
    said = getattr(error, "message", "") or str(error)
    words = re.split(r"RequestId:|ErrorCode:", str(said))[0]
    text = capped_http.one_line(words).rstrip(".") or type(error).__name__
    shown = capped_http.one_line(reason)
    return f"{text} ({shown})" if shown and shown not in text else text
