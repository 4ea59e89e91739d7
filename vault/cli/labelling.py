"""`mvault tag` and `note`: say things about versions, signed and beside their manifests."""

from typing import TYPE_CHECKING

import click

from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of
from vault.cli.text import count

if TYPE_CHECKING:
    from vault.core.labels import Labels


@verb(
    "tag",
    examples=(
        "mvault tag churn:3 champion                # signed, beside the version",
        "mvault tag churn@prod keep 2026-Q3",
        "mvault tag churn:2 champion --remove",
        "mvault tag churn:3                         # the tags that it has",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText())
@click.argument("tags", metavar="[TAG...]", nargs=-1)
@click.option("--remove", is_flag=True, help="Take the tags back, whoever gave them.")
@click.pass_context
def tag(context: click.Context, reference: str, tags: tuple[str, ...], remove: bool) -> None:
    """Give the version REF tags, take them back, or list those that it has.

    Tags are signed, and are not encrypted: whoever can read the storage reads
    them, as they read the names of models. Your key says who gave them.
    """
    if remove and not tags:
        raise click.UsageError("Say which tags to take back.", context)
    common = common_of(context)
    opened = common.open()
    if not tags:
        found = opened.labels(reference)
        value = {"reference": reference, "tags": sorted(found.tags), "changed": [], "notes": notes(found)}
        if not common.console.json(value):
            common.console.lines(sorted(found.tags))
            if not found.tags:
                common.console.notice(f"{reference} has no tags.")
        return
    done = opened.untag(reference, *tags) if remove else opened.tag(reference, *tags)
    name = str(done.reference)
    if not done.changed:
        message = f"{name} has {'none of these' if remove else 'these already'}; nothing was written."
    else:
        verb_of = "lost" if remove else "has"
        message = f"{name} {verb_of} {', '.join(done.changed)} now."
    common.console.outcome(
        {
            "reference": name,
            "tags": sorted(done.labels.tags),
            "changed": list(done.changed),
            "notes": notes(done.labels),
        },
        plain=name,
        message=message,
    )


@verb(
    "note",
    examples=(
        "mvault note churn:3 'recall fell in May; retrain before July'",
        "mvault show churn:3                        # shows notes and who signed them",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText())
@click.argument("text")
@click.pass_context
def note(context: click.Context, reference: str, text: str) -> None:
    """Note TEXT about the version REF, signed by you; notes are not taken back.

    A note is not encrypted: whoever can read the storage reads it. What is
    confidential belongs into mvault push --note, which is sealed with the files.
    """
    common = common_of(context)
    done = common.open().note(reference, text)
    name = str(done.reference)
    common.console.outcome(
        {"reference": name, "tags": sorted(done.labels.tags), "changed": [], "notes": notes(done.labels)},
        plain=name,
        message=f"Noted. {name} has {count(len(done.labels.notes), 'note')}.",
    )


def notes(found: "Labels") -> list[dict[str, object]]:
    """Give the notes of a version as JSON shows them, oldest first."""
    return [{"time": entry.created, "text": entry.text, "who": list(entry.who)} for entry in found.notes]
