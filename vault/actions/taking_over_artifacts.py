"""The files of the versions in an MLflow: in a folder of this machine, or fetched by its own client."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from vault.actions.taking_over_places import Aside, FolderPlace, Stamp
from vault.core import limits, names
from vault.errors import Malformed, NotFound, Unavailable


class Artifacts(Protocol):
    """The files of one version, by their paths in its folder."""

    def list(self) -> Sequence[str]:
        """Give all paths."""

    def stamp(self, path: str) -> Stamp:
        """See `Place.stamp`."""

    def copy(self, path: str, target: int, *, most: int) -> tuple[Stamp, str]:
        """See `Place.copy`."""


class FolderArtifacts:
    """Artifacts that lie in a folder of this machine."""

    def __init__(self, folder: FolderPlace) -> None:
        """Read a folder."""
        self._folder = folder
        self.stamp = folder.stamp
        self.copy = folder.copy

    def list(self) -> Sequence[str]:
        """Give the paths of regular files."""
        return [entry for entry in self._folder.files("") if not isinstance(entry, Aside)]


class RepositoryArtifacts:
    """Artifacts that MLflow fetches; they pass through a folder of ours that is gone afterwards."""

    def __init__(self, repository: Any) -> None:
        """Read through one of MLflow's repositories."""
        self._repository = repository
        self._sizes: dict[str, int] = {}

    def list(self) -> Sequence[str]:
        """Give the paths of all files, folder by folder.

        Raises:
            Unavailable.
        """
        waiting, depth = [""], 0
        while waiting and depth < limits.ADOPT_PACKAGE_FILES:
            depth += 1
            folder = waiting.pop()
            for entry in self._asked(lambda folder=folder: self._repository.list_artifacts(folder or None)):
                if entry.is_dir:
                    waiting.append(str(entry.path))
                else:
                    self._sizes[str(entry.path)] = int(entry.file_size or 0)
            if len(self._sizes) > limits.ADOPT_PACKAGE_FILES:
                raise Malformed("It has too many files.", code="too-large")
        return sorted(self._sizes)

    def stamp(self, path: str) -> Stamp:
        """Tell the size that the repository told."""
        if not self._sizes:
            self.list()
        if path not in self._sizes:
            raise NotFound(f"There is no {path}.", subject=path)
        return Stamp(self._sizes[path], None, "")

    def copy(self, path: str, target: int, *, most: int) -> tuple[Stamp, str]:
        """Fetch a file, and copy it as one of a folder."""
        if self.stamp(path).size > most:
            raise Malformed(f"{path} has more than {most:,} bytes.", code="too-large", subject=path)
        with tempfile.TemporaryDirectory(prefix="mvault-adopt-") as folder:
            written = self._asked(lambda: self._repository.download_artifacts(path, folder))
            inside = os.path.relpath(str(written), folder).replace(os.sep, "/")
            _, digest = FolderPlace(Path(folder)).copy(names.path(inside), target, most=most)
        return self.stamp(path), digest

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except Exception as error:  # whatever the repository, and the library below it, raise
            raise unavailable("MLflow", error) from None


class MlflowPlace:
    """All files of a registry: NAME/VERSION/path."""

    def __init__(self, location: str) -> None:
        """Begin with none."""
        self._location = location
        self._artifacts: dict[str, Artifacts] = {}

    @property
    def location(self) -> str:
        """The registry, as `mlflow:URI`."""
        return self._location

    def add(self, path: str, artifacts: Artifacts) -> None:
        """Add the files of a version, below `path`."""
        self._artifacts[path] = artifacts

    def files(self, prefix: str) -> Iterator[str | Aside]:
        """List the files of all versions."""
        for path, artifacts in self._artifacts.items():
            yield from (f"{path}/{inside}" for inside in artifacts.list() if f"{path}/".startswith(prefix))

    def stamp(self, path: str) -> Stamp:
        """Tell what is known of a file."""
        artifacts, inside = self._found(path)
        return artifacts.stamp(inside)

    def copy(self, path: str, target: int, *, most: int) -> tuple[Stamp, str]:
        """Copy a file."""
        artifacts, inside = self._found(path)
        return artifacts.copy(inside, target, most=most)

    def _found(self, path: str) -> tuple[Artifacts, str]:
        name, _, rest = path.partition("/")
        number, _, inside = rest.partition("/")
        found = self._artifacts.get(f"{name}/{number}")
        if found is None:
            raise NotFound(f"There is no {path}.", subject=path)
        return found, inside


def unavailable(location: str, error: Exception) -> Unavailable:
    """Say that a registry, or its artifacts, cannot be read."""
    text = str(error).strip().partition("\n")[0][:300]
    shown = "".join(character if character.isprintable() else " " for character in text)
    return Unavailable(f"{location} cannot be read: {shown or type(error).__name__}.", subject=location)
