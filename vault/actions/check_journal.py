"""Keep what a check of a whole vault has looked at, so that it goes on where it was stopped.

Once the policy has changed everything is looked at again, since another one may judge otherwise.
"""

from pathlib import Path
from typing import Final

from vault.actions.journal import Found, Journal
from vault.core.names import Digest

_FORMAT: Final = "mvault-check-v1"
_DIGITS: Final = 32  # of the vault's id, in the name of the file
_HINT: Final = "Check one model after another, or set MVAULT_STATE_DIR to a folder of yours."


def begin(path: Path | None, what: Found, *, resume: bool, now: int) -> Journal:
    """Take up the file at `path`, which is of a check of `what`, or begin it anew; None keeps nothing.

    Raises:
        Unavailable: the file cannot be written.
    """
    return Journal(path, {"format": _FORMAT, **what}, now=now, durable=False, hint=_HINT, resume=resume)


def place(state: Path | None, vault: Digest) -> Path | None:
    """Give the file for a vault in a state folder; None without one."""
    return None if state is None else state / "check" / f"{vault[:_DIGITS]}.jsonl"
