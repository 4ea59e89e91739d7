"""The URL of a vault in S3: what it may say, and what every mistake in it is told."""

import importlib.util

import pytest

from vault.errors import MissingLibrary
from vault.storage import s3_location
from vault.storage.opening import open_store
from vault.storage.s3 import S3Store
from vault.storage.s3_location import S3Location


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://models", S3Location("models", "")),
        ("s3://models/", S3Location("models", "")),
        ("s3://models/team/a", S3Location("models", "team/a/")),
        ("s3://models/team/a/?region=eu-west-1", S3Location("models", "team/a/", region="eu-west-1")),
        (
            "s3://m.y-b/v?endpoint=http://127.0.0.1:9000&path_style=false&listing=folders",
            S3Location("m.y-b", "v/", endpoint="http://127.0.0.1:9000", path_style=False, listing="folders"),
        ),
        (
            "s3://bbb/v?sse=aws:kms&kms_key=arn:aws:kms:eu-west-1:1:key/2&storage_class=STANDARD_IA",
            S3Location(
                "bbb",
                "v/",
                sse="aws:kms",
                kms_key="arn:aws:kms:eu-west-1:1:key/2",
                storage_class="STANDARD_IA",
            ),
        ),
        (
            "s3://bbb/v?lock_mode=GOVERNANCE&lock_days=30&path_style=true",
            S3Location("bbb", "v/", lock_mode="GOVERNANCE", lock_days=30, path_style=True),
        ),
    ],
)
def test_a_url_is_read_and_written_again(url: str, location: S3Location) -> None:
    assert s3_location.parse(url) == location
    assert s3_location.parse(location.url) == location
    store = open_store(url)
    assert isinstance(store, S3Store)
    assert store.location == location.url


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("s3://", "bucket"),
        ("s3:///v", "bucket"),
        ("s3://a/v", "bucket"),
        ("s3://bucket:80/v", "bucket"),
        ("s3://user:secret@bucket/v", "password"),
        ("s3://bucket/v#x", "#"),
        ("s3://bucket/a//b", "part"),
        ("s3://bucket/a/../b", "part"),
        ("s3://bucket/a%20b", "printable"),
        ("s3://bucket/" + "x" * 124, "at most"),
        ("s3://bucket/v?acl=public", "'acl' is not an option"),
        ("s3://bucket/v?region", "name=value"),
        ("s3://bucket/v?region=a&region=b", "twice"),
        ("s3://bucket/v?region=a%20b", "region"),
        ("s3://bucket/v?path_style=yes", "true, false"),
        ("s3://bucket/v?sse=none", "AES256"),
        ("s3://bucket/v?kms_key=abc", "belongs to"),
        ("s3://bucket/v?storage_class=GLACIER", "STANDARD_IA"),
        ("s3://bucket/v?lock_mode=GOVERNANCE", "together"),
        ("s3://bucket/v?lock_days=3", "together"),
        ("s3://bucket/v?lock_mode=FOREVER&lock_days=3", "GOVERNANCE"),
        ("s3://bucket/v?lock_mode=GOVERNANCE&lock_days=0", "days"),
        ("s3://bucket/v?lock_mode=GOVERNANCE&lock_days=1e9", "days"),
        ("s3://bucket/v?endpoint=ftp://host", "endpoint"),
        ("s3://bucket/v?endpoint=http://user:pw@host", "endpoint"),
        ("s3://bucket/v?endpoint=http://host?x", "endpoint"),
        ("s3://bucket/v?listing=random", "folders"),
        ("s3://bucket/v?%65ndpoint=http://host", "without '%'"),
    ],
)
def test_a_mistake_is_told(url: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        open_store(url)


def test_opening_asks_nobody_and_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", None)
    assert open_store("s3://bucket/v").location == "s3://bucket/v"


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "boto3" else real(name, *rest)
    )
    with pytest.raises(MissingLibrary, match=r"model-artifact-vault\[s3\]") as caught:
        open_store("s3://bucket/v")
    assert "boto3" in caught.value.message
