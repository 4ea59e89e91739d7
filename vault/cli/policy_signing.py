"""`mvault policy draft|sign|apply|status`: a policy becomes binding when the root holders have signed it."""

import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vault.cli import founding_drafts
from vault.cli.command import verb
from vault.cli.options import Common, common_of
from vault.cli.policy_diff import difference_value, print_difference
from vault.cli.tables import Cell
from vault.cli.text import count, when

if TYPE_CHECKING:
    from vault.actions.applying import Applied, Standing, Status
    from vault.actions.ballots import Ballot
    from vault.actions.changing import Written
    from vault.actions.draft_files import Draft
    from vault.core.names import Principal

FILE = click.Path(dir_okay=False, path_type=Path)
drafts_argument = click.argument("drafts", nargs=-1, required=True, type=FILE, metavar="DRAFT…")
lift_option = click.option(
    "--lift-withdrawals", is_flag=True, help="Go on even though withdrawn versions would come back."
)
expires_option = click.option(
    "--expires", metavar="TIME", help="How long it lasts: 90d, 12w, 6m, 1y, never (1y; one owner: never)."
)


def people(texts: Iterable[str], option: str, *, bare: bool = False) -> "dict[Principal, list[Path]]":
    """Read NAME=FILE as often as it is given; with `bare` NAME alone is somebody without a file.

    Raises:
        BadParameter: it is neither.
    """
    from vault.core import names
    from vault.errors import Malformed

    found: dict[Principal, list[Path]] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if (equals and not file) or not (equals or bare):
            raise click.BadParameter(f"{text!r} is not NAME=FILE.", param_hint=option)
        try:
            files = found.setdefault(names.principal(name), [])
        except Malformed as error:
            raise click.BadParameter(error.message, param_hint=option) from None
        files.extend([Path(file)] if equals else [])
    return found


@verb(
    "draft",
    examples=(
        "mvault policy draft team.yaml            # with identities/*.pub beside it",
        "mvault policy draft team.yaml --key ben=ben.pub -o next.json",
        "mvault policy draft team.yaml --expires 6m",
        "mvault policy draft team.yaml --new-era  # after a restored backup",
    ),
)
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="DRAFT", help="Where to write it (policy-N.json).")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="NAME=FILE",
    help="The public identity of somebody new, or another one of somebody known. Repeatable.",
)
@expires_option
@click.option(
    "--new-era", is_flag=True, help="Begin an era that continues from what is stored now, whatever was seen."
)
@click.pass_context
def draft(
    context: click.Context,
    file: Path,
    output: Path | None,
    keys: tuple[str, ...],
    expires: str | None,
    new_era: bool,
) -> None:
    """Compile the policy FILE into a draft that the root holders sign.

    Everybody who is in force keeps their keys. Somebody new needs a public
    identity: identities/NAME.pub beside FILE, or --key. Nothing changes for
    anybody before the draft is applied.
    """
    common = common_of(context)
    made = common.open().changes.draft(
        file, output, keys=people(keys, "--key"), expires=expires, new_era=new_era
    )
    tell_drafts(common, (made,))


def tell_drafts(common: Common, written: "Iterable[Written]") -> None:
    """Print what was drafted, and the command that signs it."""
    made = tuple(written)
    quoted = [shlex.quote(str(entry.path)) for entry in made]
    paths, wrote = " ".join(quoted), " and ".join(quoted)
    value = {
        "drafts": [
            {
                "path": str(entry.path),
                "kind": entry.draft.kind,
                "version": entry.draft.document.version,
                "digest": f"sha256:{entry.draft.digest}",
            }
            for entry in made
        ]
    }
    together = " They belong together: name both wherever one is asked for." if len(made) > 1 else ""
    common.console.outcome(
        value,
        plain=" ".join(str(entry.path) for entry in made),
        message=f"Wrote {wrote}.{together} Next, each root holder: mvault policy sign {paths}",
    )


@verb(
    "sign",
    examples=(
        "mvault policy sign policy-4.json",
        "mvault policy sign policy-for-root-2.json root-2.json  # new root holders",
    ),
)
@drafts_argument
@click.pass_context
def sign(context: click.Context, drafts: tuple[Path, ...]) -> None:
    """Sign a DRAFT as a holder of the root, after showing what it changes.

    The signature is added to the file. A draft of a root goes together with
    that of its policy: name both.
    """
    common = common_of(context)
    at = ""
    if founding_drafts.founds(drafts):
        standings, change = founding_drafts.sign(common, drafts), None
        at = "" if common.settings().vault else " --vault LOCATION"
    else:
        changes = common.open().changes
        found, change = changes.look(*drafts)
        if not common.console.style.json and not common.console.style.quiet:
            tell_root(common, found)
            if change is not None and not (change.nothing and found.root is not None):
                print_difference(common.console, change, f"mvault policy status {_shown(drafts)}")
            tell_mistakes(common, found.policy)
        standings = changes.sign(*drafts).drafts
    paths = _shown(drafts)
    lacking = [entry for entry in standings if entry.missing]
    story = (
        f"Signed. {lack_of(lacking[0])} They run: mvault policy sign {paths}"
        if lacking
        else f"Signed by all that it takes. Next: mvault policy apply{at} {paths}"
    )
    common.console.outcome(
        {
            "drafts": [standing_value(entry) for entry in standings],
            "change": None if change is None else difference_value(change),
        },
        plain="incomplete" if lacking else "complete",
        message=story,
    )


def _shown(drafts: tuple[Path, ...]) -> str:
    return " ".join(shlex.quote(str(path)) for path in drafts)


def tell_root(common: Common, found: "Ballot") -> None:
    """Print who would hold the root by its draft, and who holds it now."""
    from vault.core.trust import Root

    if found.root is None or found.base is None or not isinstance(found.root.document, Root):
        return
    now, then = found.base.root.root, found.root.document
    common.console.notice(
        f"Root {then.version} takes {founding_drafts.holders(then)}. "
        f"Root {now.version} takes {founding_drafts.holders(now)}."
    )


def tell_mistakes(common: Common, draft: "Draft | None") -> None:
    """Print what `mvault policy check` calls an error in the policy of a draft: advice to who signs."""
    from vault.core import policy_check, policy_view
    from vault.core.policy import Policy

    if draft is None or not isinstance(draft.document, Policy):
        return
    for finding in policy_check.check(policy_view.of_policy(draft.document)):
        if finding.severity == "error":
            common.console.warn(f"With it, {finding.subject}: {finding.message}.")


def lack_of(entry: "Standing") -> str:
    """Say how many signatures a draft lacks, and whose."""
    lacks = [
        f"{count(lack.more, 'more signature')} of the holders of root {lack.root}: {', '.join(lack.waiting)}"
        for lack in entry.missing
    ]
    return f"The {entry.kind} needs {'; and '.join(lacks)}."


def standing_value(entry: "Standing") -> dict[str, object]:
    """Give a policy or root in its JSON shape (docs/cli.md)."""
    return {
        "kind": entry.kind,
        "version": entry.version,
        "era": entry.era,
        "digest": f"sha256:{entry.digest}",
        "created": entry.created,
        "expires": entry.expires,
        "signed": list(entry.signed),
        "missing": [
            {"root": lack.root, "more": lack.more, "waiting": list(lack.waiting)} for lack in entry.missing
        ],
    }


@verb(
    "apply",
    examples=(
        "mvault policy apply policy-4.json",
        "mvault policy apply from-ann.json from-ben.json        # two copies of one",
        "mvault policy apply policy-for-root-2.json root-2.json",
        "mvault policy apply policy-4.json --accept-outage",
    ),
)
@drafts_argument
@click.option("--accept-outage", is_flag=True, help="Apply it even though channels in use would stop.")
@lift_option
@click.pass_context
def apply(
    context: click.Context, drafts: tuple[Path, ...], accept_outage: bool, lift_withdrawals: bool
) -> None:
    """Put a signed DRAFT in force.

    Refused until enough root holders have signed, and if it would stop what is
    in use or let back in what was withdrawn. If somebody else was first, nothing changes and the status is 9.
    Applying the same draft again finishes what was interrupted.
    """
    common = common_of(context)
    if founding_drafts.founds(drafts):
        founding_drafts.apply(common, drafts)
        return
    done = common.open().changes.apply(
        *drafts, accept_outage=accept_outage, lift_withdrawals=lift_withdrawals
    )
    common.console.outcome(applied_value(done), plain=_applied(done), message=story_of(done))


def applied_value(done: "Applied") -> dict[str, object]:
    """Give what was put in force in its JSON shape (docs/cli.md)."""
    return {
        "policy": done.policy,
        "root": done.root,
        "already": done.already,
        "stopped": [str(stop.channel) for stop in done.stopped],
        "lifted": [{"reference": str(entry.subject), "env": entry.environment} for entry in done.lifted],
        "granted": [{"env": place, "who": who} for place, who in done.granted],
        "waiting": [{"env": place, "who": who} for place, who in done.waiting],
        "left": [{"env": place, "who": who} for place, who in done.left],
    }


def _applied(done: "Applied") -> str:
    parts = (("policy", done.policy), ("root", done.root))
    return " ".join(f"{kind} {number}" for kind, number in parts if number is not None)


def story_of(done: "Applied") -> str:
    """Tell what was put in force, and what is left to do."""
    both = done.policy is not None and done.root is not None
    parts = _applied(done).replace(" root", " and root").capitalize()
    verb = ("were" if both else "was") if done.already else ("are now" if both else "is now")
    lines = [f"{parts} {verb} in force."]
    if done.granted:
        lines.append(f"Given the key to read: {_pairs(done.granted)}.")
    if done.waiting:
        lines.append(
            f"Cannot read yet: {_pairs(done.waiting)}. Somebody who can read there runs: mvault access sync"
        )
    if done.left:
        places = list(dict.fromkeys(place for place, _ in done.left))
        lines.append(
            f"May read no longer: {_pairs(done.left)}. What they could read they may have kept. To keep from "
            "them what comes: " + ", ".join(f"mvault access rotate {place}" for place in places)
        )
    return "\n".join(lines)


def _pairs(entries: "tuple[tuple[str, str], ...]") -> str:
    shown = ", ".join(f"{who} ({place})" for place, who in entries[:12])
    return shown + (", …" if len(entries) > 12 else "")


@verb(
    "status",
    examples=(
        "mvault policy status                # what is in force, and who signed it",
        "mvault policy status policy-4.json  # and what a draft still lacks",
    ),
)
@click.argument("drafts", nargs=-1, type=FILE, metavar="[DRAFT]…")
@click.pass_context
def status(context: click.Context, drafts: tuple[Path, ...]) -> None:
    """Tell which policy and root are in force, and what a DRAFT lacks and would change.

    Ends with status 0 whatever it finds. Columns when piped: name, value.
    """
    common = common_of(context)
    if drafts and founding_drafts.founds(drafts):
        standings = founding_drafts.look(common, drafts)
        value: dict[str, Any] = {"policy": None, "root": None, "change": None}
        value["drafts"] = [standing_value(entry) for entry in standings]
        if not common.console.json(value):
            common.console.fields([row for entry in standings for row in _rows(entry, when, "Draft of ")])
        return
    found = common.open().changes.status(*drafts)
    if not common.console.json(_status_value(found)):
        _print_status(common, found)


def _status_value(found: "Status") -> dict[str, object]:
    return {
        "policy": None if found.policy is None else standing_value(found.policy),
        "root": None if found.root is None else standing_value(found.root),
        "holders": list(found.holders),
        "threshold": found.threshold,
        "drafts": [standing_value(entry) for entry in found.drafts],
        "change": None if found.change is None else difference_value(found.change),
    }


def _print_status(common: Common, found: "Status") -> None:
    shown: Callable[[str], str] = when if common.console.to_terminal else str
    rows: list[tuple[str, Cell]] = []
    for entry in (found.policy, found.root):
        if entry is not None:
            rows += _rows(entry, shown, "")
    rows.append(("Root holders", Cell(", ".join(found.holders))))
    rows.append(("Threshold", Cell(f"{found.threshold} of {len(found.holders)}")))
    for entry in found.drafts:
        rows += _rows(entry, shown, "Draft of ")
    if common.console.style.verbose and found.policy is not None:
        rows.append(("Era", Cell(str(found.policy.era))))
    common.console.fields(rows)
    if found.change is not None:
        print_difference(common.console, found.change)
    tell_mistakes(common, found.proposed)


def _rows(entry: "Standing", shown: Callable[[str], str], before: str) -> list[tuple[str, Cell]]:
    name = f"{before}{entry.kind}" if before else entry.kind.capitalize()
    rows = [
        (name, Cell(str(entry.version))),
        (f"{name} created", Cell(shown(entry.created))),
        (f"{name} expires", Cell("never" if entry.expires is None else entry.expires[:10])),
        (f"{name} signed by", Cell(", ".join(entry.signed) or "nobody")),
    ]
    for lack in entry.missing:
        root = f" root {lack.root}" if len(entry.missing) > 1 else ""
        rows.append((f"{name} needs", Cell(f"{lack.more} more of{root}: {', '.join(lack.waiting)}")))
    return rows
