"""What an `az://` URL and the environment say, and where keys, signatures and tokens may go."""

import sys

import pytest

from vault.errors import MissingLibrary
from vault.storage import azure_address
from vault.storage.opening import open_store

KEY = "a2V5"


def test_a_url_names_an_account_a_container_and_a_folder() -> None:
    found = azure_address.parse("az://teammodels/vaults/main/a/", {})
    assert (found.account, found.container, found.prefix) == ("teammodels", "vaults", "main/a/")
    assert found.endpoint == "https://teammodels.blob.core.windows.net"
    assert found.location == "az://teammodels/vaults/main/a"
    assert (found.kind, found.secret) == ("token", "")
    assert azure_address.parse("az://teammodels/vaults", {}).prefix == ""


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://127.0.0.1:10000/devacc", "http://127.0.0.1:10000/devacc"),
        ("http://127.0.0.1:10000", "http://127.0.0.1:10000/devacc"),
        ("https://devacc.blob.core.windows.net", "https://devacc.blob.core.windows.net"),
        ("https://devacc.z5.blob.storage.azure.net/", "https://devacc.z5.blob.storage.azure.net"),
        ("https://blobs.example.com", "https://blobs.example.com/devacc"),
    ],
)
def test_an_endpoint_is_the_accounts_own(given: str, used: str) -> None:
    found = azure_address.parse(f"az://devacc/vaults?endpoint={given}", {})
    assert found.endpoint == used
    assert azure_address.parse(found.location, {}) == found


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("az://", "storage account"),
        ("az://Account/container", "storage account"),
        ("az://account", "name of a container"),
        ("az://account/", "name of a container"),
        ("az://account/Container", "name of a container"),
        ("az://account/a--b", "name of a container"),
        ("az://account:key@host/container", "may not stand in a URL"),
        ("az://account/container/a//b", "empty"),
        ("az://account/container/" + "x/" * 63, "may have 123 characters"),
        ("az://account/container/a?sas=sig", "anonymous=, endpoint="),
        ("az://account/container/a?sv=2021&sig=abc", "anonymous=, endpoint="),
        ("az://account/container/a?endpoint=http://blobs.example.com", "travel in clear"),
        ("az://account/container/a?endpoint=https://h?sig=x", "may not have"),
        ("az://account/container/a?anonymous=1", "true or false"),
    ],
)
def test_other_urls_are_the_callers_mistake(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        open_store(url)
    assert "sig=abc" not in str(caught.value)


def credentials(url: str, **environment: str) -> tuple[str, str]:
    found = azure_address.parse(url, {f"AZURE_STORAGE_{name}": value for name, value in environment.items()})
    assert not found.secret or found.secret not in repr(found)
    assert not found.secret or found.secret not in found.location
    return found.kind, found.secret


def test_what_the_environment_has_for_the_account_is_used_in_order() -> None:
    url = "az://acc/vaults"
    string = (
        f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY}=;EndpointSuffix=core.windows.net"
    )
    assert credentials(url, CONNECTION_STRING=string, KEY="x") == ("key", f"{KEY}=")
    assert credentials(url, KEY=KEY) == ("key", KEY)
    assert credentials(url, KEY=KEY, ACCOUNT="acc") == ("key", KEY)
    assert credentials(url, SAS_TOKEN="?sv=1&sig=2", ACCOUNT="acc") == ("sas", "sv=1&sig=2")
    signed = "BlobEndpoint=https://acc.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=2"
    assert credentials(url, CONNECTION_STRING=signed) == ("sas", "sv=1&sig=2")
    assert credentials(url) == ("token", "")
    assert credentials(f"{url}?anonymous=true", KEY=KEY) == ("anonymous", "")


def test_what_is_for_another_account_is_not_used() -> None:
    url = "az://acc/vaults"
    string = f"AccountName=other;AccountKey={KEY}"
    assert credentials(url, CONNECTION_STRING=string) == ("token", "")
    assert credentials(url, KEY=KEY, ACCOUNT="other") == ("token", "")
    assert credentials(url, SAS_TOKEN="sig=2", ACCOUNT="other") == ("token", "")
    assert credentials(url, SAS_TOKEN="sig=2") == ("token", ""), "nobody says which account it is for"


@pytest.mark.parametrize(
    "endpoint",
    ["https://evil.example", "https://core.windows.net.evil.example/acc", "http://127.0.0.1:1/acc"],
)
def test_tokens_and_signatures_go_to_azure_alone(endpoint: str) -> None:
    """A URL may come from settings of a stranger's project."""
    url = f"az://acc/vaults?endpoint={endpoint}"
    assert credentials(url) == ("anonymous", "")
    assert credentials(url, SAS_TOKEN="sig=2", ACCOUNT="acc") == ("anonymous", "")
    signed = "BlobEndpoint=https://acc.blob.core.windows.net;SharedAccessSignature=sig=2"
    assert credentials(url, CONNECTION_STRING=signed) == ("anonymous", "")
    assert credentials(url, KEY=KEY, ACCOUNT="acc") == ("key", KEY), "a signature gives nobody the key"


def test_a_connection_string_says_where_the_account_is() -> None:
    string = f"AccountName=acc;AccountKey={KEY};BlobEndpoint=http://azurite:10000/acc"
    found = azure_address.parse("az://acc/vaults", {"AZURE_STORAGE_CONNECTION_STRING": string})
    assert found.endpoint == "http://azurite:10000/acc"
    assert found.location == "az://acc/vaults"
    clear = "AccountName=acc;SharedAccessSignature=sig=2;BlobEndpoint=http://azurite:10000/acc"
    with pytest.raises(ValueError, match="travel in clear"):
        azure_address.parse("az://acc/vaults", {"AZURE_STORAGE_CONNECTION_STRING": clear})
    china = f"AccountName=acc;AccountKey={KEY};EndpointSuffix=core.chinacloudapi.cn"
    found = azure_address.parse("az://acc/vaults", {"AZURE_STORAGE_CONNECTION_STRING": china})
    assert found.endpoint == "https://acc.blob.core.chinacloudapi.cn"
    with pytest.raises(ValueError, match="NAME=VALUE") as caught:
        azure_address.parse("az://acc/vaults", {"AZURE_STORAGE_CONNECTION_STRING": "secret"})
    assert "secret" not in str(caught.value)


def test_opening_sends_nothing_and_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_store("az://acc/vaults?endpoint=https://nobody.invalid").location.startswith(
        "az://acc/vaults?"
    )
    names = ("vault.storage.azure_s", "vault.storage.azure_u", "azure.storage.blob")
    for name in [name for name in sys.modules if name.startswith(names)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "azure.storage.blob", None)
    with pytest.raises(MissingLibrary, match="azure-storage-blob") as caught:
        open_store("az://acc/vaults")
    assert "model-artifact-vault[azure]" in caught.value.hint
