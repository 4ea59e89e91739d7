"""`mvault restore`: bring a vault, or one version, back from a backup; try it; hold drills."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vault.cli.backing_up import Percent, Rate, findings_value, tell_findings
from vault.cli.command import verb
from vault.cli.options import Common, common_of
from vault.cli.text import clean, count, size
from vault.errors import Refused

if TYPE_CHECKING:
    from vault.actions.drilling import Drill
    from vault.actions.restoring import Restored
    from vault.actions.restoring_version import Mended

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@verb(
    "restore",
    examples=(
        "mvault restore churn:3                        # what one version lost",
        "mvault restore /mnt/nas models/ --root sha256:4bd6…  # a whole vault",
        "mvault restore --check s3://copies --recovery key.txt",
        "mvault restore --drill s3://copies --recovery key.txt --report r.json",
        "mvault restore --check-report r.json",
    ),
)
@click.argument("places", nargs=-1, metavar="REF | FROM TO")
@click.option("--from", "source", metavar="LOCATION", help="The backup that a version is taken from.")
@click.option("--check", is_flag=True, help="Restore FROM into a temporary folder and prove it.")
@click.option("--drill", is_flag=True, help="As --check, timed, with a signed report.")
@click.option("--report", type=_FILE, metavar="FILE", help="Where a drill's report goes.")
@click.option("--check-report", type=_FILE, metavar="FILE", help="Check the report of a drill.")
@click.option("--root", metavar="sha256:…", help="The vault's fingerprint, where nothing here knows it.")
@click.option(
    "--recovery", type=_FILE, metavar="FILE", help="The recovery identity: try to decrypt and load."
)
@click.option(
    "--sample",
    type=Percent(),
    default="5%",
    show_default=True,
    metavar="N%",
    help="Decrypt and load so many versions, at least one.",
)
@click.option("--fresh-environments", is_flag=True, help="Load each in an environment made for it.")
@click.option("--wheels", type=_FOLDER, metavar="DIR", help="Make those from this folder of wheels alone.")
@click.option("--into", type=_FOLDER, metavar="DIR", help="Where the temporary folder is made.")
@click.option("--limit", type=Rate(), metavar="RATE", help="At most so much a second, as in 10MiB/s.")
@click.option("--dry-run", is_flag=True, help="Say what of a version would be brought back.")
@click.pass_context
def restore(
    context: click.Context,
    places: tuple[str, ...],
    source: str | None,
    check: bool,
    drill: bool,
    report: Path | None,
    check_report: Path | None,
    root: str | None,
    recovery: Path | None,
    sample: float,
    fresh_environments: bool,
    wheels: Path | None,
    into: Path | None,
    limit: int | None,
    dry_run: bool,
) -> None:
    """Bring back what was lost: the objects of one version, or a whole vault into an empty place.

    Nothing in a backup is believed but what the vault's root has signed. With the
    recovery identity a sample is decrypted and loaded too; no other key is needed,
    nor the vault that was lost. docs/backup.md walks through it.
    """
    common = common_of(context)
    trying = {"sample": sample, "fresh_environments": fresh_environments, "wheels": wheels}
    if check_report is not None:
        _check_report(common, check_report)
        return
    if check or drill:
        if len(places) != 1:
            raise click.UsageError("Name one backup: mvault restore --check FROM", context)
        _try_out(
            common, places[0], report if drill else None, root, recovery, trying, into, limit, drill=drill
        )
        return
    if len(places) == 1:
        _version(common, places[0], source, dry_run=dry_run)
        return
    if len(places) != 2:
        raise click.UsageError("Name a version, or a backup and an empty place: restore FROM TO", context)
    _whole(common, *places, root, recovery, trying, limit)


def _version(common: Common, reference: str, source: str | None, *, dry_run: bool) -> None:
    found = common.open().restore_version(reference, source=source, dry_run=dry_run)
    value = {
        "reference": found.subject,
        "source": found.source,
        "restored": found.restored,
        "aside": found.aside,
        "left": found.left,
        "dry_run": found.dry_run,
    }
    common.console.outcome(value, plain="\n".join(found.restored), message=_mended(found))
    if found.left:
        raise click.exceptions.Exit(Refused.exit_status)


def _mended(found: "Mended") -> str:
    if not found.restored and not found.left:
        return f"Nothing of {found.subject} is missing or damaged."
    told = "Would bring back" if found.dry_run else "Brought back"
    lines = [f"{told} {count(len(found.restored), 'object')} of {found.subject} from {clean(found.source)}."]
    if found.aside:
        lines.append(f"{count(len(found.aside), 'damaged object')} kept below damaged/ in the store.")
    lines += [f"{clean(name)} was left: {clean(why)}." for name, why in found.left.items()]
    if not found.dry_run:
        lines.append(f"Look whether it holds now: mvault check {found.subject}")
    return "\n".join(lines)


def _whole(
    common: Common,
    source: str,
    to: str,
    root: str | None,
    recovery: Path | None,
    trying: dict[str, Any],
    limit: int | None,
) -> None:
    from vault.starting import restore as bring_back

    found = bring_back(
        source,
        to,
        root=root,
        recovery=recovery,
        **trying,
        limit=limit,
        progress=common.console.report,
        **common.unlocking(),
    )
    common.console.outcome(_value(found), plain=f"sha256:{found.vault}", message=_story(found, to))
    _end(common, found)


def _try_out(
    common: Common,
    source: str,
    report: Path | None,
    root: str | None,
    recovery: Path | None,
    trying: dict[str, Any],
    into: Path | None,
    limit: int | None,
    *,
    drill: bool,
) -> None:
    from vault.starting import drill as hold

    held = hold(
        source,
        report=report,
        signed=drill,
        root=root,
        recovery=recovery,
        **trying,
        into=into,
        limit=limit,
        progress=common.console.report,
        identity=common.given.get("identity"),
        **common.unlocking(),
    )
    value = _value(held.restored)
    if drill:
        value["report"] = {
            "outcome": held.report.outcome,
            "signer": held.signer,
            "path": None if held.path is None else str(held.path),
            "began": held.report.began,
            "ended": held.report.ended,
        }
    common.console.outcome(value, plain=held.report.outcome, message=_proved(held, drill=drill))
    _end(common, held.restored)


def _end(common: Common, found: "Restored") -> None:
    if not common.console.style.json:
        tell_findings(common, found.findings)
    if not found.whole:
        raise click.exceptions.Exit(Refused.exit_status)


def _value(found: "Restored") -> dict[str, object]:
    opened = found.opened
    return {
        "vault": f"sha256:{found.vault}",
        "source": found.source,
        "location": found.location,
        "objects": found.copied.objects,
        "bytes": found.copied.size,
        "versions": len(found.examined.covered),
        "channels": found.examined.channels,
        "logs": found.examined.logs,
        "opened": None
        if opened is None
        else {
            "environments": list(opened.environments),
            "versions": opened.versions,
            "bytes": opened.bytes,
            "loaded": opened.loaded,
            "rows": opened.rows,
            "unloaded": list(opened.unloaded),
        },
        "behind": found.behind or None,
        "whole": found.whole,
        "findings": findings_value(found.findings),
    }


def _facts(found: "Restored") -> list[str]:
    """Say what was proved of what came back."""
    examined = found.examined
    held = f"{count(len(examined.covered), 'version')} and {count(examined.channels, 'channel')}"
    logs = f"{count(len(found.logs), 'log')} replayed"
    lines = [
        f"  Signatures    {held} verified; every stored byte was read",
        f"  Logs          {logs}" if examined.logs != "no" else f"  Logs          {logs}; they do not hold",
    ]
    opened = found.opened
    if opened is None:
        lines.append("  Decryption    not tried: give --recovery FILE")
    else:
        read = f"{count(opened.versions, 'version')} ({size(opened.bytes)})"
        lines.append(f"  Decryption    {read} by the recovery identity")
        lines.append(
            f"  Loading       {count(opened.loaded, 'model')}, {opened.rows:,} recorded predictions compared"
        )
        lines += [f"                not loaded: {clean(entry)}" for entry in opened.unloaded[:5]]
    return lines


def _proved(held: "Drill", *, drill: bool) -> str:
    found = held.restored
    seconds = found.seconds.get("all", 0.0)
    word = "came back whole" if found.whole else "did NOT come back whole"
    what = f"{count(found.copied.objects, 'object')}, {size(found.copied.size)}"
    lines = [
        f"{clean(found.source)} {word}, in {seconds:.1f} s: {what}.",
        "",
        *_facts(found),
    ]
    if drill:
        signed = f"signed by {held.signer}" if held.signer else "not signed: no identity is set up here"
        where = "" if held.path is None else f" {shlex.quote(str(held.path))},"
        lines += ["", f"Report:{where} {signed}."]
    return "\n".join(lines)


def _story(found: "Restored", to: str) -> str:
    place = shlex.quote(to)
    what = f"{count(found.copied.copied, 'object')} ({size(found.copied.copied_bytes)})"
    lines = [
        f"Restored {what} into {place}; it is trusted on this machine.",
        "",
        *_facts(found),
        "",
    ]
    if found.behind:
        lines += [f"This machine has seen more than the backup holds: {clean(found.behind)}", ""]
    else:
        lines += ["Clients that have seen more than this backup holds will refuse it as a rollback.", ""]
    lines += [
        "If what is newer is lost for good, the root's holders let it go on from here:",
        f"  mvault --vault {place} policy draft in-force --new-era -o era.json",
        f"  mvault --vault {place} policy sign era.json",
        f"  mvault --vault {place} policy apply era.json",
        "Until then, copies of newer objects from anywhere can still be added.",
    ]
    return "\n".join(lines)


def _check_report(common: Common, path: Path) -> None:
    found = common.open().check_drill(path)
    report = found.report
    value = {
        "vault": f"sha256:{report.vault}",
        "backup": report.backup,
        "outcome": report.outcome,
        "signers": list(found.signers),
        "began": report.began,
        "ended": report.ended,
        "versions": report.versions,
        "failed": report.failed,
        "failures": [
            {"subject": entry.subject, "code": entry.code, "message": entry.message}
            for entry in report.failures
        ],
    }
    common.console.outcome(
        value,
        plain=report.outcome,
        message=f"The drill of {report.ended[:10]} with {clean(report.backup)} {report.outcome}: "
        f"{count(report.versions, 'version')} came back, {report.failed} did not hold. "
        f"Signed by {', '.join(found.signers)}.",
    )
    if report.failed:
        raise click.exceptions.Exit(Refused.exit_status)
