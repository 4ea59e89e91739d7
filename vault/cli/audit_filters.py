"""The options that choose records of the audit: by whom, what, where, when, and what came of it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vault.audit.query import Filter

Command = TypeVar("Command", bound=Callable[..., Any])

# Spelled out, so that help imports nothing: a test compares them with the records' own.
ACTIONS = (
    *("publish", "approve", "promote", "withdraw", "adopt", "attest", "policy", "root", "access"),
    *("load", "pull", "anchor", "delete", "archive", "restore", "backup", "hold", "tag", "test"),
)
DECISIONS = ("pending", "allow", "deny", "refuse")
OUTCOMES = ("done", "failed")

_SINCE = "From then on: 90m, 2h, 3d, yesterday, 2026-05-03 or 2026-05-03T14:00Z."
_UNTIL = "Before then, spelled the same; a day counts whole."
_SEVERAL: tuple[tuple[tuple[str, ...], str, str, tuple[str, ...] | None], ...] = (
    (("--actor",), "WHO", "Only by this person or service.", None),
    (("--action",), "ACTION", f"Only this: {', '.join(ACTIONS)}.", ACTIONS),
    (("--model",), "PATTERN", "Only this model; nepse/* means all below nepse/.", None),
    (("--env", "environment"), "ENV", "Only in this environment.", None),
    (("--decision",), "DECISION", "Only allow, deny (by policy), refuse (a check) or pending.", DECISIONS),
    (("--outcome",), "OUTCOME", "Only what was done, or what failed.", OUTCOMES),
    (("--code",), "CODE", "Only with this code of docs/errors.md, such as access-denied.", None),
    (("--log", "logs"), "NAME", "Only from this log: env/prod, or access/web/* for several.", None),
)


def filters(command: Command) -> Command:
    """Give a command the options that choose records."""
    command = times(command)
    for names, metavar, text, choices in reversed(_SEVERAL):
        kind = None if choices is None else click.Choice(choices)
        command = click.option(*names, metavar=metavar, multiple=True, help=text, type=kind)(command)
    return command


def times(command: Command) -> Command:
    """Give a command the options that choose a time."""
    command = click.option("--until", metavar="TIME", help=_UNTIL)(command)
    return click.option("--since", metavar="TIME", help=_SINCE)(command)


def asked(given: dict[str, Any]) -> "Filter":
    """Read the options of `filters`.

    Raises:
        ValueError: a time is none, or the range is empty.
    """
    from vault.audit.query import Filter

    since, until = moments(given["since"], given["until"])
    return Filter(
        actor=given["actor"],
        action=given["action"],
        model=given["model"],
        environment=given["environment"],
        decision=given["decision"],
        outcome=given["outcome"],
        code=given["code"],
        log=given["logs"],
        since=since,
        until=until,
    )


def moments(since: str | None, until: str | None) -> tuple[int | None, int | None]:
    """Read a range of time.

    Raises:
        ValueError: a time is none, or the range is empty.
    """
    import time

    from vault.actions import reviewing_moments

    now = int(time.time())
    start = None if since is None else reviewing_moments.since(since, now)
    end = None if until is None else reviewing_moments.until(until, now)
    if start is not None and end is not None and start >= end:
        raise ValueError(f"Nothing is both since {since} and until {until}.")
    return start, end
