"""Read `models/{model}/v{version}/model.joblib`: how the paths of old models name them (docs/adopting.md).

A pattern is literal text, `{model}`, `{version}`, `{env}` and `*`; nothing in
it is a regular expression. A path is matched against the whole pattern, or
where the pattern ends in `/` against its folders, the nearest one first.
"""

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vault.core import limits, names
from vault.errors import Malformed

MODEL: Final = "model"
VERSION: Final = "version"
ENVIRONMENT: Final = "env"
ANY: Final = "*"

_VARIABLES: Final = frozenset({MODEL, VERSION, ENVIRONMENT})
_TOKEN: Final = re.compile(r"\{([^{}]*)\}|(\*)|([^{}*]+)|([{}])")
_PARSERS: Final = {MODEL: names.model, VERSION: names.version, ENVIRONMENT: names.environment}
_MOST: Final = {
    MODEL: limits.MODEL_CHARS,
    VERSION: limits.VERSION_CHARS,
    ENVIRONMENT: limits.PART_CHARS,
    ANY: limits.PART_CHARS * 4,
}

_NO_PART: Final = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)
_BARE: Final = re.compile(r"[vV]?0*([0-9]{1,15})\Z", re.ASCII)
_DOTTED: Final = re.compile(
    r"[vV]?0*([0-9]{1,9})[._]0*([0-9]{1,9})(?:[._]0*([0-9]{1,9}))?(?:[._-]?([A-Za-z][0-9A-Za-z.-]{0,31}))?\Z",
    re.ASCII,
)
_DAY: Final = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?:[T_ -]?([0-9]{2})[:-]?([0-9]{2})[:-]?([0-9]{2})Z?)?\Z", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Matched:
    """What a path says: the names as they stand in it, and for a folder the path of the file inside it."""

    model: str
    version: str | None
    environment: str | None
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern: `text` as it was given, `folder` where whole folders are packages."""

    text: str
    tokens: tuple[tuple[str, str], ...]  # (kind, literal text); kind "" is the literal
    folder: bool

    @property
    def prefix(self) -> str:
        """The text that every path begins with, up to a `/`; empty where there is none."""
        kind, text = self.tokens[0]
        return "" if kind else text[: text.rfind("/") + 1]

    def match(self, path: str) -> Matched | None:
        """Say what a path names, or that it does not fit.

        Where the text can be cut in several ways, the cut with names that the vault takes goes first,
        and among those the longest model name.
        """
        if len(path) > limits.ADOPT_PATH_CHARS:
            return None
        if not self.folder:
            return self._cut(path, "", strict=True) or self._cut(path, "", strict=False)
        ends = [index + 1 for index, character in enumerate(path[:-1]) if character == "/"]
        for strict in (True, False):
            for end in ends[: limits.INSPECT_FOLDERS]:
                if (found := self._cut(path[:end], path[:end], strict=strict)) is not None:
                    return found
        return None

    def fill(self, found: Matched) -> str:
        """Write the path that names what another path does, such as that of a sample beside a model.

        Raises:
            ValueError: it has a `*`, or a name that the other path does not say.
        """
        values = {MODEL: found.model, VERSION: found.version, ENVIRONMENT: found.environment}
        pieces = [values.get(kind) if kind else text for kind, text in self.tokens]
        if any(piece is None for piece in pieces):
            raise ValueError(f"{self.text!r} needs a name that the paths of the models do not say.")
        return "".join(piece for piece in pieces if piece is not None)

    def _cut(self, text: str, folder: str, *, strict: bool) -> Matched | None:
        values = _Cut(self.tokens, text, strict=strict).find(0, 0)
        if values is None:
            return None
        return Matched(values[MODEL], values.get(VERSION), values.get(ENVIRONMENT), folder)


class _Cut:
    """One search for a cut of a text; what was found to lead nowhere is not tried again."""

    def __init__(self, tokens: tuple[tuple[str, str], ...], text: str, *, strict: bool) -> None:
        self._tokens = tokens
        self._text = text
        self._strict = strict
        self._dead: set[tuple[int, int]] = set()

    def find(self, token: int, start: int) -> dict[str, str] | None:
        """Match the tokens from one on with the text from `start` on."""
        if token == len(self._tokens):
            return {} if start == len(self._text) else None
        if (token, start) in self._dead:
            return None
        kind, literal = self._tokens[token]
        if not kind:
            fits = self._text.startswith(literal, start)
            found = self.find(token + 1, start + len(literal)) if fits else None
            if found is None:
                self._dead.add((token, start))
            return found
        for end in self._ends(kind, start):
            if kind != ANY and not self._fits(kind, self._text[start:end]):
                continue
            rest = self.find(token + 1, end)
            if rest is not None:
                return rest if kind == ANY else {kind: self._text[start:end], **rest}
        self._dead.add((token, start))
        return None

    def _ends(self, kind: str, start: int) -> range:
        """Give where a variable may end: the longest first, of `*` the shortest."""
        limit = min(len(self._text), start + _MOST[kind])
        if kind != MODEL:
            slash = self._text.find("/", start, limit)
            limit = limit if slash < 0 else slash
        return range(start, limit + 1) if kind == ANY else range(limit, start, -1)

    def _fits(self, kind: str, value: str) -> bool:
        if not self._strict:
            return kind != MODEL or all(value.split("/"))
        try:
            _PARSERS[kind](value)
        except Malformed:
            return False
        return True


def parse(text: str) -> Pattern:
    """Read a pattern.

    Raises:
        Malformed: `malformed-name`: it has no `{model}`, or says what a pattern cannot.
    """
    if not text or len(text) > limits.PATH_CHARS or not text.isprintable():
        raise _bad(text, f"it has 1 to {limits.PATH_CHARS} printable characters")
    if any(part in {"", ".", ".."} for part in text.removesuffix("/").split("/")):
        raise _bad(text, "it is relative, without empty, '.' or '..' parts")
    tokens = []
    for variable, star, literal, brace in _TOKEN.findall(text):
        if brace or (not star and not literal and variable not in _VARIABLES):
            raise _bad(text, "between braces stand model, version or env")
        if any(character in "?[]\\" for character in literal):
            raise _bad(text, "of the signs for many names there is only *")
        tokens.append(("", literal) if literal else (ANY if star else variable, ""))
    kinds = [kind for kind, _ in tokens]
    if kinds.count(MODEL) != 1:
        raise _bad(text, "it says {model} once")
    if any(kinds.count(kind) > 1 for kind in (VERSION, ENVIRONMENT)):
        raise _bad(text, "it says {version} and {env} once at most")
    if kinds.count(ANY) > limits.ADOPT_STARS:
        raise _bad(text, f"it has {limits.ADOPT_STARS} * at most")
    if any(one and other for one, other in pairwise(kinds)):
        raise _bad(text, "some text stands between two of {model}, {version}, {env} and *")
    return Pattern(text, tuple(tokens), text.endswith("/"))


def _bad(text: str, rule: str) -> Malformed:
    shown = text if len(text) <= 80 else f"{text[:77]}…"
    return Malformed(
        f"{shown!r} is not a pattern of paths: {rule}.",
        code="malformed-name",
        subject=shown.encode("unicode_escape").decode(),
        hint="Such as: models/{model}/v{version}/model.joblib",
    )


# --- names that the vault does not take ---


def suggest_model(text: str) -> str:
    """Give a model name close to a text; empty where none comes to mind."""
    plain = unicodedata.normalize("NFKD", text[: 4 * limits.MODEL_CHARS])
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    parts = [_NO_PART.sub("-", part).lstrip("._-").rstrip(".-") for part in plain.split("/")]
    parts = [f"{part}-model" if names.is_device(part) else part for part in parts if part]
    if len(parts) > limits.MODEL_PARTS:
        parts = [*parts[: limits.MODEL_PARTS - 1], "-".join(parts[limits.MODEL_PARTS - 1 :])]
    return _kept(MODEL, "/".join(part[: limits.PART_CHARS].rstrip(".") for part in parts))


def suggest_version(text: str) -> str:
    """Give a version that a text means: `03` is 3, `1.4` is 1.4.0, `2026-11-23` is 20261123T000000Z.

    Empty where it means none.
    """
    if found := _DAY.match(text):
        year, month, day, *time = found.groups()
        clock = "".join(time) if all(time) else "000000"
        return _kept(VERSION, f"{year}{month}{day}T{clock}Z")
    if found := _BARE.match(text):
        return _kept(VERSION, str(int(found[1])))
    if found := _DOTTED.match(text):
        numbers = ".".join(str(int(number or 0)) for number in found.groups()[:3])
        label = "" if found[4] is None else f"-{found[4].lower()}"
        return _kept(VERSION, numbers + label)
    return ""


def suggest_environment(text: str) -> str:
    """Give an environment's name close to a text; empty where none comes to mind."""
    return _kept(ENVIRONMENT, re.sub(r"[^a-z0-9]+", "-", text[: limits.PART_CHARS].lower()).strip("-"))


def _kept(kind: str, text: str) -> str:
    try:
        return _PARSERS[kind](text)
    except Malformed:
        return ""
