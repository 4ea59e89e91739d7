"""Set the demo's scene: a private folder, an owner, a service's identity, and a vault of theirs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vault import starting as api
from vault.actions import founding, opening
from vault.actions.init import Joining
from vault.demo.service import Service
from vault.keys.identity_file import Identity
from vault.vault import Vault

OWNER = "owner"
LOADER = "serving"


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
    def marker(self) -> Path:
        """The file that appears if a pickle of the attacker's runs."""
        return self.folder / "the-attacker-was-here"

    @property
    def service(self) -> Service:
        """The service as it is deployed."""
        return Service(self.vault, self.folder / "serving.json", self.folder / "trust.json")

    def deploy(self) -> None:
        """Export the trust file that the service starts with: the pin, and what is in force now."""
        self.service.trust.write_bytes(self.owner.export_trust())


@contextmanager
def surroundings(folder: Path) -> Iterator[None]:
    """Work in `folder`, with configuration and memory below it: nothing of the user's is read or written."""
    before = {name: value for name, value in os.environ.items() if name.startswith("MVAULT_")}
    place = Path.cwd()
    for name in before:
        del os.environ[name]
    os.environ["MVAULT_CONFIG_DIR"] = str(folder / "owner" / "config")
    os.environ["MVAULT_STATE_DIR"] = str(folder / "owner" / "state")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(place)
        for name in ("MVAULT_CONFIG_DIR", "MVAULT_STATE_DIR"):
            del os.environ[name]
        os.environ.update(before)


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
