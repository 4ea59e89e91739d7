"""Read an `az://` URL and the environment beside it: which container, where, and with whose rights.

Format of names: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from vault.core import limits
from vault.storage import remote_url
from vault.storage.remote_url import Endpoint

CONNECTION_STRING: Final = "AZURE_STORAGE_CONNECTION_STRING"
ACCOUNT: Final = "AZURE_STORAGE_ACCOUNT"
KEY: Final = "AZURE_STORAGE_KEY"
SAS: Final = "AZURE_STORAGE_SAS_TOKEN"
EXAMPLE: Final = "az://ACCOUNT/CONTAINER/FOLDER"
OPTIONS: Final = ("anonymous", "endpoint")
NAME_CHARS: Final = 1_024

# Tokens and shared access signatures open more than this container, so they go to Azure alone.
_DOMAINS: Final = ("core.windows.net", "core.usgovcloudapi.net", "core.chinacloudapi.cn", "storage.azure.net")
_ACCOUNT_NAME: Final = re.compile(r"[a-z0-9]{3,24}\Z")
_CONTAINER: Final = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?!-)){1,61}[a-z0-9]\Z")

Kind = Literal["anonymous", "key", "sas", "token"]


@dataclass(frozen=True, slots=True)
class AzureAddress:
    """Where a store lies and how it is reached.

    `prefix` is empty or ends in `/`; `endpoint` is the URL of the account. `kind` says what is sent:
    nothing, signatures made with the account's key, a shared access signature, or tokens of whoever
    the machine is signed in as; `secret` is the key or the signature, and never shown.
    """

    account: str
    container: str
    prefix: str
    endpoint: str
    location: str
    kind: Kind
    secret: str = field(repr=False)


def parse(url: str, environment: Mapping[str, str]) -> AzureAddress:
    """Read a URL `az://ACCOUNT/CONTAINER/PREFIX?endpoint=…&anonymous=true`.

    Of the environment only what is for this account is used: a connection string first, then a key, a
    shared access signature, and last whatever `DefaultAzureCredential` finds.

    Raises:
        ValueError: it is not such a URL, or would send tokens in clear.
    """
    found = remote_url.parse(url, example=EXAMPLE, options=OPTIONS)
    account = found.authority
    if _ACCOUNT_NAME.match(account) is None:
        raise ValueError(f"{account[:80]!r} cannot be the name of a storage account; write {EXAMPLE}")
    container, _, folder = found.path.partition("/")
    if _CONTAINER.match(container) is None:
        raise ValueError(f"{container[:80]!r} cannot be the name of a container; write {EXAMPLE}")
    prefix = remote_url.prefix(folder)
    if len(prefix) + limits.STORE_NAME_CHARS > NAME_CHARS:
        raise ValueError(
            f"the folder in {EXAMPLE} may have {NAME_CHARS - limits.STORE_NAME_CHARS - 1} characters, "
            f"since a whole name may have {NAME_CHARS}"
        )
    told = _connection(account, environment)
    service = _service(account, found.options.get("endpoint"), told)
    if _flag(found.options, "anonymous"):
        kind, secret = _ANONYMOUS
    else:
        kind, secret = _secret(account, service, told, environment)
    return AzureAddress(
        account=account,
        container=container,
        prefix=prefix,
        endpoint=service.url,
        location=remote_url.url("az", account, container, prefix, options=found.options),
        kind=kind,
        secret=secret,
    )


_ANONYMOUS: Final[tuple[Kind, str]] = ("anonymous", "")


def _connection(account: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Give the fields of the connection string, in small letters, if it is for this account."""
    text = environment.get(CONNECTION_STRING, "")
    fields = {}
    for part in filter(None, text.split(";")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{CONNECTION_STRING} is not a list of NAME=VALUE between semicolons")
        fields[name.strip().lower()] = value.strip()
    if "accountname" not in fields and "blobendpoint" in fields:
        host = remote_url.endpoint(fields["blobendpoint"], name=CONNECTION_STRING, clear=True).host
        fields["accountname"] = host.partition(".")[0]
    return fields if fields.get("accountname") == account else {}


def _service(account: str, given: str | None, told: Mapping[str, str]) -> Endpoint:
    """Tell where the account's blobs are served."""
    if given is not None:
        service = remote_url.endpoint(given)
    elif "blobendpoint" in told:
        signed = "accountkey" in told  # a signature by the key gives nobody the key
        service = remote_url.endpoint(told["blobendpoint"], name=CONNECTION_STRING, clear=signed)
    else:
        suffix = told.get("endpointsuffix", "core.windows.net")
        return remote_url.endpoint(f"https://{account}.blob.{suffix}", name=CONNECTION_STRING)
    below_host = service.url.partition("://")[2].partition("/")[2]
    if below_host or service.host.partition(".")[0] == account:
        return service
    return Endpoint(f"{service.url}/{account}", service.host, service.secure)


def _secret(
    account: str, service: Endpoint, told: Mapping[str, str], environment: Mapping[str, str]
) -> tuple[Kind, str]:
    """Choose what is sent with each request."""
    azure = service.secure and remote_url.is_within(service.host, _DOMAINS)
    if told.get("accountkey"):
        return "key", told["accountkey"]
    signature = told.get("sharedaccesssignature", "")
    if signature and service.url == _service(account, None, told).url:
        return "sas", signature.removeprefix("?")
    named = environment.get(ACCOUNT)
    if environment.get(KEY) and named in {None, "", account}:
        return "key", environment[KEY]
    if environment.get(SAS) and named == account and azure:
        return "sas", environment[SAS].removeprefix("?")
    return ("token", "") if azure else _ANONYMOUS


def _flag(options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "false")
    if value not in {"true", "false"}:
        raise ValueError(f"{name}= is true or false, not {value[:80]!r}")
    return value == "true"
