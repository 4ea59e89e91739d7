"""Inspect a file on disk: what it would do if it were loaded. It is never loaded."""

from pathlib import Path

from vault.actions import local_files
from vault.core.inspection import Inspection, inspect_bytes


def inspect(path: Path) -> Inspection:
    """Inspect one file.

    Raises:
        NotFound: there is no such file.
        ValueError: it is no regular file.
        Unavailable: it cannot be read.
    """
    with local_files.view(path) as whole:
        return inspect_bytes(str(path), whole)
