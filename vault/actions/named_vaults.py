"""Whether to follow a file that names a vault: only to where this user has said that there is one."""

from vault import memory
from vault.actions import opening
from vault.errors import Refused
from vault.storage.opening import open_store


def check_known(location: str) -> None:
    """See that a location is that of this user's settings, or trusted on this machine; nothing is sent to it.

    Raises:
        Refused: `not-trusted`: a stranger could have chosen it, and would be given credentials.
        ValueError, MissingLibrary: it is no location.
    """
    found = opening.gather({})
    asked = open_store(location).location
    if found.vault is not None and open_store(found.vault).location == asked:
        return
    if memory.Pins(found.config_dir).get(asked) is None:
        raise Refused(
            f"{asked} is named by a file, and is not trusted on this machine; nothing was sent to it.",
            code="not-trusted",
            subject=asked,
            hint="If it is your team's: mvault trust LOCATION --root sha256:…, or set MVAULT_VAULT.",
        )
