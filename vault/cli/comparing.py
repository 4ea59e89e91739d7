"""`mvault diff` and `mvault compare`: versions beside each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import scalar, size

if TYPE_CHECKING:
    from vault.cli.output import Console
    from vault.core.comparison import Comparison, Row
    from vault.core.strict_json import JSONValue

_DIGITS = 12  # of a digest in a table


@verb(
    "diff",
    examples=(
        "mvault diff churn:2 churn:3",
        "mvault diff churn@prod churn          # what prod has, and the newest in dev",
        "mvault diff churn:2 churn:3 --json",
    ),
)
@click.argument("one", metavar="REF", type=ReferenceText())
@click.argument("other", metavar="REF", type=ReferenceText())
@click.pass_context
def diff(context: click.Context, one: str, other: str) -> None:
    """Tell in what two versions differ: metrics, parameters, features, libraries, files, approvals.

    Both are verified. What is confidential is compared if you may read both. Status
    0 whatever differs. Columns when piped: section, name, first value, second value.
    """
    common = common_of(context)
    found = common.open().diff(one, other)
    if not common.console.json(_value(found, found.changes)):
        _print(common.console, found, found.changes)


@verb(
    "compare",
    examples=(
        "mvault compare churn:1 churn:2 churn:3",
        "mvault compare churn@prod churn@staging churn@dev --all",
        "mvault compare churn:2 churn:3 --json",
    ),
)
@click.argument("references", metavar="REF…", nargs=-1, required=True, type=ReferenceText())
@click.option("--all", "everything", is_flag=True, help="Show also what they have in common.")
@click.pass_context
def compare(context: click.Context, references: tuple[str, ...], everything: bool) -> None:
    """Lay versions beside each other as a table: one column for each REF.

    All are verified. What they have in common is left out but for metrics. Columns
    when piped: section, name, then one value for each version.
    """
    common = common_of(context)
    found = common.open().compare(references)
    differing = found.changes
    rows = [row for row in found.rows if everything or row.section == "metrics" or row in differing]
    if not common.console.json(_value(found, rows)):
        _print(common.console, found, rows)


def _value(found: "Comparison", rows: "Sequence[Row]") -> dict[str, object]:
    return {
        "versions": [{"reference": side.reference, "unread": side.unread} for side in found.sides],
        "rows": [
            {
                "section": row.section,
                "name": row.name,
                "values": list(row.values),
                "differs": row.differs,
            }
            for row in rows
        ],
    }


def _print(console: "Console", found: "Comparison", rows: "Sequence[Row]") -> None:
    for side in found.sides:
        if side.unread:
            console.notice(f"What is confidential in {side.reference} is not compared: {side.unread}")
    if not rows:
        console.notice("They do not differ.")
        return
    columns = (
        Column("SECTION"),
        Column("NAME", shrinks=True),
        *(Column(side.reference, shrinks=True) for side in found.sides),
    )
    table = [
        (Cell(row.section), Cell(row.name), *(_cell(row, value) for value in row.values)) for row in rows
    ]
    console.table(columns, table)


def _cell(row: "Row", value: "JSONValue") -> Cell:
    """Show a value: sizes and digests as people read them."""
    if value is None:
        return Cell("-", "")
    if isinstance(value, dict):
        plain = " ".join(f"{name}={scalar(part)}" for name, part in sorted(value.items()))
        shown = [str(value.get("format", ""))]
        if isinstance(part := value.get("size"), int):
            shown.append(size(part))
        if isinstance(digest := value.get("sha256"), str):
            shown.append(digest[:_DIGITS])
        return Cell(" ".join(shown), plain)
    if isinstance(value, list):
        return Cell(", ".join(map(scalar, value)), ",".join(map(scalar, value)))
    if row.section == "version" and row.name == "size" and isinstance(value, int):
        return Cell(size(value), str(value))
    text = scalar(value)
    return Cell(text[: len("sha256:") + _DIGITS] if text.startswith("sha256:") else text, _exact(value))


def _exact(value: "JSONValue") -> str:
    return repr(value) if isinstance(value, float) else scalar(value)
