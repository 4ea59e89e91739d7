"""Say what a store found: the errors that every adapter words alike."""

from vault.errors import Conflict, Malformed, NotFound


def not_found(name: str) -> NotFound:
    """Say that there is no such object."""
    return NotFound(f"There is no {name} in this store.", subject=name)


def conflict(name: str) -> Conflict:
    """Say that the name of a new object is taken."""
    return Conflict(
        f"{name} exists already: somebody else was first.",
        subject=name,
        hint="Look at what is there, then decide.",
    )


def too_large(name: str, size: int, limit: int) -> Malformed:
    """Say that an object of `size` bytes is over its `limit`."""
    return Malformed(
        f"{name} has {size} bytes, more than the {limit} that it may have.",
        code="too-large",
        subject=name,
        hint="Nothing was read. Somebody may have replaced it: run mvault check.",
    )
