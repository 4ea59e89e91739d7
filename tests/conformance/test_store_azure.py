"""The store in a container of Azure Blob Storage keeps the promises of a store."""

import pytest

from tests.conformance.crossing_suite import CrossingSuite
from tests.servers.azurite import Azurite, azurite  # noqa: F401
from vault.core import limits
from vault.ports import Store
from vault.storage import azure_service
from vault.storage.opening import open_store


class TestAzureStore(CrossingSuite):
    little = 64 * limits.MIB  # five parts of 4 MiB each way, and the library's own copies
    large_units = 128
    many_names = 1_050

    @pytest.fixture
    def store(self, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Store:  # noqa: F811
        for name, value in azurite.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(azure_service, "_PAGE", 400)
        self.server = azurite
        self.container = azurite.container()
        return open_store(azurite.url(self.container))

    def fill(self, store: Store, names: list[str]) -> None:
        self.server.fill(self.container, {f"vault/{name}": name.encode() for name in names})
