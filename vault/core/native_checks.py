"""What the checks of compiled state share: how a finding travels, and how a type is named."""

from typing import Any


class Damaged(Exception):
    """Carries what a check found up to the one who knows the file."""


def require(holds: object, what: str) -> None:
    """Report a finding unless something holds.

    Raises:
        Damaged: it does not hold.
    """
    if not holds:
        raise Damaged(what)


def type_name(kind: type) -> str:
    """Give a type's full name."""
    return f"{kind.__module__}.{kind.__qualname__}"


def is_array(item: object) -> bool:
    """Tell whether something is a NumPy array, or of a class derived from it."""
    return any(type_name(kind) == "numpy.ndarray" for kind in type(item).__mro__)


def all_within(numbers: Any, low: int, high: int) -> bool:
    """Tell whether every number of an array lies in `low` … `high` - 1."""
    return not numbers.size or bool(low <= int(numbers.min()) and int(numbers.max()) < high)
