"""Tell which files of a package are one SavedModel: the graph, and everything in the folder around it.

The graph is the file that counts as a model; the others are data beside it,
bound by the same manifest (docs/format.md, "SavedModel folders").
"""

from collections.abc import Iterable
from typing import Final

from vault.core import savedmodel_walk
from vault.core.names import Path

# Where the files of a SavedModel lie that is not in a folder of its own already.
FOLDER: Final = "model"


def is_graph(path: str) -> bool:
    """Tell whether a file is called as the graph of a SavedModel."""
    return path.rpartition("/")[2] == savedmodel_walk.GRAPH


def folders(paths: Iterable[str]) -> frozenset[str]:
    """Give the folders that hold the graph of a SavedModel; the top is the empty text."""
    return frozenset(path.rpartition("/")[0] for path in paths if is_graph(path))


def moved(path: str, found: frozenset[str]) -> str:
    """Give a file's path in a package: a SavedModel at the top of what is packaged gets a folder."""
    return f"{FOLDER}/{path}" if "" in found else path


def is_beside(path: str, found: Iterable[str]) -> bool:
    """Tell whether a file lies in the folder of a SavedModel, and is not its graph."""
    return not is_graph(path) and any(path.startswith(f"{folder}/") for folder in found)


def beside(graph: str, paths: Iterable[Path]) -> dict[str, Path]:
    """Give the files of a graph's SavedModel by their paths in its folder, without the graph."""
    folder = graph.rpartition("/")[0] + "/"
    return {path.removeprefix(folder): path for path in paths if path.startswith(folder) and path != graph}


def check(graph: str, data: memoryview, paths: Iterable[Path]) -> None:
    """See that a SavedModel is about to be packaged whole, and with nothing beside it.

    Raises:
        FormatRefused: `format-content`.
    """
    found = savedmodel_walk.walk(data, subject=graph)
    inside = [savedmodel_walk.GRAPH, *beside(graph, paths)]
    savedmodel_walk.check_folder(inside, found.assets, subject=graph)
