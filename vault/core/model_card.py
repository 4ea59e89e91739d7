"""Write a model card in Markdown from a version's facts; the same facts give the same bytes.

What was recorded is data, and stands in code spans and code blocks only: there it is
neither HTML nor a link, an image, a mention or a heading, whatever it says (CommonMark
0.31, 6.1 and 4.5; tables are of GitHub Flavored Markdown, 4.10).
"""

from collections.abc import Iterable, Sequence
from typing import Final

from vault.core.model_facts import ModelFacts, printable

_FEATURES: Final = 200  # shown; the metadata has them all
_LIBRARIES: Final = 500


def render(facts: ModelFacts) -> bytes:
    """Write the card, in UTF-8."""
    parts = [
        "# Model card\n",
        _pairs(_identity(facts)),
        _section("Model", _pairs(_about(facts))),
        _section("Metrics", _table(("Metric", "Value"), facts.metrics)),
        _section("Parameters", _table(("Parameter", "Value"), facts.parameters)),
        _section("Features", _features(facts.features)),
        _section("Training data", _pairs(_data(facts))),
        _section("Parents", _table(("Relation", "Version", "Manifest"), _parents(facts))),
        _section("Git", _table(("What", "Value"), facts.git)),
        _section("Files", _table(("File", "Role", "Format", "Bytes", "SHA-256"), _files(facts))),
        _section("Libraries", _table(("Library", "Version"), sorted(facts.libraries.items())[:_LIBRARIES])),
        _section("Notes", _block(facts.notes)),
        "Made by mvault from the signed metadata of this version.\n",
    ]
    return "\n".join(part for part in parts if part).encode("utf-8")


def _identity(facts: ModelFacts) -> list[tuple[str, str]]:
    return [
        ("Model", facts.model),
        ("Version", facts.version),
        ("Published", facts.created),
        ("Published by", ", ".join(facts.publishers)),
        ("Vault", f"sha256:{facts.vault}"),
        ("Manifest", "" if facts.manifest is None else f"sha256:{facts.manifest}"),
        ("Tags", ", ".join(facts.tags)),
    ]


def _about(facts: ModelFacts) -> list[tuple[str, str]]:
    return [
        ("Estimator", facts.told("estimator")),
        ("Steps", facts.told("steps")),
        ("Classes", ", ".join(facts.classes)),
        ("Parity", facts.told("parity")),
        ("Python", facts.told("python")),
    ]


def _data(facts: ModelFacts) -> list[tuple[str, str]]:
    digest = facts.training_data
    return [("Digest", f"sha256:{digest}" if digest else ""), ("Rows", facts.told("training_rows"))]


def _parents(facts: ModelFacts) -> list[tuple[str, str, str]]:
    return [
        (entry.relation, f"{entry.model}:{entry.version}", f"sha256:{entry.manifest}")
        for entry in facts.parents
    ]


def _files(facts: ModelFacts) -> list[tuple[str, ...]]:
    return [(file.path, file.role, file.format, str(file.size), file.sha256) for file in facts.files]


def _features(names: Sequence[str]) -> str:
    if not names:
        return ""
    rest = len(names) - _FEATURES
    more = f", and {rest} more" if rest > 0 else ""
    return f"{', '.join(_code(name) for name in names[:_FEATURES])}{more}\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Write labels, which are words of this module, with their values; those without one are left out."""
    lines = [f"| {label} | {_cell(value)} |" for label, value in rows if value]
    return "\n".join(("| | |", "| --- | --- |", *lines)) + "\n" if lines else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: str) -> str:
    return _code(value).replace("|", "\\|")


def _code(value: str) -> str:
    """Write data as a code span: between more backticks than it has in a row."""
    data = printable(value)
    if not data.strip():
        return "(empty)"
    ticks = "`" * (_longest(data) + 1)
    pad = " " if data[0] in "` " or data[-1] in "` " else ""
    return f"{ticks}{pad}{data}{pad}{ticks}"


def _block(value: str) -> str:
    """Write free text as a fenced code block, line by line."""
    if not value.strip():
        return ""
    lines = [printable(line) for line in value.replace("\r\n", "\n").split("\n")]
    fence = "`" * max(3, 1 + max(_longest(line) for line in lines))
    return "\n".join((fence, *lines, fence)) + "\n"


def _longest(data: str) -> int:
    """Give the length of the longest run of backticks."""
    longest = run = 0
    for letter in data:
        run = run + 1 if letter == "`" else 0
        longest = max(longest, run)
    return longest
