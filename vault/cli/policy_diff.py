"""`mvault policy diff`: what a change of policy does, also as `mvault policy sign` shows it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.options import common_of
from vault.cli.tables import Cell, Column
from vault.cli.text import count
from vault.errors import AccessDenied, NoUsableKey

if TYPE_CHECKING:
    from vault.cli.options import Common
    from vault.cli.output import Console
    from vault.core.names import Principal
    from vault.core.policy_diff import Difference, Gain, PrincipalChange
    from vault.vault import Vault

_FILE = click.Path(dir_okay=False, path_type=Path)


@verb(
    "diff",
    examples=(
        "mvault policy diff in-force team.yaml   # what signing it would change",
        "mvault policy diff old.yaml new.yaml    # two files, without a vault",
        "mvault policy diff in-force new.yaml --json",
    ),
)
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@click.pass_context
def diff(context: click.Context, old: Path, new: Path) -> None:
    """Tell who gains and loses what if the policy NEW follows OLD, and what changes in environments.

    OLD is a file or `in-force`; then `owner` in NEW stands for you. Compared with
    the policy in force, every channel that would stop or turn to another version
    is listed too, and every withdrawn version that would come back: each is
    tried, as a load would, under the new policy. Status 0 whatever differs.
    Columns when piped: kind, name, sign, what.
    """
    from vault.actions import policy_reading
    from vault.core import policy_diff

    common = common_of(context)
    after = policy_reading.file_view(new)
    if str(old) == policy_reading.IN_FORCE:
        opened = common.open()
        found = opened.policy.change(after, my_name(opened, common))
    else:
        found = policy_diff.diff(policy_reading.file_view(old), after)
    if not common.console.json({"old": str(old), "new": str(new), **difference_value(found)}):
        print_difference(common.console, found)


def my_name(opened: "Vault", common: "Common") -> "Principal | None":
    """Give what the policy in force calls this identity, by its public half; None if it knows none."""
    from vault.actions import identities

    path = common.settings().identity
    try:
        return None if path is None else opened.policy.holder(identities.describe(path).key_id)
    except (AccessDenied, NoUsableKey):
        return None


def difference_value(found: "Difference") -> dict[str, object]:
    """Give a difference in its JSON shape (docs/cli.md)."""
    return {
        "principals": [
            {
                "name": entry.name,
                "kind": entry.kind,
                "change": entry.change,
                "gained": [_gain(gain) for gain in entry.gained],
                "lost": [_gain(gain) for gain in entry.lost],
                "keys_added": [f"sha256:{key}" for key in entry.keys_added],
                "keys_lost": [f"sha256:{key}" for key in entry.keys_lost],
                "keys_retired": [f"sha256:{key}" for key in entry.keys_retired],
            }
            for entry in found.principals
        ],
        "environments": [
            {
                "name": entry.name,
                "change": entry.change,
                "settings": [
                    {"key": key, "before": before, "after": after} for key, before, after in entry.settings
                ],
            }
            for entry in found.environments
        ],
        "stopped": None
        if found.stopped is None
        else [
            {"channel": str(entry.channel), "version": entry.version, "reason": entry.reason}
            for entry in found.stopped
        ],
        "lifted": None
        if found.lifted is None
        else [
            {
                "reference": str(entry.subject),
                "env": entry.environment,
                "digest": f"sha256:{entry.manifest}",
                "signers": list(entry.signers),
                "withdrawn": entry.created,
            }
            for entry in found.lifted
        ],
    }


def _gain(gain: "Gain") -> dict[str, object]:
    return {
        "action": gain.access.action,
        "env": gain.access.environment,
        "from": gain.access.source,
        "models": [{"pattern": entry.pattern, "without": list(entry.without)} for entry in gain.models],
    }


def print_difference(console: "Console", found: "Difference", told_by: str | None = None) -> None:
    """Print a difference for people, and for scripts as lines of kind, name, sign and what.

    Where no channel was looked at, the command `told_by` does that; without it two files were compared.
    """
    from vault.actions.lapsing import again
    from vault.core.names import day_text

    rows = [row for entry in found.principals for row in _principal_rows(entry)]
    for place in found.environments:
        if place.change != "changed":
            rows.append(_row("environment", place.name, _SIGNS[place.change], place.change))
        for key, before, after in place.settings:
            rows.append(
                _row("environment", place.name, "~", f"{key}: {before or 'none'} → {after or 'none'}")
            )
    for back in found.lifted or ():
        who = " and ".join(back.signers)
        what = f"comes back: withdrawn on {day_text(back.created)} by {who}, who would not count"
        rows.append(_row("withdrawal", f"{back.subject} ({back.environment})", "!", what))
    for stop in found.stopped or ():
        rows.append(_row("channel", str(stop.channel), "!", f"stops ({stop.version}): {stop.reason}"))
    if rows:
        columns = (Column(""), Column("WHO OR WHERE"), Column(""), Column("CHANGE", shrinks=True))
        console.table(columns, rows)
    if found.nothing:
        console.notice("Nothing changes.")
    elif found.stopped is None:
        console.notice(
            "Two files were compared; which channels stop is told by: mvault policy diff in-force FILE"
            if told_by is None
            else f"Which channels would stop is told by: {told_by}"
        )
    elif found.stopped:
        console.notice(
            f"{count(len(found.stopped), 'channel')} would stop. Adopt or promote first, or apply with "
            "--accept-outage."
        )
    else:
        console.notice("No channel would stop.")
    if found.lifted:
        console.notice(
            f"{count(len(found.lifted), 'withdrawn version')} would come back. Somebody who stays signs each "
            f"withdrawal once more first: {again(found.lifted[0])}"
        )


_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def _row(kind: str, name: str, sign: str, what: str) -> tuple[Cell, Cell, Cell, Cell]:
    return Cell(kind), Cell(name), Cell(sign), Cell(what)


def _principal_rows(entry: "PrincipalChange") -> list[tuple[Cell, Cell, Cell, Cell]]:
    rows = []
    if entry.change != "changed":
        rows.append(_row(entry.kind, entry.name, _SIGNS[entry.change], entry.change))
    for sign, gains in (("+", entry.gained), ("-", entry.lost)):
        rows += [_row(entry.kind, entry.name, sign, text) for text in _summed(gains)]
    for sign, keys in (("+", entry.keys_added), ("-", entry.keys_lost)):
        for key in keys:
            word = "a key that counts" if sign == "+" else "a key that counts no more"
            if key in entry.keys_retired:
                word = "a key that counts on for what the logs have, and for nothing new"
            rows.append(_row(entry.kind, entry.name, sign, f"{word}: sha256:{key[:16]}…"))
    if entry.owners is not None:
        before, after = (", ".join(names) or "none" for names in entry.owners)
        rows.append(_row(entry.kind, entry.name, "~", f"owners: {before} → {after}"))
    return rows


def _summed(gains: "tuple[Gain, ...]") -> list[str]:
    """Write gains in few lines: actions in one place on the same models together, then such places."""
    actions: dict[tuple[str, str], list[str]] = {}
    for gain in gains:
        access = gain.access
        if access.source is None:
            what, place = access.action, f"in {access.environment}"
        else:
            what, place = access.action, f"from {access.source} to {access.environment}"
        models = ", ".join(map(str, gain.models))
        known = actions.setdefault((place, models), [])
        if what not in known:
            known.append(what)
    places: dict[tuple[str, str], list[str]] = {}
    for (place, models), found in actions.items():
        places.setdefault((", ".join(found), models), []).append(place)
    return [f"{what} {_and(found)}: {models}" for (what, models), found in places.items()]


def _and(places: list[str]) -> str:
    """Write places after each other, with `in` once."""
    first, *more = places
    return ", ".join([first, *(place.removeprefix("in ") for place in more)])
