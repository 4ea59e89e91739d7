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
from vault.demo.service import Service
from vault.demo.storage import Storage
from vault.keys.identity_file import Identity
from vault.storage.opening import open_store
from vault.vault import Vault

OWNER = "owner"
LOADER = "serving"
_PLACES: Final = {"MVAULT_CONFIG_DIR": "config", "MVAULT_STATE_DIR": "state"}


@dataclass(frozen=True, slots=True)
class Stage:
    """The scene of one demo: a folder of its own, and `storage`, which the attacker may write to."""

    folder: Path
    location: str
    storage: Storage
    owner: Vault
    loader: Identity

    @property
    def marker(self) -> Path:
        """The file that appears if a pickle of the attacker's runs."""
        return self.folder / "the-attacker-was-here"

    @property
    def service(self) -> Service:
        """The service as it is deployed."""
        records = self.folder / "serving-records"
        return Service(self.location, self.folder / "serving.json", self.folder / "trust.json", records)

    def deploy(self) -> None:
        """Export the trust file that the service starts with: the pin, and what is in force now."""
        self.service.trust.write_bytes(self.owner.export_trust())
        self.service.records.mkdir()

    def auditor(self) -> Vault:
        """Open the vault anew as an auditor: a trust file, a memory of their own, and no private key."""
        with _places(self.folder / "auditor"):
            return api.open(self.location, trust=self.service.trust)


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


def empty(location: str) -> Storage:
    """Open the storage in which the demo's vault is to lie.

    Raises:
        ValueError: there is no such kind of storage, or something lies there already.
        MissingLibrary: its library is not installed.
        Unavailable: it cannot be reached.
    """
    store = open_store(location)
    if next(iter(store.list("")), None) is not None:
        raise ValueError(f"Something lies at {store.location} already. The demo needs an empty place.")
    return Storage(store)


def build(folder: Path, location: str, storage: Storage) -> Stage:
    """Make the service's identity, then the vault in which it may load from prod.

    Raises:
        Refused: the store is not fit for a vault.
        Unavailable: the folder or the store cannot be written to.
    """
    settings = opening.gather({})
    loader = founding.new_identity(settings, folder / "serving.json", LOADER, "hybrid", protect=False)
    owner = api.init(
        location,
        name=OWNER,
        no_passphrase=True,
        services=[Joining(loader.name, loader.public, loader.recipient)],
    )
    return Stage(folder, location, storage, owner, loader)
