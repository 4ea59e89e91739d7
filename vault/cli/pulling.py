"""`mvault pull`: get a version's verified files out of the vault."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from vault.cli import bulk
from vault.cli.bulk import Telling, many_options
from vault.cli.command import verb
from vault.cli.completion import ReferenceText
from vault.cli.options import common_of


@verb(
    "pull",
    examples=(
        "mvault pull churn@prod out/",
        "mvault pull churn:3 churn-3.zip --zip",
        "mvault pull churn@prod served/ --layout tf-serving",
        "mvault pull churn:3 out/ --with-signature    # and sign them, in out.sig",
        "mvault pull 'nepse/*@prod' out/              # many at once, by their names",
        "mvault pull churn@prod out/ --lock models.lock",
        "mvault pull churn:1 out/ --wait              # of an archived version",
    ),
)
@click.argument("reference", metavar="REF", type=ReferenceText(), required=False)
@click.argument("destination", metavar="DIR", type=click.Path(path_type=Path), required=False)
@click.option("--zip", "zipped", is_flag=True, help="Write one zip file, DIR, instead of a folder.")
@click.option(
    "--layout",
    type=click.Choice(["tf-serving"]),
    help="Write the SavedModel alone, where TensorFlow Serving looks: DIR/MODEL/VERSION.",
)
@click.option("--with-signature", is_flag=True, help="Sign the new folder DIR with your identity: DIR.sig.")
@click.option(
    "--lock",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take exactly the version that a lock file names for REF (mvault lock).",
)
@click.option("--request", is_flag=True, help="Ask a cold class for an archived version, and do not wait.")
@click.option("--wait", is_flag=True, help="Fetch an archived version, however long that takes.")
@many_options(dry_run=False)
@click.pass_context
def pull(
    context: click.Context,
    /,
    reference: str | None,
    destination: Path | None,
    zipped: bool,
    layout: str | None,
    with_signature: bool,
    lock: Path | None,
    request: bool,
    wait: bool,
    **many: Any,
) -> None:
    """Write the files of the version REF into DIR, each only after it verified; nothing is overwritten.

    They are no longer encrypted there, and their signature is not with them
    unless you sign them: mvault verify, and other tools, check that one.
    """
    common = common_of(context)
    if many["listed"] is not None and destination is None and reference is not None:
        destination, reference = Path(reference), None  # of two arguments the first was left out
    one, several = bulk.meant(context, reference, many)
    if destination is None:
        raise click.UsageError("Missing argument 'DIR'.", context)
    opened = common.open()
    if several is not None:
        bulk.only(context, "reference", "destination", "zipped")
        again = bulk.command(common, "pull", reference, many, _to=destination, zip=zipped)
        words = Telling(f"pulled into {destination}", "there already", again)
        options = {"zip": zipped, "threads": many["threads"]}
        bulk.finish(context, common, partial(opened.pull_all, several, destination, **options), words)
        return
    written = opened.pull(
        one,
        destination,
        zip=zipped,
        layout=layout,
        with_signature=with_signature,
        lock=lock,
        request=request,
        wait=wait,
    )
    common.console.outcome(
        {"reference": one, "path": str(written.absolute()), "zip": zipped},
        plain=str(written),
        message=f"The verified files of {one} are in {written}.",
    )
