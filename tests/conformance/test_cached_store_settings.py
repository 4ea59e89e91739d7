"""A cache is a choice of whoever runs the loader: an argument, a variable, their own configuration."""

import warnings
from pathlib import Path

import pytest

import vault
from vault import settings
from vault.errors import Malformed, Refused
from vault.storage.ahead import AheadStore
from vault.storage.opening import open_store
from vault.vault import Vault


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vault:
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    found = vault.init(tmp_path / "models", no_passphrase=True)
    found.push("churn", _file(tmp_path))
    return found


def _file(folder: Path) -> Path:
    path = folder / "features.json"
    path.write_bytes(b'["age","income"]')
    return path


def cache_of(found: Vault) -> Path | None:
    store = found._session.store
    return store.cache.folder if isinstance(store, AheadStore) and store.cache is not None else None


def loaded(found: Vault) -> bytes:
    data = found.load_package("churn:1").read("features.json")
    store = found._session.store
    if isinstance(store, AheadStore) and store.cache is not None:
        store.cache.settle()
    return data


def entries(folder: Path) -> int:
    return len([path for path in folder.glob("*/??/*") if path.is_file()])


def test_a_folder_on_this_machine_has_no_cache_unless_it_is_asked_for(made: Vault) -> None:
    found = vault.open(made.location)
    assert not isinstance(found._session.store, AheadStore)
    assert loaded(found) == b'["age","income"]'


def test_an_argument_a_variable_or_the_users_configuration_names_the_folder(
    made: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir(exist_ok=True)
    config = tmp_path / "config" / "config.toml"
    config.write_text('cache = "kept"\ncache_bytes = 1000000\n')
    assert cache_of(vault.open(made.location)) == tmp_path / "config" / "kept"
    monkeypatch.setenv("MVAULT_CACHE", "from-variable")
    assert cache_of(vault.open(made.location)) == tmp_path / "from-variable"
    found = vault.open(made.location, cache=tmp_path / "argument")
    assert cache_of(found) == tmp_path / "argument"
    assert loaded(found) == b'["age","income"]'
    assert entries(tmp_path / "argument") >= 4
    assert loaded(vault.open(made.location, cache=tmp_path / "argument")) == b'["age","income"]'


def test_its_size_is_a_number_of_bytes(made: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def size(**environ: str) -> int:
        return settings.load_settings(flags={}, environ=environ, cwd=tmp_path).cache_bytes

    assert size() == 10 * 1024**3
    assert size(MVAULT_CACHE_BYTES="5000") == 5000
    for wrong in ("5 GiB", "-1", "0", "1e9", "9" * 17):
        with pytest.raises(ValueError, match="number of bytes"):
            size(MVAULT_CACHE_BYTES=wrong)
    monkeypatch.setenv("MVAULT_CACHE_BYTES", "10")
    assert loaded(vault.open(made.location, cache=tmp_path / "tiny")) == b'["age","income"]'
    assert entries(tmp_path / "tiny") == 0


def test_a_project_may_not_name_a_cache(tmp_path: Path) -> None:
    for line in ('cache = "x"', "cache_bytes = 5"):
        (tmp_path / "mvault.toml").write_text(line)
        with pytest.raises(Malformed, match="a project may not"):
            settings.load_settings(flags={}, environ={}, cwd=tmp_path)


def test_a_cache_that_cannot_be_made_is_said_and_stops_nothing(made: Vault, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be made"):
        found = vault.open(made.location, cache=tmp_path / "file" / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loaded(found) == b'["age","income"]'


def test_a_cache_that_others_could_write_to_is_refused(made: Vault, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(Refused) as caught:
        vault.open(made.location, cache=tmp_path / "open")
    assert caught.value.code == "not-trusted"


@pytest.mark.parametrize(
    ("location", "library"),
    [
        ("s3://bucket/prefix?region=us-east-1", "boto3"),
        ("gs://bucket/prefix", "google.cloud.storage"),
        ("az://account/container/prefix", "azure.storage.blob"),
        ("postgresql://user@127.0.0.1:1/db", "sqlalchemy"),
    ],
)
def test_a_store_that_answers_over_a_network_says_so(location: str, library: str) -> None:
    pytest.importorskip(library)
    assert getattr(open_store(location), "round_trip", False) is True


def test_a_folder_answers_at_once(tmp_path: Path) -> None:
    assert not getattr(open_store(str(tmp_path)), "round_trip", False)
