"""What the documents about a version tell, taken from its manifest and its metadata; nothing else goes in.

A card or a bill of materials leaves the vault. So what reads like a path of somebody's
machine is taken out of every text, and what is named like a secret is left out.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vault.core.manifest import Parent
from vault.core.names import Digest, Model, Version
from vault.core.strict_json import JSONValue

CARD: Final = "MODEL_CARD.md"
BOM: Final = "mlbom.cdx.json"
DOCUMENTS: Final = (CARD, BOM)
TEXT_CHARS: Final = 500
NOTE_CHARS: Final = 20_000
_PATH: Final = re.compile(
    r"(?<![\w./~:-])(?:file:/*|~/|/|[A-Za-z]:[\\/]|\\\\)(?:[\w.@ +-]+[\\/])*[\w.@+-]+[\\/]?(?![\w])", re.ASCII
)
_SECRET: Final = re.compile(r"passw|secret|token|api_?key|credential|private_?key", re.ASCII | re.IGNORECASE)
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})\Z", re.ASCII)
_LEFT_OUT: Final = "(left out)"
_A_PATH: Final = "(a path)"


@dataclass(frozen=True, slots=True)
class FileFact:
    """One file of the package: its size in bytes, and its plain SHA-256 in hexadecimal."""

    path: str
    role: str
    format: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a version; `manifest` is None in documents that it covers itself."""

    vault: Digest
    model: Model
    version: Version
    created: str
    publishers: tuple[str, ...]
    parents: tuple[Parent, ...]
    files: tuple[FileFact, ...]  # ascending by path, without the documents themselves
    info: Mapping[str, JSONValue]
    libraries: Mapping[str, str]
    manifest: Digest | None = None

    @property
    def metrics(self) -> list[tuple[str, str]]:
        """The measures, by name."""
        return self._table("metrics")

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """What the estimator was given, and what the caller told of it, by name."""
        return sorted({**dict(self._table("parameters")), **dict(self._table("params"))}.items())

    @property
    def features(self) -> list[str]:
        """The names of the features, in order."""
        found = self.info.get("features")
        return [text(name) for name in found] if isinstance(found, list) else []

    @property
    def classes(self) -> list[str]:
        """The labels of a classifier, in the order of its probabilities."""
        found = self.info.get("classes")
        return [text(label) for label in found] if isinstance(found, list) else []

    @property
    def tags(self) -> list[str]:
        """The tags that were given at publishing."""
        found = self.info.get("tags")
        return [text(tag) for tag in found] if isinstance(found, list) else []

    @property
    def notes(self) -> str:
        """What its publisher noted."""
        found = self.info.get("notes")
        return without_paths(found)[:NOTE_CHARS] if isinstance(found, str) else ""

    @property
    def git(self) -> list[tuple[str, str]]:
        """Commit, branch and whether there were changes beside it."""
        return self._table("git")

    @property
    def training_data(self) -> str:
        """The SHA-256 of the training data in hexadecimal; empty where it is not known."""
        found = self.info.get("training_data")
        told = found.get("digest") if isinstance(found, dict) else found
        match = _DIGEST.match(told) if isinstance(told, str) else None
        return match[1] if match else ""

    def told(self, name: str) -> str:
        """Give one thing that was recorded, as text; empty where it was not."""
        found = self.info.get(name)
        return "" if found is None else text(found)

    def _table(self, name: str) -> list[tuple[str, str]]:
        found = self.info.get(name)
        if not isinstance(found, dict):
            return []
        return [
            (text(key), _LEFT_OUT if _SECRET.search(key) else text(found[key]))
            for key in sorted(found)
            if found[key] is not None
        ]


def text(value: JSONValue) -> str:
    """Write any recorded value as one bounded text without paths and without what is not printable."""
    whole = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    whole = printable(without_paths(whole[: 4 * TEXT_CHARS]))
    return whole if len(whole) <= TEXT_CHARS else f"{whole[: TEXT_CHARS - 1]}…"


def without_paths(value: str) -> str:
    """Take out what reads like an absolute path, which tells of somebody's machine."""
    return _PATH.sub(_A_PATH, value)


def printable(value: str) -> str:
    """Spell out what is not printable: line ends, control characters, what turns the direction of text."""
    if value.isprintable():
        return value
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in value
    )
