"""See that the paths of a package's files can stand beside one another on every system."""

from vault.core import names
from vault.core.fields import malformed
from vault.core.names import Path


def check_paths(paths: list[Path], subject: str) -> None:
    """Refuse paths that some file system confuses, or of which one is a folder of another.

    Raises:
        Malformed: `malformed-document`.
    """
    folded = {names.fold(path) for path in paths}
    if len(folded) != len(paths):
        raise malformed(subject, "two of its paths are equal, or differ only in case or in form")
    for path in folded:
        parts = path.split("/")
        if any("/".join(parts[:depth]) in folded for depth in range(1, len(parts))):
            raise malformed(subject, "a path of it is both a file and a folder")
