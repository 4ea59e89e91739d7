"""A location opens the right store, or says honestly why not."""

from pathlib import Path

import pytest

from tests.conformance.creating_suite import get, put
from vault.storage.local import LocalStore
from vault.storage.object_store import ObjectStore
from vault.storage.opening import open_store
from vault.storage.s3 import S3Store
from vault.storage.sql import SqlStore


def test_a_path_opens_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for location in (
        "models/",
        "models",
        "./models",
        str(tmp_path / "models"),
        (tmp_path / "models").as_uri(),
    ):
        store = open_store(location)
        assert isinstance(store, LocalStore)
        assert store.location == str(tmp_path / "models")
    assert not (tmp_path / "models").exists(), "opening makes nothing"
    put(open_store("models/"), "a", b"x")
    assert get(open_store("models/"), "a") == b"x"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///srv/models", "/srv/models"),
        ("FILE:///srv/models/", "/srv/models"),
        ("file://localhost/srv/models", "/srv/models"),
        ("file:///srv/my%20models%23%3F", "/srv/my models#?"),
        ("file:///srv/%C3%A9", "/srv/é"),
        ("/srv/a:b", "/srv/a:b"),
    ],
)
def test_a_file_url_opens_a_folder(location: str, path: str) -> None:
    assert open_store(location).location == path


URLS: dict[str, type] = {
    "s3://bucket/models": S3Store,
    "S3://bucket/models": S3Store,
    "gs://bucket/models": ObjectStore,
    "az://account/container/models": ObjectStore,
    "postgresql://anna@db.example.org/models": SqlStore,
    "sqlite:////srv/models.db": SqlStore,
}


@pytest.mark.parametrize("location", URLS)
def test_a_url_opens_its_kind_of_store_without_asking_it_anything(location: str) -> None:
    store = open_store(location)
    assert isinstance(store, URLS[location])
    assert open_store(store.location).location == store.location, "it can be opened by what it calls itself"


def test_a_password_in_a_url_is_in_no_message_of_the_store() -> None:
    store = open_store("postgresql://anna:hunter2@db.example.org/models")
    assert "hunter2" not in store.location


@pytest.mark.parametrize(
    "location",
    [
        "",
        "a\0b",
        "http://example.org/models",
        "memory://",
        "file://",
        "file://server/share",
        "file:///a?b",
        "file:///a#b",
        "file:///a%00b",
        "file:///%ff",
        "file://[x/a",
    ],
)
def test_other_locations_are_the_callers_mistake(location: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        open_store(location)


def test_a_location_is_text() -> None:
    with pytest.raises(TypeError, match="text"):
        open_store(Path("models"))  # type: ignore[arg-type]
