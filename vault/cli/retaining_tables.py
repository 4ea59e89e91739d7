"""What `mvault retain` shows: plans with their reasons, and their JSON."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vault.cli.tables import Cell, Column
from vault.cli.text import clean, count, size, when

if TYPE_CHECKING:
    from vault.actions.reclaiming import Blocked, Reclaimed, ReclaimPlan
    from vault.actions.retaining import Failed, Plan, Retained
    from vault.actions.sweeping import Swept, Unfinished
    from vault.cli.output import Console
    from vault.core.removal import Removal
    from vault.core.retention_plan import Decision

_MOST = 10  # warnings that are printed one by one


def show_plan(console: "Console", plan: "Plan") -> None:
    """Print what goes and what stays, with why. Columns when piped: action, version, time, bytes, reasons."""
    from vault.core import names

    rows = []
    for entry in plan.decisions:
        created = names.time_text(entry.known.candidate.created)
        bytes_here = plan.sizes.get(entry.known.manifest, 0)
        rows.append(
            (
                Cell("keep" if entry.keep else "remove"),
                Cell(entry.subject),
                Cell(when(created), created),
                Cell(size(bytes_here), str(bytes_here)),
                Cell("; ".join(entry.reasons)),
            )
        )
    if rows:
        console.table(
            (
                Column("DO"),
                Column("VERSION"),
                Column("PUBLISHED"),
                Column("SIZE", number=True),
                Column("BECAUSE", shrinks=True),
            ),
            rows,
        )
    for skipped in plan.skipped[:_MOST]:
        console.warn(f"{clean(skipped.name)} does not count as a hold: {skipped.reason}")
    if plan.waiting:
        number = count(len(plan.waiting), "version")
        console.notice(f"{number} removed before, and not deleted yet: mvault retain --reclaim --dry-run")


def show_reclaim(console: "Console", plan: "ReclaimPlan") -> None:
    """Print what is deleted and what is not. Columns when piped: action, version, until, bytes, reasons."""
    rows = [
        (
            Cell("delete"),
            Cell(known.subject),
            Cell("", ""),
            Cell(size(plan.sizes.get(known.manifest, 0)), str(plan.sizes.get(known.manifest, 0))),
            Cell("its grace period is over"),
        )
        for known in plan.going
    ]
    for entry in plan.blocked:
        until = "" if entry.until is None else entry.until
        here = plan.sizes.get(entry.removal.manifest, 0)
        rows.append(
            (
                Cell("wait" if entry.until else "keep"),
                Cell(entry.subject),
                Cell(until[:10], until),
                Cell(size(here), str(here)),
                Cell("; ".join(entry.reasons)),
            )
        )
    if rows:
        console.table(
            (
                Column("DO"),
                Column("VERSION"),
                Column("UNTIL"),
                Column("SIZE", number=True),
                Column("BECAUSE", shrinks=True),
            ),
            rows,
        )


def show_swept(console: "Console", done: "Swept") -> None:
    """Print what was left behind. Columns when piped: action, version, objects, since."""
    groups = (("delete", done.deleted), ("wait", done.waiting), ("note", done.noted))
    rows = [
        (Cell(action), Cell(entry.subject), Cell(str(len(entry.names))), Cell(entry.since or ""))
        for action, entries in groups
        for entry in entries
    ]
    if rows:
        columns = (Column("DO"), Column("VERSION"), Column("OBJECTS", number=True), Column("NOTED"))
        console.table(columns, rows)
    else:
        console.notice("Nothing was left behind.")
    if done.parts:
        console.notice(f"The store swept {count(done.parts, 'unfinished write')} of its own.")
    for entry in (*done.kept, *done.failed)[:_MOST]:
        console.warn(f"{clean(entry.name)}: {entry.reason}")


def warn_failed(console: "Console", failed: "Sequence[Failed]") -> None:
    """Say what went wrong, version by version."""
    for entry in failed[:_MOST]:
        console.warn(f"{entry.subject}: {entry.error}")
    if len(failed) > _MOST:
        console.warn(f"{count(len(failed) - _MOST, 'more problem')}; --json lists all.")


def status_of(failed: "Sequence[Failed]") -> int:
    """Give the exit status: that of what failed, 0 where nothing did."""
    return max((entry.error.exit_status for entry in failed), default=0)


def retain_value(done: "Retained", *, dry_run: bool) -> dict[str, object]:
    """Give the JSON of a retention."""
    return {
        "dry_run": dry_run,
        "versions": [_decision(entry, done.plan) for entry in done.plan.decisions],
        "bytes": done.plan.bytes,
        "removed": [_removal(entry) for entry in done.removed],
        "waiting": [_removal(entry) for entry in done.plan.waiting],
        "failed": _failed(done.failed),
        "skipped": [
            {"name": entry.name, "code": entry.code, "message": entry.reason} for entry in done.plan.skipped
        ],
    }


def _decision(entry: "Decision", plan: "Plan") -> dict[str, object]:
    from vault.core import names

    return {
        "reference": entry.subject,
        "digest": f"sha256:{entry.known.manifest}",
        "created": names.time_text(entry.known.candidate.created),
        "bytes": plan.sizes.get(entry.known.manifest, 0),
        "keep": entry.keep,
        "reasons": list(entry.reasons),
    }


def _removal(record: "Removal") -> dict[str, object]:
    return {
        "reference": f"{record.model}:{record.version}",
        "digest": f"sha256:{record.manifest}",
        "state": record.state,
        "after": record.after,
        "reason": record.reason,
        "created": record.created,
    }


def reclaim_value(done: "Reclaimed", *, dry_run: bool) -> dict[str, object]:
    """Give the JSON of a reclaim."""
    return {
        "dry_run": dry_run,
        "going": [known.subject for known in done.plan.going],
        "blocked": [_blocked(entry) for entry in done.plan.blocked],
        "deleted": list(done.deleted),
        "objects": done.objects,
        "bytes": done.plan.bytes if dry_run else done.bytes,
        "kept": [_blocked(entry) for entry in done.kept],
        "elsewhere": list(done.elsewhere),
        "failed": _failed(done.failed),
    }


def _blocked(entry: "Blocked") -> dict[str, object]:
    return {"reference": entry.subject, "until": entry.until, "reasons": list(entry.reasons)}


def _failed(failed: "Sequence[Failed]") -> list[dict[str, str]]:
    return [
        {"reference": entry.subject, "code": entry.error.code, "message": entry.error.message}
        for entry in failed
    ]


def swept_value(done: "Swept", *, dry_run: bool) -> dict[str, object]:
    """Give the JSON of a sweep."""
    return {
        "dry_run": dry_run,
        "deleted": [_unfinished(entry) for entry in done.deleted],
        "waiting": [_unfinished(entry) for entry in done.waiting],
        "noted": [_unfinished(entry) for entry in done.noted],
        "objects": done.objects,
        "parts": done.parts,
        "kept": [{"name": one.name, "code": one.code, "message": one.reason} for one in done.kept],
        "failed": [{"name": one.name, "code": one.code, "message": one.reason} for one in done.failed],
    }


def _unfinished(entry: "Unfinished") -> dict[str, object]:
    return {"reference": entry.subject, "objects": len(entry.names), "since": entry.since}
