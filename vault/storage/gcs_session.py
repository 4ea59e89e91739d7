"""Talk to Google Cloud Storage: one client, whose requests are bounded, retried and told in our words.

Imported only where a `gs://` store is opened, since it imports Google's library.
What is retried, and why creating with `ifGenerationMatch=0` may be:
https://cloud.google.com/storage/docs/retry-strategy.
"""

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import quote

import requests
import urllib3
from google.api_core import exceptions as api
from google.api_core.retry import Retry
from google.auth import credentials as tokens
from google.auth import default as find_credentials
from google.auth import exceptions as auth
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse

from vault.errors import Unavailable, VaultError
from vault.storage import capped_http
from vault.storage.gcs_address import GcsAddress

ATTEMPTS: Final = 4
FIRST_WAIT: Final = (
    0.3  # seconds at most before the second attempt; three times as long before each further one
)
TIMEOUT: Final = (capped_http.CONNECT_SECONDS, capped_http.READ_SECONDS)
GONE: Final = frozenset({404, 410})
_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
_DENIED: Final = frozenset({401, 403})
_BROKEN: Final = (
    ConnectionError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
)

_T = TypeVar("_T")


class GcsSession:
    """The connection to one bucket; several threads may use it at once.

    The credentials are looked for with the first request: those that the environment, the machine or
    `gcloud` provide (Application Default Credentials), or none.

    Attributes: `adapter`, through which all requests go.
    """

    def __init__(self, address: GcsAddress) -> None:
        """Talk to the service at `address`; nothing is sent yet."""
        self._address = address
        self._lock = threading.Lock()
        self._transport: AuthorizedSession | None = None
        self.adapter = capped_http.CappedAdapter(address.endpoint)
        self._bucket: Any = None

    @property
    def bucket(self) -> Any:
        """The library's own `Bucket`; what it raises is for `call` to translate."""
        self._connect()
        return self._bucket

    @property
    def transport(self) -> AuthorizedSession:
        """The session that adds tokens to requests, for what the library does not do."""
        return self._connect()

    def object_url(self, path: str, **parameters: str) -> str:
        """Give a URL of the JSON API below the endpoint, such as `/upload/storage/v1/b/…`."""
        if self._address.user_project:
            parameters["userProject"] = self._address.user_project
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        return f"{self._address.endpoint}{path}" + (f"?{query}" if query else "")

    def call(self, doing: str, name: str, request: Callable[[], _T], *, attempts: int = ATTEMPTS) -> _T:
        """Send a request, again while what goes wrong may pass, and translate what stays wrong.

        Raises:
            GcsAnswer: the service answered with a status that the caller may know the meaning of.
            Unavailable: it did not answer, or not sensibly.
        """
        left = attempts

        def again(error: BaseException) -> bool:
            nonlocal left
            left -= 1
            return left > 0 and _may_pass(error)

        retry = Retry(predicate=again, initial=FIRST_WAIT, maximum=4.0, multiplier=3.0, timeout=600.0)
        try:
            return retry(request)()
        except VaultError:
            raise
        except Exception as error:  # whatever the library makes of an answer that it does not understand
            raise self._translated(error, doing, name) from error

    def _connect(self) -> AuthorizedSession:
        with self._lock:
            if self._transport is None:
                found: tokens.Credentials
                if self._address.anonymous:
                    found = tokens.AnonymousCredentials()  # type: ignore[no-untyped-call]
                else:
                    found, _ = find_credentials(scopes=[_SCOPE])
                transport = AuthorizedSession(found)  # type: ignore[no-untyped-call]
                for scheme in ("http://", "https://"):
                    transport.mount(scheme, self.adapter)
                client = storage.Client(
                    project=None,
                    credentials=found,
                    client_options={"api_endpoint": self._address.endpoint},
                    _http=transport,
                )
                self._bucket = client.bucket(self._address.bucket, user_project=self._address.user_project)
                self._transport = transport
            return self._transport

    def _translated(self, error: Exception, doing: str, name: str) -> Unavailable:
        status = status_of(error)
        if status is not None and not (status in _PASSING or status in _DENIED):
            return GcsAnswer(
                status, f"Could not {doing} {name or 'the bucket'}: {_told(error)}", subject=name
            )
        code, hint = "unavailable", "Look at the network and at the service's status, then try again."
        if status in _DENIED:
            code = "storage-denied"
            hint = f"Ask whoever owns the bucket {self._address.bucket} for access, or use another account."
        elif isinstance(error, auth.DefaultCredentialsError):
            code = "storage-denied"
            hint = (
                "Sign in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS."
            )
        elif isinstance(error, auth.GoogleAuthError) and not isinstance(error, auth.TransportError):
            code = "storage-denied"
            hint = "Sign in again, or look at the account that GOOGLE_APPLICATION_CREDENTIALS names."
            if self._address.anonymous:
                hint = "No token was sent: the location says so, or its endpoint is not Google's."
        elif isinstance(error, capped_http.BadAnswerError) or not isinstance(error, _KNOWN):
            hint = f"Google Cloud Storage answers otherwise: see what listens at {self._address.endpoint}."
        return Unavailable(
            f"Could not {doing} {name or 'the bucket'}: {_told(error)}", code=code, subject=name, hint=hint
        )

    def no_bucket(self, name: str) -> Unavailable:
        """Say that the bucket itself is not there."""
        return Unavailable(
            f"There is no bucket {self._address.bucket} at {self._address.endpoint}.",
            subject=name,
            hint="Create it first, or correct the location.",
        )


class GcsAnswer(Unavailable):
    """The service refused a request; what its HTTP `status` means depends on the request."""

    def __init__(self, status: int, message: str, *, subject: str) -> None:
        """Tell of an answer with `status`."""
        super().__init__(message, subject=subject, hint="Look at the settings of the bucket, then try again.")
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary as what callers know."""
        return Unavailable(self.message, subject=self.subject, hint=self.hint).__reduce__()


def check(answer: requests.Response, *statuses: int) -> requests.Response:
    """Return an answer that has one of these statuses.

    Raises:
        GoogleAPICallError: it has another.
    """
    if answer.status_code not in statuses:
        try:
            raise api.from_http_response(answer)  # type: ignore[no-untyped-call]
        finally:
            answer.close()
    return answer


def status_of(error: BaseException) -> int | None:
    """Give the HTTP status that an error of the library stands for."""
    if isinstance(error, api.GoogleAPICallError):
        return int(error.code) if error.code is not None else None
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    return None


_KNOWN: Final = (*_BROKEN, api.GoogleAPICallError, InvalidResponse, auth.GoogleAuthError)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, auth.TransportError) and error.args and isinstance(error.args[0], Exception):
        return _may_pass(error.args[0])
    status = status_of(error)
    return status in _PASSING if status is not None else isinstance(error, _BROKEN)


def _told(error: BaseException) -> str:
    """Say in one short line what went wrong; what the service wrote is shown as text and nothing else."""
    status = status_of(error)
    said = getattr(error, "message", "") if isinstance(error, api.GoogleAPICallError) else str(error)
    text = capped_http.one_line(str(said)) or type(error).__name__
    return f"the service answered {status}: {text}" if status is not None else text
