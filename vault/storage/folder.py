"""Write plaintext into a user's own folder: whole files or none, under the paths that a package has."""

from vault.core import names
from vault.errors import Refused
from vault.storage.local import LocalStore


class Folder(LocalStore):
    """A folder that files are pulled into; names are package paths, which need not be ASCII."""

    def _parts(self, name: str) -> tuple[str, ...]:
        try:
            return tuple(names.path(name).split("/"))
        except Refused as refusal:
            raise ValueError(refusal.message) from None
