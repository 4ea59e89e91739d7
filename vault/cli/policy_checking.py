"""`mvault policy check|test`: look at a policy file before anybody signs it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count

if TYPE_CHECKING:
    from vault.cli.output import Console
    from vault.core.policy_check import Finding

NO = 1  # the exit status where the answer is no
_FILE = click.Path(dir_okay=False, path_type=Path)


@verb(
    "check",
    examples=(
        "mvault policy check policies/team.yaml",
        "mvault policy check in-force     # that of the vault, and what expires",
        "mvault policy check team.yaml --json",
    ),
)
@click.argument("file", type=_FILE)
@click.pass_context
def check(context: click.Context, file: Path) -> None:
    """Look for mistakes in the policy FILE, or in the one in force (`in-force`).

    Finds names that nothing defines, approvals that nobody could give or that
    one person could give alone, promotions without load, environments that
    nobody can enter, services that may touch every model, and what expires
    soon. This is advice: what is enforced is said by `mvault policy explain`.
    Ends with status 1 if there is an error. Columns when piped: severity, line,
    subject, message, code.
    """
    from vault.actions import policy_reading

    common = common_of(context)
    if str(file) == policy_reading.IN_FORCE:
        found = common.open().policy.check()
    else:
        found = policy_reading.check_file(file, int(time.time()))
    errors = sum(entry.severity == "error" for entry in found)
    value = {
        "file": str(file),
        "ok": errors == 0,
        "findings": [
            {
                "severity": entry.severity,
                "code": entry.code,
                "subject": entry.subject,
                "message": entry.message,
                "line": entry.line,
            }
            for entry in found
        ],
    }
    if not common.console.json(value):
        _print_findings(common.console, str(file), found, errors)
    context.exit(NO if errors else 0)


def _print_findings(console: "Console", file: str, found: "tuple[Finding, ...]", errors: int) -> None:
    if found:
        console.table(
            (
                Column(""),
                Column("LINE", number=True),
                Column("WHAT"),
                Column("FOUND", shrinks=True),
                Column("CODE"),
            ),
            [
                (
                    Cell(entry.severity),
                    Cell("" if entry.line is None else str(entry.line)),
                    Cell(entry.subject),
                    Cell(entry.message),
                    Cell(entry.code),
                )
                for entry in found
            ],
        )
    more = len(found) - errors
    verdict = f"{count(errors, 'error')}, listed above." if errors else "no errors."
    aside = f" {count(more, 'remark')} to consider." if more else ""
    console.notice(f"{file}: {verdict}{aside} This is advice; what is enforced: mvault policy explain")


@verb(
    "test",
    examples=(
        "mvault policy test team.yaml                    # with team.test.yaml",
        "mvault policy test team.yaml decisions.yaml",
        "mvault policy test in-force decisions.yaml      # the policy of the vault",
    ),
)
@click.argument("file", type=_FILE)
@click.argument("testfile", type=_FILE, required=False)
@click.pass_context
def test(context: click.Context, file: Path, testfile: Path | None) -> None:
    """Compare the policy FILE, or the one in force (`in-force`), with the decisions that you expect of it.

    TESTFILE is a list of {who, action, model, env, allowed}, of a promotion
    also from; without it, FILE's own name with .test before .yaml. Ends with
    status 1 if a decision differs. Columns when piped: line, expected, decided,
    decision, reason.
    """
    from vault.actions import policy_reading

    common = common_of(context)
    inside = str(file) == policy_reading.IN_FORCE
    if inside and testfile is None:
        raise click.UsageError("Name the file of expected decisions too.", context)
    tests = testfile or policy_reading.tests_of(file)
    view = common.open().policy.view if inside else policy_reading.file_view(file)
    verdicts = policy_reading.judge(view, tests)
    wrong = [entry for entry in verdicts if not entry.holds]
    value = {
        "file": str(file),
        "tests": str(tests),
        "ok": not wrong,
        "decisions": len(verdicts),
        "failed": [
            {
                "line": entry.expected.line,
                "who": entry.expected.who,
                "action": entry.expected.action,
                "model": entry.expected.model,
                "env": entry.expected.environment,
                "from": entry.expected.source,
                "expected": entry.expected.allowed,
                "reason": entry.decision.reason,
            }
            for entry in wrong
        ],
    }
    if not common.console.json(value):
        columns = (
            Column("LINE", number=True),
            Column("EXPECTED"),
            Column("DECIDED"),
            Column("DECISION", shrinks=True),
        )
        rows = []
        for entry in wrong:
            asked = entry.expected
            origin = "" if asked.source is None else f" from {asked.source}"
            rows.append(
                (
                    Cell(str(asked.line)),
                    Cell(_answer(asked.allowed)),
                    Cell(_answer(entry.decision.allowed)),
                    Cell(f"{asked.who} {asked.action} {asked.model}{origin} in {asked.environment}"),
                    Cell(entry.decision.reason),
                )
            )
        if rows:
            common.console.table((*columns, Column("WHY", shrinks=True)), rows)
        common.console.notice(
            f"{file}: {count(len(verdicts), 'decision')}, "
            + (f"{len(wrong)} not as expected." if wrong else "all as expected.")
        )
    context.exit(NO if wrong else 0)


def _answer(allowed: bool) -> str:
    return "yes" if allowed else "no"
