"""Pinned requirements: which archives of which distributions a test environment is made of.

The grammar is the part of pip's requirements files that pins (docs/format.md,
"Requirements"): `NAME==VERSION`, then any number of `--hash=sha256:HEX`. There is
no option, address, path, range, marker or nested file in it, so that a line can
only name what is installed, and never where it comes from or what is run.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vault.core import limits
from vault.core.fields import malformed
from vault.core.names import Digest
from vault.errors import Malformed

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?\Z", re.ASCII)
_VERSION: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.!+_-]{0,62}[A-Za-z0-9])?\Z", re.ASCII)
_WISH: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.!+_-]{0,62}[A-Za-z0-9])?(?:\.\*)?\Z", re.ASCII)
_PYTHON: Final = re.compile(r"3\.[1-9]?[0-9](?:\.[0-9]{1,2})?\Z", re.ASCII)
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})\Z", re.ASCII)
_EXTRAS: Final = re.compile(r"\[[A-Za-z0-9,._ -]{0,200}\]", re.ASCII)
_RUNS: Final = re.compile(r"[-_.]+")
_SHOWN: Final = 80
HERE: Final = "here"


@dataclass(frozen=True, slots=True)
class Pin:
    """One distribution in one version; `hashes` are the SHA-256 of its archives, any of which may serve."""

    name: str  # normalised
    version: str
    hashes: tuple[str, ...] = ()  # ascending

    @property
    def line(self) -> str:
        """The requirement as pip reads it."""
        return " ".join(
            (f"{self.name}=={self.version}", *(f"--hash=sha256:{entry}" for entry in self.hashes))
        )


@dataclass(frozen=True, slots=True)
class Against:
    """Other versions than those that were recorded: of Python, of some distributions, or what is `here`."""

    here: bool = False
    python: str | None = None
    wishes: tuple[tuple[str, str], ...] = ()  # ascending by name; a version may end in `.*`

    def __str__(self) -> str:
        """Spell it in the one way in which attestations do."""
        python = [] if self.python is None else [f"python={self.python}"]
        return ",".join(
            ([HERE] if self.here else []) + python + [f"{name}=={version}" for name, version in self.wishes]
        )


def normalised(name: str) -> str:
    """Spell the name of a distribution in the one way in which indexes compare it (PEP 503)."""
    return _RUNS.sub("-", name).lower()


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of a distribution."""
    return _NAME.match(text) is not None


def pin(name: str, version: str, hashes: Iterable[str] = ()) -> Pin:
    """Make a pin of what an installer or a folder of archives told.

    Raises:
        Malformed: the name, the version or a hash breaks the grammar.
    """
    return _pin([f"{name}=={version}", *(f"--hash=sha256:{entry}" for entry in hashes)], "A requirement")


def parse(text: str, subject: str) -> tuple[Pin, ...]:
    """Parse pinned requirements, in whatever order and with whatever comments; give them by name.

    Raises:
        Malformed: `malformed-document`: a line is anything but a pin, a distribution is
            there twice, or there are too many; `too-large`.
    """
    if len(text) > limits.REQUIREMENTS_BYTES:
        raise Malformed(
            f"{subject} has more than {limits.REQUIREMENTS_BYTES:,} characters.",
            code="too-large",
            subject=subject,
        )
    found: dict[str, Pin] = {}
    for number, words in _lines(text):
        entry = _pin(words, f"{subject}, line {number}")
        if entry.name in found:
            raise malformed(subject, f"line {number} pins {entry.name} again")
        found[entry.name] = entry
        if len(found) > limits.REQUIREMENTS:
            raise malformed(subject, f"it names more than {limits.REQUIREMENTS:,} distributions")
    return tuple(found[name] for name in sorted(found))


def encode(pins: Iterable[Pin]) -> bytes:
    """Write pins in their one canonical form: a line each, ascending by name."""
    return "".join(f"{entry.line}\n" for entry in sorted(pins, key=lambda entry: entry.name)).encode("ascii")


def digest(pins: Iterable[Pin]) -> Digest:
    """Give the SHA-256 of pins in their canonical form."""
    return Digest(hashlib.sha256(encode(pins)).hexdigest())


def parse_canonical(data: bytes, subject: str) -> tuple[Pin, ...]:
    """Parse pins that were stored in their canonical form.

    Raises:
        Malformed: as `parse`; it is spelled in another way, or a pin has no hash.
    """
    pins = parse(_text(data, subject), subject)
    if encode(pins) != data:
        raise malformed(subject, "it is not in its canonical form")
    if not is_hashed(pins):
        raise malformed(subject, "a pin has no hash")
    return pins


def is_hashed(pins: Iterable[Pin]) -> bool:
    """Tell whether every pin names the archives that may serve."""
    return all(entry.hashes for entry in pins)


def parse_against(text: str) -> Against:
    """Parse what to test against: `here`, or `python=3.13,scikit-learn==1.9`.

    Raises:
        Malformed: `malformed-document`.
    """
    subject = f"Against {text[:_SHOWN]!r}"
    here, python, wishes = False, None, dict[str, str]()
    for word in text.split(","):
        name, _, version = word.strip().partition("==")
        if word.strip() == HERE:
            here = True
        elif name.startswith("python=") and not version:
            python = name.removeprefix("python=")
            if not _PYTHON.match(python):
                raise malformed(subject, "a version of Python is written 3.13 or 3.13.1")
        elif _NAME.match(name) and _WISH.match(version) and normalised(name) not in {*wishes, "python"}:
            wishes[normalised(name)] = version
        else:
            raise malformed(subject, "it is `here`, or versions: python=3.13,scikit-learn==1.9")
    if here and (python or wishes):
        raise malformed(subject, "`here` stands alone")
    return Against(here, python, tuple(sorted(wishes.items())))


def archive_pin(file_name: str) -> tuple[str, str] | None:
    """Give the name and version that a wheel is called after (PEP 427); None for every other file."""
    parts = file_name.removesuffix(".whl").split("-")
    if not file_name.endswith(".whl") or len(parts) not in (5, 6):
        return None
    name, version = parts[0], parts[1]
    if not _NAME.match(name) or not _VERSION.match(version):
        return None
    return normalised(name), version


def _text(data: bytes, subject: str) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise malformed(subject, "it is not ASCII") from None


def _lines(text: str) -> Iterable[tuple[int, list[str]]]:
    """Join continued lines and drop comments, as pip does; give the words of each line that has any."""
    held: list[str] = []
    start = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not held:
            start = number
        continued = line.endswith("\\")
        line = line.removesuffix("\\").strip()
        # A hash sign begins a comment at the start of a line, or after a space.
        words = line.split()
        for place, word in enumerate(words):
            if word.startswith("#"):
                words, continued = words[:place], False
                break
        held += words
        if held and not continued:
            yield start, held
            held = []
    if held:
        yield start, held


def _pin(words: list[str], subject: str) -> Pin:
    first, *rest = words
    name, equals, version = _EXTRAS.sub("", first, count=1).partition("==")
    if not equals or not _NAME.match(name) or not _VERSION.match(version):
        raise malformed(
            subject,
            f"{first[:_SHOWN]!r} does not pin a distribution as NAME==VERSION; there are no options, "
            "addresses, ranges or markers",
        )
    hashes = set()
    for word in rest:
        told = _HASH.match(word)
        if told is None:
            raise malformed(subject, f"{word[:_SHOWN]!r} is not --hash=sha256: and 64 hexadecimal digits")
        hashes.add(told[1])
    if len(hashes) > limits.REQUIREMENT_HASHES:
        raise malformed(subject, f"it has more than {limits.REQUIREMENT_HASHES} hashes")
    return Pin(normalised(name), version, tuple(sorted(hashes)))
