"""Wrap and unwrap keys by AWS KMS (docs/format.md, "Keys in a service").

The key is symmetric and never leaves KMS; what it wraps is bound to an
encryption context, which AWS writes into its own log of every call. Source: AWS
KMS API reference, Encrypt and Decrypt. Credentials come by boto3's usual chain.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vault.core import key_services, limits
from vault.core.key_services import KeyServiceId
from vault.errors import Malformed, Unavailable, VaultError

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 10
_ATTEMPTS: Final = 3
_CIPHERTEXT_BYTES: Final = 6_144  # the most that Encrypt gives and Decrypt takes

# Codes of AWS's answers: those about the caller or the key, and those about what is wrapped.
_DENIED: Final = frozenset(
    {
        *(
            "AccessDenied",
            "AccessDeniedException",
            "DisabledException",
            "ExpiredToken",
            "ExpiredTokenException",
        ),
        *("IncompleteSignature", "InvalidClientTokenId", "InvalidGrantTokenException"),
        *("InvalidKeyUsageException", "InvalidSignatureException", "KMSInvalidStateException"),
        *("MissingAuthenticationToken", "MissingAuthenticationTokenException", "NotAuthorized"),
        *("NotFoundException", "OptInRequired", "SignatureDoesNotMatch", "UnrecognizedClientException"),
    }
)
_NOT_OPENED: Final = frozenset({"IncorrectKeyException", "InvalidCiphertextException", "ValidationException"})
_NO_CREDENTIALS: Final = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "NoAuthTokenError", "ProfileNotFound"),
        *("SSOTokenLoadError", "UnauthorizedSSOTokenError", "LoginRefreshRequired", "LoginTokenLoadError"),
    }
)
_CREDENTIALS_HINT: Final = (
    "Give them as for any AWS program: a role of the machine or pod, AWS_PROFILE, or AWS_ACCESS_KEY_ID."
)


@dataclass(slots=True)
class KmsService:
    """One KMS key, as `vault.ports.KeyService`; its client is made on first use and kept."""

    service: KeyServiceId
    _client: Any = field(default=None, repr=False)

    def wrap(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Have KMS encrypt a key under a context.

        Raises:
            Unavailable, AccessDenied, NoUsableKey: see `vault.ports.KeyService`.
            MissingLibrary: boto3 is not installed.
        """
        arn = self.service.key
        answer = self._call(
            lambda client: client.encrypt(KeyId=arn, Plaintext=plaintext, EncryptionContext=dict(context))
        )
        blob = answer.get("CiphertextBlob")
        if not isinstance(blob, bytes) or not 0 < len(blob) <= _CIPHERTEXT_BYTES or plaintext in blob:
            raise self._odd("it gave no ciphertext")
        return blob

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Have KMS decrypt what `wrap` gave, under the same context.

        Raises:
            DigestMismatch: KMS does not open it (`decrypt-failed`).
            Unavailable, AccessDenied, NoUsableKey: see `vault.ports.KeyService`.
            MissingLibrary: boto3 is not installed.
        """
        arn = self.service.key
        if not 0 < len(wrapped) <= _CIPHERTEXT_BYTES:
            raise key_services.not_opened(arn, f"it has {len(wrapped):,} bytes")
        answer = self._call(
            lambda client: client.decrypt(KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=dict(context))
        )
        plaintext = answer.get("Plaintext")
        if not isinstance(plaintext, bytes):
            raise self._odd("it gave no plaintext")
        return key_services.plain_key(plaintext, arn)

    def _call(self, ask: Callable[[Any], Any]) -> dict[str, Any]:
        """Ask KMS, and see that it answered for this very key."""
        try:
            if self._client is None:
                self._client = _client(self.service)
            answer = ask(self._client)
        except VaultError:
            raise
        except Exception as error:  # boto3's own, and whatever its parser makes of a hostile answer
            raise self._failure(error) from None
        if not isinstance(answer, dict) or answer.get("KeyId") != self.service.key:
            raise self._odd("it answered for another key")
        return answer

    def _failure(self, error: Exception) -> VaultError:
        """Tell what a failure means, by the codes and names that AWS and botocore document."""
        arn, name = self.service.key, type(error).__name__
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            told = response.get("Error")
            code, said = ("", "") if not isinstance(told, dict) else (told.get("Code"), told.get("Message"))
            reason = f"{code}: {said}" if said else str(code)
            if code in _DENIED or _status(response) in (401, 403):
                return key_services.denied(arn, reason)
            if code in _NOT_OPENED:
                return key_services.not_opened(arn, reason)
            return key_services.unavailable(arn, f"KMS answers {reason}")
        if name in _NO_CREDENTIALS:
            return key_services.no_credentials(arn, _CREDENTIALS_HINT)
        return key_services.unavailable(arn, f"{name}: {error}")

    def _odd(self, reason: str) -> Unavailable:
        return key_services.unavailable(self.service.key, f"KMS did not answer as it should, {reason}")


def _status(response: dict[str, Any]) -> object:
    told = response.get("ResponseMetadata")
    return told.get("HTTPStatusCode") if isinstance(told, dict) else None


def open_service(service: KeyServiceId) -> KmsService:
    """Give the service of a KMS key; nothing is asked and no library imported yet."""
    return KmsService(service)


def _client(service: KeyServiceId) -> Any:
    """Make a client for the region of the key whose answers are bounded.

    Raises:
        MissingLibrary: boto3 is not installed.
        Unavailable: the endpoint that is set for KMS would have requests travel in the clear.
    """
    try:
        from boto3.session import Session
        from botocore.config import Config
    except ImportError:
        raise key_services.missing_library(service.key, "boto3", "kms") from None
    session = Session()
    client = session.client(
        "kms",
        region_name=key_services.region(service.key),
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
        ),
    )
    endpoint = str(client.meta.endpoint_url).rstrip("/")
    try:
        if not endpoint.startswith("https://"):
            key_services.address(endpoint)
    except Malformed as error:
        raise key_services.unavailable(service.key, error.message) from None
    client.meta.events.register("before-send.kms", _Bounded(endpoint))
    return client


class _Bounded:
    """Sends a request as botocore would, and reads at most so many bytes of the answer.

    botocore's event `before-send` takes an answer in place of the one that it would
    get itself, whose body it would read whole.
    """

    def __init__(self, endpoint: str) -> None:
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        self._session = URLLib3Session(
            verify=os.environ.get("AWS_CA_BUNDLE") or True,
            # What is asked of this machine itself does not go through another one.
            proxies=get_environ_proxies(endpoint) if endpoint.startswith("https://") else None,
            timeout=(_CONNECT_SECONDS, _READ_SECONDS),
        )

    def __call__(self, request: Any, **_: object) -> Any:
        """Answer the event."""
        from botocore.awsrequest import AWSResponse

        request.stream_output = True  # read here
        answer = self._session.send(request)
        try:
            data = answer.raw.read(limits.KEY_SERVICE_BYTES + 1)
        finally:
            answer.raw.close()
        if len(data) > limits.KEY_SERVICE_BYTES:
            raise ValueError(f"its answer has more than {limits.KEY_SERVICE_BYTES:,} bytes")
        return AWSResponse(answer.url, answer.status_code, answer.headers, _Body(data))


@dataclass(frozen=True, slots=True)
class _Body:
    """The body of an answer, as botocore reads it."""

    data: bytes

    def stream(self) -> Iterator[bytes]:
        """Give it in one piece."""
        yield self.data
