"""What a `gs://` URL and the environment say, and where tokens may go."""

import sys

import pytest

from tests.conformance.creating_suite import put
from vault.errors import MissingLibrary, Unavailable
from vault.storage import gcs_address
from vault.storage.opening import open_store


def test_a_url_names_a_bucket_and_a_folder() -> None:
    found = gcs_address.parse("gs://team-models/vaults/main/", {})
    assert (found.bucket, found.prefix) == ("team-models", "vaults/main/")
    assert found.endpoint == "https://storage.googleapis.com"
    assert found.location == "gs://team-models/vaults/main"
    assert not found.anonymous
    assert found.resumable
    assert gcs_address.parse("gs://team-models", {}).prefix == ""
    assert gcs_address.parse("GS://team-models/", {}).location == "gs://team-models"


def test_what_a_location_says_opens_the_same_store_again() -> None:
    for url in (
        "gs://a.b-c_d/x/y?endpoint=http://127.0.0.1:4443&upload=resumable",
        "gs://bucket/100%25/a%3Fb?user_project=billing-project&anonymous=true",
    ):
        once = gcs_address.parse(url, {})
        assert gcs_address.parse(once.location, {}) == once
    assert gcs_address.parse("gs://bucket/100%25/a%3Fb", {}).prefix == "100%/a?b/"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("gs://", "name of a bucket"),
        ("gs:///folder", "name of a bucket"),
        ("gs://Bucket/folder", "name of a bucket"),
        ("gs://ab/folder", "name of a bucket"),
        ("gs://user:secret@bucket/folder", "may not stand in a URL"),
        ("gs://bucket/a//b", "empty"),
        ("gs://bucket/../b", "'..' part"),
        ("gs://bucket/" + "x/" * 63, "may have 123 characters"),
        ("gs://bucket/a#b", "'#'"),
        ("gs://bucket/a\nb", "printable"),
        ("gs://bucket/a?region=eu", "anonymous=, endpoint=, upload=, user_project="),
        ("gs://bucket/a?endpoint=https://a.example&endpoint=https://b.example", "twice"),
        ("gs://bucket/a?endpoint", "name=value"),
        ("gs://bucket/a?anonymous=yes", "true or false"),
        ("gs://bucket/a?upload=parallel", "resumable or single"),
        ("gs://bucket/a?user_project=A%20B", "name of a project"),
        ("gs://bucket/a?endpoint=http://storage.example.com", "travel in clear"),
        ("gs://bucket/a?endpoint=http://10.0.0.1:4443", "travel in clear"),
        ("gs://bucket/a?endpoint=http://localhost.evil.example", "travel in clear"),
        ("gs://bucket/a?endpoint=http://127.0.0.1.evil.example", "travel in clear"),
        ("gs://bucket/a?endpoint=http://u:p@127.0.0.1", "user or a password"),
        ("gs://bucket/a?endpoint=ftp://127.0.0.1", "not a URL such as"),
        ("gs://bucket/a?endpoint=https://", "not a URL such as"),
        ("gs://bucket/a?endpoint=https://h:99999", "port"),
        ("gs://bucket/a?endpoint=https://h/%3Fq?x=1", "may not have a '\\?'"),
    ],
)
def test_other_urls_are_the_callers_mistake(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_store(url)


@pytest.mark.parametrize("host", ["127.0.0.1:4443", "127.8.9.1", "localhost:1", "LOCALHOST", "[::1]:4443"])
def test_plain_http_stays_on_this_machine(host: str) -> None:
    found = gcs_address.parse(f"gs://bucket/a?endpoint=http://{host}", {})
    assert found.endpoint == f"http://{host.lower()}"
    assert found.anonymous
    assert not found.resumable


@pytest.mark.parametrize(
    ("endpoint", "anonymous"),
    [
        ("https://storage.googleapis.com", False),
        ("https://storage-team.p.googleapis.com", False),
        ("https://STORAGE.googleapis.com:443", False),
        ("https://storage.example.com", True),
        ("https://googleapis.com.evil.example", True),
        ("https://evilgoogleapis.com", True),
        ("http://127.0.0.1:1", True),
    ],
)
def test_tokens_of_this_machine_go_to_google_alone(endpoint: str, anonymous: bool) -> None:
    """A URL may come from settings of a stranger's project."""
    found = gcs_address.parse(f"gs://bucket/a?endpoint={endpoint}", {})
    assert found.anonymous is anonymous
    assert found.resumable is not anonymous


def test_an_emulator_from_the_environment_gets_no_token() -> None:
    for value in ("http://gcs:4443", "gcs:4443"):
        found = gcs_address.parse("gs://bucket/a", {"STORAGE_EMULATOR_HOST": value})
        assert (found.endpoint, found.anonymous) == ("http://gcs:4443", True)
        assert found.location == "gs://bucket/a"
    with pytest.raises(ValueError, match="STORAGE_EMULATOR_HOST"):
        gcs_address.parse("gs://bucket/a", {"STORAGE_EMULATOR_HOST": "http://u:p@gcs"})
    given = gcs_address.parse("gs://bucket/a?endpoint=http://127.0.0.1:1", {"STORAGE_EMULATOR_HOST": "gcs"})
    assert given.endpoint == "http://127.0.0.1:1"


def test_opening_sends_nothing_and_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    assert open_store("gs://bucket/a?endpoint=https://nobody.invalid").location.startswith("gs://bucket/a?")
    for name in [
        name for name in sys.modules if name.startswith(("vault.storage.gcs_s", "google.cloud.storage"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    with pytest.raises(MissingLibrary, match="google-cloud-storage") as caught:
        open_store("gs://bucket/a")
    assert "model-artifact-vault[gcs]" in caught.value.hint


def test_without_credentials_it_says_how_to_sign_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{tmp_path}/none.json")
    store = open_store("gs://bucket/a")
    with pytest.raises(Unavailable) as caught:
        put(store, "a")
    assert caught.value.code == "storage-denied"
    assert "gcloud auth application-default login" in caught.value.hint
