"""Send requests to S3 through the AWS SDK, with every answer bounded in time and in size."""

import importlib.util
import os
import re
import socket
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

from vault.core import limits
from vault.errors import MissingLibrary
from vault.storage.s3_errors import Failed, failed
from vault.storage.s3_location import S3Location

ATTEMPTS: Final = 4
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 60
_CONNECTIONS: Final = 32
_ANSWER_BYTES: Final = 8 * limits.MIB  # a page of a listing has at most 5
_DOCUMENT_TYPES: Final = (b"<!doctype", b"<!entity", b"\0")  # S3 sends none; the parser would expand them

# What a listing tells of each object beside its name, which costs the SDK's parser ten times as much.
_BESIDE_NAMES: Final = re.compile(rb"<(LastModified|ETag|Size|StorageClass|ChecksumAlgorithm)>[^<]*</\1>")
_BESIDE_SIZES: Final = re.compile(rb"<(LastModified|ETag|StorageClass|ChecksumAlgorithm)>[^<]*</\1>")
WITH_SIZES: Final[ContextVar[bool]] = ContextVar("vault_s3_sizes", default=False)


def check_library() -> None:
    """See that the SDK is installed.

    Raises:
        MissingLibrary: it is not.
    """
    if any(importlib.util.find_spec(library) is None for library in ("boto3", "botocore")):
        raise MissingLibrary(
            "A vault in S3 needs boto3, which is not installed.",
            hint="Install it: pip install 'model-artifact-vault[s3]'.",
        )


class Client:
    """The S3 client of one bucket: made at the first request, and again in a forked process."""

    def __init__(self, location: S3Location) -> None:
        """Send to where `location` says."""
        self.location = location
        self._lock = threading.Lock()
        self._process = 0
        self._sdk: Any = None

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.location.bucket

    def send(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Send one request, which the SDK repeats after failures that may pass; give its parsed answer.

        Raises:
            Failed: whatever went wrong.
        """
        try:
            sdk = self._connected()
            return getattr(sdk, operation)(Bucket=self.location.bucket, **parameters)  # type: ignore[no-any-return]
        except Exception as error:  # the SDK's parsers raise anything when an answer is garbage
            raise failed(error) from error

    def _connected(self) -> Any:
        with self._lock:
            if self._sdk is None or self._process != os.getpid():
                self._sdk = _connect(self.location)
                self._process = os.getpid()
            return self._sdk


def _connect(location: S3Location) -> Any:
    import botocore.session
    from botocore.config import Config

    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        max_pool_connections=_CONNECTIONS,
        # The vault gives its own SHA-256 with every upload; what the SDK adds unasked costs and covers less.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": _addressing(location)},
        user_agent_extra="mvault",
    )
    region = location.region or session.get_config_variable("region")
    sdk = session.create_client(
        "s3",
        endpoint_url=location.endpoint or None,
        region_name=region or ("us-east-1" if location.endpoint else None),
        config=config,
    )
    ca_bundle = session.get_config_variable("ca_bundle")
    unsigned = config.merge(Config(s3={**config.s3, "payload_signing_enabled": False}))

    def leave_payload_unsigned(request: Any, **_: object) -> None:
        """The signature covers the SHA-256 header, so the body needs no second pass."""
        if "x-amz-checksum-sha256" in request.headers:
            request.context["client_config"] = unsigned

    for operation in ("PutObject", "UploadPart"):
        sdk.meta.events.register(f"before-sign.s3.{operation}", leave_payload_unsigned)
    sdk.meta.events.register("before-send.s3", _bounded_sender(sdk.meta.endpoint_url, ca_bundle))
    return sdk


@cache
def _loader() -> Any:
    """Give what reads the SDK's descriptions of services, which takes 0.1 s: once per process."""
    from botocore.loaders import create_loader

    return create_loader()


def _addressing(location: S3Location) -> str:
    """Choose path style for other endpoints than AWS's own, unless the location says otherwise."""
    custom = bool(
        location.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    )
    path_style = custom if location.path_style is None else location.path_style
    return "path" if path_style else "virtual" if location.path_style is False else "auto"


def _bounded_sender(endpoint: str, ca_bundle: str | None) -> Callable[..., Any]:
    """Give what sends a signed request in the SDK's place: an answer that is read whole is read in bounds."""
    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import ConnectionClosedError, HTTPClientError
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies
    from urllib3.exceptions import HTTPError

    http = URLLib3Session(
        verify=ca_bundle or True,
        proxies=get_environ_proxies(endpoint),
        timeout=(_CONNECT_SECONDS, _READ_SECONDS),
        max_pool_connections=_CONNECTIONS,
        # Header and body are sent apart: without this the body waits 40 ms for the header's receipt.
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )

    def send(request: Any, event_name: str, **_: object) -> Any:
        streamed, request.stream_output = request.stream_output, True
        if "Expect" in request.headers:  # it would cost a round trip, or a second where it is not understood
            del request.headers["Expect"]
        response = http.send(request)
        if streamed and response.status_code < 300:
            return response
        try:
            content = _read_bounded(response.raw)
        except HTTPError as error:
            raise ConnectionClosedError(endpoint_url=endpoint, error=error) from error
        except Failed as failure:
            raise HTTPClientError(error=failure.message) from failure
        if event_name.endswith(".ListObjectsV2"):
            content = (_BESIDE_SIZES if WITH_SIZES.get() else _BESIDE_NAMES).sub(b"", content)
        return AWSResponse(response.url, response.status_code, response.headers, _Held(content))

    return send


def _read_bounded(raw: Any) -> bytes:
    """Read the whole body of an answer.

    Raises:
        Failed: it is too large, or not plain XML.
    """
    pieces = []
    size = 0
    while piece := raw.read(64 * limits.KIB):
        pieces.append(piece)
        size += len(piece)
        if size > _ANSWER_BYTES:
            raw.close()
            raise Failed("TooLarge", message=f"the answer has more than {_ANSWER_BYTES} bytes")
    content = b"".join(pieces)
    lowered = content.lower()
    if any(mark in lowered for mark in _DOCUMENT_TYPES):
        raise Failed("Malformed", message="the answer is not plain XML")
    return content


class _Held:
    """An answer that was read, in the shape in which the SDK reads it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: object, **__: object) -> "list[bytes]":
        return [self._content]

    def read(self, *_: object, **__: object) -> bytes:
        return self._content
