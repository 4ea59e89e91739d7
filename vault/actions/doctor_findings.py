"""What a doctor says of one thing that was looked at."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vault.errors import VaultError

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and what to do about it; `status` is the exit status of an error."""

    level: str
    subject: str
    message: str
    hint: str = ""
    code: str = ""
    status: int = 0


def wrong(subject: str, error: VaultError) -> Finding:
    """Say of an error what it says of itself."""
    return Finding(ERROR, subject, error.message, error.hint, error.code, error.exit_status)


def guarded(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Look at one thing; an error that ends the look is its last finding."""
    try:
        yield from look()
    except VaultError as error:
        yield wrong(subject, error)
