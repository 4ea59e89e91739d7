"""Check values that come out of an index: anybody may have written them."""

from vault.core import limits


class AlteredError(Exception):
    """A row is not as it was written; `vault.registry.database` turns it into a refusal."""


def text_of(value: object, most: int = limits.INDEX_TEXT_CHARS) -> str:
    """Accept a text of at most `most` characters.

    Raises:
        AlteredError: it is none.
    """
    if not isinstance(value, str) or len(value) > most:
        raise AlteredError
    return value


def whole_of(value: object, least: int = 0, most: int = (1 << 63) - 1) -> int:
    """Accept a whole number from `least` to `most`.

    Raises:
        AlteredError: it is none.
    """
    if not isinstance(value, int) or not least <= value <= most:
        raise AlteredError
    return value
