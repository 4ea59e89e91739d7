"""What the registry index keeps of a version: its public half, and the half that only its readers have.

The sealed half is bounded here, before any database sees it: a publisher may
have written anything into it.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from vault.core import limits, names
from vault.core.names import Digest, Environment, Model, Slot, Version
from vault.core.strict_json import JSONValue

PROMOTE: Final = "promote"
WITHDRAW: Final = "withdraw"

_NUMBER: Final = re.compile(
    r"[-+]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,4})?\Z", re.ASCII
)
_RELEASE: Final = re.compile(
    r"v?(?:[0-9]{1,4}!)?([0-9]{1,12}(?:\.[0-9]{1,12}){0,7})"
    r"(?:[-_.]?(a|alpha|b|beta|c|rc|pre|preview)[-_.]?([0-9]{0,8}))?"
    r"(?:[-_.]?(post|rev|r)[-_.]?([0-9]{0,8}))?"
    r"(?:[-_.]?(dev)[-_.]?([0-9]{0,8}))?"
    r"(?:\+[A-Za-z0-9._-]{1,64})?\Z",
    re.ASCII | re.IGNORECASE,
)
_EARLY: Final = {"a": "1", "alpha": "1", "b": "2", "beta": "2"}  # anything else is a candidate: 3
_KINDS: Final = ("i", "s", "t")  # integers, semantic versions, timestamps: in the order of `version_order`


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of a package as anybody may see it; `size` in bytes."""

    path: str
    role: str
    format: str
    size: int


@dataclass(frozen=True, slots=True)
class Vote:
    """Somebody's word about a version: `action` is approve, for `environment`, or adopt, for none."""

    action: str
    environment: str
    who: str
    created: str


@dataclass(frozen=True, slots=True)
class ParentRow:
    """A version that this one was made from."""

    model: str
    version: str
    manifest: Digest
    relation: str


@dataclass(frozen=True, slots=True)
class LoadTest:
    """What a load test came to: `outcome` is passed or failed, `what` says where it ran."""

    outcome: str
    who: str
    created: str
    what: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One record of a channel about one manifest: it was promoted there, or withdrawn."""

    environment: Environment
    slot: Slot
    seq: int
    action: str
    manifest: Digest
    who: tuple[str, ...]
    created: str


@dataclass(frozen=True, slots=True)
class Entry:
    """The public half of a version; `seen` stands for the names of the objects that it was read from."""

    model: Model
    version: Version
    manifest: Digest
    created: int  # seconds since 1970
    files: tuple[FileRow, ...]
    publishers: tuple[str, ...]
    votes: tuple[Vote, ...] = ()
    parents: tuple[ParentRow, ...] = ()
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tests: tuple[LoadTest, ...] = ()
    seen: str = ""

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of its models, or of all its files where none is a model."""
        ranked = [entry.format for entry in self.files if entry.role == "model"]
        return tuple(sorted(set(ranked or [entry.format for entry in self.files])))

    @property
    def size(self) -> int:
        """Bytes of plaintext, metadata left out."""
        return sum(entry.size for entry in self.files)

    @property
    def text(self) -> str:
        """Everything public that people search for by words."""
        parts = [self.model, self.version, *self.publishers, *self.formats, *self.tags, *self.notes]
        return "\n".join(parts)


Value = tuple[str, float | None, str]  # name, its number where it is one, its text


@dataclass(frozen=True, slots=True)
class Facts:
    """The sealed half of a version, as far as the index keeps it."""

    metrics: tuple[Value, ...] = ()
    parameters: tuple[Value, ...] = ()
    features: tuple[str, ...] = ()
    libraries: tuple[tuple[str, str], ...] = ()  # name, version
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Everything sealed that people search for by words."""
        parts = [*self.notes, *self.tags, *(name for name, _, _ in self.metrics), *self.features]
        parts += [name for name, _ in self.libraries]
        parts += [text for _, number, text in self.parameters if number is None]
        return "\n".join(parts)


@dataclass(frozen=True, slots=True)
class Record:
    """A version as a search sees it; `facts` is None for whoever may not read them."""

    entry: Entry
    current: frozenset[tuple[str, str]] = frozenset()  # environment and slot in which it is in force
    past: frozenset[tuple[str, str]] = frozenset()  # where it was promoted, ever
    facts: Facts | None = field(default=None)


# --- from metadata.json to facts ---


def facts(info: Mapping[str, JSONValue], libraries: Mapping[str, str]) -> Facts:
    """Take what the index keeps of a package's metadata; what is too long, or of another kind, is not."""
    parameters = dict([*_pairs(info, "parameters"), *_pairs(info, "params")])
    note = info.get("notes")
    return Facts(
        metrics=tuple(_values(_pairs(info, "metrics"))),
        parameters=tuple(_values(sorted(parameters.items()))),
        features=_texts(info.get("features")),
        libraries=tuple(
            (name, version)
            for name, version in sorted(libraries.items())[: limits.INDEX_NAMES]
            if _fits(name) and _fits(version)
        ),
        tags=_texts(info.get("tags")),
        notes=(note[: limits.INDEX_NOTE_CHARS].replace("\0", " "),) if isinstance(note, str) and note else (),
    )


def _pairs(info: Mapping[str, JSONValue], key: str) -> Iterator[tuple[str, JSONValue]]:
    found = info.get(key)
    yield from sorted(found.items()) if isinstance(found, dict) else ()


def _values(pairs: Iterable[tuple[str, JSONValue]]) -> Iterator[Value]:
    kept = 0
    for name, value in pairs:
        text = spelled(value)
        if text is None or not _fits(name) or not _fits(text):
            continue
        yield name, _number(value), text
        kept += 1
        if kept == limits.INDEX_NAMES:
            return


def spelled(value: JSONValue) -> str | None:
    """Spell a scalar as a query writes it; None for null, lists and objects, which are not searched for."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float | str) else None


def number_of(text: str) -> float | None:
    """Give the finite number that a text writes, or None when it writes none."""
    if not _NUMBER.match(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _number(value: JSONValue) -> float | None:
    """Give the number that a value is, or spells: what is told on a command line is text."""
    if isinstance(value, str):
        return number_of(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _texts(values: JSONValue | None) -> tuple[str, ...]:
    if not isinstance(values, list):
        return ()
    found = [value for value in values if isinstance(value, str) and _fits(value)]
    return tuple(dict.fromkeys(found))[: limits.INDEX_NAMES]


def _fits(text: str) -> bool:
    return 0 < len(text) <= limits.INDEX_TEXT_CHARS and "\0" not in text


# --- words and orders ---


def words(text: str) -> tuple[str, ...]:
    """Cut a text into words in order: letters and digits, without differences of case and width."""
    found: list[str] = []
    word = ""
    for character in f"{names.fold(text)} ":
        if character.isalnum():
            word += character
        elif word:
            found.append(word[: limits.INDEX_WORD_CHARS])
            word = ""
    return tuple(found)


def phrase_of(found: Iterable[str]) -> str:
    """Write words so that a phrase of some of them is a part of it: each between two spaces."""
    return f" {' '.join(found)} "


def indexed_words(text: str) -> tuple[str, ...]:
    """Give the words of a text that are in the index, in order: `limits.INDEX_WORDS` different ones."""
    kept: list[str] = []
    different: set[str] = set()
    for word in words(text):
        if word not in different and len(different) == limits.INDEX_WORDS:
            break
        different.add(word)
        kept.append(word)
        if len(kept) == 4 * limits.INDEX_WORDS:
            break
    return tuple(kept)


def version_key(text: str) -> str:
    """Spell a model's version so that spellings sort as versions do, character by character.

    Raises:
        Malformed: `malformed-name`.
    """
    order = names.version_order(text)
    numbers = ".".join(f"{number:015d}" for number in order.numbers)
    labels = "!".join(
        f"0{number:032d}" if kind == 0 else f"1{label}" for kind, number, label in order.prerelease
    )
    return f"{_KINDS[order.kind]}{numbers}{'~' if order.released else '-' + labels}"


def library_order(text: str) -> str | None:
    """Spell a library's version so that spellings sort as PEP 440 orders versions; None if it is none.

    Epochs and local parts are left out of the comparison.
    """
    found = _RELEASE.match(text) if len(text) <= limits.INDEX_TEXT_CHARS else None
    if found is None:
        return None
    release = [int(part) for part in found[1].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    spelling = ".".join(f"{part:012d}" for part in release)
    early = f"{_EARLY.get(found[2].lower(), '3')}{int(found[3] or 0):08d}" if found[2] else ""
    late = f"5{int(found[5] or 0):08d}" if found[4] else ""
    if not early:
        early = "4" if late or not found[6] else "0"  # only a development release comes before a first alpha
    return f"{spelling} {early}{late or '4'}{f'0{int(found[7] or 0):08d}' if found[6] else '9'}"


def key_of(manifest: str) -> int:
    """Give the number by which the index knows a manifest: the first 63 bits of its digest."""
    return int(manifest[:16], 16) >> 1
