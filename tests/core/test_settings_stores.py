"""Where environments have stores of their own, and how large a cache may grow: from words and from files."""

from pathlib import Path

import pytest

from vault.core import limits, settings_format
from vault.errors import Malformed
from vault.settings import load_settings


def test_words_name_a_store_for_each_environment() -> None:
    found = settings_format.located_stores([("prod", "s3://p"), ("staging", "folder")], "MVAULT_STORES")
    assert found == {"prod": "s3://p", "staging": "folder"}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("Not an environment", "s3://p")], "ENVIRONMENT=LOCATION"),
        ([("prod", "s3://p"), ("prod", "s3://q")], "two stores for prod"),
        ([("prod", "")], "printable text"),
        ([("prod", 7)], "printable text"),
        ([("prod", "a\nb")], "printable text"),
    ],
)
def test_words_that_are_no_stores_are_the_callers_mistake(
    pairs: list[tuple[object, object]], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        settings_format.located_stores(pairs, "MVAULT_STORES")
    assert "MVAULT_STORES" in str(caught.value)


@pytest.mark.parametrize("text", ["1", "10737418240"])
def test_a_size_is_a_whole_number_of_bytes(text: str) -> None:
    assert settings_format.number_of_bytes(text, "MVAULT_CACHE_BYTES") == int(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1e9", "10 GiB", "٣", "9" * 17])
def test_another_size_is_the_callers_mistake(text: str) -> None:
    with pytest.raises(ValueError, match="MVAULT_CACHE_BYTES is a number of bytes"):
        settings_format.number_of_bytes(text, "MVAULT_CACHE_BYTES")


def test_files_name_stores_and_the_users_own_names_a_cache() -> None:
    project = settings_format.parse_project(b'vault = "m"\n[stores]\nprod = "p"\n', "mvault.toml")
    assert project.stores == {"prod": "p"}
    assert settings_format.parse_project(b'vault = "m"\n', "mvault.toml").stores is None
    user = settings_format.parse_user(
        b'cache = "c"\ncache_bytes = 4096\n[stores]\ndev = "d"\n', "config.toml"
    )
    assert (user.cache, user.cache_bytes, user.stores) == ("c", 4096, {"dev": "d"})


@pytest.mark.parametrize("content", [b"[stores]\nNO = 'p'\n", b"stores = 7\n", b"[stores]\nprod = 7\n"])
def test_a_files_stores_that_are_none_are_refused(content: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        settings_format.parse_project(content, "mvault.toml")
    assert (caught.value.code, caught.value.subject) == ("malformed-document", "mvault.toml")


def test_variables_name_stores_and_a_cache(tmp_path: Path) -> None:
    environ = {
        "MVAULT_VAULT": "m",
        "MVAULT_STORES": "prod=s3://p staging=folder",
        "MVAULT_CACHE": "cache",
        "MVAULT_CACHE_BYTES": "4096",
    }
    found = load_settings(flags={}, environ=environ, cwd=tmp_path)
    assert found.stores == {"prod": "s3://p", "staging": "folder"}
    assert (found.cache, found.cache_bytes) == (tmp_path / "cache", 4096)
    assert load_settings(flags={}, environ={}, cwd=tmp_path).cache_bytes == 10 * limits.GIB
