"""Set the demo's scene: a private folder, an owner, a service's identity, and a vault of theirs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault import starting as api
from vault.actions import founding, opening
from vault.actions.init import Joining
from vault.core import log_names
from vault.demo.service import Service
from vault.keys.identity_file import Identity
from vault.vault import Vault

OWNER = "owner"
LOADER = "serving"
_PLACES: Final = {"MVAULT_CONFIG_DIR": "config", "MVAULT_STATE_DIR": "state"}


@dataclass(frozen=True, slots=True)
class Stage:
    """The folder of one demo: `vault` is the storage that the attacker may write to."""

    folder: Path
    owner: Vault
    loader: Identity

    @property
    def vault(self) -> Path:
        """The vault's folder."""
        return self.folder / "models"

    @property
    def access_logs(self) -> Path:
        """The folder of the logs in which those who load write what they did."""
        return self.vault / log_names.LOGS / log_names.ACCESS

    @property
    def marker(self) -> Path:
        """The file that appears if a pickle of the attacker's runs."""
        return self.folder / "the-attacker-was-here"

    @property
    def service(self) -> Service:
        """The service as it is deployed."""
        records = self.folder / "serving-records"
        return Service(self.vault, self.folder / "serving.json", self.folder / "trust.json", records)

    def deploy(self) -> None:
        """Export the trust file that the service starts with: the pin, and what is in force now."""
        self.service.trust.write_bytes(self.owner.export_trust())
        self.service.records.mkdir()

    def auditor(self) -> Vault:
        """Open the vault anew as an auditor: a trust file, a memory of their own, and no private key."""
        with _places(self.folder / "auditor"):
            return api.open(self.vault, trust=self.service.trust)


@contextmanager
def surroundings(folder: Path) -> Iterator[None]:
    """Work in `folder`, with configuration and memory below it: nothing of the user's is read or written."""
    before = {name: value for name, value in os.environ.items() if name.startswith("MVAULT_")}
    place = Path.cwd()
    for name in before:
        del os.environ[name]
    os.chdir(folder)
    try:
        with _places(folder / "owner"):
            yield
    finally:
        os.chdir(place)
        os.environ.update(before)


@contextmanager
def _places(folder: Path) -> Iterator[None]:
    """Have configuration and memory lie below `folder`."""
    before = {name: os.environ.get(name) for name in _PLACES}
    os.environ |= {name: str(folder / part) for name, part in _PLACES.items()}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def build(folder: Path) -> Stage:
    """Make the service's identity, then the vault in which it may load from prod.

    Raises:
        Unavailable: the folder cannot be written to.
    """
    settings = opening.gather({})
    loader = founding.new_identity(settings, folder / "serving.json", LOADER, "hybrid", protect=False)
    owner = api.init(
        folder / "models",
        name=OWNER,
        no_passphrase=True,
        services=[Joining(loader.name, loader.public, loader.recipient)],
    )
    return Stage(folder, owner, loader)
