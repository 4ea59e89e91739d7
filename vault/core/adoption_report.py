"""What became of every old file in an adoption, as values, and as a report for people (docs/adopting.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from vault.core.strict_json import JSONValue

Outcome = Literal["adopted", "would-adopt", "already", "same", "remains"]

_TITLES: Final[Mapping[Outcome, str]] = MappingProxyType(
    {
        "adopted": "Adopted",
        "would-adopt": "Would be adopted",
        "already": "Adopted before",
        "same": "The same bytes again",
        "remains": "Remains",
    }
)
_LISTED: Final = 1_000  # files that fit no pattern, in a report


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a converted model was compared with the old one: rows, and the fraction that it predicts otherwise.

    `sample` is `given`, `generated` or `none`; `weak` says that this shows little.
    """

    sample: str
    rows: int
    differing: float
    weak: bool


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one old file or folder.

    `format` is what it is, `became` what was published; `sha256` is that of the
    original bytes. Where it remains, `code`, `reason` and `hint` say why, `dangers`
    are names that no model needs. `rename` is an option's value that would help.
    `environments` are those that the source says use it.
    """

    path: str
    outcome: Outcome
    reference: str = ""
    format: str = ""
    became: str = ""
    size: int = 0
    sha256: str = ""
    comparison: Comparison | None = None
    code: str = ""
    reason: str = ""
    hint: str = ""
    globals: tuple[str, ...] = ()
    dangers: tuple[str, ...] = ()
    rename: str = ""
    environments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Promotable:
    """A version that the source uses in an environment; `done` if it was promoted there, else why not."""

    reference: str
    environment: str
    done: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AdoptionReport:
    """What became of a place's files: `items` in the order in which they were looked at.

    `unmatched` are files that the pattern does not name, `aside` what cannot be
    looked at, as path → reason. `promotions` are those that the source suggests.
    """

    source: str
    pattern: str
    dry_run: bool
    items: tuple[Item, ...]
    unmatched: tuple[str, ...] = ()
    aside: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    promotions: tuple[Promotable, ...] = ()

    @property
    def adopted(self) -> tuple[Item, ...]:
        """What was published now."""
        return tuple(item for item in self.items if item.outcome == "adopted")

    @property
    def remaining(self) -> tuple[Item, ...]:
        """What was to be adopted and was not."""
        return tuple(item for item in self.items if item.outcome == "remains")

    def count(self, outcome: Outcome) -> int:
        """Give how many items came to that."""
        return sum(item.outcome == outcome for item in self.items)

    def as_json(self) -> dict[str, JSONValue]:
        """Give it as `mvault adopt --json` prints it (docs/cli.md)."""
        return {
            "source": self.source,
            "pattern": self.pattern,
            "dry_run": self.dry_run,
            "items": [_item(item) for item in self.items],
            "unmatched": [*self.unmatched],
            "aside": [{"path": path, "reason": reason} for path, reason in self.aside.items()],
            "promotions": [
                {
                    "reference": entry.reference,
                    "environment": entry.environment,
                    "done": entry.done,
                    "reason": entry.reason,
                }
                for entry in self.promotions
            ],
            "summary": {
                **{outcome: self.count(outcome) for outcome in _TITLES},
                "unmatched": len(self.unmatched),
                "aside": len(self.aside),
            },
        }

    def markdown(self) -> str:
        """Write it for people: sums, what remains and why, what was adopted, what was not looked at."""
        sums = [f"- {title}: {self.count(name):,}" for name, title in _TITLES.items() if self.count(name)]
        lines = [
            "# Adoption" + (" (dry run: nothing was published)" if self.dry_run else ""),
            "",
            f"Source: {_code(self.source)}",
            "",
            *([f"Pattern: {_code(self.pattern)}", ""] if self.pattern else []),
            *(sums or ["- Nothing was found."]),
            f"- Not named by the pattern: {len(self.unmatched):,}",
            f"- Not looked at: {len(self.aside):,}",
            "",
        ]
        lines += _section("Remains", self._remains())
        lines += _section("Adopted", self._taken())
        lines += _section("In use elsewhere", self._promotions())
        lines += _section("Not named by the pattern", _cut([[path] for path in self.unmatched]), ["File"])
        rows = [[path, reason] for path, reason in self.aside.items()]
        lines += _section("Not looked at", _cut(rows), ["File", "Why"])
        return "\n".join(lines).rstrip("\n") + "\n"

    def _remains(self) -> list[list[str]]:
        rows = []
        for item in self.remaining:
            what = f"{item.reason} {item.hint}".strip()
            rows.append([item.path, item.reference, item.format, item.code, what])
        return [["File", "Would be", "Format", "Code", "Why, and what to do"], *rows] if rows else []

    def _taken(self) -> list[list[str]]:
        rows = [
            [item.reference, item.path, item.format, item.became, _compared(item), item.sha256]
            for item in self.items
            if item.outcome != "remains"
        ]
        return (
            [["Version", "From", "Was", "Is", "Compared", "SHA-256 of the original"], *rows] if rows else []
        )

    def _promotions(self) -> list[list[str]]:
        rows = [
            [entry.reference, entry.environment, "promoted" if entry.done else entry.reason or _next(entry)]
            for entry in self.promotions
        ]
        return [["Version", "Environment", "State"], *rows] if rows else []


def _next(entry: Promotable) -> str:
    return f"mvault promote {entry.reference} --env {entry.environment}"


def _item(item: Item) -> dict[str, JSONValue]:
    compared = item.comparison
    return {
        "path": item.path,
        "outcome": item.outcome,
        "reference": item.reference,
        "format": item.format,
        "became": item.became,
        "size": item.size,
        "sha256": item.sha256,
        "parity": None
        if compared is None
        else {
            "sample": compared.sample,
            "rows": compared.rows,
            "differing": compared.differing,
            "weak": compared.weak,
        },
        "code": item.code,
        "reason": item.reason,
        "hint": item.hint,
        "globals": [*item.globals],
        "dangers": [*item.dangers],
        "rename": item.rename,
        "environments": [*item.environments],
        "warnings": [*item.warnings],
    }


def _compared(item: Item) -> str:
    found = item.comparison
    if found is None:
        return "unchanged" if item.outcome == "adopted" else ""
    if found.rows == 0:
        return "nothing to compare"
    return f"{found.differing:.2%} of {found.rows:,} {found.sample} rows differ"


def _cut(rows: list[list[str]]) -> list[list[str]]:
    if len(rows) <= _LISTED:
        return rows
    more = [f"… and {len(rows) - _LISTED:,} more"] + [""] * (len(rows[0]) - 1)
    return [*rows[:_LISTED], more]


def _section(title: str, rows: list[list[str]], heading: list[str] | None = None) -> list[str]:
    """Write a table below a heading; nothing where it has no rows. Without `heading` the first row is it."""
    if not rows:
        return []
    first, *rest = rows if heading is None else [heading, *rows]
    lines = [f"## {title}", "", _row(first), "|" + " --- |" * len(first)]
    return [*lines, *(_row([_cell(text) for text in row]) for row in rest), ""]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    """Write a text so that nothing in it is taken for a table, a link, HTML or a new line."""
    plain = "".join(character if character.isprintable() else "�" for character in text)
    plain = plain.replace("&", "&amp;")
    for character in "\\`*_[]<>|":
        plain = plain.replace(character, f"\\{character}")
    return plain


def _code(text: str) -> str:
    fence = "`" * (1 + max((len(run) for run in _runs(text)), default=0))
    pad = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _runs(text: str) -> list[str]:
    """Give the runs of backquotes in a text."""
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
