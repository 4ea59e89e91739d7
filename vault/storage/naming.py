"""Check the names that every store takes, before a store sees them."""

import re
from typing import Final

from vault.core import limits

PART_CHARS: Final = 255  # what common file systems hold
RESERVED: Final = ".mvault-tmp"  # a local store's own folder for objects that are still being written
UNLINKED: Final = ".nfs"  # how clients of NFS begin the name of a file that was deleted while it was open

_CHARS: Final = re.compile(r"[!-\[\]-~]*\Z")  # printable ASCII without space and backslash


def check_name(name: str) -> tuple[str, ...]:
    """Split an object's name into its path parts.

    Raises:
        TypeError: it is not text.
        ValueError: it is empty, too long, not printable ASCII, or has an empty, `.`, `..` or reserved part.
    """
    parts = _parts(name)
    for part in parts:
        _check_part(name, part)
    return parts


def check_prefix(prefix: str) -> tuple[tuple[str, ...], str]:
    """Split a prefix into the folders it names in full and the start of the next part.

    Raises:
        TypeError, ValueError: as for `check_name`; the last part may be empty or the start of any part.
    """
    *folders, start = _parts(prefix)
    for folder in folders:
        _check_part(prefix, folder)
    if len(start) > PART_CHARS:
        raise ValueError(f"{prefix[:80]!r} has a part of more than {PART_CHARS} characters")
    return tuple(folders), start


def check_folder(prefix: str) -> tuple[str, ...]:
    """Split the name of a folder, which is empty or ends in `/`.

    Raises:
        TypeError, ValueError: as for `check_name`, or it does not end in `/`.
    """
    folders, start = check_prefix(prefix)
    if start:
        raise ValueError(f"{prefix[:80]!r} does not end in '/'")
    return folders


def is_name(name: str) -> bool:
    """Tell whether an object may have this name; what else lies in a folder is not an object."""
    try:
        check_name(name)
    except ValueError:
        return False
    return True


def _parts(text: str) -> tuple[str, ...]:
    if not isinstance(text, str):
        raise TypeError(f"a store's names are text, not {type(text).__name__}")
    if len(text) > limits.STORE_NAME_CHARS:
        raise ValueError(f"{text[:80]!r}… has more than {limits.STORE_NAME_CHARS} characters")
    if _CHARS.match(text) is None:
        raise ValueError(f"{text[:80]!r} has a character other than printable ASCII")
    parts = tuple(text.split("/"))
    if parts[0] == RESERVED:
        raise ValueError(f"{RESERVED!r} is the store's own folder")
    return parts


def _check_part(text: str, part: str) -> None:
    if part in {"", ".", ".."}:
        raise ValueError(f"{text[:80]!r} has an empty, '.' or '..' part")
    if part.startswith(UNLINKED):
        raise ValueError(
            f"{text[:80]!r} has a part that begins with {UNLINKED!r}, as NFS calls deleted files"
        )
    if len(part) > PART_CHARS:
        raise ValueError(f"{text[:80]!r} has a part of more than {PART_CHARS} characters")
