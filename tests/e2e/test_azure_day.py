"""A whole day with a vault in a container of Azure Blob Storage."""

from pathlib import Path

import pytest

from tests.e2e.remote_day import check_a_day
from tests.servers.azurite import Azurite, azurite  # noqa: F401
from vault.storage.opening import open_store
from vault.storage.probing import probe


@pytest.fixture(autouse=True)
def _signed_in(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)


def test_a_day_with_a_vault_at_azure(
    azurite: Azurite,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MVAULT_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("MVAULT_STATE_DIR", str(tmp_path / "state"))
    container = azurite.container()
    url = azurite.url(container, "team/vault")
    check_a_day(url, tmp_path, lambda name, data: azurite.fill(container, {f"team/vault/{name}": data}))


def test_a_container_keeps_what_a_vault_rests_on(azurite: Azurite) -> None:  # noqa: F811
    store = open_store(azurite.url(azurite.container()))
    found = probe(store, large=True)
    assert found.faults == ()
    assert (found.deletes, found.left) == ("done", ())
    assert list(store.list("")) == []
